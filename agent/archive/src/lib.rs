//! Archives from strangers: told apart, checked to the last byte, and rewritten as plain tar.
//!
//! * [`limits`]: how much an archive may hold.
//! * [`error`]: why one is refused, with its `SW-ARCHIVE-…` code.
//! * `name`: a path inside an archive that is safe to write anywhere.
//! * `tree`: what the entries are together: duplicates, links, files in the way of folders.
//! * `inflate`, `tape`, `zip`: gzip, tar and zip, read strictly.
//! * `walk`: the one way through an archive, for everything below.
//! * [`scan`](mod@scan): checks an archive and says what is in it.
//! * `emit`: writes plain tar.
//! * [`context`]: rewrites an archive as the build context that Docker gets.
//! * [`pack`]: makes an archive of a folder; `ignore` says what it leaves out.
//!
//! Everything here blocks: call it on a blocking thread. Memory stays within some tens of MiB whatever
//! the archive: names are remembered as hashes, bodies are streamed. An archive is never unpacked to
//! disk; what leaves is a tar that this crate has written.

pub mod context;
mod emit;
pub mod error;
mod ignore;
mod inflate;
pub mod limits;
mod name;
pub mod pack;
pub mod scan;
mod tape;
mod tree;
mod walk;
mod zip;

pub use context::{Context, write_context};
pub use error::{Code, Error};
pub use limits::Limits;
pub use name::check_link;
pub use pack::{Leave, Packed, Packing, Times, pack_dir};
pub use scan::{Format, Summary, read_files, scan, verify};
