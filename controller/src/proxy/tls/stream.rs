//! A TLS connection over a socket of the reactor.
//!
//! [`TlsStream`] feeds rustls from a socket and offers what that socket does. Ciphertext is read up to [`WIRE_BYTES`] at
//! a time into one buffer per thread: rustls by itself would read 4 KB per system call. A connection holds ciphertext of
//! its own only when more came than its reader had room for, and then no more than that.
//!
//! Invariants: what arrives and is no application data (session tickets, key updates) is never taken for data; an end
//! without close_notify is an error, so that what lasts until the end is known to be whole (RFC 8446 section 6.1); after
//! an error every later read finds one again.

use crate::proxy::reactor::TcpStream;
use rustls::{Connection, ProtocolVersion, ServerConnection};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::ops::Range;
use std::task::{Context, Poll, Waker, ready};

/// Most ciphertext read at a time: four records of the largest kind.
const WIRE_BYTES: usize = 64 * 1024;
/// What the ciphertext of a small read may be longer than its plaintext: a few records' headers, tags and padding.
const OVERHEAD_BYTES: usize = 512;
/// Ciphertext read at a time to find out whether the peer has closed, while nobody has a use for data.
const PROBE_BYTES: usize = 4 * 1024;

thread_local! {
    /// The buffer for ciphertext, while no session has it.
    static WIRE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A TLS connection. As with [`TcpStream`], one task may poll both directions.
pub struct TlsStream {
    tcp: TcpStream,
    session: RefCell<Session>,
}

/// What a client began with, in the thread's buffer; not to be held while waiting.
pub(super) struct Received {
    wire: Vec<u8>,
    length: usize,
}

impl Received {
    /// Ready when something came; nothing at all at the end.
    pub(super) fn poll(cx: &mut Context<'_>, tcp: &TcpStream) -> Poll<io::Result<Received>> {
        poll_receive(cx, tcp, WIRE_BYTES).map_ok(|(wire, length)| Received { wire, length })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.wire[..self.length]
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.wire));
    }
}

struct Session {
    session: Connection,
    /// Holds `pending`, the ciphertext that came and is not taken in; without storage when there is none.
    wire: Vec<u8>,
    pending: Range<usize>,
    /// Bytes of the writer's that are encrypted but not all sent.
    accepted: usize,
    /// What waits to be sent can go with the next data: tickets, which nobody waits for.
    may_wait: bool,
    /// What came breaks the protocol; rustls says again how when it is asked.
    is_broken: bool,
}

/// What can be read without anything arriving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Buffered {
    Nothing,
    Data,
    /// The end, or an error.
    End,
}

impl TlsStream {
    /// `session` over `tcp`, before the handshake.
    pub(super) fn new(tcp: TcpStream, session: Connection) -> TlsStream {
        TlsStream::with_pending(tcp, session, Vec::new(), 0..0)
    }

    /// The server's side of a connection whose client has begun.
    pub(super) fn begun(tcp: TcpStream, session: ServerConnection, mut received: Received) -> TlsStream {
        let pending = 0..received.length;
        TlsStream::with_pending(tcp, session.into(), std::mem::take(&mut received.wire), pending)
    }

    fn with_pending(tcp: TcpStream, session: Connection, wire: Vec<u8>, pending: Range<usize>) -> TlsStream {
        let session = Session { session, wire, pending, accepted: 0, may_wait: false, is_broken: false };
        TlsStream { tcp, session: RefCell::new(session) }
    }

    /// Until the handshake is complete. What is left to send goes with the first data.
    ///
    /// Errors: `InvalidData` with a [`rustls::Error`] inside, after the alert was sent; `UnexpectedEof`; the socket's.
    pub(super) async fn shake_hands(&self) -> io::Result<()> {
        poll_fn(|cx| self.session.borrow_mut().poll_handshake(cx, &self.tcp)).await
    }

    /// What `ask` says of the session; `None` on the client's side.
    pub(super) fn with_server<R>(&self, ask: impl FnOnce(&ServerConnection) -> R) -> Option<R> {
        match &self.session.borrow().session {
            Connection::Server(session) => Some(ask(session)),
            Connection::Client(_) => None,
        }
    }

