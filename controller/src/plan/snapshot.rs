//! Model and health → what the L7 engine is told.

use crate::health::{Standing, Status};
use crate::model::{
    Listener, ListenerProtocol, LoadBalancerName, Node, Resources, ServerAddress, ServerGroupName,
};
use crate::snapshot::{GroupSnapshot, ListenerSnapshot, Ramp, ServerSnapshot, Snapshot};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

/// Numbers that name servers and listeners toward the engine and in its counters. Given once, never again to another.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    servers: BTreeMap<(ServerGroupName, ServerAddress), u32>,
    listeners: BTreeMap<(LoadBalancerName, NonZeroU16), u32>,
}

impl Ids {
    /// The number of a server of a group.
    pub fn server(&mut self, group: &ServerGroupName, address: ServerAddress) -> u32 {
        let next = self.servers.len() as u32;
        *self.servers.entry((group.clone(), address)).or_insert(next)
    }

    /// The number of a listener, by what makes it one (LR-3): under another name it keeps its sockets.
    pub fn listener(&mut self, listener: &Listener) -> u32 {
        let next = self.listeners.len() as u32;
        *self.listeners.entry((listener.load_balancer.clone(), listener.port)).or_insert(next)
    }
}

/// The snapshot for what is configured and how servers stand. Groups that no HTTP listener uses are left out.
pub fn snapshot(
    node: &Node,
    resources: &Resources,
    standings: &BTreeMap<ServerGroupName, Vec<Standing>>,
    ids: &mut Ids,
) -> Snapshot {
    let mut groups: Vec<GroupSnapshot> = Vec::new();
    let mut positions: BTreeMap<&ServerGroupName, u32> = BTreeMap::new();
    let mut listeners = Vec::new();
    for listener in resources.listeners.values().filter(|l| l.protocol == ListenerProtocol::Http) {
        let (vips, local_addresses) = addresses(node, resources, listener);
        if vips.is_empty() {
            continue;
        }
        let group = *positions.entry(&listener.server_group).or_insert_with(|| {
            groups.push(group_snapshot(resources, &listener.server_group, standings, ids));
            groups.len() as u32 - 1
        });
        listeners.push(ListenerSnapshot {
            id: ids.listener(listener),
            name: listener.name.to_string(),
            addresses: vips.iter().map(|vip| SocketAddrV4::new(*vip, listener.port.get())).collect(),
            group,
            idle_timeout_ms: milliseconds(listener.timeouts.idle),
            request_timeout_ms: milliseconds(listener.timeouts.request),
            x_forwarded_for: listener.x_forwarded_for,
            local_addresses,
        });
    }
    Snapshot { listeners, groups }
}

/// VIPs of a listener on this node, and the sources of its connections to servers.
fn addresses(node: &Node, resources: &Resources, listener: &Listener) -> (Vec<Ipv4Addr>, Vec<Ipv4Addr>) {
    let Some(balancer) = resources.load_balancers.get(&listener.load_balancer) else {
        return Default::default();
    };
    (
        node.zones_of(balancer).map(|mapping| mapping.vip).collect(),
        node.zones_of(balancer).flat_map(|mapping| mapping.local_addresses.iter().copied()).collect(),
    )
}

fn group_snapshot(
    resources: &Resources,
    name: &ServerGroupName,
    standings: &BTreeMap<ServerGroupName, Vec<Standing>>,
    ids: &mut Ids,
) -> GroupSnapshot {
    let group = &resources.server_groups[name];
    let standings = standings.get(name).map_or(&[][..], Vec::as_slice);
    let servers = standings.iter().filter(|standing| standing.receives_new).map(|standing| ServerSnapshot {
        id: ids.server(name, standing.address),
        address: SocketAddrV4::new(standing.address.ip, standing.address.port.get()),
        weight: standing.weight.get(),
        ramp: standing
            .ramp
            .map(|ramp| Ramp { start_ns: ramp.start.as_nanos(), duration_ms: milliseconds(ramp.duration) }),
    });
    GroupSnapshot {
        name: name.to_string(),
        keepalive: group.upstream_keepalive,
        fail_open: is_fail_open(standings),
        servers: servers.collect(),
    }
}

/// Whether traffic goes to servers of which none is known to be good (SG-93).
fn is_fail_open(standings: &[Standing]) -> bool {
    let mut receiving = standings.iter().filter(|standing| standing.receives_new).peekable();
    receiving.peek().is_some()
        && receiving.all(|standing| !matches!(standing.status, Status::Normal | Status::Unavailable))
}

/// Configured durations are at most an hour.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
