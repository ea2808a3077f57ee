//! One client connection: its requests one after the other, from the first byte to the log line.

use super::access_log::{ErrorSource, Record, Subject, push_address};
use super::answer::write_answer;
use super::drain::Attempt;
use super::exchange::{Buffers, Complete, Exchange, Progress, write_all};
use super::failure::{Failure, blame, is_of_server, refusal_text, upstream_failure};
use super::http1::field::Name;
use super::http1::head::{RequestHead, ResponseHead};
use super::http1::rewrite::{Edits, ToFunction, ToServer, write_request};
use super::http1::{Framing, HEAD_BYTES_MAX, Version};
use super::reactor::{TcpStream, Timer};
use super::stats::{ListenerColumn, ServerColumn, count_response};
use super::target::{Server, Target};
use super::upstream::{self, CONNECT_NS, ServerStream};
use super::worker::{Slot, Worker};
use crate::model::XForwardedFor;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// First size of the buffer for request heads; it grows to [`HEAD_BYTES_MAX`].
const HEAD_BYTES: usize = 8 * 1024;
/// Larger storage is not kept from one request for another.
const KEPT_BYTES: usize = 2 * HEAD_BYTES;
/// After an answer to a request that was not read to its end, the rest is read and dropped for so long (nanoseconds)
/// and so many bytes, because closing at once would reset the connection and take the answer away from the client.
const LINGER_NS: u64 = 2_000_000_000;
const LINGER_BYTES: usize = 1 << 20;

/// Storage for one request at a time; connections borrow it from the worker while a request runs.
#[derive(Default)]
pub struct Scratch {
    /// Bytes from the client: `filled` of them, the current request's head first.
    client: Vec<u8>,
    filled: usize,
    out: Vec<u8>,
    upload: Vec<u8>,
    request: RequestHead,
    response: ResponseHead,
}

/// A client's connection.
pub struct Connection {
    pub(super) worker: Rc<Worker>,
    slot: Rc<Slot>,
    pub(super) client: TcpStream,
    peer: SocketAddr,
    peer_text: Vec<u8>,
    vip: SocketAddr,
    counters: Arc<ListenerColumn>,
    pub(super) timer: Timer,
    /// The attempt at a server that this connection's request is at.
    pub(super) attempt: Rc<Attempt>,
}

/// What becomes of the client's connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Keep,
    Close,
    /// Close after reading what the client is still sending.
    Linger,
    /// Close so that the client cannot take what it has for the whole response.
    Abort,
}

/// Counts a connection as open while it lives.
struct OpenConnection(Arc<ListenerColumn>);

impl OpenConnection {
    fn new(counters: Arc<ListenerColumn>) -> OpenConnection {
        counters.connections.add(1);
        counters.active_connections.add(1);
        OpenConnection(counters)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.active_connections.subtract_one();
    }
}

/// Counts a request as under way at a server while it lives, from the pick on.
struct ActiveRequest<'a>(&'a ServerColumn);

impl<'a> ActiveRequest<'a> {
    fn new(counters: &'a ServerColumn) -> ActiveRequest<'a> {
        counters.begin();
        ActiveRequest(counters)
    }
}

impl Drop for ActiveRequest<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Serves `client` until either side is done with the connection.
pub async fn serve(
    worker: Rc<Worker>,
    slot: Rc<Slot>,
    attempt: Rc<Attempt>,
    client: TcpStream,
    peer: SocketAddr,
    vip: SocketAddr,
) {
    // A connection accepted while its address was leaving the listener is counted nowhere.
    let counters = slot.target().counters_of(vip).cloned().unwrap_or_default();
    let _open = OpenConnection::new(counters.clone());
    let mut peer_text = Vec::with_capacity(15);
    push_address(&mut peer_text, peer.ip());
    let timer = Timer::new();
    let connection = Connection { worker, slot, client, peer, peer_text, vip, counters, timer, attempt };
    let next = connection.run().await;
    match next {
        Next::Linger => connection.linger().await,
        Next::Abort => {
            // Without the option the connection still closes, only more politely.
            let _ = connection.client.reset_on_close();
        }
        Next::Keep | Next::Close => {}
    }
}

impl Connection {
    /// True when this connection must not take another request.
    pub fn is_closing(&self) -> bool {
        self.slot.is_closing()
    }

