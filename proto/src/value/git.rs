//! Where git repositories are, and which part of them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{Outbound, is_public, quote, text_type};
use crate::problem::Problem;

/// URL of a git repository over https or http, without user or password.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct GitUrl(String);

impl GitUrl {
    /// Checks the form. Whether it may be dialled is [`GitUrl::check`]'s to say.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let scheme = |why: String| {
            Problem::invalid("SW-GIT-SCHEME", "git_url", why)
                .hint("use `https://host/path`; private repositories take a token")
        };
        if text.len() > 2_048 || text.chars().any(|it| it.is_control() || it == ' ' || it == '\\') {
            return Err(scheme("it is not a URL of a git repository".to_owned()));
        }
        let url =
            Url::parse(text).map_err(|_| scheme(format!("{} is not a URL", quote(&bare(text)))))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(scheme(format!("{} is not a scheme that is cloned", quote(url.scheme()))));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Problem::invalid(
                "SW-GIT-USERINFO",
                "git_url",
                "the URL has a user or password in it",
            )
            .hint(
                "give the token apart from the URL; what was in the URL may be in logs: revoke it",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(scheme("a git URL has no `?` or `#`".to_owned()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(Problem::invalid("SW-GIT-HOST", "git_url", "the URL has no host"));
        }
        Ok(Self(url.into()))
    }

    /// Checks it against what the operator allows. A name is checked again when it is resolved.
    pub fn check(&self, allowed: Outbound) -> Result<(), Problem> {
        let Ok(url) = Url::parse(&self.0) else {
            return Err(Problem::invalid("SW-GIT-SCHEME", "git_url", "it is not a URL"));
        };
        if url.scheme() == "http" && !allowed.allow_http {
            return Err(Problem::invalid("SW-GIT-SCHEME", "git_url", "plain http is not allowed")
                .hint("use https"));
        }
        let private = match url.host() {
            Some(Host::Ipv4(it)) => !is_public(IpAddr::V4(it)),
            Some(Host::Ipv6(it)) => !is_public(IpAddr::V6(it)),
            Some(Host::Domain(it)) => it == "localhost" || it.ends_with(".localhost"),
            None => true,
        };
        if private && !allowed.allow_private {
            let message = "the host is not on the public internet";
            return Err(Problem::invalid("SW-GIT-HOST", "git_url", message)
                .hint("servers fetch only from public addresses"));
        }
        Ok(())
    }

    /// Name of the repository, for people: the last part of the path without `.git`.
    pub fn repository(&self) -> &str {
        let path = self.0.trim_end_matches('/');
        let last = path.rsplit('/').next().unwrap_or(path);
        last.strip_suffix(".git").unwrap_or(last)
    }
}

text_type!(GitUrl);

/// Leaves out what may be a password.
fn bare(text: &str) -> String {
    match (text.find("://"), text.find('@')) {
        (Some(start), Some(at)) if start < at => "…@…".to_owned(),
        _ => text.to_owned(),
    }
}

/// A branch, a tag or a full commit id.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct GitRef(String);

impl GitRef {
    /// Checks the name: an allow-list that is stricter than git-check-ref-format(1).
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let allowed = |it: u8| it.is_ascii_alphanumeric() || b"._-/+@".contains(&it);
        let part = |it: &str| {
            !it.is_empty()
                && !it.starts_with(['.', '-'])
                && !it.ends_with('.')
                && it.rsplit_once('.').is_none_or(|(_, end)| !end.eq_ignore_ascii_case("lock"))
        };
        let good = text.len() <= 255
            && text.bytes().all(allowed)
            && text.split('/').all(part)
            && !text.contains("..")
            && text != "@";
        if good {
            return Ok(Self(text.to_owned()));
        }
        let message = format!("{} is not a branch, tag or commit", quote(text));
        Err(Problem::invalid("SW-REF", "git_branch", message)
            .hint("use a name such as `main`, `v1.2` or 40 hex digits"))
    }

    /// Whether it is a full commit id.
    pub fn is_commit(&self) -> bool {
        matches!(self.0.len(), 40 | 64) && self.0.bytes().all(|it| it.is_ascii_hexdigit())
    }
}

text_type!(GitRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_corpus_are_refused_with_their_code() {
        for (bad, code) in [
            ("file:///srv/x", "SW-GIT-SCHEME"),
            ("/etc", "SW-GIT-SCHEME"),
            ("ext::sh -c id", "SW-GIT-SCHEME"),
            ("ext::id", "SW-GIT-SCHEME"),
            ("ssh://-oProxyCommand=x/y", "SW-GIT-SCHEME"),
            ("--upload-pack=x", "SW-GIT-SCHEME"),
            ("git://host/x", "SW-GIT-SCHEME"),
            ("git@github.com:me/x.git", "SW-GIT-SCHEME"),
            ("https://h/x?y=1", "SW-GIT-SCHEME"),
            ("https://u:p@h/x", "SW-GIT-USERINFO"),
            ("https://u@h/x", "SW-GIT-USERINFO"),
        ] {
            assert_eq!(GitUrl::parse(bad).unwrap_err().code, code, "{bad}");
        }
    }

    #[test]
    fn hosts_that_are_not_public_are_refused_unless_allowed() {
        for bad in [
            "https://169.254.169.254/x",
            "https://127.1/x",
            "https://0x7f000001/x",
            "https://[::ffff:127.0.0.1]/x",
            "https://localhost/x",
        ] {
            let url = GitUrl::parse(bad).unwrap();
            assert_eq!(url.check(Outbound::default()).unwrap_err().code, "SW-GIT-HOST", "{bad}");
            assert!(url.check(Outbound { allow_http: true, allow_private: true }).is_ok());
        }
        let plain = GitUrl::parse("http://example.com/x").unwrap();
        assert_eq!(plain.check(Outbound::default()).unwrap_err().code, "SW-GIT-SCHEME");
    }

    #[test]
    fn a_refusal_does_not_repeat_a_password() {
        let text = GitUrl::parse("nonsense://me:hunter2@h:port/x").unwrap_err().to_string();
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn refs_of_the_corpus_are_refused() {
        for bad in [
            "",
            "--help",
            "-x",
            "main;id",
            "main$(id)",
            "main>f",
            "main${IFS}id",
            "a..b",
            "a@{1}",
            "HEAD~1",
            "refs/heads/../x",
            "a//b",
            "a/",
            "/a",
            "a.lock",
            "a b",
            "a\n",
            "é",
        ] {
            assert_eq!(GitRef::parse(bad).unwrap_err().code, "SW-REF", "{bad:?}");
        }
        assert!(GitRef::parse(&"a".repeat(300)).is_err());
        for good in ["main", "v1.2.3", "feature/x-1", "release+1", "user@topic"] {
            assert_eq!(GitRef::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn the_repository_names_the_app() {
        assert_eq!(GitUrl::parse("https://h/me/shop.git/").unwrap().repository(), "shop");
    }
}
