//! Sockets of QUIC addresses: made by the controller, one for each worker, and the kernel's choice among them.
//!
//! The kernel reads the first byte of a datagram's destination connection id, modulo the number of workers, and hands the
//! datagram to the socket of that number. Ids that we choose begin with a byte that leads to the worker that chose it
//! ([`super::identity`]), and the id that a client chooses for its first datagrams stays the same until it has seen ours.
//! So a connection's datagrams reach its worker whatever address they come from.

use super::super::listener::BindError;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Datagrams the kernel keeps while a worker is busy, in bytes with its own bookkeeping.
const RECEIVE_BYTES: libc::c_int = 4 << 20;

/// Workers that can have a socket: the first byte of an id tells so many apart. Others serve no QUIC.
pub const WORKERS_MAX: usize = 255;

/// The sockets of one address, by number of the worker.
#[derive(Debug)]
pub struct QuicSockets {
    /// Where they are bound.
    pub address: SocketAddr,
    /// One for each worker, in order, up to [`WORKERS_MAX`].
    pub sockets: Vec<UdpSocket>,
}

/// Sockets for `addresses`, in order, all or none; bound even while an address is not (yet) on this host. Port 0 takes a
/// free one.
///
/// Errors: the address is taken, be it by connections that a listener of ours which had it before still finishes.
pub fn bind_quic(addresses: &[SocketAddr], workers: usize) -> Result<Vec<QuicSockets>, BindError> {
    let workers = workers.min(WORKERS_MAX);
    let bind = |&address: &SocketAddr| bind(address, workers).map_err(|error| BindError { address, error });
    addresses.iter().map(bind).collect()
}

fn bind(address: SocketAddr, workers: usize) -> io::Result<QuicSockets> {
    if workers <= 1 {
        let socket = open(address, false)?;
        return Ok(QuicSockets { address: socket.local_addr()?, sockets: vec![socket] });
    }
    // Sockets that share an address join whatever group is there. One that does not share tells whether there is any.
    let address = open(address, false)?.local_addr()?;
    let first = open(address, true)?;
    steer(&first, workers)?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open(address, true)?);
    }
    Ok(QuicSockets { address, sockets })
}

fn open(address: SocketAddr, shares: bool) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.set_reuse_port(shares)?;
    // Past the system's limit only with CAP_NET_ADMIN; below it is less room for bursts.
    if set_option(&socket, libc::SO_RCVBUFFORCE, &RECEIVE_BYTES).is_err() {
        set_option(&socket, libc::SO_RCVBUF, &RECEIVE_BYTES)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn set_option<T>(socket: &impl AsRawFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let value: *const T = value;
    // SAFETY: the kernel reads `length` bytes behind `value`, which are a live `T`, and only until the call returns.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value.cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Attaches the choice to the group of `socket`. What it reads begins with the UDP payload; a load past its end chooses
/// the first socket.
fn steer(socket: &UdpSocket, workers: usize) -> io::Result<()> {
    let workers = u32::try_from(workers).expect("workers are threads, of which 2^32 do not fit in memory");
    let code = |parts: u32| u16::try_from(parts).expect("classic BPF's codes have 16 bits");
    let load_byte = code(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS);
    let instruction = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let program = [
        instruction(load_byte, 0),
        // RFC 8999 section 5: the highest bit tells long headers, which name the id's length in byte 5, from short ones.
        libc::sock_filter { code: code(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K), jt: 0, jf: 2, k: 0x80 },
        instruction(load_byte, 6),
        instruction(code(libc::BPF_JMP | libc::BPF_JA), 1),
        instruction(load_byte, 1),
        instruction(code(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K), workers),
        instruction(code(libc::BPF_RET | libc::BPF_A), 0),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a few instructions"),
        filter: program.as_ptr().cast_mut(),
    };
    set_option(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the socket that a datagram with this beginning reaches, of `workers`.
    fn reached(sockets: &QuicSockets, client: &UdpSocket, datagram: &[u8]) -> usize {
        client.send_to(datagram, sockets.address).unwrap();
        // Loopback delivers before the call returns.
        let received = |socket: &UdpSocket| socket.recv(&mut [0; 64]).is_ok();
        let all: Vec<usize> = (0..sockets.sockets.len()).filter(|&n| received(&sockets.sockets[n])).collect();
        assert_eq!(all.len(), 1, "{datagram:?}");
        all[0]
    }

    #[test]
    fn datagrams_go_by_the_first_byte_of_their_connection_id_wherever_they_come_from() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let address: SocketAddr = address.parse().unwrap();
            let sockets = bind_quic(&[address], 3).unwrap().remove(0);
            for byte in 0..=255u8 {
                let client = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).unwrap();
                let wanted = usize::from(byte) % 3;
                let long = [0xc3, 0, 0, 0, 1, 8, byte, 7, 7, 7, 7, 7, 7, 7];
                assert_eq!(reached(&sockets, &client, &long), wanted, "long header, {byte}");
                assert_eq!(reached(&sockets, &client, &[0x43, byte, 9, 9]), wanted, "short header, {byte}");
            }
            let client = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).unwrap();
            assert_eq!(reached(&sockets, &client, &[0xc3, 0, 0]), 0, "too short for an id");
        }
    }

    #[test]
    fn an_address_that_is_taken_is_not_shared() {
        for workers in [1, 2] {
            let first = bind_quic(&["127.0.0.1:0".parse().unwrap()], workers).unwrap().remove(0);
            let error = bind_quic(&[first.address], workers).unwrap_err();
            assert_eq!((error.address, error.error.kind()), (first.address, io::ErrorKind::AddrInUse));
        }
    }
}
