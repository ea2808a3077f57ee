//! Load balancers, routes and next hops.

use super::Readings;
use crate::api::{
    LinkCounters, ListenerStatus, ListenerView, LoadBalancerView, NextHopView, RouteTarget, RouteView,
    ZoneView,
};
use crate::config;
use crate::model::{
    AddressType, Edition, Encapsulation, IpVersion, Listener, ListenerProtocol, NextHop, NodeZone,
    TransitRouter, XForwardedFor,
};
use crate::plan;
use crate::run::control::Control;
use forwarder_common::counters::HopCounters;

impl Control {
    pub(super) fn load_balancers(&self) -> Vec<LoadBalancerView> {
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
            address_ip_version: match balancer.address_ip_version {
                IpVersion::Ipv4 => "IPv4",
                IpVersion::DualStack => "DualStack",
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
                    ipv6_vip: mapping.ipv6_vip,
                    ipv6_local_addresses: mapping.ipv6_local_addresses.clone(),
                    served_here: node.zone(&mapping.zone).is_some(),
                })
                .collect(),
            listeners: self
                .listeners()
                .into_iter()
                .filter(|listener| listener.load_balancer == balancer.name.as_str())
                .collect(),
        };
        self.resources.load_balancers.values().map(view).collect()
    }

    pub(super) fn listeners(&self) -> Vec<ListenerView> {
        let view = |listener: &Listener| {
            // What follows an HTTP head means nothing to TCP.
            let timeouts = (!listener.protocol.is_l4()).then_some(listener.timeouts);
            let status = if !listener.enabled {
                ListenerStatus::Stopped
            } else if plan::can_handshake(listener, &self.resources, self.certificate_store.all()) {
                ListenerStatus::Running
            } else {
                ListenerStatus::Provisioning
            };
            let problem = config::missing_certificates(listener, self.certificate_store.all());
            ListenerView {
                name: listener.name.to_string(),
                load_balancer: listener.load_balancer.to_string(),
                protocol: protocol(listener.protocol).into(),
                port: listener.port.get(),
                server_group: listener.server_group.to_string(),
                idle_timeout_secs: timeouts.map(|timeouts| timeouts.idle.as_secs()),
                request_timeout_secs: timeouts.map(|timeouts| timeouts.request.as_secs()),
                x_forwarded_for: listener.forwarded.x_forwarded_for == XForwardedFor::Append
                    && timeouts.is_some(),
                trusted_proxies: listener.trusted_proxies.iter().flatten().map(ToString::to_string).collect(),
                settings: self.settings(listener),
                status,
                problem,
            }
        };
        self.resources.listeners.values().map(view).collect()
    }

    pub(super) fn routes(&self) -> Vec<RouteView> {
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

    pub(super) fn next_hops(&self, readings: &Readings) -> Vec<NextHopView> {
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
}

fn protocol(protocol: ListenerProtocol) -> &'static str {
    match protocol {
        ListenerProtocol::Http => "HTTP",
        ListenerProtocol::Https => "HTTPS",
        ListenerProtocol::Quic => "QUIC",
        ListenerProtocol::Tcp => "TCP",
    }
}
