use super::body::BodyDecoder;
use super::field::{Name, Span};
use super::head::{RequestHead, ResponseHead};
use super::rewrite::{Edits, Shape, ToClient, ToFunction, ToServer, write_request, write_response};
use super::*;
use crate::model::XForwardedFor;

mod body;
mod field;
mod head;
mod rewrite;

/// xorshift64*: small, seeded, and the seed is in every failure.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

fn parse(text: &[u8]) -> Result<Option<(RequestHead, usize)>, Refusal> {
    let mut head = RequestHead::default();
    Ok(head.parse(text)?.map(|length| (head, length)))
}

#[track_caller]
fn accepts(text: &str) -> RequestHead {
    let (head, length) =
        parse(text.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal}")).expect("complete");
    assert_eq!(length, text.len());
    head
}

#[track_caller]
fn refuses(text: &str, expected: Refusal) {
    match parse(text.as_bytes()) {
        Err(refusal) => assert_eq!(refusal, expected, "{text:?}"),
        Ok(head) => panic!("accepted {text:?} as {head:?}"),
    }
}

#[track_caller]
fn forwards(text: &str, expected: &str) {
    let (head, length) = parse(text.as_bytes()).unwrap().expect("complete");
    let to = ToServer::new(b"192.0.2.9", b"198.51.100.1:80");
    let mut out = Vec::new();
    write_request(&mut out, &head, &text.as_bytes()[..length], &to);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn reads_a_request_head() {
    let text = "POST /a?b=c HTTP/1.1\r\nHost: example.com:8080\r\nContent-Length:  12 \r\nX-Empty:\r\n\r\n";
    let head = accepts(text);
    let bytes = text.as_bytes();
    assert_eq!(head.method.of(bytes), b"POST");
    assert_eq!(head.path.of(bytes), b"/a?b=c");
    assert_eq!(head.host.of(bytes), b"example.com:8080");
    assert_eq!(head.framing, Framing::Length(12));
    assert_eq!(head.value(Name::ContentLength, bytes), Some(&b"12"[..]));
    assert_eq!(head.fields().len(), 3);
    assert!(head.keep_alive);
}

#[test]
fn knows_when_the_client_keeps_the_connection() {
    assert!(accepts("GET / HTTP/1.1\r\nHost: a\r\n\r\n").keep_alive);
    assert!(!accepts("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n").keep_alive);
    assert!(!accepts("GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(accepts("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
}

#[test]
fn ignores_one_empty_line_before_a_request() {
    assert_eq!(accepts("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").framing, Framing::None);
    refuses("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::StartLine);
}

#[test]
fn refuses_what_two_parsers_could_read_differently() {
    let request = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    for (lines, refusal) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", Refusal::Framing),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Refusal::Framing),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", Refusal::Length),
        ("Content-Length: 3, 3\r\n", Refusal::Length),
        ("Content-Length: +3\r\n", Refusal::Length),
        ("Content-Length: 0x3\r\n", Refusal::Length),
        ("Content-Length: 1234567890123456789\r\n", Refusal::Length),
        ("Content-Length:\r\n", Refusal::Length),
        ("Transfer-Encoding: gzip, chunked\r\n", Refusal::Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Refusal::Coding),
        ("Transfer-Encoding: identity\r\n", Refusal::Coding),
        ("Transfer-Encoding: \x0bchunked\r\n", Refusal::Value),
        ("Transfer-Encoding : chunked\r\n", Refusal::Name),
        ("X: a\r\n b\r\n", Refusal::Fold),
        ("X: a\r\n\tb\r\n", Refusal::Fold),
        (" X: a\r\n", Refusal::Fold),
        ("X: a\nY: b\r\n", Refusal::LineEnd),
        ("X: a\rY: b\r\n", Refusal::LineEnd),
        ("X\r: b\r\n", Refusal::LineEnd),
        ("X: a\0b\r\n", Refusal::Value),
        ("X: a\x7fb\r\n", Refusal::Value),
        (": a\r\n", Refusal::Name),
        ("X(y): a\r\n", Refusal::Name),
        ("no colon\r\n", Refusal::Name),
        ("nocolon\r\n", Refusal::Name),
        ("Host: b\r\n", Refusal::Host),
    ] {
        refuses(&request(lines), refusal);
    }
    refuses("GET / HTTP/1.1\nHost: a\r\n\r\n", Refusal::LineEnd);
    refuses("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::Coding);
}

#[test]
fn takes_repeated_equal_lengths_as_one_and_forwards_one() {
    forwards(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n",
    );
}

#[test]
fn writes_framing_lines_with_unusual_white_space_anew() {
    // What does not strip a tab takes the coding for an unknown one, and the body for the next request.
    for line in ["Transfer-Encoding:\tchunked", "transfer-encoding: chunked ", "Transfer-Encoding:chunked"] {
        forwards(
            &format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\nX: y\r\n\r\n"),
            "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nTransfer-Encoding: chunked\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n",
        );
    }
    forwards(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t3\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n",
    );
}

#[test]
fn refuses_a_connection_field_that_names_too_much() {
    let request = |names: usize| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n\r\n", vec!["x"; names].join(", "))
    };
    accepts(&request(NOMINATIONS_MAX));
    refuses(&request(NOMINATIONS_MAX + 1), Refusal::Nominations);
}

#[test]
fn refuses_malformed_request_lines() {
    let request = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    for (line, refusal) in [
        ("GET /", Refusal::StartLine),
        ("GET  / HTTP/1.1", Refusal::Target),
        ("GET / HTTP/1.1 ", Refusal::StartLine),
        ("GET / http/1.1", Refusal::StartLine),
        ("GET /a b HTTP/1.1", Refusal::StartLine),
        (" GET / HTTP/1.1", Refusal::StartLine),
        ("G(T / HTTP/1.1", Refusal::StartLine),
        ("GET a HTTP/1.1", Refusal::Target),
        ("GET /a#b HTTP/1.1", Refusal::Target),
        ("GET /\x01 HTTP/1.1", Refusal::Target),
        ("GET * HTTP/1.1", Refusal::Target),
        ("GET ftp://a/ HTTP/1.1", Refusal::Target),
        ("GET http://u@a/ HTTP/1.1", Refusal::Target),
        ("GET / HTTP/2.0", Refusal::Version),
        ("GET / HTTP/1.2", Refusal::Version),
        ("TRACE / HTTP/1.1", Refusal::Method),
        ("CONNECT a:443 HTTP/1.1", Refusal::Method),
    ] {
        let refusal = if line.starts_with("CONNECT") { Refusal::Method } else { refusal };
        refuses(&request(line), refusal);
    }
    assert_eq!(Refusal::Method.status(), 405);
}

#[test]
fn refuses_missing_and_malformed_hosts() {
    refuses("GET / HTTP/1.1\r\n\r\n", Refusal::Host);
    for host in ["", "a b", "a/b", "u@a", "a:b", "a:123456", ":80", "[::1", "[]", "a[b]", "[::1]x", "a:80:81"]
    {
        refuses(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), Refusal::Host);
    }
    for host in ["a", "a.example:", "a_b.example:80", "192.0.2.1", "[2001:db8::1]", "[2001:db8::1]:80"] {
        accepts(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
}

// Holds LR-47
#[test]
fn refuses_a_host_that_differs_from_the_targets_authority() {
    let request = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (target, host) in [
        ("http://a/", "a"),
        ("http://A.example/", "a.EXAMPLE"),
        ("http://a:80/", "a"),
        ("http://a", "a:80"),
        ("http://a:/x", "a:080"),
        ("https://a:443", "a"),
        ("HTTPS://a?q", "a:443"),
        ("http://[2001:DB8::1]/", "[2001:db8::1]:80"),
        ("http://[::1]:8080/", "[::1]:8080"),
    ] {
        accepts(&request(target, host));
    }
    for (target, host) in [
        ("http://a/", "b"),
        ("http://a/", "a.b"),
        ("http://a/", "a."),
        ("http://a/", "a:81"),
        ("http://a/", "a:443"),
        ("http://a:81/", "a"),
        ("https://a/", "a:80"),
        ("https://a:80/", "a"),
        ("http://a:443/", "a"),
        ("http://[::1]/", "[::2]"),
        ("http://[::1]:80/", "[::1:80]"),
        ("http://[::1]:1/", "[::1]:2"),
    ] {
        refuses(&request(target, host), Refusal::Authority);
    }
    // HTTP/1.0 may leave Host out.
    accepts("GET http://a/ HTTP/1.0\r\n\r\n");
    refuses("GET http://a/ HTTP/1.0\r\nHost: b\r\n\r\n", Refusal::Authority);
    assert_eq!(Refusal::Authority.status(), 400);
}

// Holds LR-50
#[test]
fn holds_the_number_of_header_lines() {
    let lines = |count: usize| "x:\r\n".repeat(count);
    let request = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines(count - 1));
    assert_eq!(accepts(&request(FIELDS_MAX)).fields().len(), FIELDS_MAX);
    refuses(&request(FIELDS_MAX + 1), Refusal::Fields);
    assert_eq!(Refusal::Fields.status(), 400);
    response(&format!("HTTP/1.1 200 OK\r\n{}\r\n", lines(FIELDS_MAX))).unwrap();
    let over = format!("HTTP/1.1 200 OK\r\n{}\r\n", lines(FIELDS_MAX + 1));
    assert_eq!(response(&over).unwrap_err(), Refusal::Fields);
}

// Holds LR-50
#[test]
fn holds_the_size_limits_to_the_byte() {
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 1));
    accepts(&target(HEAD_LIMIT));
    refuses(&target(HEAD_LIMIT + 1), Refusal::TargetTooLong);
    assert_eq!(Refusal::TargetTooLong.status(), 414);
    // The block counts every line and the empty one at its end.
    let rest = "Host: a\r\nX: \r\n\r\n".len();
    let block =
        |length: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(length - rest));
    accepts(&block(HEAD_LIMIT));
    refuses(&block(HEAD_LIMIT + 1), Refusal::TooLarge);
    let line = format!("X: {}\r\n", "y".repeat(1019));
    refuses(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", line.repeat(32)), Refusal::TooLarge);
    // Without an end in sight, too.
    let endless = |text: &str| parse(format!("{text}{}", "z".repeat(HEAD_LIMIT + 1)).as_bytes()).unwrap_err();
    assert_eq!(endless("GET /"), Refusal::TargetTooLong);
    assert_eq!(endless(""), Refusal::StartLine);
    assert_eq!(endless("GET / HTTP/1.1"), Refusal::StartLine);
    assert_eq!(endless("GET / HTTP/1.1\r\nX: "), Refusal::TooLarge);
}

