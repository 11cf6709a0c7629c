//! Images.

use std::{fmt, str::FromStr, time::SystemTime};

use slipway_host::Secret;

use crate::{
    error::{Error, Result},
    label::Labels,
};

/// Id of an image: `sha256:` and 64 hex digits.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ImageId(String);

impl ImageId {
    /// The id as Docker writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(7..19).unwrap_or(&self.0)
    }
}

impl FromStr for ImageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or_default();
        let hex = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 64 || !digits.bytes().all(hex) {
            return Err(Error::reference(text, "is not an image id"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageId({})", self.short())
    }
}

/// User and password at a registry.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// User.
    pub username: String,
    /// Password or token.
    pub password: Secret<String>,
}

/// How far one layer of a pull has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LayerProgress {
    /// Short id of the layer.
    pub layer: String,
    /// What happens to it.
    pub phase: LayerPhase,
    /// Bytes of this phase so far.
    pub current_bytes: u64,
    /// Bytes of this phase in all; 0 when not known.
    pub total_bytes: u64,
}

/// What happens to a layer, in this order. Any of them may be missing.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum LayerPhase {
    /// It waits for its turn.
    Waiting,
    /// Its bytes come in.
    Downloading,
    /// Its digest is checked.
    Verifying,
    /// All its bytes are here.
    Downloaded,
    /// It is being unpacked.
    Extracting,
    /// It was here before.
    Present,
    /// It is unpacked.
    Complete,
}

impl LayerPhase {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Downloading => "Downloading",
            Self::Verifying => "Verifying Checksum",
            Self::Downloaded => "Download complete",
            Self::Extracting => "Extracting",
            Self::Present => "Already exists",
            Self::Complete => "Pull complete",
        }
    }
}

/// An image that was pulled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PulledImage {
    /// Its id.
    pub id: ImageId,
    /// What names exactly this content at the registry: `name@sha256:…`.
    pub digest: String,
}

/// What is known of an image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its names with tags.
    pub tags: Vec<String>,
    /// Its names with digests.
    pub digests: Vec<String>,
    /// Size in bytes, shared layers included.
    pub size_bytes: u64,
    /// When it was made.
    pub created_at: SystemTime,
    /// Its labels.
    pub labels: Labels,
    /// How it runs.
    pub config: ImageConfig,
}

/// How an image runs when nothing else is said. Empty in the answer of `list_images`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ImageConfig {
    /// TCP ports that it exposes, ascending.
    pub tcp_ports: Vec<u16>,
    /// User. Empty: root.
    pub user: String,
    /// Entry point.
    pub entrypoint: Vec<String>,
    /// Command, or the entry point's arguments.
    pub command: Vec<String>,
    /// Working directory.
    pub workdir: String,
    /// Names of its variables with values.
    pub env: Vec<(String, String)>,
    /// Paths that it declares as volumes.
    pub volumes: Vec<String>,
    /// Whether it brings its own health check.
    pub healthcheck: bool,
    /// Processor: `amd64`, `arm64`.
    pub architecture: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_id_is_sha256_and_64_digits() {
        let id: ImageId = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
        assert_eq!(id.short(), "0a0a0a0a0a0a");
        for bad in ["", "sha256:", "busybox:latest", &format!("sha256:{}", "0A".repeat(32))] {
            assert!(bad.parse::<ImageId>().is_err(), "{bad}");
        }
    }
}
