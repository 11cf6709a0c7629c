//! Takes secrets out of text before it reaches a log, an event or an error.
//!
//! Two kinds are found: values that somebody has registered ([`Redactor::register`]), as they are
//! and as base64, URL-encoded or escaped as in JSON; and what looks like a secret whoever it
//! belongs to: tokens of DigitalOcean, GitHub, AWS and ours, private keys in PEM, logins in URLs.
//!
//! [`Redactor::text`] is for whole texts, [`Stream`] for output that comes in pieces: a secret that
//! lies across a border is found as well.

mod form;
mod pattern;
mod stream;
mod table;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

pub use stream::Stream;
use table::Table;

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Registered values shorter than this are left alone: they would take ordinary words out.
pub const MIN_LEN: usize = 6;

/// Knows the live secrets. Cheap to clone; all clones know the same.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    live: Mutex<Vec<(u64, Vec<Vec<u8>>)>>,
    table: RwLock<Arc<Table>>,
}

/// A registered secret; it is forgotten when this is dropped.
#[derive(Debug)]
#[must_use = "the secret is forgotten when this is dropped"]
pub struct Live {
    shared: Arc<Shared>,
    id: u64,
}

impl Redactor {
    /// Knows no live secret yet, only what secrets look like.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes these values out from now on, for as long as the result lives. A value of several
    /// lines counts line by line as well, because output comes in lines.
    pub fn register<T: AsRef<[u8]>>(&self, secrets: impl IntoIterator<Item = T>) -> Live {
        let forms = secrets.into_iter().flat_map(|it| form::all(it.as_ref())).collect();
        let mut live = self.0.live.lock().unwrap_or_else(PoisonError::into_inner);
        let id = live.last().map_or(0, |(id, _)| id + 1);
        live.push((id, forms));
        self.0.rebuild(&live);
        Live { shared: Arc::clone(&self.0), id }
    }

