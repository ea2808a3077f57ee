//! TLS to servers: who is asked for, which certificates will do, and the encrypted connection (SG-20, SG-27).
//!
//! rustls does the protocol, without input or output of its own; [`TlsStream`] feeds it from a socket of the reactor and
//! offers what that socket does. Ciphertext is read [`WIRE_BYTES`] at a time into one buffer per thread: rustls by
//! itself would read 4 KB per system call.
//!
//! Invariants: what arrives and is no application data (session tickets, key updates) is never taken for data; an end
//! without close_notify is an error, so a response that lasts until the end is known to be whole (RFC 8446 section 6.1).

use super::reactor::TcpStream;
use crate::certificate::AnyCertificate;
use crate::snapshot::{UpstreamProtocol, VerificationSnapshot};
use rustls::client::{ClientConnection, Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// Ciphertext read at a time: four records of the largest kind.
const WIRE_BYTES: usize = 64 * 1024;
/// Sessions kept per server; TLS 1.3 servers give two or so per connection, each good for one new connection.
const SESSIONS: usize = 16;

thread_local! {
    /// The buffer for ciphertext, while no session has it.
    static WIRE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

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
            Some(verification) => builder.with_root_certificates(roots(verification)?),
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

fn roots(verification: &VerificationSnapshot) -> Result<RootCertStore, VerificationError> {
    let mut roots = RootCertStore::empty();
    let pem = verification.ca_certificates.as_bytes();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
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
        let session = Session { session, wire: Vec::new(), pending: 0..0, accepted: 0, has_more: false };
        let stream = TlsStream { tcp, session: RefCell::new(session) };
        match poll_fn(|cx| stream.session.borrow_mut().poll_handshake(cx, &stream.tcp)).await {
            Ok(()) => Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error),
            Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
        }
    }
}

/// A TLS connection. As with [`TcpStream`], one task may poll both directions.
pub struct TlsStream {
    tcp: TcpStream,
    session: RefCell<Session>,
}

struct Session {
    session: ClientConnection,
    /// Holds `pending`, the ciphertext that came and is not taken in; without storage when there is none.
    wire: Vec<u8>,
    pending: Range<usize>,
    /// Bytes of the writer's that are encrypted but not all sent.
    accepted: usize,
    /// There may be data, the end or an error to read without anything arriving.
    has_more: bool,
}

impl TlsStream {
    /// The connection under it.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// As [`TcpStream::poll_read`]; 0 only after the peer's close_notify.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.session.borrow_mut().poll_read(cx, &self.tcp, buffer)
    }

    /// As [`TcpStream::poll_write_vectored`]. After `Pending` the next call must be given the same bytes.
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.session.borrow_mut().poll_write(cx, &self.tcp, buffers)
    }

    /// As [`TcpStream::poll_readable`]: what is there may yet turn out to be no data.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.session.borrow().has_more { Poll::Ready(()) } else { self.tcp.poll_readable(cx) }
    }

    /// False if data or the end has come since the last read. Tickets are taken in.
    pub fn is_quiet(&self) -> bool {
        if !self.session.borrow().has_more && self.tcp.is_quiet() {
            return true;
        }
        // The waker of an idle connection wakes nobody.
        self.poll_read(&mut Context::from_waker(Waker::noop()), &mut [0]).is_pending()
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        let session = self.session.get_mut();
        if !session.session.is_handshaking() {
            session.session.send_close_notify();
            // What the socket does not take at once is not waited for: the server finds the end either way.
            let _ = session.poll_flush(&mut Context::from_waker(Waker::noop()), &self.tcp);
        }
    }
}

impl Session {
    fn poll_handshake(&mut self, cx: &mut Context<'_>, tcp: &TcpStream) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            if self.session.wants_write() {
                ready!(self.poll_flush(cx, tcp))?;
            } else if ready!(self.poll_wire(cx, tcp))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        tcp: &TcpStream,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        self.has_more = true;
        while filled < buffer.len() {
            match self.session.reader().read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.pending.is_empty() {
                        self.take_in()?;
                    } else {
                        self.has_more = false;
                        if filled > 0 {
                            break;
                        }
                        ready!(self.poll_wire(cx, tcp))?;
                        self.has_more = true;
                    }
                }
                // The data before a missing close_notify is good; the next read finds the error again.
                Err(_) if filled > 0 => break,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(filled))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        tcp: &TcpStream,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.accepted == 0 {
                self.accepted = self.session.writer().write_vectored(buffers)?;
            }
            ready!(self.poll_flush(cx, tcp))?;
            if self.accepted > 0 {
                return Poll::Ready(Ok(std::mem::take(&mut self.accepted)));
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, tcp: &TcpStream) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Wire { tcp, cx }) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes in what the socket has: how much that was, 0 at its end.
    fn poll_wire(&mut self, cx: &mut Context<'_>, tcp: &TcpStream) -> Poll<io::Result<usize>> {
        self.wire = WIRE.take();
        self.wire.resize(WIRE_BYTES, 0);
        let polled = tcp.poll_read(cx, &mut self.wire);
        if let Poll::Ready(Ok(read)) = polled {
            self.pending = 0..read;
        }
        let mut taken = self.take_in();
        if let Poll::Ready(Ok(0)) = polled {
            taken = self.session.read_tls(&mut io::empty()).map(drop);
        }
        // An answer to a key update, or an alert. What the socket does not take now, the next write sends. A writer at
        // work sends its bytes itself: it must know that they are sent before the peer can answer them.
        if self.session.wants_write() && self.accepted == 0 && !self.session.is_handshaking() {
            let _ = self.poll_flush(cx, tcp);
        }
        taken?;
        polled
    }

    /// Decrypts what came, up to the first plaintext.
    fn take_in(&mut self) -> io::Result<()> {
        let result = self.decrypt();
        if self.pending.is_empty() || result.is_err() {
            self.pending = 0..0;
            WIRE.set(std::mem::take(&mut self.wire));
        }
        result
    }

    fn decrypt(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.session.read_tls(&mut &self.wire[self.pending.clone()])? {
                // Nothing counts after close_notify.
                0 => self.pending = 0..0,
                taken => self.pending.start += taken,
            }
            let state = self.session.process_new_packets().map_err(invalid)?;
            if state.plaintext_bytes_to_read() > 0 {
                break;
            }
        }
        Ok(())
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The socket as rustls writes to it.
struct Wire<'a, 'c, 'w> {
    tcp: &'a TcpStream,
    cx: &'c mut Context<'w>,
}

impl Write for Wire<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(self.tcp.poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(self.tcp.poll_write_vectored(self.cx, buffers))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_would_block(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
