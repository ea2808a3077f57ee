//! quinn's runtime on the reactor.
//!
//! quinn asks for `Send` and `Sync`, since other runtimes move tasks between threads. Here nothing leaves its thread, so
//! what is tied to it is wrapped, and the wrapper panics should that ever be untrue.

use super::super::reactor::{self, Timer, UdpSocket};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller};
use send_wrapper::SendWrapper;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The reactor of this thread, as quinn wants it.
#[derive(Debug)]
pub struct ReactorRuntime {
    /// One moment on quinn's clock and on the reactor's, which is the same clock with another beginning.
    moment: (Instant, u64),
}

impl Default for ReactorRuntime {
    fn default() -> Self {
        ReactorRuntime::new()
    }
}

impl ReactorRuntime {
    /// Call on the reactor's thread.
    pub fn new() -> ReactorRuntime {
        // In this order a timer is late by the time between the two calls, never early.
        let instant = Instant::now();
        ReactorRuntime { moment: (instant, reactor::clock()) }
    }

    /// `socket`, as quinn wants it.
    pub fn socket(socket: UdpSocket) -> Arc<dyn AsyncUdpSocket> {
        Arc::new(Socket(SendWrapper::new(socket)))
    }
}

impl Runtime for ReactorRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let mut timer = Box::pin(Alarm { timer: SendWrapper::new(Timer::fine()), moment: self.moment });
        timer.as_mut().reset(at);
        timer
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        reactor::spawn(future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(ReactorRuntime::socket(UdpSocket::new(socket, true)?))
    }
}

struct Alarm {
    timer: SendWrapper<Timer>,
    moment: (Instant, u64),
}

impl AsyncTimer for Alarm {
    fn reset(self: Pin<&mut Self>, at: Instant) {
        let (instant, ns) = self.moment;
        let after = u64::try_from(at.saturating_duration_since(instant).as_nanos()).unwrap_or(u64::MAX);
        self.timer.set_at(ns.saturating_add(after));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.poll_expired(cx)
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").finish_non_exhaustive()
    }
}

struct Socket(SendWrapper<UdpSocket>);

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.segments_sent_max()
    }

    fn max_receive_segments(&self) -> usize {
        self.0.segments_received_max()
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Writable(Arc<Socket>);

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.0.poll_writable(cx).map(Ok)
    }
}
