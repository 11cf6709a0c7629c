//! References to images, after the grammar of the distribution project
//! (<https://github.com/distribution/reference>).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Outbound, is_public, quote, text_type};
use crate::problem::Problem;

/// A reference such as `nginx:1.27` or `ghcr.io/me/app@sha256:…`. Kept as it was written.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef(String);

/// The parts of a reference.
struct Parts<'a> {
    host: Option<&'a str>,
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl ImageRef {
    /// Checks the form. Whether its registry may be dialled is [`ImageRef::check`]'s to say.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = |why: &str| {
            let message = format!("{} is not an image: {why}", quote(text));
            Problem::invalid("SW-IMAGE-REF", "image", message)
                .hint("use a reference such as `nginx:1.27` or `ghcr.io/me/app@sha256:…`")
        };
        if text.len() > 255 {
            return Err(wrong("it is longer than 255 characters"));
        }
        let Parts { host, path, tag, digest } = split(text);
        if host.is_some_and(|it| !is_host(it)) {
            return Err(wrong("its registry is malformed"));
        }
        if !path.split('/').all(is_component) {
            return Err(wrong("its name must be of a-z, 0-9 and single `.`, `_`, `-` between"));
        }
        if tag.is_some_and(|it| !is_tag(it)) {
            return Err(wrong("its tag must be 1 to 128 of letters, digits, `_`, `.`, `-`"));
        }
        if digest.is_some_and(|it| !is_digest(it)) {
            return Err(wrong("its digest must be `sha256:` and 64 hex digits"));
        }
        if text == "scratch" {
            return Err(wrong("`scratch` is empty and cannot be run"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Checks its registry against what the operator allows.
    pub fn check(&self, allowed: Outbound) -> Result<(), Problem> {
        if allowed.allow_private {
            return Ok(());
        }
        let registry = self.registry();
        let host = match registry.strip_prefix('[').and_then(|it| it.split_once(']')) {
            Some((v6, _)) => v6,
            None => registry.split(':').next().unwrap_or(registry),
        };
        let private = match host.parse::<IpAddr>() {
            Ok(address) => !is_public(address),
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        };
        if private {
            let message = format!("the registry {} is not on the public internet", quote(registry));
            return Err(Problem::invalid("SW-IMAGE-HOST", "image", message)
                .hint("servers pull only from public registries"));
        }
        Ok(())
    }

    /// Host and port of the registry.
    pub fn registry(&self) -> &str {
        split(&self.0).host.unwrap_or("docker.io")
    }

    /// The reference without tag and digest.
    pub fn repository(&self) -> &str {
        let without_digest = self.0.split('@').next().unwrap_or(&self.0);
        match split(&self.0).tag {
            Some(tag) => without_digest
                .strip_suffix(tag)
                .and_then(|it| it.strip_suffix(':'))
                .unwrap_or(without_digest),
            None => without_digest,
        }
    }

    /// The tag; `latest` when there is neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        let parts = split(&self.0);
        match (parts.tag, parts.digest) {
            (None, None) => Some("latest"),
            (tag, _) => tag,
        }
    }

    /// The digest, `sha256:…`.
    pub fn digest(&self) -> Option<&str> {
        split(&self.0).digest
    }

    /// Name of the image, for people: the last part of its path.
    pub fn name(&self) -> &str {
        let path = split(&self.0).path;
        path.rsplit('/').next().unwrap_or(path)
    }
}

text_type!(ImageRef);

fn split(text: &str) -> Parts<'_> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    // The first part is a host when it looks like one, as Docker decides it.
    let (host, rest) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (Some(first), rest)
        }
        _ => (None, name),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    Parts { host, path, tag, digest }
}

fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    };
    let label = |it: &str| {
        !it.is_empty()
            && !it.starts_with('-')
            && !it.ends_with('-')
            && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    let v6 = name
        .strip_prefix('[')
        .and_then(|it| it.strip_suffix(']'))
        .is_some_and(|it| matches!(it.parse(), Ok(IpAddr::V6(_))));
    let port_good = port.is_none_or(|it| {
        it.bytes().all(|it| it.is_ascii_digit()) && it.parse::<u16>().is_ok_and(|it| it > 0)
    });
    (v6 || name.split('.').all(label)) && port_good
}

/// Lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between.
fn is_component(text: &str) -> bool {
    let alnum = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    text.bytes().next().is_some_and(alnum)
        && text.bytes().last().is_some_and(alnum)
        && text.bytes().all(|it| alnum(it) || b"._-".contains(&it))
        && !["..", "___", "._", "_.", "-.", ".-", "-_", "_-"].iter().any(|it| text.contains(it))
}

fn is_tag(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|it| it.is_ascii_alphanumeric() || it == b'_');
    let all = text.bytes().all(|it| it.is_ascii_alphanumeric() || b"_.-".contains(&it));
    text.len() <= 128 && first && all
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|it| {
        it.len() == 64 && it.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it))
    })
}

/// Docker's id of an image: `sha256:` and 64 hex digits.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

impl ImageId {
    /// Checks the form.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if is_digest(text) {
            return Ok(Self(text.to_owned()));
        }
        let message = format!("{} is not the id of an image", quote(text));
        Err(Problem::invalid("SW-IMAGE-ID", "image_id", message))
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(7..19).unwrap_or(&self.0)
    }
}

text_type!(ImageId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_the_corpus_are_refused() {
        for bad in [
            "",
            "../x",
            "UPPER/x",
            "x:tag:tag",
            "x@sha256:zz",
            "scratch",
            "x:",
            "-x",
            "x/",
            "/x",
            "a b",
            "x;id",
            "$(id)",
            "x@",
            "a..b/x",
            "host:0/x",
            "host:99999/x",
            "x\n",
            "é",
        ] {
            assert_eq!(ImageRef::parse(bad).unwrap_err().code, "SW-IMAGE-REF", "{bad:?}");
        }
        assert!(ImageRef::parse(&"x".repeat(300)).is_err());
    }

    #[test]
    fn registries_that_are_not_public_are_refused_unless_allowed() {
        for bad in ["localhost:5000/x", "169.254.169.254/x", "127.0.0.1:5000/a/b:c", "[::1]:5000/x"]
        {
            let image = ImageRef::parse(bad).unwrap();
            assert_eq!(
                image.check(Outbound::default()).unwrap_err().code,
                "SW-IMAGE-HOST",
                "{bad}"
            );
            assert!(image.check(Outbound { allow_http: false, allow_private: true }).is_ok());
        }
    }

    #[test]
    fn a_reference_is_taken_apart_as_docker_does_it() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let full = format!("ghcr.io:443/me/app:1.2@{digest}");
        for (text, registry, repository, tag, name) in [
            ("nginx", "docker.io", "nginx", Some("latest"), "nginx"),
            ("me/app:1", "docker.io", "me/app", Some("1"), "app"),
            ("localhost/app", "localhost", "localhost/app", Some("latest"), "app"),
            ("h:5000/a/b:c", "h:5000", "h:5000/a/b", Some("c"), "b"),
            (&full, "ghcr.io:443", "ghcr.io:443/me/app", Some("1.2"), "app"),
        ] {
            let image = ImageRef::parse(text).unwrap();
            assert_eq!(
                (image.registry(), image.repository(), image.tag(), image.name()),
                (registry, repository, tag, name)
            );
        }
        assert_eq!(ImageRef::parse(&full).unwrap().digest(), Some(digest.as_str()));
    }
}