#[test]
fn leaves_hop_by_hop_lines_out_of_a_request() {
    forwards(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop, host, x-forwarded-for\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
         Upgrade: h2c\r\nProxy-Connection: x\r\nX-Stays: 2\r\nTE: gzip, trailers\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Stays: 2\r\nX-Forwarded-For: 192.0.2.9\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    );
}

#[test]
fn appends_the_peer_to_x_forwarded_for() {
    forwards(
        "GET / HTTP/1.1\r\nX-Forwarded-For: 127.0.0.2, 127.0.0.3\r\nHost: a\r\nx-forwarded-for: 127.0.0.4\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 127.0.0.2, 127.0.0.3, 127.0.0.4, 192.0.2.9\r\n\r\n",
    );
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 127.0.0.2\r\n\r\n";
    let (head, _) = parse(text).unwrap().unwrap();
    let mut out = Vec::new();
    let to = ToServer { x_forwarded_for: XForwardedFor::Pass, keep_alive: false, ..ToServer::new(b"", b"") };
    write_request(&mut out, &head, text, &to);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 127.0.0.2\r\nConnection: close\r\n\r\n"
    );
}

// Holds SG-74
#[test]
fn a_function_is_asked_under_its_own_name_and_prefix() {
    for (text, expected) in [
        (
            "GET /a?b HTTP/1.1\r\nHost: www.example.com\r\nX-forwarded-host: forged\r\nA: b\r\n\r\n",
            "GET /fc/api/a?b HTTP/1.1\r\nX-Forwarded-Host: www.example.com\r\nHost: fc.example.net:8080\r\nA: b\r\n\r\n",
        ),
        (
            "GET http://example.com?b HTTP/1.1\r\nHost: example.com\r\n\r\n",
            "GET /fc/api/?b HTTP/1.1\r\nX-Forwarded-Host: example.com\r\nHost: fc.example.net:8080\r\n\r\n",
        ),
        ("OPTIONS * HTTP/1.0\r\n\r\n", "OPTIONS /fc/api/ HTTP/1.1\r\nHost: fc.example.net:8080\r\n\r\n"),
    ] {
        let (head, _) = parse(text.as_bytes()).unwrap().unwrap();
        let function = ToFunction { authority: b"fc.example.net:8080", path_prefix: b"/fc/api" };
        let to = ToServer {
            x_forwarded_for: XForwardedFor::Pass,
            function: Some(function),
            ..ToServer::new(b"", b"198.51.100.1:80")
        };
        let mut out = Vec::new();
        write_request(&mut out, &head, text.as_bytes(), &to);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn turns_absolute_form_and_http_1_0_into_origin_form_and_http_1_1() {
    forwards(
        "GET http://example.com:81?q HTTP/1.1\r\nHost: EXAMPLE.com:081\r\n\r\n",
        "GET /?q HTTP/1.1\r\nHost: example.com:81\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n",
    );
    forwards(
        "GET /x HTTP/1.0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: 198.51.100.1:80\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n",
    );
    for text in ["OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS http://a:80 HTTP/1.0\r\n\r\n"] {
        let host = if text.contains(":80") { "a:80" } else { "a" };
        forwards(text, &format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n"));
    }
    forwards(
        "OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n",
    );
    forwards(
        "OPTIONS http://a?q HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS /?q HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n",
    );
    forwards(
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n",
    );
}

fn response(text: &str) -> Result<ResponseHead, Refusal> {
    let mut head = ResponseHead::default();
    let length = head.parse(text.as_bytes())?.expect("complete");
    assert_eq!(length, text.len());
    Ok(head)
}

#[test]
fn frames_responses_by_request_status_and_fields() {
    let framing = |text: &str, to_head| response(text).unwrap().body_framing(to_head);
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false), Framing::Length(5));
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true), Framing::None);
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false), Framing::None);
    assert_eq!(framing("HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n", false), Framing::Chunked);
    assert_eq!(framing("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false), Framing::None);
    assert_eq!(framing("HTTP/1.1 204 No Content\r\n\r\n", false), Framing::None);
    assert_eq!(framing("HTTP/1.0 200 \r\n\r\n", false), Framing::UntilClose);
}

#[test]
fn refuses_ambiguous_responses() {
    for (text, refusal) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::Framing),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Refusal::Length),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Refusal::Coding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::Coding),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", Refusal::Fold),
        ("HTTP/1.1 200 OK\nX: a\r\n\r\n", Refusal::LineEnd),
        ("HTTP/1.1 2000 OK\r\n\r\n", Refusal::StartLine),
        ("HTTP/1.1 020 OK\r\n\r\n", Refusal::StartLine),
        ("HTTP/2 200 OK\r\n\r\n", Refusal::StartLine),
        ("SSH-2.0-x\r\n\r\n", Refusal::StartLine),
    ] {
        assert_eq!(response(text).unwrap_err(), refusal, "{text:?}");
    }
}

