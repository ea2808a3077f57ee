//! What a listener's TLS is made of: versions, suites, certificates, tickets, and who may come (LR-20 to LR-26).

use super::certificate::{BySni, Certificate, CertificateError};
use super::client::{VerificationError, roots};
use super::shared::{Fingerprint, Fingerprinter, Shared};
use crate::model::TlsVersion;
use crate::snapshot::{CertificateSnapshot, DownstreamProtocol, TlsSnapshot};
use crate::tls_policy::cipher_of;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::{CryptoProvider, aws_lc_rs::default_provider};
use rustls::server::{
    NoClientAuth, NoServerSessionStorage, ProducesTickets, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;

/// Tickets a TLS 1.3 client is given with each full handshake: it should use each for one connection only, and opens two
/// at once more often than three.
const TICKETS: usize = 2;

/// Those in use, by all they are made of.
static SERVERS: Shared<Parts> = Shared::new();
/// Keys of tickets in use.
static TICKET_KEYS: Shared<TicketKeys> = Shared::new();

/// Why a listener cannot speak TLS as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate to show.
    #[error("no certificate; TLS needs one")]
    NoCertificate,
    /// A certificate is not in the snapshot.
    #[error("certificate number {0} is not in the snapshot")]
    CertificateNumber(u32),
    /// A certificate cannot be shown.
    #[error("certificate {name:?}: {error}")]
    Certificate {
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        error: CertificateError,
    },
    /// A suite is not one of the engine's.
    #[error("cipher suite {0:?} is not served")]
    Suite(String),
    /// A version is not one of the engine's (LR-23).
    #[error("{0} is not served; TLSv1.2 and TLSv1.3 are")]
    Version(TlsVersion),
    /// No version has a suite.
    #[error("no version of TLS has a cipher suite")]
    Nothing,
    /// Certificates of clients cannot be verified.
    #[error("client certificates: {0}")]
    ClientAuthorities(#[from] VerificationError),
    /// The same, found by the verifier.
    #[error("client certificates: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// There is no randomness for the keys of tickets.
    #[error("keys for session tickets: {0}")]
    Tickets(rustls::Error),
}

/// What clients speak over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1, and HTTP/2 where it is on, over TCP.
    Http,
    /// HTTP/3, over QUIC.
    Http3,
}

/// How connections from clients begin; cheap to clone.
#[derive(Clone)]
pub struct TlsServer {
    parts: Arc<Parts>,
}

struct Parts {
    config: Arc<ServerConfig>,
    spoken: Spoken,
    /// Suites served, with the names that policies and logs give them.
    suites: Vec<(CipherSuite, &'static str)>,
}

impl TlsServer {
    /// What `protocol` demands; `None` without TLS.
    pub fn of(
        protocol: &DownstreamProtocol,
        certificates: &[CertificateSnapshot],
    ) -> Result<Option<TlsServer>, TlsError> {
        match protocol {
            DownstreamProtocol::Http => Ok(None),
            DownstreamProtocol::Https(tls) => TlsServer::new(tls, certificates, Spoken::Http).map(Some),
            DownstreamProtocol::Quic(tls) => TlsServer::new(tls, certificates, Spoken::Http3).map(Some),
        }
    }

    /// What `tls` demands; `certificates` are all of the snapshot's.
    ///
    /// One of the same content that is in use anywhere in the process is used again, and so are certificates of the same
    /// content. Session tickets are good at all that have the same default certificate by name, the same authorities
    /// and the same `spoken`, in all workers, and outlive a renewal.
    pub fn new(
        tls: &TlsSnapshot,
        certificates: &[CertificateSnapshot],
        spoken: Spoken,
    ) -> Result<TlsServer, TlsError> {
        let shown = tls
            .certificates
            .iter()
            .map(|&at| certificates.get(at as usize).ok_or(TlsError::CertificateNumber(at)))
            .collect::<Result<Vec<_>, _>>()?;
        let parts = SERVERS.get(content(tls, &shown, spoken), || Parts::new(tls, &shown, spoken))?;
        Ok(TlsServer { parts })
    }

    /// As rustls and quinn want it.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.parts.config
    }

    /// What clients speak over it.
    pub fn spoken(&self) -> Spoken {
        self.parts.spoken
    }

