//! UDP sockets of the reactor.

use super::net::Registered;
use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use rustix::event::epoll::EventFlags;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, ready};

const EVENTS: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::ET);

/// A UDP socket that sends and receives several datagrams per call, with ECN marks and local addresses. One task receives;
/// any number of them send.
pub struct UdpSocket {
    registered: Registered,
    state: UdpSocketState,
    coalesces: bool,
}

impl UdpSocket {
    /// Registers a bound socket, made non-blocking. Segmentation of what is sent is left to the kernel where it can do it,
    /// and if `coalesces` also the joining of datagrams of one peer, which then are received as one.
    pub fn new(socket: std::net::UdpSocket, coalesces: bool) -> io::Result<UdpSocket> {
        let state = UdpSocketState::new((&socket).into())?;
        if !coalesces {
            stop_coalescing(&socket)?;
        }
        Ok(UdpSocket { registered: Registered::new(socket.into(), EVENTS, true)?, state, coalesces })
    }

    /// Receives into `buffers`, which are not empty: how many of them, each described by its entry in `meta`.
    pub fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.registered.poll_readable(cx));
            match self.state.recv(self.registered.fd().into(), buffers, meta) {
                Ok(received) => {
                    // Every datagram is announced anew, so fewer than there was room for means that none is left.
                    if received < buffers.len().min(meta.len()) {
                        self.registered.readiness().readable.set(false);
                    }
                    return Poll::Ready(Ok(received));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.registered.readiness().readable.set(false);
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sends datagrams, or none if the error is [`io::ErrorKind::WouldBlock`]; then [`Self::poll_writable`] tells when to
    /// try again. Others do not occur: what the network refuses is lost, as datagrams may be.
    pub fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !self.registered.readiness().writable.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = self.state.send(self.registered.fd().into(), transmit);
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.registered.readiness().writable.set(false);
        }
        result
    }

    /// Ready when sending may succeed. Each waiting task is woken once.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.registered.poll_writable_shared(cx)
    }

    /// Where it is bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = socket2::SockRef::from(self.registered.fd()).local_addr()?;
        address.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Datagrams that one [`Transmit`] may hold.
    pub fn segments_sent_max(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Datagrams that one [`RecvMeta`] may describe.
    pub fn segments_received_max(&self) -> usize {
        if self.coalesces { self.state.gro_segments() } else { 1 }
    }

    /// Whether the network may split datagrams.
    pub fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// [`UdpSocketState::new`] turns it on wherever the kernel knows it.
fn stop_coalescing(socket: &std::net::UdpSocket) -> io::Result<()> {
    let off: libc::c_int = 0;
    let length = size_of_val(&off) as libc::socklen_t;
    // SAFETY: the kernel reads one int behind the pointer, which is live, and only until the call returns.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_GRO, (&raw const off).cast(), length)
    };
    let error = io::Error::last_os_error();
    if result == 0 || error.raw_os_error() == Some(libc::ENOPROTOOPT) { Ok(()) } else { Err(error) }
}
