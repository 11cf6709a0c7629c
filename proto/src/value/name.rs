//! Names of apps, services, environments, servers, users and volumes: one grammar.

use serde::{Deserialize, Serialize};

use super::{quote, text_type};
use crate::problem::Problem;

/// Longest name, in characters.
const MAX: usize = 40;

/// Words that would be taken for something else.
const RESERVED: &[&str] =
    &["all", "con", "default", "docker", "localhost", "nginx", "none", "slipway"];

/// A name: `^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Checks a name of no particular thing.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::of("name", text)
    }

    /// Checks a name that stands in `field`.
    pub fn of(field: &'static str, text: &str) -> Result<Self, Problem> {
        if well_formed(text) {
            return Ok(Self(text.to_owned()));
        }
        let rule =
            "use 1 to 40 of a-z, 0-9 and `-`, beginning with a letter and not ending with `-`";
        let hint = match suggestion(text) {
            Some(better) => format!("{rule}, such as `{better}`"),
            None => rule.to_owned(),
        };
        let message = format!("{} is not a name", quote(text));
        Err(Problem::invalid("SW-NAME", field, message).hint(hint))
    }
}

text_type!(Name);

fn well_formed(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |it: &u8| it.is_ascii_lowercase() || it.is_ascii_digit() || *it == b'-';
    bytes.len() <= MAX
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(|it| *it != b'-')
        && bytes.iter().all(inner)
}

/// The nearest name, if the text has letters to make one of.
fn suggestion(text: &str) -> Option<String> {
    let mut out = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() => out.push(c),
            c if c.is_ascii_digit() && !out.is_empty() => out.push(c),
            _ if !out.is_empty() && !out.ends_with('-') => out.push('-'),
            _ => (),
        }
        if out.len() == MAX {
            break;
        }
    }
    let out = out.trim_end_matches('-');
    well_formed(out).then(|| out.to_owned())
}

/// Makes the type of one kind of name.
macro_rules! kind {
    ($(#[$doc:meta])* $type:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks the name.
            pub fn parse(text: &str) -> Result<Self, Problem> {
                let Name(name) = Name::of($field, text)?;
                if RESERVED.contains(&name.as_str()) {
                    let message = format!("{} is reserved", quote(text));
                    return Err(Problem::invalid("SW-NAME-RESERVED", $field, message)
                        .hint(format!("choose another name, such as `my-{name}`")));
                }
                Ok(Self(name))
            }
        }

        text_type!($type);
    };
}

kind!(
    /// Name of an app.
    AppName,
    "name"
);
kind!(
    /// Name of a service within an app.
    ServiceName,
    "service"
);
kind!(
    /// Name of an environment, such as `production` or `staging`.
    EnvironmentName,
    "environment"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_the_corpus_are_refused_with_the_rule() {
        for bad in [
            "",
            "A",
            "-a",
            "a-",
            "a_b",
            "a.b",
            "..",
            "a/b",
            "a;id",
            "$(id)",
            "`id`",
            "a\nb",
            "a\0b",
            "é",
            "e\u{301}",
            "\u{202e}abc",
            "🚢",
            "a b",
            "1a",
        ] {
            let problem = AppName::parse(bad).unwrap_err();
            assert_eq!(
                (problem.code.as_ref(), problem.field.as_deref()),
                ("SW-NAME", Some("name"))
            );
        }
        assert!(AppName::parse(&"a".repeat(41)).is_err());
        assert!(AppName::parse(&"a".repeat(40)).is_ok());
    }

    #[test]
    fn reserved_words_are_refused() {
        for bad in ["con", "slipway", "default"] {
            assert_eq!(AppName::parse(bad).unwrap_err().code, "SW-NAME-RESERVED");
        }
    }

    #[test]
    fn a_refusal_suggests_a_name() {
        let hint = AppName::parse("My App_2!").unwrap_err().hint.unwrap();
        assert!(hint.ends_with("such as `my-app-2`"), "{hint}");
    }

    proptest! {
        #[test]
        fn what_is_accepted_matches_the_grammar(text in "\\PC{0,45}|[a-z0-9-]{0,45}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(text.len() <= 40 && !text.is_empty());
                prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            }
        }

        #[test]
        fn a_suggestion_is_itself_a_name(text in "\\PC{0,60}") {
            if let Some(better) = suggestion(&text) {
                prop_assert!(Name::parse(&better).is_ok());
            }
        }
    }
}