    async fn run(&self) -> Next {
        let mut pipelined: Option<Box<Scratch>> = None;
        loop {
            let target = self.slot.target();
            let mut scratch = match pipelined.take() {
                Some(scratch) => scratch,
                None if self.request_begins(&target).await => self.worker.take_scratch(),
                None => return Next::Close,
            };
            let next = self.request(&target, &mut scratch).await;
            if next == Next::Keep && scratch.filled > 0 && !self.is_closing() {
                pipelined = Some(scratch);
                continue;
            }
            scratch.filled = 0;
            self.worker.put_scratch(scratch);
            if next != Next::Keep {
                return next;
            }
        }
    }

    /// Waits without any buffer: true when bytes came, false when the idle timeout passed or the listener closed.
    async fn request_begins(&self, target: &Target) -> bool {
        self.timer.set_after(target.idle_ns);
        poll_fn(|cx| {
            if self.is_closing() {
                Poll::Ready(false)
            } else if self.client.poll_readable(cx).is_ready() {
                Poll::Ready(true)
            } else {
                self.timer.poll_expired(cx).map(|()| false)
            }
        })
        .await
    }

    /// One request, from reading its head to its log line.
    async fn request(&self, target: &Target, scratch: &mut Scratch) -> Next {
        let start = self.timer.now();
        let mut record = Record { start, reason: target.reason, ..Record::default() };
        let head = match self.read_head(target, scratch).await {
            Ok(head) => head,
            Err(None) => return Next::Close,
            Err(Some((status, cause))) => {
                record.error = ErrorSource::Client;
                record.cause = cause;
                record.request_bytes = scratch.filled as u64;
                record.head_read = self.timer.now();
                let sent = match cause {
                    CLIENT_CLOSED => {
                        record.status = status;
                        0
                    }
                    _ => self.answer(scratch, &mut record, status, false).await,
                };
                self.finish(target, scratch, &record, scratch.filled, sent);
                return Next::Linger;
            }
        };
        record.head_read = self.timer.now();
        // The connection may have waited long for the request: a server that left meanwhile takes none (SG-226).
        let current = self.slot.target();
        let target = &*current;
        record.reason = target.reason;
        let progress = Progress::default();
        let result = self.forward(target, scratch, head, &progress, &mut record).await;
        record.request_bytes = head as u64 + progress.body_first.get() + progress.body_received.get();
        record.upstream_status = progress.status.get();
        record.upstream_first_byte = if record.upstream_status == 0 { 0 } else { progress.first_byte.get() };
        record.body_bytes_sent = progress.body_sent.get();
        let mut sent = progress.bytes_sent.get();
        let next = match result {
            Ok(complete) => {
                record.status = progress.status.get();
                match (complete.keep_client, progress.uploaded.get()) {
                    (true, _) => Next::Keep,
                    (false, true) => Next::Close,
                    (false, false) => Next::Linger,
                }
            }
            Err(failure) => {
                let (status, source, cause) = blame(failure, progress.started.get());
                record.error = source;
                record.cause = cause;
                if progress.started.get() {
                    record.status = status;
                    if progress.ends_by_close.get() { Next::Abort } else { Next::Close }
                } else if failure == Failure::ClientGone {
                    record.status = status;
                    Next::Close
                } else {
                    let whole = progress.uploaded.get() || scratch.request.framing == Framing::None;
                    let keep = whole && scratch.request.keep_alive && !self.is_closing();
                    sent += self.answer(scratch, &mut record, status, keep).await;
                    if keep { Next::Keep } else { Next::Linger }
                }
            }
        };
        self.finish(target, scratch, &record, head, sent);
        if next == Next::Keep {
            scratch.forget(head);
        }
        next
    }

