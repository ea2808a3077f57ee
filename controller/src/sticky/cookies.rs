//! Where names and values stand in Cookie and Set-Cookie (RFC 6265 sections 4.1 and 5.2), in bytes and without copies.
//! Lenient, since nothing here decides about framing: what is no pair is passed over.

use std::ops::Range;

/// One cookie of a Cookie header, as places in its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: Range<usize>,
    /// The value, quotes included.
    pub value: Range<usize>,
}

/// The cookies of a Cookie header's `value` in order.
pub fn pairs(value: &[u8]) -> impl Iterator<Item = Pair> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        let end = value[start..].iter().position(|&byte| byte == b';').map(|at| start + at);
        next = end.map(|end| end + 1);
        Some(start..end.unwrap_or(value.len()))
    })
    .filter_map(|part| split_pair(value, part))
}

/// Where the value of the cookie that a Set-Cookie header's `value` sets stands, if its name is `name`.
pub fn set_cookie_value(value: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
    let pair = split_pair(value, 0..end)?;
    (&value[pair.name] == name).then_some(pair.value)
}

fn split_pair(value: &[u8], part: Range<usize>) -> Option<Pair> {
    let equals = part.start + value[part.clone()].iter().position(|&byte| byte == b'=')?;
    Some(Pair { name: trim(value, part.start..equals), value: trim(value, equals + 1..part.end) })
}

fn trim(value: &[u8], mut range: Range<usize>) -> Range<usize> {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t');
    while range.start < range.end && is_space(value[range.start]) {
        range.start += 1;
    }
    while range.start < range.end && is_space(value[range.end - 1]) {
        range.end -= 1;
    }
    range
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(value: &[u8]) -> Vec<(&str, &str)> {
        let text = |range: Range<usize>| std::str::from_utf8(&value[range]).unwrap();
        pairs(value).map(|pair| (text(pair.name), text(pair.value))).collect()
    }

    #[test]
    fn finds_the_cookies_of_a_header() {
        assert_eq!(texts(b"a=1; b=2"), [("a", "1"), ("b", "2")]);
        assert_eq!(texts(b"a=1;b = \"x y\" ;; c"), [("a", "1"), ("b", "\"x y\"")]);
        assert_eq!(texts(b"a=b=c=; =x; d="), [("a", "b=c="), ("", "x"), ("d", "")]);
        assert_eq!(texts(b""), []);
        assert_eq!(texts(b"; ;=;"), [("", "")]);
    }

    #[test]
    fn finds_the_value_a_response_sets() {
        for (value, expected) in [
            (&b"app=v1; Path=/; app=no"[..], Some(&b"v1"[..])),
            (b"app=\"v 1\"", Some(b"\"v 1\"")),
            (b" app = v1 ;Secure", Some(b"v1")),
            (b"app=", Some(b"")),
            (b"app=; Max-Age=0", Some(b"")),
            (b"app", None),
            (b"App=v1", None),
            (b"apps=v1", None),
            (b"x=1; app=v1", None),
            (b"", None),
        ] {
            let found = set_cookie_value(value, b"app").map(|range| &value[range]);
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(value));
        }
    }
}
