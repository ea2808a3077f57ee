//! A server group in force, as one listener uses it: its servers, how one is picked, and connections to them.

use super::PublishError;
use super::access_log::push_socket_address;
use super::http1::field::Span;
use super::http1::head::RequestHead;
use super::http2::client::Links;
use super::persistence::{Known, Persistence};
use super::pool::Pool;
use super::stats::ServerColumn;
use super::target::Columns;
use super::tls::{Profile, TlsClient};
use crate::balance::consistent_hash::{ConsistentHash, key_of_address, key_of_value, server_identity};
use crate::balance::hash_factor::url_parameter;
use crate::balance::least_connections::LeastConnections;
use crate::balance::round_robin::RoundRobin;
use crate::snapshot::{
    FunctionSnapshot, GroupSnapshot, ListenerSnapshot, SchedulerSnapshot, ServerSnapshot, Snapshot,
    UpstreamProtocol,
};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

/// One group of a listener. Requests hold it while they run, so a new snapshot disturbs none.
pub struct Group {
    pub name: String,
    pub keep_alive: bool,
    /// The function called at the group's one server.
    pub function: Option<FunctionSnapshot>,
    /// How servers are spoken to.
    pub protocol: UpstreamProtocol,
    tls: Option<Rc<Profile>>,
    /// How servers are chosen, for the log.
    pub reason: &'static str,
    pub persistence: Option<Persistence>,
    pub servers: Vec<Server>,
    scheduler: Scheduler,
    is_fail_open: bool,
    local_addresses: Vec<IpAddr>,
}

/// How one of the servers is picked.
enum Scheduler {
    Wrr(RefCell<RoundRobin>),
    Wlc(RefCell<LeastConnections>),
    Sch {
        hash: ConsistentHash,
        /// Name of the parameter hashed; `None`: the client's address.
        parameter: Option<Vec<u8>>,
    },
}

/// What a request says about where it belongs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim {
    session: Option<Known>,
    key: u64,
}

/// A server for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Position in [`Group::servers`].
    pub index: usize,
    /// How it was chosen, for the log.
    pub reason: &'static str,
    /// The request belongs to this server, so that only one that cannot be reached is worth leaving.
    pub is_home: bool,
    /// First access, Unix time, of the session that goes on there.
    pub first_secs: Option<u64>,
}

/// One server that takes requests.
pub struct Server {
    pub id: u32,
    pub address: SocketAddr,
    /// Names `address` in cookies.
    pub identity: u64,
    /// `address` as a Host value.
    pub host: Vec<u8>,
    /// What connections begin with, if they are encrypted.
    pub tls: Option<Rc<TlsClient>>,
    pub pool: Rc<Pool>,
    /// Connections of HTTP/2, where servers speak gRPC.
    pub links: Rc<Links>,
    pub counters: Arc<ServerColumn>,
    /// Place in the local addresses. One for all servers would turn in step with the cycle that picks them, and each
    /// would see only some of the addresses.
    next_local: Cell<usize>,
}

impl Group {
    /// Parts of a request's head that its servers must not see.
    pub fn hidden(&self, request: &RequestHead, head: &[u8]) -> Vec<Span> {
        self.persistence.as_ref().map(|sticky| sticky.hidden(request, head)).unwrap_or_default()
    }

