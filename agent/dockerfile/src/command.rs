//! A command as Docker takes it, without a way to become anything else.

use std::fmt::Write as _;

/// The argument list of a `CMD`, always as JSON on one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Command(Vec<String>);

impl Command {
    /// A command of known words.
    pub(crate) fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        Self(words.into_iter().map(str::to_owned).collect())
    }

    /// A command that a shell runs in place of itself, for the sake of `$PORT`.
    pub(crate) fn expanded(line: &str) -> Self {
        Self::words(["sh", "-c", &format!("exec {line}")])
    }

    /// A line that a user wrote: as plain words if it is no more than that, so that signals reach the
    /// program; else for a shell. None when it is empty or has control characters.
    pub(crate) fn line(line: &str) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() || line.chars().any(char::is_control) {
            return None;
        }
        let plain = |it: char| it.is_ascii_alphanumeric() || " _-./:=@,+%".contains(it);
        let mut words = line.split(' ').filter(|it| !it.is_empty());
        let sets_variable = words.clone().next().is_some_and(|it| it.contains('='));
        let is_builtin = matches!(
            words.next(),
            Some("cd" | "export" | "set" | "exec" | "." | "source" | "ulimit")
        );
        if line.chars().all(plain) && !sets_variable && !is_builtin {
            return Some(Self::words(line.split(' ').filter(|it| !it.is_empty())));
        }
        Some(Self::words(["sh", "-c", line]))
    }

    /// As JSON. Only ASCII, so that no parser sees a line end where another does not.
    pub(crate) fn json(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|it| quoted(it)).collect();
        format!("[{}]", words.join(", "))
    }
}

fn quoted(word: &str) -> String {
    let mut out = String::from('"');
    for it in word.chars() {
        match it {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(it),
            _ => {
                for unit in it.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    write!(out, "\\u{unit:04x}").unwrap_or_default();
                }
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(Command::line(line).unwrap().json(), expected);
    }

    #[test]
    fn plain_words_are_not_given_to_a_shell() {
        check("node  server.js --port=3000", r#"["node", "server.js", "--port=3000"]"#);
        check("gunicorn -b :$PORT app:app", r#"["sh", "-c", "gunicorn -b :$PORT app:app"]"#);
        check("NODE_ENV=production node x", r#"["sh", "-c", "NODE_ENV=production node x"]"#);
        check("cd api && npm start", r#"["sh", "-c", "cd api && npm start"]"#);
        check("cd api", r#"["sh", "-c", "cd api"]"#);
    }

    #[test]
    fn quotes_backslashes_and_letters_are_escaped() {
        check(r#"echo "a\" é 😀"#, r#"["sh", "-c", "echo \"a\\\" \u00e9 \ud83d\ude00"]"#);
        assert_eq!(Command::line("a\nRUN b"), None);
        assert_eq!(Command::line("  "), None);
    }
}
