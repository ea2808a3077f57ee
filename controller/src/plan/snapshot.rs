//! Model and health → what the L7 engine is told.

use crate::health::{Standing, Status};
use crate::model::{
    GroupProtocol, HashFactor, Listener, LoadBalancer, LoadBalancerName, Node, Resources, Scheduler,
    ServerAddress, ServerGroup, ServerGroupName, StickySession, ZoneMapping, ZoneName,
};
use crate::snapshot::{
    FunctionSnapshot, GroupSnapshot, ListenerSnapshot, Ramp, SchedulerSnapshot, ServerSnapshot, Snapshot,
    StickySnapshot, UpstreamProtocol, VerificationSnapshot,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

/// Numbers that name servers and listeners toward the engine and in its counters. Given once, never again to another.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    servers: BTreeMap<ServerGroupName, BTreeMap<ServerAddress, u32>>,
    next_server: u32,
    listeners: BTreeMap<(LoadBalancerName, NonZeroU16, ZoneName), u32>,
}

impl Ids {
    /// The number of a server of a group.
    pub fn server(&mut self, group: &ServerGroupName, address: ServerAddress) -> u32 {
        // Looked up a thousand times in each plan, so without a key made for the purpose.
        if let Some(id) = self.servers.get(group).and_then(|servers| servers.get(&address)) {
            return *id;
        }
        let id = self.next_server;
        self.next_server += 1;
        self.servers.entry(group.clone()).or_default().insert(address, id);
        id
    }

    /// The number of a listener in a zone, by what makes it one (LR-3): under another name it keeps its sockets.
    pub fn listener(&mut self, listener: &Listener, zone: &ZoneName) -> u32 {
        let next = self.listeners.len() as u32;
        *self.listeners.entry((listener.load_balancer.clone(), listener.port, zone.clone())).or_insert(next)
    }
}

/// Where connections and probes to servers come from: the local addresses of `balancer` in the zones that `node` serves,
/// without those in `dead` zones unless there are no others.
pub fn sources(node: &Node, balancer: &LoadBalancer, dead: &BTreeSet<ZoneName>) -> Vec<IpAddr> {
    let is_alive = |mapping: &&ZoneMapping| !dead.contains(&mapping.zone);
    let alive: Vec<IpAddr> =
        node.zones_of(balancer).filter(is_alive).flat_map(ZoneMapping::sources).collect();
    if alive.is_empty() { node.zones_of(balancer).flat_map(ZoneMapping::sources).collect() } else { alive }
}

/// The snapshot for what is configured and how servers stand, without keys and cuts. Groups that no HTTP listener uses
/// are left out. `dead` are zones whose interface is down.
pub fn snapshot(
    node: &Node,
    resources: &Resources,
    standings: &BTreeMap<ServerGroupName, Vec<Standing>>,
    dead: &BTreeSet<ZoneName>,
    ids: &mut Ids,
) -> Snapshot {
    let mut groups: Vec<GroupSnapshot> = Vec::new();
    let mut positions: BTreeMap<(&ServerGroupName, Option<&ZoneName>), u32> = BTreeMap::new();
    let mut listeners = Vec::new();
    for listener in resources.listeners.values().filter(|listener| !listener.protocol.is_l4()) {
        let Some(balancer) = resources.load_balancers.get(&listener.load_balancer) else { continue };
        let group = &resources.server_groups[&listener.server_group];
        let sources = sources(node, balancer, dead);
        for mapping in node.zones_of(balancer) {
            // Where traffic may not cross zones, each zone has its own view of the group (SG-171).
            let zone = (!group.cross_zone).then_some(&mapping.zone);
            let position = *positions.entry((&listener.server_group, zone)).or_insert_with(|| {
                groups.push(group_snapshot(group, zone, standings, ids));
                groups.len() as u32 - 1
            });
            listeners.push(ListenerSnapshot {
                load_balancer: balancer.name.to_string(),
                group: position,
                idle_timeout_ms: milliseconds(listener.timeouts.idle),
                request_timeout_ms: milliseconds(listener.timeouts.request),
                forwarded: listener.forwarded.clone(),
                trusted_proxies: listener.trusted_proxies.clone(),
                gzip: listener.gzip,
                logged_headers: listener.logged_headers.clone(),
                ..ListenerSnapshot::new(
                    ids.listener(listener, &mapping.zone),
                    listener.name.as_str(),
                    mapping.vips().map(|vip| SocketAddr::new(vip, listener.port.get())).collect(),
                    sources.clone(),
                )
            });
        }
    }
    Snapshot {
        listeners,
        certificates: Vec::new(),
        installation: node.name.clone(),
        groups,
        cookie_keys: Vec::new(),
        cuts: Vec::new(),
    }
}

