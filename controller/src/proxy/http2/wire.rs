//! What lies under an HTTP/2 connection: frames of many streams leave in one write, and a peer that only keeps us busy is
//! found out.
//!
//! The frames' headers are read along the way, in both directions. Frames that ask for work and bring nothing (PING,
//! SETTINGS, WINDOW_UPDATE, RST_STREAM, ...) are paid from an allowance, which useful traffic and time fill up again: a
//! client may ping as often as it is sent something, but not more. So floods of all kinds (CVE-2019-9512, 9515, 9513,
//! CVE-2023-44487) end in ENHANCE_YOUR_CALM after [`ALLOWANCE`] frames at most.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes gathered before they are written though the turn is not over.
const GATHERED: usize = 64 * 1024;
/// Reads in a row, after which other connections have their turn.
const READS_AT_ONCE: u32 = 16;
/// Frame header, RFC 9113 section 4.1.
const FRAME_HEADER: usize = 9;
/// "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", which a client sends first.
const PREFACE: usize = 24;

/// What a connection may spend before it has earned anything.
pub const ALLOWANCE: u64 = 2_000;
/// Earned in a second.
const EARNED_PER_SECOND: u64 = 100;
/// What a stream costs that its client gave up, or that was refused: more than other frames, because work was begun.
pub const RESET_COST: u64 = 5;
/// SETTINGS may change every stream's window.
const SETTINGS_COST: u64 = 5;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
/// Flag of DATA and HEADERS.
const END_STREAM: u8 = 1;

thread_local! {
    /// The buffer for what is gathered, while no connection has any.
    static GATHER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
}

/// Finds the frames' headers in one direction's bytes.
#[derive(Debug)]
struct Frames {
    /// Bytes before the next header.
    skip: usize,
    header: [u8; FRAME_HEADER],
    known: usize,
}

impl Frames {
    fn new(skip: usize) -> Frames {
        Frames { skip, header: [0; FRAME_HEADER], known: 0 }
    }

    fn follow(&mut self, mut bytes: &[u8], mut on_frame: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (FRAME_HEADER - self.known).min(bytes.len());
            self.header[self.known..self.known + taken].copy_from_slice(&bytes[..taken]);
            self.known += taken;
            bytes = &bytes[taken..];
            if self.known == FRAME_HEADER {
                self.known = 0;
                let [high, middle, low, kind, flags, ..] = self.header;
                let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.skip = length;
                on_frame(Frame { length, kind, flags });
            }
        }
    }
}

/// What the peer may still ask for.
#[derive(Debug)]
struct Allowance {
    left: u64,
    /// When time was last paid for, nanoseconds.
    paid: u64,
    is_exceeded: bool,
}

impl Allowance {
    fn earn(&mut self, units: u64) {
        self.left = (self.left + units).min(ALLOWANCE);
    }

    fn pass_time(&mut self, now: u64) {
        let units = now.saturating_sub(self.paid) / (1_000_000_000 / EARNED_PER_SECOND);
        self.paid += units * (1_000_000_000 / EARNED_PER_SECOND);
        self.earn(units);
    }

    fn spend(&mut self, units: u64) {
        match self.left.checked_sub(units) {
            Some(left) => self.left = left,
            None => self.is_exceeded = true,
        }
    }

    fn on_received(&mut self, frame: Frame) {
        match frame.kind {
            HEADERS => {}
            DATA if frame.length > 0 => self.earn(1 + frame.length as u64 / 1024),
            DATA if frame.flags & END_STREAM != 0 => {}
            RST_STREAM => self.spend(RESET_COST),
            SETTINGS => self.spend(SETTINGS_COST),
            _ => self.spend(1),
        }
    }

    /// Clients answer data with window updates, some of them every 4 KB, for the stream and the connection.
    fn on_sent(&mut self, frame: Frame) {
        match frame.kind {
            HEADERS => self.earn(3),
            DATA => self.earn(2 + frame.length as u64 / 1024),
            _ => {}
        }
    }
}

