//! How things stand, for `causeway get` and for metrics.

use super::control::{Control, seconds};
use crate::api::metrics::{ListenerMetrics, MetricsSnapshot, NextHopMetrics, ServerMetrics};
use crate::api::{
    FailureView, HealthStatus, Kind, LinkCounters, ListenerStatus, ListenerView, LoadBalancerView,
    NextHopView, PathView, Response, RouteTarget, RouteView, ServerCounters, ServerView, StatusView, View,
    ZoneView,
};
use crate::balance::slow_start::{self, ONE};
use crate::datapath::Counters;
use crate::health::{Moment, Standing, Status};
use crate::model::{
    AddressType, Edition, Encapsulation, ListenerProtocol, NextHop, NodeZone, Server, ServerGroup,
    TransitRouter,
};
use crate::plan;
use crate::probe::clock;
use crate::proxy::stats::ServerTotals;
use crate::routing::{self, Path};
use forwarder_common::counters::HopCounters;
use forwarder_common::vip::VipKey;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Every counter, read at one moment.
struct Readings {
    datapath: Counters,
    servers: BTreeMap<u32, ServerTotals>,
    /// Open L4 flows by server index.
    flows: BTreeMap<u32, u64>,
    /// Indices of a server's elements, by identity.
    indices: BTreeMap<u64, Vec<u32>>,
    now: Moment,
}

impl Control {
    /// The things of a kind.
    pub fn view(&mut self, kind: Kind) -> Response {
        let readings = match self.readings() {
            Ok(readings) => readings,
            Err(message) => return Response::Failed { message },
        };
        let view = match kind {
            Kind::LoadBalancers => View::LoadBalancers(self.load_balancers()),
            Kind::Servers => View::Servers(self.servers(&readings)),
            Kind::Routes => View::Routes(self.routes()),
            Kind::NextHops => View::NextHops(self.next_hops(&readings)),
        };
        Response::View { view }
    }

    /// How the program stands.
    pub fn status(&self) -> StatusView {
        StatusView {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.node.value.name.clone(),
            pid: std::process::id(),
            uptime_secs: clock::now().since(self.started).as_secs(),
            revision: self.revision,
            snapshot_sequence: self.sequence,
            workers: self.node.value.workers,
        }
    }

    /// Every counter there is.
    pub fn metrics(&mut self) -> MetricsSnapshot {
        let mut metrics = MetricsSnapshot {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.node.value.name.clone(),
            revision: self.revision.map_or(0, |revision| revision.0),
            snapshot_sequence: self.sequence,
            ..MetricsSnapshot::default()
        };
        let readings = match self.readings() {
            Ok(readings) => readings,
            Err(message) => {
                log::error!("metrics: {message}");
                return metrics;
            }
        };
        metrics.servers = self
            .servers(&readings)
            .into_iter()
            .map(|server| ServerMetrics {
                group: server.group,
                server: server.address.to_string(),
                weight: server.weight,
                effective_weight: server.effective_weight,
                health: server.health,
                counters: server.counters,
            })
            .collect();
        metrics.listeners = self.listener_metrics(&readings);
        metrics.next_hops = self
            .next_hops(&readings)
            .into_iter()
            .map(|hop| NextHopMetrics {
                transit_router: hop.transit_router,
                next_hop: hop.name,
                zone: hop.zone,
                counters: hop.counters,
            })
            .collect();
        metrics.drops =
            readings.datapath.drops.iter().map(|(reason, count)| (reason.name(), *count)).collect();
        metrics
    }

    fn readings(&self) -> Result<Readings, String> {
        let now = clock::now();
        Ok(Readings {
            datapath: self.datapath.counters().map_err(|error| error.to_string())?,
            servers: self.stats.servers(),
            flows: self.datapath.flows(seconds(now)).map_err(|error| error.to_string())?.by_server,
            indices: self.server_indices(),
            now,
        })
    }

    fn load_balancers(&self) -> Vec<LoadBalancerView> {
        let node = &self.node.value;
        let view = |balancer: &crate::model::LoadBalancer| LoadBalancerView {
            name: balancer.name.to_string(),
            edition: match balancer.edition {
                Edition::Basic => "Basic",
                Edition::Standard => "Standard",
            }
            .into(),
            address_type: match balancer.address_type {
                AddressType::Internet => "Internet",
                AddressType::Intranet => "Intranet",
            }
            .into(),
            vpc: balancer.vpc.to_string(),
            dns_name: balancer.dns_name.clone(),
            zones: balancer
                .zone_mappings
                .iter()
                .map(|mapping| ZoneView {
                    zone: mapping.zone.to_string(),
                    vswitch: mapping.vswitch.to_string(),
                    vip: mapping.vip,
                    local_addresses: mapping.local_addresses.clone(),
                    served_here: node.zone(&mapping.zone).is_some(),
                })
                .collect(),
            listeners: self
                .resources
                .listeners
                .values()
                .filter(|listener| listener.load_balancer == balancer.name)
                .map(|listener| ListenerView {
                    name: listener.name.to_string(),
                    protocol: protocol(listener.protocol).into(),
                    port: listener.port.get(),
                    server_group: listener.server_group.to_string(),
                    status: ListenerStatus::Running,
                    problem: None,
                })
                .collect(),
        };
        self.resources.load_balancers.values().map(view).collect()
    }

