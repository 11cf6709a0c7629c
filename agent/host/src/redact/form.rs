//! The forms in which a value shows up elsewhere.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use super::MIN_LEN;

/// Base64 of a part is less telling; shorter ends than this are left alone.
const MIN_BASE64: usize = 8;

/// All forms of a value that are long enough to be told from ordinary text.
pub(super) fn all(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    let mut parts = vec![secret];
    parts.extend(secret.split(|it| matches!(it, b'\n' | b'\r')));
    for part in parts {
        if part.len() < MIN_LEN {
            continue;
        }
        forms.push(part.to_vec());
        forms.extend(in_base64(part));
        forms.push(in_url(part, "%20", false));
        forms.push(in_url(part, "+", false));
        forms.push(in_url(part, "%20", true));
        forms.push(in_url(part, "+", true));
        if let Ok(text) = std::str::from_utf8(part) {
            forms.push(in_json(text, false));
            forms.push(in_json(text, true));
        }
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// The value alone, with and without padding, and the middle of it at each place in something
/// larger.
fn in_base64(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        let alone = engine.encode(bytes);
        let padding = "=".repeat((4 - alone.len() % 4) % 4);
        forms.push(format!("{alone}{padding}").into_bytes());
        forms.push(alone.into_bytes());
        for before in 0..3_usize {
            let mut shifted = vec![0; before];
            shifted.extend_from_slice(bytes);
            let text = engine.encode(&shifted);
            // Characters that also hold bits of the neighbors differ from place to place.
            let start = (before * 8).div_ceil(6);
            let end = shifted.len() * 8 / 6;
            if let Some(core) = text.get(start..end)
                && core.len() >= MIN_BASE64
            {
                forms.push(core.as_bytes().to_vec());
            }
        }
    }
    forms
}

fn in_url(bytes: &[u8], space: &str, lower: bool) -> Vec<u8> {
    let mut form = String::new();
    for &byte in bytes {
        match byte {
            b' ' => form.push_str(space),
            b'-' | b'_' | b'.' | b'~' => form.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => form.push(char::from(byte)),
            _ if lower => form.extend(['%', digit(byte >> 4), digit(byte & 15)]),
            _ => form.extend(['%', digit(byte >> 4), digit(byte & 15)].map(upper)),
        }
    }
    form.into_bytes()
}

fn in_json(text: &str, ascii: bool) -> Vec<u8> {
    let mut form = String::new();
    for char in text.chars() {
        match char {
            '"' => form.push_str("\\\""),
            '\\' => form.push_str("\\\\"),
            '\n' => form.push_str("\\n"),
            '\r' => form.push_str("\\r"),
            '\t' => form.push_str("\\t"),
            _ if u32::from(char) < 0x20 || (ascii && !char.is_ascii()) => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let [high, low] = unit.to_be_bytes();
                    form.push_str("\\u");
                    form.extend([high >> 4, high & 15, low >> 4, low & 15].map(digit));
                }
            }
            _ => form.push(char),
        }
    }
    form.into_bytes()
}

fn digit(four_bits: u8) -> char {
    char::from_digit(four_bits.into(), 16).unwrap_or('0')
}

fn upper(digit: char) -> char {
    digit.to_ascii_uppercase()
}