struct Shared<T> {
    io: T,
    /// What is to be written, from `written` on.
    gathered: Vec<u8>,
    written: usize,
    reads: u32,
    received: Frames,
    sent: Frames,
    allowance: Allowance,
}

/// The connection as h2 sees it; clones are the same connection.
pub struct Wire<T>(Rc<RefCell<Shared<T>>>);

impl<T> Clone for Wire<T> {
    fn clone(&self) -> Self {
        Wire(self.0.clone())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// Towards a client, at the time `now` (CLOCK_MONOTONIC, nanoseconds).
    pub fn to_client(io: T, now: u64) -> Wire<T> {
        Wire::new(io, now, PREFACE, 0)
    }

    /// Towards a server.
    pub fn to_server(io: T, now: u64) -> Wire<T> {
        Wire::new(io, now, 0, PREFACE)
    }

    fn new(io: T, now: u64, received: usize, sent: usize) -> Wire<T> {
        Wire(Rc::new(RefCell::new(Shared {
            io,
            gathered: Vec::new(),
            written: 0,
            reads: 0,
            received: Frames::new(received),
            sent: Frames::new(sent),
            allowance: Allowance { left: ALLOWANCE, paid: now, is_exceeded: false },
        })))
    }

    /// Call before the connection is polled in a turn.
    pub fn begin_turn(&self, now: u64) {
        let mut shared = self.0.borrow_mut();
        shared.reads = 0;
        shared.allowance.pass_time(now);
    }

    /// Takes `units` from the peer's allowance.
    pub fn spend(&self, units: u64) {
        self.0.borrow_mut().allowance.spend(units);
    }

    /// Whether the peer asked for more than its allowance. Nothing more is read from it.
    pub fn is_exceeded(&self) -> bool {
        self.0.borrow().allowance.is_exceeded
    }

    /// Writes what was gathered; call when the turn's frames are all there.
    pub fn poll_gathered(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_gathered(cx)
    }

    /// Reads and drops what still comes, so that closing does not take back what was sent: how many bytes, 0 at the end.
    pub fn poll_waste(&self, cx: &mut Context<'_>, waste: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(waste);
        ready!(Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Shared<T> {
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.gathered.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.gathered[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        if self.written > 0 {
            self.written = 0;
            self.gathered.clear();
            GATHER.set(std::mem::take(&mut self.gathered));
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let shared = &mut *self.0.borrow_mut();
        if shared.allowance.is_exceeded {
            // Whoever polls looks at that next.
            return Poll::Pending;
        }
        if shared.reads == READS_AT_ONCE {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        shared.reads += 1;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut shared.io).poll_read(cx, buffer))?;
        let allowance = &mut shared.allowance;
        shared.received.follow(&buffer.filled()[before..], |frame| allowance.on_received(frame));
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let shared = &mut *self.0.borrow_mut();
        if shared.gathered.len() >= GATHERED {
            ready!(shared.poll_gathered(cx))?;
        }
        if shared.gathered.capacity() == 0 {
            shared.gathered = GATHER.take();
        }
        let before = shared.gathered.len();
        for buffer in buffers {
            shared.gathered.extend_from_slice(buffer);
        }
        let allowance = &mut shared.allowance;
        shared.sent.follow(&shared.gathered[before..], |frame| allowance.on_sent(frame));
        Poll::Ready(Ok(shared.gathered.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// h2 flushes after almost every frame; [`Wire::poll_gathered`] does once for all.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shared = &mut *self.0.borrow_mut();
        ready!(shared.poll_gathered(cx))?;
        Pin::new(&mut shared.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn finds_frames_however_the_bytes_are_cut() {
        let mut bytes = vec![b'x'; PREFACE];
        bytes.extend(frame(SETTINGS, 0, &[]));
        bytes.extend(frame(DATA, 1, &[7; 300]));
        bytes.extend(frame(RST_STREAM, 0, &[0; 4]));
        let expected = [
            Frame { length: 0, kind: SETTINGS, flags: 0 },
            Frame { length: 300, kind: DATA, flags: 1 },
            Frame { length: 4, kind: RST_STREAM, flags: 0 },
        ];
        for step in 1..=bytes.len() {
            let mut frames = Frames::new(PREFACE);
            let mut found = Vec::new();
            bytes.chunks(step).for_each(|part| frames.follow(part, |frame| found.push(frame)));
            assert_eq!(found, expected, "{step} bytes at a time");
        }
    }

    #[test]
    fn the_allowance_is_spent_by_asking_and_earned_by_traffic_and_time() {
        let ping = Frame { length: 8, kind: 6, flags: 0 };
        let mut allowance = Allowance { left: ALLOWANCE, paid: 0, is_exceeded: false };
        (0..ALLOWANCE).for_each(|_| allowance.on_received(ping));
        assert!(!allowance.is_exceeded);
        // Every frame sent pays for two pings.
        for _ in 0..ALLOWANCE {
            allowance.on_sent(Frame { length: 5, kind: DATA, flags: 0 });
            allowance.on_received(ping);
            allowance.on_received(ping);
        }
        assert!(!allowance.is_exceeded);
        allowance.pass_time(1_009_000_000);
        assert_eq!((allowance.left, allowance.paid), (EARNED_PER_SECOND, 1_000_000_000));
        (0..=EARNED_PER_SECOND).for_each(|_| allowance.on_received(ping));
        assert!(allowance.is_exceeded);
        // A request, a response and a reset: no loss.
        let mut allowance = Allowance { left: 0, paid: 0, is_exceeded: false };
        allowance.on_received(Frame { length: 30, kind: HEADERS, flags: 4 });
        allowance.on_sent(Frame { length: 30, kind: HEADERS, flags: 4 });
        allowance.on_sent(Frame { length: 30, kind: DATA, flags: 0 });
        allowance.on_received(Frame { length: 4, kind: RST_STREAM, flags: 0 });
        assert!(!allowance.is_exceeded);
        // Empty DATA that ends a request is no flood, and other empty DATA is.
        allowance.on_received(Frame { length: 0, kind: DATA, flags: END_STREAM });
        assert!(!allowance.is_exceeded);
        allowance.on_received(Frame { length: 0, kind: DATA, flags: 0 });
        assert!(allowance.is_exceeded);
    }

    #[test]
    fn data_earns_by_its_length_and_what_makes_work_costs_more_than_a_ping() {
        let change = |received: bool, kind: u8, length: usize| {
            let mut allowance = Allowance { left: 1_000, paid: 0, is_exceeded: false };
            let frame = Frame { length, kind, flags: 0 };
            if received {
                allowance.on_received(frame)
            } else {
                allowance.on_sent(frame)
            }
            allowance.left as i64 - 1_000
        };
        let ping = change(true, 6, 8);
        assert!(ping < 0);
        for costly in [SETTINGS, RST_STREAM] {
            assert!(change(true, costly, 6) < ping, "{costly}");
        }
        assert_eq!(change(true, HEADERS, 30), 0);
        for received in [true, false] {
            let [one, short, long] = [1, 1_000, 16_384].map(|length| change(received, DATA, length));
            assert!(0 < one && one <= short && short < long, "{one} {short} {long}");
        }
        // What is sent pays for a window update for each 4 KB, of the stream and of the connection.
        assert!(change(false, DATA, 16_384) >= 2 * 16_384 / 4_096);
        // What is earned is no more than there was at first.
        let mut allowance = Allowance { left: ALLOWANCE - 1, paid: 0, is_exceeded: false };
        allowance.on_sent(Frame { length: 16_384, kind: DATA, flags: 0 });
        assert_eq!(allowance.left, ALLOWANCE);
    }
}
