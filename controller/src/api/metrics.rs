//! Metrics as OpenMetrics text, from one plain snapshot of every counter.

use super::{HealthStatus, LinkCounters, ServerCounters};
use crate::proxy::stats::MemoryUse;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;

/// Every counter at one moment; the control loop fills it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsSnapshot {
    /// Release.
    pub version: String,
    /// Name of the node.
    pub node: String,
    /// Revision in force, 0 before the first.
    pub revision: u64,
    /// Newest snapshot that every worker has acknowledged.
    pub snapshot_sequence: u64,
    /// Servers, each once for each group it is in.
    pub servers: Vec<ServerMetrics>,
    /// Listeners, each once for each VIP.
    pub listeners: Vec<ListenerMetrics>,
    /// Request rules of L7 listeners, the default rules included.
    pub rules: Vec<RuleMetrics>,
    /// Copies of requests that were left out.
    pub mirrors_dropped: u64,
    /// Access log lines that were dropped.
    pub log_lines_dropped: u64,
    /// Memory as of the last look.
    pub memory: MemoryUse,
    /// Connections closed and requests answered 503 because memory was scarce.
    pub refused_for_memory: [u64; 2],
    /// Certificates by name, and when each ends, seconds since 1970.
    pub certificates: Vec<(String, i64)>,
    /// Next hops.
    pub next_hops: Vec<NextHopMetrics>,
    /// Packets dropped by the datapath, by the name of the reason; every reason, also those at 0.
    pub drops: Vec<(&'static str, u64)>,
}

/// A server of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerMetrics {
    /// The group.
    pub group: String,
    /// Address and port.
    pub server: String,
    /// Configured weight.
    pub weight: u32,
    /// Weight in force.
    pub effective_weight: f64,
    /// Its health.
    pub health: HealthStatus,
    /// Its work.
    pub counters: ServerCounters,
}

/// A listener on one VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerMetrics {
    /// The load balancer.
    pub load_balancer: String,
    /// The listener.
    pub listener: String,
    /// Address and port.
    pub vip: String,
    /// L7: client connections now.
    pub active_connections: u64,
    /// L7: client connections accepted. L4: flows created.
    pub connections: u64,
    /// L7: requests answered, by class of status from 1xx to 5xx.
    pub responses: [u64; 5],
    /// L7: requests that went wrong, by whose fault: the client's, a server's, ours.
    pub errors: [u64; 3],
    /// L7: TLS handshakes that came to nothing.
    pub handshake_failures: u64,
    /// L4: packets from clients.
    pub packets: u64,
    /// L4: their bytes, from the IP header on.
    pub bytes: u64,
    /// L4: packets from clients that were dropped.
    pub drops: u64,
}

/// A request rule of a listener, on all its VIPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMetrics {
    /// The load balancer.
    pub load_balancer: String,
    /// The listener.
    pub listener: String,
    /// The rule, as the access log names it.
    pub rule: String,
    /// Requests answered, by class of status from 1xx to 5xx.
    pub responses: [u64; 5],
    /// Requests that its traffic limit refused.
    pub limited: u64,
}

/// A next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHopMetrics {
    /// Its router.
    pub transit_router: String,
    /// Its name.
    pub next_hop: String,
    /// Its zone.
    pub zone: String,
    /// Traffic through it.
    pub counters: LinkCounters,
}

impl MetricsSnapshot {
    /// OpenMetrics text.
    pub fn encode(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Snapshot(self)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes any text");
        text
    }
}

/// Classes of status.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Debug)]
struct Snapshot(MetricsSnapshot);

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// A family of counters: name without `_total`, help, then each value with its labels.
fn counters<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// A family of gauges.
fn gauges<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// A counter without labels.
fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