    /// Reads until the head is complete: its length. `Err(None)`: the client left without a request. `Err(Some(..))`:
    /// the status for a refused, late or cut one, and the cause.
    async fn read_head(
        &self,
        target: &Target,
        scratch: &mut Scratch,
    ) -> Result<usize, Option<(u16, &'static str)>> {
        // One deadline for the whole head: a client cannot stretch it by sending a byte now and then.
        self.timer.set_after(target.request_ns);
        scratch.request.reset();
        let mut parsed = 0;
        loop {
            if scratch.filled > parsed {
                parsed = scratch.filled;
                match scratch.request.parse(&scratch.client[..parsed]) {
                    Ok(Some(length)) => return Ok(length),
                    Ok(None) => {}
                    Err(refusal) => return Err(Some((refusal.status(), refusal_text(refusal)))),
                }
            }
            if scratch.filled == scratch.client.len() {
                let larger = (scratch.client.len() * 4).clamp(HEAD_BYTES, HEAD_BYTES_MAX);
                scratch.client.resize(larger.max(scratch.filled + 1), 0);
            }
            let space = &mut scratch.client[scratch.filled..];
            let read = poll_fn(|cx| match self.client.poll_read(cx, space) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => self.timer.poll_expired(cx).map(|()| None),
            })
            .await;
            match read {
                Some(Ok(read @ 1..)) => scratch.filled += read,
                _ if scratch.filled == 0 => return Err(None),
                Some(_) => return Err(Some((400, CLIENT_CLOSED))),
                None => return Err(Some((408, "request head incomplete within the request timeout"))),
            }
        }
    }

    /// Finds a server that takes the request, with one more try on another where that is safe (LR-124), and runs it.
    async fn forward(
        &self,
        target: &Target,
        scratch: &mut Scratch,
        head: usize,
        progress: &Progress,
        record: &mut Record,
    ) -> Result<Complete, Failure> {
        let Scratch { client, filled, out, upload, request, response } = scratch;
        let (head_bytes, body) = client[..*filled].split_at(head);
        let method = request.method.of(head_bytes);
        let mut avoid = None;
        let mut failure = Failure::NoServer;
        let mut last_attempt = 1;
        let claim = target.claim(request, head_bytes, self.peer.ip());
        for attempt in 0..=2 {
            if attempt > last_attempt {
                break;
            }
            let Some(pick) = target.pick(self.timer.now(), &claim, avoid) else { return Err(failure) };
            let index = pick.index;
            if avoid == Some(index) && is_of_server(failure) {
                // Asking the only server again at once changes nothing.
                return Err(failure);
            }
            let server = &target.servers[index];
            record.upstream = Some(server.address);
            record.retries = attempt;
            record.reason = pick.reason;
            record.upstream_start = self.timer.now();
            let _under_way = self.attempt.begin(server.id, record.head_read);
            let _active = ActiveRequest::new(&server.counters);
            let pooled = if attempt == 0 && target.keep_alive { server.pool.take() } else { None };
            let reused = pooled.is_some();
            let connected = match pooled {
                Some((stream, local)) => Ok((stream, Some(local))),
                None => self.connect(target, server).await,
            };
            let (stream, local) = match connected {
                Ok(connected) => connected,
                Err(Failure::ClientGone) => return Err(Failure::ClientGone),
                Err(Failure::Drained) => return Err(self.drained(server)),
                Err(error) => {
                    failure = error;
                    avoid = Some(index);
                    continue;
                }
            };
            record.local = local;
            server.counters.requests.add(1);
            self.write_head(out, request, head_bytes, target, server);
            let exchange = Exchange {
                connection: self,
                target,
                server,
                first_secs: pick.first_secs,
                stream: &stream,
                request,
                body,
                to_head: method == b"HEAD",
                may_repeat: reused && request.framing == Framing::None && is_idempotent(method),
                progress,
            };
            let result = exchange.run(Buffers { out, upload, response }).await;
            match result {
                Ok(complete) => {
                    count_response(&server.counters.responses, progress.status.get());
                    // A second attempt is always on a new connection. Kept, each would add one to the pool while
                    // another server refuses, and a later silent failure of this one would catch them all.
                    let is_spare = attempt > 0 && !server.pool.is_empty();
                    if let (true, false, Some(local)) = (complete.reuse_server, is_spare, local) {
                        server.pool.put(stream, local);
                    }
                    return Ok(complete);
                }
                Err(Failure::Died) if reused && may_repeat(method, request, progress) => {
                    failure = Failure::Died;
                    if pick.is_home {
                        // The connection was old, which says little about the server: a new one may do, and only if
                        // there is none to be had is another server better.
                        last_attempt = 2;
                    } else {
                        avoid = Some(index);
                    }
                    progress.sent.set(false);
                    progress.uploaded.set(false);
                }
                Err(Failure::Drained) => return Err(self.drained(server)),
                Err(other) => return Err(other),
            }
        }
        Err(failure)
    }

