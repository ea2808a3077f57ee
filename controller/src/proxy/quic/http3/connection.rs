//! A client's connection: settings, requests, GOAWAY.

use super::Code;
use super::control::{CONTROL, receive};
use super::frame::{Fault, Frames, GOAWAY, HEADERS, SETTINGS, is_known, push_frame, push_number};
use super::head::{Fields, SECTION_MAX};
use super::stream::{RequestStream, Sending};
use crate::proxy::http1::Refusal;
use crate::proxy::reactor::{self, Timer};
use crate::proxy::stream::Incoming;
use quinn::{ConnectionError, RecvStream, SendStream};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Requests of a connection, after which it is asked to end, unless the listener says otherwise (LR-52).
pub const REQUESTS: u32 = 1000;
/// Bytes of heads of the requests under way on one connection; another is refused unprocessed.
const HEADS_BYTES: usize = 1024 * 1024;
/// A client that is to go has so long to acknowledge what it was sent last, nanoseconds.
const LEAVE_NS: u64 = 2_000_000_000;
/// Identifier of the setting that says how long a field section may be (RFC 9114 section 7.2.4.1).
const MAX_FIELD_SECTION_SIZE: u64 = 0x6;

/// What a client may do with its connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Without a request for so long the connection is closed (LR-11), nanoseconds.
    pub idle_ns: u64,
    /// Within this a request's head must be there, nanoseconds (LR-12).
    pub head_ns: u64,
    /// Requests after which the connection ends (LR-52).
    pub requests: u32,
}

impl Limits {
    /// The usual ones, with as many requests as the listener says, if it does.
    pub fn new(idle_ns: u64, head_ns: u64, requests: Option<NonZeroU32>) -> Limits {
        Limits { idle_ns, head_ns, requests: requests.map_or(REQUESTS, NonZeroU32::get) }
    }
}

/// What a connection's tasks share.
pub struct Shared {
    pub connection: quinn::Connection,
    /// Requests under way, and the bytes of their heads.
    live: Cell<usize>,
    heads: Cell<usize>,
    /// Runs while there is no request.
    idle: Timer,
    idle_ns: u64,
    /// Of the task that serves the connection.
    waker: RefCell<Option<Waker>>,
    /// Responses that have ended and may not be acknowledged.
    ended: RefCell<Vec<SendStream>>,
    /// Which critical streams the client has opened, one bit each.
    critical: Cell<u64>,
}

impl Shared {
    /// Ends the connection with an error of the client's.
    pub fn fail(&self, code: Code) {
        self.connection.close(code.into(), code.name().as_bytes());
    }

    /// Notes a critical stream of the client's; false if there is one of this type already.
    pub fn note_stream(&self, kind: u64) -> bool {
        let seen = self.critical.get();
        self.critical.set(seen | 1 << kind);
        seen & 1 << kind == 0
    }

    /// Forgets responses that the client has acknowledged; whether none is left.
    fn is_acknowledged(&self) -> bool {
        let mut ended = self.ended.borrow_mut();
        // A stream is closed once all of it, or its reset, is acknowledged.
        ended.retain(|stream| stream.priority().is_ok());
        ended.is_empty()
    }
}

/// Counts a request as under way while it lives.
pub struct Live {
    shared: Rc<Shared>,
    head: Cell<usize>,
}

impl Live {
    fn new(shared: Rc<Shared>) -> Rc<Live> {
        shared.live.set(shared.live.get() + 1);
        Rc::new(Live { shared, head: Cell::new(0) })
    }

    /// Ends the connection with an error of the client's.
    pub fn fail(&self, code: Code) {
        self.shared.fail(code);
    }

    /// Takes a response that has ended, since it may have to be sent again.
    pub fn sent(&self, stream: SendStream) {
        self.shared.is_acknowledged();
        self.shared.ended.borrow_mut().push(stream);
    }

