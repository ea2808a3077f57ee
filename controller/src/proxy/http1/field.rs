//! Header fields: one line → name, value and what the name is to a proxy.

use super::Refusal;

/// A part of the buffer a head was parsed from, in bytes from the head's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= super::HEAD_BYTES_MAX * 8);
        Span { start: start as u32, end: end as u32 }
    }

    /// The bytes of `head` this names.
    pub fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }

    /// True for a span of no bytes.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What the name is.
    pub name: Name,
    /// The name as written.
    pub name_span: Span,
    /// The value without the white space around it.
    pub value: Span,
    /// The whole line with its CR LF.
    pub line: Span,
}

/// Names a proxy acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the header of that name")]
pub enum Name {
    AcceptEncoding,
    Connection,
    ContentLength,
    Cookie,
    Expect,
    Host,
    KeepAlive,
    ProxyConnection,
    Referer,
    SetCookie,
    Te,
    TransferEncoding,
    Upgrade,
    UserAgent,
    XForwardedFor,
    XRealIp,
    Other,
}

impl Name {
    /// The name of these bytes; case does not matter.
    pub fn of(name: &[u8]) -> Name {
        let (text, known): (&[u8], Name) = match name.len() {
            2 => (b"te", Name::Te),
            4 => (b"host", Name::Host),
            6 if name[0] | 0x20 == b'c' => (b"cookie", Name::Cookie),
            6 => (b"expect", Name::Expect),
            7 if name[0] | 0x20 == b'u' => (b"upgrade", Name::Upgrade),
            7 => (b"referer", Name::Referer),
            9 => (b"x-real-ip", Name::XRealIp),
            10 if name[0] | 0x20 == b'c' => (b"connection", Name::Connection),
            10 if name[0] | 0x20 == b'k' => (b"keep-alive", Name::KeepAlive),
            10 if name[0] | 0x20 == b's' => (b"set-cookie", Name::SetCookie),
            10 => (b"user-agent", Name::UserAgent),
            14 => (b"content-length", Name::ContentLength),
            15 if name[0] | 0x20 == b'a' => (b"accept-encoding", Name::AcceptEncoding),
            15 => (b"x-forwarded-for", Name::XForwardedFor),
            16 => (b"proxy-connection", Name::ProxyConnection),
            17 => (b"transfer-encoding", Name::TransferEncoding),
            _ => return Name::Other,
        };
        if name.eq_ignore_ascii_case(text) { known } else { Name::Other }
    }
}

/// One bit per question asked of a byte.
const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const HOST: u8 = 4;

const CLASS: [u8; 256] = {
    let mut class = [0u8; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        let alphanumeric = (byte as u8).is_ascii_alphanumeric();
        if alphanumeric || is_any(byte as u8, b"!#$%&'*+-.^_`|~") {
            class[byte] |= TOKEN;
        }
        // A fragment never belongs in a request (RFC 9112 section 3.2).
        if byte != b'#' as usize {
            class[byte] |= TARGET;
        }
        if alphanumeric || is_any(byte as u8, b"-._~!$&'()*+,;=%:[]") {
            class[byte] |= HOST;
        }
        byte += 1;
    }
    class
};

const fn is_any(byte: u8, set: &[u8]) -> bool {
    let mut index = 0;
    while index < set.len() {
        if set[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    CLASS[byte as usize] & TOKEN != 0
}

/// A token, as methods and field names are.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether every byte may stand in a request's target; not empty, and no fragment (RFC 9112 section 3.2).
pub fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| CLASS[byte as usize] & TARGET != 0)
}

/// RFC 9110 section 5.5: visible ASCII, space, tab, and the bytes above ASCII.
pub(super) fn is_value_byte(byte: u8) -> bool {
    (byte >= 0x20 && byte != 0x7f) || byte == b'\t'
}

pub(super) fn is_value(bytes: &[u8]) -> bool {
    // Without an early exit the compiler checks many bytes per step.
    bytes.iter().fold(true, |good, &byte| good & is_value_byte(byte))
}

/// `host[:port]` of RFC 9110 section 7.2, without user information and not empty.
pub fn is_host(bytes: &[u8]) -> bool {
    if bytes.is_empty() || !bytes.iter().all(|&byte| CLASS[byte as usize] & HOST != 0) {
        return false;
    }
    let (host, port) = if bytes[0] == b'[' {
        let Some(close) = bytes.iter().position(|&byte| byte == b']') else { return false };
        let literal = &bytes[1..close];
        if literal.contains(&b'[') {
            return false;
        }
        match &bytes[close + 1..] {
            [] => (literal, None),
            [b':', port @ ..] => (literal, Some(port)),
            _ => return false,
        }
    } else {
        let mut parts = bytes.splitn(2, |&byte| byte == b':');
        let host = parts.next().unwrap_or_default();
        if host.contains(&b'[') || host.contains(&b']') {
            return false;
        }
        (host, parts.next())
    };
    !host.is_empty() && port.is_none_or(|port| port.len() <= 5 && port.iter().all(u8::is_ascii_digit))
}

/// Whether two texts that [`is_host`] accepted name the same: host in any case, port with `default` where none is said.
pub(super) fn is_same_host(one: &[u8], other: &[u8], default: u32) -> bool {
    let (one, one_port) = split_port(one, default);
    let (other, other_port) = split_port(other, default);
    one_port == other_port && one.eq_ignore_ascii_case(other)
}

fn split_port(host: &[u8], default: u32) -> (&[u8], u32) {
    // A colon within brackets belongs to the address.
    let is_port = |at: &usize| !host[*at..].contains(&b']');
    let Some(colon) = host.iter().rposition(|&byte| byte == b':').filter(is_port) else {
        return (host, default);
    };
    match &host[colon + 1..] {
        [] => (&host[..colon], default),
        digits => (&host[..colon], digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))),
    }
}

/// Parses the line at `line` of `head`, which includes its LF. Errors are the sender's.
pub(super) fn parse_field(head: &[u8], line: Span) -> Result<Field, Refusal> {
    let start = line.start as usize;
    let Some((b"\r\n", text)) = line.of(head).split_last_chunk::<2>().map(|(text, end)| (&end[..], text))
    else {
        return Err(Refusal::LineEnd);
    };
    if matches!(text.first(), Some(b' ' | b'\t')) {
        return Err(Refusal::Fold);
    }
    let colon = text.iter().position(|&byte| !is_token_byte(byte)).ok_or(Refusal::Name)?;
    if colon == 0 || text[colon] != b':' {
        return Err(if text[colon] == b'\r' { Refusal::LineEnd } else { Refusal::Name });
    }
    let mut from = colon + 1;
    let mut to = text.len();
    while from < to && matches!(text[from], b' ' | b'\t') {
        from += 1;
    }
    while to > from && matches!(text[to - 1], b' ' | b'\t') {
        to -= 1;
    }
    if !is_value(&text[from..to]) {
        return Err(if text[from..to].contains(&b'\r') { Refusal::LineEnd } else { Refusal::Value });
    }
    Ok(Field {
        name: Name::of(&text[..colon]),
        name_span: Span::new(start, start + colon),
        value: Span::new(start + from, start + to),
        line,
    })
}

/// The elements of a comma-separated list, empty ones left out.
pub fn list(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(|part| part.trim_ascii()).filter(|part| !part.is_empty())
}
