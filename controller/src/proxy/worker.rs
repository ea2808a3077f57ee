//! One worker thread: takes snapshots into force, and holds what its connections share.

use super::PublishError;
use super::access_log::{LogBatch, Record, Subject};
use super::connection::Scratch;
use super::descriptors::Descriptors;
use super::drain::{Attempt, Attempts, Cuts};
use super::exchange::STREAM_BYTES;
use super::explain::{Explanation, Question, explain};
use super::limits::SharedLimits;
use super::listener::accept_all;
use super::memory::{self, Pressure, PressureGauge};
use super::quic::{Endpoint, Place, Secrets, Settings, serve_address};
use super::reactor::{self, TcpListener, Timer};
use super::stats::Stats;
use super::target::{Columns, Target};
use crate::snapshot::{DownstreamProtocol, Snapshot};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot};

/// Spare request storages kept; more are freed after a burst.
const SCRATCHES_MAX: usize = 128;
/// After more requests than these at once, what they leave free is given back to the kernel.
const BURST: usize = 1024;
/// Spare body buffers kept.
const BUFFERS_MAX: usize = 32;
/// Longest a log line waits for its batch, nanoseconds.
const LOG_FLUSH_NS: u64 = 100_000_000;
/// How often idle server connections are looked through, nanoseconds.
const SWEEP_NS: u64 = 1_000_000_000;

/// One worker's socket of a listener's address.
pub enum WorkerSocket {
    Tcp(std::net::TcpListener),
    /// This worker's own.
    Quic(std::net::UdpSocket),
}

/// The same, registered with the reactor where all that is needed for it is known.
enum Fresh {
    Tcp(TcpListener),
    Quic(std::net::UdpSocket),
    Endpoint(Endpoint),
}

impl Fresh {
    fn new(socket: WorkerSocket) -> std::io::Result<(SocketAddr, Fresh)> {
        Ok(match socket {
            WorkerSocket::Tcp(socket) => (socket.local_addr()?, Fresh::Tcp(TcpListener::new(socket)?)),
            WorkerSocket::Quic(socket) => (socket.local_addr()?, Fresh::Quic(socket)),
        })
    }
}

/// What the controller tells a worker.
pub enum Command {
    /// Take a snapshot into force and acknowledge its sequence.
    Publish {
        bytes: Arc<[u8]>,
        /// New listening sockets, by listener id.
        sockets: Vec<(u32, WorkerSocket)>,
        done: oneshot::Sender<Result<u64, PublishError>>,
    },
    /// Say how many requests are in flight to each server that began before each moment.
    Count { drains: Arc<[(u32, u64)]>, done: oneshot::Sender<Vec<u64>> },
    /// Say what would become of a request.
    Explain { question: Box<Question>, done: oneshot::Sender<Result<Explanation, String>> },
    /// Accept nothing more, let requests finish for so long, and end.
    Shutdown { deadline: Duration },
}

/// A listener for the whole of its life; its target changes with every snapshot.
pub struct Slot {
    target: RefCell<Rc<Target>>,
    closing: Cell<bool>,
    /// Addresses this worker has a socket for.
    bound: RefCell<HashSet<SocketAddr>>,
}

impl Slot {
    /// What is in force now.
    pub fn target(&self) -> Rc<Target> {
        self.target.borrow().clone()
    }

    /// True once connections finish their current request and close.
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }
}

/// What a worker's connections share.
pub struct Worker {
    /// How many descriptors connections may take.
    pub descriptors: Descriptors,
    /// This worker's place among those that serve QUIC, if it does.
    quic: Option<(Place, Secrets)>,
    #[expect(clippy::vec_box, reason = "they move into connections, whose futures would grow by their size")]
    scratches: RefCell<Vec<Box<Scratch>>>,
    /// Storages in use, and the most there were since memory was last given back.
    lent: Cell<usize>,
    lent_max: Cell<usize>,
    /// Large ones, and those of [`STREAM_BYTES`].
    buffers: RefCell<Vec<Vec<u8>>>,
    stream_buffers: RefCell<Vec<Vec<u8>>>,
    log: RefCell<LogBatch>,
    log_timer: Timer,
    columns: RefCell<Columns>,
    slots: RefCell<HashMap<u32, Rc<Slot>>>,
    /// One for each open connection.
    attempts: Attempts,
    cuts: Cuts,
    cut_timer: Timer,
    all_closed: Notify,
    /// Copies of requests under way.
    pub mirrors: Cell<u32>,
    pressure: Arc<PressureGauge>,
    pub stats: Arc<Stats>,
}

