//! Valid messages of RFC 9112, all of them accepted and passed on, with every change to be seen in the files beside this
//! one; and what must be refused.

use crate::harness::*;
use std::io::{BufRead, Read, Write};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

const REQUESTS: &str = include_str!("messages/requests.txt");
const RESPONSES: &str = include_str!("messages/responses.txt");

/// One message as it comes and as it goes on.
struct Case {
    name: &'static str,
    sent: Vec<u8>,
    got: Vec<u8>,
}

/// Reads cases as requests.txt describes them.
fn cases(text: &'static str) -> Vec<Case> {
    let sections = text.split("\n## ").skip(1);
    let case = |section: &'static str| {
        let mut lines = section.lines();
        let name = lines.next().unwrap();
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        for line in lines {
            let (side, rest) = line.split_at(1);
            let bytes = unescape(rest);
            match side {
                "-" => sent.extend_from_slice(&bytes),
                "+" => got.extend_from_slice(&bytes),
                " " | "=" => {
                    sent.extend_from_slice(&bytes);
                    got.extend_from_slice(&bytes);
                }
                _ => panic!("{name}: {line:?}"),
            }
        }
        Case { name, sent, got }
    };
    let cases: Vec<Case> = sections.map(case).collect();
    assert!(cases.len() > 20);
    cases
}

/// One line: `\xNN` is a byte, `\` at the end leaves the CR LF out.
fn unescape(line: &str) -> Vec<u8> {
    let (line, end) = match line.strip_suffix('\\') {
        Some(line) => (line, &b""[..]),
        None => (line, &b"\r\n"[..]),
    };
    let mut parts = line.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes.extend_from_slice(end);
    bytes
}

/// A server that tells each request's bytes, and its address.
fn recording() -> (Server, Receiver<Vec<u8>>) {
    let (sender, requests) = channel();
    let sender = Mutex::new(sender);
    let server = Server::new(move |connection, _| {
        while let Some(request) = raw_request(connection.reader()) {
            let _ = sender.lock().unwrap().send(request);
            connection.answer("");
        }
    });
    (server, requests)
}

/// The next request's bytes, its framing included, read apart from the product; `None` at the end.
fn raw_request(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    raw_lines(reader, &mut bytes)?;
    let head = String::from_utf8_lossy(&bytes).into_owned();
    if let Some(length) = header(&head, "content-length") {
        raw_bytes(reader, &mut bytes, length.parse().unwrap())?;
    } else if header(&head, "transfer-encoding").is_some() {
        loop {
            let from = bytes.len();
            reader.read_until(b'\n', &mut bytes).ok()?;
            let line = String::from_utf8_lossy(&bytes[from..]).into_owned();
            match usize::from_str_radix(line.split(';').next()?.trim(), 16).unwrap() {
                0 => break,
                size => raw_bytes(reader, &mut bytes, size + 2)?,
            }
        }
        raw_lines(reader, &mut bytes)?;
    }
    Some(bytes)
}

fn raw_bytes(reader: &mut impl Read, bytes: &mut Vec<u8>, length: usize) -> Option<()> {
    let from = bytes.len();
    bytes.resize(from + length, 0);
    reader.read_exact(&mut bytes[from..]).ok()
}

