//! HTTP probes: a response whose status class is configured passes (SG-182).

use super::response::{Head, parse_head};
use super::{Target, failed, tcp};
use crate::health::{Failure, FailureReason, Outcome};
use crate::model::{HealthCheckMethod, HealthCheckProtocol, HttpVersion, StatusClass};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// Most of a GET's body that is read (SG-183).
const BODY_BYTES_MAX: u64 = 8 * 1024;

/// Sends one request on a connection of its own (SG-185) and judges the response.
///
/// # Panics
/// When the target's check is not HTTP.
pub async fn probe(target: &Target) -> Outcome {
    let HealthCheckProtocol::Http { method, path, host, version, codes, tls: _ } = &target.check.protocol
    else {
        panic!("an HTTP probe of a target whose check is {:?}", target.check.protocol);
    };
    let deadline = Instant::now() + target.check.timeout;
    let host = host.clone().unwrap_or_else(|| target.server.ip.to_string());
    let request = request(*method, path, &host, *version);
    let result = async {
        let mut stream = tcp::connect(target, deadline).await?;
        exchange(&mut stream, request.as_bytes(), *method, codes, deadline).await
    };
    match result.await {
        Ok(()) => Outcome::Passed,
        Err(failure) => Outcome::Failed(failure),
    }
}

fn request(method: HealthCheckMethod, path: &str, host: &str, version: HttpVersion) -> String {
    let method = match method {
        HealthCheckMethod::Head => "HEAD",
        HealthCheckMethod::Get => "GET",
    };
    let version = match version {
        HttpVersion::Http10 => "HTTP/1.0",
        HttpVersion::Http11 => "HTTP/1.1",
    };
    format!(
        "{method} {path} {version}\r\nHost: {host}\r\nUser-Agent: causeway-health-check\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    )
}

async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
    method: HealthCheckMethod,
    codes: &[StatusClass],
    deadline: Instant,
) -> Result<(), Failure> {
    match timeout_at(deadline, stream.write_all(request)).await {
        Err(_) => {
            return Err(failed(FailureReason::SendRequestTimeout, "the server does not take the request"));
        }
        Ok(Err(error)) => return Err(failed(FailureReason::SendRequestFailed, error)),
        Ok(Ok(())) => {}
    }
    let mut received = Vec::with_capacity(1024);
    let head = read_head(stream, &mut received, deadline).await?;
    if method == HealthCheckMethod::Get {
        // Only so that the server can finish sending; whatever happens now does not change the outcome (SG-183).
        let already = (received.len() - head.bytes) as u64;
        let wanted = head.content_length.unwrap_or(u64::MAX).min(BODY_BYTES_MAX).saturating_sub(already);
        let mut body = stream.take(wanted);
        let _ = timeout_at(deadline, tokio::io::copy(&mut body, &mut tokio::io::sink())).await;
    }
    if codes.iter().any(|class| u16::from(class.0) == head.status / 100) {
        return Ok(());
    }
    Err(Failure {
        reason: FailureReason::ResponseMismatch,
        actual: Some(head.status.to_string()),
        expected: Some(codes.iter().map(|class| format!("HTTP_{}xx", class.0)).collect::<Vec<_>>().join(",")),
        detail: String::new(),
    })
}

/// The head of the final response; what follows it stays in `received`, from [`Head::bytes`] on.
async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    received: &mut Vec<u8>,
    deadline: Instant,
) -> Result<Head, Failure> {
    loop {
        match parse_head(received) {
            Err(detail) => return Err(failed(FailureReason::ResponseFormatError, detail)),
            // Interim responses (RFC 9110 section 15.2) precede the final one. 101 is final: nobody asked for an upgrade.
            Ok(Some(head)) if head.status < 200 && head.status != 101 => {
                received.drain(..head.bytes);
                continue;
            }
            Ok(Some(head)) => return Ok(head),
            Ok(None) => {}
        }
        match timeout_at(deadline, stream.read_buf(received)).await {
            Err(_) => return Err(failed(FailureReason::RecvResponseTimeout, "no complete response head")),
            Ok(Err(error)) => return Err(failed(FailureReason::RecvResponseFailed, error)),
            Ok(Ok(0)) => {
                return Err(failed(FailureReason::RecvResponseFailed, "connection closed before a response"));
            }
            Ok(Ok(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tcp::tests::{SOURCE, expect_failure, refused_port, target};
    use super::*;
    use std::time::Duration;
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
        let outcome =
            outcome(http(HealthCheckMethod::Head, &[2, 3]), b"HTTP/1.1 404 Not Found\r\n\r\n").await;
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
    async fn garbage_is_a_format_error() {
        for response in [&b"220 mail.example.com ESMTP\r\n"[..], b"\x00\x01\x02\x03", b"HTTP/1.1 OK\r\n\r\n"]
        {
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

    // Holds SG-193
    #[tokio::test(start_paused = true)]
    async fn a_request_nobody_takes_is_a_send_timeout() {
        let (mut ours, _theirs) = tokio::io::duplex(4);
        let deadline = Instant::now() + Duration::from_secs(5);
        let failure =
            exchange(&mut ours, b"GET /", HealthCheckMethod::Get, &[StatusClass(2)], deadline).await;
        assert_eq!(failure.unwrap_err().reason, FailureReason::SendRequestTimeout);
    }

    // Holds SG-193
    #[tokio::test]
    async fn a_connection_broken_while_sending_is_a_send_failure() {
        let (mut ours, theirs) = tokio::io::duplex(4);
        drop(theirs);
        let deadline = Instant::now() + Duration::from_secs(5);
        let failure =
            exchange(&mut ours, b"GET /", HealthCheckMethod::Get, &[StatusClass(2)], deadline).await;
        assert_eq!(failure.unwrap_err().reason, FailureReason::SendRequestFailed);
    }
}
