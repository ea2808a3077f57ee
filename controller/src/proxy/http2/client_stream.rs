//! A client's stream over h2.

use super::sending::{Chunk, Queue, Sending, io_error, out_of_order};
use crate::proxy::stream::{Reset, Stream};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Response};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// How much a client's connection has under way.
#[derive(Default)]
pub struct Load {
    /// Streams there are.
    pub live: Cell<usize>,
    /// Bytes of their heads.
    pub heads: Cell<usize>,
}

/// A client's request.
pub struct ClientStream {
    load: Rc<Load>,
    head: usize,
    body: RefCell<RecvStream>,
    /// Until the response's head is sent.
    awaited: RefCell<Option<SendResponse<Chunk>>>,
    sending: Sending,
}

impl ClientStream {
    /// For a request whose head has `head` bytes.
    pub fn new(
        body: RecvStream,
        awaited: SendResponse<Chunk>,
        head: usize,
        load: &Rc<Load>,
        queue: &Rc<Queue>,
    ) -> ClientStream {
        load.live.set(load.live.get() + 1);
        load.heads.set(load.heads.get() + head);
        ClientStream {
            load: load.clone(),
            head,
            body: RefCell::new(body),
            awaited: RefCell::new(Some(awaited)),
            sending: Sending::new(queue),
        }
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.load.live.set(self.load.live.get() - 1);
        self.load.heads.set(self.load.heads.get() - self.head);
    }
}

/// The next bytes of a body; the peer may send as many more.
pub fn poll_data(body: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, h2::Error>> {
    loop {
        match ready!(body.poll_data(cx)) {
            None => return Poll::Ready(Ok(None)),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            Some(Ok(bytes)) if bytes.is_empty() => {}
            Some(Ok(bytes)) => {
                body.flow_control().release_capacity(bytes.len())?;
                return Poll::Ready(Ok(Some(bytes)));
            }
        }
    }
}

impl Stream for ClientStream {
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        poll_data(&mut self.body.borrow_mut(), cx).map_err(io_error)
    }

    fn poll_trailers(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<HeaderMap>>> {
        self.body.borrow_mut().poll_trailers(cx).map_err(io_error)
    }

    fn send_head(&self, head: Response<()>, ends: bool) -> io::Result<()> {
        let mut place = self.awaited.borrow_mut();
        let awaited = place.as_mut().ok_or_else(out_of_order)?;
        if head.status().is_informational() {
            return awaited.send_informational(head).map_err(io_error);
        }
        self.sending.begin(awaited.send_response(head, ends).map_err(io_error)?);
        *place = None;
        Ok(())
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.sending.poll_write(cx, bytes)
    }

    fn poll_finish(&self, _: &mut Context<'_>, trailers: &mut Option<HeaderMap>) -> Poll<io::Result<()>> {
        Poll::Ready(self.sending.finish(trailers.take()))
    }

    fn reset(&self, reason: Reset) {
        let reason = match reason {
            Reset::Internal => Reason::INTERNAL_ERROR,
            // h2 does so by itself as its handles go, after the response, which a reset now would take back.
            Reset::NoError => return,
            Reset::Protocol => Reason::PROTOCOL_ERROR,
        };
        if !self.sending.reset(reason)
            && let Some(awaited) = &mut *self.awaited.borrow_mut()
        {
            awaited.send_reset(reason);
        }
    }

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(polled) = self.sending.poll_reset(cx) {
            return polled;
        }
        match &mut *self.awaited.borrow_mut() {
            Some(awaited) => awaited.poll_reset(cx).map(drop),
            None => Poll::Ready(()),
        }
    }
}
