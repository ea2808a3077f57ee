//! Who asks: a client's connection, or one stream of it, and where answers go.

use super::access_log::push_address;
use super::client_stream::ClientStream;
use super::drain::Attempt;
use super::exchange::write_all;
use super::reactor::Timer;
use super::stats::ListenerColumn;
use super::stream::{Reset, Stream, response_of};
use super::tls::TlsSession;
use super::worker::{Slot, Worker};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What all requests of a connection have in common.
pub struct Origin {
    pub peer: SocketAddr,
    /// The peer's address as text.
    pub peer_text: Vec<u8>,
    pub vip: SocketAddr,
    pub counters: Arc<ListenerColumn>,
    pub version: HttpVersion,
    /// What was agreed upon with a client that speaks TLS.
    pub tls: Option<TlsSession>,
    /// Requests of an HTTP/1 connection that have begun.
    requests: Cell<u32>,
    /// The last of them that the connection takes has begun.
    is_last: Cell<bool>,
    /// To the peer, microseconds, once it was asked for.
    pub round_trip: Cell<Option<u32>>,
}

impl Origin {
    /// What a URL of the client begins with.
    pub fn scheme(&self) -> &'static str {
        if self.is_secure() { "https" } else { "http" }
    }

    /// Whether the client speaks TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some() || self.version == HttpVersion::Http3
    }

    /// Of a connection from `peer` to `vip`.
    pub fn new(
        peer: SocketAddr,
        vip: SocketAddr,
        counters: Arc<ListenerColumn>,
        version: HttpVersion,
    ) -> Origin {
        let mut peer_text = Vec::with_capacity(15);
        push_address(&mut peer_text, peer.ip());
        Origin {
            peer,
            peer_text,
            vip,
            counters,
            version,
            tls: None,
            requests: Cell::new(0),
            is_last: Cell::new(false),
            round_trip: Cell::new(None),
        }
    }

    /// The same over TLS.
    pub fn over_tls(self, session: TlsSession) -> Origin {
        Origin { tls: Some(session), ..self }
    }
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1 or 1.0, as each request says.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

/// Where a request comes from: its connection where requests follow each other, else its stream.
pub struct Client {
    pub worker: Rc<Worker>,
    pub slot: Rc<Slot>,
    pub origin: Rc<Origin>,
    pub side: Side,
    pub timer: Timer,
    /// The attempt at a server that the request is at.
    pub attempt: Rc<Attempt>,
}

/// How bytes come from a client and go to it.
pub enum Side {
    /// HTTP/1: heads and framed bodies as bytes.
    Connection(ClientStream),
    /// HTTP/2 and HTTP/3.
    Stream(Rc<dyn Stream>),
}

impl Client {
    /// True when this connection must not take another request.
    pub fn is_closing(&self) -> bool {
        self.origin.is_last.get() || self.slot.is_closing()
    }

    /// Whether the connection takes no other request by LR-52, which its client cannot know beforehand.
    pub fn is_at_last(&self) -> bool {
        self.origin.is_last.get()
    }

    /// Counts a request towards the most that the connection takes (LR-52). Streams are counted by their connection.
    pub fn begin_request(&self, requests_max: Option<NonZeroU32>) {
        let (Side::Connection(_), Some(max)) = (&self.side, requests_max) else { return };
        let requests = self.origin.requests.get().saturating_add(1);
        self.origin.requests.set(requests);
        self.origin.is_last.set(requests >= max.get());
    }

    /// Ready when nobody waits for an answer any more. Only while no part of the request is left to read.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.side {
            Side::Connection(connection) => connection.poll_hung_up(cx),
            Side::Stream(stream) => stream.poll_gone(cx),
        }
    }

    /// Sends the head of a response, written as HTTP/1.1 with its empty line. `ends`: no body follows.
    pub async fn send_head(&self, head: &[u8], ends: bool, on_progress: impl FnMut(u64)) -> io::Result<()> {
        match &self.side {
            Side::Connection(connection) => {
                write_all(connection, &mut [IoSlice::new(head)], on_progress).await
            }
            Side::Stream(stream) => {
                let mut on_progress = on_progress;
                on_progress(head.len() as u64);
                let response =
                    response_of(head).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                stream.send_head(response, ends)
            }
        }
    }

    /// Sends a whole response of ours within `ns` nanoseconds: the bytes that went out, and whether all did.
    pub async fn send_whole(&self, head: &[u8], body: &[u8], ns: u64) -> (u64, bool) {
        self.timer.set_after(ns);
        let sent = Cell::new(0);
        let count = |written: u64| sent.set(sent.get() + written);
        let sending = async {
            match &self.side {
                Side::Connection(connection) => {
                    write_all(connection, &mut [IoSlice::new(head), IoSlice::new(body)], count).await
                }
                Side::Stream(stream) => {
                    self.send_head(head, body.is_empty(), count).await?;
                    if body.is_empty() {
                        return Ok(());
                    }
                    write_to_stream(&**stream, body, count).await?;
                    poll_fn(|cx| stream.poll_finish(cx, &mut None)).await
                }
            }
        };
        let mut sending = pin!(sending);
        let written = poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => self.timer.poll_expired(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        })
        .await;
        (sent.get(), written.is_ok())
    }

    /// The round trip to the peer, microseconds: asked of the kernel once for each connection.
    pub fn round_trip_us(&self) -> Option<u32> {
        let Side::Connection(connection) = &self.side else { return self.origin.round_trip.get() };
        if self.origin.round_trip.get().is_none() {
            self.origin.round_trip.set(connection.tcp().round_trip_us());
        }
        self.origin.round_trip.get()
    }

    /// Breaks a stream off; a connection is closed by its owner.
    pub fn reset(&self, reason: Reset) {
        if let Side::Stream(stream) = &self.side {
            stream.reset(reason);
        }
    }
}

/// Writes all of `bytes`.
pub async fn write_to_stream(
    stream: &dyn Stream,
    mut bytes: &[u8],
    mut on_progress: impl FnMut(u64),
) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, bytes)).await?;
        on_progress(written as u64);
        bytes = &bytes[written..];
    }
    Ok(())
}