/// Lines up to and including an empty one.
fn raw_lines(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> Option<()> {
    loop {
        let from = bytes.len();
        if reader.read_until(b'\n', bytes).ok()? == 0 {
            return None;
        }
        if bytes[from..] == *b"\r\n" {
            return Some(());
        }
    }
}

#[track_caller]
fn assert_bytes(found: &[u8], expected: &[u8], what: &str) {
    assert!(found == expected, "{what}:\n{}\nexpected\n{}", found.escape_ascii(), expected.escape_ascii());
}

fn with_server(case: &Case, server: &Server) -> Vec<u8> {
    let text = String::from_utf8_lossy(&case.got);
    // Only where it stands is there obs-text in no case.
    if text.contains("SERVER") {
        text.replace("SERVER", &server.address.to_string()).into_bytes()
    } else {
        case.got.clone()
    }
}

/// A request as the server got it, without the line that is added to every one (LR-110).
fn traceless(request: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"Causeway-Trace: ";
    let start =
        request.windows(NAME.len()).position(|part| part == NAME).expect("every forwarded head has it");
    let end = start + request[start..].iter().position(|&byte| byte == b'\n').expect("lines end") + 1;
    [&request[..start], &request[end..]].concat()
}

// Holds LR-52
#[test]
fn a_connection_ends_after_as_many_requests_as_the_listener_says() {
    let server = Server::named("x");
    let mut balancer = Balancer::with(&[server.address], 1, |snapshot| {
        snapshot.listeners[0].requests_per_connection = NonZeroU32::new(3);
    });
    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = balancer.client();
    // All at once: what comes behind the last is not answered.
    client.send(&GET.repeat(5));
    for last in [None, None, Some("close")] {
        assert_eq!(client.response(false).header("connection"), last);
    }
    client.expect_closed();
    assert_eq!(server.noted().len(), 3);
    // Answers of our own count too.
    balancer.snapshot.groups[0].servers.clear();
    balancer.publish();
    let mut client = balancer.client();
    for last in [None, None, Some("close")] {
        let response = client.request(GET);
        assert_eq!((response.status, response.header("connection")), (503, last));
    }
    client.expect_closed();
}

// Holds LR-46, LR-48, LR-51
#[test]
fn passes_every_valid_request_on_with_the_changes_listed() {
    let (server, requests) = recording();
    let balancer = Balancer::new(&[server.address]);
    for case in cases(REQUESTS) {
        let expected = with_server(&case, &server);
        for piece in [case.sent.len(), 1] {
            let mut client = balancer.client();
            for bytes in case.sent.chunks(piece) {
                client.stream.write_all(bytes).unwrap();
            }
            let response = client.response(false);
            assert_eq!(response.status, 200, "{}: {}", case.name, response.head);
            assert_bytes(&traceless(&requests.recv_timeout(PATIENCE).unwrap()), &expected, case.name);
        }
    }
}

// Holds LR-46, LR-47
#[test]
fn passes_pipelined_requests_on_one_by_one() {
    let (server, requests) = recording();
    let balancer = Balancer::new(&[server.address]);
    let goes_on = |case: &Case| {
        let text = String::from_utf8_lossy(&case.sent).into_owned();
        text.contains(" HTTP/1.1\r\n") && !text.contains("Upgrade: websocket")
    };
    let cases: Vec<Case> = cases(REQUESTS).into_iter().filter(goes_on).collect();
    let mut client = balancer.client();
    client.stream.write_all(&cases.iter().flat_map(|case| case.sent.clone()).collect::<Vec<u8>>()).unwrap();
    for case in cases {
        assert_eq!(client.response(false).status, 200, "{}", case.name);
        assert_bytes(
            &traceless(&requests.recv_timeout(PATIENCE).unwrap()),
            &with_server(&case, &server),
            case.name,
        );
    }
}

// Holds LR-46, LR-47
#[test]
fn passes_every_valid_response_on_with_the_changes_listed() {
    for case in cases(RESPONSES) {
        for piece in [case.sent.len(), 1] {
            let sent = case.sent.clone();
            let server = Server::new(move |connection, _| {
                connection.head();
                for bytes in sent.chunks(piece) {
                    connection.send(bytes);
                }
            });
            let balancer = Balancer::new(&[server.address]);
            let mut client = balancer.client();
            let ask = case.name.rsplit_once(": ").unwrap().1;
            let close = if ask.ends_with("1.1") { "Host: a\r\nConnection: close\r\n" } else { "" };
            client.send(&format!("{ask}\r\n{close}\r\n"));
            let (got, proper) = client.rest();
            assert_bytes(&got, &case.got, case.name);
            assert!(proper, "{}", case.name);
        }
    }
}

/// Sends `text` behind a good request: the status, and that nothing of it was answered but once, the connection closed, and
/// no server got anything but the good request.
#[track_caller]
fn refuses(balancer: &Balancer, requests: &Receiver<Vec<u8>>, text: &[u8], status: u16) {
    for before in ["", "GET /good HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = balancer.client();
        client.send(before);
        client.stream.write_all(text).unwrap();
        // Would be a second request if the bad one were taken for shorter than it is.
        let _ = client.stream.write_all(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        if !before.is_empty() {
            assert_eq!(client.response(false).status, 200);
            assert!(requests.recv_timeout(PATIENCE).unwrap().starts_with(b"GET /good "));
        }
        let response = client.response(false);
        let what = text[..text.len().min(300)].escape_ascii();
        assert_eq!(response.status, status, "{what}");
        assert_eq!(response.header("connection"), Some("close"), "{what}");
        client.expect_closed();
        assert!(requests.try_recv().is_err(), "a server was asked: {what}");
    }
}

// Holds LR-27, LR-47, LR-50, LR-51
#[test]
fn refuses_ambiguous_and_malformed_heads_and_closes() {
    let (server, requests) = recording();
    let balancer = Balancer::new(&[server.address]);
    let lines = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n").into_bytes();
    let host = |host: &str| format!("GET / HTTP/1.1\r\n{host}\r\n").into_bytes();
    for text in [
        // Framing (RFC 9112 section 6.3, LR-47).
        lines("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
        lines("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
        lines("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
        lines("Content-Length: 3\r\nContent-Length: 4\r\n"),
        lines("Content-Length: 3\r\nContent-Length: 03, 3\r\n"),
        lines("Content-Length: 3, 3\r\n"),
        lines("Content-Length: 3,\r\n"),
        lines("Content-Length: -3\r\n"),
        lines("Content-Length: +3\r\n"),
        lines("Content-Length: 3.0\r\n"),
        lines("Content-Length: 0x3\r\n"),
        lines("Content-Length: \"3\"\r\n"),
        lines("Content-Length: 3 3\r\n"),
        lines("Content-Length: 18446744073709551619\r\n"),
        lines("Content-Length:\r\n"),
        lines("Transfer-Encoding: gzip\r\n"),
        lines("Transfer-Encoding: gzip, chunked\r\n"),
        lines("Transfer-Encoding: chunked, identity\r\n"),
        lines("Transfer-Encoding: chunked, chunked\r\n"),
        lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        lines("Transfer-Encoding: xchunked\r\n"),
        lines("Transfer-Encoding: chunked;q=1\r\n"),
        lines("Transfer-Encoding: \"chunked\"\r\n"),
        lines("Transfer-Encoding: ,chunked\r\n"),
        lines("Transfer-Encoding:\r\n"),
        lines("Transfer-Encoding: \x0bchunked\r\n"),
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        // Lines (RFC 9112 sections 2.2 and 5).
        lines("X: a\r\n b\r\n"),
        lines("X: a\r\n\tb\r\n"),
        lines("X: a\r\n \r\n"),
        lines("X: a\nContent-Length: 3\r\n"),
        lines("X: a\n"),
        lines("X: a\rContent-Length: 3\r\n"),
        lines("X: a\r\r\n"),
        lines("\rX: a\r\n"),
        b"POST / HTTP/1.1\nHost: a\n\n".to_vec(),
        b"POST / HTTP/1.1\r\nHost: a\r\n\n".to_vec(),
        b"POST / HTTP/1.1\rHost: a\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\n Host: a\r\n\r\n".to_vec(),
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        // Names and values (RFC 9110 section 5).
        lines("X : a\r\n"),
        lines("X\t: a\r\n"),
        lines("Content-Length : 3\r\n"),
        lines(" X: a\r\n"),
        lines("X\r\n"),
        lines(": a\r\n"),
        lines("X Y: a\r\n"),
        lines("X(Y): a\r\n"),
        lines("X\"Y: a\r\n"),
        lines("X/Y: a\r\n"),
        lines("X\0Y: a\r\n"),
        lines("\u{e9}: a\r\n"),
        lines("X: a\0b\r\n"),
        lines("X: a\x01b\r\n"),
        lines("X: a\x1bb\r\n"),
        lines("X: a\x7fb\r\n"),
        // Host (RFC 9112 section 3.2).
        host(""),
        host("Host: a\r\nHost: a\r\n"),
        host("Host: a\r\nhost: b\r\n"),
        host("Host:\r\n"),
        host("Host: a b\r\n"),
        host("Host: a,b\r\nX: y\r\nHost: a\r\n"),
        host("Host: a/b\r\n"),
        host("Host: http://a\r\n"),
        host("Host: u@a\r\n"),
        host("Host: a:b\r\n"),
        host("Host: a:80:80\r\n"),
        host("Host: [::1\r\n"),
        host("Host: \u{e9}\r\n"),
        line("GET http://b/ HTTP/1.1"),
        line("GET http://a:81/ HTTP/1.1"),
        line("GET https://a:80/ HTTP/1.1"),
        // Request line (RFC 9112 section 3).
        line("GET  / HTTP/1.1"),
        line("GET /  HTTP/1.1"),
        line("GET / HTTP/1.1 "),
        line("GET\t/ HTTP/1.1"),
        line("GET /a b HTTP/1.1"),
        line(" GET / HTTP/1.1"),
        line("GET /"),
        line("GET"),
        line(""),
        line("/ HTTP/1.1"),
        line("G(ET / HTTP/1.1"),
        line("GET / http/1.1"),
        line("GET / HTTP/1"),
        line("GET / HTTP/11.1"),
        line("GET / HTTP/1.1a"),
        line("GET a HTTP/1.1"),
        line("GET a:80 HTTP/1.1"),
        line("GET * HTTP/1.1"),
        line("OPTIONS ** HTTP/1.1"),
        line("GET /#a HTTP/1.1"),
        line("GET /\x01 HTTP/1.1"),
        line("GET /\x7f HTTP/1.1"),
        line("GET /\u{e9} HTTP/1.1"),
        line("GET ftp://a/ HTTP/1.1"),
        line("GET http:/a HTTP/1.1"),
        line("GET http:///x HTTP/1.1"),
        line("GET http://u@a/ HTTP/1.1"),
        line("GET http://a:b/ HTTP/1.1"),
        // TLS on a port without it.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n".to_vec(),
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n".to_vec(),
    ] {
        refuses(&balancer, &requests, &text, 400);
    }
    for (text, status) in [
        (line("TRACE / HTTP/1.1"), 405),
        (line("CONNECT a:443 HTTP/1.1"), 405),
        (line("CONNECT / HTTP/1.1"), 405),
        (line("GET / HTTP/2.0"), 505),
        (line("GET / HTTP/0.9"), 505),
        (line("GET / HTTP/1.2"), 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505),
    ] {
        refuses(&balancer, &requests, &text, status);
    }
}

// Holds LR-50
#[test]
fn serves_heads_at_every_limit_and_refuses_those_beyond() {
    let (server, requests) = recording();
    let balancer = Balancer::new(&[server.address]);
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 1));
    let block = |length: usize| {
        let rest = "Host: a\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(length - rest))
    };
    let lines = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X:\r\n".repeat(count - 1));
    let options = |count: usize| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n\r\n", vec!["x"; count].join(","))
    };
    let port = |digits: usize| format!("GET / HTTP/1.1\r\nHost: a:{}\r\n\r\n", "1".repeat(digits));
    type Text<'a> = &'a dyn Fn(usize) -> String;
    let kb = 1024;
    for (text, limit, status) in [
        (&target as Text, 32 * kb, 414),
        (&block, 32 * kb, 400),
        (&lines, 256, 400),
        (&options, 32, 400),
        (&port, 5, 400),
    ] {
        let mut client = balancer.client();
        assert_eq!(client.request(&text(limit)).status, 200);
        assert!(requests.recv_timeout(PATIENCE).is_ok());
        refuses(&balancer, &requests, text(limit + 1).as_bytes(), status);
    }
    // A line, a block or a target without an end is refused as soon as it is too long, not when it is complete.
    for (start, status) in
        [("GET /", 414), ("GET / HTTP/1.1\r\nX: ", 400), ("", 400), ("GET / HTTP/1.1", 400)]
    {
        refuses(&balancer, &requests, format!("{start}{}", "x".repeat(33 * kb)).as_bytes(), status);
    }
}

// Holds LR-47
#[test]
fn refuses_bad_chunk_framing_and_closes() {
    for body in [
        "\r\n",
        "x\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\rhello\r0\r\r",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\x01\r\nhello\r\n0\r\n\r\n",
        "5 ;a\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "0000000000000005\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\n\rX",
        "0\r\nX\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: y\r\n z\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\r\nContent-Length: 3\r\n\r\n",
        "0\r\nTRANSFER-ENCODING: chunked\r\n\r\n",
        "0\r\nHost: b\r\n\r\n",
    ] {
        // Notes each whole request; what comes after the head of a cut one is no request.
        let (server, requests) = recording();
        let balancer = Balancer::new(&[server.address]);
        let mut client = balancer.client();
        client.send("POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(body);
        let _ = client.stream.write_all(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response(false);
        assert_eq!((response.status, response.header("connection")), (400, Some("close")), "{body:?}");
        client.expect_closed();
        // The next request gets a connection of its own, whose bytes cannot be taken for the rest of the bad one.
        assert_eq!(balancer.get("/good").status, 200);
        let request = requests.recv_timeout(PATIENCE).unwrap();
        assert!(request.starts_with(b"GET /good "), "{body:?}: {}", request.escape_ascii());
    }
}
