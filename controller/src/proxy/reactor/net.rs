//! TCP sockets of the reactor.

use super::{Core, current};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use slab::Slab;
use socket2::{SockRef, Socket};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The registered sockets of a thread by token: slot in the lower half, generation in the upper.
#[derive(Default)]
pub(super) struct Sockets {
    slots: RefCell<Slab<Rc<Readiness>>>,
    generation: Cell<u32>,
}

/// What is known of a socket without asking the kernel.
pub(super) struct Readiness {
    generation: u32,
    pub(super) readable: Cell<bool>,
    pub(super) writable: Cell<bool>,
    /// The peer closed its side, or the connection is broken.
    hung_up: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    /// Tasks that wait to write to a socket that several share.
    writers: RefCell<Vec<Waker>>,
}

impl Sockets {
    /// Takes an event in.
    pub(super) fn notify(&self, token: u64, flags: EventFlags) {
        let slots = self.slots.borrow();
        let Some(readiness) = slots.get(token as u32 as usize) else { return };
        if readiness.generation != (token >> 32) as u32 {
            return;
        }
        let broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if broken || flags.contains(EventFlags::RDHUP) {
            readiness.hung_up.set(true);
        }
        if broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
            readiness.readable.set(true);
            wake(&readiness.reader);
        }
        if broken || flags.contains(EventFlags::OUT) {
            // The first OUT of an idle socket wakes nobody.
            readiness.writable.set(true);
            wake(&readiness.writer);
            if !readiness.writers.borrow().is_empty() {
                readiness.writers.take().into_iter().for_each(Waker::wake);
            }
        }
    }
}

/// Wakes and keeps the waker, so that the same task need not store it again.
fn wake(place: &RefCell<Option<Waker>>) {
    if let Some(waker) = &*place.borrow() {
        waker.wake_by_ref();
    }
}

fn store(place: &RefCell<Option<Waker>>, waker: &Waker) {
    match &mut *place.borrow_mut() {
        Some(known) => known.clone_from(waker),
        empty => *empty = Some(waker.clone()),
    }
}

/// A descriptor registered with this thread's epoll for as long as it lives.
pub(super) struct Registered {
    core: Rc<Core>,
    readiness: Rc<Readiness>,
    key: usize,
    fd: OwnedFd,
}

impl Registered {
    pub(super) fn new(fd: OwnedFd, flags: EventFlags, writable: bool) -> io::Result<Registered> {
        let core = current();
        let generation = core.sockets.generation.get().wrapping_add(1) & (u32::MAX >> 1);
        core.sockets.generation.set(generation);
        let readiness = Rc::new(Readiness {
            generation,
            // Data may have come before the registration; the event that says so is on its way.
            readable: Cell::new(false),
            writable: Cell::new(writable),
            hung_up: Cell::new(false),
            reader: RefCell::new(None),
            writer: RefCell::new(None),
            writers: RefCell::default(),
        });
        let key = core.sockets.slots.borrow_mut().insert(readiness.clone());
        let registered = Registered { core, readiness, key, fd };
        registered.watch(flags)?;
        Ok(registered)
    }

    fn watch(&self, flags: EventFlags) -> io::Result<()> {
        let token = u64::from(self.readiness.generation) << 32 | self.key as u64;
        Ok(epoll::add(&self.core.epoll, &self.fd, EventData::new_u64(token), flags)?)
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.readiness.readable.get() {
            return Poll::Ready(());
        }
        store(&self.readiness.reader, cx.waker());
        Poll::Pending
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.readiness.writable.get() {
            return Poll::Ready(());
        }
        store(&self.readiness.writer, cx.waker());
        Poll::Pending
    }

    /// As [`Self::poll_writable`], for any number of tasks at once.
    pub(super) fn poll_writable_shared(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.readiness.writable.get() {
            return Poll::Ready(());
        }
        let mut writers = self.readiness.writers.borrow_mut();
        if !writers.iter().any(|waker| waker.will_wake(cx.waker())) {
            writers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Closing the descriptor takes it out of epoll, unless it is shared (a listener); then it is taken out here.
        self.core.sockets.slots.borrow_mut().remove(self.key);
    }
}

/// A TCP connection. All methods take `&self`: both directions can be polled by one task at a time.
pub struct TcpStream {
    registered: Registered,
}

impl std::fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TcpStream").field(&self.registered.fd).finish()
    }
}

const STREAM_EVENTS: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

impl TcpStream {
    /// Registers a connected, non-blocking socket.
    pub fn new(fd: OwnedFd) -> io::Result<TcpStream> {
        Ok(TcpStream { registered: Registered::new(fd, STREAM_EVENTS, true)? })
    }

