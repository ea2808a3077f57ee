//! A listener in force: everything a request needs to know, resolved when a snapshot arrives.

use super::PublishError;
use super::group::Group;
use super::http1::field::{Name, list};
use super::http1::head::RequestHead;
use super::stats::{ListenerColumn, ServerColumn, Stats};
use super::tls::TlsServer;
use crate::balance::hash_factor::client_address;
use crate::model::ForwardedHeaders;
use crate::snapshot::{ListenerSnapshot, Snapshot};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

/// One listener with the groups it leads to. Requests hold it while they run, so a new snapshot disturbs none.
pub struct Target {
    pub listener: String,
    pub addresses: Vec<SocketAddr>,
    pub idle_ns: u64,
    pub request_ns: u64,
    pub forwarded: ForwardedHeaders,
    pub gzip: bool,
    /// The default action's group.
    pub default: Rc<Group>,
    /// Every group a request may come to, the default one included, each once.
    groups: Vec<Rc<Group>>,
    /// How clients' connections begin, if they are encrypted.
    pub tls: Option<TlsServer>,
    /// One for each of `addresses`.
    counters: Vec<Arc<ListenerColumn>>,
    trusted_proxies: Option<Vec<IpNet>>,
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

    /// Those of a server.
    pub fn server(&mut self, id: u32) -> Arc<ServerColumn> {
        self.servers.entry(id).or_insert_with(|| self.stats.server_column(id)).clone()
    }

    fn listener(&mut self, id: u32, vip: SocketAddr) -> Arc<ListenerColumn> {
        self.listeners.entry((id, vip)).or_insert_with(|| self.stats.listener_column(id, vip)).clone()
    }
}

impl Target {
    /// `listener` of `snapshot`, going on where `previous` (the same listener before) stands: see [`Group::new`].
    ///
    /// Errors: [`PublishError::NoGroup`], [`PublishError::Verification`], [`PublishError::Tls`].
    pub fn new(
        snapshot: &Snapshot,
        listener: &ListenerSnapshot,
        previous: Option<&Target>,
        columns: &mut Columns,
    ) -> Result<Target, PublishError> {
        let mut groups: Vec<Rc<Group>> = Vec::new();
        let mut places: HashMap<u32, Rc<Group>> = HashMap::new();
        let mut take = |position: u32| -> Result<Rc<Group>, PublishError> {
            if let Some(known) = places.get(&position) {
                return Ok(known.clone());
            }
            let group = snapshot
                .groups
                .get(position as usize)
                .ok_or_else(|| PublishError::NoGroup { listener: listener.name.clone(), group: position })?;
            let before = previous.and_then(|previous| previous.group(&group.name));
            let made = Rc::new(Group::new(snapshot, listener, group, before, columns)?);
            groups.push(made.clone());
            places.insert(position, made.clone());
            Ok(made)
        };
        let default = take(listener.group)?;
        let tls = TlsServer::of(&listener.protocol, &snapshot.certificates)
            .map_err(|error| PublishError::Tls { listener: listener.name.clone(), error })?;
        Ok(Target {
            listener: listener.name.clone(),
            addresses: listener.addresses.clone(),
            idle_ns: u64::from(listener.idle_timeout_ms) * 1_000_000,
            request_ns: u64::from(listener.request_timeout_ms) * 1_000_000,
            forwarded: listener.forwarded.clone(),
            gzip: listener.gzip,
            default,
            groups,
            tls,
            counters: listener.addresses.iter().map(|vip| columns.listener(listener.id, *vip)).collect(),
            trusted_proxies: listener.trusted_proxies.clone(),
        })
    }

    /// Every group a request may come to.
    pub fn groups(&self) -> &[Rc<Group>] {
        &self.groups
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name).map(|group| &**group)
    }

    /// Counts requests as the groups' schedulers need it from now on.
    pub fn come_into_force(&self) {
        self.groups.iter().for_each(|group| group.come_into_force());
    }

    /// Closes what `next`, the same listener from now on, no longer uses.
    pub fn retire(&self, next: Option<&Target>) {
        for group in &self.groups {
            group.retire(next.and_then(|next| next.group(&group.name)));
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

    /// The client's address: the peer's, or by LR-44 what proxies say. `head` is what `request` was parsed from.
    pub fn client_address(&self, request: &RequestHead, head: &[u8], peer: IpAddr) -> IpAddr {
        let Some(trusted) = &self.trusted_proxies else { return peer };
        let fields = request.fields().iter().filter(|field| field.name == Name::XForwardedFor);
        client_address(fields.flat_map(|field| list(field.value.of(head))), peer, trusted)
    }
}
