//! Every counter, for the metrics endpoint.

use super::Readings;
use crate::api::metrics::{ListenerMetrics, MetricsSnapshot, NextHopMetrics, ServerMetrics};
use crate::model::ListenerProtocol;
use crate::run::control::Control;
use forwarder_common::vip::VipKey;
use std::net::SocketAddr;

impl Control {
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
            .servers(None, &readings)
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
        let certificates = self.certificate_store.all().iter();
        metrics.certificates =
            certificates.map(|(name, certificate)| (name.to_string(), certificate.facts.not_after)).collect();
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
