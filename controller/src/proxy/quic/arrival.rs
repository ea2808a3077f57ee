//! Clients of a QUIC address, from their first datagram to their requests.

use super::endpoint::{Endpoint, Settings};
use super::http3::{self, Limits};
use super::identity::Secrets;
use crate::proxy::arrival::OpenConnection;
use crate::proxy::client::{HttpVersion, Origin};
use crate::proxy::connection::serve_stream;
use crate::proxy::memory::Pressure;
use crate::proxy::reactor;
use crate::proxy::tls::TlsSession;
use crate::proxy::worker::{Slot, Worker};
use quinn::Connection;
use quinn::crypto::rustls::HandshakeData;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// Serves the clients of `address` until the listener closes or no longer has it; then those that are there finish the
/// requests they are at, and the socket goes with the last of them.
pub async fn serve_address(
    worker: Rc<Worker>,
    slot: Rc<Slot>,
    endpoint: Endpoint,
    secrets: Secrets,
    address: SocketAddr,
) {
    let leaves = || slot.is_closing() || !slot.target().addresses.contains(&address);
    let mut known = slot.target().tls.clone();
    loop {
        let newcomer = {
            let mut accepting = pin!(endpoint.accept());
            poll_fn(|cx| if leaves() { Poll::Ready(None) } else { accepting.as_mut().poll(cx).map(Some) })
                .await
        };
        let Some(newcomer) = newcomer else { break };
        // A renewal is for new connections.
        let wanted = slot.target().tls.clone();
        if let (Some(before), Some(now)) = (&known, &wanted)
            && !Arc::ptr_eq(before.config(), now.config())
        {
            match Settings::new(now.config(), &secrets) {
                Ok(settings) => endpoint.replace(settings),
                Err(error) => log::error!("listener {:?}: {error}", slot.target().listener),
            }
        }
        known = wanted;
        let peer = newcomer.peer();
        // Before anything is sent (LR-34).
        if !slot.target().serves(peer.ip()) {
            log::debug!("listener {:?}: {peer} is not served", slot.target().listener);
            newcomer.ignore();
            continue;
        }
        if worker.pressure() >= Pressure::RefuseConnections {
            log::debug!("listener {:?}: memory is scarce; {peer} is refused", slot.target().listener);
            worker.stats.add_connection_refused();
            newcomer.refuse();
            continue;
        }
        let Some(handshake) = endpoint.begin(newcomer) else { continue };
        let open = worker.open_connection();
        let (worker, slot) = (worker.clone(), slot.clone());
        reactor::spawn(async move {
            match handshake.finish().await {
                Some(connection) => serve(worker, slot, connection, peer, address).await,
                None => {
                    if let Some(counters) = slot.target().counters_of(address) {
                        counters.handshake_failures.add(1);
                    }
                }
            }
            drop(open);
        });
    }
    endpoint.refuse_new();
    endpoint.idle().await;
}

async fn serve(
    worker: Rc<Worker>,
    slot: Rc<Slot>,
    connection: Connection,
    peer: SocketAddr,
    address: SocketAddr,
) {
    let target = slot.target();
    let counters = target.counters_of(address).cloned().unwrap_or_default();
    let limits = Limits::new(target.idle_ns, target.request_ns, target.requests_per_connection);
    drop(target);
    let _open = OpenConnection::new(counters.clone());
    // As of the handshake: the client may go on from elsewhere.
    let origin = Origin::new(peer, address, counters, HttpVersion::Http3).over_tls(agreed(&connection));
    let origin = Rc::new(origin);
    let listener = slot.clone();
    let leaves = move || listener.is_closing() || !listener.target().addresses.contains(&address);
    let on_request = move |incoming| {
        // As a connection of its own: its requests are counted and cut apart from those of the other streams.
        let open = worker.open_connection();
        let (worker, slot, origin) = (worker.clone(), slot.clone(), origin.clone());
        reactor::spawn(async move {
            serve_stream(worker, slot, open.attempt.clone(), origin, incoming).await;
            drop(open);
        });
    };
    http3::serve(connection, limits, leaves, on_request).await;
}

/// What was agreed upon. QUIC is of TLS 1.3 alone; which of its suites, and whether a session went on, quinn does not
/// tell.
fn agreed(connection: &Connection) -> TlsSession {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    TlsSession {
        is_http2: false,
        version: "TLSv1.3",
        cipher: "",
        server_name: data.and_then(|data| data.server_name).map(Box::from),
        is_resumed: false,
        client_certificate: None,
    }
}
