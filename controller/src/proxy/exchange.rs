//! One request on one server connection: both bodies stream at once, each direction no faster than its reader.

use super::connection::Connection;
use super::failure::Failure;
use super::http1::body::BodyDecoder;
use super::http1::head::{RequestHead, ResponseHead};
use super::http1::rewrite::{Edits, ToClient, write_response};
use super::http1::{Framing, HEAD_LIMIT, Refusal, Version};
use super::reactor;
use super::target::{Server, Target};
use super::upstream::{CONNECT_NS, ServerStream, Sink};
use super::worker::Worker;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::{Poll, ready};

/// Bytes read from a server, or of a request body from a client, at a time.
pub const BODY_BYTES: usize = 64 * 1024;
/// Room before a response, so that the head for the client, at most this much longer, can be put right before the body
/// bytes that came with the server's head, and both leave in one write. A sticky session's cookie takes 115 of them.
const HEADROOM: usize = 256;
/// Reads in a row without waiting, after which other connections have their turn: where both sides keep up, a transfer
/// never waits by itself.
const READS_AT_ONCE: u32 = 16;

/// The side a transfer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
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
    /// The server's status, 0 before it came, and when it came.
    pub status: Cell<u16>,
    pub first_byte: Cell<u64>,
    /// Request body bytes that came with the head, and those taken from the client after it.
    pub body_first: Cell<u64>,
    pub body_received: Cell<u64>,
    /// Bytes given to the client: all, and of the body.
    pub bytes_sent: Cell<u64>,
    pub body_sent: Cell<u64>,
    upload_waits: Cell<Side>,
    response_waits: Cell<Side>,
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            sent: Cell::new(false),
            uploaded: Cell::new(false),
            unproven: Cell::new(false),
            started: Cell::new(false),
            ends_by_close: Cell::new(false),
            status: Cell::new(0),
            first_byte: Cell::new(0),
            body_first: Cell::new(0),
            body_received: Cell::new(0),
            bytes_sent: Cell::new(0),
            body_sent: Cell::new(0),
            upload_waits: Cell::new(Side::Client),
            response_waits: Cell::new(Side::Server),
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

