//! Which addresses a user may make us dial.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the operator allows of addresses that users name. The default allows the public internet
/// over TLS and nothing else; tests and machines of one's own allow more.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outbound {
    /// Plain http.
    pub allow_http: bool,
    /// Loopback, private, link-local and other addresses that are not of the public internet.
    pub allow_private: bool,
}

/// Whether an address is of the public internet: not loopback, private (RFC 1918, RFC 4193),
/// shared (RFC 6598), link-local, multicast, documentation, benchmarking or unspecified; a mapped or
/// translated IPv4 address counts as itself.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => is_public_v4(it),
        IpAddr::V6(it) => is_public_v6(it),
    }
}

fn is_public_v4(it: Ipv4Addr) -> bool {
    let [a, b, c, _] = it.octets();
    !(a == 0
        || a == 10
        || a == 127
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113))
}

fn is_public_v6(it: Ipv6Addr) -> bool {
    if let Some(v4) = it.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let [a, b, .., c, d] = it.segments();
    if (a, b) == (0x64, 0xff9b) {
        // NAT64 (RFC 6052) carries the IPv4 address in its last 32 bits.
        let ([c0, c1], [d0, d1]) = (c.to_be_bytes(), d.to_be_bytes());
        return is_public_v4(Ipv4Addr::new(c0, c1, d0, d1));
    }
    // Only global unicast (2000::/3), less documentation (2001:db8::/32) and 6to4 (2002::/16).
    (a & 0xe000) == 0x2000 && (a, b) != (0x2001, 0xdb8) && a != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for (text, expected) in [
            ("1.1.1.1", true),
            ("2606:4700::1", true),
            ("64:ff9b::101:101", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("169.254.169.254", false),
            ("172.31.0.1", false),
            ("192.168.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("2002:7f00:1::", false),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
        }
    }
}
