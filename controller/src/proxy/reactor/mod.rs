//! A single-threaded executor over epoll: tasks, TCP and UDP sockets and timers of one worker thread.
//!
//! One turn: run every ready task, wait in epoll (not at all if a task became ready), note the time, wake what has
//! events or reached its deadline. Sockets are registered once, edge-triggered, for both directions; a read that fills
//! less than its buffer, or a write that takes less than it was given, tells that the next one would block, so in the
//! steady state no call ends in EAGAIN. Wakers may be used from any thread (an eventfd ends the wait), which is how
//! snapshots arrive; everything else stays on its thread, and [`TcpStream`] implements tokio's `AsyncRead` and
//! `AsyncWrite`, so protocol crates written for tokio fit.
//!
//! Why not tokio's: the same connection code ran on a tokio 1 current-thread runtime (its sockets, a lazily reset
//! `Sleep` per connection) and on this, with default rule, X-Forwarded-For, JSON access log and counters on. One core
//! for the proxy, wrk and two nginx 1.22 upstreams on the other, kernel 6.18, 6 interleaved rounds; medians, the ratio
//! that of pairs:
//!
//! ```text
//!                       requests per proxy CPU second       µs per request, user + system
//!                       this     tokio    ratio             this            tokio
//! 1 KB,   64 conns      62,242   61,398   1.005             1.83 + 14.18    2.44 + 13.82
//! 1 KB,   256 conns     60,960   59,397   1.024             2.20 + 14.12    2.81 + 13.63
//! 100 KB, 64 conns      35,605   34,930   1.043             2.00 + 26.16    3.18 + 25.91
//! 1 KB, new connection  24,513   23,897   1.008             2.72 + 37.51    5.44 + 35.92
//! idle connection, KB   2.4      2.8
//! ```
//!
//! Chosen for a quarter to a half less user time and for never being behind; the lead in all is small because the
//! kernel's part is the same. What mattered more than either is in the connection code: reads of 64 KB (100 KB bodies:
//! 36,045 requests per CPU second; 26,007 with 128 KB, 0.85 of it with 32 KB) into buffers borrowed only while bytes
//! are in hand (1 KB, 256 connections: 1.17 of a buffer per request). The price: these
//! 900 lines are ours to keep right, and crates that want tokio's own sockets or timers need an adapter.
//!
//! Invariants: a waker stored for a socket or timer may be stale (a wake-up too many is harmless, one too few is not);
//! readiness is only cleared by the call that saw it end; no `RefCell` of this module is borrowed while a future, a
//! waker or a destructor of somebody else runs, except wakers of this executor, which only queue.

mod executor;
mod net;
#[cfg(test)]
mod tests;
mod udp;
mod wheel;

pub use net::{TcpListener, TcpStream};
pub use udp::UdpSocket;

use executor::{Executor, Remote};
use net::Sockets;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use wheel::{TICK_NS, Wheel};

pub use wheel::NEVER;

/// Events fetched by one wait.
const EVENTS: usize = 256;
/// Tick of [`Timer::fine`], nanoseconds.
const FINE_TICK_NS: u64 = 1_000_000;
/// Token of the eventfd; sockets have smaller ones.
const REMOTE: u64 = u64::MAX;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// What the tasks of a thread share.
struct Core {
    epoll: rustix::fd::OwnedFd,
    sockets: Sockets,
    wheel: RefCell<Wheel>,
    /// Timers of QUIC, whose pacing and loss detection the long tick would slow down.
    fine: RefCell<Wheel>,
    now: Cell<u64>,
    spawned: RefCell<Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>>>,
    wake_all: Cell<bool>,
}

impl Core {
    /// Nanoseconds until a timer may fire; `None` without deadlines.
    fn until_next_timer(&self) -> Option<u64> {
        let now = self.now.get();
        let next = [&self.wheel, &self.fine].map(|wheel| wheel.borrow().next(now));
        next.into_iter().flatten().min()
    }
}

fn current() -> Rc<Core> {
    CURRENT.with_borrow(|core| core.clone()).expect("used inside reactor::run")
}

