//! Answers the balancer gives itself (LR section 6, LR-123).

use super::decision::Answer;
use super::http1::rewrite::push_number;
use crate::model::FixedResponse;
use std::borrow::Cow;
use std::time::SystemTime;

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        414 => "URI Too Long",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

/// Appends the head of an answer of ours, with its empty line, and returns the body, which `to_head` leaves out and its
/// length in. `lines` are added.
pub fn write_answer<'a>(
    out: &mut Vec<u8>,
    answer: &Answer<'a>,
    lines: &[u8],
    keep_alive: bool,
    to_head: bool,
) -> Cow<'a, [u8]> {
    match answer {
        Answer::Fixed(fixed) => write_fixed(out, fixed, lines, keep_alive, to_head).into(),
        Answer::Status(status) => {
            let title = format!("{status} {}", reason(*status));
            let page = format!(
                "<html>\n<head><title>{title}</title></head>\n<body><h1>{title}</h1></body>\n</html>\n"
            );
            push_head(out, *status, "text/html", page.len(), lines, keep_alive);
            if to_head { Cow::Borrowed(b"") } else { page.into_bytes().into() }
        }
    }
}

/// As [`write_answer`], what a rule says (LR-100).
pub fn write_fixed<'a>(
    out: &mut Vec<u8>,
    fixed: &'a FixedResponse,
    lines: &[u8],
    keep_alive: bool,
    to_head: bool,
) -> &'a [u8] {
    push_head(out, fixed.status, &fixed.content_type, fixed.content.len(), lines, keep_alive);
    if to_head || fixed.status == 204 { b"" } else { fixed.content.as_bytes() }
}

fn push_head(out: &mut Vec<u8>, status: u16, kind: &str, length: usize, lines: &[u8], keep_alive: bool) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\nServer: causeway\r\nDate: ");
    out.extend_from_slice(httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    out.extend_from_slice(b"\r\n");
    // RFC 9110 section 8.6: a response of these has no length.
    if status != 204 {
        out.extend_from_slice(b"Content-Type: ");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\r\nContent-Length: ");
        push_number(out, length as u64);
        out.extend_from_slice(b"\r\n");
    }
    if status == 405 {
        out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n");
    }
    out.extend_from_slice(lines);
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
