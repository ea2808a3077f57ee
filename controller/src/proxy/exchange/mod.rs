//! One request at one server: both bodies stream at once, each direction no faster than its reader.
//!
//! - `upload`: the request to a server of HTTP/1.1 · `response`: its response to the client
//! - `call`: both with a server of gRPC

mod call;
mod response;
mod upload;

use super::client::{Client, Side};
use super::client_stream::ClientStream;
use super::decision::{Decision, ResponseChanges};
use super::failure::Failure;
use super::group::{Group, Server};
use super::http1::head::{RequestHead, ResponseHead};
use super::http1::rewrite::{Edits, Shape, ToClient, write_response};
use super::http1::{Framing, Version};
use super::http2::client::Call;
use super::memory::Pressure;
use super::mirror::Copied;
use super::reactor;
use super::target::Target;
use super::upstream::{CONNECT_NS, ServerStream, Sink};
use super::worker::Worker;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::Poll;

/// Bytes read from a server, or of a request body from a client, at a time.
pub const BODY_BYTES: usize = 64 * 1024;
/// Bytes of a response read at a time where the client has many streams, as many as a frame of HTTP/2 holds by default.
pub const STREAM_BYTES: usize = 16 * 1024;
/// Reads in a row without waiting, after which other connections have their turn: where both sides keep up, a transfer
/// never waits by itself.
const READS_AT_ONCE: u32 = 16;

/// Most interim responses (1xx) to a request, after which it fails: a server that never stops would keep the worker from
/// everything else, since those that the client does not expect take no time at the client.
pub const INTERIMS_MAX: u32 = 1000;

/// The side a transfer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    Client,
    Server,
}

/// How far an exchange came. Outlives the exchange, however it ended.
#[derive(Debug)]
pub struct Progress {
    /// Bytes were given to the server.
    pub sent: Cell<bool>,
    /// The whole request was.
    pub uploaded: Cell<bool>,
    /// The deadline is the one for [`Exchange::may_repeat`], not yet the request's.
    unproven: Cell<bool>,
    /// Bytes of the response proper were given to the client.
    pub started: Cell<bool>,
    /// Closing the client's connection properly would make a cut response look whole.
    pub ends_by_close: Cell<bool>,
    /// Both sides speak another protocol from here on (LR-130).
    pub tunnels: Cell<bool>,
    /// The server's status, 0 before it came, and when it came.
    pub status: Cell<u16>,
    /// The status that a response rule answered in its stead, 0 if none did.
    pub replaced: Cell<u16>,
    pub first_byte: Cell<u64>,
    /// Request body bytes that came with the head, and those taken from the client after it.
    pub body_first: Cell<u64>,
    pub body_received: Cell<u64>,
    /// The body as it was sent, where a copy of the request is wanted.
    pub copied: RefCell<Option<Copied>>,
    /// Bytes given to the client: all, and of the body.
    pub bytes_sent: Cell<u64>,
    pub body_sent: Cell<u64>,
    pub(super) upload_waits: Cell<Waits>,
    pub(super) response_waits: Cell<Waits>,
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            sent: Cell::new(false),
            uploaded: Cell::new(false),
            unproven: Cell::new(false),
            started: Cell::new(false),
            ends_by_close: Cell::new(false),
            tunnels: Cell::new(false),
            status: Cell::new(0),
            replaced: Cell::new(0),
            first_byte: Cell::new(0),
            body_first: Cell::new(0),
            body_received: Cell::new(0),
            copied: RefCell::new(None),
            bytes_sent: Cell::new(0),
            body_sent: Cell::new(0),
            upload_waits: Cell::new(Waits::Client),
            response_waits: Cell::new(Waits::Server),
        }
    }
}

/// A response that reached the client whole.
#[derive(Clone, Copy, Debug)]
pub struct Complete {
    /// The server's connection can take another request.
    pub reuse_server: bool,
    /// So can the client's.
    pub keep_client: bool,
}

/// Storage an exchange works in; reused from request to request.
pub struct Buffers<'a> {
    /// The request head for the server.
    pub out: &'a mut Vec<u8>,
    /// Bytes of the next request that were read with the end of this one's body.
    pub upload: &'a mut Vec<u8>,
    pub response: &'a mut ResponseHead,
}

/// How a server is spoken to.
#[derive(Clone, Copy)]
pub enum Way<'a> {
    /// HTTP/1.1, on a connection of the request's own.
    Connection(&'a ServerStream),
    /// HTTP/2, on a stream of one that others share.
    Call(&'a Call),
}

/// One attempt at a request.
pub struct Exchange<'a> {
    pub client: &'a Client,
    pub target: &'a Target,
    pub group: &'a Group,
    pub server: &'a Server,
    /// What was decided about the request, and is to be done to its response.
    pub decision: &'a Decision<'a>,
    /// First access, Unix time, of the sticky session that goes on at `server`.
    pub first_secs: Option<u64>,
    pub way: Way<'a>,
    pub request: &'a RequestHead,
    /// Body bytes that came with the request's head, and perhaps of the next request.
    pub body: &'a [u8],
    /// The method is HEAD.
    pub to_head: bool,
    /// The client's wish to speak another protocol was passed on.
    pub upgrade: bool,
    /// The connection served requests before and this one may be sent again elsewhere. So the way to the server may be
    /// gone without a word, and is given as long as a new connection would be: if the server's host has not even
    /// acknowledged the request by then, the connection died. A server that is merely slow has.
    pub may_repeat: bool,
    pub progress: &'a Progress,
}

