//! What a user's folder leaves out.
//!
//! `.slipwayignore` and `.gitignore` are read as git does, `.dockerignore` as Docker does; only the one at
//! the top of the folder, and only the first of the three. A folder with none of them is sent whole.

use std::{fs, io, path::Path};

/// The longest file that is read.
const LONGEST_BYTES: usize = 256 << 10;

/// Rules for what is left out.
#[derive(Debug, Default)]
pub(crate) struct Ignore {
    dialect: Dialect,
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Dialect {
    /// A pattern without a slash fits at any depth; what lies in a folder that is left out cannot be
    /// brought back.
    #[default]
    Git,
    /// Every pattern begins at the top; `!` brings back from anywhere.
    Docker,
}

#[derive(Debug)]
struct Rule {
    brings_back: bool,
    folders_only: bool,
    parts: Vec<String>,
}

impl Ignore {
    /// Reads the rules at the top of a folder.
    pub(crate) fn find(dir: &Path) -> io::Result<Self> {
        let files = [
            (".slipwayignore", Dialect::Git),
            (".dockerignore", Dialect::Docker),
            (".gitignore", Dialect::Git),
        ];
        for (name, dialect) in files {
            match fs::read(dir.join(name)) {
                Ok(text) if text.len() <= LONGEST_BYTES => {
                    return Ok(Self::parse(&String::from_utf8_lossy(&text), dialect));
                }
                Ok(_) => return Err(io::Error::other(format!("{name} is longer than 256 KiB"))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                Err(error) => return Err(error),
            }
        }
        Ok(Self::default())
    }

    fn parse(text: &str, dialect: Dialect) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { dialect, rules: text.lines().filter_map(|it| Rule::parse(it, dialect)).collect() }
    }

    /// Whether something inside a folder that is left out may still be sent.
    pub(crate) fn may_bring_back(&self) -> bool {
        self.dialect == Dialect::Docker && self.rules.iter().any(|it| it.brings_back)
    }

    /// Whether the rules leave out this path.
    pub(crate) fn leaves_out(&self, path: &str, is_folder: bool) -> bool {
        // Docker needs them for the build, and does not copy them when they are left out.
        if self.dialect == Dialect::Docker && matches!(path, "Dockerfile" | ".dockerignore") {
            return false;
        }
        let parts: Vec<_> = path.split('/').collect();
        let fits = |rule: &&Rule| match self.dialect {
            Dialect::Git => rule.fits(&parts, is_folder),
            Dialect::Docker => (1..=parts.len())
                .any(|count| rule.fits(parts.get(..count).unwrap_or_default(), true)),
        };
        self.rules.iter().rfind(fits).is_some_and(|it| !it.brings_back)
    }
}

impl Rule {
    fn parse(line: &str, dialect: Dialect) -> Option<Self> {
        let line = line.trim_end_matches('\r');
        if line.starts_with('#') {
            return None;
        }
        let line = match dialect {
            Dialect::Docker => line.trim(),
            // A blank at the end counts only behind a backslash.
            Dialect::Git => match line.trim_end() {
                it if it.ends_with('\\') && it.len() < line.len() => line.get(..=it.len())?,
                it => it,
            },
        };
        let (brings_back, line) = match line.strip_prefix('!') {
            Some(line) => (true, line),
            None => (false, line),
        };
        let folders_only = dialect == Dialect::Git && line.ends_with('/');
        let line = line.trim_end_matches('/');
        let anchored = dialect == Dialect::Docker || line.contains('/');
        let mut parts: Vec<_> =
            line.split('/').filter(|it| !matches!(*it, "" | ".")).map(str::to_owned).collect();
        if parts.is_empty() {
            return None;
        }
        if !anchored {
            parts.insert(0, "**".to_owned());
        }
        Some(Self { brings_back, folders_only, parts })
    }

