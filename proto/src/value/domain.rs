//! Host names under which apps are served. nginx takes nearly any text as a name, so what reaches it
//! is only ever one of these.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{quote, text_type};
use crate::problem::Problem;

/// Last labels that never name a public site (RFC 6761, RFC 8375, and our own).
const RESERVED: &[&str] = &["arpa", "internal", "invalid", "local", "localhost", "onion"];

/// A host name in its ASCII form, lower-case, of at least two labels; not an address, no wildcard.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

impl Domain {
    /// Checks a name; a Unicode one is turned into its ASCII form (UTS 46).
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = |why: &str| {
            let message = format!("{} is not a domain: {why}", quote(text));
            Problem::invalid("SW-DOMAIN-SYNTAX", "domains", message)
                .hint("use a full host name such as `app.example.com`")
        };
        if text.len() > 1_024 {
            return Err(wrong("it is too long"));
        }
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| wrong("it is malformed"))?;
        if ascii.len() > 253 {
            return Err(wrong("it is longer than 253 characters"));
        }
        let labels: Vec<&str> = ascii.split('.').collect();
        if !labels.iter().all(|it| is_label(it)) {
            return Err(wrong("its labels must be of a-z, 0-9 and inner `-`, 1 to 63 long"));
        }
        let Some((last, [_, ..])) = labels.split_last() else {
            return Err(wrong("it has only one label"));
        };
        if RESERVED.contains(last) {
            let message = format!("names under `.{last}` are reserved");
            return Err(Problem::invalid("SW-DOMAIN-RESERVED", "domains", message)
                .hint("use a name that you have registered"));
        }
        if ascii.parse::<IpAddr>().is_ok() || last.bytes().all(|it| it.is_ascii_digit()) {
            return Err(wrong("it is an address"));
        }
        Ok(Self(ascii))
    }
}

text_type!(Domain);

fn is_label(label: &str) -> bool {
    let edge = |it: Option<u8>| it.is_some_and(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
    let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    label.len() <= 63
        && edge(label.bytes().next())
        && edge(label.bytes().last())
        && label.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn domains_of_the_corpus_are_refused() {
        let injected = "a.com; } server { listen 127.0.0.1:18089; location / { root /; } }";
        let (label, long) = (format!("{}.com", "a".repeat(64)), format!("{}com", "a.".repeat(126)));
        for bad in [
            "_",
            "*.com",
            "*.x.com",
            "~^.*$",
            "",
            "$host",
            "default_server",
            "a..com",
            injected,
            "127.0.0.1",
            "[::1]",
            "::1",
            "localhost",
            "x.internal",
            "xn--",
            "xn--example-.org",
            "a.com.",
            ".com",
            "com",
            "a b.com",
            "a.com\n",
            "1.2.3",
            "-a.com",
            "a-.com",
            &label,
            &long,
            "a.com/x",
            "a.com:80",
            "a\0.com",
            "http://a.com",
        ] {
            let problem = Domain::parse(bad).map(|it| it.0).unwrap_err();
            assert!(problem.code.starts_with("SW-DOMAIN-"), "{bad:?}");
        }
    }

    #[test]
    fn a_unicode_name_takes_its_ascii_form() {
        assert_eq!(Domain::parse("Bücher.example").unwrap().as_str(), "xn--bcher-kva.example");
        assert_eq!(Domain::parse("APP.Example.com").unwrap().as_str(), "app.example.com");
    }

    proptest! {
        #[test]
        fn what_is_accepted_has_only_letters_digits_dots_and_hyphens(text in "\\PC{0,40}") {
            if let Ok(domain) = Domain::parse(&text) {
                prop_assert!(domain.as_str().bytes().all(
                    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.'
                ));
                prop_assert_eq!(Domain::parse(domain.as_str()).unwrap(), domain);
            }
        }
    }
}