    fn servers(&mut self, readings: &Readings) -> Vec<ServerView> {
        let mut views = Vec::new();
        let standings = self.latest_standings();
        for (name, standings) in &standings {
            let Some(group) = self.resources.server_groups.get(name) else { continue };
            for standing in standings {
                let id = self.ids.server(name, standing.address);
                let counters = self.server_counters(id, group, standing, readings);
                views.push(self.server(group, standing, counters, readings.now));
            }
        }
        views
    }

    fn server(
        &self,
        group: &ServerGroup,
        standing: &Standing,
        counters: ServerCounters,
        now: Moment,
    ) -> ServerView {
        let configured: Option<&Server> =
            group.servers.iter().find(|server| server.address == standing.address);
        let is_l4 = group.protocol == crate::model::GroupProtocol::Tcp;
        ServerView {
            group: group.name.to_string(),
            address: standing.address.into(),
            weight: standing.weight.get(),
            effective_weight: f64::from(weight_in_force(standing, is_l4, now)) / f64::from(ONE),
            health: health(standing.status),
            failure: standing.failure.as_ref().map(|failure| FailureView {
                reason: failure.reason.to_string(),
                actual: failure.actual.clone(),
                expected: failure.expected.clone(),
                detail: failure.detail.clone(),
            }),
            since_secs: now.since(standing.since).as_secs(),
            in_slow_start: standing.ramp.is_some(),
            is_draining: !standing.drains.is_empty(),
            counters,
            zone: group
                .vpc
                .as_ref()
                .and_then(|vpc| self.resources.vpcs.get(vpc)?.vswitch_of(standing.address.ip))
                .map(|vswitch| vswitch.zone.to_string()),
            remote_ip: configured.is_some_and(|server| server.remote_ip),
            path: match routing::resolve(&self.resources, group.vpc.as_ref(), standing.address.ip) {
                Path::Local => PathView::Local,
                Path::Via { transit_router, .. } => {
                    PathView::TransitRouter { name: transit_router.name.to_string() }
                }
                Path::None => PathView::None,
            },
        }
    }

    fn server_counters(
        &self,
        id: u32,
        group: &ServerGroup,
        standing: &Standing,
        readings: &Readings,
    ) -> ServerCounters {
        let totals = readings.servers.get(&id).copied().unwrap_or_default();
        let mut counters = ServerCounters {
            active: totals.active,
            requests: totals.requests,
            connections: totals.connections,
            connect_failures: totals.connect_failures,
            request_failures: totals
                .requests
                .saturating_sub(totals.responses.iter().sum::<u64>() + totals.active),
            ..ServerCounters::default()
        };
        let identity = plan::server_identity(&group.name, standing.address);
        for index in identity.and_then(|identity| readings.indices.get(&identity)).into_iter().flatten() {
            counters.active += readings.flows.get(index).copied().unwrap_or_default();
            if let Some(found) = readings.datapath.servers.get(index) {
                counters.flows += found.flows;
                counters.l4.packets += found.packets;
                counters.l4.bytes += found.bytes;
                counters.l4.reply_packets += found.reply_packets;
                counters.l4.reply_bytes += found.reply_bytes;
            }
        }
        counters
    }

    fn routes(&self) -> Vec<RouteView> {
        let used =
            self.resources.vpcs.values().filter(|vpc| {
                self.resources.load_balancers.values().any(|balancer| balancer.vpc == vpc.name)
            });
        let mut views = Vec::new();
        for vpc in used {
            views.push(RouteView {
                vpc: vpc.name.to_string(),
                destination: vpc.cidr.to_string(),
                target: RouteTarget::Local,
            });
            for route in &vpc.routes {
                let hops =
                    self.resources.transit_routers.get(&route.transit_router).map(|router| &router.next_hops);
                let served = hops.into_iter().flatten().filter(|hop| self.zone_of(hop).is_some());
                views.push(RouteView {
                    vpc: vpc.name.to_string(),
                    destination: route.destination.to_string(),
                    target: RouteTarget::TransitRouter {
                        name: route.transit_router.to_string(),
                        next_hops: served.map(|hop| hop.name.to_string()).collect(),
                    },
                });
            }
        }
        views
    }