#[test]
fn rewrites_response_heads_for_the_client() {
    let text = "HTTP/1.1 200 Fine\r\nServer: x\r\nConnection: close, x-a\r\nKeep-Alive: 5\r\nX-A: 1\r\n\
                Transfer-Encoding: chunked\r\nTrailer: x\r\n\r\n";
    let head = response(text).unwrap();
    let written = |version, keep_alive| {
        let mut out = Vec::new();
        let shape = if version == Version::Http10 { Shape::Data } else { Shape::Verbatim };
        let to = ToClient { shape, ..ToClient::new(version, keep_alive) };
        write_response(&mut out, &head, text.as_bytes(), &to);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        written(Version::Http11, true),
        "HTTP/1.1 200 Fine\r\nServer: x\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n"
    );
    assert_eq!(
        written(Version::Http10, false),
        "HTTP/1.1 200 Fine\r\nServer: x\r\nTrailer: x\r\nConnection: close\r\n\r\n"
    );
}

/// Consumes `body` in the given pieces: the data, and whether it ended, with the bytes used.
fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Refusal> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut used) = (Vec::new(), 0);
    for piece in pieces {
        let mut at = 0;
        while at < piece.len() && !decoder.is_done() {
            let step = decoder.step(&piece[at..])?;
            data.extend_from_slice(&piece[at..][step.data.clone()]);
            at += step.consumed;
        }
        used += at;
    }
    Ok((data, used, decoder.is_done()))
}

