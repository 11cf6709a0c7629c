//! Submodules: where they come from, by `.gitmodules`, under the rules of the repository itself.

use slipway_proto::value::GitUrl;
use url::Url;

/// Address of the submodule at `path`, when `.gitmodules` has one.
///
/// Own reading of the few lines that matter: libgit2's would follow `include.path` into the machine.
pub(crate) fn address<'a>(gitmodules: &'a str, path: &str) -> Option<&'a str> {
    let mut section = (None, None);
    let mut found = None;
    for line in gitmodules.lines().map(str::trim).chain(["["]) {
        if line.starts_with('[') {
            if let (Some(at), Some(url)) = section
                && at == path
            {
                found = Some(url);
            }
            section = (None, None);
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match key.trim() {
            "path" => section.0 = Some(value.trim_end_matches('/')),
            "url" => section.1 = Some(value),
            _ => (),
        }
    }
    found
}

/// The address itself: absolute, or relative to the repository that names it.
pub(crate) fn resolve(parent: &GitUrl, address: &str) -> Result<GitUrl, String> {
    if !address.starts_with("./") && !address.starts_with("../") {
        return GitUrl::parse(address).map_err(|problem| problem.message);
    }
    let base = format!("{}/", parent.as_str().trim_end_matches('/'));
    let url = Url::parse(&base).and_then(|it| it.join(address)).map_err(|it| it.to_string())?;
    GitUrl::parse(url.as_str()).map_err(|problem| problem.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[submodule \"a\"]\n\tpath = lib/a\n\turl = ../a.git\n[include]\npath = /etc/x\n\
                        [submodule \"b\"]\n url=\"https://h/b\"\n path=b\n";

    #[test]
    fn an_address_is_found_by_the_path() {
        assert_eq!(address(TEXT, "lib/a"), Some("../a.git"));
        assert_eq!(address(TEXT, "b"), Some("https://h/b"));
        assert_eq!(address(TEXT, "/etc/x"), None);
        assert_eq!(address("", "b"), None);
    }

    #[test]
    fn a_relative_address_stays_on_its_server_and_others_need_https() {
        let parent = GitUrl::parse("https://h:8443/me/app.git").unwrap();
        let resolved = |it: &str| resolve(&parent, it).map(|it| it.as_str().to_owned());
        assert_eq!(resolved("../lib.git").unwrap(), "https://h:8443/me/lib.git");
        assert_eq!(resolved("./sub").unwrap(), "https://h:8443/me/app.git/sub");
        assert_eq!(resolved("../../../../x").unwrap(), "https://h:8443/x");
        for bad in ["file:///etc", "/etc", "git@h:x/y", "ext::id", "ssh://h/x", "-x", ""] {
            assert!(resolved(bad).is_err(), "{bad}");
        }
    }
}
