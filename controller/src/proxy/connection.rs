//! One client's HTTP/1 connection: its requests one after the other. And one stream of a multiplexed connection.

use super::client::{Client, Origin, Side};
use super::client_stream::ClientStream;
use super::decision::NO_MEMORY;
use super::drain::Attempt;
use super::exchange::take_turns;
use super::failure::refusal_text;
use super::http1::head::{RequestHead, ResponseHead};
use super::http1::{HEAD_BYTES_MAX, Refusal};
use super::memory::Pressure;
use super::reactor::Timer;
use super::request::{CLIENT_CLOSED, Next};
use super::stream::{Incoming, Reset};
use super::target::Target;
use super::worker::{Slot, Worker};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// First size of the buffer for request heads; it grows to [`HEAD_BYTES_MAX`].
const HEAD_BYTES: usize = 8 * 1024;
/// Larger storage is not kept from one request for another.
const KEPT_BYTES: usize = 2 * HEAD_BYTES;
/// After an answer to a request that was not read to its end, the rest is read and dropped for so long (nanoseconds)
/// and so many bytes, because closing at once would reset the connection and take the answer away from the client. So
/// it is with streams.
const LINGER_NS: u64 = 2_000_000_000;
const LINGER_BYTES: usize = 1 << 20;

/// Storage for one request at a time; connections borrow it from the worker while a request runs.
#[derive(Default)]
pub struct Scratch {
    /// Bytes from the client: `filled` of them, the current request's head first.
    pub client: Vec<u8>,
    pub filled: usize,
    pub out: Vec<u8>,
    pub upload: Vec<u8>,
    pub request: RequestHead,
    pub response: ResponseHead,
}

/// Serves an HTTP/1 connection until either side is done with it.
pub async fn serve(client: &Client) {
    if let Some(connection) = Connection::of(client) {
        connection.end(connection.run().await).await;
    }
}

/// Answers whatever comes on an HTTP/1 connection with `status`, and closes it.
pub async fn refuse(client: &Client, status: u16, cause: &'static str) {
    let Some(connection) = Connection::of(client) else { return };
    let mut scratch = client.worker.take_scratch();
    scratch.request.reset();
    let start = client.timer.now();
    let next = client.refuse(&client.slot.target(), &mut scratch, start, status, cause).await;
    client.worker.put_scratch(scratch);
    connection.end(next).await;
}

/// Answers the request of one stream of a connection from `origin`.
pub async fn serve_stream(
    worker: Rc<Worker>,
    slot: Rc<Slot>,
    attempt: Rc<Attempt>,
    origin: Rc<Origin>,
    incoming: Incoming,
) {
    let mut scratch = worker.take_scratch();
    let Incoming { head, refusal, stream } = incoming;
    let client = Client {
        worker: worker.clone(),
        slot,
        origin,
        side: Side::Stream(stream),
        timer: Timer::new(),
        attempt,
    };
    let start = client.timer.now();
    scratch.request.reset();
    scratch.filled = head.len();
    // Storage for heads is worth keeping, and this one has its size already.
    scratch.client = head;
    let parsed = scratch.request.parse(&scratch.client);
    let next = match (refusal, parsed) {
        (Some(refusal), _) | (None, Err(refusal)) => {
            let target = client.slot.target();
            client.refuse_head(&target, &mut scratch, start, refusal).await
        }
        (None, Ok(Some(length))) => client.request(&mut scratch, length, start).await,
        (None, Ok(None)) => {
            // The head was written with its end.
            let target = client.slot.target();
            client.refuse_head(&target, &mut scratch, start, Refusal::StartLine).await
        }
    };
    scratch.filled = 0;
    worker.put_scratch(scratch);
    match next {
        Next::Keep | Next::Close => {}
        Next::Linger => {
            linger(&client).await;
            client.reset(Reset::NoError);
        }
        Next::Cut | Next::Abort => client.reset(Reset::Internal),
    }
}

/// Reads what still comes of a request that was answered early. To end its stream at once is right (RFC 9113 section
/// 8.1), but clients drop the answer when the end comes with it: curl 7.88 does while it uploads.
async fn linger(client: &Client) {
    let Side::Stream(stream) = &client.side else { return };
    client.timer.set_after(LINGER_NS);
    let mut left = LINGER_BYTES;
    while left > 0 {
        let read = poll_fn(|cx| match stream.poll_body(cx) {
            Poll::Ready(result) => Poll::Ready(result.ok().flatten().map_or(0, |bytes| bytes.len())),
            Poll::Pending => client.timer.poll_expired(cx).map(|()| 0),
        })
        .await;
        if read == 0 {
            return;
        }
        left = left.saturating_sub(read);
    }
}