    /// `group` of `snapshot` as `listener` uses it, going on where `previous` (the same group before) stands: idle
    /// connections to servers that stay are kept, and the place in the cycle if ids and weights are the same.
    ///
    /// Errors: [`PublishError::Verification`].
    pub fn new(
        snapshot: &Snapshot,
        listener: &ListenerSnapshot,
        group: &GroupSnapshot,
        previous: Option<&Group>,
        columns: &mut Columns,
    ) -> Result<Group, PublishError> {
        let authority = group.function.as_ref().map(|function| function.authority.as_str());
        let speaks_alike = |previous: &&Group| {
            let before = previous.function.as_ref().map(|function| function.authority.as_str());
            previous.protocol == group.protocol && before == authority
        };
        let alike = previous.filter(speaks_alike);
        let tls = match alike {
            Some(previous) => previous.tls.clone(),
            None => Profile::new(&group.protocol, authority)
                .map_err(|error| PublishError::Verification { group: group.name.clone(), error })?
                .map(Rc::new),
        };
        let servers: Vec<Server> = group
            .servers
            .iter()
            .map(|server| {
                let known = alike.and_then(|previous| previous.known(server));
                let fresh_tls = || tls.as_ref().map(|tls| Rc::new(tls.client(server.address.ip())));
                Server {
                    id: server.id,
                    address: server.address,
                    identity: server_identity(server.address),
                    host: host_text(server.address),
                    tls: known.map_or_else(fresh_tls, |known| known.tls.clone()),
                    pool: known.map(|known| known.pool.clone()).unwrap_or_default(),
                    links: known.map(|known| known.links.clone()).unwrap_or_default(),
                    counters: columns.server(server.id),
                    next_local: known.map(|known| known.next_local.clone()).unwrap_or_default(),
                }
            })
            .collect();
        let scheduler = Scheduler::new(group, previous.map(|previous| &previous.scheduler));
        let persistence = Persistence::new(snapshot, group);
        let lacks_key = |group: &Group| group.persistence.as_ref().is_some_and(|sticky| !sticky.has_key);
        let made = Group {
            function: group.function.clone(),
            protocol: group.protocol.clone(),
            tls,
            name: group.name.clone(),
            keep_alive: group.keepalive,
            reason: scheduler.reason(group.fail_open),
            persistence,
            servers,
            scheduler,
            is_fail_open: group.fail_open,
            local_addresses: listener.local_addresses.clone(),
        };
        if lacks_key(&made) && !previous.is_some_and(lacks_key) {
            log::warn!(
                "server group {:?} has sticky sessions, but there is no key for cookies: clients do not stay",
                made.name
            );
        }
        Ok(made)
    }

    /// Counts requests as this group's scheduler needs it from now on. A server is in one group, so no other group
    /// has another opinion of it.
    pub fn come_into_force(&self) {
        let is_shared = matches!(self.scheduler, Scheduler::Wlc(_));
        self.servers.iter().for_each(|server| server.counters.share(is_shared));
    }

    fn known(&self, server: &ServerSnapshot) -> Option<&Server> {
        self.servers
            .iter()
            .find(|known| known.id == server.id && known.address == server.address && !known.pool.is_closed())
    }

    /// Closes what `next`, the same group from now on, no longer uses.
    pub fn retire(&self, next: Option<&Group>) {
        for server in &self.servers {
            let kept = next.is_some_and(|next| {
                next.keep_alive && next.servers.iter().any(|other| Rc::ptr_eq(&other.pool, &server.pool))
            });
            match next {
                Some(next) if kept => {
                    server.pool.keep_sources(&next.local_addresses);
                    server.links.keep_sources(&next.local_addresses);
                }
                _ => {
                    server.pool.close();
                    server.links.close();
                }
            }
        }
    }

    /// Where a request belongs. `head` is what `request` was parsed from; `client` tells whose it is.
    pub fn claim(&self, request: &RequestHead, head: &[u8], client: impl FnOnce() -> IpAddr) -> Claim {
        let session =
            self.persistence.as_ref().and_then(|sticky| sticky.session(request, head, &self.servers));
        let key = match &self.scheduler {
            Scheduler::Sch { parameter, .. } => parameter
                .as_ref()
                .and_then(|name| url_parameter(request.path.of(head), name))
                .map_or_else(|| key_of_address(client()), key_of_value),
            Scheduler::Wrr(_) | Scheduler::Wlc(_) => 0,
        };
        Claim { session, key }
    }