/// A gauge without labels.
fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let MetricsSnapshot { version, node, revision, snapshot_sequence, drops, .. } = &self.0;
        let encoder = &mut encoder;
        let build = vec![("version", version.as_str()), ("node", node.as_str())];
        gauges(encoder, "causeway_build_info", "Release and node", [(build, 1.0)])?;
        gauge(encoder, "causeway_config_revision", "Revision in force", *revision)?;
        let help = "Newest snapshot in force in every worker";
        gauge(encoder, "causeway_snapshot_sequence", help, *snapshot_sequence)?;
        self.encode_memory(encoder)?;
        self.encode_servers(encoder)?;
        self.encode_listeners(encoder)?;
        self.encode_rules(encoder)?;
        let dropped = self.0.mirrors_dropped;
        counter(encoder, "causeway_mirrors_dropped", "Copies of requests that were left out", dropped)?;
        let dropped = self.0.log_lines_dropped;
        counter(
            encoder,
            "causeway_access_log_lines_dropped",
            "Lines for which the log had no room",
            dropped,
        )?;
        self.encode_next_hops(encoder)?;
        let ends =
            self.0.certificates.iter().map(|(name, end)| (vec![("certificate", name.as_str())], *end as f64));
        let help = "End of the certificate, seconds since 1970";
        gauges(encoder, "causeway_certificate_expiry_timestamp_seconds", help, ends)?;
        let drops = drops.iter().map(|(reason, count)| (vec![("reason", *reason)], *count));
        counters(encoder, "causeway_drops", "Packets dropped by the datapath", drops)
    }
}

impl Snapshot {
    fn encode_memory(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let MetricsSnapshot { memory: MemoryUse { used, limit, pressure }, refused_for_memory, .. } = &self.0;
        gauge(encoder, "causeway_memory_used_bytes", "Anonymous memory of this process", *used)?;
        gauge(encoder, "causeway_memory_limit_bytes", "What it is to use at most", *limit)?;
        let help = "0 none, 1 saving, 2 connections are refused, 3 requests too";
        gauge(encoder, "causeway_memory_pressure", help, u64::from(*pressure))?;
        let refused = ["connection", "request"].into_iter().zip(refused_for_memory);
        let refused = refused.map(|(what, count)| (vec![("what", what)], *count));
        counters(encoder, "causeway_memory_refused", "Refused because memory was scarce", refused)
    }