    /// The connection under it.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// As [`TcpStream::poll_read`]; 0 only after the peer's close_notify.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.session.borrow_mut().poll_read(cx, &self.tcp, buffer)
    }

    /// As [`TcpStream::poll_write_vectored`]. After `Pending` the next call must be given the same bytes.
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.session.borrow_mut().poll_write(cx, &self.tcp, buffers)
    }

    /// Ready when data, the end or an error is there to read. Other than with [`TcpStream::poll_readable`] it surely is.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.session.borrow_mut().poll_fill(cx, &self.tcp, WIRE_BYTES).map(drop)
    }

    /// Ready when the peer has closed its side, of TCP or, with nothing before it to read, of TLS; or the connection
    /// broke. Data is left to be read.
    pub fn poll_hung_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.tcp.poll_hung_up(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut session = self.session.borrow_mut();
        match ready!(session.poll_fill(cx, &self.tcp, PROBE_BYTES)) {
            Ok(()) if session.buffered() == Buffered::Data => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    /// False if data or the end has come since the last read. Tickets are taken in.
    pub fn is_quiet(&self) -> bool {
        let mut session = self.session.borrow_mut();
        if session.buffered() == Buffered::Nothing && session.pending.is_empty() && self.tcp.is_quiet() {
            return true;
        }
        // The waker of an idle connection wakes nobody.
        session.poll_fill(&mut Context::from_waker(Waker::noop()), &self.tcp, PROBE_BYTES).is_pending()
    }

    /// Sends what waits to be sent.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.borrow_mut().poll_flush(cx, &self.tcp)
    }

    /// Sends close_notify: what the peer has is whole, and nothing more comes. Ready once the socket has it. Poll it only
    /// while no write is pending.
    pub fn poll_close_notify(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.session.borrow_mut();
        // Only the first call queues one.
        session.session.send_close_notify();
        session.poll_flush(cx, &self.tcp)
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        let session = self.session.get_mut();
        // A client must not take a response that was cut for a whole one, so it is told of the end by those who know.
        if matches!(session.session, Connection::Client(_)) && !session.session.is_handshaking() {
            session.session.send_close_notify();
            // What the socket does not take at once is not waited for: the server finds the end either way.
            let _ = session.poll_flush(&mut Context::from_waker(Waker::noop()), &self.tcp);
        }
    }
}