    /// The server for a request: its session's (SG-120), else as the scheduler says. `avoid`, the position a first
    /// attempt failed at, is passed over while any other server can be had. `now` is CLOCK_MONOTONIC.
    pub fn pick(&self, now: u64, claim: &Claim, avoid: Option<usize>) -> Option<Pick> {
        if let Some(Known { index, first_secs }) = claim.session
            && avoid != Some(index)
        {
            let reason = if self.is_fail_open { "sticky, fail open" } else { "sticky" };
            return Some(Pick { index, reason, is_home: true, first_secs: Some(first_secs) });
        }
        let index = match &self.scheduler {
            Scheduler::Wrr(cycle) => cycle.borrow_mut().pick(now, avoid),
            Scheduler::Wlc(group) => group.borrow_mut().pick(|index| self.active(index), avoid),
            Scheduler::Sch { hash, .. } => hash.pick(claim.key, avoid),
        };
        let is_home = matches!(self.scheduler, Scheduler::Sch { .. });
        Some(Pick { index: index?, reason: self.reason, is_home, first_secs: None })
    }

    /// What [`Group::pick`] would answer, without its being anybody's turn.
    pub fn peek(&self, now: u64, claim: &Claim) -> Option<Pick> {
        let next = match &self.scheduler {
            _ if claim.session.is_some() => return self.pick(now, claim, None),
            Scheduler::Wrr(cycle) => cycle.borrow().clone().pick(now, None),
            Scheduler::Wlc(group) => group.borrow().clone().pick(|index| self.active(index), None),
            Scheduler::Sch { hash, .. } => hash.pick(claim.key, None),
        };
        let is_home = matches!(self.scheduler, Scheduler::Sch { .. });
        Some(Pick { index: next?, reason: self.reason, is_home, first_secs: None })
    }

    fn active(&self, index: usize) -> u32 {
        self.servers[index].counters.active_everywhere()
    }

    /// The source address for the next connection to `server`: each in turn.
    pub fn next_local(&self, server: &Server) -> Option<IpAddr> {
        let of_family =
            || self.local_addresses.iter().filter(|local| local.is_ipv4() == server.address.is_ipv4());
        let index = server.next_local.get() % of_family().count().max(1);
        server.next_local.set(index + 1);
        of_family().nth(index).copied()
    }
}

impl Scheduler {
    /// As `group` says, going on where `previous` stands if it is of the same kind.
    fn new(group: &GroupSnapshot, previous: Option<&Scheduler>) -> Scheduler {
        let servers = &group.servers;
        match (&group.scheduler, previous) {
            (SchedulerSnapshot::Wrr, Some(Scheduler::Wrr(before))) => {
                Scheduler::Wrr(RefCell::new(RoundRobin::resume(servers, &before.borrow())))
            }
            (SchedulerSnapshot::Wrr, _) => Scheduler::Wrr(RefCell::new(RoundRobin::new(servers))),
            (SchedulerSnapshot::Wlc, Some(Scheduler::Wlc(before))) => {
                Scheduler::Wlc(RefCell::new(LeastConnections::resume(servers, &before.borrow())))
            }
            (SchedulerSnapshot::Wlc, _) => Scheduler::Wlc(RefCell::new(LeastConnections::new(servers))),
            (SchedulerSnapshot::SchSourceIp, _) => {
                Scheduler::Sch { hash: ConsistentHash::new(servers), parameter: None }
            }
            (SchedulerSnapshot::SchUrlParameter(name), _) => Scheduler::Sch {
                hash: ConsistentHash::new(servers),
                parameter: Some(name.clone().into_bytes()),
            },
        }
    }

    fn reason(&self, fail_open: bool) -> &'static str {
        match (self, fail_open) {
            (Scheduler::Wrr(_), false) => "wrr",
            (Scheduler::Wrr(_), true) => "wrr, fail open",
            (Scheduler::Wlc(_), false) => "wlc",
            (Scheduler::Wlc(_), true) => "wlc, fail open",
            (Scheduler::Sch { .. }, false) => "sch",
            (Scheduler::Sch { .. }, true) => "sch, fail open",
        }
    }
}

fn host_text(address: SocketAddr) -> Vec<u8> {
    let mut text = Vec::with_capacity(21);
    push_socket_address(&mut text, address);
    text
}
