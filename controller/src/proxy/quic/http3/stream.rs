//! One request's stream, from its head on.

use super::connection::Live;
use super::frame::{DATA, Fault, Frames, HEADERS, is_known, push_frame};
use super::head::{SECTION_MAX, trailers_of};
use super::{Code, qpack};
use crate::proxy::reactor;
use crate::proxy::stream::{Reset, Stream};
use bytes::Bytes;
use http::{HeaderMap, Response};
use quinn::{SendStream, StoppedError, VarInt};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// Most bytes that one DATA frame of ours announces: any number would do, but for a client that keeps whole frames.
const DATA_MAX: usize = 64 * 1024;

/// A request's stream, as the engine uses it. Dropped before the response has ended, it is reset, so that the client cannot
/// take what it has for the whole.
pub struct RequestStream {
    receive: RefCell<Receive>,
    send: Rc<RefCell<Sending>>,
    gone: RefCell<Gone>,
    live: Rc<Live>,
}

impl RequestStream {
    /// `frames` from behind the request's head, or from within it if that was too long; `length` as its Content-Length says.
    pub fn new(frames: Frames, sending: Sending, length: Option<u64>, live: Rc<Live>) -> RequestStream {
        // What was looked at for the request's end may have stopped within a frame without meaning.
        let at = if frames.is_peeked() { At::Header } else { At::Unknown { behind: false } };
        let receive = Receive { frames, at, left: length, section: Vec::new(), trailers: None };
        RequestStream {
            receive: RefCell::new(receive),
            send: Rc::new(RefCell::new(sending)),
            gone: RefCell::new(Gone::Unasked),
            live,
        }
    }

    fn broken(&self, fault: Fault) -> io::Error {
        match fault {
            Fault::Gone => io::ErrorKind::ConnectionReset.into(),
            Fault::Error(code) => {
                if code == Code::MESSAGE {
                    self.reset(Reset::Protocol);
                } else {
                    self.live.fail(code);
                }
                io::Error::new(io::ErrorKind::InvalidData, code.name())
            }
        }
    }
}

impl Stream for RequestStream {
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let polled = self.receive.borrow_mut().poll_body(cx);
        polled.map_err(|fault| self.broken(fault))
    }

    fn poll_trailers(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<HeaderMap>>> {
        // Nothing of the body is lost here: the pipeline asks after its end.
        while ready!(self.poll_body(cx))?.is_some() {}
        Poll::Ready(Ok(self.receive.borrow_mut().trailers.take()))
    }

    fn send_head(&self, head: Response<()>, ends: bool) -> io::Result<()> {
        let mut sending = self.send.borrow_mut();
        let mut section = Vec::with_capacity(256);
        qpack::encode_response(&mut section, head.status(), head.headers());
        sending.push_section(&section);
        if sending.poll_flush(&mut Context::from_waker(Waker::noop()))?.is_ready() {
            if ends {
                sending.finish();
            }
        } else if ends {
            // Nobody will poll this stream for it.
            let sending = self.send.clone();
            let live = self.live.clone();
            reactor::spawn(async move {
                // A client that is gone needs no end.
                let _ = poll_fn(|cx| sending.borrow_mut().poll_finish(cx)).await;
                drop(live);
            });
        }
        Ok(())
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.send.borrow_mut().poll_write(cx, bytes)
    }

    fn poll_finish(&self, cx: &mut Context<'_>, trailers: &mut Option<HeaderMap>) -> Poll<io::Result<()>> {
        let mut sending = self.send.borrow_mut();
        if let Some(trailers) = trailers.take() {
            let mut section = Vec::with_capacity(128);
            qpack::encode_trailers(&mut section, &trailers);
            sending.push_section(&section);
        }
        sending.poll_finish(cx)
    }

    fn reset(&self, reason: Reset) {
        let code = match reason {
            Reset::Internal => Code::INTERNAL,
            Reset::NoError => Code::NO_ERROR,
            Reset::Protocol => Code::MESSAGE,
        };
        self.receive.borrow_mut().stop(code);
        if reason != Reset::NoError {
            self.send.borrow_mut().reset(code);
        }
    }

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut gone = self.gone.borrow_mut();
        if let Gone::Unasked = *gone {
            *gone = Gone::Asked(Box::pin(self.send.borrow().stream().stopped()));
        }
        if let Gone::Asked(stopped) = &mut *gone
            && let Poll::Ready(result) = stopped.as_mut().poll(cx)
        {
            // `None`: the client has the whole response, or we broke it off.
            *gone = if matches!(result, Ok(None)) { Gone::Never } else { Gone::Yes };
        }
        if let Gone::Yes = *gone {
            return Poll::Ready(());
        }
        self.receive.borrow_mut().frames.poll_reset(cx)
    }
}

