//! The file's layer.

use std::path::Path;

use super::{Error, Layer};

/// Longest file that is read.
const LIMIT: u64 = 1 << 20;

/// Every key that the file may have.
pub(super) const KEYS: &[&str] = &[
    "bootstrap-token-file",
    "data-dir",
    "database-url",
    "do-api-url",
    "do-token-file",
    "droplet-image",
    "droplet-region",
    "droplet-size",
    "droplet-ssh-key-ids",
    "enroll-timeout",
    "git-token-file",
    "grpc",
    "http",
    "http-behind-proxy",
    "http-tls-cert",
    "http-tls-key",
    "log",
    "log-format",
    "master-key-file",
    "public-url",
];

/// Reads the file; none when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Layer>, Error> {
    let bytes = slipway_host::fs::read_limited(path, LIMIT)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let Some(bytes) = bytes else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    parse(&text).map(Some).map_err(|problem| Error::File { path: path.to_owned(), problem })
}

/// Parses the file's text.
pub(super) fn parse(text: &str) -> Result<Layer, String> {
    slipway_host::settings::parse(text, KEYS)
}
