//! The `user_data` of a server. Everybody on the machine can read it for as long as the droplet
//! lives, so it holds what is worthless minutes later and nothing else: where the control plane is,
//! and a join token that works once.

use serde::Serialize;
use slipway_proto::token::JoinToken;

/// Longest text that we make, in bytes. DigitalOcean takes 64 KiB
/// (<https://docs.digitalocean.com/products/droplets/how-to/provide-user-data/>).
pub const LIMIT: usize = 2 << 10;

/// What a server has to know at its first boot.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// URL of the control plane, `https://host:port`.
    pub control: &'a str,
    /// Token with which it joins.
    pub token: &'a JoinToken,
}

/// Values that cannot be put into first-boot text.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is not one.
    #[error("the control plane's URL must be `https://host:port` of plain characters")]
    Control,
    /// The text would be longer than [`LIMIT`].
    #[error("the text would be longer than {LIMIT} B")]
    TooLong,
}

/// Contents of `/etc/slipway/join.json`.
#[derive(Serialize)]
struct Join<'a> {
    control: &'a str,
    token: String,
}

#[derive(Serialize)]
struct Config<'a> {
    /// Nobody signs in to a server by password.
    ssh_pwauth: bool,
    disable_root: bool,
    write_files: [File<'a>; 1],
    runcmd: [&'a [&'a str]; 1],
}

#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    owner: &'a str,
    permissions: &'a str,
    content: String,
}

/// The `user_data` of a server.
///
/// # Errors
/// [`Error`].
pub fn server(values: Server<'_>) -> Result<String, Error> {
    let Server { control, token } = values;
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"-.:[]/".contains(&it);
    if !control.starts_with("https://") || !control.bytes().all(plain) {
        return Err(Error::Control);
    }
    let join = Join { control, token: token.expose() };
    let config = Config {
        ssh_pwauth: false,
        disable_root: false,
        write_files: [File {
            path: "/etc/slipway/join.json",
            owner: "root:root",
            permissions: "0600",
            content: json(&join),
        }],
        // An argument list: cloud-init starts it without a shell.
        runcmd: [&["systemctl", "start", "--no-block", "slipway-enroll.service"]],
    };
    let text = format!("#cloud-config\n{}\n", json(&config));
    if text.len() > LIMIT { Err(Error::TooLong) } else { Ok(text) }
}

/// These types hold only text and booleans, which always serialize.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;
    use slipway_proto::token::{ENTROPY, Pin};

    use super::*;

    fn token() -> JoinToken {
        JoinToken::new(Pin::of(b"spki"), &[9; ENTROPY])
    }

    #[test]
    fn the_text_is_the_golden_one() {
        let text = server(Server { control: "https://control.example.com:7443", token: &token() });
        expect_file!["../golden/server.yaml"].assert_eq(&text.unwrap());
    }

    #[test]
    fn a_url_that_is_not_plain_is_refused() {
        for bad in ["", "http://h:1", "https://h\n", "https://h\"", "https://h x", "https://é"] {
            let values = Server { control: bad, token: &token() };
            assert_eq!(server(values).unwrap_err(), Error::Control, "{bad:?}");
        }
        let long = format!("https://{}", "a".repeat(LIMIT));
        let values = Server { control: &long, token: &token() };
        assert_eq!(server(values).unwrap_err(), Error::TooLong);
    }
}
