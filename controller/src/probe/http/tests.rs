use super::super::tcp::tests::{SOURCE, expect_failure, over_ipv6, refused_port, target};
use super::super::tls::tests::acceptor;
use super::*;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};

fn http(method: HealthCheckMethod, codes: &[u8]) -> HealthCheckProtocol {
    HealthCheckProtocol::Http {
        tls: false,
        method,
        path: "/health?x=1".into(),
        host: None,
        version: HttpVersion::Http11,
        codes: codes.iter().map(|class| StatusClass(*class)).collect(),
    }
}

/// Reads a request's head.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the prober closed early");
    }
    String::from_utf8(request).unwrap()
}

/// Probes a server that answers with `response` and then closes; the outcome and the request it saw.
async fn probe_answered(protocol: HealthCheckProtocol, response: &[u8]) -> (Outcome, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap().port(), protocol, Duration::from_secs(30));
    let serve = async {
        let (mut stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), SOURCE);
        let request = read_request(&mut stream).await;
        stream.write_all(response).await.unwrap();
        request
    };
    tokio::join!(probe(&target), serve)
}

async fn outcome(protocol: HealthCheckProtocol, response: &[u8]) -> Outcome {
    probe_answered(protocol, response).await.0
}

// Holds SG-182, SG-185
#[tokio::test]
async fn a_configured_class_passes() {
    let (outcome, request) =
        probe_answered(http(HealthCheckMethod::Head, &[2]), b"HTTP/1.1 204 Fine\r\n\r\n").await;
    assert_eq!(outcome, Outcome::Passed);
    assert_eq!(
        request,
        "HEAD /health?x=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: causeway-health-check\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
}

// Holds SG-180, SG-182
#[tokio::test]
async fn version_method_and_host_are_those_configured() {
    let mut protocol = http(HealthCheckMethod::Get, &[2]);
    if let HealthCheckProtocol::Http { version, host, .. } = &mut protocol {
        *version = HttpVersion::Http10;
        *host = Some("www.example.com".into());
    }
    let (outcome, request) = probe_answered(protocol, b"HTTP/1.0 200 OK\r\n\r\nhello").await;
    assert_eq!(outcome, Outcome::Passed);
    assert!(request.starts_with("GET /health?x=1 HTTP/1.0\r\nHost: www.example.com\r\n"), "{request}");
}

// Holds SG-182, SG-193
#[tokio::test]
async fn another_class_is_a_mismatch_with_both_sides_named() {
    let outcome = outcome(http(HealthCheckMethod::Head, &[2, 3]), b"HTTP/1.1 404 Not Found\r\n\r\n").await;
    let failure = expect_failure(outcome, FailureReason::ResponseMismatch);
    assert_eq!(failure.actual.as_deref(), Some("404"));
    assert_eq!(failure.expected.as_deref(), Some("HTTP_2xx,HTTP_3xx"));
}

#[tokio::test]
async fn interim_responses_are_passed_over() {
    let response = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(outcome(http(HealthCheckMethod::Head, &[2]), response).await, Outcome::Passed);
}

// Holds SG-193
#[tokio::test]
async fn endless_interim_responses_end_the_probe_long_before_its_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let protocol = http(HealthCheckMethod::Head, &[2]);
    let target = target(listener.local_addr().unwrap().port(), protocol, Duration::from_secs(3600));
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sent = 0;
        // Until the prober has enough.
        while stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.is_ok() {
            sent += 1;
        }
        sent
    };
    let (outcome, sent) = tokio::join!(probe(&target), serve);
    let failure = expect_failure(outcome, FailureReason::ResponseFormatError);
    assert!(failure.detail.contains("more than 262144 bytes"), "{failure}");
    assert!(sent > 0);
}

// Holds SG-193
#[tokio::test]
async fn garbage_is_a_format_error() {
    for response in [&b"220 mail.example.com ESMTP\r\n"[..], b"\x00\x01\x02\x03", b"HTTP/1.1 OK\r\n\r\n"] {
        let outcome = outcome(http(HealthCheckMethod::Head, &[2]), response).await;
        expect_failure(outcome, FailureReason::ResponseFormatError);
    }
}

// Holds SG-193
#[tokio::test]
async fn a_connection_closed_early_is_a_receive_failure() {
    for response in [&b""[..], b"HTTP/1.1 200 OK\r\nServer"] {
        let outcome = outcome(http(HealthCheckMethod::Head, &[2]), response).await;
        expect_failure(outcome, FailureReason::RecvResponseFailed);
    }
}

// Holds SG-193
#[tokio::test]
async fn a_server_that_never_answers_is_a_receive_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = target(port, http(HealthCheckMethod::Head, &[2]), Duration::from_millis(200));
    let (outcome, _held) = tokio::join!(probe(&target), listener.accept());
    expect_failure(outcome, FailureReason::RecvResponseTimeout);
}

// Holds SG-193
#[tokio::test]
async fn a_refused_port_is_a_connect_failure() {
    let (_held, port) = refused_port();
    let target = target(port, http(HealthCheckMethod::Head, &[2]), Duration::from_secs(30));
    expect_failure(probe(&target).await, FailureReason::ConnectFailed);
}

// Holds SG-183
#[tokio::test]
async fn at_most_eight_kilobytes_of_a_body_are_read() {
    let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
    theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    theirs.write_all(&vec![b'x'; 100_000]).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    exchange(&mut ours, b"GET", HealthCheckMethod::Get, &[StatusClass(2)], deadline).await.unwrap();
    drop(theirs);
    let mut rest = Vec::new();
    ours.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), 100_000 - BODY_BYTES_MAX as usize);
}

