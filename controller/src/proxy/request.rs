//! One request, whatever its client speaks: from its complete head to its log line.

use super::access_log::{ErrorSource, Record, Subject};
use super::answer::{write_answer, write_grpc_answer};
use super::client::{Client, HttpVersion, Side};
use super::connection::Scratch;
use super::decision::{Answer, Decision, Mode, NO_MEMORY, Outcome};
use super::exchange::{Buffers, Complete, Exchange, Progress, Way};
use super::failure::{Failure, blame, is_of_server, refusal_text, upstream_failure};
use super::group::{Group, Pick, Server};
use super::http1::field::{Name, Span};
use super::http1::head::RequestHead;
use super::http1::rewrite::{Edits, ToFunction, ToServer, write_request};
use super::http1::{Framing, Refusal, Version};
use super::memory::Pressure;
use super::mirror::{self, Copied};
use super::stats::{ServerColumn, count_response};
use super::target::Target;
use super::upstream::{self, CONNECT_NS, ServerStream};
use crate::snapshot::UpstreamProtocol;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;

/// How long a client may take to read an answer of ours, nanoseconds.
const ANSWER_NS: u64 = 2_000_000_000;

/// What becomes of a client's connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Keep,
    Close,
    /// Close after reading what the client is still sending.
    Linger,
    /// Close; what the client has says by itself that it is not the whole response.
    Cut,
    /// Close so that the client cannot take what it has for the whole response.
    Abort,
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

impl Client {
    /// Answers the request whose head is the first `head` bytes of the scratch's; what follows them is of its body.
    /// `start` is when its first byte came, CLOCK_MONOTONIC.
    pub async fn request(&self, scratch: &mut Scratch, head: usize, start: u64) -> Next {
        let now = self.timer.now();
        let mut record = Record { start, head_read: now, ..Record::default() };
        // The connection may have waited long for the request: a server that left meanwhile takes none (SG-226).
        let current = self.slot.target();
        let target = &*current;
        self.begin_request(target.requests_per_connection);
        let progress = Progress::default();
        let Scratch { client, filled, out, upload, request, response } = scratch;
        let (head_bytes, body) = client[..*filled].split_at(head);
        let request = &*request;
        let decision = if self.worker.pressure() < Pressure::RefuseRequests {
            target.decide(&self.origin, request, head_bytes, now, Mode::Act)
        } else {
            self.worker.stats.add_request_refused();
            let mut decision = Decision::none(target, &self.origin, request, head_bytes);
            decision.outcome = Outcome::Answer(Answer::NoMemory);
            decision
        };
        let whole = |progress: &Progress| progress.uploaded.get() || request.framing == Framing::None;
        let mut sent = 0;
        let next = match &decision.outcome {
            Outcome::Answer(answer) => {
                (record.error, record.cause) = answer.blame();
                let keep = whole(&progress)
                    && request.keep_alive
                    && !self.is_closing()
                    && !matches!(answer, Answer::NoMemory);
                sent = self.answer(request, head_bytes, &mut record, answer, &decision, keep).await;
                if keep { Next::Keep } else { Next::Linger }
            }
            Outcome::Forward(group) => {
                record.reason = group.reason;
                let attempts =
                    Attempts { client: self, target, group, decision: &decision, head: head_bytes };
                let buffers = Buffers { out, upload, response };
                if decision.actions.mirror.is_some() && self.worker.pressure() == Pressure::None {
                    progress.copied.replace(Some(Copied::default()));
                }
                let result = attempts.run(request, body, buffers, &progress, &mut record).await;
                record.upstream_status = progress.status.get();
                record.upstream_first_byte =
                    if record.upstream_status == 0 { 0 } else { progress.first_byte.get() };
                record.body_bytes_sent = progress.body_sent.get();
                sent += progress.bytes_sent.get();
                match result {
                    Ok(complete) => {
                        record.status = match progress.replaced.get() {
                            0 => progress.status.get(),
                            replaced => replaced,
                        };
                        match (complete.keep_client, progress.uploaded.get()) {
                            (true, _) => Next::Keep,
                            // What it sent behind its last request must not reset the connection.
                            (false, true) if self.is_at_last() => Next::Linger,
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
                            if progress.ends_by_close.get() { Next::Abort } else { Next::Cut }
                        } else if matches!(failure, Failure::ClientGone | Failure::ClientLeft) {
                            record.status = status;
                            Next::Cut
                        } else {
                            let keep = whole(&progress) && request.keep_alive && !self.is_closing();
                            let answer = Answer::Status(status);
                            sent +=
                                self.answer(request, head_bytes, &mut record, &answer, &decision, keep).await;
                            if keep { Next::Keep } else { Next::Linger }
                        }
                    }
                }
            }
        };
        if let (Some(copied), Some(group)) = (progress.copied.take(), &decision.actions.mirror) {
            let copied_head = |index: usize| {
                let mut out = Vec::with_capacity(head + 256);
                let server = &group.servers[index];
                let hidden = group.hidden(request, head_bytes);
                let to = self.to_server(target, group, &decision, server, &hidden);
                write_request(&mut out, request, head_bytes, &ToServer { keep_alive: false, ..to });
                out
            };
            let body = if whole(&progress) { copied.take() } else { None };
            let kind =
                mirror::Kind { to_head: request.method.of(head_bytes) == b"HEAD", framing: request.framing };
            mirror::send(&self.worker, group, copied_head, body, kind, target.request_ns);
        }
        record.request_bytes = head as u64 + progress.body_first.get() + progress.body_received.get();
        self.finish(target, request, head_bytes, &decision, &record, sent);
        next
    }

