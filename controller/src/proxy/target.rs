//! A listener in force: everything a request needs to know, resolved when a snapshot arrives.

use super::PublishError;
use super::access_log::push_socket_address;
use super::pool::Pool;
use super::stats::{ListenerColumn, ServerColumn, Stats};
use super::tls::{Profile, TlsClient};
use crate::balance::round_robin::RoundRobin;
use crate::snapshot::{FunctionSnapshot, ListenerSnapshot, ServerSnapshot, Snapshot, UpstreamProtocol};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

/// One listener with its default action's group. Requests hold it while they run, so a new snapshot disturbs none.
pub struct Target {
    pub listener: String,
    pub addresses: Vec<SocketAddr>,
    pub group: String,
    pub idle_ns: u64,
    pub request_ns: u64,
    pub x_forwarded_for: bool,
    pub keep_alive: bool,
    /// The function called at the group's one server.
    pub function: Option<FunctionSnapshot>,
    /// How servers are spoken to.
    protocol: UpstreamProtocol,
    tls: Option<Rc<Profile>>,
    /// How servers are chosen, for the log.
    pub reason: &'static str,
    pub servers: Vec<Server>,
    /// One for each of `addresses`.
    counters: Vec<Arc<ListenerColumn>>,
    cycle: RefCell<RoundRobin>,
    local_addresses: Vec<IpAddr>,
}

/// One server that takes requests.
pub struct Server {
    pub id: u32,
    pub address: SocketAddr,
    /// `address` as a Host value.
    pub host: Vec<u8>,
    /// What connections begin with, if they are encrypted.
    pub tls: Option<Rc<TlsClient>>,
    pub pool: Rc<Pool>,
    pub counters: Arc<ServerColumn>,
    /// Place in the local addresses. One for all servers would turn in step with the cycle that picks them, and each
    /// would see only some of the addresses.
    next_local: Cell<usize>,
}

/// The counters a worker has, by id, for its whole life.
pub struct Columns {
    stats: Arc<Stats>,
    servers: HashMap<u32, Arc<ServerColumn>>,
    listeners: HashMap<(u32, SocketAddr), Arc<ListenerColumn>>,
}

impl Columns {
    pub fn new(stats: Arc<Stats>) -> Columns {
        Columns { stats, servers: HashMap::new(), listeners: HashMap::new() }
    }

    fn server(&mut self, id: u32) -> Arc<ServerColumn> {
        self.servers.entry(id).or_insert_with(|| self.stats.server_column(id)).clone()
    }

    fn listener(&mut self, id: u32, vip: SocketAddr) -> Arc<ListenerColumn> {
        self.listeners.entry((id, vip)).or_insert_with(|| self.stats.listener_column(id, vip)).clone()
    }
}

impl Target {
    /// `listener` of `snapshot`, going on where `previous` (the same listener before) stands: idle connections to
    /// servers that stay are kept, and the place in the cycle if ids and weights are the same.
    ///
    /// Errors: [`PublishError::NoGroup`], [`PublishError::Verification`].
    pub fn new(
        snapshot: &Snapshot,
        listener: &ListenerSnapshot,
        previous: Option<&Target>,
        columns: &mut Columns,
    ) -> Result<Target, PublishError> {
        let group = snapshot.groups.get(listener.group as usize).ok_or_else(|| PublishError::NoGroup {
            listener: listener.name.clone(),
            group: listener.group,
        })?;
        let previous = previous.filter(|previous| previous.group == group.name);
        let authority = group.function.as_ref().map(|function| function.authority.as_str());
        let speaks_alike = |previous: &&Target| {
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
        let servers = group
            .servers
            .iter()
            .map(|server| {
                let known = alike.and_then(|previous| previous.known(server));
                let fresh_tls = || tls.as_ref().map(|tls| Rc::new(tls.client(server.address.ip())));
                Server {
                    id: server.id,
                    address: server.address,
                    host: host_text(server.address),
                    tls: known.map_or_else(fresh_tls, |known| known.tls.clone()),
                    pool: known.map(|known| known.pool.clone()).unwrap_or_default(),
                    counters: columns.server(server.id),
                    next_local: known.map(|known| known.next_local.clone()).unwrap_or_default(),
                }
            })
            .collect();
        let cycle = match previous {
            Some(previous) => RoundRobin::resume(&group.servers, &previous.cycle.borrow()),
            None => RoundRobin::new(&group.servers),
        };
        Ok(Target {
            function: group.function.clone(),
            protocol: group.protocol.clone(),
            tls,
            listener: listener.name.clone(),
            addresses: listener.addresses.clone(),
            group: group.name.clone(),
            idle_ns: u64::from(listener.idle_timeout_ms) * 1_000_000,
            request_ns: u64::from(listener.request_timeout_ms) * 1_000_000,
            x_forwarded_for: listener.x_forwarded_for,
            keep_alive: group.keepalive,
            reason: if group.fail_open { "wrr, fail open" } else { "wrr" },
            servers,
            counters: listener.addresses.iter().map(|vip| columns.listener(listener.id, *vip)).collect(),
            cycle: RefCell::new(cycle),
            local_addresses: listener.local_addresses.clone(),
        })
    }

    fn known(&self, server: &ServerSnapshot) -> Option<&Server> {
        self.servers
            .iter()
            .find(|known| known.id == server.id && known.address == server.address && !known.pool.is_closed())
    }

    /// Closes what `next`, the same listener from now on, no longer uses.
    pub fn retire(&self, next: Option<&Target>) {
        for server in &self.servers {
            let kept = next.is_some_and(|next| {
                next.keep_alive && next.servers.iter().any(|other| Rc::ptr_eq(&other.pool, &server.pool))
            });
            match next {
                Some(next) if kept => server.pool.keep_sources(&next.local_addresses),
                _ => server.pool.close(),
            }
        }
    }

    /// The counters for connections to `vip`; `None` if the listener has left that address.
    pub fn counters_of(&self, vip: SocketAddr) -> Option<&Arc<ListenerColumn>> {
        self.addresses
            .iter()
            .zip(&self.counters)
            .find(|(address, _)| **address == vip)
            .map(|(_, column)| column)
    }

    /// The server for the next request; see [`RoundRobin::pick`].
    pub fn pick(&self, now: u64, avoid: Option<usize>) -> Option<usize> {
        self.cycle.borrow_mut().pick(now, avoid)
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

fn host_text(address: SocketAddr) -> Vec<u8> {
    let mut text = Vec::with_capacity(21);
    push_socket_address(&mut text, address);
    text
}
