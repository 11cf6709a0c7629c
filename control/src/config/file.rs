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
    let table = toml::de::DeTable::parse(text).map_err(|error| said(text, &error))?;
    for key in table.get_ref().keys() {
        let name: &str = key.get_ref();
        if !KEYS.contains(&name) {
            let line = line_of(text, key.span().start);
            let hint =
                nearest(name).map_or_else(String::new, |it| format!("; did you mean `{it}`?"));
            return Err(format!("line {line}: there is no setting `{name}`{hint}"));
        }
    }
    toml::from_str(text).map_err(|error| said(text, &error))
}

fn said(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |it| line_of(text, it.start));
    format!("line {line}: {}", error.message())
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|it| *it == b'\n').count() + 1
}

/// The known key that is most like `name`, if any is.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.replace('_', "-");
    KEYS.iter()
        .map(|it| (distance(&name, it), *it))
        .min()
        .filter(|(distance, _)| *distance <= name.len().div_ceil(3).max(2))
        .map(|(_, it)| it)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        let mut next = vec![before];
        for (right, above) in b.iter().zip(row.iter().skip(1)) {
            let cost = diagonal + usize::from(left != *right);
            before = cost.min(above + 1).min(before + 1);
            next.push(before);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
