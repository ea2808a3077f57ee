//! How a request can fail: whose fault it is, what the client is answered, what the log says.

use super::access_log::ErrorSource;
use super::http1::Refusal;
use super::request::CLIENT_CLOSED;
use std::io;

/// Why a request did not end as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The client closed, or broke the connection, and waits for no answer.
    ClientGone,
    /// As [`Failure::ClientGone`], within the request's body.
    ClientLeft,
    /// The client sent nothing, or read nothing, for the request timeout.
    ClientSlow,
    /// The request's body is malformed.
    RequestBody(Refusal),
    /// There is no server to pick.
    NoServer,
    /// The server refused the connection, or a route to it is missing.
    Refused,
    /// No local address, port or descriptor could be had for a connection.
    NoLocal,
    /// The connection was not established in time.
    ConnectTimeout,
    /// TLS could not be agreed on.
    Handshake,
    /// The server's certificate is not the one demanded.
    Certificate,
    /// The connection ended before any byte of a response.
    Died,
    /// The server refused the request without looking at it (RFC 9113 section 8.7): it may be sent again.
    Unprocessed,
    /// The server reset the request's stream.
    Reset,
    /// The server sent something that is no response, or ended within its head.
    Response(Refusal),
    /// The server sent nothing, or read nothing, for the request timeout.
    ServerSlow,
    /// The server ended or broke the connection within the response's body.
    Cut,
    /// The server's drain is over.
    Drained,
}

/// Status, culprit and cause of a failed request (LR section 6). After the response's head, the status is only logged.
pub fn blame(failure: Failure, started: bool) -> (u16, ErrorSource, &'static str) {
    use ErrorSource::{Client, Server, Us};
    match failure {
        Failure::ClientLeft if !started => (400, Client, CLIENT_CLOSED),
        Failure::ClientGone | Failure::ClientLeft => {
            (499, Client, "client closed before the response was complete")
        }
        Failure::ClientSlow if started => (499, Client, "client read nothing for the request timeout"),
        Failure::ClientSlow => (408, Client, "request body incomplete within the request timeout"),
        Failure::RequestBody(refusal) => (400, Client, refusal_text(refusal)),
        Failure::NoServer => (503, Us, "no server to forward to"),
        Failure::Refused => (502, Server, "connection refused or unreachable"),
        Failure::NoLocal => (502, Us, "no local address, port or descriptor for a connection"),
        Failure::ConnectTimeout => (504, Server, "no connection within the connect timeout"),
        Failure::Handshake => (502, Server, "TLS handshake failed"),
        Failure::Certificate => {
            (502, Server, "certificate not valid for the name and authorities configured")
        }
        Failure::Died => (502, Server, "connection lost before the response"),
        Failure::Unprocessed => (502, Server, "request refused unprocessed"),
        Failure::Reset if started => (500, Server, "stream reset within the response"),
        Failure::Reset => (502, Server, "stream reset before the response"),
        Failure::Response(_) if started => (500, Server, "malformed response body"),
        Failure::Response(_) => (502, Server, "malformed or incomplete response"),
        Failure::ServerSlow if started => (500, Server, "response stalled for the request timeout"),
        Failure::ServerSlow => (504, Server, "no response within the request timeout"),
        Failure::Drained => (500, Us, "cut at the end of its server's drain"),
        Failure::Cut => (500, Server, "connection lost within the response"),
    }
}

/// What is wrong with a request that the codec refused.
pub fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::StartLine => "malformed request line",
        Refusal::Version => "unsupported HTTP version",
        Refusal::Method => "method not allowed",
        Refusal::Target => "malformed request target",
        Refusal::TargetTooLong => "request target over 32 KB",
        Refusal::TooLarge => "request header over 32 KB",
        Refusal::Fields => "over 256 header lines",
        Refusal::LineEnd => "bare CR or LF",
        Refusal::Fold => "folded header line",
        Refusal::Name => "malformed header name",
        Refusal::Value => "malformed header value",
        Refusal::Nominations => "Connection names over 32 fields",
        Refusal::Host => "missing, repeated or malformed Host",
        Refusal::Authority => "Host differs from the target's authority",
        Refusal::Length => "malformed or conflicting Content-Length",
        Refusal::Coding => "unsupported Transfer-Encoding",
        Refusal::Framing => "both Content-Length and Transfer-Encoding",
        Refusal::ConnectionField => "connection-specific header",
        Refusal::Late => "request head incomplete within the request timeout",
        Refusal::Chunk => "malformed chunk",
    }
}

/// Whether a connection could not be had for the server's sake.
pub fn is_of_server(failure: Failure) -> bool {
    use Failure::{Certificate, ConnectTimeout, Handshake, Refused};
    matches!(failure, Refused | ConnectTimeout | Handshake | Certificate)
}

/// Whether a connection failed for the server or for want of something on this host.
pub fn upstream_failure(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => return Failure::Certificate,
        Some(_) => return Failure::Handshake,
        None if error.kind() == io::ErrorKind::UnexpectedEof => return Failure::Handshake,
        None => {}
    }
    let ours =
        matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM));
    if ours || error.kind() == io::ErrorKind::AddrNotAvailable { Failure::NoLocal } else { Failure::Refused }
}
