//! Heads as they are passed on, by everything that decides about them.

use super::*;

#[track_caller]
fn answers(text: &str, to: ToClient<'_>, expected: &str) {
    let head = response(text).unwrap();
    let mut out = Vec::new();
    write_response(&mut out, &head, text.as_bytes(), &to);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[track_caller]
fn asks(text: &str, to: ToServer<'_>, expected: &str) {
    let (head, _) = parse(text.as_bytes()).unwrap().expect("complete");
    let mut out = Vec::new();
    write_request(&mut out, &head, text.as_bytes(), &to);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

fn client() -> ToClient<'static> {
    ToClient::new(Version::Http11, true)
}

fn server() -> ToServer<'static> {
    ToServer { x_forwarded_for: XForwardedFor::Pass, ..ToServer::new(b"192.0.2.9", b"198.51.100.1:80") }
}

#[test]
fn a_response_that_has_no_body_tells_no_length() {
    for (status, has_length) in
        [("204 No Content", false), ("101 x", false), ("103 x", false), ("200 OK", true), ("304 x", true)]
    {
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\nA: b\r\n\r\n");
        let length = if has_length { "Content-Length: 3\r\n" } else { "" };
        answers(&text, client(), &format!("HTTP/1.1 {status}\r\n{length}A: b\r\n\r\n"));
        let text = format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n");
        let coding = if has_length { "Transfer-Encoding: chunked\r\n" } else { "" };
        answers(&text, client(), &format!("HTTP/1.1 {status}\r\n{coding}A: b\r\n\r\n"));
    }
}

#[test]
fn a_body_of_another_shape_is_framed_for_it() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA: b\r\n\r\n";
    let coding = "HTTP/1.1 200 OK\r\nTransfer-Encoding:chunked\r\nA: b\r\n\r\n";
    let changed = ToClient { is_changed: true, shape: Shape::Chunked, ..client() };
    for text in [length, coding] {
        answers(text, changed, "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n");
        let data = ToClient { is_changed: true, shape: Shape::Data, ..client() };
        answers(text, data, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
    }
    let data = ToClient { shape: Shape::Data, ..client() };
    answers(length, data, length);
    answers(coding, data, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
    let anew = "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n";
    answers(coding, client(), anew);
}

#[test]
fn a_response_says_whether_the_connection_goes_on() {
    let text =
        "HTTP/1.1 200 OK\r\nConnection: close, X-A\r\nX-A: 1\r\nTE: x\r\nProxy-Connection: close\r\n\r\n";
    for (version, keep_alive, line) in [
        (Version::Http11, true, ""),
        (Version::Http11, false, "Connection: close\r\n"),
        (Version::Http10, true, "Connection: keep-alive\r\n"),
        (Version::Http10, false, "Connection: close\r\n"),
    ] {
        answers(text, ToClient::new(version, keep_alive), &format!("HTTP/1.1 200 OK\r\n{line}\r\n"));
        // Only the last response has a say.
        let interim = text.replace("200 OK", "103 x");
        answers(&interim, ToClient::new(version, keep_alive), "HTTP/1.1 103 x\r\n\r\n");
    }
}

#[test]
fn an_upgrade_passes_in_both_directions_only_where_it_may() {
    let text = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let passed = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    answers(text, ToClient { upgrade: true, ..client() }, passed);
    answers(text, client(), "HTTP/1.1 101 x\r\n\r\n");

    let text = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let passed = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    for keep_alive in [true, false] {
        asks(text, ToServer { upgrade: true, keep_alive, ..server() }, passed);
    }
    asks(text, server(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let trailers = text.replace("Upgrade: ", "TE: trailers\r\nUpgrade: ");
    let passed =
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nTE: trailers\r\nConnection: Upgrade, TE\r\n\r\n";
    asks(&trailers, ToServer { upgrade: true, ..server() }, passed);
    let closed = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n";
    asks(&trailers, ToServer { keep_alive: false, ..server() }, closed);
}

#[test]
fn hidden_and_nominated_lines_end_here() {
    let text = "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nA: 1\r\nX-Hop: 2\r\nX-SECRET: 3\r\nB: 4\r\n\r\n";
    answers(text, client(), "HTTP/1.1 200 OK\r\nA: 1\r\nX-SECRET: 3\r\nB: 4\r\n\r\n");
    let to = ToClient { hidden: &[b"x-none", b"x-secret"], ..client() };
    answers(text, to, "HTTP/1.1 200 OK\r\nA: 1\r\nB: 4\r\n\r\n");

    let text = "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nX-Hop: 2\r\nX-SECRET: 3\r\nB: 4\r\n\r\n";
    asks(text, server(), text);
    let hidden: [Box<[u8]>; 2] = [(*b"x-none").into(), (*b"x-secret").into()];
    let to = ToServer { hidden: &hidden, lines: b"X-Ours: 5\r\n", ..server() };
    asks(text, to, "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nX-Hop: 2\r\nB: 4\r\nX-Ours: 5\r\n\r\n");
    let nominated = text.replace("A: 1", "Connection: keep-alive, X-HOP, x-secret");
    asks(&nominated, server(), "GET / HTTP/1.1\r\nHost: a\r\nB: 4\r\n\r\n");
}

// Holds LR-101
#[test]
fn a_rewritten_request_asks_for_another_path_and_host() {
    let text = "GET http://a/b?c HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: theirs\r\n\r\n";
    let to = ToServer { path: Some(b"/new?d"), host: Some(b"other:81"), ..server() };
    asks(text, to, "GET /new?d HTTP/1.1\r\nHost: other:81\r\nX-Forwarded-Host: theirs\r\n\r\n");
    asks(text, server(), "GET /b?c HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: theirs\r\n\r\n");
}

#[test]
fn x_forwarded_for_is_appended_passed_or_taken_away() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For:\r\nX-Forwarded-For: 127.0.0.2\r\n\r\n";
    let to = |x_forwarded_for| ToServer { x_forwarded_for, ..server() };
    let head = "GET / HTTP/1.1\r\nHost: a\r\n";
    let appended = format!("{head}X-Forwarded-For: 127.0.0.2, 192.0.2.9\r\n\r\n");
    asks(text, to(XForwardedFor::Append), &appended);
    asks(text, to(XForwardedFor::Pass), text);
    asks(text, to(XForwardedFor::Remove), &format!("{head}\r\n"));
}
