//! A listener in force: everything a request needs to know, resolved when a snapshot arrives.

use super::PublishError;
use super::acl::Acl;
use super::actions::{Makings, ResponseActions, RuleActions};
use super::forwarded;
use super::group::Group;
use super::http1::field::{Name, list};
use super::http1::head::RequestHead;
use super::limits::SharedLimits;
use super::stats::{ListenerColumn, ServerColumn, Stats};
use super::tls::TlsServer;
use crate::balance::hash_factor::client_address;
use crate::model::{Condition, ForwardedHeaders};
use crate::rules::RuleSet;
use crate::snapshot::{ListenerSnapshot, RuleSnapshot, Snapshot};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

/// How long clients may remember that there is HTTP/3, seconds.
const ALT_SVC_SECS: u32 = 86_400;

fn alt_svc(port: u16) -> Vec<u8> {
    format!("Alt-Svc: h3=\":{port}\"; ma={ALT_SVC_SECS}\r\n").into_bytes()
}

/// One listener with the groups it leads to. Requests hold it while they run, so a new snapshot disturbs none.
pub struct Target {
    pub listener: String,
    pub load_balancer: String,
    pub addresses: Vec<SocketAddr>,
    /// Who may connect; `None`: everybody.
    pub acl: Option<Acl>,
    pub idle_ns: u64,
    pub request_ns: u64,
    /// Requests after which a client's connection is closed (LR-52).
    pub requests_per_connection: Option<NonZeroU32>,
    pub forwarded: ForwardedHeaders,
    pub gzip: bool,
    /// The line that tells clients of the QUIC listener (LR-29), or nothing.
    pub alt_svc: Vec<u8>,
    /// Headers that loops are known by (LR-112).
    pub trace_headers: Vec<String>,
    /// Request headers that the access log records.
    pub logged_headers: Vec<String>,
    /// The default action.
    pub default_actions: RuleActions,
    /// Request rules, and what each does.
    pub rules: Rc<Rules>,
    pub actions: Vec<RuleActions>,
    /// Response rules, likewise.
    pub response_rules: Rc<Rules>,
    pub response_actions: Vec<ResponseActions>,
    /// Every group a request may come to, the default one included, each once.
    groups: Vec<Rc<Group>>,
    /// How clients' connections begin, if they are encrypted.
    pub tls: Option<TlsServer>,
    /// One for each of `addresses`.
    counters: Vec<Arc<ListenerColumn>>,
    trusted_proxies: Option<Vec<IpNet>>,
}

/// Rules of one direction, kept while their conditions stay: compiling thousands takes a while, and most snapshots come
/// for a server's sake.
pub struct Rules {
    conditions: Vec<Vec<Condition>>,
    pub set: RuleSet,
}

impl Rules {
    fn new(
        listener: &str,
        rules: &[RuleSnapshot],
        previous: Option<&Rc<Rules>>,
    ) -> Result<Rc<Rules>, PublishError> {
        let is_same =
            |previous: &&Rc<Rules>| previous.conditions.iter().eq(rules.iter().map(|rule| &rule.conditions));
        if let Some(previous) = previous.filter(is_same) {
            return Ok(previous.clone());
        }
        let set = RuleSet::new(rules)
            .map_err(|error| PublishError::Rule { listener: listener.to_owned(), error })?;
        Ok(Rc::new(Rules { conditions: rules.iter().map(|rule| rule.conditions.clone()).collect(), set }))
    }
}

/// The counters a worker has, by id, for its whole life, and the limits that it shares with the others.
pub struct Columns {
    pub limits: Arc<SharedLimits>,
    stats: Arc<Stats>,
    servers: HashMap<u32, Arc<ServerColumn>>,
    listeners: HashMap<(u32, SocketAddr), Arc<ListenerColumn>>,
}

impl Columns {
    pub fn new(stats: Arc<Stats>, limits: Arc<SharedLimits>) -> Columns {
        Columns { limits, stats, servers: HashMap::new(), listeners: HashMap::new() }
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
    /// Errors: [`PublishError::NoGroup`], [`PublishError::Verification`], [`PublishError::Tls`],
    /// [`PublishError::Rule`].
    pub fn new(
        snapshot: &Snapshot,
        listener: &ListenerSnapshot,
        previous: Option<&Target>,
        columns: &mut Columns,
    ) -> Result<Target, PublishError> {
        let (limits, stats) = (columns.limits.clone(), columns.stats.clone());
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
        let name = &listener.name;
        let rules = Rules::new(name, &listener.rules, previous.map(|previous| &previous.rules))?;
        let response_rules =
            Rules::new(name, &listener.response_rules, previous.map(|previous| &previous.response_rules))?;
        let mut hidden = forwarded::names(&listener.forwarded);
        // They are written anew.
        hidden.extend(listener.trace_headers.iter().map(|name| name.as_bytes().into()));
        let before = previous.into_iter().flat_map(Target::every_actions);
        let mut makings = Makings {
            snapshot,
            listener,
            hidden: &hidden,
            group: &mut take,
            limits: &limits,
            counters: &|rule| stats.rule_column(listener.id, rule),
            previous: before.map(|actions| (actions.id.as_str(), actions)).collect(),
        };
        let default_actions = makings.default()?;
        let actions = listener.rules.iter().map(|rule| makings.of(rule)).collect::<Result<_, _>>()?;
        let tls = TlsServer::of(&listener.protocol, &snapshot.certificates)
            .map_err(|error| PublishError::Tls { listener: listener.name.clone(), error })?;
        Ok(Target {
            listener: listener.name.clone(),
            load_balancer: listener.load_balancer.clone(),
            addresses: listener.addresses.clone(),
            acl: listener.acl.as_ref().and_then(Acl::new),
            idle_ns: u64::from(listener.idle_timeout_ms) * 1_000_000,
            request_ns: u64::from(listener.request_timeout_ms) * 1_000_000,
            requests_per_connection: listener.requests_per_connection,
            forwarded: listener.forwarded.clone(),
            gzip: listener.gzip,
            alt_svc: listener.alt_svc_port.map(alt_svc).unwrap_or_default(),
            trace_headers: listener.trace_headers.clone(),
            logged_headers: listener.logged_headers.clone(),
            default_actions,
            rules,
            actions,
            response_rules,
            response_actions: listener.response_rules.iter().map(ResponseActions::new).collect(),
            groups,
            tls,
            counters: listener.addresses.iter().map(|vip| columns.listener(listener.id, *vip)).collect(),
            trusted_proxies: listener.trusted_proxies.clone(),
        })
    }

    /// Whether the peer at `address` may connect (LR-34).
    pub fn serves(&self, address: IpAddr) -> bool {
        self.acl.as_ref().is_none_or(|acl| acl.serves(address))
    }

    /// Every group a request may come to.
    pub fn groups(&self) -> &[Rc<Group>] {
        &self.groups
    }

    /// What each request rule does, and the default action.
    fn every_actions(&self) -> impl Iterator<Item = &RuleActions> {
        self.actions.iter().chain([&self.default_actions])
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