    /// Counts the bytes of the head; false if the connection has too many.
    fn count_head(&self, bytes: usize) -> bool {
        self.head.set(bytes);
        self.shared.heads.set(self.shared.heads.get() + bytes);
        self.shared.heads.get() <= HEADS_BYTES
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.heads.set(shared.heads.get() - self.head.get());
        shared.live.set(shared.live.get() - 1);
        if shared.live.get() == 0 {
            shared.idle.set_after(shared.idle_ns);
            if let Some(waker) = &*shared.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }
}

enum Event {
    Stream(Result<(SendStream, RecvStream), ConnectionError>),
    Leave,
    Done,
}

/// Serves a client on `connection` until either side is done with it. Each request is handed to `on_request`, which is to
/// start a task for it. Once `is_closing` says so, looked at whenever the task is woken, the client is told to open no
/// more streams (GOAWAY), and the connection ends when those it has are done.
pub async fn serve(
    connection: quinn::Connection,
    limits: Limits,
    is_closing: impl Fn() -> bool,
    on_request: impl Fn(Incoming) + 'static,
) {
    let shared = Rc::new(Shared {
        connection,
        live: Cell::new(0),
        heads: Cell::new(0),
        idle: Timer::new(),
        idle_ns: limits.idle_ns,
        waker: RefCell::new(None),
        ended: RefCell::default(),
        critical: Cell::new(0),
    });
    shared.idle.set_after(limits.idle_ns);
    reactor::spawn(receive(shared.clone()));
    let Some(mut control) = open_control(&shared).await else {
        return shared.fail(Code::CLOSED_CRITICAL_STREAM);
    };
    let on_request = Rc::new(on_request);
    let (mut accepted, mut leaving) = (0u32, false);
    let mut accepting = pin!(shared.connection.accept_bi());
    loop {
        let event = poll_fn(|cx| {
            match &mut *shared.waker.borrow_mut() {
                Some(known) => known.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            }
            if !leaving && is_closing() {
                return Poll::Ready(Event::Leave);
            }
            if let Poll::Ready(stream) = accepting.as_mut().poll(cx) {
                return Poll::Ready(Event::Stream(stream));
            }
            if shared.live.get() > 0 {
                Poll::Pending
            } else if leaving {
                Poll::Ready(Event::Done)
            } else {
                shared.idle.poll_expired(cx).map(|()| Event::Leave)
            }
        })
        .await;
        match event {
            Event::Stream(Err(_)) => return,
            Event::Stream(Ok((send, receive))) => {
                accepting.set(shared.connection.accept_bi());
                if leaving {
                    reject(send, receive);
                    continue;
                }
                accepted += 1;
                let live = Live::new(shared.clone());
                reactor::spawn(request(send, receive, live, limits.head_ns, on_request.clone()));
                if accepted < limits.requests {
                    continue;
                }
            }
            Event::Leave => {}
            Event::Done => break,
        }
        leaving = true;
        say_goaway(&mut control, accepted);
    }
    acknowledged(&shared).await;
    shared.fail(Code::NO_ERROR);
}

/// Opens our control stream and sends the settings. `None`: the client lets us not, or not in time.
async fn open_control(shared: &Shared) -> Option<SendStream> {
    let mut settings = Vec::new();
    push_number(&mut settings, MAX_FIELD_SECTION_SIZE);
    push_number(&mut settings, SECTION_MAX as u64);
    let mut bytes = Vec::new();
    push_number(&mut bytes, CONTROL);
    push_frame(&mut bytes, SETTINGS, settings.len());
    bytes.extend_from_slice(&settings);
    let mut opening = pin!(async {
        let mut stream = shared.connection.open_uni().await.ok()?;
        stream.write_all(&bytes).await.ok()?;
        Some(stream)
    });
    poll_fn(|cx| match opening.as_mut().poll(cx) {
        Poll::Ready(stream) => Poll::Ready(stream),
        Poll::Pending => shared.idle.poll_expired(cx).map(|()| None),
    })
    .await
}

/// Tells the client that of its streams only the first `accepted` are served; others it may try elsewhere.
fn say_goaway(control: &mut SendStream, accepted: u32) {
    let mut id = Vec::new();
    push_number(&mut id, u64::from(accepted) * 4);
    let mut bytes = Vec::new();
    push_frame(&mut bytes, GOAWAY, id.len());
    bytes.extend_from_slice(&id);
    // A client that leaves no room for a few bytes on this stream learns of it by the connection's end.
    let _ = Pin::new(control).poll_write(&mut Context::from_waker(Waker::noop()), &bytes);
}

fn reject(mut send: SendStream, mut receive: RecvStream) {
    // They fail only if the client has given the stream up, or the connection is gone.
    let _ = send.reset(Code::REQUEST_REJECTED.into());
    let _ = receive.stop(Code::REQUEST_REJECTED.into());
}

/// Waits until the client has all responses: closing the connection would take away what is under way.
async fn acknowledged(shared: &Shared) {
    let (step, deadline) = (Timer::fine(), Timer::new());
    deadline.set_after(LEAVE_NS);
    let mut closed = pin!(shared.connection.closed());
    while !shared.is_acknowledged() {
        let rtt = shared.connection.rtt().max(Duration::from_millis(1));
        step.set_after(u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX));
        let over = poll_fn(|cx| {
            if closed.as_mut().poll(cx).is_ready() || deadline.poll_expired(cx).is_ready() {
                return Poll::Ready(true);
            }
            step.poll_expired(cx).map(|()| false)
        })
        .await;
        if over {
            return;
        }
    }
}

