//! HTTP/2 to the servers of gRPC groups: connections that many requests share, and one request on one of them.
//!
//! A server and worker have one connection until it is full ([`CALLS_MAX`] or what the server allows), then another. A
//! connection that was told to go (GOAWAY), whose server left, or that was idle too long takes no new calls and ends
//! with those it has. If a call was given up before anything came, its connection must prove that the way to the server
//! still exists (PING) before it takes another; without an answer it ends, and its calls with it.
//!
//! One task drives a connection, calls talk to it through h2. All methods of a call take `&self`, so that one task can
//! poll both directions.

use super::client_stream::poll_data;
use super::sending::{Chunk, Queue, Sending};
use super::wire::Wire;
use crate::proxy::failure::Failure;
use crate::proxy::http1::Refusal;
use crate::proxy::reactor::{self, Timer};
use crate::proxy::stream::{http1_response_head, request_of};
use bytes::Bytes;
use futures_util::FutureExt;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::HeaderMap;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// Most calls of a connection at a time; gRPC's own limit in most servers.
pub const CALLS_MAX: usize = 100;
/// An idle connection is closed after this, nanoseconds: as those of HTTP/1.1.
const IDLE_NS: u64 = 50_000_000_000;
/// What a server may send of one response before it was passed on; the connection's window has room for all of them, so
/// that clients that do not read stall nobody else.
const CALL_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = CALL_WINDOW * CALLS_MAX as u32;
/// Response heads as HTTP/2 counts them.
const FIELD_SECTION: u32 = 128 * 1024;
/// Request bytes of one call that h2 may hold.
const CALL_SEND_BYTES: usize = 64 * 1024;
/// A PING is answered within this, nanoseconds.
const PROBE_NS: u64 = 5_000_000_000;

/// Connections to one server, for one listener and worker.
#[derive(Default)]
pub struct Links {
    links: RefCell<Vec<Rc<Link>>>,
    closed: Cell<bool>,
}

impl Links {
    /// A connection that takes another call now.
    pub fn take(&self) -> Option<Rc<Link>> {
        let mut links = self.links.borrow_mut();
        links.retain(|link| !link.is_leaving());
        links.iter().find(|link| link.has_room()).cloned()
    }

    /// Speaks HTTP/2 on a new connection, whose own address is `local`. `is_kept`: it is there for other calls too.
    ///
    /// Errors: [`Failure::Died`].
    pub fn add<T>(&self, io: T, local: Option<IpAddr>, is_kept: bool) -> Result<Rc<Link>, Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let wire = Wire::to_server(io, reactor::now());
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(CALL_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(CALLS_MAX)
            .max_header_list_size(FIELD_SECTION)
            .max_concurrent_reset_streams(CALLS_MAX)
            .max_send_buffer_size(CALL_SEND_BYTES);
        // Preface and settings are gathered, not yet sent, so there is nothing to wait for.
        let connected = builder.handshake::<_, Chunk>(wire.clone()).now_or_never();
        let (handle, mut connection) = connected.and_then(Result::ok).ok_or(Failure::Died)?;
        let ping = connection.ping_pong().ok_or(Failure::Died)?;
        let link = Rc::new(Link {
            handle: RefCell::new(Some(handle)),
            queue: Rc::default(),
            local,
            is_single: self.closed.get() || !is_kept,
            calls: Cell::new(0),
            idle_since: Cell::new(reactor::now()),
            probe: Cell::new(Probe::None),
        });
        if !link.is_single {
            self.links.borrow_mut().push(link.clone());
        }
        reactor::spawn(drive(link.clone(), wire, connection, ping));
        Ok(link)
    }

    /// Closes connections that were idle too long, and forgets those that ended.
    pub fn sweep(&self) {
        let now = reactor::now();
        self.links.borrow_mut().retain(|link| {
            if link.calls.get() == 0 && now.saturating_sub(link.idle_since.get()) >= IDLE_NS {
                link.leave();
            }
            !link.is_leaving()
        });
    }