fn group_snapshot(
    group: &ServerGroup,
    zone: Option<&ZoneName>,
    standings: &BTreeMap<ServerGroupName, Vec<Standing>>,
    ids: &mut Ids,
) -> GroupSnapshot {
    let standings = standings.get(&group.name).map_or(&[][..], Vec::as_slice);
    let in_zone = |address| {
        zone.is_none()
            || group.servers.iter().any(|server| server.address == address && server.zone.as_ref() == zone)
    };
    let standings: Vec<&Standing> = standings.iter().filter(|standing| in_zone(standing.address)).collect();
    let servers = standings.iter().filter(|standing| standing.receives_new).map(|standing| ServerSnapshot {
        id: ids.server(&group.name, standing.address),
        address: standing.address.into(),
        weight: standing.weight.get(),
        ramp: standing
            .ramp
            .map(|ramp| Ramp { start_ns: ramp.start.as_nanos(), duration_ms: milliseconds(ramp.duration) }),
    });
    GroupSnapshot {
        name: group.name.to_string(),
        protocol: match group.protocol {
            GroupProtocol::Https => UpstreamProtocol::Https {
                verification: group.tls_verification.as_ref().map(|verification| VerificationSnapshot {
                    ca_certificates: verification.ca_certificates.clone(),
                    server_name: verification.server_name.clone(),
                }),
            },
            GroupProtocol::Grpc => UpstreamProtocol::Grpc,
            GroupProtocol::Http | GroupProtocol::Tcp => UpstreamProtocol::Http,
        },
        keepalive: group.upstream_keepalive,
        fail_open: is_fail_open(&standings),
        scheduler: match &group.scheduler {
            Scheduler::Wrr => SchedulerSnapshot::Wrr,
            Scheduler::Wlc => SchedulerSnapshot::Wlc,
            Scheduler::Sch(HashFactor::SourceIp) => SchedulerSnapshot::SchSourceIp,
            Scheduler::Sch(HashFactor::UrlParameter(name)) => {
                SchedulerSnapshot::SchUrlParameter(name.clone())
            }
        },
        sticky: group.sticky_session.as_ref().map(|sticky| match sticky {
            StickySession::Insert { timeout } => {
                StickySnapshot::Insert { timeout_secs: u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX) }
            }
            StickySession::Server { cookie } => StickySnapshot::Server { cookie: cookie.clone() },
        }),
        function: group.servers.iter().find_map(|server| server.trigger.as_ref()).map(|trigger| {
            FunctionSnapshot {
                authority: trigger.authority.clone(),
                path_prefix: trigger.path_prefix.clone(),
            }
        }),
        servers: servers.collect(),
    }
}

/// Whether traffic goes to servers of which none is known to be good (SG-93).
fn is_fail_open(standings: &[&Standing]) -> bool {
    let mut receiving = standings.iter().filter(|standing| standing.receives_new).peekable();
    receiving.peek().is_some()
        && receiving.all(|standing| !matches!(standing.status, Status::Normal | Status::Unavailable))
}

/// Configured durations are at most an hour.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