const CHUNKED: &[u8] = b"5\r\nhello\r\n006;ext=\"v\";x\r\n world\r\n0;last\r\nX-Sum: 1\r\nY:\r\n\r\n";

#[test]
fn takes_chunk_framing_off() {
    let mut more = CHUNKED.to_vec();
    more.extend_from_slice(b"GET / HTTP/1.1");
    assert_eq!(decode(Framing::Chunked, &[&more]), Ok((b"hello world".to_vec(), CHUNKED.len(), true)));
    assert_eq!(decode(Framing::Length(3), &[b"abcd"]), Ok((b"abc".to_vec(), 3, true)));
    assert_eq!(decode(Framing::UntilClose, &[b"ab", b"c"]), Ok((b"abc".to_vec(), 3, false)));
    assert_eq!(decode(Framing::None, &[b"ab"]), Ok((vec![], 0, true)));
}

#[test]
fn refuses_bad_chunk_framing() {
    for text in [
        "\r\n",
        "x\r\n",
        "5 \r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\nhello!\r\n",
        "5\r\nhello\n",
        "-1\r\n",
        "0x5\r\n",
        "1000000000000000\r\n",
        "5;a\nb\r\n",
        "5;a\x01\r\n",
        "0\r\nContent-Length: 3\r\n\r\n",
        "0\r\nHOST: a\r\n\r\n",
        "0\r\nTransfer-Encoding: x\r\n\r\n",
        "0\r\n x: a\r\n\r\n",
        "0\r\nx : a\r\n\r\n",
        "0\r\nx\r\n\r\n",
        "0\r\nx: a\n\r\n",
        "0\r\n\n",
        "0\r\nx: \0\r\n\r\n",
    ] {
        assert_eq!(decode(Framing::Chunked, &[text.as_bytes()]), Err(Refusal::Chunk), "{text:?}");
    }
    let long = format!("0\r\nx: {}\r\n\r\n", "y".repeat(HEAD_LIMIT));
    assert_eq!(decode(Framing::Chunked, &[long.as_bytes()]), Err(Refusal::Chunk));
}

