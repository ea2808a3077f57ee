//! The head of an HTTP/1.x response, parsed strictly (RFC 9112). Pure.

/// What a probe needs of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Length of the head, its empty line included.
    pub(super) bytes: usize,
    pub(super) content_length: Option<u64>,
}

/// Largest head accepted, bytes.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The head of a response that begins `bytes`; `None`: more bytes are needed; an error names what is malformed.
///
/// Bytes that cannot become a response are refused as soon as they are seen, so that a server of another protocol which
/// keeps its connection open fails by format and not by time.
pub(super) fn parse_head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut lines = Lines(bytes);
    let line = match lines.next()? {
        Some(line) => line,
        None if may_become_status_line(bytes) => return within_limit(bytes),
        None => return Err(format!("not a status line: {}", shown(bytes))),
    };
    let status = parse_status_line(line).ok_or_else(|| format!("malformed status line: {}", shown(line)))?;
    let mut content_length = None;
    loop {
        let Some(line) = lines.next()? else { return within_limit(bytes) };
        if line.is_empty() {
            return Ok(Some(Head { status, bytes: bytes.len() - lines.0.len(), content_length }));
        }
        let (name, value) =
            parse_field(line).ok_or_else(|| format!("malformed header field: {}", shown(line)))?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let length =
                std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let length = length.and_then(|text| text.parse().ok());
            let length = length.ok_or_else(|| format!("malformed Content-Length: {}", shown(value)))?;
            if content_length.is_some_and(|other| other != length) {
                return Err("conflicting Content-Length fields".into());
            }
            content_length = Some(length);
        }
    }
}

/// Takes lines, without their CR LF, off the front.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, String> {
        let Some(end) = self.0.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let (line, rest) = (&self.0[..end], &self.0[end + 1..]);
        let line =
            line.strip_suffix(b"\r").ok_or_else(|| format!("line ends without CR: {}", shown(line)))?;
        self.0 = rest;
        Ok(Some(line))
    }
}

fn within_limit(bytes: &[u8]) -> Result<Option<Head>, String> {
    if bytes.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(format!("head exceeds {HEAD_BYTES_MAX} bytes")) }
}

/// `HTTP/1.x 200 reason`; the reason may be missing, with or without its space.
fn parse_status_line(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [b'0' | b'1', b' ', hundreds @ b'1'..=b'5', tens, ones, rest @ ..] = rest else { return None };
    if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return None;
    }
    let reason_is_valid = match rest {
        [] => true,
        [b' ', reason @ ..] => reason.iter().all(|byte| is_text(*byte)),
        _ => false,
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    reason_is_valid.then(|| digit(hundreds) * 100 + digit(tens) * 10 + digit(ones))
}

fn may_become_status_line(bytes: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/1.";
    let compared = bytes.len().min(START.len());
    bytes[..compared] == START[..compared] && bytes.iter().all(|byte| is_text(*byte) || *byte == b'\r')
}

fn parse_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_valid = !name.is_empty() && name.iter().all(is_token) && value.iter().all(|byte| is_text(*byte));
    is_valid.then(|| (name, value.trim_ascii()))
}

/// Tab, visible ASCII, space, and bytes above ASCII.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The first bytes of what was received, printable.
fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes[..bytes.len().min(40)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_status_and_length() {
        let text = b"HTTP/1.1 204 No Content\r\nServer: x\r\nContent-Length: 12\r\n\r\nbody";
        let head = Head { status: 204, bytes: text.len() - 4, content_length: Some(12) };
        assert_eq!(parse_head(text), Ok(Some(head)));
        for whole in ["HTTP/1.0 302\r\n\r\n", "HTTP/1.0 302 \r\n\r\n"] {
            let head = Head { status: 302, bytes: whole.len(), content_length: None };
            assert_eq!(parse_head(whole.as_bytes()), Ok(Some(head)));
        }
    }

    #[test]
    fn waits_for_the_rest_of_a_head_that_is_good_so_far() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse_head(&text[..end]), Ok(None), "after {end} bytes");
        }
    }

    #[test]
    fn refuses_what_is_not_a_response() {
        for text in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "SSH",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 999 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\n\n",
            "HTTP/1.1 200 O\0K\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        ] {
            assert!(parse_head(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn refuses_an_endless_head() {
        let mut text = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        text.resize(HEAD_BYTES_MAX - 1, b'x');
        assert_eq!(parse_head(&text), Ok(None));
        text.push(b'x');
        assert!(parse_head(&text).is_err());
    }
}