/// An HTTP/1 connection.
struct Connection<'a> {
    client: &'a Client,
    stream: &'a ClientStream,
}

impl<'a> Connection<'a> {
    /// `None` for one stream of many.
    fn of(client: &'a Client) -> Option<Connection<'a>> {
        match &client.side {
            Side::Connection(stream) => Some(Connection { client, stream }),
            Side::Stream(_) => None,
        }
    }

    async fn end(&self, next: Next) {
        match next {
            Next::Linger => self.linger().await,
            Next::Abort => {
                // Without the option the connection still closes, only more politely.
                let _ = self.stream.reset_on_close();
            }
            Next::Keep | Next::Close => self.say_end().await,
            Next::Cut => {}
        }
    }

    async fn run(&self) -> Next {
        let mut pipelined: Option<Box<Scratch>> = None;
        let mut requests = 0;
        loop {
            let target = self.client.slot.target();
            let mut scratch = match pipelined.take() {
                Some(scratch) => scratch,
                None if self.request_begins(&target).await => self.client.worker.take_scratch(),
                None => return Next::Close,
            };
            let next = self.request(&target, &mut scratch).await;
            if next == Next::Keep && scratch.filled > 0 && !self.client.is_closing() {
                // Answers of ours wait for nothing: a client that sends on and on would have the worker to itself.
                take_turns(&mut requests).await;
                pipelined = Some(scratch);
                continue;
            }
            scratch.filled = 0;
            self.client.worker.put_scratch(scratch);
            if next != Next::Keep {
                return next;
            }
        }
    }

    /// Waits without any buffer: true when bytes came, false when the idle timeout passed or the listener closed.
    async fn request_begins(&self, target: &Target) -> bool {
        self.client.timer.set_after(target.idle_ns);
        poll_fn(|cx| {
            if self.client.is_closing() {
                Poll::Ready(false)
            } else if self.stream.poll_readable(cx).is_ready() {
                Poll::Ready(true)
            } else {
                self.client.timer.poll_expired(cx).map(|()| false)
            }
        })
        .await
    }

    /// One request, from reading its head to its log line.
    async fn request(&self, target: &Target, scratch: &mut Scratch) -> Next {
        let start = self.client.timer.now();
        let head = match self.read_head(target, scratch).await {
            Ok(head) => head,
            Err(None) => return Next::Close,
            Err(Some((status, cause))) => {
                return self.client.refuse(target, scratch, start, status, cause).await;
            }
        };
        let next = self.client.request(scratch, head, start).await;
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
        self.client.timer.set_after(target.request_ns);
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
                if scratch.filled > 0 && self.client.worker.pressure() == Pressure::RefuseRequests {
                    self.client.worker.stats.add_request_refused();
                    return Err(Some((503, NO_MEMORY)));
                }
                let larger = (scratch.client.len() * 4).clamp(HEAD_BYTES, HEAD_BYTES_MAX);
                scratch.client.resize(larger.max(scratch.filled + 1), 0);
            }
            let space = &mut scratch.client[scratch.filled..];
            let read = poll_fn(|cx| match self.stream.poll_read(cx, space) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => self.client.timer.poll_expired(cx).map(|()| None),
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

    /// Ends our side and reads what still comes, so that the answer is not lost to a reset.
    async fn linger(&self) {
        if self.stream.shutdown().is_err() {
            return;
        }
        self.client.timer.set_after(LINGER_NS);
        let mut waste = vec![0; HEAD_BYTES];
        let mut left = LINGER_BYTES;
        while left > 0 {
            let read = poll_fn(|cx| match self.stream.poll_read(cx, &mut waste) {
                Poll::Ready(result) => Poll::Ready(result.unwrap_or(0)),
                Poll::Pending => self.client.timer.poll_expired(cx).map(|()| 0),
            })
            .await;
            if read == 0 {
                return;
            }
            left = left.saturating_sub(read);
        }
    }

    /// Tells the client that what it has is whole, where its protocol has a word for it.
    async fn say_end(&self) {
        self.client.timer.set_after(LINGER_NS);
        poll_fn(|cx| match self.stream.poll_close_notify(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.client.timer.poll_expired(cx),
        })
        .await;
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