// Holds LR-50
#[test]
fn holds_the_limits_of_chunk_framing_to_the_byte() {
    let extension = |length: usize| format!("1;{}\r\nx\r\n", "y".repeat(length));
    // Each chunk has an allowance of its own, the trailers one together.
    let chunks = |length: usize| format!("{}0\r\n\r\n", extension(length).repeat(2));
    let trailers = |length: usize| format!("0\r\na:\r\nbc:{}\r\n\r\n", "y".repeat(length - "abc".len()));
    let last = |length: usize| format!("0;{}\r\nx:\r\n\r\n", "y".repeat(length - "x".len()));
    for text in [&chunks as &dyn Fn(usize) -> String, &trailers, &last] {
        let whole = text(HEAD_LIMIT);
        let decoded = decode(Framing::Chunked, &[whole.as_bytes()]).unwrap();
        assert_eq!((decoded.1, decoded.2), (whole.len(), true));
        let over = text(HEAD_LIMIT + 1);
        assert_eq!(decode(Framing::Chunked, &[over.as_bytes()]), Err(Refusal::Chunk));
    }
    let digits = |count: usize| format!("{}1\r\nx\r\n0\r\n\r\n", "0".repeat(count - 1));
    assert_eq!(decode(Framing::Chunked, &[digits(15).as_bytes()]).unwrap().0, b"x");
    assert_eq!(decode(Framing::Chunked, &[digits(16).as_bytes()]), Err(Refusal::Chunk));
    let largest = b"fffffffffffffff\r\nx";
    assert_eq!(decode(Framing::Chunked, &[largest]), Ok((b"x".to_vec(), largest.len(), false)));
}

