//! Names and sizes of environment variables.

use serde::{Deserialize, Serialize};

use super::{quote, text_type};
use crate::problem::Problem;

/// Most variables of one app.
const MAX_COUNT: usize = 1_000;
/// Longest value, in bytes.
const MAX_VALUE: usize = 64 << 10;
/// All names and values together, in bytes.
pub const MAX_TOTAL: usize = 256 << 10;
/// Longest name, in bytes.
const MAX_NAME: usize = 256;

/// Variables that would change how the container itself works.
const RESERVED: &[&str] = &["LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH"];

/// Name of an environment variable: `^[A-Za-z_][A-Za-z0-9_]*$`, not reserved.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvName(String);

impl EnvName {
    /// Checks the name.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let first = text.bytes().next().is_some_and(|it| it.is_ascii_alphabetic() || it == b'_');
        let rest = text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
        if !first || !rest || text.len() > MAX_NAME {
            let message = format!("{} is not the name of a variable", quote(text));
            return Err(Problem::invalid("SW-ENV-NAME", "env", message)
                .hint("use letters, digits and `_`, not beginning with a digit"));
        }
        if RESERVED.contains(&text) || text.starts_with("SLIPWAY_") {
            let message = format!("{} is reserved", quote(text));
            return Err(Problem::invalid("SW-ENV-RESERVED", "env", message)
                .hint("set it in the image, or choose another name"));
        }
        Ok(Self(text.to_owned()))
    }
}

text_type!(EnvName);

/// Checks the values of all variables of an app, secrets among them. Values are not quoted in
/// errors: they may be secret.
pub fn check_env<'a>(all: impl Iterator<Item = (&'a EnvName, &'a str)>) -> Result<(), Problem> {
    let (mut count, mut total) = (0_usize, 0_usize);
    for (name, value) in all {
        count += 1;
        total += name.as_str().len() + value.len();
        if value.contains('\0') {
            return Err(Problem::invalid(
                "SW-ENV-VALUE",
                "env",
                format!("the value of `{name}` has a NUL character"),
            ));
        }
        if value.len() > MAX_VALUE {
            let message = format!("the value of `{name}` is longer than 64 KiB");
            return Err(Problem::invalid("SW-ENV-SIZE", "env", message)
                .hint("put large values into a volume or into the image"));
        }
    }
    if count > MAX_COUNT {
        let message = format!("{count} variables are more than {MAX_COUNT}");
        return Err(Problem::invalid("SW-ENV-SIZE", "env", message));
    }
    if total > MAX_TOTAL {
        let message = format!("{total} B of variables are more than 256 KiB");
        return Err(Problem::invalid("SW-ENV-SIZE", "env", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_corpus_are_refused() {
        for (bad, code) in [
            ("A=B", "SW-ENV-NAME"),
            ("", "SW-ENV-NAME"),
            ("1A", "SW-ENV-NAME"),
            ("A\0", "SW-ENV-NAME"),
            ("LD_PRELOAD", "SW-ENV-RESERVED"),
            ("PATH", "SW-ENV-RESERVED"),
            ("SLIPWAY_X", "SW-ENV-RESERVED"),
        ] {
            assert_eq!(EnvName::parse(bad).unwrap_err().code, code, "{bad:?}");
        }
    }

    #[test]
    fn values_have_limits_and_may_have_lines() {
        let name = EnvName::parse("A").unwrap();
        let check = |value: &str, times: usize| {
            check_env(std::iter::repeat_n((&name, value), times)).map_err(|it| it.code)
        };
        assert!(check("two\nlines", 1).is_ok());
        assert!(check(&"x".repeat(64 << 10), 1).is_ok());
        assert_eq!(check(&"x".repeat((64 << 10) + 1), 1).unwrap_err(), "SW-ENV-SIZE");
        assert_eq!(check("", 1_001).unwrap_err(), "SW-ENV-SIZE");
        assert_eq!(check(&"x".repeat(60 << 10), 5).unwrap_err(), "SW-ENV-SIZE");
        assert_eq!(check("a\0b", 1).unwrap_err(), "SW-ENV-VALUE");
    }
}
