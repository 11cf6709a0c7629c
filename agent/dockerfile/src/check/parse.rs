//! A Dockerfile as a list of instructions.

/// One instruction, its continued lines joined.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Instruction {
    /// In upper case.
    pub(super) keyword: String,
    /// What follows it.
    pub(super) rest: String,
    /// Where it begins, from 1.
    pub(super) line: usize,
}

/// Whether `<<EOF` begins a text of its own. It does not in the older builder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Heredocs {
    Known,
    Unknown,
}

impl Instruction {
    /// Words of its rest, or the elements of the JSON list that it is, without flags.
    pub(super) fn words(&self) -> Vec<String> {
        let mut rest = self.rest.as_str();
        while rest.starts_with("--") {
            rest = rest.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
        }
        let list = Some(rest).filter(|it| it.starts_with('[')).map(serde_json::from_str);
        if let Some(Ok(list)) = list {
            return list;
        }
        rest.split_whitespace().map(|it| it.trim_matches(['"', '\'']).to_owned()).collect()
    }

    /// Its flags: the words at its start that begin with `--`.
    pub(super) fn flags(&self) -> impl Iterator<Item = &str> {
        self.rest.split_whitespace().take_while(|it| it.starts_with("--"))
    }

    /// `NAME=value` of an `ARG` or `ENV`, the older `ENV NAME value` too.
    pub(super) fn assignments(&self) -> Vec<(String, String)> {
        if !self.rest.contains('=')
            && let Some((name, value)) = self.rest.split_once(char::is_whitespace)
            && self.keyword == "ENV"
        {
            return vec![(name.to_owned(), value.trim().to_owned())];
        }
        let plain = |it: &str| it.trim_matches(['"', '\'']).to_owned();
        let pairs = self.rest.split_whitespace().map(|it| it.split_once('=').unwrap_or((it, "")));
        pairs.map(|(name, value)| (name.to_owned(), plain(value))).collect()
    }
}

/// Splits a text into instructions.
pub(super) fn parse(text: &str, heredocs: Heredocs) -> Vec<Instruction> {
    let escape = escape(text);
    let mut instructions = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let mut logical = String::new();
        let mut next = Some(line);
        while let Some(line) = next.take() {
            let line = line.trim();
            // Comments and empty lines do not end a continued one.
            if line.starts_with('#') || (line.is_empty() && !logical.is_empty()) {
                if !logical.is_empty() {
                    next = lines.next().map(|(_, line)| line);
                }
                continue;
            }
            if let Some(line) = line.strip_suffix(escape) {
                logical.push_str(line);
                logical.push(' ');
                next = lines.next().map(|(_, line)| line);
            } else {
                logical.push_str(line);
            }
        }
        let logical = logical.trim();
        if logical.is_empty() {
            continue;
        }
        let (keyword, rest) = logical.split_once(char::is_whitespace).unwrap_or((logical, ""));
        let keyword = keyword.to_ascii_uppercase();
        if heredocs == Heredocs::Known && matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") {
            for (end, is_indented) in heredoc_ends(rest) {
                let is_end = |line: &str| {
                    if is_indented { line.trim_start_matches('\t') == end } else { line == end }
                };
                lines.by_ref().find(|(_, line)| is_end(line));
            }
        }
        instructions.push(Instruction { keyword, rest: rest.trim().to_owned(), line: at + 1 });
    }
    instructions
}

/// The words that end the heredocs of an instruction, and whether tabs before them count.
fn heredoc_ends(rest: &str) -> Vec<(String, bool)> {
    let ends = rest.split_whitespace().filter_map(|word| {
        // A file descriptor may stand in front.
        let word = word.trim_start_matches(|it: char| it.is_ascii_digit()).strip_prefix("<<")?;
        let (word, is_indented) = match word.strip_prefix('-') {
            Some(word) => (word, true),
            None => (word, false),
        };
        let name = word.trim_matches(['"', '\'']);
        let good = |it: char| it.is_ascii_alphanumeric() || it == '_';
        (!name.is_empty() && name.chars().all(good)).then(|| (name.to_owned(), is_indented))
    });
    ends.collect()
}

/// The character that continues a line.
fn escape(text: &str) -> char {
    match directives(text).find(|(name, _)| name.eq_ignore_ascii_case("escape")) {
        Some((_, "`")) => '`',
        _ => '\\',
    }
}

/// The directives: `# name=value` in the comments before the first instruction.
pub(super) fn directives(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let comments =
        text.lines().map(str::trim).take_while(|it| it.is_empty() || it.starts_with('#'));
    comments.filter_map(|it| {
        let (name, value) = it.trim_start_matches('#').split_once('=')?;
        Some((name.trim(), value.trim()))
    })
}