    /// What the head becomes for `server` of `group`, without the cookies `hidden`.
    fn to_server<'a>(
        &'a self,
        target: &'a Target,
        group: &'a Group,
        decision: &'a Decision<'a>,
        server: &'a Server,
        hidden: &'a [Span],
    ) -> ToServer<'a> {
        ToServer {
            x_forwarded_for: target.forwarded.x_forwarded_for,
            keep_alive: group.keep_alive,
            function: group.function.as_ref().map(|function| ToFunction {
                authority: function.authority.as_bytes(),
                path_prefix: function.path_prefix.as_bytes(),
            }),
            edits: Edits { parts: hidden, text: b"" },
            path: decision.path.as_deref(),
            host: decision.host(),
            hidden: &decision.actions.hidden,
            lines: &decision.lines,
            marked: &target.trace_headers,
            mark: &decision.actions.trace,
            ..ToServer::new(&self.origin.peer_text, &server.host)
        }
    }

    /// Answers and logs a request that is refused, late or cut; what came of it is the first `filled` bytes of the
    /// scratch's.
    pub async fn refuse(
        &self,
        target: &Target,
        scratch: &mut Scratch,
        start: u64,
        status: u16,
        cause: &'static str,
    ) -> Next {
        let error = if cause == NO_MEMORY { ErrorSource::Us } else { ErrorSource::Client };
        let mut record = Record { start, error, cause, ..Record::default() };
        record.request_bytes = scratch.filled as u64;
        record.head_read = self.timer.now();
        let bytes = &scratch.client[..scratch.filled];
        let decision = Decision::none(target, &self.origin, &scratch.request, bytes);
        let sent = match cause {
            CLIENT_CLOSED => {
                record.status = status;
                0
            }
            _ => {
                let answer = Answer::Status(status);
                self.answer(&scratch.request, bytes, &mut record, &answer, &decision, false).await
            }
        };
        self.finish(target, &scratch.request, bytes, &decision, &record, sent);
        Next::Linger
    }

    /// As [`Client::refuse`], for a head that breaks the protocol.
    pub async fn refuse_head(
        &self,
        target: &Target,
        scratch: &mut Scratch,
        start: u64,
        refusal: Refusal,
    ) -> Next {
        self.refuse(target, scratch, start, refusal.status(), refusal_text(refusal)).await
    }

    /// Sends an answer of our own; returns the bytes sent.
    async fn answer(
        &self,
        request: &RequestHead,
        head: &[u8],
        record: &mut Record,
        answer: &Answer<'_>,
        decision: &Decision<'_>,
        keep_alive: bool,
    ) -> u64 {
        record.status = answer.status();
        let mut out = Vec::with_capacity(512);
        if decision.is_grpc() && !matches!(self.side, Side::Connection(_)) && answer.status() >= 300 {
            write_grpc_answer(&mut out, answer.status());
            return self.send_whole(&out, b"", ANSWER_NS).await.0;
        }
        let to_head = request.method.of(head) == b"HEAD";
        let mut lines = Vec::new();
        decision.push_own_lines(&mut lines);
        let body = write_answer(&mut out, answer, &lines, keep_alive, to_head);
        let (sent, whole) = self.send_whole(&out, &body, ANSWER_NS).await;
        // A client that is gone does not read its answer; the log line says what it would have been.
        if whole {
            record.body_bytes_sent = body.len() as u64;
        }
        sent
    }

    /// Counts the request and writes its log line.
    fn finish(
        &self,
        target: &Target,
        request: &RequestHead,
        head: &[u8],
        decision: &Decision<'_>,
        record: &Record,
        sent: u64,
    ) {
        let origin = &self.origin;
        let counters = &origin.counters;
        counters.requests.add(1);
        counters.bytes_received.add(record.request_bytes);
        counters.bytes_sent.add(sent);
        if record.error != ErrorSource::Client || record.status != 499 {
            count_response(&counters.responses, record.status);
            count_response(&decision.actions.counters.responses, record.status);
        }
        if let Some(place) = record.error.place() {
            counters.errors[place].add(1);
        }
        if let Outcome::Answer(Answer::Limited) = decision.outcome {
            decision.actions.counters.limited.add(1);
        }
        let value = |name| request.value(name, head).unwrap_or_default();
        let recorded = |name: &String| {
            let mut lines = request.fields().iter();
            let found = lines.find(|field| field.name_span.of(head).eq_ignore_ascii_case(name.as_bytes()))?;
            Some(found.value.of(head))
        };
        let headers: Vec<(&str, &[u8])> =
            target.logged_headers.iter().filter_map(|name| Some((name.as_str(), recorded(name)?))).collect();
        let tls = origin.tls.as_ref();
        let subject = Subject {
            load_balancer: &target.load_balancer,
            listener: &target.listener,
            rule: &decision.actions.id,
            action: decision.action(),
            group: decision.group_name(),
            scheme: origin.scheme(),
            ssl_protocol: tls.map_or("", |tls| tls.version),
            ssl_cipher: tls.map_or("", |tls| tls.cipher),
            tcpinfo_rtt: self.round_trip_us(),
            headers: &headers,
            client: origin.peer,
            client_text: &origin.peer_text,
            vip: origin.vip,
            method: request.method.of(head),
            target: request.target.of(head),
            protocol: match (origin.version, request.version) {
                (HttpVersion::Http1, Version::Http10) => "HTTP/1.0",
                (HttpVersion::Http1, Version::Http11) => "HTTP/1.1",
                (HttpVersion::Http2, _) => "HTTP/2.0",
                (HttpVersion::Http3, _) => "HTTP/3.0",
            },
            host: request.authority.unwrap_or(request.host).of(head),
            referer: value(Name::Referer),
            user_agent: value(Name::UserAgent),
            x_forwarded_for: value(Name::XForwardedFor),
            x_real_ip: value(Name::XRealIp),
        };
        self.worker.log(&subject, record, self.timer.now());
    }
}

