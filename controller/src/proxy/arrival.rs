//! A client's connection, from its arrival to the protocol that it speaks.

use super::client::{Client, HttpVersion, Origin, Side};
use super::client_stream::ClientStream;
use super::connection;
use super::drain::Attempt;
use super::http2;
use super::reactor::{self, TcpStream, Timer};
use super::stats::ListenerColumn;
use super::tls::{AcceptError, TlsServer, TlsSession, TlsStream, accept};
use super::worker::{Slot, Worker};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// Longest TLS handshake, nanoseconds; the request timeout may be shorter.
const HANDSHAKE_NS: u64 = 10_000_000_000;

/// Counts a connection as open while it lives.
pub struct OpenConnection(Arc<ListenerColumn>);

impl OpenConnection {
    pub fn new(counters: Arc<ListenerColumn>) -> OpenConnection {
        counters.connections.add(1);
        counters.active_connections.add(1);
        OpenConnection(counters)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.active_connections.subtract_one();
    }
}

/// Serves the connection `tcp` from `peer` to `vip` until either side is done with it.
pub async fn serve(
    worker: Rc<Worker>,
    slot: Rc<Slot>,
    attempt: Rc<Attempt>,
    tcp: TcpStream,
    peer: SocketAddr,
    vip: SocketAddr,
) {
    // A connection accepted while its address was leaving the listener is counted nowhere.
    let counters = slot.target().counters_of(vip).cloned().unwrap_or_default();
    let open = OpenConnection::new(counters.clone());
    let origin = |version| Origin::new(peer, vip, counters, version);
    // Looked at first: a target lives for as long as it is held.
    let tls = slot.target().tls.clone();
    let Some(server) = tls else {
        let origin = Rc::new(origin(HttpVersion::Http1));
        let side = Side::Connection(ClientStream::Plain(tcp));
        let client = Client { worker, slot, origin, side, timer: Timer::new(), attempt };
        return connection::serve(&client).await;
    };
    match shake_hands(&slot, tcp, &server).await {
        Some(Ok((stream, session))) if session.is_http2 => {
            let origin = Rc::new(origin(HttpVersion::Http2).over_tls(session));
            serve_http2(worker, slot, origin, ClientStream::Tls(stream)).await;
        }
        Some(Ok((stream, session))) => {
            let origin = Rc::new(origin(HttpVersion::Http1).over_tls(session));
            let side = Side::Connection(ClientStream::Tls(stream));
            let client = Client { worker, slot, origin, side, timer: Timer::new(), attempt };
            connection::serve(&client).await;
        }
        Some(Err(AcceptError::PlainHttp(tcp))) => {
            let origin = Rc::new(origin(HttpVersion::Http1));
            let side = Side::Connection(ClientStream::Plain(tcp));
            let client = Client { worker, slot, origin, side, timer: Timer::new(), attempt };
            connection::refuse(&client, 400, "plain HTTP on the TLS port").await;
        }
        Some(Err(error)) => {
            open.0.handshake_failures.add(1);
            log::debug!("listener {:?}: client {peer}: {error}", slot.target().listener);
        }
        None => {}
    }
}

/// `None` if the listener closed meanwhile.
async fn shake_hands(
    slot: &Slot,
    tcp: TcpStream,
    server: &TlsServer,
) -> Option<Result<(Box<TlsStream>, TlsSession), AcceptError>> {
    let timer = Timer::new();
    timer.set_after(HANDSHAKE_NS.min(slot.target().request_ns));
    // Boxed: every connection's future would have room for a handshake.
    let mut shaking = Box::pin(accept(tcp, server, &timer));
    poll_fn(|cx| if slot.is_closing() { Poll::Ready(None) } else { shaking.as_mut().poll(cx).map(Some) })
        .await
}

async fn serve_http2(worker: Rc<Worker>, slot: Rc<Slot>, origin: Rc<Origin>, stream: ClientStream) {
    let limits = http2::Limits::new(slot.target().idle_ns, slot.target().requests_per_connection);
    let on_request = |incoming| {
        // As a connection of its own: its requests are counted and cut apart from those of the other streams.
        let open = worker.open_connection();
        let (worker, slot, origin) = (worker.clone(), slot.clone(), origin.clone());
        reactor::spawn(async move {
            connection::serve_stream(worker, slot, open.attempt.clone(), origin, incoming).await;
            drop(open);
        });
    };
    // Boxed: most connections are not of this kind.
    Box::pin(http2::serve(stream, limits, || slot.is_closing(), on_request)).await;
}
