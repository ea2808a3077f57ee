//! Connections to servers: from a local address, to be given up by the caller's deadline.

use super::reactor::TcpStream;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

/// A server that does not answer within this is not reachable (LR-53), nanoseconds.
pub const CONNECT_NS: u64 = 5_000_000_000;

/// Connects to `address` from `local`, or from an address the kernel chooses, by a descriptor below `descriptors`.
///
/// Errors: `local` is not an address of this host, the server refuses, or the route is missing.
pub async fn connect(local: Option<IpAddr>, address: SocketAddr, descriptors: u64) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    if socket.as_raw_fd() as u64 >= descriptors {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    socket.set_tcp_nodelay(true)?;
    if let Some(local) = local {
        leave_the_port_to_connect(&socket)?;
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    TcpStream::connect(socket, address).await
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
