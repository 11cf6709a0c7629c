//! Which headers end here, and which go on.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        CONNECTION, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
    },
    request::Parts,
};
use hyper::body::Body;

/// Request: the app's key. nginx sets it, over whatever a client sent.
pub const APP: HeaderName = HeaderName::from_static("slipway-app");
/// Request: asks for [`RELEASE`] in the answer. nginx lets it through from the machine itself only.
pub const PROBE: HeaderName = HeaderName::from_static("slipway-probe");
/// Answer: the release that gave it.
pub const RELEASE: HeaderName = HeaderName::from_static("slipway-release");
/// Answer: why the switch itself answers, such as `connect-failed`. No app can set it.
pub const REASON: HeaderName = HeaderName::from_static("slipway-reason");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const TRAILERS: &str = "trailers";

/// Headers that concern one connection only (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The one app that a request names; none when it names none or several.
pub(crate) fn app(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(APP).iter();
    let app = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(app)
}

/// Whether a request asks to change the protocol.
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) && tokens(headers).any(|it| it.eq_ignore_ascii_case("upgrade"))
}

/// Whether a request can be sent a second time: it changes nothing and has no body.
pub(crate) fn repeatable(parts: &Parts, body: &impl Body) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS)
        && body.is_end_stream()
        && !parts.headers.contains_key(UPGRADE)
}

/// Takes from a request what ends here.
///
/// `Expect` does: the switch answers `100 Continue` itself when the container takes the body.
pub(crate) fn clean_request(headers: &mut HeaderMap) {
    let upgrade = wants_upgrade(headers).then(|| headers.get(UPGRADE).cloned()).flatten();
    let trailers = headers
        .get_all(TE)
        .iter()
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(','))
        .any(|it| it.trim().eq_ignore_ascii_case(TRAILERS));
    clean(headers);
    for name in [APP, PROBE, EXPECT] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static(TRAILERS));
    }
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
}

/// Takes from a container's answer what only the switch may say.
pub(crate) fn take_ours(headers: &mut HeaderMap) {
    for name in [RELEASE, REASON] {
        headers.remove(name);
    }
}

/// Takes from an answer what ends here.
pub(crate) fn clean_answer(status: StatusCode, headers: &mut HeaderMap) {
    let upgrade = headers.get(UPGRADE).cloned();
    clean(headers);
    if status == StatusCode::SWITCHING_PROTOCOLS
        && let Some(upgrade) = upgrade
    {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
}

fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers).filter_map(|it| it.parse().ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// The words of `Connection`.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|it| it.to_str().ok());
    lines.flat_map(|it| it.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn headers_of_the_connection_end_here() {
        let mut it = headers(&[
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "5"),
            ("Transfer-Encoding", "chunked"),
            ("TE", "gzip, trailers"),
            ("Expect", "100-continue"),
            ("Upgrade", "h2c"),
            ("Slipway-App", "web"),
            ("Slipway-Probe", "1"),
            ("Accept", "*/*"),
        ]);
        clean_request(&mut it);
        assert_eq!(it, headers(&[("Accept", "*/*"), ("TE", "trailers")]));
    }

    #[test]
    fn an_upgrade_goes_on() {
        let mut it = headers(&[("Connection", "Upgrade, X-Hop"), ("Upgrade", "websocket")]);
        assert!(wants_upgrade(&it));
        clean_request(&mut it);
        assert_eq!(it, headers(&[("Connection", "upgrade"), ("Upgrade", "websocket")]));
    }

    #[test]
    fn a_container_cannot_speak_for_the_switch() {
        let mut it = headers(&[("Slipway-Release", "9"), ("Slipway-Reason", "x"), ("Via", "a")]);
        take_ours(&mut it);
        assert_eq!(it, headers(&[("Via", "a")]));
    }

    #[test]
    fn a_request_names_one_app() {
        assert_eq!(app(&headers(&[("Slipway-App", "web")])), Some("web"));
        assert_eq!(app(&headers(&[])), None);
        assert_eq!(app(&headers(&[("Slipway-App", "web"), ("Slipway-App", "db")])), None);
    }
}
