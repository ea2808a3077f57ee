//! HTTP/2 (RFC 9113), from clients and to servers of gRPC groups, over the h2 crate on the reactor.
//!
//! One task drives a connection ([`serve`]); each request becomes an [`Incoming`] whose stream ([`client_stream`]) talks
//! to that task through h2. The streams' frames of one turn leave in one write, and floods are cut off ([`wire`]).
//!
//! What a client can make a connection hold, whatever it does: heads [`HEADS_BYTES`], request bodies
//! [`CONNECTION_WINDOW`], response bodies 256 KB, frames being written or read 128 KB, h2's bookkeeping for [`STREAMS`]
//! streams and as many reset ones, and for each response that waits for the client what was read of it from its server:
//! 16 KB, so 2 MB where no window is opened. Such a window stalls its stream alone, until the request's deadline resets it.

pub mod client;
mod client_stream;
mod sending;
#[cfg(test)]
mod tests;
mod wire;

use super::reactor::{self, Timer};
use super::stream::{Incoming, http1_head};
use client_stream::{ClientStream, Load};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use sending::{Chunk, Queue};
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use wire::{RESET_COST, Wire};

/// Most streams of a connection at a time.
pub const STREAMS: u32 = 128;
/// Requests of a connection, after which it is asked to end, unless the listener says otherwise (LR-52).
pub const REQUESTS: u32 = 1000;
/// What a client may send of one request's body before it was passed on, and of all on a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A field section may be this long as HTTP/2 counts (RFC 9113 section 6.5.2: 32 bytes more per field), so that what is
/// too long for LR-50 is answered as LR-50 says; longer ones are answered 431 by h2.
const FIELD_SECTION: u32 = 128 * 1024;
/// Bytes of heads of the requests under way on one connection; another is refused unprocessed.
const HEADS_BYTES: usize = 1024 * 1024;
/// Streams that may be refused or reset for the client's errors, and those it may reset before they were looked at.
const ERRORS: usize = 256;
const PENDING_RESETS: usize = 64;
/// Response bytes of one stream that h2 may hold.
const STREAM_SEND_BYTES: usize = 64 * 1024;
/// A client that is to go has so long to acknowledge it, or to take what is left: nanoseconds.
const LEAVE_NS: u64 = 2_000_000_000;
/// After our end, what still comes is read and dropped up to so many bytes, as in HTTP/1.1.
const LINGER_BYTES: usize = 1 << 20;

/// What a client may do with its connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Without a request for so long the connection is closed (LR-11), nanoseconds.
    pub idle_ns: u64,
    /// Most streams at a time.
    pub streams: u32,
    /// Requests after which the connection ends (LR-52).
    pub requests: u32,
}

impl Limits {
    /// The usual ones, with as many requests as the listener says, if it does.
    pub fn new(idle_ns: u64, requests: Option<NonZeroU32>) -> Limits {
        Limits { idle_ns, streams: STREAMS, requests: requests.map_or(REQUESTS, NonZeroU32::get) }
    }
}

/// Serves a client that chose HTTP/2 on `io` until either side is done with the connection. Each request is handed to
/// `on_request`, which is to start a task for it. Once `is_closing` says so, looked at whenever the task is woken, the
/// client is told to open no more streams (GOAWAY), and the connection ends when those it has are done.
pub async fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    limits: Limits,
    is_closing: impl Fn() -> bool,
    on_request: impl Fn(Incoming),
) {
    let wire = Wire::to_client(io, reactor::now());
    let timer = Timer::new();
    timer.set_after(limits.idle_ns);
    let Some(connection) = handshake(&wire, limits, &timer, &is_closing).await else { return };
    let mut driver = Driver {
        connection,
        wire: &wire,
        load: Rc::default(),
        queue: Rc::default(),
        timer: &timer,
        limits,
        phase: Phase::Open,
        idle: true,
        requests: 0,
    };
    let is_whole = poll_fn(|cx| driver.poll(cx, &is_closing, &on_request)).await;
    drop(driver);
    if is_whole {
        linger(&wire, &timer).await;
    }
}

/// Settings out, preface in.
async fn handshake<T: AsyncRead + AsyncWrite + Unpin>(
    wire: &Wire<T>,
    limits: Limits,
    timer: &Timer,
    is_closing: impl Fn() -> bool,
) -> Option<Connection<Wire<T>, Chunk>> {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(FIELD_SECTION)
        .max_concurrent_reset_streams(STREAMS as usize)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(ERRORS))
        .max_send_buffer_size(STREAM_SEND_BYTES);
    let mut handshake = pin!(builder.handshake(wire.clone()));
    poll_fn(|cx| {
        if is_closing() {
            return Poll::Ready(None);
        }
        wire.begin_turn(reactor::now());
        if let Poll::Ready(result) = handshake.as_mut().poll(cx) {
            return Poll::Ready(result.inspect_err(|error| log::debug!("HTTP/2 handshake: {error}")).ok());
        }
        if let Poll::Ready(Err(_)) = wire.poll_gathered(cx) {
            return Poll::Ready(None);
        }
        timer.poll_expired(cx).map(|()| None)
    })
    .await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The client was told to open no more streams.
    Leaving,
    /// The last GOAWAY is on its way, and the end.
    Ending,
}

