//! Heads: limits as numbers, what a head says about its connection and body, and heads used again.

use super::*;

// Holds LR-50
#[test]
fn the_largest_request_head_fits_the_buffer_that_is_kept_for_it() {
    // 32 KB each for target and header block, whatever a constant says.
    let target = format!("/{}", "x".repeat(32 * 1024 - 1));
    let host = "Host: a\r\nX: ";
    let value = "y".repeat(32 * 1024 - host.len() - "\r\n\r\n".len());
    let head = |method: &str| format!("\r\n{method} {target} HTTP/1.1\r\n{host}{value}\r\n\r\n");
    let largest = head(&"M".repeat(63));
    assert_eq!(parse(largest.as_bytes()).unwrap().unwrap().1, largest.len());
    assert!(largest.len() <= HEAD_BYTES_MAX && HEAD_BYTES_MAX - largest.len() < 256);
    let (_, incomplete) = largest.as_bytes().split_last().unwrap();
    assert!(parse(incomplete).unwrap().is_none());
    refuses(&head(&"M".repeat(64)), Refusal::StartLine);
    refuses(&head("GET").replace("x HTTP", "xx HTTP"), Refusal::TargetTooLong);
    refuses(&head("GET").replace("y\r\n", "yy\r\n"), Refusal::TooLarge);
}

#[test]
fn a_version_is_two_digits_of_which_others_are_another_refusal() {
    let request = |version: &str| format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
    for version in ["2.0", "0.9", "1.2", "9.9"] {
        refuses(&request(version), Refusal::Version);
    }
    for version in ["1.x", "x.1", "1,1", "1.10", "11", ""] {
        refuses(&request(version), Refusal::StartLine);
    }
    assert_eq!(Refusal::Version.status(), 505);
    assert_eq!(Refusal::StartLine.status(), 400);
}

#[test]
fn a_client_waits_for_100_only_with_a_body_and_in_http_1_1() {
    let expects = |version: &str, lines: &str| {
        accepts(&format!("PUT / HTTP/{version}\r\nHost: a\r\n{lines}\r\n")).expects_continue
    };
    assert!(expects("1.1", "Expect: 100-Continue\r\nContent-Length: 1\r\n"));
    assert!(expects("1.1", "Transfer-Encoding: chunked\r\nexpect: 100-continue\r\n"));
    assert!(!expects("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n"));
    assert!(!expects("1.1", "Expect: 100-continue\r\n"));
    assert!(!expects("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n"));
    assert!(!expects("1.1", "Expect: 100\r\nContent-Length: 1\r\n"));
    assert!(!expects("1.1", "Content-Length: 1\r\n"));
    assert!(!expects("1.0", ""));
}

#[test]
fn reads_a_response_head() {
    let text = "HTTP/1.0 404 Not There\r\nServer: x\r\nConnection: keep-alive\r\n\r\n";
    let head = response(text).unwrap();
    assert_eq!((head.status, head.version), (404, Version::Http10));
    assert_eq!(head.reason.of(text.as_bytes()), b"Not There");
    assert_eq!(head.fields().len(), 2);
    assert!(head.keep_alive);
    assert!(response("HTTP/1.1 200\r\n\r\n").unwrap().reason.is_empty());
    assert!(!response("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap().keep_alive);
    assert!(!response("HTTP/1.0 200 OK\r\n\r\n").unwrap().keep_alive);
}

#[test]
fn a_1xx_response_has_no_body_and_is_not_the_last() {
    for (status, is_interim) in [(100, true), (103, true), (199, true), (200, false), (304, false)] {
        let head = response(&format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n")).unwrap();
        assert_eq!(head.is_interim(), is_interim, "{status}");
        let framing = if status == 200 { Framing::Length(5) } else { Framing::None };
        assert_eq!(head.body_framing(false), framing, "{status}");
    }
}

#[test]
fn reuses_a_response_head_without_remembering() {
    let mut head = ResponseHead::default();
    let first = b"HTTP/1.0 503 Busy\r\nContent-Length: 4\r\nRetry-After: 1\r\n\r\n";
    assert_eq!(head.parse(first), Ok(Some(first.len())));
    head.reset();
    assert!((head.status, head.fields().len()) == (0, 0) && head.reason.is_empty());
    let second = b"HTTP/1.1 200\r\nServer: x\r\n\r\n";
    assert_eq!(head.parse(second), Ok(Some(second.len())));
    assert_eq!((head.status, head.version, head.fields().len()), (200, Version::Http11, 1));
    assert_eq!(head.body_framing(false), Framing::UntilClose);
}
