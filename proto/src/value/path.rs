//! Paths that users name: of a health check, and inside a container.

use serde::{Deserialize, Serialize};

use super::{quote, text_type};
use crate::problem::Problem;

/// Path of an HTTP health check: `/` and at most 1,023 of the characters of RFC 3986 paths and
/// queries.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct HealthPath(String);

impl HealthPath {
    /// Checks the path.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let allowed = |it: u8| it.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(&it);
        if text.starts_with('/') && text.len() <= 1_024 && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        let message = format!("{} is not a path", quote(text));
        Err(Problem::invalid("SW-HEALTH", "health_path", message)
            .hint("use a path such as `/up`; encode other characters with `%`"))
    }
}

text_type!(HealthPath);

/// Folders of a container that a volume must not hide.
const PROTECTED: &[&str] = &["/", "/dev", "/etc", "/proc", "/run", "/sys", "/usr", "/bin", "/lib"];

/// An absolute path inside a container where a volume may be mounted, without `.` or `..`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerPath(String);

impl ContainerPath {
    /// Checks the path; a final `/` is dropped.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let path = match text.strip_suffix('/') {
            Some(shorter) if !shorter.is_empty() => shorter,
            _ => text,
        };
        let part = |it: &str| !it.is_empty() && it != "." && it != "..";
        let allowed = |it: char| !it.is_control() && !matches!(it, ':' | ',' | '\\');
        let good = path.len() <= 1_024
            && path.strip_prefix('/').is_some_and(|it| it.split('/').all(part))
            && path.chars().all(allowed);
        if !good {
            let message = format!("{} is not an absolute path", quote(text));
            return Err(Problem::invalid("SW-PATH", "volumes", message)
                .hint("use a path such as `/data`, without `.`, `..`, `:` or `,`"));
        }
        let below =
            |it: &&&str| path == **it || (**it != "/" && path.starts_with(&format!("{it}/")));
        if let Some(protected) = PROTECTED.iter().find(below)
            && !path.starts_with("/usr/local/")
            && !path.starts_with("/usr/share/")
            && !path.starts_with("/etc/")
        {
            let message = format!("a volume may not cover `{protected}`");
            return Err(Problem::invalid("SW-PATH", "volumes", message)
                .hint("mount it at a folder of its own, such as `/data`"));
        }
        Ok(Self(path.to_owned()))
    }
}

text_type!(ContainerPath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_climb_or_cover_the_system_are_refused() {
        for bad in
            ["", "data", "/", "/../x", "/a/./b", "//a", "/a:ro", "/proc/self", "/etc", "/a\n"]
        {
            assert_eq!(ContainerPath::parse(bad).unwrap_err().code, "SW-PATH", "{bad:?}");
        }
        for (good, kept) in [("/data", "/data"), ("/app/", "/app"), ("/etc/app", "/etc/app")] {
            assert_eq!(ContainerPath::parse(good).unwrap().as_str(), kept);
        }
    }

    #[test]
    fn a_health_path_has_nothing_that_could_end_a_request_line() {
        for bad in ["", "up", "/up HTTP/1.1\r\n", "/a b", "/é", "http://x/"] {
            assert_eq!(HealthPath::parse(bad).unwrap_err().code, "SW-HEALTH", "{bad:?}");
        }
        assert!(HealthPath::parse("/up?deep=1").is_ok());
    }
}