    /// The request's head as `server` sees it.
    fn write_head(
        &self,
        out: &mut Vec<u8>,
        request: &RequestHead,
        head: &[u8],
        target: &Target,
        server: &Server,
    ) {
        out.clear();
        let hidden =
            target.persistence.as_ref().map(|sticky| sticky.hidden(request, head)).unwrap_or_default();
        let to = ToServer {
            client: &self.peer_text,
            x_forwarded_for: target.forwarded.x_forwarded_for == XForwardedFor::Append,
            keep_alive: target.keep_alive,
            default_host: &server.host,
            function: target.function.as_ref().map(|function| ToFunction {
                authority: function.authority.as_bytes(),
                path_prefix: function.path_prefix.as_bytes(),
            }),
            edits: Edits { parts: &hidden, text: b"" },
        };
        write_request(out, request, head, &to);
    }

    fn drained(&self, server: &Server) -> Failure {
        server.counters.cut.add(1);
        Failure::Drained
    }

    async fn connect(
        &self,
        target: &Target,
        server: &Server,
    ) -> Result<(ServerStream, Option<IpAddr>), Failure> {
        let local = target.next_local(server);
        self.timer.set_after(CONNECT_NS.min(target.request_ns));
        let descriptors = self.worker.descriptors.servers;
        let mut connecting =
            pin!(upstream::connect(local, server.address, server.tls.as_deref(), descriptors));
        let result = poll_fn(|cx| {
            if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(|error| {
                    log::debug!("group {:?}: server {}: {error}", target.group, server.address);
                    upstream_failure(&error)
                }));
            }
            if self.attempt.is_cut() {
                return Poll::Ready(Err(Failure::Drained));
            }
            if self.client.poll_hung_up(cx).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            self.timer.poll_expired(cx).map(|()| Err(Failure::ConnectTimeout))
        })
        .await;
        match result {
            Ok(stream) => {
                server.counters.connections.add(1);
                Ok((stream, local))
            }
            Err(failure) => {
                if is_of_server(failure) {
                    server.counters.connect_failures.add(1);
                }
                Err(failure)
            }
        }
    }

    /// Sends an answer of our own; returns the bytes sent.
    async fn answer(&self, scratch: &mut Scratch, record: &mut Record, status: u16, keep_alive: bool) -> u64 {
        record.status = status;
        scratch.out.clear();
        let method = scratch.request.method.of(&scratch.client);
        let body = write_answer(&mut scratch.out, status, keep_alive, method == b"HEAD");
        self.timer.set_after(LINGER_NS);
        let sent = Cell::new(0);
        let mut bytes = [IoSlice::new(&scratch.out)];
        let mut writing = pin!(write_all(&self.client, &mut bytes, |written| sent.set(sent.get() + written)));
        let written = poll_fn(|cx| match writing.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => self.timer.poll_expired(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        })
        .await;
        // A client that is gone does not read its answer; the log line says what it would have been.
        if written.is_ok() {
            record.body_bytes_sent = body as u64;
        }
        sent.get()
    }

    /// Counts the request and writes its log line. The head is the first `head` bytes of the client's.
    fn finish(&self, target: &Target, scratch: &Scratch, record: &Record, head: usize, sent: u64) {
        let counters = &self.counters;
        counters.requests.add(1);
        counters.bytes_received.add(record.request_bytes);
        counters.bytes_sent.add(sent);
        if record.error != ErrorSource::Client || record.status != 499 {
            count_response(&counters.responses, record.status);
        }
        let bytes = &scratch.client[..head];
        let request = &scratch.request;
        let value = |name| request.value(name, bytes).unwrap_or_default();
        let subject = Subject {
            listener: &target.listener,
            group: &target.group,
            client: self.peer,
            client_text: &self.peer_text,
            vip: self.vip,
            method: request.method.of(bytes),
            target: request.target.of(bytes),
            protocol: if request.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" },
            host: request.authority.unwrap_or(request.host).of(bytes),
            referer: value(Name::Referer),
            user_agent: value(Name::UserAgent),
            x_forwarded_for: value(Name::XForwardedFor),
            x_real_ip: value(Name::XRealIp),
        };
        self.worker.log(&subject, record, self.timer.now());
    }

    /// Ends our side and reads what still comes, so that the answer is not lost to a reset.
    async fn linger(&self) {
        if self.client.shutdown().is_err() {
            return;
        }
        self.timer.set_after(LINGER_NS);
        let mut waste = vec![0; HEAD_BYTES];
        let mut left = LINGER_BYTES;
        while left > 0 {
            let read = poll_fn(|cx| match self.client.poll_read(cx, &mut waste) {
                Poll::Ready(result) => Poll::Ready(result.unwrap_or(0)),
                Poll::Pending => self.timer.poll_expired(cx).map(|()| 0),
            })
            .await;
            if read == 0 {
                return;
            }
            left = left.saturating_sub(read);
        }
    }
}