impl Session {
    fn poll_handshake(&mut self, cx: &mut Context<'_>, tcp: &TcpStream) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            let progress = if !self.pending.is_empty() {
                self.take_in()
            } else if self.session.wants_write() {
                ready!(self.poll_flush(cx, tcp))
            } else {
                match ready!(self.poll_wire(cx, tcp, WIRE_BYTES)) {
                    Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                    result => result.map(drop),
                }
            };
            if let Err(error) = progress {
                // The alert. What the socket does not take at once is not waited for.
                let _ = self.poll_flush(cx, tcp);
                return Poll::Ready(Err(error));
            }
        }
        // A TLS 1.2 server has the last word, and its client waits for it.
        let is_last_word = matches!(self.session, Connection::Server(_))
            && self.session.protocol_version() == Some(ProtocolVersion::TLSv1_2);
        if is_last_word {
            return self.poll_flush(cx, tcp);
        }
        self.may_wait = true;
        Poll::Ready(Ok(()))
    }

    fn buffered(&mut self) -> Buffered {
        match self.session.reader().fill_buf() {
            Ok([_, ..]) => Buffered::Data,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.is_broken => Buffered::Nothing,
            Ok([]) | Err(_) => Buffered::End,
        }
    }

    /// Until there is something for the reader, reading up to `limit` of ciphertext at a time.
    fn poll_fill(&mut self, cx: &mut Context<'_>, tcp: &TcpStream, limit: usize) -> Poll<io::Result<()>> {
        while self.buffered() == Buffered::Nothing {
            if self.pending.is_empty() {
                ready!(self.poll_wire(cx, tcp, limit))?;
            } else {
                self.take_in()?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        tcp: &TcpStream,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.session.reader().read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                // What came before an error is good; the next read finds it again.
                Err(_) if filled > 0 && self.pending.is_empty() => break,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Err(_) if self.is_broken => {
                    let broken = self.session.process_new_packets().err().map(invalid);
                    return Poll::Ready(Err(broken.unwrap_or_else(|| io::ErrorKind::InvalidData.into())));
                }
                Err(_) => {
                    let progress = if self.pending.is_empty() {
                        let limit = WIRE_BYTES.min(buffer.len() + OVERHEAD_BYTES);
                        ready!(self.poll_wire(cx, tcp, limit)).map(drop)
                    } else {
                        self.take_in()
                    };
                    match progress {
                        Err(error) if filled == 0 && self.buffered() != Buffered::Data => {
                            return Poll::Ready(Err(error));
                        }
                        _ => {}
                    }
                }
            }
        }
        self.keep_little();
        Poll::Ready(Ok(filled))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        tcp: &TcpStream,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.accepted == 0 {
                self.accepted = self.session.writer().write_vectored(buffers)?;
            }
            ready!(self.poll_flush(cx, tcp))?;
            if self.accepted > 0 {
                return Poll::Ready(Ok(std::mem::take(&mut self.accepted)));
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, tcp: &TcpStream) -> Poll<io::Result<()>> {
        self.may_wait = false;
        while self.session.wants_write() {
            match self.session.write_tls(&mut Wire { tcp, cx }) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes in what the socket has, up to `limit`: how much that was, 0 at its end. Nothing may be pending.
    fn poll_wire(&mut self, cx: &mut Context<'_>, tcp: &TcpStream, limit: usize) -> Poll<io::Result<usize>> {
        let (wire, read) = ready!(poll_receive(cx, tcp, limit))?;
        (self.wire, self.pending) = (wire, 0..read);
        let mut taken = self.take_in();
        self.keep_little();
        if read == 0 {
            taken = self.session.read_tls(&mut io::empty()).map(drop);
        }
        // An answer to a key update, or an alert. What the socket does not take now, the next write sends. A writer at
        // work sends its bytes itself: it must know that they are sent before the peer can answer them.
        let is_free = self.accepted == 0 && !self.may_wait && !self.session.is_handshaking();
        if self.session.wants_write() && is_free {
            let _ = self.poll_flush(cx, tcp);
        }
        Poll::Ready(taken.map(|()| read))
    }

    /// Decrypts what came, up to the first plaintext.
    fn take_in(&mut self) -> io::Result<()> {
        let result = self.decrypt();
        if result.is_err() {
            self.is_broken = true;
            self.pending = 0..0;
        }
        if self.pending.is_empty() {
            self.give_back();
        }
        result
    }

    fn decrypt(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.session.read_tls(&mut &self.wire[self.pending.clone()])? {
                // Nothing counts after close_notify.
                0 => self.pending = 0..0,
                taken => self.pending.start += taken,
            }
            let state = self.session.process_new_packets().map_err(invalid)?;
            if state.plaintext_bytes_to_read() > 0 {
                break;
            }
        }
        Ok(())
    }

    /// Gives the thread's buffer back, with a copy of what is pending if that is little: the reader may be long.
    fn keep_little(&mut self) {
        if !self.pending.is_empty() && self.pending.len() <= PROBE_BYTES && self.wire.len() == WIRE_BYTES {
            let kept = self.wire[self.pending.clone()].to_vec();
            self.give_back();
            self.pending = 0..kept.len();
            self.wire = kept;
        }
    }

    fn give_back(&mut self) {
        give_back(std::mem::take(&mut self.wire));
    }
}

fn give_back(wire: Vec<u8>) {
    if wire.len() == WIRE_BYTES {
        WIRE.set(wire);
    }
}

/// The thread's buffer with what the socket had, up to `limit`, and how much that is: 0 at its end.
fn poll_receive(cx: &mut Context<'_>, tcp: &TcpStream, limit: usize) -> Poll<io::Result<(Vec<u8>, usize)>> {
    ready!(tcp.poll_readable(cx));
    let mut wire = WIRE.take();
    wire.resize(WIRE_BYTES, 0);
    match tcp.poll_read(cx, &mut wire[..limit]) {
        Poll::Ready(Ok(read)) => Poll::Ready(Ok((wire, read))),
        Poll::Ready(Err(error)) => {
            give_back(wire);
            Poll::Ready(Err(error))
        }
        Poll::Pending => {
            give_back(wire);
            Poll::Pending
        }
    }
}

pub(super) fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The socket as rustls writes to it.
struct Wire<'a, 'c, 'w> {
    tcp: &'a TcpStream,
    cx: &'c mut Context<'w>,
}

impl Write for Wire<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(self.tcp.poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match buffers {
            [buffer] => self.write(buffer),
            _ => or_would_block(self.tcp.poll_write_vectored(self.cx, buffers)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_would_block(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
