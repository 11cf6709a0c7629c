//! Dockerfiles: one made for a source that has none, and the check of one that was given.
//!
//! * [`files`]: what a source holds, as far as it matters here.
//! * `procfile`: the command that a `Procfile` gives.
//! * `command`: a command as Docker takes it, without a way to become anything else.
//! * [`detect`](mod@detect): what a source is, language by language.
//! * [`render`]: from that to text, by the templates in `templates/`; [`render::Bases`] names the images.
//! * [`check`](mod@check): refuses what must not be built, and says what a Dockerfile exposes.
//!
//! Pure: values in, text or a [`Problem`](slipway_proto::problem::Problem) out.

pub mod check;
mod command;
pub mod detect;
pub mod files;
mod procfile;
pub mod render;

pub use check::{Checked, check};
pub use detect::detect;
pub use files::{Files, INTEREST, MARKERS};
pub use render::{Bases, Generated};
