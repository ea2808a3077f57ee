//! Connections to servers: from a local address, to be given up by the caller's deadline, plain or encrypted.

use super::reactor::TcpStream;
use super::tls::{TlsClient, TlsStream};
use socket2::{Domain, Socket, Type};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

/// A server that does not answer within this is not reachable (LR-53), nanoseconds.
pub const CONNECT_NS: u64 = 5_000_000_000;

/// A connection to a server; methods as those of [`TcpStream`].
pub enum ServerStream {
    /// Without encryption.
    Plain(TcpStream),
    /// By TLS.
    Tls(Box<TlsStream>),
}

impl ServerStream {
    /// See [`TcpStream::poll_read`].
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            ServerStream::Plain(stream) => stream.poll_read(cx, buffer),
            ServerStream::Tls(stream) => stream.poll_read(cx, buffer),
        }
    }

    /// See [`TcpStream::poll_readable`].
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            ServerStream::Plain(stream) => stream.poll_readable(cx),
            ServerStream::Tls(stream) => stream.poll_readable(cx),
        }
    }

    /// See [`TcpStream::is_quiet`].
    pub fn is_quiet(&self) -> bool {
        match self {
            ServerStream::Plain(stream) => stream.is_quiet(),
            ServerStream::Tls(stream) => stream.is_quiet(),
        }
    }

    /// The TCP connection, for what encryption does not change.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            ServerStream::Plain(stream) => stream,
            ServerStream::Tls(stream) => stream.tcp(),
        }
    }
}

/// What bytes are written to.
pub trait Sink {
    /// See [`TcpStream::poll_write_vectored`]. After `Pending` the next call must be given the same bytes.
    fn poll_write_vectored(&self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
}

impl Sink for TcpStream {
    fn poll_write_vectored(&self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match buffers {
            [buffer] => self.poll_write(cx, buffer),
            _ => TcpStream::poll_write_vectored(self, cx, buffers),
        }
    }
}

impl Sink for ServerStream {
    fn poll_write_vectored(&self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            ServerStream::Plain(stream) => Sink::poll_write_vectored(stream, cx, buffers),
            ServerStream::Tls(stream) => stream.poll_write_vectored(cx, buffers),
        }
    }
}

/// Connects to `address` from `local`, or from an address the kernel chooses, by a descriptor below `descriptors`, and
/// shakes hands if there is a `tls`.
///
/// Errors: `local` is not an address of this host, the server refuses, or the route is missing; and those of
/// [`TlsClient::connect`].
pub async fn connect(
    local: Option<IpAddr>,
    address: SocketAddr,
    tls: Option<&TlsClient>,
    descriptors: u64,
) -> io::Result<ServerStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    if socket.as_raw_fd() as u64 >= descriptors {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    socket.set_tcp_nodelay(true)?;
    if let Some(local) = local {
        leave_the_port_to_connect(&socket)?;
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    let stream = TcpStream::connect(socket, address).await?;
    Ok(match tls {
        None => ServerStream::Plain(stream),
        // Boxed: every connection's future would have room for a handshake, whose state is large.
        Some(tls) => ServerStream::Tls(Box::new(Box::pin(tls.connect(stream)).await?)),
    })
}

/// Without this, binding takes a port for the address alone, and 28,000 connections to all servers together are the
/// limit; with it the port is chosen by connect(2), unique per server only.
fn leave_the_port_to_connect(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is one c_int, which outlives the call, and its length is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