impl Exchange<'_> {
    /// Sends the request in `buffers.out` and its body, and passes the response on. On return `buffers.upload` holds
    /// bytes of the next request, if any were read beyond `body`.
    pub async fn run(&self, buffers: Buffers<'_>) -> Result<Complete, Failure> {
        self.set_deadline();
        if let Way::Call(call) = self.way {
            return Box::pin(self.run_call(call, buffers)).await;
        }
        let Buffers { out, upload, response } = buffers;
        if self.may_repeat && CONNECT_NS < self.target.request_ns {
            self.progress.unproven.set(true);
            self.client.timer.set_after(CONNECT_NS);
        }
        let mut head_out = std::mem::take(out);
        let mut reply = Vec::new();
        let result = if self.request.framing == Framing::None {
            let respond = async {
                self.send_head(&head_out).await;
                // The request's head is sent and a retry writes it anew, so its storage serves the response's head.
                head_out.clear();
                self.respond(&mut head_out, response).await
            };
            let mut respond = pin!(respond);
            self.guarded(|cx| respond.as_mut().poll(cx)).await
        } else {
            // Boxed: a connection keeps room for all that a request may become, and most have no body.
            let mut sending = Box::pin(self.upload(&head_out, upload));
            let mut respond = pin!(self.respond(&mut reply, response));
            let mut sent = false;
            self.guarded(|cx| {
                if !sent && let Poll::Ready(result) = sending.as_mut().poll(cx) {
                    sent = true;
                    if let Err(failure) = result {
                        return Poll::Ready(Err(failure));
                    }
                }
                respond.as_mut().poll(cx)
            })
            .await
        };
        *out = head_out;
        result
    }

    pub(super) fn set_deadline(&self) {
        self.progress.unproven.set(false);
        self.client.timer.set_after(self.target.request_ns);
    }

    /// Polls `transfer` until it ends, the deadline passes, or the client leaves.
    async fn guarded<F>(&self, mut transfer: F) -> Result<Complete, Failure>
    where
        F: FnMut(&mut std::task::Context<'_>) -> Poll<Result<Complete, Failure>>,
    {
        poll_fn(|cx| {
            if let Poll::Ready(result) = transfer(cx) {
                return Poll::Ready(result);
            }
            if self.client.attempt.is_cut() {
                return Poll::Ready(Err(Failure::Drained));
            }
            let progress = self.progress;
            // While the body comes in, its end is read in order; after it, a client that closes has given up.
            if progress.uploaded.get() && !progress.tunnels.get() && self.client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            while self.client.timer.poll_expired(cx).is_ready() {
                if progress.unproven.replace(false) {
                    let unheard = progress.first_byte.get() == 0;
                    if unheard
                        && matches!(self.way, Way::Connection(stream) if stream.tcp().has_unacknowledged())
                    {
                        return Poll::Ready(Err(Failure::Died));
                    }
                    self.client.timer.set_after(self.target.request_ns - CONNECT_NS);
                    continue;
                }
                let response_runs = progress.uploaded.get() || progress.started.get();
                let side =
                    if response_runs { progress.response_waits.get() } else { progress.upload_waits.get() };
                return Poll::Ready(Err(match side {
                    Waits::Client => Failure::ClientSlow,
                    Waits::Server => Failure::ServerSlow,
                }));
            }
            Poll::Pending
        })
        .await
    }

    pub(super) async fn write_to_server(&self, buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        let Way::Connection(stream) = self.way else { return Err(io::ErrorKind::Unsupported.into()) };
        write_all(stream, buffers, |written| {
            self.progress.sent.set(true);
            self.server.counters.bytes_sent.add(written);
        })
        .await
    }

    pub(super) async fn write_to_client(&self, client: &ClientStream, bytes: &[u8]) -> Result<(), Failure> {
        self.while_client_takes(write_all(client, &mut [IoSlice::new(bytes)], self.count_sent())).await
    }

    pub(super) fn count_sent(&self) -> impl FnMut(u64) + use<'_> {
        let sent = &self.progress.bytes_sent;
        |written| sent.set(sent.get() + written)
    }

    /// A deadline that passes meanwhile is the client's fault.
    pub(super) async fn while_client_takes(
        &self,
        writing: impl Future<Output = io::Result<()>>,
    ) -> Result<(), Failure> {
        let progress = self.progress;
        progress.response_waits.set(Waits::Client);
        writing.await.map_err(|_| Failure::ClientGone)?;
        progress.response_waits.set(Waits::Server);
        Ok(())
    }

    /// Compressing takes a quarter of a megabyte for each response.
    pub(super) fn may_compress(&self) -> bool {
        self.client.worker.pressure() == Pressure::None
    }

    pub(super) fn is_connection(&self) -> bool {
        matches!(self.client.side, Side::Connection(_))
    }

    /// How a body reaches the client.
    pub(super) fn shape(&self, framing: Framing, changes: &ResponseChanges<'_>) -> Shape {
        let is_http10 = self.request.version == Version::Http10;
        match &self.client.side {
            Side::Stream(_) => Shape::Data,
            Side::Connection(_) if changes.gzip => Shape::Chunked,
            Side::Connection(_) if framing == Framing::Chunked && is_http10 => Shape::Data,
            Side::Connection(_) => Shape::Verbatim,
        }
    }

    /// Answers what a response rule says instead. The server's response is read no further.
    pub(super) async fn replace(&self, changes: &ResponseChanges<'_>) -> Result<Complete, Failure> {
        let progress = self.progress;
        let keep = self.request.keep_alive && progress.uploaded.get() && !self.client.is_closing();
        let mut head = Vec::new();
        let fixed = changes.answer.expect("asked for only if there is one");
        let body = super::answer::write_fixed(&mut head, fixed, &changes.lines, keep, self.to_head);
        progress.started.set(true);
        progress.replaced.set(fixed.status);
        let sending = async {
            let (sent, whole) = self.client.send_whole(&head, body, self.target.request_ns).await;
            progress.bytes_sent.set(sent);
            progress.body_sent.set(body.len() as u64);
            if whole { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        };
        self.while_client_takes(sending).await?;
        Ok(Complete { reuse_server: false, keep_client: keep })
    }

    /// The response's head as the client sees it, with the session's cookie.
    pub(super) fn write_head(
        &self,
        out: &mut Vec<u8>,
        response: &ResponseHead,
        head: &[u8],
        to: &ToClient<'_>,
        changes: &ResponseChanges<'_>,
    ) {
        let to = ToClient { hidden: &changes.hidden, lines: &changes.lines, ..*to };
        match &self.group.persistence {
            None => write_response(out, response, head, &to),
            Some(sticky) => {
                let marks = sticky.marks(
                    response,
                    head,
                    self.server,
                    self.first_secs,
                    self.client.origin.is_secure(),
                );
                let edits = Edits { parts: &marks.parts, text: &marks.text };
                let lines = if changes.lines.is_empty() {
                    std::borrow::Cow::Borrowed(&marks.lines)
                } else {
                    std::borrow::Cow::Owned([&marks.lines[..], &changes.lines].concat())
                };
                write_response(out, response, head, &ToClient { edits, lines: &lines, ..to });
            }
        }
    }
}

