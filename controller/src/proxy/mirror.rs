//! Copies of requests to another group (LR-106), whose responses nobody sees.
//!
//! A copy is sent when its request is done, in a task of its own, so that it delays and fails nothing. A worker has at
//! most [`COPIES_MAX`] under way and copies bodies of at most [`BODY_BYTES_MAX`]; what is more is left out and counted.

use super::exchange::BODY_BYTES;
use super::exchange::{take_turns, write_all};
use super::failure::Failure;
use super::group::{Group, Server};
use super::http1::body::BodyDecoder;
use super::http1::head::ResponseHead;
use super::http1::{Framing, Refusal};
use super::memory::Pressure;
use super::reactor::{self, Timer};
use super::stream::trailers_of;
use super::upstream::{self, CONNECT_NS, ServerStream};
use super::worker::Worker;
use crate::snapshot::UpstreamProtocol;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// Copies under way at a time.
const COPIES_MAX: u32 = 64;
/// Longest body that is copied.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// A request's body as it was sent, while it is short enough to be copied.
#[derive(Debug, Default)]
pub struct Copied {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl Copied {
    /// Notes what was sent.
    pub fn push(&mut self, sent: &[u8]) {
        if self.is_too_long || self.bytes.len() + sent.len() > BODY_BYTES_MAX {
            self.is_too_long = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(sent);
        }
    }

    /// The body, if it was short enough.
    pub fn take(self) -> Option<Vec<u8>> {
        (!self.is_too_long).then_some(self.bytes)
    }
}

/// What of a request says how it and its response are framed.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The method is HEAD.
    pub to_head: bool,
    pub framing: Framing,
}

/// Sends a copy to `group`: `head` makes its head for the server at a position; `body`, framed as that says, follows it.
pub fn send(
    worker: &Rc<Worker>,
    group: &Rc<Group>,
    head: impl FnOnce(usize) -> Vec<u8>,
    body: Option<Vec<u8>>,
    kind: Kind,
    deadline_ns: u64,
) {
    let picked = group.pick(reactor::now(), &Default::default(), None);
    let is_room = worker.mirrors.get() < COPIES_MAX && worker.pressure() == Pressure::None;
    let (Some(body), Some(pick), true) = (body, picked, is_room) else {
        worker.stats.add_mirrors_dropped(1);
        return;
    };
    let (worker, group, head) = (worker.clone(), group.clone(), head(pick.index));
    worker.mirrors.set(worker.mirrors.get() + 1);
    reactor::spawn(async move {
        let timer = Timer::new();
        timer.set_after(deadline_ns.max(CONNECT_NS));
        let copy = Copy { worker: &worker, group: &group, server: &group.servers[pick.index], kind };
        let mut exchange = pin!(copy.exchange(&head, &body));
        let result = poll_fn(|cx| match exchange.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => timer.poll_expired(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        })
        .await;
        if let Err(error) = result {
            log::debug!("mirror to group {:?}: {error}", group.name);
        }
        worker.mirrors.set(worker.mirrors.get() - 1);
    });
}

/// A copy on its way to a server.
struct Copy<'a> {
    worker: &'a Worker,
    group: &'a Group,
    server: &'a Server,
    kind: Kind,
}