    fn next_hops(&self, readings: &Readings) -> Vec<NextHopView> {
        let routers = self.resources.transit_routers.values();
        routers
            .flat_map(|router| router.next_hops.iter().map(move |hop| self.next_hop(router, hop, readings)))
            .collect()
    }

    fn next_hop(&self, router: &TransitRouter, hop: &NextHop, readings: &Readings) -> NextHopView {
        let Encapsulation::Vxlan { vni, .. } = hop.encapsulation;
        let zone = self.zone_of(hop);
        let counters = self.hop_counters(zone, hop, readings);
        NextHopView {
            name: hop.name.to_string(),
            transit_router: router.name.to_string(),
            zone: hop.zone.to_string(),
            address: hop.address,
            encapsulation: format!("vxlan {vni}"),
            mtu: hop.mtu,
            weight: hop.weight.get(),
            from: zone.map(|zone| (zone.interface.clone(), zone.tunnel_address)),
            counters: LinkCounters {
                packets: counters.packets,
                bytes: counters.bytes,
                reply_packets: counters.reply_packets,
                reply_bytes: counters.reply_bytes,
            },
        }
    }

    fn zone_of(&self, hop: &NextHop) -> Option<&NodeZone> {
        self.node.value.zones.iter().find(|zone| zone.zone == hop.zone)
    }

    fn hop_counters(&self, zone: Option<&NodeZone>, hop: &NextHop, readings: &Readings) -> HopCounters {
        let Encapsulation::Vxlan { vni, .. } = hop.encapsulation;
        let element = self.datapath.state().live().next_hop.iter().find(|(_, element)| {
            zone.is_some_and(|zone| element.outer_source.address() == zone.tunnel_address)
                && element.outer_destination.address() == hop.address
                && element.vni == vni
        });
        element.and_then(|(index, _)| readings.datapath.next_hops.get(index)).copied().unwrap_or_default()
    }

    fn listener_metrics(&mut self, readings: &Readings) -> Vec<ListenerMetrics> {
        let l7 = self.stats.listeners();
        let mut metrics = Vec::new();
        let listeners: Vec<_> = self.resources.listeners.values().cloned().collect();
        for listener in listeners {
            for (&VipKey { address, port, .. }, index) in &self.datapath.state().keys.vips {
                let Some(balancer) = self.resources.load_balancers.get(&listener.load_balancer) else {
                    continue;
                };
                let mapping = balancer.zone_mappings.iter().find(|mapping| mapping.vip == address.address());
                let Some(mapping) = mapping.filter(|_| port.get() == listener.port.get()) else { continue };
                let id = self.ids.listener(&listener, &mapping.zone);
                let vip = SocketAddr::new(address.address().into(), port.get());
                let totals = l7.get(&(id, vip)).copied().unwrap_or_default();
                let l4 = readings.datapath.vips.get(index).copied().unwrap_or_default();
                let is_l4 = listener.protocol == ListenerProtocol::Tcp;
                let [ok, redirects, client, server] = totals.responses;
                metrics.push(ListenerMetrics {
                    load_balancer: listener.load_balancer.to_string(),
                    listener: listener.name.to_string(),
                    vip: vip.to_string(),
                    active_connections: totals.active_connections,
                    connections: if is_l4 { l4.flows } else { totals.connections },
                    responses: [0, ok, redirects, client, server],
                    packets: l4.packets,
                    bytes: l4.bytes,
                    drops: l4.drops,
                });
            }
        }
        metrics
    }
}

fn protocol(protocol: ListenerProtocol) -> &'static str {
    match protocol {
        ListenerProtocol::Http => "HTTP",
        ListenerProtocol::Https => "HTTPS",
        ListenerProtocol::Quic => "QUIC",
        ListenerProtocol::Tcp => "TCP",
    }
}

fn health(status: Status) -> HealthStatus {
    match status {
        Status::Normal => HealthStatus::Normal,
        Status::Initial => HealthStatus::Initial,
        Status::Unhealthy => HealthStatus::Unhealthy,
        Status::Unused => HealthStatus::Unused,
        Status::Unavailable => HealthStatus::Unavailable,
        Status::Removing => HealthStatus::Removing,
    }
}

/// Weight in force, in units of 1 / [`ONE`]: L4 tables ramp in steps, L7 evaluates each pick.
fn weight_in_force(standing: &Standing, is_l4: bool, now: Moment) -> u32 {
    match standing.ramp {
        Some(ramp) if standing.receives_new && !is_l4 => slow_start::effective_weight(
            standing.weight,
            slow_start::fraction_at(now.since(ramp.start), ramp.duration),
        ),
        _ => standing.table_weight(now),
    }
}
