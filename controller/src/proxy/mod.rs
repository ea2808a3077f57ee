//! The L7 engine: client connections, requests, and connections to servers.
//!
//! ```text
//! controller ──publish(bytes, sockets)──► worker thread (one per core) ──► listener ─accept─► connection
//!                                          snapshot → targets                      head → server → exchange → log
//! ```
//!
//! - [`http1`]: the codec, without input or output · `http2`: connections of HTTP/2, with clients and with servers of gRPC
//!   groups · [`quic`]: those of HTTP/3
//! - [`reactor`]: tasks, sockets and timers of one thread
//! - `worker`: snapshots into force · `target`: a listener in force · `listener`: sockets and accepting
//! - `arrival`: a connection up to the protocol that its client speaks
//! - `client`, `client_stream`: who asks · `connection`: one client's requests, one after the other · `stream`: a request of
//!   a multiplexed connection
//! - `acl`: who may connect · `forwarded`: headers about the client
//! - `request`: one request, whatever its client speaks · `decision`: what becomes of it, by rules · `actions`: what a rule
//!   does, prepared · `limits`: traffic limits over all workers · `group`: a server group in force · `persistence`: sticky
//!   sessions · `mirror`: copies to another group · [`explain`]: the decision about a request that nobody sent
//! - `exchange`: one request on one server connection · `body_sink`: bodies that change on the way · `tunnel`: WebSocket
//! - `failure`: whose fault it is, and what it is answered
//! - `drain`: requests under way, and those that are to end
//! - `pool`, `upstream`: connections to servers · `tls`: of clients and servers
//! - `answer`: answers of our own · `descriptors`: who may have how many · [`memory`]: what is refused when it is scarce
//! - [`access_log`], [`stats`]: what is told about it all
//!
//! Invariants: nothing on the request path is shared between threads but counters that one thread writes; no body is
//! held whole; a request keeps the target it began with, so snapshots disturb none; a connection to a server is used
//! again only after a complete, unambiguous response to a complete request.
//!
//! Measured by `cargo xtask bench l7` against Debian 12's nginx 1.22.1 and HAProxy 2.6.12 (all with X-Forwarded-For and access
//! log), 3 rounds of 6 s on a busy machine (AMD EPYC, kernel 6.18): requests per proxy CPU second, the median of paired ratios
//! (least to greatest), and user + system µs per request:
//!
//! ```text
//!                          this     to nginx           to HAProxy         µs: this, nginx, HAProxy
//! 1 KB,    64 connections  66,905  1.11 (1.10..1.19)  1.39 (1.29..1.43)  2.4 + 12.8, 2.9 + 14.5, 4.6 + 16.1
//! 1 KB,   256 connections  58,097  1.37 (1.29..1.43)  1.60 (1.36..1.85)  3.5 + 14.0, 6.3 + 17.7, 9.6 + 17.9
//! 100 KB,  64 connections  24,590  1.07 (1.04..1.13)  1.64 (1.45..1.72)  4.7 + 36.0, 5.5 + 38.7, 18.2 + 49.1
//! 100 KB, 256 connections  20,492  1.49 (1.49..1.53)  1.92 (1.61..2.09)  8.0 + 41.2, 11.9 + 59.6, 26.7 + 63.8
//! new connection           26,111  1.06 (0.99..1.06)  1.16 (1.11..1.22)  9.9 + 28.2, 9.3 + 30.8, 18.7 + 26.1
//! HTTPS, 1 KB, 64          46,531  1.35 (1.18..1.43)  1.57 (1.43..1.71)  5.9 + 14.0, 9.4 + 16.3, 11.5 + 18.3
//! TLS 1.3 full handshake    5,527  1.80 (1.69..1.82)  2.06 (2.05..2.07)  102 + 91, 215 + 115, 284 + 89
//! HTTP/2, 16 x 32 streams  58,626  1.64 (1.47..1.94)  1.19 (1.18..1.53)  8.4 + 8.7, 9.4 + 18.9, 10.0 + 11.4
//! idle connection, KB      3.9 plain, 11.6 TLS; nginx 0.5, 14.6; HAProxy 1.1, 15.0
//! 70 % load, p99           0.53 of the better's
//! ```
//!
//! With nothing else running, where caches are its own, nginx loses less: 1 KB, 64 connections 1.07 (1.07..1.09) at 1.7 + 10.0 µs
//! to 2.4 + 10.0; 256 connections 1.07 (1.05..1.11). User time with 10,000 rules is 1.10 of that with 10.
//!
//! At 1 KB and 64 connections a request takes two reads and two writes, four segments, a thirtieth of an epoll wait and a
//! seventieth of a log write: 84 % of its time is the kernel's TCP, the same as nginx's. What is left to gain is fewer system calls (io_uring).
//! At 70 % load each event is served as it comes, which costs 1.6 times nginx's CPU time per request and a tenth of its
//! median response time; under full load events come in batches.
//!
//! Choices a user can notice: a client that closes its sending side after a request counts as gone (as in nginx), and
//! its request is cancelled. The request timeout bounds a request's head absolutely, a body only between its bytes.
//! Chunk framing is checked and passed on as it came, extensions and trailers included. A response that arrives before
//! the request is complete closes the client's connection after it.