    fn fits(&self, path: &[&str], is_folder: bool) -> bool {
        (is_folder || !self.folders_only) && fits_parts(&self.parts, path)
    }
}

/// Whether a pattern fits a whole path. `**` stands for any number of parts.
///
/// One row per part of the path: after which parts of the pattern one can stand.
fn fits_parts(pattern: &[String], path: &[&str]) -> bool {
    let open = |row: &mut Vec<bool>| {
        for (at, part) in pattern.iter().enumerate() {
            if part == "**" && row.get(at) == Some(&true) && at + 1 < pattern.len() {
                mark(row, at + 1);
            }
        }
    };
    let mut row = vec![false; pattern.len() + 1];
    mark(&mut row, 0);
    open(&mut row);
    for name in path {
        let mut next = vec![false; row.len()];
        for (at, part) in pattern.iter().enumerate().filter(|(at, _)| row.get(*at) == Some(&true)) {
            if part == "**" {
                mark(&mut next, at);
                // At the end of a pattern it stands for one part or more.
                if at + 1 == pattern.len() {
                    mark(&mut next, at + 1);
                }
            } else if fits_part(part, name) {
                mark(&mut next, at + 1);
            }
        }
        open(&mut next);
        row = next;
    }
    row.last() == Some(&true)
}

fn mark(row: &mut [bool], at: usize) {
    if let Some(it) = row.get_mut(at) {
        *it = true;
    }
}

/// Whether a pattern with `*`, `?`, `[a-z]` and `\` fits one part of a path.
fn fits_part(pattern: &str, name: &str) -> bool {
    let pattern: Vec<_> = pattern.chars().collect();
    let name: Vec<_> = name.chars().collect();
    let (mut at, mut next) = (0, 0);
    // Where to go on when the last `*` has to take one more.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            star = Some((at + 1, next));
            at += 1;
            continue;
        }
        match (pattern.get(at..).unwrap_or_default(), name.get(next)) {
            ([], None) => return true,
            (rest @ [_, ..], Some(letter)) => {
                if let Some(used) = fits_letter(rest, *letter) {
                    (at, next) = (at + used, next + 1);
                    continue;
                }
            }
            _ => (),
        }
        match star {
            Some((after, taken)) if taken < name.len() => {
                (at, next) = (after, taken + 1);
                star = Some((after, taken + 1));
            }
            _ => return false,
        }
    }
}

/// How much of the pattern fits one letter.
fn fits_letter(pattern: &[char], letter: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', it, ..] => (*it == letter).then_some(2),
        ['[', class @ ..] => {
            // A bracket right at the start stands for itself.
            let skip = class.iter().take_while(|it| matches!(it, '!' | '^')).count().min(1);
            let length = skip + 1 + class.iter().skip(skip + 1).position(|it| *it == ']')?;
            let set = class.get(skip..length)?;
            let mut is_in = false;
            let mut at = 0;
            while let Some(from) = set.get(at) {
                if let (Some('-'), Some(to)) = (set.get(at + 1), set.get(at + 2)) {
                    is_in |= (*from..=*to).contains(&letter);
                    at += 3;
                } else {
                    is_in |= *from == letter;
                    at += 1;
                }
            }
            (is_in != (skip == 1)).then_some(length + 2)
        }
        [it, ..] => (*it == letter).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dialect: Dialect, rules: &str, left_out: &[&str], sent: &[&str]) {
        let ignore = Ignore::parse(rules, dialect);
        let ask = |path: &str| match path.strip_suffix('/') {
            Some(path) => ignore.leaves_out(path, true),
            None => ignore.leaves_out(path, false),
        };
        for path in left_out {
            assert!(ask(path), "{rules:?} should leave out {path}");
        }
        for path in sent {
            assert!(!ask(path), "{rules:?} should send {path}");
        }
    }

    #[test]
    fn git_rules_without_a_slash_fit_at_any_depth() {
        let rules = "# comment\nnode_modules/\n*.log\n!keep.log\n/dist\ndoc/*.txt\n";
        check(
            Dialect::Git,
            rules,
            &["node_modules/", "a/node_modules/", "x.log", "a/b.log", "dist/", "doc/a.txt"],
            &["node_modules", "keep.log", "a/dist/", "doc/b/a.txt", "# comment", "a/doc/a.txt"],
        );
    }

    #[test]
    fn docker_rules_begin_at_the_top_and_bring_back_from_anywhere() {
        check(
            Dialect::Docker,
            "node_modules\n**/*.log\nsecret\n!secret/public\nDockerfile\n",
            &["node_modules/", "node_modules/x", "a.log", "a/b/c.log", "secret/key"],
            &["a/node_modules/", "secret/public", "secret/public/x", "Dockerfile"],
        );
    }

    #[test]
    fn stars_classes_and_escapes_fit_as_in_a_shell() {
        for (pattern, name) in [
            ("*", "a"),
            ("a*c*e", "abcde"),
            ("?b", "ab"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("\\*", "*"),
            ("*.py[co]", "m.pyc"),
            ("[]]", "]"),
            ("a*", "a"),
        ] {
            assert!(fits_part(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("a", "ab"), ("*.py", "a.pyc"), ("[a-c]", "d"), ("?", ""), ("[", "a")]
        {
            assert!(!fits_part(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn two_stars_stand_for_any_number_of_folders() {
        check(Dialect::Git, "a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["z", "a/b"]);
        check(Dialect::Git, "a/**", &["a/b", "a/b/c"], &["a/"]);
        check(Dialect::Git, "**/z", &["z", "a/z"], &["z/a"]);
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let pattern = "*a".repeat(2_000);
        assert!(!fits_part(&pattern, &"a".repeat(255)));
        let pattern = "**/".repeat(5_000) + "x";
        assert!(Ignore::parse(&pattern, Dialect::Git).leaves_out("a/b/c/x", false));
    }
}
