//! TLS towards probed servers: any certificate will do (SG-196).
//!
//! Every probe makes a full handshake: a resumed session would leave the server's key untried, and a name that several
//! servers share would offer one server's ticket to another.

use super::limited::Limited;
use super::{Target, failed};
use crate::certificate::AnyCertificate;
use crate::health::{Failure, FailureReason};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::{Arc, LazyLock};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What is spoken inside, for ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inner {
    /// Nothing is offered, so that servers without ALPN and with any fit.
    Http1,
    /// `h2` is offered, as gRPC demands.
    Http2,
}

/// Completes the handshake before `deadline`. The server is told `host` (SNI), unless it is none or an address.
pub(super) async fn handshake(
    stream: Limited<TcpStream>,
    target: &Target,
    host: Option<&str>,
    inner: Inner,
    deadline: Instant,
) -> Result<TlsStream<Limited<TcpStream>>, Failure> {
    static HTTP1: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| config(&[]));
    static HTTP2: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| config(&[b"h2"]));
    let config = match inner {
        Inner::Http1 => Arc::clone(&HTTP1),
        Inner::Http2 => Arc::clone(&HTTP2),
    };
    let name = host.and_then(|host| ServerName::try_from(host.to_owned()).ok());
    // rustls sends no SNI for an address.
    let name = name.unwrap_or_else(|| ServerName::from(target.server.ip));
    match timeout_at(deadline, TlsConnector::from(config).connect(name, stream)).await {
        Err(_) => Err(failed(FailureReason::RecvResponseTimeout, "no complete TLS handshake")),
        Ok(Err(error)) => Err(failed(reason(&error), format!("TLS handshake: {error}"))),
        Ok(Ok(stream)) => Ok(stream),
    }
}

/// What a failed handshake, or a failed read or write inside TLS, means (SG-193).
pub(super) fn reason(error: &io::Error) -> FailureReason {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        // More than a probe reads.
        None if error.kind() == io::ErrorKind::InvalidData => FailureReason::ResponseFormatError,
        // It speaks TLS and says why it does not want to.
        Some(rustls::Error::AlertReceived(_)) | None => FailureReason::RecvResponseFailed,
        Some(_) => FailureReason::ResponseFormatError,
    }
}

fn config(protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let any_certificate = Arc::new(AnyCertificate::new(&provider));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(any_certificate)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rustls::ServerConfig;
    use tokio_rustls::TlsAcceptor;

    /// A server's side of TLS, with a certificate that nobody signed, for a name that nobody asks for.
    pub(in crate::probe) fn acceptor(protocols: &[&[u8]]) -> TlsAcceptor {
        let certificate = rcgen::generate_simple_self_signed(vec!["unknown.invalid".into()]).unwrap();
        let key = certificate.signing_key.serialize_der().try_into().unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}