impl Drop for RequestStream {
    fn drop(&mut self) {
        self.receive.get_mut().stop(Code::NO_ERROR);
    }
}

enum Gone {
    Unasked,
    Asked(Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>>>>),
    Never,
    Yes,
}

/// Where a request's body is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a frame of the body.
    Header,
    Data,
    /// In a frame without meaning, before the trailers or behind them.
    Unknown {
        behind: bool,
    },
    Trailers,
    /// Before a frame that follows the trailers.
    Behind,
    End,
}

struct Receive {
    frames: Frames,
    at: At,
    /// What Content-Length leaves.
    left: Option<u64>,
    /// Trailers, as far as they have come.
    section: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Receive {
    fn stop(&mut self, code: Code) {
        if !self.frames.is_at_end() {
            self.frames.stop(code);
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        loop {
            match self.at {
                At::Header | At::Behind => {
                    let behind = self.at == At::Behind;
                    self.at = match ready!(self.frames.poll_frame(cx))? {
                        None => {
                            // RFC 9114 section 4.1.2: less than Content-Length says is malformed.
                            if self.left.is_some_and(|left| left > 0) {
                                return Poll::Ready(Err(Fault::Error(Code::MESSAGE)));
                            }
                            At::End
                        }
                        Some((DATA, length)) if !behind => {
                            if let Some(left) = &mut self.left {
                                *left = left.checked_sub(length).ok_or(Fault::Error(Code::MESSAGE))?;
                            }
                            At::Data
                        }
                        Some((HEADERS, length)) if !behind => {
                            if length > SECTION_MAX as u64 {
                                return Poll::Ready(Err(Fault::Error(Code::MESSAGE)));
                            }
                            At::Trailers
                        }
                        Some((kind, _)) if is_known(kind) => {
                            return Poll::Ready(Err(Fault::Error(Code::FRAME_UNEXPECTED)));
                        }
                        Some(_) => At::Unknown { behind },
                    };
                }
                At::Data => match ready!(self.frames.poll_payload(cx))? {
                    Some(bytes) => return Poll::Ready(Ok(Some(bytes))),
                    None => self.at = At::Header,
                },
                At::Unknown { behind } => {
                    ready!(self.frames.poll_skip(cx))?;
                    self.at = if behind { At::Behind } else { At::Header };
                }
                At::Trailers => {
                    ready!(self.frames.poll_whole(cx, &mut self.section))?;
                    self.trailers =
                        Some(trailers_of(&std::mem::take(&mut self.section)).map_err(Fault::Error)?);
                    self.at = At::Behind;
                }
                At::End => return Poll::Ready(Ok(None)),
            }
        }
    }
}

/// The response's side of a stream. Dropped before its end, it is reset.
pub struct Sending {
    /// Handed on when this is dropped.
    stream: Option<SendStream>,
    /// Frames to be sent before anything else: `sent` bytes are.
    out: Vec<u8>,
    sent: usize,
    /// What the current DATA frame still lacks.
    left: usize,
    ended: bool,
    live: Rc<Live>,
}

impl Sending {
    pub fn new(stream: SendStream, live: Rc<Live>) -> Sending {
        Sending { stream: Some(stream), out: Vec::new(), sent: 0, left: 0, ended: false, live }
    }

    fn stream(&self) -> &SendStream {
        self.stream.as_ref().expect("taken only when dropped")
    }

    fn stream_mut(&mut self) -> &mut SendStream {
        self.stream.as_mut().expect("taken only when dropped")
    }

    fn push_section(&mut self, section: &[u8]) {
        push_frame(&mut self.out, HEADERS, section.len());
        self.out.extend_from_slice(section);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let stream = self.stream.as_mut().expect("taken only when dropped");
            self.sent += ready!(Pin::new(stream).poll_write(cx, &self.out[self.sent..]))?;
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            self.left = bytes.len().min(DATA_MAX);
            push_frame(&mut self.out, DATA, self.left);
        }
        ready!(self.poll_flush(cx))?;
        let offered = &bytes[..self.left.min(bytes.len())];
        let written = ready!(Pin::new(self.stream_mut()).poll_write(cx, offered))?;
        self.left -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.left > 0 {
            // Announced and not written.
            self.reset(Code::INTERNAL);
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        ready!(self.poll_flush(cx))?;
        self.finish();
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self) {
        if !self.ended {
            self.ended = true;
            // It fails only where the client stopped the stream, and then there is nothing to end.
            let _ = self.stream_mut().finish();
        }
    }

    /// Breaks the stream off, unless it has ended.
    pub fn reset(&mut self, code: Code) {
        if !self.ended {
            self.ended = true;
            // As above.
            let _ = self.stream_mut().reset(code.into());
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.reset(Code::INTERNAL);
        if let Some(stream) = self.stream.take() {
            self.live.sent(stream);
        }
    }
}