impl Scratch {
    /// Frees what only unusually large requests need.
    pub fn shrink(&mut self) {
        if self.client.len() > KEPT_BYTES {
            self.client.truncate(HEAD_BYTES);
            self.client.shrink_to_fit();
        }
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES);
        self.upload.clear();
        self.upload.shrink_to(KEPT_BYTES);
    }

    /// Drops the finished request of `head` bytes and moves what was read beyond it to the front.
    fn forget(&mut self, head: usize) {
        let mut body = super::http1::body::BodyDecoder::new(self.request.framing);
        // The same bytes were accepted when they were forwarded; a refused body closes the connection instead.
        let used = head + body.consume(&self.client[head..self.filled]).unwrap_or_default();
        self.client.copy_within(used..self.filled, 0);
        self.filled -= used;
        if body.is_done() {
            return;
        }
        // The body's end came in later reads, and what followed it is in the upload buffer.
        self.filled = self.upload.len();
        if self.client.len() < self.filled {
            self.client.resize(self.filled, 0);
        }
        self.client[..self.filled].copy_from_slice(&self.upload);
        self.upload.clear();
    }
}

const CLIENT_CLOSED: &str = "client closed before the request was complete";

/// Whether a request that died on a reused connection may be sent again: nothing of it was sent, or sending it twice
/// does no harm (RFC 9110 section 9.2.2) and all of it is still here.
fn may_repeat(method: &[u8], request: &RequestHead, progress: &Progress) -> bool {
    let untouched = progress.body_received.get() == 0;
    !progress.started.get()
        && untouched
        && (!progress.sent.get() || (is_idempotent(method) && request.framing == Framing::None))
}

fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE")
}
