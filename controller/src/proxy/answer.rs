//! Answers the balancer gives itself (LR section 6, LR-123).

use super::http1::rewrite::push_number;
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

/// Appends a whole response; returns the length of its body. `to_head` leaves the body out and its length in.
pub fn write_answer(out: &mut Vec<u8>, status: u16, keep_alive: bool, to_head: bool) -> usize {
    let mut number = Vec::with_capacity(3);
    push_number(&mut number, u64::from(status));
    let title = [&number, b" ".as_slice(), reason(status).as_bytes()].concat();
    let body = [
        b"<html>\n<head><title>".as_slice(),
        &title,
        b"</title></head>\n<body><h1>",
        &title,
        b"</h1></body>\n</html>\n",
    ]
    .concat();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&title);
    out.extend_from_slice(b"\r\nServer: causeway\r\nDate: ");
    out.extend_from_slice(httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    out.extend_from_slice(b"\r\nContent-Type: text/html\r\nContent-Length: ");
    push_number(out, body.len() as u64);
    if status == 405 {
        out.extend_from_slice(b"\r\nAllow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
    }
    out.extend_from_slice(if keep_alive { b"\r\n\r\n" } else { b"\r\nConnection: close\r\n\r\n" });
    if to_head {
        return 0;
    }
    out.extend_from_slice(&body);
    body.len()
}