    /// Ends connections from addresses other than `locals`.
    pub fn keep_sources(&self, locals: &[IpAddr]) {
        self.links.borrow_mut().retain(|link| {
            let stays = link.local.is_none_or(|local| locals.contains(&local));
            if !stays {
                link.leave();
            }
            stays
        });
    }

    /// Ends all when their calls are done; any that come later have one call.
    pub fn close(&self) {
        self.closed.set(true);
        self.links.take().iter().for_each(|link| link.leave());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    None,
    Wanted,
    Sent,
}

/// One connection.
pub struct Link {
    /// `None` once it takes no more calls.
    handle: RefCell<Option<SendRequest<Chunk>>>,
    queue: Rc<Queue>,
    local: Option<IpAddr>,
    /// One call, and it ends: it is not to be kept, or the server left before it was there.
    is_single: bool,
    calls: Cell<usize>,
    idle_since: Cell<u64>,
    probe: Cell<Probe>,
}

impl Link {
    /// Its own address.
    pub fn local(&self) -> Option<IpAddr> {
        self.local
    }

    fn is_leaving(&self) -> bool {
        self.handle.borrow().is_none()
    }

    /// Takes no more calls, and ends when those it has do.
    fn leave(&self) {
        self.handle.take();
        self.queue.wake_driver();
    }

    fn has_room(&self) -> bool {
        let mut handle = self.handle.borrow_mut();
        let Some(open) = &mut *handle else { return false };
        match open.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                let most = open.current_max_send_streams().min(CALLS_MAX);
                self.calls.get() < most && self.probe.get() == Probe::None
            }
            Poll::Pending => false,
            // It was told to go, or is gone.
            Poll::Ready(Err(_)) => {
                *handle = None;
                false
            }
        }
    }

    /// Sends a request whose HTTP/1.1 head is `head` ([`request_of`]). `ends`: it has no body.
    ///
    /// Errors: [`Failure::Unprocessed`] if the connection has ended meanwhile, so that another will do;
    /// [`Failure::RequestBody`] for a head that HTTP/2 cannot say.
    pub fn call(self: &Rc<Link>, head: &[u8], ends: bool) -> Result<Call, Failure> {
        let request = request_of(head).map_err(Failure::RequestBody)?;
        let mut handle = self.handle.borrow_mut();
        let open = handle.as_mut().ok_or(Failure::Unprocessed)?;
        let Ok((response, stream)) = open.send_request(request, ends) else {
            *handle = None;
            return Err(Failure::Unprocessed);
        };
        if self.is_single {
            *handle = None;
        }
        self.calls.set(self.calls.get() + 1);
        let sending = Sending::new(&self.queue);
        sending.begin(stream);
        Ok(Call {
            link: self.clone(),
            sending,
            receiving: RefCell::new(Receiving::Head(response)),
            has_answer: Cell::new(false),
        })
    }
}

enum Receiving {
    Head(ResponseFuture),
    Body(RecvStream),
}

/// A request under way. Dropped before its response is whole, it is cancelled.
pub struct Call {
    link: Rc<Link>,
    sending: Sending,
    receiving: RefCell<Receiving>,
    /// Something came, be it a failure.
    has_answer: Cell<bool>,
}

