//! The live secrets by their first byte, and what begins at a place.

use super::pattern::{self, Found};

/// All literal secrets of one moment.
#[derive(Debug)]
pub(super) struct Table {
    /// By first byte, each longest first.
    literals: Vec<Vec<Vec<u8>>>,
}

impl Default for Table {
    fn default() -> Self {
        Self::new([])
    }
}

impl Table {
    pub(super) fn new<'a>(forms: impl IntoIterator<Item = &'a Vec<u8>>) -> Self {
        let mut literals: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 256];
        for form in forms {
            let first = form.first().and_then(|it| literals.get_mut(usize::from(*it)));
            if let Some(same) = first {
                same.push(form.clone());
            }
        }
        for same in &mut literals {
            same.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
            same.dedup();
        }
        Self { literals }
    }

    /// Whether anything could begin with this byte.
    pub(super) fn is_first(&self, byte: u8) -> bool {
        pattern::FIRST.contains(&byte)
            || self.literals.get(usize::from(byte)).is_some_and(|it| !it.is_empty())
    }

    /// Whether there may be a secret in the bytes; cheap.
    pub(super) fn may_match(&self, bytes: &[u8]) -> bool {
        (0..bytes.len()).any(|at| {
            let rest = bytes.get(at..).unwrap_or_default();
            rest.first().is_some_and(|it| self.is_first(*it)) && self.at(rest, true) != Found::No
        })
    }

    /// What begins at the start of `bytes`; of several, the one that covers the most.
    pub(super) fn at(&self, bytes: &[u8], end: bool) -> Found {
        let mut found = pattern::at(bytes, end);
        if end && found == Found::No {
            found = pattern::login_at_end(bytes);
        }
        let same = bytes.first().and_then(|it| self.literals.get(usize::from(*it)));
        for literal in same.into_iter().flatten() {
            if bytes.starts_with(literal) {
                return longer(found, literal.len());
            }
            if !end && literal.starts_with(bytes) && !matches!(found, Found::Open { .. }) {
                // A longer one may still become whole.
                return Found::Unsure;
            }
        }
        found
    }
}

fn longer(found: Found, literal: usize) -> Found {
    match found {
        Found::Unsure | Found::Open { .. } => found,
        Found::Secret { len, .. } if len >= literal => found,
        Found::Secret { .. } | Found::No => Found::Secret { len: literal, visible: 0 },
    }
}
