//! HTTP and HTTPS probes: a response whose status class is configured passes (SG-182).

use super::limited::Limited;
use super::response::{Head, parse_head};
use super::{Target, failed, host_of, tcp, tls};
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
    let HealthCheckProtocol::Http { method, path, host, version, codes, tls } = &target.check.protocol else {
        panic!("an HTTP probe of a target whose check is {:?}", target.check.protocol);
    };
    let deadline = Instant::now() + target.check.timeout;
    let request = request(*method, path, &host_of(target, host.as_deref()), *version);
    let result = async {
        let mut stream = Limited::new(tcp::connect(target, deadline).await?);
        if !*tls {
            return exchange(&mut stream, request.as_bytes(), *method, codes, deadline).await;
        }
        let mut stream = tls::handshake(stream, target, host.as_deref(), tls::Inner::Http1, deadline).await?;
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
    let send = async {
        stream.write_all(request).await?;
        stream.flush().await
    };
    match timeout_at(deadline, send).await {
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
            Ok(Err(error)) => return Err(failed(tls::reason(&error), error)),
            Ok(Ok(0)) => {
                return Err(failed(FailureReason::RecvResponseFailed, "connection closed before a response"));
            }
            Ok(Ok(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests;