struct Driver<'a, T> {
    connection: Connection<Wire<T>, Chunk>,
    wire: &'a Wire<T>,
    load: Rc<Load>,
    queue: Rc<Queue>,
    /// The idle timeout while there is no stream, or the deadline of leaving.
    timer: &'a Timer,
    limits: Limits,
    phase: Phase,
    /// There was no stream when the last turn ended.
    idle: bool,
    requests: u32,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<'_, T> {
    /// Ready when the connection is over: true if its end was sent and the client may still be reading.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        is_closing: &impl Fn() -> bool,
        on_request: &impl Fn(Incoming),
    ) -> Poll<bool> {
        self.queue.set_driver(cx.waker());
        self.wire.begin_turn(reactor::now());
        loop {
            if self.phase == Phase::Open && is_closing() {
                self.leave();
            }
            // Before h2 looks at what is to be sent, so that it goes with this turn's write.
            self.queue.send_held();
            loop {
                match self.connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        if let Some(incoming) = self.accept(request, respond) {
                            on_request(incoming);
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        log::debug!("HTTP/2 connection: {error}");
                        return Poll::Ready(!error.is_io());
                    }
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Pending => break,
                }
            }
            if self.phase != Phase::Ending && self.wire.is_exceeded() {
                log::debug!("HTTP/2 connection: flood of frames without use");
                self.end(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            if let Poll::Ready(Err(_)) = self.wire.poll_gathered(cx) {
                return Poll::Ready(false);
            }
            let idle = self.load.live.get() == 0;
            if self.phase != Phase::Ending && idle != self.idle {
                match (idle, self.phase) {
                    (false, _) => self.timer.clear(),
                    (true, Phase::Leaving) => self.timer.set_after(LEAVE_NS),
                    (true, _) => self.timer.set_after(self.limits.idle_ns),
                }
            }
            self.idle = idle;
            match (self.timer.poll_expired(cx), self.phase) {
                (Poll::Pending, _) => return Poll::Pending,
                (Poll::Ready(()), Phase::Ending) => return Poll::Ready(false),
                (Poll::Ready(()), _) => self.end(Reason::NO_ERROR),
            }
        }
    }

    /// The request as the engine takes it; `None` if it was refused unprocessed.
    fn accept(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Chunk>) -> Option<Incoming> {
        self.requests = self.requests.saturating_add(1);
        if self.requests >= self.limits.requests && self.phase == Phase::Open {
            self.leave();
        }
        let (parts, body) = request.into_parts();
        // One that does not acknowledge the GOAWAY could go on for ever.
        let is_late = self.requests > self.limits.requests.saturating_add(self.limits.streams);
        if is_late || self.load.heads.get() >= HEADS_BYTES {
            self.wire.spend(RESET_COST);
            respond.send_reset(Reason::REFUSED_STREAM);
            return None;
        }
        let mut head = Vec::with_capacity(512);
        let refusal = http1_head(
            &mut head,
            parts.method.as_str().as_bytes(),
            parts.uri.scheme_str().map(str::as_bytes),
            parts.uri.authority().map(|authority| authority.as_str().as_bytes()),
            parts.uri.path_and_query().map(|path| path.as_str().as_bytes()),
            &parts.headers,
            body.is_end_stream(),
        )
        .err();
        let stream = Rc::new(ClientStream::new(body, respond, head.len(), &self.load, &self.queue));
        Some(Incoming { head, refusal, stream })
    }

    fn leave(&mut self) {
        self.phase = Phase::Leaving;
        self.connection.graceful_shutdown();
        if self.idle {
            self.timer.set_after(LEAVE_NS);
        }
    }

    fn end(&mut self, reason: Reason) {
        self.phase = Phase::Ending;
        self.connection.abrupt_shutdown(reason);
        self.timer.set_after(LEAVE_NS);
    }
}

/// Our end is sent: reads what still comes, since closing before would reset the connection and take back what the
/// client has not read yet.
async fn linger<T: AsyncRead + AsyncWrite + Unpin>(wire: &Wire<T>, timer: &Timer) {
    timer.set_after(LEAVE_NS);
    let mut waste = vec![0; 8 * 1024];
    let mut left = LINGER_BYTES;
    while left > 0 {
        let read = poll_fn(|cx| match wire.poll_waste(cx, &mut waste) {
            Poll::Ready(result) => Poll::Ready(result.unwrap_or(0)),
            Poll::Pending => timer.poll_expired(cx).map(|()| 0),
        })
        .await;
        if read == 0 {
            return;
        }
        left = left.saturating_sub(read);
    }
}
