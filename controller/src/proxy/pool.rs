//! Idle connections to one server, for one listener and worker.

use super::reactor;
use super::upstream::ServerStream;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;

/// Idle connections kept per server.
const IDLE_MAX: usize = 256;
/// An idle connection is closed after this: below the 60 s or more that servers commonly keep theirs.
const IDLE_NS: u64 = 50_000_000_000;

/// A connection between two requests.
struct Idle {
    stream: ServerStream,
    local: IpAddr,
    since: u64,
}

/// Idle connections, the one used last taken first.
#[derive(Default)]
pub struct Pool {
    idle: RefCell<Vec<Idle>>,
    /// The server left: nothing is kept any more.
    closed: Cell<bool>,
}

impl Pool {
    /// A connection on which nothing has arrived since it was put here, and its source address.
    pub fn take(&self) -> Option<(ServerStream, IpAddr)> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { stream, local, .. }) = idle.pop() {
            // Data nobody asked for would be taken for the next response.
            if stream.is_quiet() {
                return Some((stream, local));
            }
        }
        None
    }

    /// Keeps a connection whose last response is complete and unambiguous.
    pub fn put(&self, stream: ServerStream, local: IpAddr) {
        let mut idle = self.idle.borrow_mut();
        if self.closed.get() || idle.len() >= IDLE_MAX || !stream.is_quiet() {
            return;
        }
        stream.tcp().forget_wakers();
        idle.push(Idle { stream, local, since: reactor::now() });
    }

    /// True while nothing is idle here.
    pub fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// Closes connections that the server closed or that were idle too long.
    pub fn sweep(&self) {
        let now = reactor::now();
        self.idle
            .borrow_mut()
            .retain(|idle| now.saturating_sub(idle.since) < IDLE_NS && idle.stream.is_quiet());
    }

    /// Closes connections from addresses other than `locals`.
    pub fn keep_sources(&self, locals: &[IpAddr]) {
        self.idle.borrow_mut().retain(|idle| locals.contains(&idle.local));
    }

    /// True once nothing is kept any more.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Closes all, and any that come later.
    pub fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
    }
}
