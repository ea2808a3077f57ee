//! TLS to servers: who is asked for, and which certificates will do (SG-20, SG-27).

use super::stream::{TlsStream, invalid};
use crate::certificate::AnyCertificate;
use crate::proxy::reactor::TcpStream;
use crate::snapshot::UpstreamProtocol;
use rustls::client::{ClientConnection, Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// Sessions kept per server; TLS 1.3 servers give two or so per connection, each good for one new connection.
const SESSIONS: usize = 16;

/// Why servers cannot be verified as configured.
#[derive(Debug, thiserror::Error)]
pub enum VerificationError {
    /// The text is no PEM.
    #[error("authorities: {0}")]
    Pem(String),
    /// There is nothing between the lines of the PEM.
    #[error("authorities: no certificate in the PEM text; `-----BEGIN CERTIFICATE-----` begins one")]
    NoCertificate,
    /// A certificate is not one of an authority.
    #[error("authorities: certificate number {number}: {error}")]
    Certificate {
        /// From 1.
        number: usize,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// The name is neither a host name nor an address.
    #[error("server name {0:?} is neither a host name nor an address")]
    Name(String),
}

/// How the servers of one group are spoken to.
pub struct Profile {
    config: ClientConfig,
    /// Asked for and verified; `None`: the server's address.
    name: Option<ServerName<'static>>,
}

impl Profile {
    /// What `protocol` demands; `None` without TLS. `authority` is the host, perhaps with a port, that is asked for
    /// where no other name is configured.
    pub fn new(
        protocol: &UpstreamProtocol,
        authority: Option<&str>,
    ) -> Result<Option<Profile>, VerificationError> {
        let UpstreamProtocol::Https { verification } = protocol else { return Ok(None) };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3");
        let builder = match verification {
            Some(verification) => builder.with_root_certificates(roots(&verification.ca_certificates)?),
            None => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate::new(&provider)))
            }
        };
        let configured = verification.as_ref().and_then(|verification| verification.server_name.as_deref());
        let name = match (configured, authority) {
            (Some(name), _) => Some(server_name(name)?),
            (None, Some(authority)) => Some(server_name(host_of(authority))?),
            (None, None) => None,
        };
        Ok(Some(Profile { config: builder.with_no_client_auth(), name }))
    }

    /// For the server at `address`, with sessions of its own.
    pub fn client(&self, address: IpAddr) -> TlsClient {
        let mut config = self.config.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        // No name is sent for an address (RFC 6066 section 3).
        let name = self.name.clone().unwrap_or_else(|| ServerName::IpAddress(address.into()));
        TlsClient { config: Arc::new(config), name }
    }
}

/// The authorities whose certificates are in `pem`.
pub(super) fn roots(pem: &str) -> Result<RootCertStore, VerificationError> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem.as_bytes())) {
        let certificate = certificate.map_err(|error| VerificationError::Pem(error.to_string()))?;
        roots.add(certificate).map_err(|error| VerificationError::Certificate { number, error })?;
    }
    if roots.is_empty() { Err(VerificationError::NoCertificate) } else { Ok(roots) }
}

fn server_name(name: &str) -> Result<ServerName<'static>, VerificationError> {
    ServerName::try_from(name.to_owned()).map_err(|_| VerificationError::Name(name.to_owned()))
}

/// `authority` without its port and the brackets of an IPv6 address.
fn host_of(authority: &str) -> &str {
    if let Some(literal) = authority.strip_prefix('[') {
        return literal.split(']').next().unwrap_or(literal);
    }
    authority.split(':').next().unwrap_or(authority)
}

/// What connections to one server begin with.
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// Shakes hands over `tcp`. The last flight is left for the first request to go with.
    ///
    /// Errors: `InvalidData` with a [`rustls::Error`] inside; `UnexpectedEof` if the server ended or broke the connection.
    pub async fn connect(&self, tcp: TcpStream) -> io::Result<TlsStream> {
        let session = ClientConnection::new(self.config.clone(), self.name.clone()).map_err(invalid)?;
        let stream = TlsStream::new(tcp, session.into());
        match stream.shake_hands().await {
            Ok(()) => Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error),
            Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
        }
    }
}
