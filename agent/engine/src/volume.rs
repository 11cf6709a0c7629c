//! Named volumes of the local driver, kept between releases.

use crate::label::Labels;

/// A named volume. It takes no driver options, so it cannot reach outside of Docker's own folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Volume {
    /// Name: `slipway-<appkey>-<volume>`.
    pub name: String,
    /// Its labels; must hold [`label::APP`](crate::label::APP).
    pub labels: Labels,
}
