//! Model and health → what the L7 engine is told.

use crate::certificate::Certificate;
use crate::health::{Standing, Status};
use crate::model::{
    CertificateName, GroupProtocol, HashFactor, Listener, ListenerAcl, ListenerProtocol, LoadBalancer,
    LoadBalancerName, Node, Resources, Rule, RuleDirection, RuleName, Scheduler, ServerAddress, ServerGroup,
    ServerGroupName, StickySession, ZoneMapping, ZoneName,
};
use crate::snapshot::{
    AclSnapshot, CertificateSnapshot, DownstreamProtocol, FunctionSnapshot, GroupSnapshot, ListenerSnapshot,
    Ramp, RuleSnapshot, SchedulerSnapshot, ServerSnapshot, Snapshot, StickySnapshot, TlsSnapshot,
    UpstreamProtocol, VerificationSnapshot,
};
use crate::tls_policy::{PolicyRef, served};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

/// Numbers that name servers and listeners toward the engine and in its counters. Given once, never again to another.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    servers: BTreeMap<ServerGroupName, BTreeMap<ServerAddress, u32>>,
    next_server: u32,
    /// By load balancer, port, whether that is one of UDP, and zone.
    listeners: BTreeMap<(LoadBalancerName, NonZeroU16, bool, ZoneName), u32>,
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
        let key = (listener.load_balancer.clone(), listener.port, listener.protocol.is_udp(), zone.clone());
        *self.listeners.entry(key).or_insert(next)
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

/// What a snapshot is made from.
#[derive(Clone, Copy)]
pub struct SnapshotInputs<'a> {
    /// The node.
    pub node: &'a Node,
    /// What is configured.
    pub resources: &'a Resources,
    /// How the servers of each group stand.
    pub standings: &'a BTreeMap<ServerGroupName, Vec<Standing>>,
    /// Zones whose interface is down.
    pub dead: &'a BTreeSet<ZoneName>,
    /// The certificates that there are.
    pub certificates: &'a BTreeMap<CertificateName, Certificate>,
}

/// The snapshot for what is configured and how servers stand, without keys and cuts.
///
/// Left out: listeners that are stopped (LR-5), HTTPS and QUIC listeners without a certificate or a cipher suite that is
/// served, and groups that no listener in it uses.
pub fn snapshot(inputs: &SnapshotInputs<'_>, ids: &mut Ids) -> Snapshot {
    let SnapshotInputs { node, resources, .. } = *inputs;
    let rule_ids = RuleIds::new(resources);
    let mut draft =
        Draft { inputs, ids, groups: Vec::new(), positions: BTreeMap::new(), certificates: vec![] };
    let mut listeners = Vec::new();
    let is_served = |listener: &&Listener| listener.enabled && !listener.protocol.is_l4();
    for listener in resources.listeners.values().filter(is_served) {
        let Some(balancer) = resources.load_balancers.get(&listener.load_balancer) else { continue };
        let Some(protocol) = draft.protocol(listener) else { continue };
        let sources = sources(node, balancer, inputs.dead);
        for mapping in node.zones_of(balancer) {
            let group = draft.group(&listener.server_group, &mapping.zone);
            let (mut rules, mut response_rules) = (Vec::new(), Vec::new());
            for rule in &listener.rules {
                let actions = rule.actions.try_map(|group| Ok(draft.group(group, &mapping.zone)));
                let Ok::<_, Infallible>(actions) = actions;
                let snapshot = RuleSnapshot {
                    id: rule_ids.of(listener, rule),
                    conditions: rule.conditions.clone(),
                    actions,
                };
                match rule.direction {
                    RuleDirection::Request => rules.push(snapshot),
                    RuleDirection::Response => response_rules.push(snapshot),
                }
            }
            listeners.push(ListenerSnapshot {
                load_balancer: balancer.name.to_string(),
                protocol: protocol.clone(),
                group,
                rules,
                response_rules,
                idle_timeout_ms: milliseconds(listener.timeouts.idle),
                request_timeout_ms: milliseconds(listener.timeouts.request),
                requests_per_connection: listener.requests_per_connection,
                forwarded: listener.forwarded.clone(),
                trusted_proxies: listener.trusted_proxies.clone(),
                gzip: listener.gzip,
                trace_headers: listener.loops.headers(),
                alt_svc_port: alt_svc_port(listener, resources),
                acl: listener.acl.as_ref().map(|acl| acl_snapshot(acl, resources)),
                logged_headers: listener.logged_headers.clone(),
                ..ListenerSnapshot::new(
                    draft.ids.listener(listener, &mapping.zone),
                    listener.name.as_str(),
                    mapping.vips().map(|vip| SocketAddr::new(vip, listener.port.get())).collect(),
                    sources.clone(),
                )
            });
        }
    }
    Snapshot {
        listeners,
        certificates: draft.certificates,
        installation: node.name.clone(),
        groups: draft.groups,
        cookie_keys: Vec::new(),
        cuts: Vec::new(),
    }
}