pub mod access_log;
mod acl;
mod actions;
mod answer;
mod arrival;
mod body_sink;
mod client;
mod client_stream;
mod connection;
mod decision;
mod descriptors;
mod drain;
mod exchange;
pub mod explain;
mod failure;
mod forwarded;
mod group;
pub mod http1;
mod http2;
mod limits;
mod listener;
pub mod memory;
mod mirror;
mod persistence;
mod pool;
pub mod quic;
pub mod reactor;
mod request;
pub mod stats;
pub mod stream;
mod target;
mod tls;
mod tunnel;
mod upstream;
mod worker;

pub use access_log::AccessLog;
pub use descriptors::raise_limit;
pub use listener::{BindError, bind_listeners};
pub use quic::{QuicSockets, QuicTlsError, bind_quic};
pub use stats::Stats;
pub use tls::{CertificateError, TlsError, VerificationError};

use crate::rules::{RuleError, RuleSet};
use crate::snapshot::{DecodeError, DownstreamProtocol, Snapshot};
use descriptors::Descriptors;
use explain::{Explanation, Question};
use limits::SharedLimits;
use memory::{Memory, MemoryWatch, PressureGauge};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use worker::{Command, WorkerSocket};

/// Why a snapshot is not in force. The one before stays.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The bytes are no snapshot of this release.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A listener names a group that is not in the snapshot.
    #[error("listener {listener:?}: group number {group} is not in the snapshot")]
    NoGroup {
        /// Its name.
        listener: String,
        /// The position it names.
        group: u32,
    },
    /// A group's servers cannot be verified as it says.
    #[error("server group {group:?}: {error}")]
    Verification {
        /// Its name.
        group: String,
        /// What is wrong.
        #[source]
        error: VerificationError,
    },
    /// A rule cannot be used.
    #[error("listener {listener:?}: {error}")]
    Rule {
        /// Its name.
        listener: String,
        /// Which rule, and what is wrong.
        #[source]
        error: RuleError,
    },
    /// A listener cannot speak TLS as it says.
    #[error("listener {listener:?}: {error}")]
    Tls {
        /// Its name.
        listener: String,
        /// What is wrong.
        #[source]
        error: TlsError,
    },
    /// A QUIC listener cannot speak TLS as it says.
    #[error("listener {listener:?}: {error}")]
    Quic {
        /// Its name.
        listener: String,
        /// What is wrong.
        #[source]
        error: QuicTlsError,
    },
    /// A listener has an address for which no socket was ever handed over.
    #[error("listener {listener:?}: no socket for {address} was handed over")]
    NoSocket {
        /// Its name.
        listener: String,
        /// The address.
        address: SocketAddr,
    },
    /// A socket cannot be shared with or registered by a worker.
    #[error("socket of listener number {listener}: {error}")]
    Socket {
        /// Its id.
        listener: u32,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// Every worker has ended.
    #[error("no worker is running")]
    NoWorker,
}

