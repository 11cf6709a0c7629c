//! How much an archive may hold. The defaults are the published limits; configuration may only
//! lower them.

/// Limits of one archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of all files together.
    pub unpacked_bytes: u64,
    /// Unpacked bytes per packed byte, once 1 MiB is unpacked.
    pub ratio: u64,
    /// Entries, folders that are only implied by a file's path included.
    pub entries: u64,
    /// Parts of one path.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unpacked_bytes: 2 << 30, ratio: 200, entries: 100_000, depth: 64 }
    }
}