/// Whether a listener can be served as far as TLS goes: its default certificate is there, and its policy leaves a suite.
pub fn can_handshake(
    listener: &Listener,
    resources: &Resources,
    certificates: &BTreeMap<CertificateName, Certificate>,
) -> bool {
    let Some(tls) = &listener.tls else { return true };
    let policy = PolicyRef::find(&tls.policy, &resources.security_policies);
    tls.certificates.first().is_some_and(|name| certificates.contains_key(name))
        && policy.is_some_and(|policy| !served(&policy).is_nothing())
}

/// A snapshot's lists that listeners point into.
struct Draft<'a, 'i> {
    inputs: &'i SnapshotInputs<'a>,
    ids: &'i mut Ids,
    groups: Vec<GroupSnapshot>,
    positions: BTreeMap<(ServerGroupName, Option<ZoneName>), u32>,
    certificates: Vec<CertificateSnapshot>,
}

impl Draft<'_, '_> {
    /// Position of a group as it is seen from `zone`.
    fn group(&mut self, name: &ServerGroupName, zone: &ZoneName) -> u32 {
        let group = &self.inputs.resources.server_groups[name];
        // Where traffic may not cross zones, each zone has its own view of the group (SG-171).
        let zone = (!group.cross_zone).then_some(zone);
        *self.positions.entry((name.clone(), zone.cloned())).or_insert_with(|| {
            self.groups.push(group_snapshot(group, zone, self.inputs.standings, self.ids));
            self.groups.len() as u32 - 1
        })
    }

    /// What clients of a listener speak; `None` where TLS cannot be had.
    fn protocol(&mut self, listener: &Listener) -> Option<DownstreamProtocol> {
        let Some(tls) = &listener.tls else { return Some(DownstreamProtocol::Http) };
        let inputs = self.inputs;
        if !can_handshake(listener, inputs.resources, inputs.certificates) {
            return None;
        }
        let served = served(&PolicyRef::find(&tls.policy, &inputs.resources.security_policies)?);
        let is_there = |name: &&CertificateName| inputs.certificates.contains_key(*name);
        let names = tls.certificates.iter().filter(is_there);
        let snapshot = TlsSnapshot {
            certificates: names.map(|name| self.certificate(name, &inputs.certificates[name])).collect(),
            versions: served.versions,
            suites: served.suites.into_iter().map(str::to_owned).collect(),
            client_authorities: tls.client_authorities.clone(),
            http2: tls.http2,
        };
        Some(match listener.protocol {
            ListenerProtocol::Quic => DownstreamProtocol::Quic(snapshot),
            _ => DownstreamProtocol::Https(snapshot),
        })
    }

    /// Position of a certificate.
    fn certificate(&mut self, name: &CertificateName, certificate: &Certificate) -> u32 {
        let known = self.certificates.iter().position(|known| known.name == name.as_str());
        let place = known.unwrap_or_else(|| {
            self.certificates.push(CertificateSnapshot {
                name: name.to_string(),
                chain: certificate.chain.clone(),
                key: certificate.key.secret().to_owned(),
            });
            self.certificates.len() - 1
        });
        place as u32
    }
}

/// Names of rules, and how often each is there in a load balancer.
struct RuleIds<'a>(BTreeMap<(&'a LoadBalancerName, &'a RuleName), usize>);

impl<'a> RuleIds<'a> {
    fn new(resources: &'a Resources) -> RuleIds<'a> {
        let mut counts = BTreeMap::new();
        for listener in resources.listeners.values() {
            for rule in &listener.rules {
                *counts.entry((&listener.load_balancer, &rule.name)).or_default() += 1;
            }
        }
        RuleIds(counts)
    }

    /// The rule's name where that is the only one; else with what makes it one. Default rules have ids of their own
    /// (LR-65), which no name may look like.
    fn of(&self, listener: &Listener, rule: &Rule) -> String {
        let is_only = self.0.get(&(&listener.load_balancer, &rule.name)) == Some(&1);
        if is_only && !rule.name.as_str().starts_with("rule-default-") {
            return rule.name.to_string();
        }
        format!("{} ({} {:?} {})", rule.name, listener.name, rule.direction, rule.priority)
    }
}

/// The port that HTTP/3 is advertised on (LR-29): that of the QUIC listener, while it runs.
fn alt_svc_port(listener: &Listener, resources: &Resources) -> Option<u16> {
    let quic = resources.listeners.get(listener.quic_upgrade.as_ref()?)?;
    quic.enabled.then_some(quic.port.get())
}

fn acl_snapshot(acl: &ListenerAcl, resources: &Resources) -> AclSnapshot {
    let lists = acl.acls.iter().filter_map(|name| resources.acls.get(name));
    AclSnapshot {
        kind: acl.kind,
        entries: lists.flat_map(|list| &list.entries).map(|entry| entry.cidr).collect(),
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