impl Call {
    /// Sends some of `bytes`, which are not empty: how many. An error only says that the server takes no more of the
    /// request; what became of it is found by who waits for the response.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.sending.poll_write(cx, bytes)
    }

    /// Ends the request; errors as those of [`Call::poll_write`].
    pub fn finish(&self, trailers: Option<HeaderMap>) -> std::io::Result<()> {
        self.sending.finish(trailers)
    }

    /// The next response head, interim ones (1xx) first: appended to `out` as HTTP/1.1 says it, with chunked coding if a
    /// body of unknown length follows. True if nothing follows, no trailers either.
    ///
    /// Errors: the server refused the request unprocessed, reset it, sent no proper head, or its connection is gone.
    pub fn poll_head(&self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<bool, Failure>> {
        let mut receiving = self.receiving.borrow_mut();
        let Receiving::Head(response) = &mut *receiving else {
            return Poll::Ready(Err(Failure::Response(Refusal::StartLine)));
        };
        if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            self.has_answer.set(true);
            let written = http1_response_head(out, interim.status(), interim.headers(), true);
            return Poll::Ready(written.map(|()| false).map_err(Failure::Response));
        }
        let polled = ready!(Pin::new(response).poll(cx));
        self.has_answer.set(true);
        let (head, body) = polled.map_err(|error| failure_of(&error, false))?.into_parts();
        let ends = body.is_end_stream();
        *receiving = Receiving::Body(body);
        let written = http1_response_head(out, head.status, &head.headers, ends);
        Poll::Ready(written.map(|()| ends).map_err(Failure::Response))
    }

    /// The next bytes of the response's body, never empty; `None` at its end. After the head.
    ///
    /// Errors: the server broke the response off.
    pub fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        match &mut *self.receiving.borrow_mut() {
            Receiving::Body(body) => poll_data(body, cx).map_err(|error| failure_of(&error, true)),
            Receiving::Head(_) => Poll::Ready(Err(Failure::Response(Refusal::StartLine))),
        }
    }

    /// What follows the body, after its end.
    ///
    /// Errors: as [`Call::poll_body`].
    pub fn poll_trailers(&self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Failure>> {
        match &mut *self.receiving.borrow_mut() {
            Receiving::Body(body) => body.poll_trailers(cx).map_err(|error| failure_of(&error, true)),
            Receiving::Head(_) => Poll::Ready(Err(Failure::Response(Refusal::StartLine))),
        }
    }

    /// Breaks the call off, as its client did.
    pub fn cancel(&self) {
        self.sending.reset(Reason::CANCEL);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let link = &self.link;
        link.calls.set(link.calls.get() - 1);
        link.idle_since.set(reactor::now());
        if !self.has_answer.get() && link.probe.get() == Probe::None {
            link.probe.set(Probe::Wanted);
            link.queue.wake_driver();
        }
    }
}

/// `started`: the response's head has come.
fn failure_of(error: &h2::Error, started: bool) -> Failure {
    let of_server = error.is_remote();
    match error.reason() {
        // A GOAWAY reaches only the streams after the last one that the server looked at.
        Some(_) if of_server && error.is_go_away() && !started => Failure::Unprocessed,
        Some(Reason::REFUSED_STREAM) if of_server && !started => Failure::Unprocessed,
        Some(_) if of_server && error.is_reset() => Failure::Reset,
        Some(_) if error.is_library() => Failure::Response(Refusal::StartLine),
        _ if started => Failure::Cut,
        _ => Failure::Died,
    }
}

/// Reads and writes until the connection is over.
async fn drive<T: AsyncRead + AsyncWrite + Unpin>(
    link: Rc<Link>,
    wire: Wire<T>,
    mut connection: Connection<Wire<T>, Chunk>,
    mut ping: PingPong,
) {
    let timer = Timer::new();
    poll_fn(|cx| {
        link.queue.set_driver(cx.waker());
        wire.begin_turn(reactor::now());
        link.queue.send_held();
        match link.probe.get() {
            Probe::Wanted if ping.send_ping(Ping::opaque()).is_ok() => {
                link.probe.set(Probe::Sent);
                timer.set_after(PROBE_NS);
            }
            _ => {}
        }
        if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
            if let Err(error) = result {
                log::debug!("HTTP/2 connection to a server: {error}");
            }
            return Poll::Ready(());
        }
        if link.probe.get() == Probe::Sent && ping.poll_pong(cx).is_ready() {
            link.probe.set(Probe::None);
            timer.clear();
        }
        if wire.is_exceeded() {
            log::debug!("HTTP/2 connection to a server: flood of frames without use");
            return Poll::Ready(());
        }
        match wire.poll_gathered(cx) {
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        timer.poll_expired(cx)
    })
    .await;
    // Calls still here are told by h2 as the connection is dropped.
    link.handle.take();
}

#[cfg(test)]
mod tests;
