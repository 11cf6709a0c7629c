//! Output that comes in pieces.

use std::sync::Arc;

use super::{
    REDACTED,
    pattern::{Extra, Found, Rest, pem_end},
    table::Table,
};

/// Takes secrets out of one stream of bytes. What could be the beginning of a secret is held back
/// until it is clear.
#[derive(Debug)]
pub struct Stream {
    table: Arc<Table>,
    held: Vec<u8>,
    hidden: Hidden,
}

/// What is known of the bytes to come: they belong to secrets whose stand-in is out already.
#[derive(Debug, Default)]
struct Hidden {
    /// So many bytes for sure.
    covered: usize,
    /// Then all that a token may have; the number is of the bytes for which that is known.
    word: Option<(Extra, usize)>,
    /// Up to the end line of a PEM block.
    pem: bool,
}

impl Hidden {
    fn is_over(&self) -> bool {
        self.covered == 0 && self.word.is_none() && !self.pem
    }

    fn add(&mut self, found: Found) {
        match found {
            Found::Secret { len, .. } => self.covered = self.covered.max(len),
            Found::Open { len, rest: Rest::Word(extra) } => {
                self.covered = self.covered.max(len);
                self.word = Some((extra, len));
            }
            Found::Open { len, rest: Rest::Pem } => {
                self.covered = self.covered.max(len);
                self.pem = true;
            }
            Found::No | Found::Unsure => (),
        }
    }

    /// Takes note of one byte, which is hidden unless it ends a word.
    fn take(&mut self, byte: u8) -> bool {
        let hidden = self.covered > 0 || self.pem;
        self.covered = self.covered.saturating_sub(1);
        match &mut self.word {
            Some((_, known)) if *known > 0 => {
                *known -= 1;
                true
            }
            Some((extra, _)) if extra.has(byte) => true,
            Some(_) => {
                self.word = None;
                hidden
            }
            None => hidden,
        }
    }
}

impl Stream {
    pub(super) fn over(table: Arc<Table>) -> Self {
        Self { table, held: Vec::new(), hidden: Hidden::default() }
    }

    /// Takes the next piece, and gives what is clear by now.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        self.advance(false)
    }

    /// Gives the rest; no more will come.
    pub fn finish(mut self) -> Vec<u8> {
        self.advance(true)
    }

    /// Bytes held back at present.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn advance(&mut self, end: bool) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.held);
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while let Some(&byte) = rest.first() {
            let step = if self.hidden.is_over() {
                self.plain(rest, end, &mut out)
            } else {
                self.inside(rest, byte, end)
            };
            match step {
                Some(step) => rest = rest.get(step..).unwrap_or_default(),
                None => break,
            }
        }
        self.held = rest.to_vec();
        out
    }

    /// One step through ordinary bytes; none when more are needed.
    fn plain(&mut self, rest: &[u8], end: bool, out: &mut Vec<u8>) -> Option<usize> {
        let clear = rest.iter().take_while(|it| !self.table.is_first(**it)).count();
        if clear > 0 {
            out.extend_from_slice(rest.get(..clear).unwrap_or_default());
            return Some(clear);
        }
        match self.table.at(rest, end) {
            Found::Unsure => None,
            Found::No => {
                out.extend(rest.first());
                Some(1)
            }
            Found::Secret { len, visible } => {
                out.extend_from_slice(rest.get(..visible).unwrap_or_default());
                out.extend_from_slice(REDACTED.as_bytes());
                self.hidden.covered = len - visible;
                Some(visible)
            }
            found @ Found::Open { .. } => {
                out.extend_from_slice(REDACTED.as_bytes());
                self.hidden.add(found);
                Some(0)
            }
        }
    }

    /// One step through a known secret, in which another may begin that reaches farther.
    fn inside(&mut self, rest: &[u8], byte: u8, end: bool) -> Option<usize> {
        if self.table.is_first(byte) {
            match self.table.at(rest, end) {
                Found::Unsure => return None,
                found => self.hidden.add(found),
            }
        }
        if self.hidden.pem {
            match pem_end(rest, end) {
                Found::Unsure => return None,
                found @ Found::Secret { .. } => {
                    self.hidden.add(found);
                    self.hidden.pem = false;
                }
                Found::No | Found::Open { .. } => (),
            }
        }
        Some(usize::from(self.hidden.take(byte)))
    }
}