/// One attempt at a request.
pub struct Exchange<'a> {
    pub connection: &'a Connection,
    pub target: &'a Target,
    pub server: &'a Server,
    /// First access, Unix time, of the sticky session that goes on at `server`.
    pub first_secs: Option<u64>,
    pub stream: &'a ServerStream,
    pub request: &'a RequestHead,
    /// Body bytes that came with the request's head, and perhaps of the next request.
    pub body: &'a [u8],
    /// The method is HEAD.
    pub to_head: bool,
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
        let Buffers { out, upload, response } = buffers;
        self.set_deadline();
        if self.may_repeat && CONNECT_NS < self.target.request_ns {
            self.progress.unproven.set(true);
            self.connection.timer.set_after(CONNECT_NS);
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
            let mut sending = pin!(self.upload(&head_out, upload));
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

    fn set_deadline(&self) {
        self.progress.unproven.set(false);
        self.connection.timer.set_after(self.target.request_ns);
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
            if self.connection.attempt.is_cut() {
                return Poll::Ready(Err(Failure::Drained));
            }
            let progress = self.progress;
            // While the body comes in, its end is read in order; after it, a client that closes has given up.
            if progress.uploaded.get() && self.connection.client.poll_hung_up(cx).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            while self.connection.timer.poll_expired(cx).is_ready() {
                if progress.unproven.replace(false) {
                    if progress.first_byte.get() == 0 && self.stream.tcp().has_unacknowledged() {
                        return Poll::Ready(Err(Failure::Died));
                    }
                    self.connection.timer.set_after(self.target.request_ns - CONNECT_NS);
                    continue;
                }
                let response_runs = progress.uploaded.get() || progress.started.get();
                let side =
                    if response_runs { progress.response_waits.get() } else { progress.upload_waits.get() };
                return Poll::Ready(Err(match side {
                    Side::Client => Failure::ClientSlow,
                    Side::Server => Failure::ServerSlow,
                }));
            }
            Poll::Pending
        })
        .await
    }

    /// Sends a request without body. A failed write is left for the reader to find: the server may have answered.
    async fn send_head(&self, head: &[u8]) {
        let _ = self.write_to_server(&mut [IoSlice::new(head)]).await;
        self.progress.uploaded.set(true);
    }

    /// Sends `head` and the body, leaving what follows the body in `surplus`.
    async fn upload(&self, head: &[u8], surplus: &mut Vec<u8>) -> Result<(), Failure> {
        let progress = self.progress;
        let mut decoder = BodyDecoder::new(self.request.framing);
        let first = decoder.consume(self.body).map_err(Failure::RequestBody)?;
        progress.body_first.set(first as u64);
        progress.upload_waits.set(Side::Server);
        surplus.clear();
        if self.write_to_server(&mut [IoSlice::new(head), IoSlice::new(&self.body[..first])]).await.is_err() {
            return Ok(());
        }
        let mut loan = Loan::new(&self.connection.worker);
        let mut reads = 0;
        while !decoder.is_done() {
            take_turns(&mut reads).await;
            progress.upload_waits.set(Side::Client);
            let client = &self.connection.client;
            poll_fn(|cx| client.poll_readable(cx)).await;
            let bytes = loan.bytes();
            let read = poll_fn(|cx| client.poll_read(cx, bytes)).await.map_err(|_| Failure::ClientGone)?;
            if read == 0 {
                return Err(Failure::ClientGone);
            }
            let used = decoder.consume(&bytes[..read]).map_err(Failure::RequestBody)?;
            progress.body_received.set(progress.body_received.get() + used as u64);
            self.set_deadline();
            progress.upload_waits.set(Side::Server);
            if self.write_to_server(&mut [IoSlice::new(&bytes[..used])]).await.is_err() {
                return Ok(());
            }
            self.set_deadline();
            surplus.extend_from_slice(&bytes[used..read]);
            loan.give_back();
        }
        progress.uploaded.set(true);
        // From here on the deadline is the response's.
        self.set_deadline();
        Ok(())
    }

    async fn write_to_server(&self, buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        write_all(self.stream, buffers, |written| {
            self.progress.sent.set(true);
            self.server.counters.bytes_sent.add(written);
        })
        .await
    }

    async fn write_to_client(&self, bytes: &[u8]) -> Result<(), Failure> {
        let progress = self.progress;
        progress.response_waits.set(Side::Client);
        let count = |written| progress.bytes_sent.set(progress.bytes_sent.get() + written);
        let written = write_all(&self.connection.client, &mut [IoSlice::new(bytes)], count).await;
        written.map_err(|_| Failure::ClientGone)?;
        progress.response_waits.set(Side::Server);
        Ok(())
    }

    /// Reads the response and passes it on.
    async fn respond(
        &self,
        head_out: &mut Vec<u8>,
        response: &mut ResponseHead,
    ) -> Result<Complete, Failure> {
        let progress = self.progress;
        let mut loan = Loan::new(&self.connection.worker);
        let mut filled = HEADROOM;
        response.reset();
        let length = loop {
            let read = self.read_from_server(&mut loan, filled).await;
            let fresh = filled == HEADROOM;
            match read {
                Ok(read @ 1..) => filled += read,
                _ if fresh && progress.first_byte.get() == 0 => return Err(Failure::Died),
                _ => return Err(Failure::Response(Refusal::StartLine)),
            }
            let buffer = loan.bytes();
            if progress.first_byte.get() == 0 {
                progress.first_byte.set(self.connection.timer.now());
            }
            let mut complete = response.parse(&buffer[HEADROOM..filled]).map_err(Failure::Response)?;
            while let Some(length) = complete
                && response.is_interim()
            {
                self.pass_interim(response, &buffer[HEADROOM..filled], head_out).await?;
                buffer.copy_within(HEADROOM + length..filled, HEADROOM);
                filled -= length;
                response.reset();
                complete = response.parse(&buffer[HEADROOM..filled]).map_err(Failure::Response)?;
            }
            if let Some(length) = complete {
                break length;
            }
            if filled - HEADROOM > 2 * HEAD_LIMIT {
                return Err(Failure::Response(Refusal::TooLarge));
            }
        };
        self.pass_response(loan, filled, length, head_out, response).await
    }

    /// Passes 1xx on to clients that can expect it (RFC 9110 section 15.2).
    async fn pass_interim(
        &self,
        response: &ResponseHead,
        head: &[u8],
        head_out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if response.status == 101 {
            // Upgrade was not forwarded, so nobody asked for it.
            return Err(Failure::Response(Refusal::StartLine));
        }
        let version = self.request.version;
        if version == Version::Http10 || (response.status == 100 && !self.request.expects_continue) {
            return Ok(());
        }
        head_out.clear();
        write_response(
            head_out,
            response,
            head,
            &ToClient {
                version,
                keep_alive: true,
                framing: Framing::None,
                edits: Edits::default(),
                lines: b"",
            },
        );
        self.write_to_client(head_out).await?;
        self.set_deadline();
        Ok(())
    }

    /// Passes the response on whose head is `length` bytes of `loan`, which is filled up to `filled`.
    async fn pass_response(
        &self,
        mut loan: Loan<'_>,
        filled: usize,
        length: usize,
        head_out: &mut Vec<u8>,
        response: &ResponseHead,
    ) -> Result<Complete, Failure> {
        let progress = self.progress;
        let buffer = loan.bytes();
        let framing = response.body_framing(self.to_head);
        let mut to = ToClient {
            version: self.request.version,
            keep_alive: self.request.keep_alive,
            framing,
            edits: Edits::default(),
            lines: b"",
        };
        // A client that is still sending cannot use the connection again: what it sends is no longer read.
        let ends_by_close = framing == Framing::UntilClose || to.unchunks();
        to.keep_alive &= !ends_by_close && progress.uploaded.get() && !self.connection.is_closing();
        progress.status.set(response.status);
        progress.ends_by_close.set(ends_by_close);
        head_out.clear();
        let head_end = HEADROOM + length;
        self.write_head(head_out, response, &buffer[HEADROOM..head_end], &to);
        let mut decoder = BodyDecoder::new(framing);
        let unchunks = to.unchunks();
        let mut surplus = false;
        let mut body;
        let used = if unchunks {
            0
        } else {
            decoder.consume(&buffer[head_end..filled]).map_err(Failure::Response)?
        };
        progress.started.set(true);
        if unchunks {
            self.write_to_client(head_out).await?;
            body = head_end..filled;
        } else {
            surplus = used < filled - head_end;
            progress.body_sent.set(used as u64);
            match head_end.checked_sub(head_out.len()) {
                Some(start) => {
                    buffer[start..head_end].copy_from_slice(head_out);
                    self.write_to_client(&buffer[start..head_end + used]).await?;
                }
                None => {
                    self.write_to_client(head_out).await?;
                    self.write_to_client(&buffer[head_end..head_end + used]).await?;
                }
            }
            body = 0..0;
        }
        let mut reads = 0;
        loop {
            while !body.is_empty() && !decoder.is_done() {
                let buffer = loan.bytes();
                let (used, data) = if unchunks {
                    let step = decoder.step(&buffer[body.clone()]).map_err(Failure::Response)?;
                    (step.consumed, step.data)
                } else {
                    let used = decoder.consume(&buffer[body.clone()]).map_err(Failure::Response)?;
                    (used, 0..used)
                };
                let data = body.start + data.start..body.start + data.end;
                progress.body_sent.set(progress.body_sent.get() + data.len() as u64);
                if !data.is_empty() {
                    self.write_to_client(&buffer[data]).await?;
                }
                body.start += used;
            }
            if decoder.is_done() {
                surplus |= !body.is_empty();
                break;
            }
            self.set_deadline();
            loan.give_back();
            take_turns(&mut reads).await;
            match self.read_from_server(&mut loan, 0).await {
                Ok(read @ 1..) => body = 0..read,
                Ok(0) if decoder.may_close() => break,
                _ => return Err(Failure::Cut),
            }
        }
        let reuse_server = !surplus
            && framing != Framing::UntilClose
            && response.keep_alive
            && self.target.keep_alive
            && progress.uploaded.get();
        Ok(Complete { reuse_server, keep_client: to.keep_alive })
    }

    /// The response's head as the client sees it, with the session's cookie.
    fn write_head(&self, out: &mut Vec<u8>, response: &ResponseHead, head: &[u8], to: &ToClient<'_>) {
        match &self.target.persistence {
            None => write_response(out, response, head, to),
            Some(sticky) => {
                let marks = sticky.marks(response, head, self.server, self.first_secs);
                let edits = Edits { parts: &marks.parts, text: &marks.text };
                write_response(out, response, head, &ToClient { edits, lines: &marks.lines, ..*to });
            }
        }
    }

    /// Reads into `loan` from `at` on, and holds no buffer while there is nothing to read and nothing to keep.
    async fn read_from_server(&self, loan: &mut Loan<'_>, at: usize) -> io::Result<usize> {
        let keeps = loan.is_taken();
        let read = poll_fn(|cx| {
            if !keeps {
                ready!(self.stream.poll_readable(cx));
            }
            let read = self.stream.poll_read(cx, &mut loan.bytes()[at..]);
            if !keeps && read.is_pending() {
                loan.give_back();
            }
            read
        })
        .await?;
        self.server.counters.bytes_received.add(read as u64);
        Ok(read)
    }
}

/// A buffer of the worker, taken when it is needed. Many requests wait, few have bytes in hand: so those few use the
/// same buffers over and over, which therefore stay in the cache.
struct Loan<'w> {
    worker: &'w Worker,
    buffer: Option<Vec<u8>>,
}

impl<'w> Loan<'w> {
    fn new(worker: &'w Worker) -> Loan<'w> {
        Loan { worker, buffer: None }
    }

    fn is_taken(&self) -> bool {
        self.buffer.is_some()
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.buffer.get_or_insert_with(|| self.worker.take_buffer())
    }

    fn give_back(&mut self) {
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
async fn take_turns(reads: &mut u32) {
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