    /// Connects `socket`, which must be non-blocking, to `address`.
    pub async fn connect(socket: Socket, address: SocketAddr) -> io::Result<TcpStream> {
        match socket.connect(&address.into()) {
            Ok(()) => return TcpStream::new(socket.into()),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let stream = TcpStream { registered: Registered::new(socket.into(), STREAM_EVENTS, false)? };
        poll_fn(|cx| stream.registered.poll_writable(cx)).await;
        match SockRef::from(&stream.registered.fd).take_error()? {
            None => Ok(stream),
            Some(error) => Err(error),
        }
    }

    /// Reads into `buffer`, which must not be empty; 0 at the peer's end.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.registered.poll_readable(cx));
            match rustix::net::recv(&self.registered.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((read, _)) => {
                    // A short read emptied the socket; but a hang-up announced is still to be read as 0.
                    if read > 0 && read < buffer.len() && !self.registered.readiness.hung_up.get() {
                        self.registered.readiness.readable.set(false);
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(rustix::io::Errno::AGAIN) => self.registered.readiness.readable.set(false),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Writes from `buffer`, at least one byte.
    pub fn poll_write(&self, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.registered.poll_writable(cx));
            match rustix::net::send(&self.registered.fd, buffer, SendFlags::NOSIGNAL) {
                Ok(written) => return Poll::Ready(Ok(self.wrote(written, buffer.len()))),
                Err(rustix::io::Errno::AGAIN) => self.registered.readiness.writable.set(false),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Writes from several buffers in order.
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.registered.poll_writable(cx));
            // The process ignores SIGPIPE, as every Rust program does.
            match rustix::io::writev(&self.registered.fd, buffers) {
                Ok(written) => {
                    let offered = buffers.iter().map(|buffer| buffer.len()).sum();
                    return Poll::Ready(Ok(self.wrote(written, offered)));
                }
                Err(rustix::io::Errno::AGAIN) => self.registered.readiness.writable.set(false),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn wrote(&self, written: usize, offered: usize) -> usize {
        if written < offered {
            self.registered.readiness.writable.set(false);
        }
        written
    }

    /// Ready when data or the peer's end may be there to read.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.registered.poll_readable(cx)
    }

    /// Ready when the peer has closed its side or the connection broke, also behind unread data.
    pub fn poll_hung_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.registered.readiness.hung_up.get() {
            return Poll::Ready(());
        }
        store(&self.registered.readiness.reader, cx.waker());
        Poll::Pending
    }

    /// False if anything, data or end, has come since the last read.
    pub fn is_quiet(&self) -> bool {
        let readiness = &self.registered.readiness;
        if readiness.hung_up.get() {
            return false;
        }
        if readiness.readable.get() {
            // The last read filled its buffer, so only the kernel knows.
            let mut byte = [0];
            let peeked =
                rustix::net::recv(&self.registered.fd, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
            if !matches!(peeked, Err(rustix::io::Errno::AGAIN)) {
                return false;
            }
            readiness.readable.set(false);
        }
        true
    }

    /// Whether bytes that were written are still not acknowledged by the peer's host. False if the kernel does not say.
    pub fn has_unacknowledged(&self) -> bool {
        let mut bytes: libc::c_int = 0;
        // SAFETY: for a TCP socket SIOCOUTQ, of which TIOCOUTQ is another name, writes one int, which outlives the call.
        let result = unsafe { libc::ioctl(self.registered.fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        result == 0 && bytes > 0
    }

    /// The kernel's estimate of the round trip to the peer, microseconds, if it has one.
    pub fn round_trip_us(&self) -> Option<u32> {
        // SAFETY: all of the structure is numbers, for which zeros are good.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut length = size_of_val(&info) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, which is the structure's size.
        let result = unsafe {
            libc::getsockopt(
                self.registered.fd.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut info).cast(),
                &raw mut length,
            )
        };
        (result == 0 && info.tcpi_rtt > 0).then_some(info.tcpi_rtt)
    }

    /// Drops stored wakers: the connection goes to another task, or to none.
    pub fn forget_wakers(&self) {
        self.registered.readiness.reader.take();
        self.registered.readiness.writer.take();
    }

    /// The number of its descriptor.
    pub fn descriptor(&self) -> u64 {
        self.registered.fd.as_raw_fd() as u64
    }

    /// Sends the end of our side.
    pub fn shutdown(&self) -> io::Result<()> {
        SockRef::from(&self.registered.fd).shutdown(Shutdown::Write)
    }

    /// Makes closing send a reset, so that the peer cannot take what it has for the whole.
    pub fn reset_on_close(&self) -> io::Result<()> {
        SockRef::from(&self.registered.fd).set_linger(Some(std::time::Duration::ZERO))
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(TcpStream::poll_read(&self, cx, buffer.initialize_unfilled()))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        TcpStream::poll_write(&self, cx, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        TcpStream::poll_write_vectored(&self, cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown())
    }
}

/// Level-triggered: a connection that this thread leaves to the next turn must be announced again.
const LISTENER_EVENTS: EventFlags = EventFlags::IN.union(EventFlags::EXCLUSIVE);

/// A listening socket, possibly shared with other threads' reactors.
pub struct TcpListener {
    registered: Registered,
}

impl TcpListener {
    /// Registers a non-blocking listening socket. Of the threads that share it, one is woken per connection.
    pub fn new(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        Ok(TcpListener { registered: Registered::new(listener.into(), LISTENER_EVENTS, false)? })
    }

    /// Leaves waiting connections unannounced, which would otherwise end every wait at once, until [`Self::unmute`].
    pub fn mute(&self) {
        // It cannot fail but for being muted already.
        let _ = epoll::delete(&self.registered.core.epoll, self.registered.fd.as_fd());
        self.registered.readiness.readable.set(false);
    }

    /// Announces connections again, those first that wait.
    pub fn unmute(&self) -> io::Result<()> {
        self.registered.watch(LISTENER_EVENTS)
    }

    /// The next connection and who it is from. Errors: as accept(2), per-connection ones left out.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| {
            loop {
                ready!(self.registered.poll_readable(cx));
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                match rustix::net::acceptfrom_with(&self.registered.fd, flags) {
                    Ok((fd, peer)) => {
                        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                        let Some(peer) = peer else { continue };
                        return Poll::Ready(TcpStream::new(fd).map(|stream| (stream, peer)));
                    }
                    Err(rustix::io::Errno::AGAIN) => self.registered.readiness.readable.set(false),
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            }
        })
        .await
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        // Other threads hold the same socket, so closing ours would leave it in this epoll. A muted one is out already.
        let _ = epoll::delete(&self.registered.core.epoll, self.registered.fd.as_fd());
    }
}
