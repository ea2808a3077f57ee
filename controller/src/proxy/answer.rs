//! Answers the balancer gives itself (LR section 6, LR-123).

use super::decision::Answer;
use super::http1::rewrite::push_number;
use crate::model::FixedResponse;
use std::borrow::Cow;
use std::time::SystemTime;

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        414 => "URI Too Long",
        463 => "Loop Detected",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        201..=299 => "Success",
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
        Answer::Redirect(status, location) => {
            let lines = [b"Location: ".as_slice(), location, b"\r\n", lines].concat();
            push_page(out, *status, &lines, keep_alive, to_head).into()
        }
        Answer::Preflight(own) => {
            push_head(out, 200, "text/plain", 0, &[own.as_slice(), lines].concat(), keep_alive);
            Cow::Borrowed(b"")
        }
        Answer::Limited => {
            let lines = [b"ALB-QPS-Limited: Limited\r\n".as_slice(), lines].concat();
            push_page(out, answer.status(), &lines, keep_alive, to_head).into()
        }
        // LR-111: without a body.
        Answer::Loop => {
            push_head(out, answer.status(), "text/html", 0, lines, keep_alive);
            Cow::Borrowed(b"")
        }
        Answer::Status(_) | Answer::NoGroup | Answer::NoTarget | Answer::NoMemory => {
            push_page(out, answer.status(), lines, keep_alive, to_head).into()
        }
    }
}

/// A page that says no more than the status.
fn push_page(out: &mut Vec<u8>, status: u16, lines: &[u8], keep_alive: bool, to_head: bool) -> Vec<u8> {
    let title = format!("{status} {}", reason(status));
    let page =
        format!("<html>\n<head><title>{title}</title></head>\n<body><h1>{title}</h1></body>\n</html>\n");
    push_head(out, status, "text/html", page.len(), lines, keep_alive);
    if to_head { Vec::new() } else { page.into_bytes() }
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

/// Appends the head of an answer of ours to a gRPC client: HTTP's status is always 200, and what happened stands in
/// fields that are trailers and head at once (LR-123).
pub fn write_grpc_answer(out: &mut Vec<u8>, status: u16) {
    // As gRPC's own mapping from HTTP's statuses has it, and 504 as LR-123 does.
    let code = match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 | 405 => 12,
        408 | 504 => 4,
        429 | 502 | 503 => 14,
        _ => 2,
    };
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: {code}\r\ngrpc-message: {} \
         {}\r\n\r\n",
        status,
        reason(status)
    );
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    // Holds LR-123
    #[test]
    fn errors_of_grpc_are_statuses_of_its_own() {
        for (status, code) in
            [(400, 13), (404, 12), (408, 4), (463, 2), (500, 2), (502, 14), (503, 14), (504, 4)]
        {
            let mut out = Vec::new();
            write_grpc_answer(&mut out, status);
            let head = String::from_utf8(out).unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n"), "{head}");
            assert!(head.contains(&format!("\r\ngrpc-status: {code}\r\ngrpc-message: {status} ")), "{head}");
            assert!(head.ends_with("\r\n\r\n"));
        }
    }
}
