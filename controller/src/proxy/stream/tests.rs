use super::*;
use crate::proxy::http1::Framing;
use crate::proxy::http1::head::RequestHead;

fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    map
}

/// Of a GET or whatever is asked for at `https://a.example/x`.
fn head_of(method: &str, path: &str, lines: &[(&'static str, &str)], ends: bool) -> Result<String, Refusal> {
    let mut out = Vec::new();
    let (method, path) = (method.as_bytes(), path.as_bytes());
    let authority = Some(&b"a.example"[..]);
    http1_head(&mut out, method, Some(b"https"), authority, Some(path), &fields(lines), ends)?;
    Ok(String::from_utf8(out).unwrap())
}

fn with_host(authority: Option<&str>, hosts: &[&str]) -> Result<String, Refusal> {
    let lines: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
    let mut out = Vec::new();
    let authority = authority.map(str::as_bytes);
    http1_head(&mut out, b"GET", None, authority, Some(b"/"), &fields(&lines), true)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn says_in_http1_what_the_request_said() {
    let lines = [("user-agent", "x"), ("accept", "a"), ("accept", "b"), ("te", "trailers")];
    assert_eq!(
        head_of("GET", "/x?y=1", &lines, true).unwrap(),
        "GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\nuser-agent: x\r\naccept: a\r\naccept: b\r\nte: trailers\r\n\r\n"
    );
    assert_eq!(head_of("OPTIONS", "*", &[], true).unwrap(), "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n");
}

#[test]
fn frames_the_body() {
    let framing = |lines: &[(&'static str, &str)], ends| {
        let head = head_of("POST", "/", lines, ends)?;
        let mut request = RequestHead::default();
        assert_eq!(request.parse(head.as_bytes())?, Some(head.len()));
        Ok((request.framing, head.contains("ontent-")))
    };
    assert_eq!(framing(&[], false), Ok((Framing::Chunked, false)));
    assert_eq!(framing(&[], true), Ok((Framing::None, false)));
    assert_eq!(framing(&[("content-length", "7")], false), Ok((Framing::Length(7), true)));
    assert_eq!(framing(&[("content-length", "0")], true), Ok((Framing::None, true)));
    let twice = [("content-length", "7"), ("content-length", "7")];
    assert_eq!(framing(&twice, false), Ok((Framing::Length(7), true)));
    let differing = [("content-length", "7"), ("content-length", "8")];
    assert_eq!(framing(&differing, false), Err(Refusal::Length));
    assert_eq!(framing(&[("content-length", "7, 7")], false), Err(Refusal::Length));
    assert_eq!(framing(&[("content-length", "+7")], false), Err(Refusal::Length));
    assert_eq!(framing(&[("content-length", "7")], true), Err(Refusal::Length));
}

#[test]
fn joins_cookie_crumbs_in_order() {
    let lines = [("cookie", "a=1"), ("x-y", "z"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
    assert_eq!(
        head_of("GET", "/", &lines, true).unwrap(),
        "GET / HTTP/1.1\r\nHost: a.example\r\nx-y: z\r\ncookie: a=1; b=2; c=3; d=4\r\n\r\n"
    );
}

#[test]
fn refuses_fields_of_a_connection() {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        assert_eq!(head_of("GET", "/", &[(name, "x")], true), Err(Refusal::ConnectionField), "{name}");
    }
    for te in ["gzip", "trailers, gzip", "Trailers"] {
        assert_eq!(head_of("GET", "/", &[("te", te)], true), Err(Refusal::ConnectionField), "{te}");
    }
}

#[test]
fn refuses_white_space_around_values() {
    for value in [" x", "x ", "\tx", "x\t", " "] {
        assert_eq!(head_of("GET", "/", &[("x-y", value)], true), Err(Refusal::Value), "{value:?}");
        assert_eq!(head_of("GET", "/", &[("cookie", value)], true), Err(Refusal::Value), "{value:?}");
    }
    assert!(head_of("GET", "/", &[("x-y", "")], true).is_ok());
}

#[test]
fn one_host_results() {
    let once = "GET / HTTP/1.1\r\nHost: a.example:1\r\n\r\n";
    assert_eq!(with_host(Some("a.example:1"), &[]).unwrap(), once);
    assert_eq!(with_host(None, &["a.example:1"]).unwrap(), once);
    assert_eq!(with_host(Some("a.example:1"), &["A.example:1"]).unwrap(), once);
    assert_eq!(with_host(None, &[]), Err(Refusal::Host));
    assert_eq!(with_host(Some("a.example"), &["b.example"]), Err(Refusal::Host));
    assert_eq!(with_host(Some("a.example"), &["a.example", "a.example"]), Err(Refusal::Host));
    assert_eq!(with_host(None, &["a.example", "a.example"]), Err(Refusal::Host));
    for authority in ["", "user@a.example", "a.example:x", "a b", "\ta", "a ", "a\r\nx-y: z"] {
        assert_eq!(with_host(Some(authority), &[]), Err(Refusal::Host), "{authority:?}");
    }
}

#[test]
fn refuses_targets_that_are_no_paths() {
    let more = " HTTP/1.1\r\nX: y";
    for path in ["x", "", "*", "https://a.example/", "a.example:443", "/x y", "/x#y", &format!("/{more}")] {
        assert_eq!(head_of("GET", path, &[], true), Err(Refusal::Target), "{path:?}");
    }
    let mut out = Vec::new();
    let (none, authority) = (HeaderMap::new(), Some(&b"a.example"[..]));
    for (scheme, path) in [(&b"ftp"[..], Some(&b"/"[..])), (b"https", None)] {
        let refused = http1_head(&mut out, b"GET", Some(scheme), authority, path, &none, true);
        assert_eq!(refused, Err(Refusal::Target));
    }
    assert!(http1_head(&mut out, b"GET", Some(b"HTTP"), authority, Some(b"/"), &none, true).is_ok());
}

// Holds LR-51
#[test]
fn trace_and_connect_are_not_allowed() {
    for method in ["TRACE", "CONNECT"] {
        let refusal = head_of(method, "/", &[], true).unwrap_err();
        assert_eq!((refusal, refusal.status()), (Refusal::Method, 405));
    }
    assert!(head_of("PURGE", "/", &[], true).is_ok());
    assert_eq!(head_of("", "/", &[], true), Err(Refusal::StartLine));
    assert_eq!(head_of("A B", "/", &[], true), Err(Refusal::StartLine));
    assert!(head_of(&"A".repeat(64), "/", &[], true).is_ok());
    assert_eq!(head_of(&"A".repeat(65), "/", &[], true), Err(Refusal::StartLine));
}

// Holds LR-50
#[test]
fn refuses_what_is_too_large_and_nothing_smaller() {
    let path = |bytes| format!("/{}", "x".repeat(bytes - 1));
    assert!(head_of("GET", &path(HEAD_LIMIT), &[], true).is_ok());
    let refusal = head_of("GET", &path(HEAD_LIMIT + 1), &[], true).unwrap_err();
    assert_eq!((refusal, refusal.status()), (Refusal::TargetTooLong, 414));
    let rest = "Host: a.example\r\nx-y: \r\n\r\n".len();
    let largest = "v".repeat(HEAD_LIMIT - rest);
    let head = head_of("GET", "/", &[("x-y", &largest)], true).unwrap();
    assert_eq!(RequestHead::default().parse(head.as_bytes()), Ok(Some(head.len())));
    let refusal = head_of("GET", "/", &[("x-y", &format!("{largest}v"))], true).unwrap_err();
    assert_eq!((refusal, refusal.status()), (Refusal::TooLarge, 400));
    let crumb = "c".repeat(1000);
    let crumbs: Vec<_> = (0..40).map(|_| ("cookie", crumb.as_str())).collect();
    assert_eq!(head_of("GET", "/", &crumbs, true), Err(Refusal::TooLarge));
}

#[test]
fn a_refused_request_leaves_its_first_line_for_the_log() {
    let mut out = Vec::new();
    let lines = fields(&[("upgrade", "x")]);
    let refused =
        http1_head(&mut out, b"GET", None, Some(b"a.example"), Some(b"/x"), &lines, true).unwrap_err();
    assert_eq!(refused, Refusal::ConnectionField);
    let mut request = RequestHead::default();
    assert_eq!(request.parse(&out), Ok(None));
    assert_eq!(request.target.of(&out), b"/x");
}

#[test]
fn responses_lose_their_connections_fields() {
    let head = "HTTP/1.1 207 Multi\r\nServer: x\r\nSet-Cookie: a\r\nset-cookie:  b \r\nConnection: close\r\n\
        Transfer-Encoding: chunked\r\nKeep-Alive: x\r\nContent-Length: 5\r\nEmpty:\r\n\r\nServer: body\r\n";
    let response = response_of(head.as_bytes()).unwrap();
    assert_eq!(response.status(), 207);
    let expected =
        [("server", "x"), ("set-cookie", "a"), ("set-cookie", "b"), ("content-length", "5"), ("empty", "")];
    assert_eq!(*response.headers(), fields(&expected));
}

#[test]
fn what_is_no_response_is_refused() {
    for (head, refusal) in [
        ("", Refusal::StartLine),
        ("HTTP/1.1 20", Refusal::StartLine),
        ("HTTP/1.1 200 OK", Refusal::StartLine),
        ("HTTP/1.1 200 OK\r\nx: y\n", Refusal::LineEnd),
        ("HTTP/1.1 200 OK\r\nx: y", Refusal::LineEnd),
        ("HTTP/1.1 200 OK\r\nx y\r\n", Refusal::Name),
        ("HTTP/1.1 200 OK\r\nx y: z\r\n", Refusal::Name),
        ("HTTP/1.1 200 OK\r\nx: \x01\r\n", Refusal::Value),
    ] {
        assert_eq!(response_of(head.as_bytes()).unwrap_err(), refusal, "{head:?}");
    }
}

#[test]
fn trailers_pass_both_ways() {
    let trailers = fields(&[("grpc-status", "0"), ("x-y", "z")]);
    let mut lines = Vec::new();
    http1_trailers(&mut lines, &trailers).unwrap();
    assert_eq!(lines, b"grpc-status: 0\r\nx-y: z\r\n");
    assert_eq!(trailers_of(&lines).unwrap(), trailers);
    lines.extend_from_slice(b"\r\nmore: x\r\n");
    assert_eq!(trailers_of(&lines).unwrap(), trailers);
    for name in ["content-length", "host", "te", "transfer-encoding", "connection"] {
        let refused = http1_trailers(&mut Vec::new(), &fields(&[(name, "1")]));
        assert_eq!(refused, Err(Refusal::ConnectionField), "{name}");
    }
    let large = fields(&[("x", &"v".repeat(HEAD_LIMIT))]);
    assert_eq!(http1_trailers(&mut Vec::new(), &large), Err(Refusal::TooLarge));
}

#[test]
fn responses_of_http2_become_heads_and_back() {
    let lines = fields(&[("content-type", "application/grpc"), ("x-y", "z")]);
    let mut out = Vec::new();
    http1_response_head(&mut out, StatusCode::OK, &lines, false).unwrap();
    let text =
        "HTTP/1.1 200 \r\ncontent-type: application/grpc\r\nx-y: z\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(String::from_utf8(out.clone()).unwrap(), text);
    assert_eq!(*response_of(&out).unwrap().headers(), lines);
    for (line, refusal) in
        [(("connection", "close"), Refusal::ConnectionField), (("x", "y "), Refusal::Value)]
    {
        let refused = http1_response_head(&mut Vec::new(), StatusCode::OK, &fields(&[line]), false);
        assert_eq!(refused, Err(refusal));
    }
    let mut out = Vec::new();
    http1_response_head(&mut out, StatusCode::CONTINUE, &HeaderMap::new(), false).unwrap();
    assert_eq!(out, b"HTTP/1.1 100 \r\n\r\n");
}

#[test]
fn requests_for_http2_servers_are_what_the_head_says() {
    let head = "GET /a?b HTTP/1.1\r\nX-Y: z\r\nHost: a.example:1\r\nConnection: TE\r\nTE: trailers\r\n\
        Keep-Alive: 1\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\n";
    let request = request_of(head.as_bytes()).unwrap();
    assert_eq!(
        (request.method().as_str(), request.uri().to_string()),
        ("GET", "http://a.example:1/a?b".into())
    );
    assert_eq!(*request.headers(), fields(&[("x-y", "z"), ("content-length", "3"), ("te", "trailers")]));
    for (head, refusal) in [
        ("GET", Refusal::StartLine),
        ("GET\r\n\r\n", Refusal::StartLine),
        ("GET / HTTP/1.1\r\n\r\n", Refusal::Host),
        ("GET / HTTP/1.1\r\nHost: <\r\n\r\n", Refusal::Host),
        ("GET < HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("G<T / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::StartLine),
    ] {
        assert_eq!(request_of(head.as_bytes()).unwrap_err(), refusal, "{head:?}");
    }
}
