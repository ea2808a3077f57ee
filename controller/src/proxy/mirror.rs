//! Copies of requests to another group (LR-106), whose responses nobody sees.
//!
//! A copy is sent when its request is done, in a task of its own, so that it delays and fails nothing. A worker has at
//! most [`COPIES_MAX`] under way and copies bodies of at most [`BODY_BYTES_MAX`]; what is more is left out and counted.

use super::group::Group;
use super::http1::body::BodyDecoder;
use super::http1::head::ResponseHead;
use super::memory::Pressure;
use super::reactor::{self, Timer};
use super::upstream::{self, CONNECT_NS, ServerStream};
use super::worker::Worker;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
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

/// Sends a copy to `group`: `head` makes its head for the server at a position, `body` follows it. `to_head`: the
/// method is HEAD.
pub fn send(
    worker: &Rc<Worker>,
    group: &Rc<Group>,
    head: impl FnOnce(usize) -> Vec<u8>,
    body: Option<Vec<u8>>,
    to_head: bool,
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
        let mut exchange = pin!(exchange(&worker, &group, pick.index, &head, &body, to_head));
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

async fn exchange(
    worker: &Worker,
    group: &Group,
    index: usize,
    head: &[u8],
    body: &[u8],
    to_head: bool,
) -> io::Result<()> {
    let server = &group.servers[index];
    let local = group.next_local(server);
    let descriptors = worker.descriptors.servers;
    let stream = upstream::connect(local, server.address, server.tls.as_deref(), descriptors).await?;
    server.counters.connections.add(1);
    server.counters.requests.add(1);
    let sent = |bytes: u64| server.counters.bytes_sent.add(bytes);
    super::exchange::write_all(&stream, &mut [IoSlice::new(head), IoSlice::new(body)], sent).await?;
    let read = read_response(&stream, worker, to_head).await?;
    server.counters.bytes_received.add(read);
    Ok(())
}

/// Reads a response to its end: how many bytes came. What is no response ends it too.
async fn read_response(stream: &ServerStream, worker: &Worker, to_head: bool) -> io::Result<u64> {
    let mut buffer = worker.take_buffer();
    let mut response = ResponseHead::default();
    let mut decoder: Option<BodyDecoder> = None;
    let (mut filled, mut total) = (0, 0);
    let result = loop {
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
