//! A client's stream over h2.

use crate::proxy::stream::{Reset, Stream};
use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// Largest DATA frame, as every peer takes it (RFC 9113 section 4.2).
const FRAME_BYTES: usize = 16 * 1024;
/// Body bytes of one connection that wait for the socket, however many streams they are of.
const QUEUED_BYTES: usize = 256 * 1024;

/// What a connection's streams share with the task that drives it.
#[derive(Default)]
pub struct Shared {
    /// Wakes the connection's task.
    driver: RefCell<Option<Waker>>,
    /// Streams there are.
    live: Cell<usize>,
    /// Bytes of their heads.
    heads: Cell<usize>,
    /// Body bytes that the streams or h2 hold.
    queued: Cell<usize>,
    /// Tasks that wait for room.
    waiting: RefCell<Vec<Waker>>,
    /// Streams with bytes that h2 has not yet been given.
    holding: RefCell<Vec<Rc<Inner>>>,
}

impl Shared {
    /// Notes the task that drives the connection.
    pub fn set_driver(&self, waker: &Waker) {
        match &mut *self.driver.borrow_mut() {
            Some(known) => known.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    /// How many streams there are.
    pub fn live(&self) -> usize {
        self.live.get()
    }

    /// How many bytes their heads have.
    pub fn heads(&self) -> usize {
        self.heads.get()
    }

    /// Gives h2 what the streams wrote in this turn, each in one frame if it fits.
    pub fn send_held(self: &Rc<Self>) {
        for inner in self.holding.take() {
            // It fails if the client reset the stream, which its task is told by poll_gone.
            let _ = inner.state.borrow_mut().send_held(self, false);
        }
    }

    fn wake_driver(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    fn release(&self, bytes: usize) {
        let left = self.queued.get() - bytes;
        self.queued.set(left);
        if left <= QUEUED_BYTES / 2 {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Whether another frame may be queued.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.queued.get() < QUEUED_BYTES {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Body bytes on their way, which were counted when they were taken.
pub struct Chunk {
    bytes: Vec<u8>,
    at: usize,
    shared: Rc<Shared>,
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.remaining());
        self.at += bytes;
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.shared.release(self.bytes.len());
    }
}

struct State {
    body: RecvStream,
    /// Until the response's head is sent.
    awaited: Option<SendResponse<Chunk>>,
    /// From then on.
    reply: Option<SendStream<Chunk>>,
    /// Written and not yet given to h2: what follows in the same turn goes into the same frame, above all the end.
    held: Vec<u8>,
}

/// What outlives the handle for the rest of a turn.
struct Inner {
    shared: Rc<Shared>,
    head: usize,
    state: RefCell<State>,
}

/// A client's request.
pub struct ClientStream(Rc<Inner>);

impl ClientStream {
    /// For a request whose head has `head` bytes.
    pub fn new(
        body: RecvStream,
        awaited: SendResponse<Chunk>,
        head: usize,
        shared: &Rc<Shared>,
    ) -> ClientStream {
        shared.live.set(shared.live.get() + 1);
        shared.heads.set(shared.heads.get() + head);
        let state = State { body, awaited: Some(awaited), reply: None, held: Vec::new() };
        ClientStream(Rc::new(Inner { shared: shared.clone(), head, state: RefCell::new(state) }))
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let shared = &self.0.shared;
        shared.live.set(shared.live.get() - 1);
        shared.heads.set(shared.heads.get() - self.0.head);
        // What was written without an end is cut off with the stream, which h2 resets when its handles go.
        self.0.state.borrow_mut().drop_held(shared);
        shared.wake_driver();
    }
}

impl State {
    fn drop_held(&mut self, shared: &Shared) {
        shared.release(std::mem::take(&mut self.held).len());
    }

    /// Errors: the client reset the stream, or it has ended.
    fn send_held(&mut self, shared: &Rc<Shared>, ends: bool) -> io::Result<()> {
        if self.held.is_empty() && !ends {
            return Ok(());
        }
        let chunk = Chunk { bytes: std::mem::take(&mut self.held), at: 0, shared: shared.clone() };
        let reply = self.reply.as_mut().ok_or_else(out_of_order)?;
        reply.send_data(chunk, ends).map_err(io_error)
    }
}

impl Stream for ClientStream {
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let body = &mut self.0.state.borrow_mut().body;
        loop {
            match ready!(body.poll_data(cx)) {
                None => return Poll::Ready(Ok(None)),
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    body.flow_control().release_capacity(bytes.len()).map_err(io_error)?;
                    return Poll::Ready(Ok(Some(bytes)));
                }
            }
        }
    }

    fn poll_trailers(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<HeaderMap>>> {
        self.0.state.borrow_mut().body.poll_trailers(cx).map_err(io_error)
    }

    fn send_head(&self, head: Response<()>, ends: bool) -> io::Result<()> {
        let state = &mut *self.0.state.borrow_mut();
        let awaited = state.awaited.as_mut().ok_or_else(out_of_order)?;
        if head.status().is_informational() {
            return awaited.send_informational(head).map_err(io_error);
        }
        state.reply = Some(awaited.send_response(head, ends).map_err(io_error)?);
        state.awaited = None;
        Ok(())
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Inner { shared, state, .. } = &*self.0;
        let state = &mut *state.borrow_mut();
        if state.held.len() == FRAME_BYTES {
            state.send_held(shared, false)?;
        }
        ready!(shared.poll_room(cx));
        let held = state.held.len();
        let wanted = bytes.len().min(FRAME_BYTES - held);
        let reply = state.reply.as_mut().ok_or_else(out_of_order)?;
        reply.reserve_capacity(held + wanted);
        while reply.capacity() <= held {
            match ready!(reply.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let taken = wanted.min(reply.capacity() - held);
        if held == 0 {
            shared.holding.borrow_mut().push(self.0.clone());
            shared.wake_driver();
        }
        shared.queued.set(shared.queued.get() + taken);
        state.held.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_finish(&self, _: &mut Context<'_>, trailers: &mut Option<HeaderMap>) -> Poll<io::Result<()>> {
        let Inner { shared, state, .. } = &*self.0;
        let state = &mut *state.borrow_mut();
        let trailers = trailers.take();
        state.send_held(shared, trailers.is_none())?;
        if let Some(trailers) = trailers {
            let reply = state.reply.as_mut().ok_or_else(out_of_order)?;
            reply.send_trailers(trailers).map_err(io_error)?;
        }
        Poll::Ready(Ok(()))
    }

    fn reset(&self, reason: Reset) {
        let Inner { shared, state, .. } = &*self.0;
        let state = &mut *state.borrow_mut();
        let reason = match reason {
            Reset::Internal => Reason::INTERNAL_ERROR,
            Reset::NoError => Reason::NO_ERROR,
            Reset::Protocol => Reason::PROTOCOL_ERROR,
        };
        state.drop_held(shared);
        match (&mut state.reply, &mut state.awaited) {
            (Some(reply), _) => reply.send_reset(reason),
            (None, Some(awaited)) => awaited.send_reset(reason),
            (None, None) => {}
        }
    }

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.0.state.borrow_mut();
        match (&mut state.reply, &mut state.awaited) {
            (Some(reply), _) => reply.poll_reset(cx).map(drop),
            (None, Some(awaited)) => awaited.poll_reset(cx).map(drop),
            (None, None) => Poll::Ready(()),
        }
    }
}

fn io_error(error: h2::Error) -> io::Error {
    if error.is_io()
        && let Some(error) = error.get_io()
    {
        return error.kind().into();
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

/// Body before the head, or a second head.
fn out_of_order() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}