/// Counts a connection of a worker while it lives.
pub struct OpenGuard {
    worker: Rc<Worker>,
    key: usize,
    /// Where the connection's requests are noted.
    pub attempt: Rc<Attempt>,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.worker.attempts.remove(self.key);
        if self.worker.attempts.len() == 0 {
            self.worker.all_closed.notify_one();
        }
    }
}

/// Runs a worker on this thread until it is shut down or the controller's end of `commands` is gone.
pub async fn work(
    mut commands: UnboundedReceiver<Command>,
    log: Option<SyncSender<Vec<u8>>>,
    (stats, limits, pressure): (Arc<Stats>, Arc<SharedLimits>, Arc<PressureGauge>),
    descriptors: Descriptors,
    quic: Option<(Place, Secrets)>,
) {
    let worker = Rc::new(Worker {
        descriptors,
        quic,
        scratches: RefCell::default(),
        lent: Cell::new(0),
        lent_max: Cell::new(0),
        buffers: RefCell::default(),
        stream_buffers: RefCell::default(),
        log: RefCell::new(LogBatch::new(log, stats.clone())),
        log_timer: Timer::new(),
        columns: RefCell::new(Columns::new(stats.clone(), limits)),
        slots: RefCell::default(),
        attempts: Attempts::default(),
        cuts: Cuts::default(),
        cut_timer: Timer::new(),
        all_closed: Notify::new(),
        mirrors: Cell::new(0),
        pressure,
        stats,
    });
    reactor::spawn(flush_log(worker.clone()));
    reactor::spawn(sweep_pools(worker.clone()));
    reactor::spawn(enforce_cuts(worker.clone()));
    loop {
        match commands.recv().await {
            Some(Command::Publish { bytes, sockets, done }) => {
                let result = worker.take_into_force(&bytes, sockets);
                // In force means also that what left is closed: accepting tasks are woken behind this one after the
                // first turn, and have dropped their sockets after the second.
                reactor::next_turn().await;
                reactor::next_turn().await;
                // A controller that no longer waits has its answer in the next publish.
                let _ = done.send(result);
            }
            Some(Command::Count { drains, done }) => {
                // One that no longer waits will ask again.
                let _ = done.send(worker.attempts.count(&drains));
            }
            Some(Command::Explain { question, done }) => {
                let targets: Vec<_> = worker.slots.borrow().values().map(|slot| slot.target()).collect();
                // One that no longer waits needs no answer.
                let _ = done.send(explain(&targets, &question, reactor::now()));
            }
            Some(Command::Shutdown { deadline }) => return worker.shut_down(deadline).await,
            None => return,
        }
    }
}

async fn flush_log(worker: Rc<Worker>) {
    loop {
        worker.log_timer.expired().await;
        worker.log_timer.clear();
        worker.log.borrow_mut().flush();
    }
}

async fn enforce_cuts(worker: Rc<Worker>) {
    loop {
        worker.cut_timer.expired().await;
        worker.enforce_cuts();
    }
}

async fn sweep_pools(worker: Rc<Worker>) {
    let timer = Timer::new();
    loop {
        timer.set_after(SWEEP_NS);
        timer.expired().await;
        for slot in worker.slots.borrow().values() {
            let target = slot.target();
            let servers = target.groups().iter().flat_map(|group| &group.servers);
            servers.for_each(|server| {
                server.pool.sweep();
                server.links.sweep();
            });
        }
        worker.give_memory_back();
    }
}

