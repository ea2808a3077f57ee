//! Listening sockets: made by the controller, shared by the workers.

use super::arrival::serve;
use super::memory::Pressure;
use super::reactor::{self, TcpListener, TcpStream, Timer};
use super::worker::{Slot, Worker};
use socket2::{Domain, Socket, Type};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// Connections the kernel completes before a worker accepts them.
const BACKLOG: i32 = 4096;
/// A client that connects and says nothing is accepted after this all the same, and its idle timeout begins.
const SILENT_SECS: libc::c_int = 1;
/// Out of descriptors or memory, accepting pauses so long (nanoseconds) for connections to close.
const PAUSE_NS: u64 = 100_000_000;
/// A cause that lasts is logged this often, nanoseconds.
const WARN_NS: u64 = 10_000_000_000;
/// Connections accepted before other tasks have their turn.
const ACCEPTED_AT_ONCE: u32 = 64;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}: {error}; is another program listening there (`ss -ltnp`)?")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the kernel said.
    #[source]
    pub error: io::Error,
}

/// Listening sockets for `addresses`, in order, all or none: non-blocking, and bound even while the address is not
/// (yet) on this host. Port 0 takes a free one.
pub fn bind_listeners(addresses: &[SocketAddr]) -> Result<Vec<std::net::TcpListener>, BindError> {
    addresses.iter().map(|&address| bind(address).map_err(|error| BindError { address, error })).collect()
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    // Accepted connections inherit it.
    socket.set_tcp_nodelay(true)?;
    accept_with_first_bytes(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Leaves a connection to the kernel until the client has sent something, at most [`SILENT_SECS`]. In HTTP and TLS clients
/// speak first, so nobody waits longer for it; and the worker is woken once for a new connection, by what it can serve,
/// instead of twice: a sixth of the CPU time of a request on a connection of its own. When a listener closes, a client
/// that has not spoken yet learns of it when it does, by a reset.
fn accept_with_first_bytes(socket: &Socket) -> io::Result<()> {
    let seconds = SILENT_SECS;
    // SAFETY: the option's value is one c_int, which outlives the call, and its length is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Accepts until the listener closes or no longer has this address.
pub async fn accept_all(worker: Rc<Worker>, slot: Rc<Slot>, listener: TcpListener, address: SocketAddr) {
    let pause = Timer::new();
    let leaves = || slot.is_closing() || !slot.target().addresses.contains(&address);
    let mut warned = None;
    let mut at_once = 0;
    loop {
        let accepted = {
            let mut accepting = pin!(listener.accept());
            poll_fn(|cx| if leaves() { Poll::Ready(None) } else { accepting.as_mut().poll(cx).map(Some) })
                .await
        };
        let error = match accepted {
            None => return,
            // Closed at once: better than to let it wait while there is nothing to serve it with.
            Some(Ok((stream, _))) if stream.descriptor() >= worker.descriptors.clients => {
                io::Error::from_raw_os_error(libc::EMFILE)
            }
            // At once, and without a pause: who asks is to learn of it, and may be served elsewhere.
            Some(Ok((_, peer))) if worker.pressure() >= Pressure::RefuseConnections => {
                log::debug!("listener {:?}: memory is scarce; {peer} is refused", slot.target().listener);
                worker.stats.add_connection_refused();
                at_once = give_way(at_once).await;
                continue;
            }
            // Closed before anything is read or sent (LR-34).
            Some(Ok((_, peer))) if !slot.target().serves(peer.ip()) => {
                log::debug!("listener {:?}: {peer} is not served", slot.target().listener);
                at_once = give_way(at_once).await;
                continue;
            }
            Some(Ok((stream, peer))) => {
                start(&worker, &slot, stream, peer, address);
                at_once = give_way(at_once).await;
                continue;
            }
            Some(Err(error)) => error,
        };
        if warned.is_none_or(|before| pause.now() - before >= WARN_NS) {
            warned = Some(pause.now());
            log::warn!(
                "listener {:?}: accept: {error}; new connections wait. Raise the limit (`LimitNOFILE=` of systemd)",
                slot.target().listener
            );
        }
        loop {
            listener.mute();
            pause.set_after(PAUSE_NS);
            poll_fn(|cx| if leaves() { Poll::Ready(()) } else { pause.poll_expired(cx) }).await;
            if leaves() {
                return;
            }
            match listener.unmute() {
                Ok(()) => break,
                Err(error) => log::debug!("watch a listener again: {error}"),
            }
        }
    }
}

/// Counts a connection accepted, and gives others their turn now and then.
async fn give_way(accepted: u32) -> u32 {
    if accepted + 1 < ACCEPTED_AT_ONCE {
        return accepted + 1;
    }
    reactor::next_turn().await;
    0
}

fn start(worker: &Rc<Worker>, slot: &Rc<Slot>, stream: TcpStream, peer: SocketAddr, vip: SocketAddr) {
    let open = worker.open_connection();
    let (worker, slot) = (worker.clone(), slot.clone());
    reactor::spawn(async move {
        serve(worker, slot, open.attempt.clone(), stream, peer, vip).await;
        drop(open);
    });
}
