//! Settings in layers: flags over the environment over the file over the defaults.
