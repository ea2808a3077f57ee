//! Heads of HTTP/2 and HTTP/3 as HTTP/1.1 heads.

use crate::reading::{Line, lenient_lines};
use controller::proxy::http1::Framing;
use controller::proxy::http1::head::RequestHead;
use controller::proxy::stream::{http1_head, response_of};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Lines of the input (LF between them) are: flags, method, scheme, authority, path, then `name:value` each; `\x01` in the
/// first five stands for a line's end, in case that nobody looked at them before. Panics unless the HTTP/1.1 head made of them, if there is one and our parser accepts it, is one head that says the same.
pub fn check(input: &[u8]) {
    let mut lines = input.split(|&byte| byte == b'\n');
    let flags = lines.next().and_then(|line| line.first()).copied().unwrap_or_default();
    let texts: [Vec<u8>; 4] = std::array::from_fn(|_| with_line_ends(lines.next().unwrap_or_default()));
    let [method, scheme, authority, path] = std::array::from_fn(|at| texts[at].as_slice());
    let ends = flags & 1 != 0;
    let present = |bit: u8, text| (flags & bit == 0).then_some(text);
    let (scheme, authority, path) = (present(2, scheme), present(4, authority), present(8, path));
    let mut fields = HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line.get(colon + 1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }

    let mut out = Vec::new();
    if http1_head(&mut out, method, scheme, authority, path, &fields, ends).is_err() {
        return;
    }
    let mut head = RequestHead::default();
    let length = match head.parse(&out) {
        Err(_) => return,
        Ok(length) => length,
    };
    assert_eq!(length, Some(out.len()), "not one head: {}", out.escape_ascii());
    assert_eq!(head.method.of(&out), method);
    assert_eq!(Some(head.path.of(&out)), path);
    assert_eq!(head.authority, None);
    let host = head.host.of(&out);
    match authority {
        Some(authority) => assert_eq!(host, authority),
        None => assert_eq!(fields.get("host").map(HeaderValue::as_bytes), Some(host)),
    }
    let declared = fields.get("content-length").map(HeaderValue::as_bytes);
    let expected = match (declared, ends) {
        (Some(length), _) => {
            let length = std::str::from_utf8(length).ok().and_then(|length| length.parse().ok());
            match length.expect("the parser accepted the length") {
                0 => Framing::None,
                length => Framing::Length(length),
            }
        }
        (None, true) => Framing::None,
        (None, false) => Framing::Chunked,
    };
    assert_eq!(head.framing, expected);
    assert!(!ends || head.framing == Framing::None, "a body after the end");

    // Every field, in the order of the map, apart from those that are written first or last.
    let apart =
        |name: &[u8]| [&b"host"[..], b"content-length", b"transfer-encoding", b"cookie"].contains(&name);
    let there: Vec<Line> = lenient_lines(&out).into_iter().filter(|(name, _)| !apart(name)).collect();
    let here: Vec<Line> = fields
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()))
        .filter(|(name, _)| !apart(name))
        .collect();
    assert_eq!(there, here);
    let crumbs: Vec<&[u8]> = fields.get_all("cookie").iter().map(HeaderValue::as_bytes).collect();
    let cookie: Vec<Vec<u8>> = lenient_lines(&out)
        .into_iter()
        .filter_map(|(name, value)| (name == b"cookie").then_some(value))
        .collect();
    if crumbs.is_empty() {
        assert_eq!(cookie, Vec::<Vec<u8>>::new());
    } else {
        // An empty crumb at an end leaves a space there, which is no part of a value.
        assert_eq!(cookie, [crumbs.join(&b"; "[..]).trim_ascii().to_vec()]);
    }

    // The same fields as a response keep their meaning on the way back.
    let start = out.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let response = [b"HTTP/1.1 200 OK\r\n", &out[start..]].concat();
    let response = response_of(&response).expect("fields that were accepted once");
    for (name, value) in fields.iter().filter(|(name, _)| !apart(name.as_str().as_bytes())) {
        assert!(response.headers().get_all(name).iter().any(|found| found == value));
    }
}

fn with_line_ends(text: &[u8]) -> Vec<u8> {
    text.split(|&byte| byte == 1).collect::<Vec<_>>().join(&b"\r\n"[..])
}
