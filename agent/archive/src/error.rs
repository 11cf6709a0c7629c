//! Why an archive is refused.

use std::{borrow::Cow, fmt, io};

use slipway_proto::problem::{Kind, Problem};

/// What is wrong with an archive, as the stable codes say it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Code {
    /// A name that is not safe to write.
    Path,
    /// A link that leaves the archive, or something written through a link.
    Link,
    /// Something that is neither file, folder nor link.
    Type,
    /// Two entries for one path.
    Dup,
    /// Too many parts in one path.
    Depth,
    /// Too many entries.
    Entries,
    /// Too many bytes.
    Size,
    /// Too many bytes for the size it was packed in.
    Ratio,
    /// Ends too early.
    Truncated,
    /// Goes on after its end.
    Trailing,
    /// Not an archive that we read, or a broken one.
    Format,
    /// A checksum does not match.
    Digest,
}

impl Code {
    /// The stable code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "SW-ARCHIVE-PATH",
            Self::Link => "SW-ARCHIVE-LINK",
            Self::Type => "SW-ARCHIVE-TYPE",
            Self::Dup => "SW-ARCHIVE-DUP",
            Self::Depth => "SW-ARCHIVE-DEPTH",
            Self::Entries => "SW-ARCHIVE-ENTRIES",
            Self::Size => "SW-ARCHIVE-SIZE",
            Self::Ratio => "SW-ARCHIVE-RATIO",
            Self::Truncated => "SW-ARCHIVE-TRUNCATED",
            Self::Trailing => "SW-ARCHIVE-TRAILING",
            Self::Format => "SW-ARCHIVE-FORMAT",
            Self::Digest => "SW-ARCHIVE-DIGEST",
        }
    }

    /// What to do about it.
    fn hint(self) -> &'static str {
        match self {
            Self::Path => "rename it: relative, UTF-8, no `..`, `\\` or control characters",
            Self::Link => "link only to what is inside, by a relative path, or leave it out",
            Self::Type => "send only files, folders and links",
            Self::Dup => "pack it afresh, each path once",
            Self::Depth => "leave out what is nested that deep",
            Self::Entries | Self::Size => {
                "leave out dependencies and build output: `.dockerignore`"
            }
            Self::Ratio => "leave out files that are mostly zeros",
            Self::Truncated => "pack and upload it again",
            Self::Trailing => "pack it as one archive with nothing after it",
            Self::Format => "send a tar, tar.gz or zip, or deploy the folder itself",
            Self::Digest => "pack and upload it again; it was damaged on the way",
        }
    }
}

/// An archive that could not be taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The archive is refused.
    Refused(Refusal),
    /// The archive, or a file to be packed, could not be read.
    Read {
        /// What was read.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// What we make of it could not be written. `BrokenPipe` when its reader has gone.
    Write {
        /// Why.
        source: io::Error,
    },
}

/// What is wrong, and with which entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// The entry, escaped and cut; none when it is about the whole.
    pub entry: Option<String>,
    /// What is wrong: follows the entry's name, or stands alone.
    pub reason: Cow<'static, str>,
}

impl Error {
    /// Refuses the whole archive.
    pub(crate) fn whole(code: Code, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused(Refusal { code, entry: None, reason: reason.into() })
    }

    /// Refuses it because of one entry.
    pub(crate) fn entry(code: Code, name: &[u8], reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused(Refusal { code, entry: Some(escape(name)), reason: reason.into() })
    }

    /// The archive, or `what` of a folder, could not be read.
    pub(crate) fn read(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { what: what.into(), source }
    }

    /// Takes our own error out of the one that a reader had to wrap it in.
    pub(crate) fn from_io(error: io::Error) -> Self {
        error
            .downcast()
            .unwrap_or_else(|source| Self::Read { what: "the archive".to_owned(), source })
    }

    /// The stable code, when the archive itself is at fault.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Read { .. } | Self::Write { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Refusal { entry: Some(entry), reason, .. }) => {
                write!(f, "`{entry}` {reason}")
            }
            Self::Refused(Refusal { entry: None, reason, .. }) => write!(f, "the archive {reason}"),
            Self::Read { what, .. } => write!(f, "could not read `{what}`"),
            Self::Write { .. } => f.write_str("could not write the archive"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Read { source, .. } | Self::Write { source } => Some(source),
        }
    }
}

/// For readers, which can fail in no other way.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Refused(Refusal { code, .. }) => {
                Self::invalid(code.as_str(), "archive", message).hint(code.hint())
            }
            Error::Write { source } if source.kind() == io::ErrorKind::BrokenPipe => {
                Self::new(Kind::Canceled, "SW-CANCELED", "the receiver of the archive went away")
            }
            Error::Read { source, .. } | Error::Write { source } => {
                Self::internal(format!("{message}: {}", source.kind()))
            }
        }
    }
}

/// A name from outside, made fit for one line of text: escaped, and cut at 120 characters.
pub(crate) fn escape(name: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text = name.utf8_chunks().flat_map(|chunk| {
        let bad = chunk.invalid().iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes());
        let good = chunk.valid().chars().flat_map(|it| {
            let text = match it {
                '`' => it.escape_unicode().to_string(),
                '\\' => it.escape_default().to_string(),
                _ if crate::name::is_hidden(it) => it.escape_default().to_string(),
                _ => it.to_string(),
            };
            text.into_bytes()
        });
        good.chain(bad).collect::<Vec<_>>()
    });
    let text = String::from_utf8_lossy(&text.take(LONGEST * 4).collect::<Vec<_>>()).into_owned();
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}
