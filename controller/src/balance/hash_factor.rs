//! What a consistent hash is taken of (SG-84 to SG-88): the client's address or a parameter of the URL.

use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Entries of X-Forwarded-For that are looked at, from the right: more proxies than any request passes.
const HOPS_MAX: usize = 64;

/// The client's address by LR-44: the rightmost of the `forwarded` entries (X-Forwarded-For, all headers, in order) that
/// is outside `trusted`; the leftmost if all are inside; `peer` if there is none.
///
/// A malformed entry ends the walk, because nothing left of it can be told apart from what a client made up: then the
/// last address before it counts, the nearest that a trusted proxy vouches for. `peer` is not held against `trusted`:
/// LR-44 knows the header only. So where clients reach the listener directly, they choose what they are hashed by.
pub fn client_address<'a>(
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    peer: IpAddr,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = peer;
    for entry in forwarded.rev().take(HOPS_MAX) {
        let Some(address) = parse_address(entry) else { break };
        client = address;
        if !trusted.iter().any(|network| network.contains(&address)) {
            break;
        }
    }
    client
}

/// An address as proxies write it, some with a port.
fn parse_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse::<IpAddr>().ok().or_else(with_port).map(|address| address.to_canonical())
}

/// Value of the parameter `name` in the query of `path`, raw: its first occurrence (SG-86). A name without `=` has an
/// empty value.
pub fn url_parameter<'p>(path: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let query = &path[path.iter().position(|&byte| byte == b'?')? + 1..];
    query.split(|&byte| byte == b'&').find_map(|part| match part.strip_prefix(name)? {
        [] => Some(&[][..]),
        [b'=', value @ ..] => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Holds SG-88
    #[test]
    fn the_client_is_the_rightmost_address_no_proxy_of_ours_has() {
        for (forwarded, expected) in [
            (&["198.51.100.1"][..], "198.51.100.1"),
            (&["203.0.113.9", "198.51.100.1", "10.0.0.2", "10.0.0.1"], "198.51.100.1"),
            // All trusted: the leftmost.
            (&["10.0.0.3", "10.0.0.2"], "10.0.0.3"),
            (&[], "192.0.2.9"),
            // Malformed: what is left of it may be made up.
            (&["198.51.100.1", "unknown", "10.0.0.2"], "10.0.0.2"),
            (&["198.51.100.1", "unknown"], "192.0.2.9"),
            (&["198.51.100.1", ""], "192.0.2.9"),
            (&["198.51.100.1", "10.0.0.256"], "192.0.2.9"),
            // With a port, and in other forms.
            (&["198.51.100.1:4711", "10.0.0.2:80"], "198.51.100.1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["2001:db8::1", "fd00::1"], "2001:db8::1"),
            (&["::ffff:198.51.100.1", "::ffff:10.0.0.1"], "198.51.100.1"),
        ] {
            let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
            let entries = forwarded.iter().map(|entry| entry.as_bytes());
            let found = client_address(entries, "192.0.2.9".parse().unwrap(), &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{forwarded:?}");
        }
    }

    // Holds SG-88
    #[test]
    fn without_trusted_proxies_the_rightmost_address_is_the_client() {
        let entries = [&b"198.51.100.1"[..], b"203.0.113.9"];
        let found = client_address(entries.into_iter(), "192.0.2.9".parse().unwrap(), &[]);
        assert_eq!(found, "203.0.113.9".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn looks_at_only_so_many_proxies() {
        let walk = |proxies: usize| {
            let entries =
                std::iter::once(&b"198.51.100.1"[..]).chain(std::iter::repeat_n(&b"10.0.0.1"[..], proxies));
            client_address(entries, "192.0.2.9".parse().unwrap(), &["10.0.0.0/8".parse().unwrap()])
        };
        assert_eq!(walk(HOPS_MAX - 1), "198.51.100.1".parse::<IpAddr>().unwrap());
        assert_eq!(walk(HOPS_MAX), "10.0.0.1".parse::<IpAddr>().unwrap());
    }

    // Holds SG-84, SG-86
    #[test]
    fn the_first_parameter_of_the_name_counts_as_it_is_written() {
        for (path, expected) in [
            ("/?uid=7", Some("7")),
            ("/a/b?x=1&uid=a%2Fb+c&uid=2", Some("a%2Fb+c")),
            ("/?uids=1&uid=2", Some("2")),
            ("/?uid&uid=2", Some("")),
            ("/?uid=", Some("")),
            ("/?uid=a=b?c", Some("a=b?c")),
            ("/?x=uid=3", None),
            ("/?UID=3", None),
            ("/?%75id=3", None),
            ("/uid=3", None),
            ("/?", None),
            ("*", None),
            ("", None),
        ] {
            let found =
                url_parameter(path.as_bytes(), b"uid").map(|value| std::str::from_utf8(value).unwrap());
            assert_eq!(found, expected, "{path}");
        }
    }
}