impl Copy<'_> {
    async fn exchange(&self, head: &[u8], body: &[u8]) -> io::Result<()> {
        if self.group.protocol == UpstreamProtocol::Grpc {
            return self.call(head, body).await;
        }
        let (stream, _) = self.connect().await?;
        self.server.counters.requests.add(1);
        let mut parts = [IoSlice::new(head), IoSlice::new(body)];
        write_all(&stream, &mut parts, |bytes| self.count_sent(bytes)).await?;
        let read = read_response(&stream, self.worker, self.kind.to_head).await?;
        self.server.counters.bytes_received.add(read);
        Ok(())
    }

    async fn connect(&self) -> io::Result<(ServerStream, Option<IpAddr>)> {
        let (server, local) = (self.server, self.group.next_local(self.server));
        let descriptors = self.worker.descriptors.servers;
        let stream = upstream::connect(local, server.address, server.tls.as_deref(), descriptors).await?;
        server.counters.connections.add(1);
        Ok((stream, local))
    }

    fn count_sent(&self, bytes: u64) {
        self.server.counters.bytes_sent.add(bytes);
    }

    /// The same to a server of HTTP/2, on a connection that others share.
    async fn call(&self, head: &[u8], body: &[u8]) -> io::Result<()> {
        let (server, keeps) = (self.server, self.group.keep_alive);
        let failed = |failure: Failure| io::Error::other(format!("{failure:?}"));
        let refused = |refusal: Refusal| io::Error::other(refusal);
        let link = match server.links.take().filter(|_| keeps) {
            Some(link) => link,
            None => match self.connect().await? {
                (ServerStream::Plain(stream), local) => {
                    server.links.add(stream, local, keeps).map_err(failed)?
                }
                (ServerStream::Tls(_), _) => return Err(failed(Failure::Handshake)),
            },
        };
        server.counters.requests.add(1);
        let framing = self.kind.framing;
        let call = link.call(head, framing == Framing::None).map_err(failed)?;
        let mut decoder = BodyDecoder::keeping_trailers(framing);
        let (mut at, mut is_taken) = (0, true);
        while at < body.len() && !decoder.is_done() {
            let step = decoder.step(&body[at..]).map_err(refused)?;
            let mut data = &body[at + step.data.start..at + step.data.end];
            at += step.consumed;
            // A server that takes no more may have answered.
            while is_taken && !data.is_empty() {
                match poll_fn(|cx| call.poll_write(cx, data)).await {
                    Ok(sent) => {
                        self.count_sent(sent as u64);
                        data = &data[sent..];
                    }
                    Err(_) => is_taken = false,
                }
            }
        }
        if framing != Framing::None && is_taken {
            let trailers = match decoder.trailers() {
                b"" => None,
                lines => Some(trailers_of(lines).map_err(refused)?),
            };
            // As above.
            let _ = call.finish(trailers);
        }
        let (mut head, mut response) = (Vec::new(), ResponseHead::default());
        loop {
            head.clear();
            response.reset();
            let ends = poll_fn(|cx| call.poll_head(cx, &mut head)).await.map_err(failed)?;
            server.counters.bytes_received.add(head.len() as u64);
            response.parse(&head).map_err(refused)?;
            if ends {
                return Ok(());
            }
            if !response.is_interim() {
                break;
            }
        }
        while let Some(data) = poll_fn(|cx| call.poll_body(cx)).await.map_err(failed)? {
            server.counters.bytes_received.add(data.len() as u64);
        }
        Ok(())
    }
}

/// Reads a response to its end: how many bytes came. What is no response ends it too.
async fn read_response(stream: &ServerStream, worker: &Worker, to_head: bool) -> io::Result<u64> {
    let mut buffer = worker.take_buffer(BODY_BYTES);
    let mut response = ResponseHead::default();
    let mut decoder: Option<BodyDecoder> = None;
    let (mut filled, mut total, mut reads) = (0, 0, 0);
    let result = loop {
        // However fast it comes, it may be without end: then others have their turn, and the deadline is looked at.
        take_turns(&mut reads).await;
        let read = match poll_fn(|cx| stream.poll_read(cx, &mut buffer[filled..])).await {
            Ok(read @ 1..) => read,
            Ok(0) => break Ok(total),
            Err(error) => break Err(error),
        };
        total += read as u64;
        filled += read;
        if let Some(decoder) = &mut decoder {
            if decoder.consume(&buffer[..filled]).is_err() || decoder.is_done() {
                break Ok(total);
            }
            filled = 0;
            continue;
        }
        match response.parse(&buffer[..filled]) {
            Ok(Some(length)) if response.is_interim() => {
                buffer.copy_within(length..filled, 0);
                filled -= length;
                response.reset();
            }
            Ok(Some(length)) => {
                let mut body = BodyDecoder::new(response.body_framing(to_head));
                if body.consume(&buffer[length..filled]).is_err() || body.is_done() {
                    break Ok(total);
                }
                decoder = Some(body);
                filled = 0;
            }
            Ok(None) if filled < buffer.len() => {}
            Ok(None) | Err(_) => break Ok(total),
        }
    };
    worker.put_buffer(buffer);
    result
}
