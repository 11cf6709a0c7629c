//! What a secret looks like, whoever it belongs to.

/// What a place in the bytes is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// Nothing begins here.
    No,
    /// More bytes are needed to tell.
    Unsure,
    /// A secret of this length, with what stays visible at its beginning.
    Secret {
        /// Length with the visible part.
        len: usize,
        /// Length of the visible part.
        visible: usize,
    },
    /// A secret that goes on as long as bytes of this kind come.
    Open {
        /// Length of what is sure.
        len: usize,
        /// What goes on.
        rest: Rest,
    },
}

/// What an open secret goes on with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rest {
    /// Letters, digits, and what else the token may have.
    Word(Extra),
    /// Anything up to the end line of a PEM block.
    Pem,
}

/// What a token may have besides letters and digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Extra {
    None,
    Underscore,
    Dash,
}

impl Extra {
    pub(super) fn has(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
            || match self {
                Self::None => false,
                Self::Underscore => byte == b'_',
                Self::Dash => byte == b'-',
            }
    }
}

/// Tokens: how they begin, what they are made of, and how many such characters they have at least.
const TOKENS: &[(&[u8], Extra, usize)] = &[
    (b"dop_v1_", Extra::None, 32),
    (b"doo_v1_", Extra::None, 32),
    (b"dor_v1_", Extra::None, 32),
    (b"ghp_", Extra::None, 20),
    (b"gho_", Extra::None, 20),
    (b"ghu_", Extra::None, 20),
    (b"ghs_", Extra::None, 20),
    (b"ghr_", Extra::None, 20),
    (b"github_pat_", Extra::Underscore, 20),
    (b"AKIA", Extra::None, 16),
    (b"swp_", Extra::Underscore, 30),
    (b"SWJ1-", Extra::Dash, 30),
];

const PEM: &[u8] = b"-----BEGIN ";
const PEM_KEY: &[u8] = b"PRIVATE KEY-----";
const PEM_LABEL: usize = 48;
const PEM_END: &[u8] = b"-----END ";
const PEM_DASHES: &[u8] = b"-----";

const LOGIN: &[u8] = b"://";
const LOGIN_MAX: usize = 512;

/// Bytes with which one of these can begin.
pub(super) const FIRST: &[u8] = b"dgAsS-:";

/// Tells whether a secret begins at the start of `bytes`; `end` when no more will come.
pub(super) fn at(bytes: &[u8], end: bool) -> Found {
    let found = match bytes.first() {
        Some(b'-') => pem(bytes),
        Some(b':') => login(bytes),
        Some(_) => token(bytes),
        None => Found::No,
    };
    if found == Found::Unsure && end { Found::No } else { found }
}

fn token(bytes: &[u8]) -> Found {
    let mut found = Found::No;
    for &(start, extra, least) in TOKENS {
        if let Some(rest) = bytes.strip_prefix(start) {
            let count = rest.iter().take_while(|it| extra.has(**it)).count();
            if count >= least {
                return Found::Open { len: start.len() + least, rest: Rest::Word(extra) };
            }
            if count == rest.len() {
                found = Found::Unsure;
            }
        } else if start.starts_with(bytes) {
            found = Found::Unsure;
        }
    }
    found
}

fn pem(bytes: &[u8]) -> Found {
    let Some(label) = bytes.strip_prefix(PEM) else {
        return if PEM.starts_with(bytes) { Found::Unsure } else { Found::No };
    };
    for at in 0..PEM_LABEL {
        let Some(rest) = label.get(at..) else { return Found::Unsure };
        if rest.starts_with(PEM_KEY) {
            return Found::Open { len: PEM.len() + at + PEM_KEY.len(), rest: Rest::Pem };
        }
        if PEM_KEY.starts_with(rest) {
            return Found::Unsure;
        }
        let in_label = |it: &u8| it.is_ascii_uppercase() || it.is_ascii_digit() || *it == b' ';
        if !rest.first().is_some_and(in_label) {
            return Found::No;
        }
    }
    Found::No
}

/// `://user:password@` or `://token@`: all between `://` and the last `@` before the host.
fn login(bytes: &[u8]) -> Found {
    let Some(rest) = bytes.strip_prefix(LOGIN) else {
        return if LOGIN.starts_with(bytes) { Found::Unsure } else { Found::No };
    };
    let is_end = |it: &u8| {
        it.is_ascii_whitespace()
            || it.is_ascii_control()
            || matches!(*it, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\')
    };
    let stop = rest.iter().take(LOGIN_MAX).position(is_end);
    let known = stop.unwrap_or(rest.len().min(LOGIN_MAX));
    if stop.is_none() && known < LOGIN_MAX {
        // The last `@` may still come.
        return Found::Unsure;
    }
    login_in(rest, known)
}

/// Like [`at`] at the end of all bytes, where an unsure login is one after all.
pub(super) fn login_at_end(bytes: &[u8]) -> Found {
    match bytes.strip_prefix(LOGIN) {
        Some(rest) => login_in(rest, rest.len().min(LOGIN_MAX)),
        None => Found::No,
    }
}

fn login_in(rest: &[u8], known: usize) -> Found {
    match rest.get(..known).and_then(|it| it.iter().rposition(|it| *it == b'@')) {
        Some(0) | None => Found::No,
        Some(at) => Found::Secret { len: LOGIN.len() + at, visible: LOGIN.len() },
    }
}

/// Length of the end line of a PEM block at the start of `bytes`.
pub(super) fn pem_end(bytes: &[u8], end: bool) -> Found {
    let unsure = if end { Found::No } else { Found::Unsure };
    let Some(label) = bytes.strip_prefix(PEM_END) else {
        return if PEM_END.starts_with(bytes) { unsure } else { Found::No };
    };
    let line = label.get(..PEM_LABEL).unwrap_or(label);
    match line.windows(PEM_DASHES.len()).position(|it| it == PEM_DASHES) {
        Some(at) => Found::Secret { len: PEM_END.len() + at + PEM_DASHES.len(), visible: 0 },
        None if line.len() < PEM_LABEL => unsure,
        None => Found::No,
    }
}