    /// The text without secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            // Secrets and their places begin and end with ASCII or are whole values, so what is
            // left is still UTF-8; where a value was not, better a stand-in than a panic.
            Cow::Owned(it) => Cow::Owned(String::from_utf8_lossy(&it).into_owned()),
            Cow::Borrowed(_) => Cow::Borrowed(text),
        }
    }

    /// The bytes without secrets.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let table = self.table();
        if !table.may_match(bytes) {
            return Cow::Borrowed(bytes);
        }
        let mut stream = Stream::over(table);
        let mut clean = stream.push(bytes);
        clean.extend(stream.finish());
        Cow::Owned(clean)
    }

    /// Takes secrets out of output that comes in pieces. It knows the secrets of now.
    pub fn stream(&self) -> Stream {
        Stream::over(self.table())
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn rebuild(&self, live: &[(u64, Vec<Vec<u8>>)]) {
        let table = Arc::new(Table::new(live.iter().flat_map(|(_, forms)| forms)));
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut live = self.shared.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|(id, _)| *id != self.id);
        self.shared.rebuild(&live);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clean(redactor: &Redactor, text: &str) -> String {
        redactor.text(text).into_owned()
    }

    #[test]
    fn what_looks_like_a_secret_is_taken_out() {
        let redactor = Redactor::new();
        let token = "a1B2".repeat(16);
        let id = "A2".repeat(4);
        let pin = "abcdefghijklmnopqrstuvwxyz";
        for (text, expected) in [
            (format!("t=dop_v1_{token}."), "t=[redacted]."),
            (format!("doo_v1_{token} dor_v1_{token}"), "[redacted] [redacted]"),
            (format!("ghp_{token}"), "[redacted]"),
            (format!("github_pat_{token}_x!"), "[redacted]!"),
            ("AKIA0123456789ABCDEF-".to_owned(), "[redacted]-"),
            (format!("SWJ1-{}-{}", pin.to_uppercase(), id), "[redacted]"),
            (format!("Bearer swp_{pin}_abcdefgh_{pin}"), "Bearer [redacted]"),
            ("https://me:pw@host/x?a=b@c".to_owned(), "https://[redacted]@host/x?a=b@c"),
            ("git clone https://tok3n@host".to_owned(), "git clone https://[redacted]@host"),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nMII\nEow\n-----END RSA PRIVATE KEY-----\nb"
                    .to_owned(),
                "a\n[redacted]\nb",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMII".to_owned(), "[redacted]"),
        ] {
            assert_eq!(clean(&redactor, &text), expected);
        }
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        let redactor = Redactor::new();
        for text in [
            "",
            "done in 3.2 s: http://localhost:8080/a@b mail me@host.com",
            "dop_v1_short, ghp_x, AKIA, swp_, do, -----BEGIN CERTIFICATE-----",
            "see https://example.com/a:b@c and ://",
            "grüße -----",
        ] {
            assert!(
                matches!(redactor.text(text), Cow::Borrowed(_)) || clean(&redactor, text) == text
            );
            assert_eq!(clean(&redactor, text), text);
        }
    }

    #[test]
    fn live_secrets_are_found_in_each_form_and_forgotten_in_the_end() {
        let redactor = Redactor::new();
        let live = redactor.register(["s3cr\"t/pä ss"]);
        for text in [
            "s3cr\"t/pä ss",
            r#"s3cr\"t/pä ss"#,
            r#"s3cr\"t/p\u00e4 ss"#,
            "s3cr%22t%2Fp%C3%A4%20ss",
            "s3cr%22t%2fp%c3%a4+ss",
            "czNjciJ0L3DDpCBzcw==",
            "czNjciJ0L3DDpCBzcw",
        ] {
            assert_eq!(clean(&redactor, &format!("<{text}>")), "<[redacted]>", "{text}");
        }
        // Inside of something larger, such as `Authorization: Basic`: base64 of "user:<secret>".
        assert!(!clean(&redactor, "dXNlcjpzM2NyInQvcMOkIHNz").contains("zM2NyInQvcMOkIHN"));
        drop(live);
        assert_eq!(clean(&redactor, "s3cr\"t/pä ss"), "s3cr\"t/pä ss");
    }

    #[test]
    fn the_lines_of_a_secret_are_found_one_by_one() {
        let redactor = Redactor::new();
        let _live = redactor.register(["first line\nsecond line\nxy"]);
        assert_eq!(clean(&redactor, "> second line <"), "> [redacted] <");
        assert_eq!(clean(&redactor, "xy"), "xy", "too short to tell from ordinary text");
    }

    #[test]
    fn overlapping_secrets_leave_no_rest() {
        let redactor = Redactor::new();
        let _live = redactor.register(["abcdef", "abcdefgh", "fghijk", "ijklmnop"]);
        assert_eq!(clean(&redactor, "-abcdefghijklmnop-"), "-[redacted]-");
        assert_eq!(clean(&redactor, "-abcdefg-"), "-[redacted]g-");
    }

    #[test]
    fn a_long_token_does_not_grow_the_memory() {
        let redactor = Redactor::new();
        let mut stream = redactor.stream();
        assert_eq!(stream.push(b"x dop_v1_"), b"x ");
        let mut out = Vec::new();
        for _ in 0..1000 {
            out.extend(stream.push(&[b'a'; 4096]));
            assert!(stream.held() < 1 << 16, "{}", stream.held());
        }
        out.extend(stream.push(b" y"));
        out.extend(stream.finish());
        assert_eq!(out, b"[redacted] y");
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[a-z ]{0,12}".prop_map(String::into_bytes),
            Just(b"hunter22".to_vec()),
            Just(b"aaaaaaab".to_vec()),
            Just(b"aaaaaaaa".to_vec()),
            Just(b"://u:p@h".to_vec()),
            Just(b"://".to_vec()),
            Just(b"dop_v1_0123456789abcdef0123456789abcdef".to_vec()),
            Just(b"dop_v1_0123456789".to_vec()),
            Just(b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----".to_vec()),
            Just(b"-----BEGIN".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..6),
        ]
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(
            pieces in proptest::collection::vec(piece(), 0..12),
            cuts in proptest::collection::vec(1_usize..9, 0..200),
        ) {
            let redactor = Redactor::new();
            let _live = redactor.register(["hunter22", "aaaaaaab", "22aaaa"]);
            let whole = pieces.concat();
            let expected = redactor.bytes(&whole).into_owned();
            let mut stream = redactor.stream();
            let (mut rest, mut found) = (whole.as_slice(), Vec::new());
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                found.extend(stream.push(head));
                rest = tail;
            }
            found.extend(stream.push(rest));
            found.extend(stream.finish());
            prop_assert_eq!(&found, &expected);
            for secret in [b"hunter22".as_slice(), b"aaaaaaab", b"dop_v1_0123456789abcdef"] {
                prop_assert!(!found.windows(secret.len()).any(|it| it == secret));
            }
        }

        #[test]
        fn text_without_secrets_is_untouched(text in "[ -9;-Z\\n]{0,200}") {
            let redactor = Redactor::new();
            let _live = redactor.register(["hunter22"]);
            prop_assert_eq!(redactor.text(&text), text.as_str());
        }
    }
}
