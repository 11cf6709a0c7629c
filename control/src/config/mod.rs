//! The settings of `slipway serve`, in layers: flags over environment over file over defaults.
