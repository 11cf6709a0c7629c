//! A path inside an archive that is safe to write anywhere.

use crate::error::{Code, Error};

/// The longest path.
const NAME_BYTES: usize = 1024;
/// The longest part of a path.
const PART_BYTES: usize = 255;

/// A relative path of checked parts, joined by `/`. Empty for the archive's root.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Name(String);

impl Name {
    /// Checks a name as it stands in an archive.
    pub(crate) fn parse(raw: &[u8], depth: usize) -> Result<Self, Error> {
        let refuse = |code, reason: &'static str| Err(Error::entry(code, raw, reason));
        let Ok(text) = str::from_utf8(raw) else {
            return refuse(Code::Path, "is not a UTF-8 name");
        };
        if text.is_empty() {
            return Err(Error::whole(Code::Path, "has an entry without a name"));
        }
        if text.chars().any(|it| is_hidden(it) || it == '\\') {
            return refuse(
                Code::Path,
                "has a backslash, control or direction character in its name",
            );
        }
        if text.starts_with('/') || has_drive(text) {
            return refuse(Code::Path, "is an absolute name");
        }
        let parts: Vec<_> = text.split('/').filter(|it| !matches!(*it, "" | ".")).collect();
        if parts.contains(&"..") {
            return refuse(Code::Path, "has `..` in its name");
        }
        if depth < parts.len() {
            return refuse(Code::Depth, "is nested too deep");
        }
        if parts.iter().any(|it| PART_BYTES < it.len()) || NAME_BYTES < text.len() {
            return refuse(Code::Path, "has too long a name: 255 bytes a part, 1024 in all");
        }
        Ok(Self(parts.join("/")))
    }

    /// A folder of a checked name, or that name again.
    pub(crate) fn known(checked: &str) -> Self {
        Self(checked.to_owned())
    }

    /// The path.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the archive's root.
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its parts, from the root on.
    pub(crate) fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|it| !it.is_empty())
    }

    /// The folders above it, from the root on, without the root.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').filter_map(|(at, _)| self.0.get(..at))
    }

    /// The path below `root`, when it lies there; `root` itself becomes the root.
    pub(crate) fn below(&self, root: &str) -> Option<Self> {
        if root.is_empty() || self.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(root)?;
        if rest.is_empty() {
            return Some(Self::default());
        }
        rest.strip_prefix('/').map(|it| Self(it.to_owned()))
    }

    /// Whether it is part of a repository's or a Mac's bookkeeping, which no build needs.
    pub(crate) fn is_clutter(&self) -> bool {
        self.parts().any(|it| it == ".git") || self.parts().next() == Some("__MACOSX")
    }

    /// Checks the target of a symbolic link at this path.
    pub(crate) fn link(&self, target: &[u8]) -> Result<String, Error> {
        check_link(&self.0, target)
            .map(str::to_owned)
            .map_err(|reason| Error::entry(Code::Link, self.0.as_bytes(), reason))
    }
}

/// Checks that a symbolic link at `path` leads to something within the folder that `path` begins in, or
/// says what is wrong with it.
///
/// `..` may only lead: after a name it could go up from wherever another link points to. As nothing
/// lies beneath a link, the leading ones count true folders.
pub fn check_link<'a>(path: &str, target: &'a [u8]) -> Result<&'a str, &'static str> {
    let target = str::from_utf8(target).map_err(|_| "links to a name that is not UTF-8")?;
    if target.is_empty() || NAME_BYTES < target.len() {
        return Err("links to nothing, or to more than 1024 bytes");
    }
    if target.starts_with('/') || has_drive(target) {
        return Err("links to an absolute path");
    }
    if target.chars().any(|it| is_hidden(it) || it == '\\') {
        return Err("links to a name with a backslash, control or direction character");
    }
    let parts = || target.split('/').filter(|it| !matches!(*it, "" | "."));
    let up = parts().take_while(|it| *it == "..").count();
    if parts().skip(up).any(|it| it == "..") {
        return Err("links through `..` after a name");
    }
    if path.split('/').filter(|it| !it.is_empty()).count() <= up {
        return Err("links to a place outside");
    }
    Ok(target)
}

/// Whether a character would not show, or would reorder what shows.
pub(crate) fn is_hidden(it: char) -> bool {
    it.is_control()
        || matches!(
            it,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// `C:` and the like.
fn has_drive(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_its_dots_and_double_slashes() {
        assert_eq!(Name::parse(b"./a//b/./c/", 64).unwrap().as_str(), "a/b/c");
        assert!(Name::parse(b"./", 64).unwrap().is_root());
    }

    #[test]
    fn a_link_may_go_up_only_as_far_as_the_root() {
        let name = Name::parse(b"a/b/link", 64).unwrap();
        assert_eq!(name.link(b"../../c").unwrap(), "../../c");
        for target in ["../../../c", "/c", "", "d/../../../..", "d/../e", "C:x", "..\\x"] {
            assert_eq!(
                name.link(target.as_bytes()).unwrap_err().code(),
                Some(Code::Link),
                "{target}"
            );
        }
    }

    #[test]
    fn a_name_below_a_folder_is_taken_by_whole_parts() {
        let name = Name::parse(b"app-main/x", 64).unwrap();
        assert_eq!(name.below("app-main").unwrap().as_str(), "x");
        assert_eq!(name.below("app"), None);
    }
}
