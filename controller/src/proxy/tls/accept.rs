//! Shaking hands with a client.

use super::client_certificate::ClientCertificate;
use super::server::TlsServer;
use super::stream::{Received, TlsStream};
use crate::proxy::reactor::{TcpStream, Timer};
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

/// Why there is no TLS with a client.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The client speaks without TLS, HTTP presumably (LR-27); the first of it was read. The connection is for an answer.
    #[error("plain HTTP on the TLS port")]
    PlainHttp(TcpStream),
    /// The deadline passed.
    #[error("TLS handshake incomplete within the timeout")]
    Timeout,
    /// The client left or broke the connection.
    #[error("client closed within the TLS handshake")]
    Closed,
    /// The client and we do not come together; it was sent an alert.
    #[error("TLS handshake: {0}")]
    Handshake(rustls::Error),
    /// The certificate that the client showed is trusted but cannot be described.
    #[error("client certificate is malformed")]
    ClientCertificate,
}

/// What was agreed upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// The client speaks HTTP/2; else HTTP/1.1.
    pub is_http2: bool,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// As policies name it: `ECDHE-RSA-AES128-GCM-SHA256`, `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The host that the client asked for, in lower case.
    pub server_name: Option<Box<str>>,
    /// An earlier session went on, without certificates being shown.
    pub is_resumed: bool,
    /// Where clients need one (LR-26).
    pub client_certificate: Option<Box<ClientCertificate>>,
}

/// Shakes hands over `tcp`, until `timer` expires: nothing that the client sends puts that off.
///
/// Bounds: rustls takes handshake messages of 64 KB at most; besides, a connection holds only what is not sent of its own
/// handshake, a few KB.
pub async fn accept(
    tcp: TcpStream,
    server: &TlsServer,
    timer: &Timer,
) -> Result<(Box<TlsStream>, TlsSession), AcceptError> {
    let received = poll_fn(|cx| match Received::poll(cx, &tcp) {
        Poll::Ready(received) => Poll::Ready(Some(received)),
        Poll::Pending => timer.poll_expired(cx).map(|()| None),
    });
    let first = match received.await {
        None => return Err(AcceptError::Timeout),
        Some(Ok(first)) if !first.bytes().is_empty() => first,
        Some(_) => return Err(AcceptError::Closed),
    };
    if is_of_token(first.bytes()[0]) {
        return Err(AcceptError::PlainHttp(tcp));
    }
    let session = ServerConnection::new(server.config().clone()).map_err(AcceptError::Handshake)?;
    let stream = Box::new(TlsStream::begun(tcp, session, first));
    let result = {
        let mut shaking = pin!(stream.shake_hands());
        poll_fn(|cx| match shaking.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => timer.poll_expired(cx).map(|()| None),
        })
        .await
    };
    match result {
        None => Err(AcceptError::Timeout),
        Some(Ok(())) => {
            let session = stream.with_server(|session| describe(session, server)).transpose()?;
            Ok((stream, session.expect("the stream was begun with a server's session")))
        }
        Some(Err(error)) => Err(match error.kind() {
            io::ErrorKind::InvalidData => match error.downcast::<rustls::Error>() {
                Ok(error) => AcceptError::Handshake(error),
                Err(_) => AcceptError::Closed,
            },
            _ => AcceptError::Closed,
        }),
    }
}

/// Whether a method can begin with `byte` (RFC 9110 section 5.6.2). TLS begins with 22.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn describe(session: &ServerConnection, server: &TlsServer) -> Result<TlsSession, AcceptError> {
    let client_certificate = match session.peer_certificates().and_then(|chain| chain.first()) {
        None => None,
        Some(der) => Some(Box::new(ClientCertificate::parse(der).ok_or(AcceptError::ClientCertificate)?)),
    };
    let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
    Ok(TlsSession {
        is_http2: session.alpn_protocol() == Some(b"h2"),
        version: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: suite.and_then(|suite| server.cipher(suite)).unwrap_or_default(),
        server_name: session.server_name().map(Box::from),
        is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        client_certificate,
    })
}