/// A request's attempts at the servers of its group.
struct Attempts<'a> {
    client: &'a Client,
    target: &'a Target,
    group: &'a Group,
    decision: &'a Decision<'a>,
    head: &'a [u8],
}

impl Attempts<'_> {
    /// Finds a server that takes the request, with one more try on another where that is safe (LR-124), and runs it.
    /// `body` came with the head.
    async fn run(
        &self,
        request: &RequestHead,
        body: &[u8],
        buffers: Buffers<'_>,
        progress: &Progress,
        record: &mut Record,
    ) -> Result<Complete, Failure> {
        let Buffers { out, upload, response } = buffers;
        let (client, group) = (self.client, self.group);
        let method = request.method.of(self.head);
        let mut avoid = None;
        let mut failure = Failure::NoServer;
        let mut last_attempt = 1;
        let claim = group.claim(request, self.head, || self.decision.client_address());
        for attempt in 0..=2 {
            if attempt > last_attempt {
                break;
            }
            let Some(pick) = group.pick(client.timer.now(), &claim, avoid) else { return Err(failure) };
            let index = pick.index;
            if avoid == Some(index) && is_of_server(failure) {
                // Asking the only server again at once changes nothing.
                return Err(failure);
            }
            let server = &group.servers[index];
            record.upstream = Some(server.address);
            record.retries = attempt;
            record.reason = pick.reason;
            record.upstream_start = client.timer.now();
            let _under_way = client.attempt.begin(server.id, record.head_read);
            let _active = ActiveRequest::new(&server.counters);
            if group.protocol == UpstreamProtocol::Grpc {
                let buffers = Buffers { out, upload, response };
                // Boxed: a connection keeps room for all that a request may become, and most are none of gRPC.
                match Box::pin(self.call(server, request, body, buffers, &pick, progress, record)).await {
                    Ok(complete) => {
                        count_response(&server.counters.responses, progress.status.get());
                        return Ok(complete);
                    }
                    Err(Failure::Drained) => return Err(self.drained(server)),
                    // What was taken from the client is not there a second time.
                    Err(Failure::Unprocessed) if progress.body_received.get() == 0 => {
                        failure = Failure::Unprocessed;
                        avoid = Some(index);
                        progress.sent.set(false);
                        progress.uploaded.set(false);
                        progress.body_first.set(0);
                        // It is taken anew with the next attempt.
                        if let Some(copied) = &mut *progress.copied.borrow_mut() {
                            *copied = Copied::default();
                        }
                        continue;
                    }
                    Err(error) if is_of_server(error) => {
                        failure = error;
                        avoid = Some(index);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            let pooled = if attempt == 0 && group.keep_alive { server.pool.take() } else { None };
            let reused = pooled.is_some();
            let connected = match pooled {
                Some((stream, local)) => Ok((stream, Some(local))),
                None => self.connect(server, request).await,
            };
            let (stream, local) = match connected {
                Ok(connected) => {
                    record.reused = reused;
                    record.upstream_connected = client.timer.now();
                    connected
                }
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
            let upgrade = self.write_head(out, request, server);
            let exchange = Exchange {
                client,
                target: self.target,
                group,
                server,
                decision: self.decision,
                first_secs: pick.first_secs,
                way: Way::Connection(&stream),
                request,
                body,
                to_head: method == b"HEAD",
                upgrade,
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

    /// The request's head as `server` sees it; whether it asks for another protocol.
    fn write_head(&self, out: &mut Vec<u8>, request: &RequestHead, server: &Server) -> bool {
        out.clear();
        let hidden = self.group.hidden(request, self.head);
        let upgrade = self.decision.wants_upgrade(self.client);
        let to = self.client.to_server(self.target, self.group, self.decision, server, &hidden);
        write_request(out, request, self.head, &ToServer { upgrade, ..to });
        upgrade
    }

    /// Runs the request as a call on a connection that others share.
    #[expect(clippy::too_many_arguments, reason = "what an attempt works on, once")]
    async fn call(
        &self,
        server: &Server,
        request: &RequestHead,
        body: &[u8],
        buffers: Buffers<'_>,
        pick: &Pick,
        progress: &Progress,
        record: &mut Record,
    ) -> Result<Complete, Failure> {
        let keeps = self.group.keep_alive;
        let link = match server.links.take().filter(|_| keeps) {
            Some(link) => {
                record.reused = true;
                link
            }
            None => {
                let (stream, local) = self.connect(server, request).await?;
                match stream {
                    ServerStream::Plain(stream) => server.links.add(stream, local, keeps)?,
                    ServerStream::Tls(_) => return Err(Failure::Handshake),
                }
            }
        };
        record.upstream_connected = self.client.timer.now();
        record.local = link.local();
        server.counters.requests.add(1);
        self.write_head(buffers.out, request, server);
        let call = link.call(buffers.out, request.framing == Framing::None)?;
        let exchange = Exchange {
            client: self.client,
            target: self.target,
            group: self.group,
            server,
            decision: self.decision,
            first_secs: pick.first_secs,
            way: Way::Call(&call),
            request,
            body,
            to_head: request.method.of(self.head) == b"HEAD",
            upgrade: false,
            may_repeat: false,
            progress,
        };
        exchange.run(buffers).await
    }

    fn drained(&self, server: &Server) -> Failure {
        server.counters.cut.add(1);
        Failure::Drained
    }

    async fn connect(
        &self,
        server: &Server,
        request: &RequestHead,
    ) -> Result<(ServerStream, Option<IpAddr>), Failure> {
        let (client, local) = (self.client, self.group.next_local(server));
        client.timer.set_after(CONNECT_NS.min(self.target.request_ns));
        let descriptors = client.worker.descriptors.servers;
        let mut connecting =
            pin!(upstream::connect(local, server.address, server.tls.as_deref(), descriptors));
        let result = poll_fn(|cx| {
            if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(|error| {
                    log::debug!("group {:?}: server {}: {error}", self.group.name, server.address);
                    upstream_failure(&error)
                }));
            }
            if client.attempt.is_cut() {
                return Poll::Ready(Err(Failure::Drained));
            }
            // Whoever left within a body is found out by its end, which is still to be read.
            if request.framing == Framing::None && client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            client.timer.poll_expired(cx).map(|()| Err(Failure::ConnectTimeout))
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
}

/// Why a request that was cut is not answered.
pub const CLIENT_CLOSED: &str = "client closed before the request was complete";

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