/// Reads a request's head and hands it over.
async fn request(
    send: SendStream,
    receive: RecvStream,
    live: Rc<Live>,
    head_ns: u64,
    on_request: Rc<impl Fn(Incoming)>,
) {
    let mut frames = Frames::new(receive);
    let mut sending = Sending::new(send, live.clone());
    let timer = Timer::new();
    timer.set_after(head_ns);
    let read = {
        let mut reading = pin!(read_head(&mut frames, &live));
        poll_fn(|cx| match reading.as_mut().poll(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => timer.poll_expired(cx).map(|()| None),
        })
        .await
    };
    drop(timer);
    match read {
        // What there is of it is answered and logged, and no more is read.
        None => {
            let stream = RequestStream::new(frames, sending, None, live);
            on_request(Incoming { head: Vec::new(), refusal: Some(Refusal::Late), stream: Rc::new(stream) });
        }
        Some(Ok((fields, ends))) => {
            let (head, refusal) = fields.head(ends);
            let length = fields.length();
            let stream = RequestStream::new(frames, sending, length, live);
            on_request(Incoming { head, refusal, stream: Rc::new(stream) });
        }
        Some(Err(Fault::Gone)) => {
            frames.stop(Code::REQUEST_CANCELLED);
            sending.reset(Code::REQUEST_CANCELLED);
        }
        Some(Err(Fault::Error(code))) if code.is_of_stream() => {
            frames.stop(code);
            sending.reset(code);
        }
        Some(Err(Fault::Error(code))) => live.fail(code),
    }
}

/// The request's fields, and whether no body follows.
async fn read_head(frames: &mut Frames, live: &Live) -> Result<(Fields, bool), Fault> {
    loop {
        match poll_fn(|cx| frames.poll_frame(cx)).await? {
            // RFC 9114 section 4.1: a stream without a whole request.
            None => return Err(Fault::Error(Code::REQUEST_INCOMPLETE)),
            Some((HEADERS, length)) => {
                let Some(length) = usize::try_from(length).ok().filter(|&length| length <= SECTION_MAX)
                else {
                    return Ok((Fields::too_long(), false));
                };
                if !live.count_head(length) {
                    return Err(Fault::Error(Code::REQUEST_REJECTED));
                }
                let mut section = Vec::new();
                poll_fn(|cx| frames.poll_whole(cx, &mut section)).await?;
                let fields = Fields::decode(&section).map_err(Fault::Error)?;
                drop(section);
                let ends = if fields.is_bodiless() {
                    poll_fn(|cx| frames.poll_ends(cx)).await?
                } else {
                    // Only if it is here already: the client may wait for our answer before it goes on.
                    match poll_fn(|cx| Poll::Ready(frames.poll_ends(cx))).await {
                        Poll::Ready(ends) => ends?,
                        Poll::Pending => false,
                    }
                };
                return Ok((fields, ends));
            }
            Some((kind, _)) if is_known(kind) => return Err(Fault::Error(Code::FRAME_UNEXPECTED)),
            Some(_) => poll_fn(|cx| frames.poll_skip(cx)).await?,
        }
    }
}