/// Whether workers can take `snapshot` into force, their sockets apart. Ask before anything that cannot be undone: a
/// snapshot that they refuse stands in the way of all later ones that hold the same.
pub fn check(snapshot: &Snapshot) -> Result<(), PublishError> {
    for group in &snapshot.groups {
        let authority = group.function.as_ref().map(|function| function.authority.as_str());
        tls::Profile::new(&group.protocol, authority)
            .map_err(|error| PublishError::Verification { group: group.name.clone(), error })?;
    }
    for listener in &snapshot.listeners {
        for rules in [&listener.rules, &listener.response_rules] {
            RuleSet::new(rules)
                .map_err(|error| PublishError::Rule { listener: listener.name.clone(), error })?;
        }
        let tls = tls::TlsServer::of(&listener.protocol, &snapshot.certificates)
            .map_err(|error| PublishError::Tls { listener: listener.name.clone(), error })?;
        if let (DownstreamProtocol::Quic(_), Some(tls)) = (&listener.protocol, tls) {
            quic::Settings::new(tls.config(), &quic::Secrets::random())
                .map_err(|error| PublishError::Quic { listener: listener.name.clone(), error })?;
        }
    }
    Ok(())
}

/// The socket, or sockets, of a listener's address.
#[derive(Debug)]
pub enum ListenerSocket {
    /// Of an HTTP or HTTPS listener, which all workers share ([`bind_listeners`]).
    Tcp(TcpListener),
    /// Of a QUIC listener: one for each worker ([`bind_quic`], with the engine's number of workers).
    Quic(QuicSockets),
}

impl From<TcpListener> for ListenerSocket {
    fn from(listener: TcpListener) -> Self {
        ListenerSocket::Tcp(listener)
    }
}

/// The running engine: one thread per worker. Dropped without [`Engine::shutdown`], it ends at once.
#[derive(Debug)]
pub struct Engine {
    workers: Vec<WorkerHandle>,
    log: Option<JoinHandle<()>>,
    log_sender: Option<SyncSender<Vec<u8>>>,
    _memory: MemoryWatch,
}