/// CLOCK_MONOTONIC in nanoseconds, of this moment.
pub fn clock() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Runs `main` and everything it spawns on this thread; tasks still there when `main` ends are dropped.
///
/// Errors: the kernel grants no epoll or event descriptor.
pub fn run<F: Future<Output = ()> + 'static>(main: F) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    epoll::add(&epoll, &event, epoll::EventData::new_u64(REMOTE), epoll::EventFlags::IN)?;
    let now = clock();
    let core = Rc::new(Core {
        epoll,
        sockets: Sockets::default(),
        wheel: RefCell::new(Wheel::new(now, TICK_NS)),
        fine: RefCell::new(Wheel::new(now, FINE_TICK_NS)),
        now: Cell::new(now),
        spawned: RefCell::default(),
        wake_all: Cell::new(false),
    });
    let remote = Arc::new(Remote::new(event));
    let executor = Executor::new(remote.clone());
    CURRENT.set(Some(core.clone()));
    let finished = Rc::new(Cell::new(false));
    let done = finished.clone();
    executor.spawn(async move {
        // However `main` ends, by a panic too.
        let _end = SetWhenDropped(done);
        main.await;
    });
    let mut events = Vec::with_capacity(EVENTS);
    let result = loop {
        executor.turn();
        if finished.get() {
            break Ok(());
        }
        for future in core.spawned.take() {
            executor.spawn(future);
        }
        if core.wake_all.take() {
            executor.wake_all();
        }
        let timeout = if executor.has_ready() { Some(0) } else { core.until_next_timer() };
        let timeout = timeout
            .map(|ns| Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 });
        events.clear();
        match epoll::wait(&core.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => break Err(error.into()),
        }
        core.now.set(clock());
        for event in &events {
            let token = event.data.u64();
            if token == REMOTE {
                let mut count = [0; 8];
                // Nothing to read only means that an earlier read took it.
                let _ = rustix::io::read(&remote.event, &mut count);
                executor.take_remote();
            } else {
                core.sockets.notify(token, event.flags);
            }
        }
        core.wheel.borrow_mut().advance(core.now.get(), |waker| waker.wake_by_ref());
        core.fine.borrow_mut().advance(core.now.get(), |waker| waker.wake_by_ref());
    };
    // Tasks hold sockets and timers of the core, and may spawn while they are dropped.
    drop(executor);
    core.spawned.take();
    CURRENT.set(None);
    result
}

struct SetWhenDropped(Rc<Cell<bool>>);

impl Drop for SetWhenDropped {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// Starts a task on this thread.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    current().spawned.borrow_mut().push(Box::pin(future));
}

/// Wakes every task of this thread in the next turn: for rare changes that any of them may be waiting for.
pub fn wake_all() {
    current().wake_all.set(true);
}

/// Lets every other ready task run once.
pub async fn next_turn() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// CLOCK_MONOTONIC in nanoseconds, as of this turn's beginning.
pub fn now() -> u64 {
    current().now.get()
}

/// A deadline that can be moved.
pub struct Timer {
    core: Rc<Core>,
    key: usize,
    is_fine: bool,
}

impl Default for Timer {
    fn default() -> Self {
        Timer::new()
    }
}

impl Timer {
    /// A timer without a deadline, exact to 8 ms.
    pub fn new() -> Timer {
        let core = current();
        let key = core.wheel.borrow_mut().insert();
        Timer { core, key, is_fine: false }
    }

    /// A timer without a deadline, exact to 1 ms. It costs a wake-up more for each second that its deadline is away.
    pub fn fine() -> Timer {
        let core = current();
        let key = core.fine.borrow_mut().insert();
        Timer { core, key, is_fine: true }
    }

    fn wheel(&self) -> std::cell::RefMut<'_, Wheel> {
        if self.is_fine { self.core.fine.borrow_mut() } else { self.core.wheel.borrow_mut() }
    }

    /// Sets the deadline so many nanoseconds from now; free of cost when it moves further away.
    pub fn set_after(&self, ns: u64) {
        self.wheel().set(self.key, self.core.now.get().saturating_add(ns));
    }

    /// Sets the deadline, CLOCK_MONOTONIC nanoseconds.
    pub fn set_at(&self, ns: u64) {
        self.wheel().set(self.key, ns);
    }

    /// Takes the deadline away.
    pub fn clear(&self) {
        self.wheel().set(self.key, NEVER);
    }

    /// CLOCK_MONOTONIC in nanoseconds, as [`now`].
    pub fn now(&self) -> u64 {
        self.core.now.get()
    }

    /// Ready at and after the deadline.
    pub fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.wheel().poll(self.key, self.core.now.get(), cx.waker()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Waits for the deadline.
    pub async fn expired(&self) {
        poll_fn(|cx| self.poll_expired(cx)).await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.wheel().remove(self.key);
    }
}
