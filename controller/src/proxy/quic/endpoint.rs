//! One worker's end of a QUIC address: its socket, and what connections may cost.

use super::super::reactor::{Timer, UdpSocket};
use super::identity::{Ids, Place, Secrets};
use super::runtime::ReactorRuntime;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connecting, Connection, EndpointConfig, ServerConfig, TransportConfig};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Most request streams of a connection at a time; RFC 9114 section 6.1 asks for 100 at least.
pub const STREAMS: u32 = 128;
/// Most streams that only the client sends on: control, two of QPACK, and some that mean nothing and are refused.
const UNIDIRECTIONAL: u32 = 8;
/// What a client may send of one stream before it is taken, and of all on a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What may be sent of all streams of a connection before the client has acknowledged it.
const SEND_WINDOW: u64 = 1024 * 1024;
/// A client that is silent for so long is gone. One that is there answers us every [`KEEP_ALIVE`]; how long it may go
/// without a request is the listener's to say (LR-11), not QUIC's.
const SILENCE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Longest handshake, nanoseconds.
const HANDSHAKE_NS: u64 = 10_000_000_000;
/// With so many handshakes under way, clients must show first that their address is theirs (RFC 9000 section 8.1.2).
const HANDSHAKES_TRUSTED: usize = 64;
/// With so many, datagrams that begin others are dropped.
const HANDSHAKES_MAX: usize = 4096;
/// Connections of one address and worker, closing ones included; more are refused.
const CONNECTIONS_MAX: usize = 32 * 1024;
/// Datagrams kept for connections not accepted yet, in bytes, for each and for all.
const WAITING_BYTES: u64 = 16 * 1024;
const WAITING_BYTES_TOTAL: u64 = 8 * 1024 * 1024;

/// Why TLS as configured cannot be spoken over QUIC.
#[derive(Debug, thiserror::Error)]
#[error("QUIC needs TLS 1.3: {0}")]
pub struct QuicTlsError(String);

/// What new connections get.
#[derive(Clone)]
pub struct Settings(Arc<ServerConfig>);

impl Settings {
    /// Connections over `tls`, whose protocol becomes `h3` and which takes no early data: a request in it could be replayed.
    ///
    /// Errors: it does not speak TLS 1.3.
    pub fn new(tls: &rustls::ServerConfig, secrets: &Secrets) -> Result<Settings, QuicTlsError> {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        tls.max_early_data_size = 0;
        let tls = Arc::new(tls);
        // quinn takes for granted that this succeeds when a client comes.
        rustls::quic::ServerConnection::new(tls.clone(), rustls::quic::Version::V1, Vec::new())
            .map_err(|error| QuicTlsError(error.to_string()))?;
        // RFC 9001 section 5.2: first datagrams are protected with this suite whatever is chosen after them.
        let suite = TLS13_AES_128_GCM_SHA256.tls13().and_then(rustls::Tls13CipherSuite::quic_suite);
        let suite = suite.ok_or_else(|| QuicTlsError("AES-128-GCM is missing".into()))?;
        let crypto =
            QuicServerConfig::with_initial(tls, suite).map_err(|error| QuicTlsError(error.to_string()))?;
        let mut server = ServerConfig::new(Arc::new(crypto), secrets.token.clone());
        server
            .transport_config(Arc::new(transport()))
            .max_incoming(HANDSHAKES_MAX)
            .incoming_buffer_size(WAITING_BYTES)
            .incoming_buffer_size_total(WAITING_BYTES_TOTAL);
        Ok(Settings(Arc::new(server)))
    }
}

fn transport() -> TransportConfig {
    let silence = SILENCE.try_into().expect("30 s fit in QUIC's number of milliseconds");
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS.into())
        .max_concurrent_uni_streams(UNIDIRECTIONAL.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .max_idle_timeout(Some(silence))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .datagram_receive_buffer_size(None);
    transport
}

/// One worker's end of an address.
pub struct Endpoint {
    inner: quinn::Endpoint,
    settings: RefCell<Settings>,
    shaking: Rc<Cell<usize>>,
    /// Handshakes from which on clients must show their address.
    trusted: usize,
    retried: Cell<u64>,
}