#[derive(Debug)]
struct WorkerHandle {
    commands: UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

impl Engine {
    /// Starts `workers` threads that serve nothing until the first [`Engine::publish`].
    ///
    /// Less is served when `memory` becomes scarce.
    ///
    /// Errors: the access log cannot be opened, or a thread not be started.
    pub fn start(workers: usize, log: &AccessLog, stats: &Arc<Stats>, memory: Memory) -> io::Result<Engine> {
        let (log, sender) = access_log::start_writer(log)?.unzip();
        let descriptors = Descriptors::of_process()?;
        let limits = Arc::<SharedLimits>::default();
        let pressure = Arc::<PressureGauge>::default();
        let memory = MemoryWatch::start(memory, pressure.clone(), stats.clone())?;
        let secrets = quic::Secrets::random();
        let mut handles = Vec::with_capacity(workers);
        for number in 0..workers {
            let (commands, receiver) = unbounded_channel();
            let (sender, shared) = (sender.clone(), (stats.clone(), limits.clone(), pressure.clone()));
            let quic = quic::Place::new(number, workers).map(|place| (place, secrets.clone()));
            let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                if let Err(error) = reactor::run(worker::work(receiver, sender, shared, descriptors, quic)) {
                    log::error!("worker {number}: {error}");
                }
            })?;
            handles.push(WorkerHandle { commands, thread });
        }
        Ok(Engine { workers: handles, log, log_sender: sender, _memory: memory })
    }

    /// What would become of a request, as the first worker sees it: the next server in turn is that worker's. An error
    /// says why nothing can be told. It needs no particular runtime.
    pub fn explain(
        &self,
        question: Question,
    ) -> impl Future<Output = Result<Explanation, String>> + Send + use<> {
        let (done, answer) = oneshot::channel();
        if let Some(worker) = self.workers.first() {
            // A worker that ended drops `done`, which is how the waiting side learns of it.
            let _ = worker.commands.send(Command::Explain { question: Box::new(question), done });
        }
        async move { answer.await.unwrap_or_else(|_| Err("no worker is running".into())) }
    }

    /// Makes a new access log file at once if the old one was moved away, and not only before the next line.
    pub fn reopen_log(&self) {
        if let Some(sender) = &self.log_sender {
            // A queue that is full has batches in it, before which the same happens.
            let _ = sender.try_send(Vec::new());
        }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Hands a snapshot ([`crate::snapshot::Snapshot::encode`]) and the sockets of its new addresses, by listener id,
    /// to every worker. Resolves once every live worker has it in force, with its sequence. Listeners and addresses that
    /// are not in it are closed; their connections finish the request they are at.
    ///
    /// The workers have it from the moment of the call, so order is kept also if the future is polled late. It needs no
    /// particular runtime.
    pub fn publish(
        &self,
        bytes: Arc<[u8]>,
        sockets: Vec<(u32, ListenerSocket)>,
    ) -> impl Future<Output = Result<u64, PublishError>> + Send + use<> {
        let sent = self.send(&bytes, sockets);
        async move {
            let mut result = Err(PublishError::NoWorker);
            for acknowledgement in sent? {
                match acknowledgement.await {
                    Ok(Ok(sequence)) => {
                        if result.is_err() {
                            result = Ok(sequence);
                        }
                    }
                    Ok(Err(error)) => return Err(error),
                    // The worker ended meanwhile; the others count.
                    Err(_) => {}
                }
            }
            result
        }
    }

    fn send(
        &self,
        bytes: &Arc<[u8]>,
        sockets: Vec<(u32, ListenerSocket)>,
    ) -> Result<Vec<oneshot::Receiver<Result<u64, PublishError>>>, PublishError> {
        let mut waiting = Vec::with_capacity(self.workers.len());
        let mut shares: Vec<Vec<(u32, WorkerSocket)>> = self.workers.iter().map(|_| Vec::new()).collect();
        for (id, socket) in sockets {
            match socket {
                ListenerSocket::Tcp(listener) => {
                    for share in &mut shares {
                        let listener = listener
                            .try_clone()
                            .map_err(|error| PublishError::Socket { listener: id, error })?;
                        share.push((id, WorkerSocket::Tcp(listener)));
                    }
                }
                ListenerSocket::Quic(sockets) => {
                    for (share, socket) in shares.iter_mut().zip(sockets.sockets) {
                        share.push((id, WorkerSocket::Quic(socket)));
                    }
                }
            }
        }
        for (worker, sockets) in self.workers.iter().zip(shares) {
            let (done, acknowledgement) = oneshot::channel();
            // A worker that ended drops `done`, which is how the waiting side learns of it.
            let _ = worker.commands.send(Command::Publish { bytes: bytes.clone(), sockets, done });
            waiting.push(acknowledgement);
        }
        Ok(waiting)
    }

    /// How many requests are in flight to each of `drains` (a server's id and CLOCK_MONOTONIC nanoseconds) that began
    /// before that moment, connect phase included: what [`crate::snapshot::Cut`] of the same numbers would end. Call it
    /// after the [`Engine::publish`] that first listed the cuts, so that requests begun on an older snapshot count too.
    ///
    /// Workers are asked at the call and walk their connections once, however many drains: meant for once a second while
    /// something drains. A worker that ended has none. It needs no particular runtime.
    pub fn in_flight(&self, drains: Arc<[(u32, u64)]>) -> impl Future<Output = Vec<u64>> + Send + use<> {
        let mut waiting = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            // A worker that ended drops `done`, which is how the waiting side learns of it.
            let _ = worker.commands.send(Command::Count { drains: drains.clone(), done });
            waiting.push(answer);
        }
        async move {
            let mut totals = vec![0; drains.len()];
            for answer in waiting {
                for (total, count) in totals.iter_mut().zip(answer.await.unwrap_or_default()) {
                    *total += count;
                }
            }
            totals
        }
    }

    /// Closes all listeners, lets requests finish for up to `deadline`, cuts what is left, and writes the log out.
    /// Blocks until then.
    pub fn shutdown(self, deadline: Duration) {
        for worker in &self.workers {
            // One that ended needs no telling.
            let _ = worker.commands.send(Command::Shutdown { deadline });
        }
        for (number, worker) in self.workers.into_iter().enumerate() {
            if worker.thread.join().is_err() {
                log::error!("worker {number} had panicked");
            }
        }
        drop(self.log_sender);
        if let Some(log) = self.log
            && log.join().is_err()
        {
            log::error!("the access log writer had panicked");
        }
    }
}
