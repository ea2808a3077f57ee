//! What streams send, to clients and servers alike: gathered into frames, bounded over the whole connection.

use bytes::Buf;
use h2::{Reason, SendStream};
use http::HeaderMap;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// Largest DATA frame, as every peer takes it (RFC 9113 section 4.2).
const FRAME_BYTES: usize = 16 * 1024;
/// Body bytes of one connection that wait for the socket, however many streams they are of.
const QUEUED_BYTES: usize = 256 * 1024;

/// Buffers of frames kept for more of them, on a thread.
const SPARES: usize = 64;

thread_local! {
    /// Frames are larger than what allocators keep at hand, and always the same few are on their way.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn take_spare() -> Vec<u8> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

fn put_spare(mut bytes: Vec<u8>) {
    bytes.clear();
    // A thread that ends needs none.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARES && bytes.capacity() > 0 && bytes.capacity() <= 2 * FRAME_BYTES {
            spare.push(bytes);
        }
    });
}

/// What a connection's streams share with the task that drives it.
#[derive(Default)]
pub struct Queue {
    /// Wakes the connection's task.
    driver: RefCell<Option<Waker>>,
    /// Body bytes that the streams or h2 hold.
    queued: Cell<usize>,
    /// Tasks that wait for room.
    waiting: RefCell<Vec<Waker>>,
    /// Streams with bytes that h2 has not yet been given.
    holding: RefCell<Vec<Rc<Inner>>>,
}

impl Queue {
    /// Notes the task that drives the connection.
    pub fn set_driver(&self, waker: &Waker) {
        match &mut *self.driver.borrow_mut() {
            Some(known) => known.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    /// Gives h2 what the streams wrote in this turn, each in one frame if it fits.
    pub fn send_held(self: &Rc<Self>) {
        for inner in self.holding.take() {
            // It fails if the client reset the stream, which its task is told by poll_gone.
            let _ = inner.state.borrow_mut().send_held(self, false);
        }
    }

    /// Something is to be done that h2 does not know of.
    pub fn wake_driver(&self) {
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
    queue: Rc<Queue>,
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
        self.queue.release(self.bytes.len());
        put_spare(std::mem::take(&mut self.bytes));
    }
}

struct State {
    /// Once the message's head is sent.
    stream: Option<SendStream<Chunk>>,
    /// Written and not yet given to h2: what follows in the same turn goes into the same frame, above all the end.
    held: Vec<u8>,
}

/// What outlives the handle for the rest of a turn.
struct Inner {
    queue: Rc<Queue>,
    state: RefCell<State>,
}

/// The sending half of a stream.
pub struct Sending(Rc<Inner>);

impl Sending {
    /// Before the message's head is sent.
    pub fn new(queue: &Rc<Queue>) -> Sending {
        let state = State { stream: None, held: Vec::new() };
        Sending(Rc::new(Inner { queue: queue.clone(), state: RefCell::new(state) }))
    }

    /// The head is sent.
    pub fn begin(&self, stream: SendStream<Chunk>) {
        self.0.state.borrow_mut().stream = Some(stream);
    }

    /// Sends some of `bytes`, which are not empty: how many.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Inner { queue, state } = &*self.0;
        let state = &mut *state.borrow_mut();
        if state.held.len() == FRAME_BYTES {
            state.send_held(queue, false)?;
        }
        ready!(queue.poll_room(cx));
        let held = state.held.len();
        let wanted = bytes.len().min(FRAME_BYTES - held);
        let stream = state.stream.as_mut().ok_or_else(out_of_order)?;
        stream.reserve_capacity(held + wanted);
        while stream.capacity() <= held {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let taken = wanted.min(stream.capacity() - held);
        if held == 0 {
            state.held = take_spare();
            queue.holding.borrow_mut().push(self.0.clone());
            queue.wake_driver();
        }
        queue.queued.set(queue.queued.get() + taken);
        state.held.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    /// Ends the message.
    pub fn finish(&self, trailers: Option<HeaderMap>) -> io::Result<()> {
        let Inner { queue, state } = &*self.0;
        let state = &mut *state.borrow_mut();
        state.send_held(queue, trailers.is_none())?;
        if let Some(trailers) = trailers {
            let stream = state.stream.as_mut().ok_or_else(out_of_order)?;
            stream.send_trailers(trailers).map_err(io_error)?;
        }
        Ok(())
    }

    /// Breaks the stream off if its head is sent, else false.
    pub fn reset(&self, reason: Reason) -> bool {
        let Inner { queue, state } = &*self.0;
        let state = &mut *state.borrow_mut();
        state.drop_held(queue);
        let Some(stream) = &mut state.stream else { return false };
        stream.send_reset(reason);
        true
    }

    /// Ready once the peer reset the stream or its connection is gone; `None` before the head is sent.
    pub fn poll_reset(&self, cx: &mut Context<'_>) -> Option<Poll<()>> {
        let state = &mut *self.0.state.borrow_mut();
        state.stream.as_mut().map(|stream| stream.poll_reset(cx).map(drop))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // What was written without an end is cut off with the stream, which h2 resets when its handles go.
        self.0.state.borrow_mut().drop_held(&self.0.queue);
        self.0.queue.wake_driver();
    }
}

impl State {
    fn drop_held(&mut self, queue: &Queue) {
        queue.release(self.held.len());
        put_spare(std::mem::take(&mut self.held));
    }

    /// Errors: the peer reset the stream, or it has ended.
    fn send_held(&mut self, queue: &Rc<Queue>, ends: bool) -> io::Result<()> {
        if self.held.is_empty() && !ends {
            return Ok(());
        }
        let chunk = Chunk { bytes: std::mem::take(&mut self.held), at: 0, queue: queue.clone() };
        let stream = self.stream.as_mut().ok_or_else(out_of_order)?;
        stream.send_data(chunk, ends).map_err(io_error)
    }
}

/// What h2 says as others say it.
pub fn io_error(error: h2::Error) -> io::Error {
    if let Some(error) = error.get_io() {
        return error.kind().into();
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

/// Body before the head, or a second head.
pub fn out_of_order() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}
