//! Targets, hosts and header lines: what is accepted, by a second description of the grammar and by the crate `http`.

use controller::proxy::http1::Refusal;
use controller::proxy::http1::head::RequestHead;

/// Three lines of the input (LF between them) become a target, a Host and a header line. Panics unless each is accepted
/// exactly when the descriptions below say so, and what both we and the crate `http` accept names the same host and path.
pub fn check(input: &[u8]) {
    let mut parts = input.splitn(3, |&byte| byte == b'\n');
    let [target, host, line] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    check_target(target);
    check_host(host);
    check_line(line);
}

fn parse(target: &[u8], host: &[u8], line: &[u8]) -> Result<(RequestHead, Vec<u8>), Refusal> {
    let text = [b"OPTIONS ", target, b" HTTP/1.1\r\nHost: ", host, b"\r\n", line, b"\r\n\r\n"].concat();
    let mut head = RequestHead::default();
    let length = head.parse(&text)?;
    // A line or target with a line's end in it is a request of another shape.
    Ok((head, text[..length.unwrap_or_default()].to_vec()))
}

fn check_target(target: &[u8]) {
    if target.is_empty() || target.contains(&b'\n') {
        return;
    }
    let visible = target.iter().all(|&byte| (0x21..0x7f).contains(&byte) && byte != b'#');
    let authority = absolute_authority(target);
    let host = authority.unwrap_or(b"a");
    let expected = visible
        && match authority {
            Some(authority) => is_host(authority),
            None => target[0] == b'/' || target == b"*",
        };
    let parsed = parse(target, if is_host(host) { host } else { b"a" }, b"X: y");
    assert_eq!(parsed.is_ok(), expected, "{}", target.escape_ascii());
    let Ok((head, text)) = parsed else { return };
    assert_eq!(head.target.of(&text), target);
    assert_eq!(head.authority.map(|authority| authority.of(&text)), authority);
    let Ok(uri) = http::Uri::try_from(target) else { return };
    let path = head.path.of(&text);
    let theirs = uri.path_and_query().map_or("", |path| path.as_str()).as_bytes();
    match authority {
        // Theirs gives an absolute form without a path one, unless it has a query.
        Some(_) if path.is_empty() => assert_eq!(theirs, b"/"),
        _ => assert_eq!(theirs, path),
    }
    assert_eq!(uri.authority().map(|authority| authority.as_str().as_bytes()), authority);
}

/// What is between `http://` or `https://` and the path or query.
fn absolute_authority(target: &[u8]) -> Option<&[u8]> {
    let lower = target.to_ascii_lowercase();
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| lower.starts_with(scheme))?;
    target[scheme.len()..].split(|&byte| byte == b'/' || byte == b'?').next()
}

/// `host [ ":" *5DIGIT ]`, the host a name or a bracketed literal, never empty, no user information.
fn is_host(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=%".contains(c);
    let is_literal = |c: char| is_name(c) || c == ':';
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((literal, after)) = rest.split_once(']') else { return false };
            if literal.is_empty() || !literal.chars().all(is_literal) {
                return false;
            }
            (literal, after)
        }
        None => match text.find(':') {
            Some(colon) if text[..colon].chars().all(is_name) => text.split_at(colon),
            None if text.chars().all(is_name) => (text, ""),
            _ => return false,
        },
    };
    let digits = |port: &str| port.len() <= 5 && port.chars().all(|c| c.is_ascii_digit());
    !host.is_empty() && (port.is_empty() || port.strip_prefix(':').is_some_and(digits))
}

fn check_host(host: &[u8]) {
    let trimmed = trim(host);
    if host.contains(&b'\n') {
        return;
    }
    let parsed = parse(b"/", host, b"X: y");
    assert_eq!(parsed.is_ok(), is_host(trimmed), "{}", host.escape_ascii());
    let Ok((head, text)) = parsed else { return };
    assert_eq!(head.host.of(&text), trimmed);
    let Ok(authority) = http::uri::Authority::try_from(trimmed) else { return };
    let colon = trimmed.iter().rposition(|&byte| byte == b':').filter(|&at| !trimmed[at..].contains(&b']'));
    let (name, port) = match colon {
        Some(colon) => (&trimmed[..colon], &trimmed[colon + 1..]),
        None => (trimmed, &[][..]),
    };
    assert_eq!(authority.host().as_bytes(), name);
    let number = std::str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok());
    assert_eq!(authority.port_u16(), number);
}

fn trim(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = bytes.iter().position(|byte| !is_space(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// Names that have a meaning of their own, which other targets look at.
const SPECIAL: [&[u8]; 4] = [b"host", b"content-length", b"transfer-encoding", b"connection"];

fn check_line(line: &[u8]) {
    if line.contains(&b'\n') {
        return;
    }
    let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
    let (name, value) = line.split_at(colon);
    let value = trim(value.strip_prefix(b":").unwrap_or_default());
    if SPECIAL.iter().any(|special| name.eq_ignore_ascii_case(special)) {
        return;
    }
    let is_name = http::HeaderName::from_bytes(name).is_ok();
    let is_value = http::HeaderValue::from_bytes(value).is_ok();
    // Two empty lines make no third: the first ends the head.
    let expected = line.is_empty() || (colon < line.len() && is_name && is_value);
    let parsed = parse(b"/", b"a", line);
    assert_eq!(parsed.is_ok(), expected, "{}", line.escape_ascii());
    let (Ok((head, text)), false) = (parsed, line.is_empty()) else { return };
    let [_, field] = head.fields() else { panic!("{} lines", head.fields().len()) };
    assert_eq!((field.name_span.of(&text), field.value.of(&text)), (name, value));
}