    fn encode_servers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        fn labels(server: &ServerMetrics) -> Labels<'_> {
            vec![("server_group", server.group.as_str()), ("server", server.server.as_str())]
        }
        let servers = &self.0.servers;
        let gauge = |value: fn(&ServerMetrics) -> f64| servers.iter().map(move |s| (labels(s), value(s)));
        let counter = |value: fn(&ServerCounters) -> u64| {
            servers.iter().map(move |server| (labels(server), value(&server.counters)))
        };
        gauges(encoder, "causeway_server_weight", "Configured weight", gauge(|s| s.weight.into()))?;
        let effective = gauge(|s| s.effective_weight);
        gauges(encoder, "causeway_server_effective_weight", "Weight in force", effective)?;
        let health = servers.iter().map(|server| {
            (labels(server).into_iter().chain([("status", server.health.as_str())]).collect(), 1.0)
        });
        gauges(encoder, "causeway_server_health", "1 under the server's status", health)?;
        let active = gauge(|s| s.counters.active as f64);
        gauges(encoder, "causeway_server_active", "Requests in flight and open L4 flows", active)?;
        counters(encoder, "causeway_server_requests", "L7 requests", counter(|c| c.requests))?;
        counters(encoder, "causeway_server_connections", "L7 connections", counter(|c| c.connections))?;
        let failures = counter(|c| c.connect_failures);
        counters(encoder, "causeway_server_connect_failures", "L7 connections that failed", failures)?;
        let failures = counter(|c| c.request_failures);
        counters(encoder, "causeway_server_request_failures", "L7 requests without a response", failures)?;
        counters(encoder, "causeway_server_flows", "L4 flows", counter(|c| c.flows))?;
        counters(encoder, "causeway_server_packets", "L4 packets to it", counter(|c| c.l4.packets))?;
        counters(encoder, "causeway_server_bytes", "L4 bytes to it", counter(|c| c.l4.bytes))?;
        let packets = counter(|c| c.l4.reply_packets);
        counters(encoder, "causeway_server_reply_packets", "L4 packets from it", packets)?;
        counters(encoder, "causeway_server_reply_bytes", "L4 bytes from it", counter(|c| c.l4.reply_bytes))
    }

    fn encode_listeners(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        const SOURCES: [&str; 3] = ["client", "server", "us"];
        fn labels(listener: &ListenerMetrics) -> Labels<'_> {
            let ListenerMetrics { load_balancer, listener, vip, .. } = listener;
            vec![("load_balancer", load_balancer), ("listener", listener), ("vip", vip)]
        }
        let listeners = &self.0.listeners;
        let counter =
            |value: fn(&ListenerMetrics) -> u64| listeners.iter().map(move |l| (labels(l), value(l)));
        let active = listeners.iter().map(|listener| (labels(listener), listener.active_connections as f64));
        gauges(encoder, "causeway_listener_active_connections", "L7 client connections now", active)?;
        let connections = counter(|l| l.connections);
        counters(encoder, "causeway_listener_connections", "Client connections and L4 flows", connections)?;
        let responses = listeners.iter().flat_map(|listener| {
            CLASSES.iter().zip(listener.responses).map(move |(class, count)| {
                (labels(listener).into_iter().chain([("class", *class)]).collect(), count)
            })
        });
        counters(encoder, "causeway_listener_responses", "L7 responses by class of status", responses)?;
        let errors = listeners.iter().flat_map(|listener| {
            SOURCES.iter().zip(listener.errors).map(move |(source, count)| {
                (labels(listener).into_iter().chain([("source", *source)]).collect(), count)
            })
        });
        counters(encoder, "causeway_listener_errors", "L7 requests gone wrong, by whose fault", errors)?;
        let failures = counter(|l| l.handshake_failures);
        counters(encoder, "causeway_listener_handshake_failures", "TLS handshakes that failed", failures)?;
        counters(encoder, "causeway_listener_packets", "L4 packets from clients", counter(|l| l.packets))?;
        counters(encoder, "causeway_listener_bytes", "L4 bytes from clients", counter(|l| l.bytes))?;
        counters(encoder, "causeway_listener_drops", "L4 packets from clients dropped", counter(|l| l.drops))
    }

    fn encode_rules(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        fn labels(rule: &RuleMetrics) -> Labels<'_> {
            let RuleMetrics { load_balancer, listener, rule, .. } = rule;
            vec![("load_balancer", load_balancer), ("listener", listener), ("rule", rule)]
        }
        let rules = &self.0.rules;
        let responses = rules.iter().flat_map(|rule| {
            CLASSES.iter().zip(rule.responses).map(move |(class, count)| {
                (labels(rule).into_iter().chain([("class", *class)]).collect(), count)
            })
        });
        counters(encoder, "causeway_rule_responses", "L7 responses by rule and class of status", responses)?;
        let limited = rules.iter().map(|rule| (labels(rule), rule.limited));
        counters(encoder, "causeway_rule_limited", "Requests refused by the rule's traffic limit", limited)
    }

    fn encode_next_hops(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        fn labels(hop: &NextHopMetrics) -> Labels<'_> {
            let NextHopMetrics { transit_router, next_hop, zone, .. } = hop;
            vec![("transit_router", transit_router), ("next_hop", next_hop), ("zone", zone)]
        }
        let hops = &self.0.next_hops;
        let counter =
            |value: fn(&LinkCounters) -> u64| hops.iter().map(move |hop| (labels(hop), value(&hop.counters)));
        counters(encoder, "causeway_next_hop_packets", "Packets wrapped toward it", counter(|c| c.packets))?;
        let bytes = counter(|c| c.bytes);
        counters(encoder, "causeway_next_hop_bytes", "Bytes of those packets before wrapping", bytes)?;
        let packets = counter(|c| c.reply_packets);
        counters(encoder, "causeway_next_hop_reply_packets", "Packets unwrapped from it", packets)?;
        let bytes = counter(|c| c.reply_bytes);
        counters(encoder, "causeway_next_hop_reply_bytes", "Bytes of those packets after unwrapping", bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Holds XR-7
    #[test]
    fn encodes_every_counter_with_its_labels() {
        let snapshot = MetricsSnapshot {
            version: "0.1.0".into(),
            node: "lb".into(),
            revision: 7,
            snapshot_sequence: 42,
            servers: vec![ServerMetrics {
                group: "web \"x\"".into(),
                server: "172.16.1.20:80".into(),
                weight: 100,
                effective_weight: 12.5,
                health: HealthStatus::Normal,
                counters: ServerCounters { active: 3, requests: 1000, flows: 5, ..Default::default() },
            }],
            listeners: vec![ListenerMetrics {
                load_balancer: "alb1".into(),
                listener: "http".into(),
                vip: "203.0.113.10:80".into(),
                active_connections: 2,
                connections: 11,
                responses: [0, 9, 0, 1, 0],
                errors: [1, 2, 3],
                handshake_failures: 6,
                packets: 0,
                bytes: 0,
                drops: 0,
            }],
            rules: vec![RuleMetrics {
                load_balancer: "alb1".into(),
                listener: "http".into(),
                rule: "api".into(),
                responses: [1, 5, 0, 0, 2],
                limited: 2,
            }],
            mirrors_dropped: 12,
            log_lines_dropped: 13,
            memory: MemoryUse { used: 900, limit: 1000, pressure: 2 },
            refused_for_memory: [6, 5],
            certificates: vec![("www".into(), 1_798_761_600)],
            next_hops: vec![NextHopMetrics {
                transit_router: "tr".into(),
                next_hop: "tr-a".into(),
                zone: "a".into(),
                counters: LinkCounters { packets: 8, bytes: 800, reply_packets: 7, reply_bytes: 700 },
            }],
            drops: vec![("truncated", 0), ("tunnel_wrong_vni", 4)],
        };
        let text = snapshot.encode();
        for line in [
            "causeway_build_info{version=\"0.1.0\",node=\"lb\"} 1.0",
            "causeway_config_revision 7",
            "causeway_snapshot_sequence 42",
            "causeway_server_effective_weight{server_group=\"web \\\"x\\\"\",server=\"172.16.1.20:80\"} 12.5",
            "causeway_server_health{server_group=\"web \\\"x\\\"\",server=\"172.16.1.20:80\",status=\"Normal\"} 1.0",
            "causeway_server_requests_total{server_group=\"web \\\"x\\\"\",server=\"172.16.1.20:80\"} 1000",
            "causeway_listener_responses_total{load_balancer=\"alb1\",listener=\"http\",vip=\"203.0.113.10:80\",\
             class=\"4xx\"} 1",
            "causeway_listener_errors_total{load_balancer=\"alb1\",listener=\"http\",vip=\"203.0.113.10:80\",\
             source=\"server\"} 2",
            "causeway_listener_handshake_failures_total{load_balancer=\"alb1\",listener=\"http\",\
             vip=\"203.0.113.10:80\"} 6",
            "causeway_rule_responses_total{load_balancer=\"alb1\",listener=\"http\",rule=\"api\",class=\"1xx\"} 1",
            "causeway_rule_responses_total{load_balancer=\"alb1\",listener=\"http\",rule=\"api\",class=\"5xx\"} 2",
            "causeway_rule_limited_total{load_balancer=\"alb1\",listener=\"http\",rule=\"api\"} 2",
            "causeway_mirrors_dropped_total 12",
            "causeway_access_log_lines_dropped_total 13",
            "causeway_next_hop_reply_bytes_total{transit_router=\"tr\",next_hop=\"tr-a\",zone=\"a\"} 700",
            "causeway_certificate_expiry_timestamp_seconds{certificate=\"www\"} 1798761600.0",
            "causeway_memory_used_bytes 900",
            "causeway_memory_limit_bytes 1000",
            "causeway_memory_pressure 2",
            "causeway_memory_refused_total{what=\"connection\"} 6",
            "causeway_memory_refused_total{what=\"request\"} 5",
            "causeway_drops_total{reason=\"truncated\"} 0",
            "causeway_drops_total{reason=\"tunnel_wrong_vni\"} 4",
            "# TYPE causeway_drops counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
