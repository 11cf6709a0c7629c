//! Settings files, in TOML: an unknown key is refused with its line and the key that was probably
//! meant.

use serde::de::DeserializeOwned;

/// Parses the text of a file whose top-level keys are `keys`.
///
/// # Errors
/// A sentence that begins with the line.
pub fn parse<T: DeserializeOwned>(text: &str, keys: &[&str]) -> Result<T, String> {
    let table = toml::de::DeTable::parse(text).map_err(|error| said(text, &error))?;
    for key in table.get_ref().keys() {
        let name: &str = key.get_ref();
        if !keys.contains(&name) {
            let line = line_of(text, key.span().start);
            let hint = nearest(name, keys)
                .map_or_else(String::new, |it| format!("; did you mean `{it}`?"));
            return Err(format!("line {line}: there is no setting `{name}`{hint}"));
        }
    }
    toml::from_str(text).map_err(|error| said(text, &error))
}

fn said(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |it| line_of(text, it.start));
    format!("line {line}: {}", error.message())
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|it| *it == b'\n').count() + 1
}

/// The key that is most like `name`, if any is.
fn nearest<'a>(name: &str, keys: &[&'a str]) -> Option<&'a str> {
    let name = name.replace('_', "-");
    keys.iter()
        .map(|it| (distance(&name, it), *it))
        .min()
        .filter(|(distance, _)| *distance <= name.len().div_ceil(3).max(2))
        .map(|(_, it)| it)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        let mut next = vec![before];
        for (right, above) in b.iter().zip(row.iter().skip(1)) {
            let cost = diagonal + usize::from(left != *right);
            before = cost.min(above + 1).min(before + 1);
            next.push(before);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn refused(text: &str) -> String {
        parse::<BTreeMap<String, String>>(text, &["data-dir", "listen"]).unwrap_err()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        assert_eq!(
            refused("listen = \"a\"\ndata_dri = \"b\"\n"),
            "line 2: there is no setting `data_dri`; did you mean `data-dir`?"
        );
        assert_eq!(refused("colour = \"red\""), "line 1: there is no setting `colour`");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        assert!(refused("\nlisten = 5").starts_with("line 2: "));
        assert!(refused("listen = ").starts_with("line 1: "));
    }
}