// Holds LR-47, LR-50
#[test]
fn holds_the_length_and_status_line_limits() {
    let request = |digits: usize| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", "9".repeat(digits))
    };
    assert_eq!(accepts(&request(18)).framing, Framing::Length(999_999_999_999_999_999));
    refuses(&request(19), Refusal::Length);
    let status =
        |length: usize| format!("HTTP/1.1 200 {}\r\n\r\n", "x".repeat(length - "HTTP/1.1 200 \r\n".len()));
    response(&status(HEAD_LIMIT)).unwrap();
    assert_eq!(response(&status(HEAD_LIMIT + 1)).unwrap_err(), Refusal::TooLarge);
    let endless = "HTTP/1.1 200 x".repeat(HEAD_LIMIT / 10);
    assert_eq!(ResponseHead::default().parse(endless.as_bytes()), Err(Refusal::TooLarge));
}

/// Cuts `text` into random pieces.
fn pieces<'t>(text: &'t [u8], random: &mut Random) -> Vec<&'t [u8]> {
    let mut rest = text;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let bound = [1, 2, 7, 64, rest.len()][random.below(5)].min(rest.len());
        let (piece, after) = rest.split_at(1 + random.below(bound));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn parse_in_pieces(pieces: &[&[u8]]) -> Result<Option<(usize, String)>, Refusal> {
    let mut head = RequestHead::default();
    let mut seen = Vec::new();
    for piece in pieces {
        seen.extend_from_slice(piece);
        if let Some(length) = head.parse(&seen)? {
            return Ok(Some((length, format!("{:?} {:?} {:?}", head.framing, head.fields(), head.target))));
        }
    }
    Ok(None)
}

fn parse_response_in_pieces(pieces: &[&[u8]]) -> Result<Option<(usize, String)>, Refusal> {
    let mut head = ResponseHead::default();
    let mut seen = Vec::new();
    for piece in pieces {
        seen.extend_from_slice(piece);
        if let Some(length) = head.parse(&seen)? {
            return Ok(Some((length, format!("{:?} {:?}", head.body_framing(false), head.fields()))));
        }
    }
    Ok(None)
}

const REQUESTS: [&[u8]; 5] = [
    b"GET /index.html?a=b HTTP/1.1\r\nHost: example.com\r\nUser-Agent: x\r\nAccept: */*\r\n\r\nGET / HTTP/1.1\r\n",
    b"\r\nPOST http://a:80/p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: x, close\r\n\r\n0\r\n\r\n",
    b"PUT / HTTP/1.0\r\nContent-Length: 10\r\nContent-Length: 10\r\n\r\n0123456789",
    b"OPTIONS * HTTP/1.1\r\nhost: [::1]:80\r\nX-Forwarded-For: a\r\nExpect: 100-continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
];