impl Worker {
    /// Storage for one request.
    pub fn take_scratch(&self) -> Box<Scratch> {
        let lent = self.lent.get() + 1;
        self.lent.set(lent);
        self.lent_max.set(self.lent_max.get().max(lent));
        self.scratches.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives storage back.
    pub fn put_scratch(&self, mut scratch: Box<Scratch>) {
        self.lent.set(self.lent.get() - 1);
        let mut scratches = self.scratches.borrow_mut();
        if scratches.len() < SCRATCHES_MAX && self.pressure() == Pressure::None {
            scratch.shrink();
            scratches.push(scratch);
        }
    }

    /// After a burst of requests, or when memory is scarce.
    fn give_memory_back(&self) {
        if self.pressure() > Pressure::None {
            // The watch gives back to the kernel what is freed.
            drop((self.scratches.take(), self.buffers.take(), self.stream_buffers.take()));
            return;
        }
        let (lent, lent_max) = (self.lent.get(), self.lent_max.get());
        if lent_max < BURST || lent > lent_max / 4 {
            return;
        }
        self.lent_max.set(lent);
        memory::give_back();
    }

    /// `BODY_BYTES` or [`STREAM_BYTES`] of [`super::exchange`] to read into: the buffer given back last, which is the one in the cache.
    pub fn take_buffer(&self, bytes: usize) -> Vec<u8> {
        self.buffers_of(bytes).borrow_mut().pop().unwrap_or_else(|| vec![0; bytes])
    }

    fn buffers_of(&self, bytes: usize) -> &RefCell<Vec<Vec<u8>>> {
        if bytes == STREAM_BYTES { &self.stream_buffers } else { &self.buffers }
    }

    /// Gives a buffer back.
    pub fn put_buffer(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers_of(buffer.len()).borrow_mut();
        if buffers.len() < BUFFERS_MAX && self.pressure() == Pressure::None {
            buffers.push(buffer);
        }
    }

    /// Writes a request's log line.
    pub fn log(&self, subject: &Subject<'_>, record: &Record, now: u64) {
        if self.log.borrow_mut().push(subject, record, now) {
            self.log_timer.set_after(LOG_FLUSH_NS);
        }
    }

    /// How scarce memory is.
    pub fn pressure(&self) -> Pressure {
        self.pressure.get()
    }

    /// Counts a connection until the guard is dropped.
    pub fn open_connection(self: &Rc<Self>) -> OpenGuard {
        let (key, attempt) = self.attempts.add();
        OpenGuard { worker: self.clone(), key, attempt }
    }

    /// Ends requests whose cut has come due, and waits for the next.
    fn enforce_cuts(&self) {
        let (any, next) = self.cuts.enforce(&self.attempts, reactor::now());
        match next {
            Some(at) => self.cut_timer.set_after(at - reactor::now()),
            None => self.cut_timer.clear(),
        }
        if any {
            reactor::wake_all();
        }
    }

    /// All of the snapshot, or nothing of it: everything that can fail comes first.
    fn take_into_force(
        self: &Rc<Self>,
        bytes: &[u8],
        sockets: Vec<(u32, WorkerSocket)>,
    ) -> Result<u64, PublishError> {
        let (sequence, snapshot) = Snapshot::decode(bytes)?;
        let mut fresh: HashMap<u32, Vec<(SocketAddr, Fresh)>> = HashMap::new();
        for (id, socket) in sockets {
            let socket = Fresh::new(socket).map_err(|error| PublishError::Socket { listener: id, error })?;
            fresh.entry(id).or_default().push(socket);
        }
        let mut targets = Vec::with_capacity(snapshot.listeners.len());
        for listener in &snapshot.listeners {
            let slot = self.slots.borrow().get(&listener.id).cloned();
            for address in &listener.addresses {
                let bound = slot.as_ref().is_some_and(|slot| slot.bound.borrow().contains(address));
                let arrives =
                    fresh.get(&listener.id).is_some_and(|all| all.iter().any(|(new, _)| new == address));
                // Workers past those that QUIC can tell apart have none of its sockets.
                let none = self.quic.is_none() && matches!(listener.protocol, DownstreamProtocol::Quic(_));
                if !bound && !arrives && !none {
                    return Err(PublishError::NoSocket {
                        listener: listener.name.clone(),
                        address: *address,
                    });
                }
            }
            let previous = slot.as_ref().map(|slot| slot.target());
            let target =
                Target::new(&snapshot, listener, previous.as_deref(), &mut self.columns.borrow_mut())?;
            for (_, socket) in fresh.get_mut(&listener.id).into_iter().flatten() {
                self.open_endpoint(socket, &target, listener.id)?;
            }
            targets.push((listener.id, slot, Rc::new(target)));
        }
        let mut slots = HashMap::with_capacity(targets.len());
        let mut closes = false;
        for (id, slot, target) in targets {
            target.come_into_force();
            let slot = match slot {
                Some(slot) => {
                    let previous = slot.target.replace(target.clone());
                    previous.retire(Some(&target));
                    let before = slot.bound.borrow().len();
                    slot.bound.borrow_mut().retain(|address| target.addresses.contains(address));
                    closes |= slot.bound.borrow().len() < before;
                    slot
                }
                None => Rc::new(Slot {
                    target: RefCell::new(target.clone()),
                    closing: Cell::new(false),
                    bound: RefCell::default(),
                }),
            };
            for (address, socket) in fresh.remove(&id).into_iter().flatten() {
                // Held already or not asked for: closing the second one changes nothing.
                if !target.addresses.contains(&address) || !slot.bound.borrow_mut().insert(address) {
                    continue;
                }
                match (socket, &self.quic) {
                    (Fresh::Tcp(socket), _) => {
                        reactor::spawn(accept_all(self.clone(), slot.clone(), socket, address));
                    }
                    (Fresh::Endpoint(endpoint), Some((_, secrets))) => {
                        let secrets = secrets.clone();
                        reactor::spawn(serve_address(self.clone(), slot.clone(), endpoint, secrets, address));
                    }
                    // No endpoint was opened: the listener is none of QUIC, which the controller never asks for.
                    (Fresh::Quic(_) | Fresh::Endpoint(_), _) => {}
                }
            }
            slots.insert(id, slot);
        }
        let before = self.slots.replace(slots);
        for (id, slot) in before {
            if !self.slots.borrow().contains_key(&id) {
                slot.close();
                closes = true;
            }
        }
        self.cuts.replace(&snapshot.cuts, &self.attempts);
        self.enforce_cuts();
        if closes {
            reactor::wake_all();
        }
        Ok(sequence)
    }

    /// Serves the socket if it is one of QUIC.
    fn open_endpoint(&self, socket: &mut Fresh, target: &Target, listener: u32) -> Result<(), PublishError> {
        let (Fresh::Quic(udp), Some((place, secrets)), Some(tls)) = (&*socket, &self.quic, &target.tls)
        else {
            return Ok(());
        };
        let settings = Settings::new(tls.config(), secrets)
            .map_err(|error| PublishError::Quic { listener: target.listener.clone(), error })?;
        let endpoint = udp.try_clone().and_then(|udp| Endpoint::open(udp, *place, secrets, settings));
        *socket = Fresh::Endpoint(endpoint.map_err(|error| PublishError::Socket { listener, error })?);
        Ok(())
    }

    async fn shut_down(&self, deadline: Duration) {
        for slot in self.slots.take().into_values() {
            slot.close();
        }
        reactor::wake_all();
        let timer = Timer::new();
        timer.set_after(u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX));
        // In a loop: the notification may be of an earlier moment without connections.
        while self.attempts.len() > 0 {
            tokio::select! {
                () = self.all_closed.notified() => {}
                () = timer.expired() => {
                    log::warn!("{} client connections cut at the shutdown deadline", self.attempts.len());
                    return;
                }
            }
        }
    }
}

impl Slot {
    fn close(&self) {
        self.closing.set(true);
        self.target().retire(None);
    }
}