// Holds SG-183
#[tokio::test(start_paused = true)]
async fn an_endless_body_does_not_change_the_outcome() {
    let (mut ours, mut theirs) = tokio::io::duplex(1024);
    theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\nthe rest never comes").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    exchange(&mut ours, b"GET", HealthCheckMethod::Get, &[StatusClass(2)], deadline).await.unwrap();
    assert!(Instant::now() >= deadline);
}

/// A connection of a probe to a server that accepted it, and both ends.
async fn connected(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let port = listener.local_addr().unwrap().port();
    let target = target(port, http(HealthCheckMethod::Head, &[2]), Duration::from_secs(30));
    let deadline = Instant::now() + Duration::from_secs(30);
    let (ours, theirs) = tokio::join!(tcp::connect(&target, deadline), listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

// Holds SG-193
#[tokio::test]
async fn a_request_nobody_takes_is_a_send_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut ours, _theirs) = connected(&listener).await;
    // Nothing more fits on the way.
    let settled = Duration::from_millis(50);
    while tokio::time::timeout(settled, ours.writable()).await.is_ok() {
        while ours.try_write(&[b'x'; 1 << 16]).is_ok() {}
    }
    let deadline = Instant::now() + Duration::from_millis(100);
    let failure = exchange(&mut ours, b"GET /", HealthCheckMethod::Get, &[StatusClass(2)], deadline).await;
    assert_eq!(failure.unwrap_err().reason, FailureReason::SendRequestTimeout);
}

// Holds SG-193
#[tokio::test]
async fn a_connection_broken_while_sending_is_a_send_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut ours, theirs) = connected(&listener).await;
    socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
    drop(theirs);
    ours.ready(Interest::READABLE).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let failure = exchange(&mut ours, b"GET /", HealthCheckMethod::Get, &[StatusClass(2)], deadline).await;
    assert_eq!(failure.unwrap_err().reason, FailureReason::SendRequestFailed);
}

// Holds SG-182
#[tokio::test]
async fn an_ipv6_server_is_probed_from_an_ipv6_source_and_named_in_brackets() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = over_ipv6(target(port, http(HealthCheckMethod::Head, &[2]), Duration::from_secs(30)));
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        request
    };
    let (outcome, request) = tokio::join!(probe(&target), serve);
    assert_eq!(outcome, Outcome::Passed);
    assert!(request.contains("\r\nHost: [::1]\r\n"), "{request}");
}

fn https(host: Option<&str>) -> HealthCheckProtocol {
    let mut protocol = http(HealthCheckMethod::Get, &[2]);
    if let HealthCheckProtocol::Http { tls, host: configured, .. } = &mut protocol {
        *tls = true;
        *configured = host.map(Into::into);
    }
    protocol
}

/// The outcome of an HTTPS probe, and the name (SNI) that the server was told.
async fn probe_https(host: Option<&str>, response: &[u8]) -> (Outcome, Option<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap().port(), https(host), Duration::from_secs(30));
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor(&[]).accept(stream).await.unwrap();
        let name = stream.get_ref().1.server_name().map(str::to_owned);
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the prober closed early");
        }
        stream.write_all(response).await.unwrap();
        stream.shutdown().await.unwrap();
        name
    };
    tokio::join!(probe(&target), serve)
}

// Holds SG-182, SG-196
#[tokio::test]
async fn an_https_server_with_a_certificate_nobody_trusts_passes_and_is_told_the_host() {
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(
        probe_https(Some("www.example.com"), response).await,
        (Outcome::Passed, Some("www.example.com".into()))
    );
    assert_eq!(probe_https(None, response).await, (Outcome::Passed, None));
}

// Holds SG-182, SG-193
#[tokio::test]
async fn inside_tls_a_response_is_judged_as_without() {
    let (outcome, _) = probe_https(None, b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
    assert_eq!(expect_failure(outcome, FailureReason::ResponseMismatch).actual.as_deref(), Some("503"));
    let (outcome, _) = probe_https(None, b"").await;
    expect_failure(outcome, FailureReason::RecvResponseFailed);
    let (outcome, _) = probe_https(None, b"220 mail.example.com ESMTP\r\n").await;
    expect_failure(outcome, FailureReason::ResponseFormatError);
}

// Holds SG-193
#[tokio::test]
async fn a_failed_tls_handshake_has_a_fitting_reason() {
    /// What a server does with a connection after it has read something.
    enum Answers {
        Bytes(&'static [u8]),
        Nothing,
        End,
    }
    // An alert: level fatal, description handshake_failure.
    let alert = b"\x15\x03\x03\x00\x02\x02\x28";
    for (answers, reason) in [
        (Answers::Bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n"), FailureReason::ResponseFormatError),
        (Answers::Bytes(alert), FailureReason::RecvResponseFailed),
        (Answers::End, FailureReason::RecvResponseFailed),
        (Answers::Nothing, FailureReason::RecvResponseTimeout),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let timeout = match answers {
            Answers::Nothing => Duration::from_millis(200),
            Answers::Bytes(_) | Answers::End => Duration::from_secs(30),
        };
        let target = target(listener.local_addr().unwrap().port(), https(None), timeout);
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = Vec::new();
            stream.read_buf(&mut hello).await.unwrap();
            if let Answers::Bytes(bytes) = answers {
                stream.write_all(bytes).await.unwrap();
            }
            if matches!(answers, Answers::Nothing) {
                // Held until the prober has given up.
                let _ = stream.read_to_end(&mut hello).await;
            }
        };
        let (outcome, ()) = tokio::join!(probe(&target), serve);
        expect_failure(outcome, reason);
    }
}
