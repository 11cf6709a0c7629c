//! The checked source of an app.

use serde::{Deserialize, Serialize};

use crate::{
    agent::v1 as wire,
    problem::Problem,
    value::{GitRef, GitUrl, Hidden, ImageId, ImageRef},
};

/// Longest archive, in bytes.
const MAX_ARCHIVE: u64 = 1 << 30;
/// Longest Dockerfile sent along, in bytes.
const MAX_DOCKERFILE: usize = 512 << 10;
/// Longest token or password, in bytes.
const MAX_SECRET: usize = 8 << 10;

/// Where the code or the image comes from. Serialized, it has no tokens or passwords.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// An uploaded archive.
    Archive {
        /// Length in bytes.
        size_bytes: u64,
        /// SHA-256 of the bytes.
        sha256: [u8; 32],
        /// How to build it.
        build: Build,
    },
    /// A git repository.
    Git {
        /// Where it is.
        url: GitUrl,
        /// Branch, tag or commit; none: the remote's default branch.
        reference: Option<GitRef>,
        /// Token for the host of `url`.
        #[serde(skip)]
        token: Hidden,
        /// How to build it.
        build: Build,
    },
    /// An image of a registry.
    Image {
        /// Which.
        reference: ImageRef,
        /// Login at the registry; none: anonymous.
        #[serde(skip)]
        login: Option<Login>,
    },
    /// The image of a release that the server has kept.
    Release {
        /// Which.
        image_id: ImageId,
    },
}

/// User and password at a registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    /// User.
    pub username: String,
    /// Password or token.
    pub password: Hidden,
}

/// How a source becomes an image.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Build {
    /// Text of a Dockerfile sent along.
    pub dockerfile: Option<String>,
    /// Path of the Dockerfile within the source.
    pub dockerfile_path: Option<String>,
}

impl Source {
    /// The word for it: `code`, `git`, `image` or `rollback`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Archive { .. } => "code",
            Self::Git { .. } => "git",
            Self::Image { .. } => "image",
            Self::Release { .. } => "rollback",
        }
    }

    /// What it is, for people, without secrets.
    pub fn detail(&self) -> String {
        match self {
            Self::Archive { size_bytes, sha256, .. } => {
                let digest = hex::encode(sha256);
                format!("sha256:{} ({size_bytes} B)", digest.get(..12).unwrap_or(&digest))
            }
            Self::Git { url, reference: Some(reference), .. } => format!("{url}#{reference}"),
            Self::Git { url, reference: None, .. } => url.to_string(),
            Self::Image { reference, .. } => reference.to_string(),
            Self::Release { image_id } => image_id.short().to_owned(),
        }
    }
}

impl TryFrom<Option<wire::Source>> for Source {
    type Error = Problem;

    fn try_from(source: Option<wire::Source>) -> Result<Self, Problem> {
        use wire::source::Kind;
        match source.and_then(|it| it.kind) {
            None => Err(Problem::invalid("SW-SOURCE", "source", "there is no source")
                .hint("give a folder, an archive, a git URL or an image")),
            Some(Kind::Archive(it)) => archive(it),
            Some(Kind::Git(it)) => git(it),
            Some(Kind::Image(it)) => image(it),
            Some(Kind::Release(wire::ReleaseSource { image_id })) => {
                Ok(Self::Release { image_id: ImageId::parse(&image_id)? })
            }
        }
    }
}

fn archive(wire: wire::ArchiveSource) -> Result<Source, Problem> {
    let wire::ArchiveSource { size_bytes, sha256, build } = wire;
    if !(1..=MAX_ARCHIVE).contains(&size_bytes) {
        let message = format!("an archive of {size_bytes} B is not between 1 B and 1 GiB");
        return Err(Problem::invalid("SW-ARCHIVE-SIZE", "source", message)
            .hint("leave out what the build does not need with `.dockerignore`"));
    }
    let Ok(sha256) = <[u8; 32]>::try_from(sha256.as_ref()) else {
        let message = "the SHA-256 of the archive is not 32 bytes long";
        return Err(Problem::invalid("SW-ARCHIVE-DIGEST", "source", message));
    };
    Ok(Source::Archive { size_bytes, sha256, build: Build::try_from(build.unwrap_or_default())? })
}

fn git(wire: wire::GitSource) -> Result<Source, Problem> {
    let wire::GitSource { url, r#ref, token, build } = wire;
    let reference = if r#ref.is_empty() { None } else { Some(GitRef::parse(&r#ref)?) };
    Ok(Source::Git {
        url: GitUrl::parse(&url)?,
        reference,
        token: secret("git_token", token)?,
        build: Build::try_from(build.unwrap_or_default())?,
    })
}

fn image(wire: wire::ImageSource) -> Result<Source, Problem> {
    let wire::ImageSource { reference, username, password } = wire;
    let reference = ImageRef::parse(&reference)?;
    if username.len() > 256 || username.chars().any(char::is_control) {
        let message = "the user at the registry is not plain text of at most 256 bytes";
        return Err(Problem::invalid("SW-IMAGE-AUTH", "username", message));
    }
    let login = match (username.is_empty(), password.is_empty()) {
        (true, true) => None,
        (true, false) => {
            let message = "there is a password for the registry, but no user";
            return Err(Problem::invalid("SW-IMAGE-AUTH", "username", message));
        }
        (false, _) => Some(Login { username, password: secret("password", password)? }),
    };
    Ok(Source::Image { reference, login })
}

/// A token or password: printable ASCII, so that it can stand in a header.
fn secret(field: &'static str, text: String) -> Result<Hidden, Problem> {
    if text.len() > MAX_SECRET || !text.bytes().all(|it| it.is_ascii_graphic() || it == b' ') {
        let message = "it is not printable ASCII of at most 8 KiB";
        return Err(Problem::invalid("SW-SECRET", field, message)
            .hint("look for a line end that was copied with it"));
    }
    Ok(text.into())
}

impl TryFrom<wire::Build> for Build {
    type Error = Problem;

    fn try_from(wire: wire::Build) -> Result<Self, Problem> {
        let wire::Build { dockerfile, dockerfile_path } = wire;
        if dockerfile.len() > MAX_DOCKERFILE {
            let message = "the Dockerfile is longer than 512 KiB";
            return Err(Problem::invalid("SW-DOCKERFILE-SIZE", "dockerfile", message));
        }
        let part = |it: &str| !it.is_empty() && it != "." && it != "..";
        let bad_path = dockerfile_path.len() > 1_024
            || dockerfile_path.chars().any(|it| it.is_control() || it == '\\')
            || (!dockerfile_path.is_empty() && !dockerfile_path.split('/').all(part));
        if bad_path {
            let message = "the path of the Dockerfile is not a plain path within the source";
            return Err(Problem::invalid("SW-DOCKERFILE-PATH", "dockerfile", message)
                .hint("use a path such as `docker/Dockerfile`"));
        }
        let given = |it: String| (!it.is_empty()).then_some(it);
        Ok(Self { dockerfile: given(dockerfile), dockerfile_path: given(dockerfile_path) })
    }
}
