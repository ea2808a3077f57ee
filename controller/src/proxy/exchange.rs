//! One request on one server connection: both bodies stream at once, each direction no faster than its reader.

use super::body_sink::BodySink;
use super::client::{Client, Side};
use super::client_stream::ClientStream;
use super::decision::{Decision, ResponseChanges};
use super::failure::Failure;
use super::group::{Group, Server};
use super::http1::body::BodyDecoder;
use super::http1::head::{RequestHead, ResponseHead};
use super::http1::rewrite::{Edits, Shape, ToClient, write_response};
use super::http1::{Framing, HEAD_LIMIT, Refusal, Version};
use super::reactor;
use super::stream::{Stream, http1_trailers, trailers_of};
use super::target::Target;
use super::tunnel;
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
enum Waits {
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
    /// Bytes given to the client: all, and of the body.
    pub bytes_sent: Cell<u64>,
    pub body_sent: Cell<u64>,
    upload_waits: Cell<Waits>,
    response_waits: Cell<Waits>,
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
    pub stream: &'a ServerStream,
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
        let Buffers { out, upload, response } = buffers;
        self.set_deadline();
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
                    if progress.first_byte.get() == 0 && self.stream.tcp().has_unacknowledged() {
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

    /// Sends a request without body. A failed write is left for the reader to find: the server may have answered.
    async fn send_head(&self, head: &[u8]) {
        let _ = self.write_to_server(&mut [IoSlice::new(head)]).await;
        self.progress.uploaded.set(true);
    }

    /// Sends `head` and the body, leaving what follows the body in `surplus`.
    async fn upload(&self, head: &[u8], surplus: &mut Vec<u8>) -> Result<(), Failure> {
        match &self.client.side {
            Side::Connection(client) => self.upload_from_connection(client, head, surplus).await,
            Side::Stream(stream) => self.upload_from_stream(&**stream, head).await,
        }
    }

    /// A body that passes as it is framed.
    async fn upload_from_connection(
        &self,
        client: &ClientStream,
        head: &[u8],
        surplus: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let progress = self.progress;
        let mut decoder = BodyDecoder::new(self.request.framing);
        let first = decoder.consume(self.body).map_err(Failure::RequestBody)?;
        progress.body_first.set(first as u64);
        progress.upload_waits.set(Waits::Server);
        surplus.clear();
        if self.write_to_server(&mut [IoSlice::new(head), IoSlice::new(&self.body[..first])]).await.is_err() {
            return Ok(());
        }
        let mut loan = Loan::new(&self.client.worker);
        let mut reads = 0;
        while !decoder.is_done() {
            take_turns(&mut reads).await;
            progress.upload_waits.set(Waits::Client);
            poll_fn(|cx| client.poll_readable(cx)).await;
            let bytes = loan.bytes();
            let read = poll_fn(|cx| client.poll_read(cx, bytes)).await.map_err(|_| Failure::ClientGone)?;
            if read == 0 {
                return Err(Failure::ClientGone);
            }
            let used = decoder.consume(&bytes[..read]).map_err(Failure::RequestBody)?;
            progress.body_received.set(progress.body_received.get() + used as u64);
            self.set_deadline();
            progress.upload_waits.set(Waits::Server);
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

    /// A body that is framed here: in chunks, unless its length is known.
    async fn upload_from_stream(&self, stream: &dyn Stream, head: &[u8]) -> Result<(), Failure> {
        let progress = self.progress;
        let mut left = match self.request.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        let mut head = head;
        let mut reads = 0;
        loop {
            take_turns(&mut reads).await;
            progress.upload_waits.set(Waits::Client);
            let mut waits = false;
            let data = poll_fn(|cx| {
                let polled = stream.poll_body(cx);
                // The head goes with the first of the body, but does not wait for it.
                if polled.is_pending() && !head.is_empty() {
                    waits = true;
                    return Poll::Ready(Ok(None));
                }
                polled
            })
            .await
            .map_err(|_| Failure::ClientGone)?;
            progress.upload_waits.set(Waits::Server);
            if waits {
                if self.write_to_server(&mut [IoSlice::new(head)]).await.is_err() {
                    return Ok(());
                }
                head = b"";
                continue;
            }
            let Some(data) = data else { break };
            let length = data.len() as u64;
            progress.body_received.set(progress.body_received.get() + length);
            self.set_deadline();
            let size = match &mut left {
                Some(left) => {
                    *left = left.checked_sub(length).ok_or(Failure::RequestBody(Refusal::Length))?;
                    String::new()
                }
                None => format!("{length:x}\r\n"),
            };
            let end: &[u8] = if left.is_some() { b"" } else { b"\r\n" };
            let mut parts =
                [IoSlice::new(head), IoSlice::new(size.as_bytes()), IoSlice::new(&data), IoSlice::new(end)];
            if self.write_to_server(&mut parts).await.is_err() {
                return Ok(());
            }
            head = b"";
            self.set_deadline();
        }
        let mut end = head.to_vec();
        match left {
            Some(0) => {}
            Some(_) => return Err(Failure::RequestBody(Refusal::Length)),
            None => {
                let trailers =
                    poll_fn(|cx| stream.poll_trailers(cx)).await.map_err(|_| Failure::ClientGone)?;
                end.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    http1_trailers(&mut end, &trailers).map_err(Failure::RequestBody)?;
                }
                end.extend_from_slice(b"\r\n");
            }
        }
        if self.write_to_server(&mut [IoSlice::new(&end)]).await.is_ok() {
            progress.uploaded.set(true);
            self.set_deadline();
        }
        Ok(())
    }

    async fn write_to_server(&self, buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        write_all(self.stream, buffers, |written| {
            self.progress.sent.set(true);
            self.server.counters.bytes_sent.add(written);
        })
        .await
    }

    async fn write_to_client(&self, client: &ClientStream, bytes: &[u8]) -> Result<(), Failure> {
        self.while_client_takes(write_all(client, &mut [IoSlice::new(bytes)], self.count_sent())).await
    }

    fn count_sent(&self) -> impl FnMut(u64) + use<'_> {
        let sent = &self.progress.bytes_sent;
        |written| sent.set(sent.get() + written)
    }

    /// A deadline that passes meanwhile is the client's fault.
    async fn while_client_takes(&self, writing: impl Future<Output = io::Result<()>>) -> Result<(), Failure> {
        let progress = self.progress;
        progress.response_waits.set(Waits::Client);
        writing.await.map_err(|_| Failure::ClientGone)?;
        progress.response_waits.set(Waits::Server);
        Ok(())
    }

    /// Reads the response and passes it on.
    async fn respond(
        &self,
        head_out: &mut Vec<u8>,
        response: &mut ResponseHead,
    ) -> Result<Complete, Failure> {
        let progress = self.progress;
        let mut loan = Loan::new(&self.client.worker);
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
                progress.first_byte.set(self.client.timer.now());
            }
            let mut complete = response.parse(&buffer[HEADROOM..filled]).map_err(Failure::Response)?;
            while let Some(length) = complete
                && response.is_interim()
            {
                if response.status == 101 {
                    if !self.upgrade {
                        // Upgrade was not forwarded, so nobody asked for it.
                        return Err(Failure::Response(Refusal::StartLine));
                    }
                    let received = HEADROOM..HEADROOM + length;
                    return self.switch_protocols(loan, received, filled, head_out, response).await;
                }
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
        let version = self.request.version;
        if version == Version::Http10 || (response.status == 100 && !self.request.expects_continue) {
            return Ok(());
        }
        head_out.clear();
        write_response(head_out, response, head, &ToClient::new(version, true));
        self.while_client_takes(self.client.send_head(head_out, false, self.count_sent())).await?;
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
        response: &mut ResponseHead,
    ) -> Result<Complete, Failure> {
        let progress = self.progress;
        let buffer = loan.bytes();
        let framing = response.body_framing(self.to_head);
        let head_end = HEADROOM + length;
        let changes = self.decision.on_response(response, &buffer[HEADROOM..head_end], framing);
        progress.status.set(response.status);
        if changes.answer.is_some() {
            return self.replace(&changes).await;
        }
        let shape = self.shape(framing, &changes);
        // A client that is still sending cannot use the connection again: what it sends is no longer read.
        let version = self.request.version;
        let ends_by_close = self.is_connection()
            && match shape {
                Shape::Verbatim => framing == Framing::UntilClose,
                Shape::Data => framing == Framing::UntilClose || framing == Framing::Chunked,
                Shape::Chunked => false,
            };
        let mut to = ToClient::new(version, self.request.keep_alive);
        to.keep_alive &= !ends_by_close && progress.uploaded.get() && !self.client.is_closing();
        to.shape = shape;
        to.is_changed = changes.gzip;
        progress.ends_by_close.set(ends_by_close);
        head_out.clear();
        self.write_head(head_out, response, &buffer[HEADROOM..head_end], &to, &changes);
        let (decoder, surplus) = match &self.client.side {
            Side::Connection(client) if shape == Shape::Verbatim => {
                self.pass_verbatim(client, loan, head_end, filled, framing, head_out).await?
            }
            // Boxed: few responses need it, and every request's future would have room for it.
            _ => {
                let body = head_end..filled;
                Box::pin(self.pass_data(loan, body, framing, shape, changes.gzip, head_out)).await?
            }
        };
        let reuse_server = !surplus
            && decoder.is_done()
            && response.keep_alive
            && self.group.keep_alive
            && progress.uploaded.get();
        Ok(Complete { reuse_server, keep_client: to.keep_alive })
    }

    fn is_connection(&self) -> bool {
        matches!(self.client.side, Side::Connection(_))
    }

    /// How a body reaches the client.
    fn shape(&self, framing: Framing, changes: &ResponseChanges<'_>) -> Shape {
        let is_http10 = self.request.version == Version::Http10;
        match &self.client.side {
            Side::Stream(_) => Shape::Data,
            Side::Connection(_) if changes.gzip => Shape::Chunked,
            Side::Connection(_) if framing == Framing::Chunked && is_http10 => Shape::Data,
            Side::Connection(_) => Shape::Verbatim,
        }
    }

    /// A body that passes as it is framed: the bytes from `head_end` on are the first of it. Its end, and whether
    /// something followed it.
    async fn pass_verbatim(
        &self,
        client: &ClientStream,
        mut loan: Loan<'_>,
        head_end: usize,
        filled: usize,
        framing: Framing,
        head: &[u8],
    ) -> Result<(BodyDecoder, bool), Failure> {
        let progress = self.progress;
        let mut decoder = BodyDecoder::new(framing);
        let buffer = loan.bytes();
        let used = decoder.consume(&buffer[head_end..filled]).map_err(Failure::Response)?;
        let mut surplus = used < filled - head_end;
        progress.started.set(true);
        progress.body_sent.set(used as u64);
        match head_end.checked_sub(head.len()) {
            Some(start) => {
                buffer[start..head_end].copy_from_slice(head);
                self.write_to_client(client, &buffer[start..head_end + used]).await?;
            }
            None => {
                self.write_to_client(client, head).await?;
                if used > 0 {
                    self.write_to_client(client, &buffer[head_end..head_end + used]).await?;
                }
            }
        }
        let mut reads = 0;
        while !decoder.is_done() {
            let Some(read) = self.read_body(&mut loan, &mut reads, &decoder).await? else { break };
            let buffer = loan.bytes();
            let used = decoder.consume(&buffer[..read]).map_err(Failure::Response)?;
            surplus |= used < read;
            progress.body_sent.set(progress.body_sent.get() + used as u64);
            self.write_to_client(client, &buffer[..used]).await?;
        }
        Ok((decoder, surplus))
    }

    /// A body that reaches the client otherwise: as its data, in chunks of ours, or compressed. `body` is the first of it.
    async fn pass_data(
        &self,
        mut loan: Loan<'_>,
        mut body: std::ops::Range<usize>,
        framing: Framing,
        shape: Shape,
        gzip: bool,
        head: &[u8],
    ) -> Result<(BodyDecoder, bool), Failure> {
        let progress = self.progress;
        let mut decoder = BodyDecoder::keeping_trailers(framing);
        progress.started.set(true);
        let is_stream = !self.is_connection();
        let has_body = !decoder.is_done();
        self.while_client_takes(self.client.send_head(head, !has_body, self.count_sent())).await?;
        if !has_body {
            return Ok((decoder, !body.is_empty()));
        }
        let mut sink = BodySink::new(self.client, shape, gzip);
        let mut reads = 0;
        loop {
            while !body.is_empty() && !decoder.is_done() {
                let buffer = loan.bytes();
                let step = decoder.step(&buffer[body.clone()]).map_err(Failure::Response)?;
                let data = body.start + step.data.start..body.start + step.data.end;
                body.start += step.consumed;
                progress.body_sent.set(progress.body_sent.get() + data.len() as u64);
                let more = !body.is_empty() || decoder.is_done();
                self.while_client_takes(sink.write(&buffer[data], more, self.count_sent())).await?;
            }
            if decoder.is_done() {
                break;
            }
            match self.read_body(&mut loan, &mut reads, &decoder).await? {
                Some(read) => body = 0..read,
                None => break,
            }
        }
        let trailers = match decoder.trailers() {
            lines if lines.is_empty() || !(is_stream || shape == Shape::Chunked) => None,
            lines => Some(trailers_of(lines).map_err(Failure::Response)?),
        };
        self.while_client_takes(sink.finish(trailers, self.count_sent())).await?;
        Ok((decoder, !body.is_empty()))
    }

    /// The next bytes of a body, from the buffer's beginning on; `None` at a proper end.
    async fn read_body(
        &self,
        loan: &mut Loan<'_>,
        reads: &mut u32,
        decoder: &BodyDecoder,
    ) -> Result<Option<usize>, Failure> {
        self.set_deadline();
        loan.give_back();
        take_turns(reads).await;
        match self.read_from_server(loan, 0).await {
            Ok(read @ 1..) => Ok(Some(read)),
            Ok(0) if decoder.may_close() => Ok(None),
            _ => Err(Failure::Cut),
        }
    }

    /// Answers what a response rule says instead. The server's response is read no further.
    async fn replace(&self, changes: &ResponseChanges<'_>) -> Result<Complete, Failure> {
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
    fn write_head(
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

    /// Passes a 101 on and then whatever either side sends (RFC 9110 section 7.8, LR-130).
    async fn switch_protocols(
        &self,
        mut loan: Loan<'_>,
        received: std::ops::Range<usize>,
        filled: usize,
        head_out: &mut Vec<u8>,
        response: &ResponseHead,
    ) -> Result<Complete, Failure> {
        let Side::Connection(client) = &self.client.side else {
            return Err(Failure::Response(Refusal::StartLine));
        };
        let progress = self.progress;
        let head_end = received.end;
        let buffer = loan.bytes();
        head_out.clear();
        let to = ToClient { upgrade: true, ..ToClient::new(Version::Http11, true) };
        write_response(head_out, response, &buffer[received], &to);
        head_out.extend_from_slice(&buffer[head_end..filled]);
        loan.give_back();
        progress.status.set(101);
        progress.started.set(true);
        progress.tunnels.set(true);
        self.write_to_client(client, head_out).await?;
        progress.body_sent.set((filled - head_end) as u64);
        progress.body_first.set(self.body.len() as u64);
        if !self.body.is_empty() && self.write_to_server(&mut [IoSlice::new(self.body)]).await.is_err() {
            return Err(Failure::Cut);
        }
        let count = |from_client: bool, bytes: u64| {
            if from_client {
                progress.body_received.set(progress.body_received.get() + bytes);
                self.server.counters.bytes_sent.add(bytes);
            } else {
                progress.body_sent.set(progress.body_sent.get() + bytes);
                progress.bytes_sent.set(progress.bytes_sent.get() + bytes);
                self.server.counters.bytes_received.add(bytes);
            }
            self.set_deadline();
        };
        self.set_deadline();
        Box::pin(tunnel::join(client, self.stream, &self.client.worker, count)).await;
        Ok(Complete { reuse_server: false, keep_client: false })
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
pub struct Loan<'w> {
    worker: &'w Worker,
    buffer: Option<Vec<u8>>,
}

impl<'w> Loan<'w> {
    pub fn new(worker: &'w Worker) -> Loan<'w> {
        Loan { worker, buffer: None }
    }

    fn is_taken(&self) -> bool {
        self.buffer.is_some()
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        self.buffer.get_or_insert_with(|| self.worker.take_buffer())
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