/// A buffer of the worker, taken when it is needed. Many requests wait, few have bytes in hand: so those few use the
/// same buffers over and over, which therefore stay in the cache.
pub struct Loan<'w> {
    worker: &'w Worker,
    buffer: Option<Vec<u8>>,
    bytes: usize,
}

impl<'w> Loan<'w> {
    /// Of [`BODY_BYTES`].
    pub fn new(worker: &'w Worker) -> Loan<'w> {
        Loan { worker, buffer: None, bytes: BODY_BYTES }
    }

    /// For a response to `side`: smaller for one stream of many, all of which may wait for their client at once.
    pub fn for_response(worker: &'w Worker, side: &Side) -> Loan<'w> {
        let bytes = match side {
            Side::Connection(_) => BODY_BYTES,
            Side::Stream(_) => STREAM_BYTES,
        };
        Loan { worker, buffer: None, bytes }
    }

    pub fn is_taken(&self) -> bool {
        self.buffer.is_some()
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        self.buffer.get_or_insert_with(|| self.worker.take_buffer(self.bytes))
    }

    /// Makes room for what is longer, until the buffer is given back.
    pub fn grow(&mut self) {
        if let Some(buffer) = &mut self.buffer {
            buffer.resize(BODY_BYTES, 0);
        }
    }

    pub fn give_back(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.worker.put_buffer(buffer);
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Counts a read; lets others have their turn after [`READS_AT_ONCE`].
pub async fn take_turns(reads: &mut u32) {
    *reads += 1;
    if *reads == READS_AT_ONCE {
        *reads = 0;
        reactor::next_turn().await;
    }
}

/// Writes everything, telling `on_progress` of every step's bytes, so that they are known also if a later one fails.
pub async fn write_all(
    stream: &impl Sink,
    mut buffers: &mut [IoSlice<'_>],
    mut on_progress: impl FnMut(u64),
) -> io::Result<()> {
    // Leaves empty buffers at the front out.
    IoSlice::advance_slices(&mut buffers, 0);
    while !buffers.is_empty() {
        let written = poll_fn(|cx| stream.poll_write_vectored(cx, buffers)).await?;
        on_progress(written as u64);
        IoSlice::advance_slices(&mut buffers, written);
    }
    Ok(())
}
