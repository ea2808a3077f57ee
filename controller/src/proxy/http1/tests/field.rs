//! What bytes and names mean, each against a list of its own.

use super::super::field::{is_host, is_target, is_token, list};
use super::*;

const NAMES: [(&str, Name); 16] = [
    ("Accept-Encoding", Name::AcceptEncoding),
    ("Connection", Name::Connection),
    ("Content-Length", Name::ContentLength),
    ("Cookie", Name::Cookie),
    ("Expect", Name::Expect),
    ("Host", Name::Host),
    ("Keep-Alive", Name::KeepAlive),
    ("Proxy-Connection", Name::ProxyConnection),
    ("Referer", Name::Referer),
    ("Set-Cookie", Name::SetCookie),
    ("TE", Name::Te),
    ("Transfer-Encoding", Name::TransferEncoding),
    ("Upgrade", Name::Upgrade),
    ("User-Agent", Name::UserAgent),
    ("X-Forwarded-For", Name::XForwardedFor),
    ("X-Real-IP", Name::XRealIp),
];

#[test]
fn knows_names_in_any_case_and_takes_none_like_them_for_one() {
    for (text, name) in NAMES {
        for spelled in [text.to_owned(), text.to_lowercase(), text.to_uppercase()] {
            assert_eq!(Name::of(spelled.as_bytes()), name, "{spelled}");
        }
        for at in 0..text.len() {
            let mut like = text.as_bytes().to_vec();
            like[at] = b'~';
            assert_eq!(Name::of(&like), Name::Other, "{}", like.escape_ascii());
            like.remove(at);
            assert_eq!(Name::of(&like), Name::Other, "{}", like.escape_ascii());
        }
    }
    assert_eq!(Name::of(b"Accept"), Name::Other);
}

// Holds LR-47
#[test]
fn every_byte_stands_only_where_the_grammar_has_it() {
    for byte in 0..=255_u8 {
        let is_letter = byte.is_ascii_alphanumeric();
        let is_of = |set: &str| set.as_bytes().contains(&byte);
        // RFC 9110 section 5.6.2.
        assert_eq!(is_token(&[b'a', byte]), is_letter || is_of("!#$%&'*+-.^_`|~"), "{byte:#x}");
        // Whatever is visible, but for the mark before a fragment.
        assert_eq!(is_target(&[b'/', byte]), byte.is_ascii_graphic() && byte != b'#', "{byte:#x}");
        // RFC 3986 section 3.2.2; the colon begins a port, brackets stand around addresses alone.
        assert_eq!(is_host(&[b'a', byte]), is_letter || is_of("-._~!$&'()*+,;=%:"), "{byte:#x}");
        // RFC 9110 section 5.5.
        let value = [b"HTTP/1.1 200 OK\r\nX: a", &[byte][..], b"b\r\n\r\n"].concat();
        let is_good = matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
        assert_eq!(ResponseHead::default().parse(&value).is_ok(), is_good, "{byte:#x}");
    }
    assert!(!is_token(b"") && !is_target(b"") && !is_host(b""));
}

// Holds LR-47
#[test]
fn brackets_stand_in_a_host_once_and_at_its_beginning() {
    for host in ["a]", "a[", "a]b:80", "[[::1]", "[::1]]", "[::1][", "]", "[", "[]:80", "[::1]80"] {
        assert!(!is_host(host.as_bytes()), "{host}");
    }
    for host in ["[::1]", "[::1]:", "[::1]:65535", "[v1.a:b]:1"] {
        assert!(is_host(host.as_bytes()), "{host}");
    }
}

#[test]
fn a_list_has_elements_between_commas() {
    for (value, elements) in [
        ("a", &["a"][..]),
        ("a,b", &["a", "b"]),
        (" a ,\tb c\t", &["a", "b c"]),
        (", ,a,,", &["a"]),
        ("", &[]),
        (" , ", &[]),
    ] {
        let found: Vec<&[u8]> = list(value.as_bytes()).collect();
        assert!(
            found.iter().eq(elements.iter().map(|element| element.as_bytes()).collect::<Vec<_>>().iter()),
            "{value:?}"
        );
    }
}
