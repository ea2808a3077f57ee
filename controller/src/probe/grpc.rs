//! gRPC probes: a response whose gRPC status is configured passes (SG-184).
//!
//! Only the status decides, as SG-184 has it. A `grpc.health.v1.Health` that answers with status 0 and the message
//! NOT_SERVING passes therefore: what the message says is not looked at. Servers that want to be taken out answer with
//! another status, or close.

use super::limited::Limited;
use super::{Target, failed, host_of, tcp, tls};
use crate::health::{Failure, FailureReason, Outcome};
use crate::model::{GrpcMethod, HealthCheckProtocol};
use h2::client::{self, SendRequest};
use http::{HeaderMap, Method, Request};
use std::future::{Future, poll_fn};
use std::ops::RangeInclusive;
use std::pin::pin;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// A message of no bytes, which an empty `HealthCheckRequest` is: not compressed, length 0.
const EMPTY_MESSAGE: &[u8] = &[0; 5];
/// Most of a response's messages that is read while waiting for its status, bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest head or trailers accepted, bytes.
const FIELDS_BYTES_MAX: u32 = 16 * 1024;

/// Makes one call on a connection of its own (SG-185) and judges its status.
///
/// # Panics
/// When the target's check is not gRPC.
pub async fn probe(target: &Target) -> Outcome {
    let HealthCheckProtocol::Grpc { tls, method, path, host, codes } = &target.check.protocol else {
        panic!("a gRPC probe of a target whose check is {:?}", target.check.protocol);
    };
    let deadline = Instant::now() + target.check.timeout;
    let result = async {
        let scheme = if *tls { "https" } else { "http" };
        let request = request(scheme, &host_of(target, host.as_deref()), *method, path)?;
        let stream = Limited::new(tcp::connect(target, deadline).await?);
        let status = if *tls {
            let stream = tls::handshake(stream, target, host.as_deref(), tls::Inner::Http2, deadline).await?;
            call(stream, request, deadline).await?
        } else {
            call(stream, request, deadline).await?
        };
        judge(status, codes)
    };
    match result.await {
        Ok(()) => Outcome::Passed,
        Err(failure) => Outcome::Failed(failure),
    }
}

fn request(scheme: &str, host: &str, method: GrpcMethod, path: &str) -> Result<Request<()>, Failure> {
    let method = match method {
        GrpcMethod::Post => Method::POST,
        GrpcMethod::Get => Method::GET,
    };
    Request::builder()
        .method(method)
        .uri(format!("{scheme}://{host}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "causeway-health-check")
        .body(())
        .map_err(|error| failed(FailureReason::SendRequestFailed, format!("path {path:?}: {error}")))
}

fn judge(status: u32, codes: &[RangeInclusive<u8>]) -> Result<(), Failure> {
    if codes.iter().any(|range| u8::try_from(status).is_ok_and(|status| range.contains(&status))) {
        return Ok(());
    }
    let shown = |range: &RangeInclusive<u8>| match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    Err(Failure {
        reason: FailureReason::ResponseMismatch,
        actual: Some(status.to_string()),
        expected: Some(codes.iter().map(shown).collect::<Vec<_>>().join(",")),
        detail: String::new(),
    })
}

/// The gRPC status of the answer to `request`.
async fn call(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<()>,
    deadline: Instant,
) -> Result<u32, Failure> {
    let result = timeout_at(deadline, async {
        let (sender, connection) = client::Builder::new()
            .enable_push(false)
            .max_header_list_size(FIELDS_BYTES_MAX)
            .handshake::<_, &'static [u8]>(stream)
            .await
            .map_err(|error| from_h2(&error))?;
        let mut connection = pin!(connection);
        let mut exchange = pin!(exchange(sender, request));
        let mut is_over = false;
        poll_fn(|context| {
            // When the connection ends, so does the exchange, with the reason.
            is_over = is_over || connection.as_mut().poll(context).is_ready();
            match exchange.as_mut().poll(context) {
                Poll::Ready(result) => Poll::Ready(result),
                Poll::Pending if is_over => Poll::Ready(Err(failed(
                    FailureReason::RecvResponseFailed,
                    "connection closed before a response",
                ))),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    });
    result
        .await
        .unwrap_or_else(|_| Err(failed(FailureReason::RecvResponseTimeout, "no complete gRPC response")))
}

async fn exchange(sender: SendRequest<&'static [u8]>, request: Request<()>) -> Result<u32, Failure> {
    let has_message = request.method() == Method::POST;
    let mut sender = sender.ready().await.map_err(|error| from_h2(&error))?;
    let (response, mut stream) =
        sender.send_request(request, !has_message).map_err(|error| from_h2(&error))?;
    if has_message {
        stream.send_data(EMPTY_MESSAGE, true).map_err(|error| from_h2(&error))?;
    }
    let (head, mut body) = response.await.map_err(|error| from_h2(&error))?.into_parts();
    // A response without messages may consist of trailers alone, which then are its head.
    if let Some(status) = status(&head.headers)? {
        return Ok(status);
    }
    let mut received = 0;
    while let Some(data) = body.data().await {
        let length = data.map_err(|error| from_h2(&error))?.len();
        received += length;
        if received > BODY_BYTES_MAX {
            let detail = format!("more than {BODY_BYTES_MAX} bytes before the gRPC status");
            return Err(failed(FailureReason::ResponseFormatError, detail));
        }
        body.flow_control().release_capacity(length).map_err(|error| from_h2(&error))?;
    }
    let trailers = body.trailers().await.map_err(|error| from_h2(&error))?;
    status(&trailers.unwrap_or_default())?.ok_or_else(|| {
        let detail = format!("no grpc-status in a response with HTTP status {}", head.status.as_u16());
        failed(FailureReason::ResponseFormatError, detail)
    })
}

fn status(fields: &HeaderMap) -> Result<Option<u32>, Failure> {
    let Some(value) = fields.get("grpc-status") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| failed(FailureReason::ResponseFormatError, format!("malformed grpc-status {value:?}")))
}

fn from_h2(error: &h2::Error) -> Failure {
    let reason = match error.get_io() {
        Some(error) => tls::reason(error),
        // What we refuse in what came, and what the server says about our request: only the first is malformed.
        None if error.is_library() => FailureReason::ResponseFormatError,
        None => FailureReason::RecvResponseFailed,
    };
    failed(reason, error)
}

#[cfg(test)]
mod tests;