    /// The name of a suite in policies and logs: `ECDHE-RSA-AES128-GCM-SHA256`, `TLS_AES_128_GCM_SHA256`.
    pub fn cipher(&self, suite: CipherSuite) -> Option<&'static str> {
        self.parts.suites.iter().find(|(known, _)| *known == suite).map(|(_, name)| *name)
    }
}

fn content(tls: &TlsSnapshot, shown: &[&CertificateSnapshot], spoken: Spoken) -> Fingerprint {
    // By name, so that a field more is a compile error here.
    let TlsSnapshot { certificates: _, versions, suites, client_authorities, http2 } = tls;
    let mut content = Fingerprinter::new();
    content.part(format!("{spoken:?} {http2} {versions:?} {suites:?} {client_authorities:?}").as_bytes());
    for CertificateSnapshot { name, chain, key } in shown {
        for part in [name, chain, key] {
            content.part(part.as_bytes());
        }
    }
    content.finish()
}

impl Parts {
    fn new(tls: &TlsSnapshot, shown: &[&CertificateSnapshot], spoken: Spoken) -> Result<Parts, TlsError> {
        let provider = Arc::new(provider(tls)?);
        let versions = versions(tls, &provider)?;
        let certificates = shown
            .iter()
            .map(|shown| {
                Certificate::of(shown, &provider)
                    .map_err(|error| TlsError::Certificate { name: shown.name.clone(), error })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let default = shown.first().ok_or(TlsError::NoCertificate)?;
        let verifier = match &tls.client_authorities {
            None => Arc::new(NoClientAuth),
            Some(pem) => {
                let roots = Arc::new(roots(pem)?);
                WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(|_| TlsError::Nothing)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(BySni::new(&certificates)));
        config.ignore_client_order = true;
        config.alpn_protocols = match spoken {
            Spoken::Http if tls.http2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Spoken::Http => vec![b"http/1.1".to_vec()],
            Spoken::Http3 => vec![b"h3".to_vec()],
        };
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ticket_keys(tls, &default.name, spoken)?;
        config.send_tls13_tickets = TICKETS;
        let named = |suite: &SupportedCipherSuite| {
            let suite = suite.suite();
            cipher_of(&format!("{suite:?}")).map(|name| (suite, name))
        };
        let suites = provider.cipher_suites.iter().filter_map(named).collect();
        Ok(Parts { config: Arc::new(config), spoken, suites })
    }
}

/// With the suites of `tls` and no others, in its order.
fn provider(tls: &TlsSnapshot) -> Result<CryptoProvider, TlsError> {
    let all = default_provider();
    let find = |name: &String| {
        let found = all.cipher_suites.iter().find(|suite| format!("{:?}", suite.suite()) == *name);
        found.copied().ok_or_else(|| TlsError::Suite(name.clone()))
    };
    let cipher_suites = tls.suites.iter().map(find).collect::<Result<_, _>>()?;
    Ok(CryptoProvider { cipher_suites, ..all })
}

/// The versions of `tls` that have a suite: a client would be offered one without and fail, though both sides know another.
fn versions(
    tls: &TlsSnapshot,
    provider: &CryptoProvider,
) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let mut versions = Vec::new();
    for version in &tls.versions {
        let version = match version {
            TlsVersion::Tls12 => &rustls::version::TLS12,
            TlsVersion::Tls13 => &rustls::version::TLS13,
            TlsVersion::Tls10 | TlsVersion::Tls11 => return Err(TlsError::Version(*version)),
        };
        if provider.cipher_suites.iter().any(|suite| suite.version() == version) {
            versions.push(version);
        }
    }
    if versions.is_empty() { Err(TlsError::Nothing) } else { Ok(versions) }
}

/// Keys that change every 6 hours; a ticket is good for 6 to 12.
#[derive(Debug)]
struct TicketKeys(Arc<dyn ProducesTickets>);

/// rustls resumes whatever it can decrypt, without asking for a certificate again, so a ticket must be worth nothing
/// where clients need another certificate, or one at all; and nothing to a listener that is somebody else.
fn ticket_keys(tls: &TlsSnapshot, default: &str, spoken: Spoken) -> Result<Arc<TicketKeys>, TlsError> {
    let mut scope = Fingerprinter::new();
    scope.part(format!("{spoken:?} {default:?} {:?}", tls.client_authorities).as_bytes());
    TICKET_KEYS.get(scope.finish(), || Ticketer::new().map(TicketKeys)).map_err(TlsError::Tickets)
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cipher)
    }
}
