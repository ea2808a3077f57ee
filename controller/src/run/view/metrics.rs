//! Every counter, for the metrics endpoint.

use super::Readings;
use crate::api::metrics::{ListenerMetrics, MetricsSnapshot, NextHopMetrics, RuleMetrics, ServerMetrics};
use crate::plan::vip_key;
use crate::run::control::Control;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

impl Control {
    /// Every counter there is.
    pub fn metrics(&mut self) -> MetricsSnapshot {
        let mut metrics = MetricsSnapshot {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.node.value.name.clone(),
            revision: self.revision.map_or(0, |revision| revision.0),
            snapshot_sequence: self.sequence,
            memory: self.stats.memory(),
            refused_for_memory: [self.stats.connections_refused(), self.stats.requests_refused()],
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
        metrics.rules = self.rule_metrics();
        metrics.mirrors_dropped = self.stats.mirrors_dropped();
        metrics.log_lines_dropped = self.stats.log_lines_dropped();
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

    /// Of each listener on each VIP of the zones served here.
    fn listener_metrics(&mut self, readings: &Readings) -> Vec<ListenerMetrics> {
        let l7 = self.stats.listeners();
        let Control { resources, node, ids, datapath, .. } = self;
        let mut metrics = Vec::new();
        for listener in resources.listeners.values() {
            let Some(balancer) = resources.load_balancers.get(&listener.load_balancer) else { continue };
            for mapping in node.value.zones_of(balancer) {
                let id = ids.listener(listener, &mapping.zone);
                for address in mapping.vips() {
                    let vip = SocketAddr::new(address, listener.port.get());
                    let is_l4 = listener.protocol.is_l4();
                    let totals = l7.get(&(id, vip)).copied().unwrap_or_default();
                    let index = match address {
                        IpAddr::V4(address) => datapath.state().keys.vips.get(&vip_key(address, listener)),
                        IpAddr::V6(_) => None,
                    };
                    // TCP listeners are of IPv4, and without a key while they are stopped.
                    if is_l4 && index.is_none() {
                        continue;
                    }
                    let l4 = index.and_then(|index| readings.datapath.vips.get(index));
                    let l4 = l4.copied().filter(|_| !listener.protocol.is_udp()).unwrap_or_default();
                    metrics.push(ListenerMetrics {
                        load_balancer: listener.load_balancer.to_string(),
                        listener: listener.name.to_string(),
                        vip: vip.to_string(),
                        active_connections: totals.active_connections,
                        connections: if is_l4 { l4.flows } else { totals.connections },
                        responses: totals.responses,
                        errors: totals.errors,
                        handshake_failures: totals.handshake_failures,
                        packets: l4.packets,
                        bytes: l4.bytes,
                        drops: l4.drops,
                    });
                }
            }
        }
        metrics
    }

    /// Of each rule in force, summed over the zones served here.
    fn rule_metrics(&mut self) -> Vec<RuleMetrics> {
        let Control { resources, node, ids, stats, .. } = self;
        let mut listeners = BTreeMap::new();
        for listener in resources.listeners.values() {
            let Some(balancer) = resources.load_balancers.get(&listener.load_balancer) else { continue };
            for mapping in node.value.zones_of(balancer) {
                listeners.insert(ids.listener(listener, &mapping.zone), &listener.name);
            }
        }
        let mut metrics = BTreeMap::<_, RuleMetrics>::new();
        for ((id, rule), totals) in stats.rules() {
            let Some(name) = listeners.get(&id) else { continue };
            let sum = metrics.entry((*name, rule.clone())).or_insert_with(|| RuleMetrics {
                load_balancer: resources.listeners[*name].load_balancer.to_string(),
                listener: name.to_string(),
                rule,
                responses: [0; 5],
                limited: 0,
            });
            for (class, count) in sum.responses.iter_mut().zip(totals.responses) {
                *class += count;
            }
            sum.limited += totals.limited;
        }
        metrics.into_values().collect()
    }
}