impl Endpoint {
    /// Serves `socket`, the one of `place`. Call on the worker's thread.
    ///
    /// Errors: the kernel does not let the socket be registered.
    pub fn open(
        socket: std::net::UdpSocket,
        place: Place,
        secrets: &Secrets,
        settings: Settings,
    ) -> io::Result<Endpoint> {
        let mut config = EndpointConfig::new(secrets.reset.clone());
        config.cid_generator(move || Box::new(Ids(place)));
        // The kernel joins datagrams by address before it chooses a worker by the first one's id, but a client may have
        // several connections at one address.
        let socket = ReactorRuntime::socket(UdpSocket::new(socket, place.workers == 1)?);
        let runtime = Arc::new(ReactorRuntime::new());
        let inner =
            quinn::Endpoint::new_with_abstract_socket(config, Some((*settings.0).clone()), socket, runtime)?;
        Ok(Endpoint {
            inner,
            settings: RefCell::new(settings),
            shaking: Rc::default(),
            trusted: HANDSHAKES_TRUSTED,
            retried: Cell::new(0),
        })
    }

    /// Gives connections from now on other settings.
    pub fn replace(&self, settings: Settings) {
        self.inner.set_server_config(Some((*settings.0).clone()));
        self.settings.replace(settings);
    }

    /// Answers no new clients any more; connections go on.
    pub fn refuse_new(&self) {
        self.inner.set_server_config(None);
    }

    /// Clients that were asked to show their address, since the endpoint was opened.
    pub fn retried(&self) -> u64 {
        self.retried.get()
    }

    /// As if that many handshakes were much.
    #[cfg(test)]
    pub fn set_trusted(&mut self, handshakes: usize) {
        self.trusted = handshakes;
    }

    /// Connections there are, closing ones included.
    pub fn connections(&self) -> usize {
        self.inner.open_connections()
    }

    /// The next client that may be served.
    pub async fn accept(&self) -> Newcomer {
        loop {
            let Some(incoming) = self.inner.accept().await else {
                // Closed or broken: nobody comes any more.
                return std::future::pending().await;
            };
            let shaking = self.shaking.get();
            if self.inner.open_connections() >= CONNECTIONS_MAX {
                incoming.refuse();
            } else if shaking >= HANDSHAKES_MAX {
                incoming.ignore();
            } else if shaking >= self.trusted && !incoming.remote_address_validated() {
                self.retried.set(self.retried.get() + 1);
                // It fails for validated clients only; what it then holds is refused when dropped.
                let _ = incoming.retry();
            } else {
                return Newcomer(incoming);
            }
        }
    }

    /// Begins the handshake with a client, with the settings of now. `None`: its datagram turned out to be none.
    pub fn begin(&self, newcomer: Newcomer) -> Option<Handshake> {
        let settings = self.settings.borrow().0.clone();
        let connecting = newcomer.0.accept_with(settings).ok()?;
        self.shaking.set(self.shaking.get() + 1);
        Some(Handshake { connecting, _shaking: Shaking(self.shaking.clone()) })
    }

    /// Ready once no connection is left, their last datagrams included.
    pub async fn idle(&self) {
        self.inner.wait_idle().await;
    }
}

/// A client that has said hello; refused when dropped.
pub struct Newcomer(quinn::Incoming);

impl Newcomer {
    /// Its address, which may be forged.
    pub fn peer(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Tells it at once that it is not served.
    pub fn refuse(self) {
        self.0.refuse();
    }

    /// Lets it wait in vain.
    pub fn ignore(self) {
        self.0.ignore();
    }
}

struct Shaking(Rc<Cell<usize>>);

impl Drop for Shaking {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A client whose handshake has begun.
pub struct Handshake {
    connecting: Connecting,
    _shaking: Shaking,
}

impl Handshake {
    /// The connection, if the handshake comes to its end in time.
    pub async fn finish(self) -> Option<Connection> {
        let timer = Timer::new();
        timer.set_after(HANDSHAKE_NS);
        let mut connecting = pin!(self.connecting);
        poll_fn(|cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.ok()),
            Poll::Pending => timer.poll_expired(cx).map(|()| None),
        })
        .await
    }
}