#[test]
fn byte_at_a_time_equals_all_at_once_also_for_mutated_input() {
    for seed in 1..=4000u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut text = REQUESTS[random.below(REQUESTS.len())].to_vec();
        if random.below(10) == 0 {
            let at = random.below(text.len());
            let long = vec![b"a \r\n:"[random.below(5)]; HEAD_LIMIT];
            text.splice(at..at, long);
        }
        for _ in 0..random.below(4) {
            let at = random.below(text.len());
            match random.below(4) {
                0 => text[at] = b"\r\n :\0;,0aZ\xff\t"[random.below(12)],
                1 => drop(text.remove(at)),
                2 => text.insert(at, b"\r\n :\0;,0aZ\xff\t"[random.below(12)]),
                _ => text[at] = random.below(256) as u8,
            }
        }
        let cut = pieces(&text, &mut random);
        let single: Vec<&[u8]> = text.chunks(1).collect();
        let whole = parse_in_pieces(&[&text]);
        assert_eq!(parse_in_pieces(&cut), whole, "seed {seed}: {}", text.escape_ascii());
        let whole = parse_response_in_pieces(&[&text]);
        assert_eq!(parse_response_in_pieces(&cut), whole, "seed {seed}: {}", text.escape_ascii());
        if text.len() < 1000 {
            assert_eq!(parse_response_in_pieces(&single), whole, "seed {seed}: {}", text.escape_ascii());
            assert_eq!(parse_in_pieces(&single), parse_in_pieces(&[&text]), "seed {seed}");
        }
    }
}

#[test]
fn cut_bodies_equal_whole_ones_also_when_mutated() {
    for seed in 1..=4000u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut text = CHUNKED.to_vec();
        for _ in 0..random.below(3) {
            let at = random.below(text.len());
            text[at] = b"\r\n :\0;,0aF\xff\t"[random.below(12)];
        }
        let framing = [Framing::Chunked, Framing::Length(20), Framing::UntilClose][random.below(3)];
        let whole = decode(framing, &[&text]);
        assert_eq!(
            decode(framing, &pieces(&text, &mut random)),
            whole,
            "seed {seed}: {}",
            text.escape_ascii()
        );
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(decode(framing, &single), whole, "seed {seed}: {}", text.escape_ascii());
    }
}

#[test]
fn reuses_a_head_without_remembering() {
    let mut head = RequestHead::default();
    head.parse(b"POST http://x/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert!(head.expects_continue && head.authority.is_some());
    head.reset();
    head.parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().unwrap();
    assert!(!head.expects_continue && head.authority.is_none() && head.fields().len() == 1);
    assert_eq!(head.framing, Framing::None);
}

#[test]
fn edits_lines_that_stay_and_adds_its_own() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=XYb\r\nConnection: x-gone\r\nX-Gone: XY\r\nCookie:XYc\r\n\r\n";
    let (head, length) = parse(text.as_bytes()).unwrap().unwrap();
    let parts: Vec<Span> = text
        .match_indices("XY")
        .map(|(at, found)| Span { start: at as u32, end: (at + found.len()) as u32 })
        .collect();
    let to = ToServer {
        x_forwarded_for: XForwardedFor::Pass,
        edits: Edits { parts: &parts, text: b"" },
        ..ToServer::new(b"", b"")
    };
    let mut out = Vec::new();
    write_request(&mut out, &head, &text.as_bytes()[..length], &to);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nCookie:c\r\n\r\n"
    );

    let text = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\nset-cookie: a=2\r\n\r\n";
    let head = response(text).unwrap();
    let parts: Vec<Span> =
        text.match_indices("a=").map(|(at, _)| Span { start: at as u32 + 2, end: at as u32 + 2 }).collect();
    let to = ToClient {
        edits: Edits { parts: &parts, text: b"mark|" },
        lines: b"X-Ours: 1\r\n",
        ..ToClient::new(Version::Http11, false)
    };
    let mut out = Vec::new();
    write_response(&mut out, &head, text.as_bytes(), &to);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=mark|1; Path=/\r\nContent-Length: 0\r\nset-cookie: a=mark|2\r\n\
         X-Ours: 1\r\nConnection: close\r\n\r\n"
    );
}
