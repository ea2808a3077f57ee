//! How listeners fit their load balancers, server groups, each other, and the lists and policies that they name.

use crate::config::ErrorFamily::{Mismatch, OperationDenied, QuotaExceeded, ResourceAlreadyExist};
use crate::config::resolve::attachment::{Listening, misfits_of_balancer, misfits_of_listener};
use crate::config::resolve::{Checks, Spot};
use crate::model::{
    Edition, Listener, ListenerProtocol, LoadBalancer, LoadBalancerName, Resources, RuleDirection, Server,
    ServerGroup, ServerGroupName, Weight,
};
use crate::tls_policy::{PolicyRef, SystemPolicy};
use std::collections::{BTreeMap, BTreeSet};

/// Listeners that one access control list may serve (LR-32).
const LISTENERS_OF_ACL_MAX: usize = 50;
/// Entries of all lists of one load balancer (LR-32).
const ENTRIES_OF_BALANCER_MAX: usize = 800;
/// Listeners that one policy may serve (LR-22).
const LISTENERS_OF_POLICY_MAX: usize = 10;

/// Rules between listeners, load balancers and server groups.
pub(in crate::config::resolve) fn check_listeners(resources: &Resources, checks: &mut Checks<'_>) {
    check_ports(resources, checks);
    for listener in resources.listeners.values() {
        check_group(
            listener,
            &listener.server_group,
            &Spot::ListenerGroup(listener.name.clone()),
            resources,
            checks,
        );
        for rule in &listener.rules {
            let spot = Spot::Rule(listener.name.clone(), rule.direction, rule.priority);
            for group in rule.actions.groups().collect::<BTreeSet<_>>() {
                check_group(listener, group, &spot, resources, checks);
            }
        }
        check_edition(listener, resources, checks);
    }
    check_quic_upgrades(resources, checks);
    check_acls(resources, checks);
    check_policies(resources, checks);
}

/// (load balancer, port, transport) is unique (LR-3): QUIC is UDP, all others share TCP.
fn check_ports(resources: &Resources, checks: &mut Checks<'_>) {
    let mut taken: BTreeMap<_, &Listener> = BTreeMap::new();
    for listener in resources.listeners.values() {
        let place = (&listener.load_balancer, listener.port, listener.protocol.is_udp());
        let Some(other) = taken.get(&place) else {
            taken.insert(place, listener);
            continue;
        };
        checks.error(
            ResourceAlreadyExist.of("Listener"),
            &Spot::ListenerPort(listener.name.clone()),
            format!("port {}", listener.port),
            format!("listener \"{}\" has this port of load balancer \"{}\"", other.name, other.load_balancer),
            "choose another port",
        );
    }
}

/// The group fits the listener and its load balancer.
fn check_group(
    listener: &Listener,
    group: &ServerGroupName,
    spot: &Spot,
    resources: &Resources,
    checks: &mut Checks<'_>,
) {
    let Some(group) = resources.server_groups.get(group) else { return };
    let value = format!("server group \"{}\"", group.name);
    let balancer = resources.load_balancers.get(&listener.load_balancer);
    let http2 = listener.tls.as_ref().is_none_or(|tls| tls.http2);
    let listening = Listening { protocol: listener.protocol, http2 };
    let mut misfits = misfits_of_listener(listening, balancer.map(|balancer| balancer.edition), group);
    if let Some(balancer) = balancer {
        let region = resources.vpcs.get(&balancer.vpc).map(|vpc| &vpc.region);
        misfits.extend(misfits_of_balancer(balancer, region, group));
        if !group.cross_zone {
            warn_of_empty_zones(balancer, group, spot, checks);
        }
    }
    for misfit in misfits {
        checks.error(misfit.code, spot, value.clone(), misfit.rule, misfit.remedy);
    }
}

/// SG-173: with cross-zone balancing off, a zone without servers answers 503.
fn warn_of_empty_zones(balancer: &LoadBalancer, group: &ServerGroup, spot: &Spot, checks: &mut Checks<'_>) {
    for mapping in &balancer.zone_mappings {
        let serves =
            |server: &Server| server.weight != Weight::ZERO && server.zone.as_ref() == Some(&mapping.zone);
        if !group.servers.iter().any(serves) {
            checks.warning(
                spot,
                format!("server group \"{}\"", group.name),
                format!(
                    "it has no server with a weight in zone {}, and cross-zone balancing is off: what enters there \
                     is not served",
                    mapping.zone
                ),
                "add a server in that zone, or turn cross-zone balancing on",
            );
        }
    }
}

/// What edition Basic has not: mutual TLS (LR-26), custom policies (LR-22), response rules (LR-60).
fn check_edition(listener: &Listener, resources: &Resources, checks: &mut Checks<'_>) {
    let balancer = resources.load_balancers.get(&listener.load_balancer);
    let Some(balancer) = balancer.filter(|balancer| balancer.edition == Edition::Basic) else { return };
    let mut denied = |reason: &'static str, spot: &Spot, value: String, way_out: &str| {
        checks.error(
            OperationDenied.of(reason),
            spot,
            value,
            format!("load balancer \"{}\" is of edition Basic", balancer.name),
            format!("{way_out}, or write `edition: Standard`"),
        );
    };
    if let Some(tls) = &listener.tls {
        if tls.client_authorities.is_some() {
            let spot = Spot::CaCertificates(listener.name.clone());
            denied("MutualTlsWithBasicEdition", &spot, "ca_certificates".into(), "remove them");
        }
        if SystemPolicy::of(tls.policy.as_str()).is_none() {
            let spot = Spot::SecurityPolicyOf(listener.name.clone());
            let value = format!("security_policy \"{}\"", tls.policy);
            denied("SecurityPolicyWithBasicEdition", &spot, value, "name one of the system's");
        }
    }
    for rule in listener.rules.iter().filter(|rule| rule.direction == RuleDirection::Response) {
        let spot = Spot::Rule(listener.name.clone(), rule.direction, rule.priority);
        denied("ResponseRuleWithBasicEdition", &spot, "direction Response".into(), "remove the rule");
    }
}

/// A QUIC listener of the same load balancer, for one HTTPS listener (the table of LR-10).
fn check_quic_upgrades(resources: &Resources, checks: &mut Checks<'_>) {
    let mut linked: BTreeMap<_, &Listener> = BTreeMap::new();
    for listener in resources.listeners.values() {
        let Some(quic) = listener.quic_upgrade.as_ref().and_then(|name| resources.listeners.get(name)) else {
            continue;
        };
        let spot = Spot::QuicUpgrade(listener.name.clone());
        let value = format!("quic_upgrade \"{}\"", quic.name);
        let mut error =
            |code, rule: String, remedy: &str| checks.error(code, &spot, value.clone(), rule, remedy);
        if quic.protocol != ListenerProtocol::Quic {
            let rule = format!("its protocol is {}", quic.protocol);
            error(Mismatch.of("ListenerProtocol"), rule, "name a listener with `protocol: QUIC`");
        } else if quic.load_balancer != listener.load_balancer {
            let rule = format!("it belongs to load balancer \"{}\"", quic.load_balancer);
            error(Mismatch.of("LoadBalancerId"), rule, "name a QUIC listener of the same load balancer");
        } else if let Some(other) = linked.insert(&quic.name, listener) {
            let rule = format!("listener \"{}\" advertises it already", other.name);
            error(OperationDenied.of("QuicListenerAlreadyLinked"), rule, "use a QUIC listener for each");
        }
    }
}

/// LR-32.
fn check_acls(resources: &Resources, checks: &mut Checks<'_>) {
    let mut listeners_of: BTreeMap<_, usize> = BTreeMap::new();
    let mut lists_of: BTreeMap<&LoadBalancerName, BTreeSet<_>> = BTreeMap::new();
    let entries = |name| resources.acls.get(name).map_or(0, |acl| acl.entries.len());
    for listener in resources.listeners.values() {
        let Some(acl) = &listener.acl else { continue };
        let balancer = resources.load_balancers.get(&listener.load_balancer);
        let edition = balancer.map_or(Edition::Standard, |balancer| balancer.edition);
        let max = match edition {
            Edition::Basic => 300,
            Edition::Standard => 500,
        };
        let count: usize = acl.acls.iter().map(entries).sum();
        if count > max {
            checks.error(
                QuotaExceeded.of("AclEntriesPerListener"),
                &Spot::AclOf(listener.name.clone()),
                format!("{count} entries"),
                format!(
                    "the lists of a listener of a load balancer of edition {edition:?} have at most {max}"
                ),
                "join networks that lie side by side, or name fewer lists",
            );
        }
        for name in &acl.acls {
            *listeners_of.entry(name).or_default() += 1;
            lists_of.entry(&listener.load_balancer).or_default().insert(name);
        }
    }
    for (name, count) in listeners_of.into_iter().filter(|(_, count)| *count > LISTENERS_OF_ACL_MAX) {
        checks.error(
            QuotaExceeded.of("AclAttachedListeners"),
            &Spot::Acl(name.clone()),
            format!("named by {count} listeners"),
            format!("a list serves at most {LISTENERS_OF_ACL_MAX} listeners"),
            "write a copy of it for some of them",
        );
    }
    for (name, lists) in lists_of {
        let count: usize = lists.into_iter().map(entries).sum();
        if count > ENTRIES_OF_BALANCER_MAX {
            checks.error(
                QuotaExceeded.of("AclEntriesPerLoadBalancer"),
                &Spot::LoadBalancer(name.clone()),
                format!("{count} entries of access control lists"),
                format!("the lists of all its listeners have at most {ENTRIES_OF_BALANCER_MAX}"),
                "join networks that lie side by side, or name fewer lists",
            );
        }
    }
}

/// LR-22.
fn check_policies(resources: &Resources, checks: &mut Checks<'_>) {
    let mut listeners_of: BTreeMap<_, usize> = BTreeMap::new();
    for tls in resources.listeners.values().filter_map(|listener| listener.tls.as_ref()) {
        if let Some(PolicyRef::Custom(policy)) = PolicyRef::find(&tls.policy, &resources.security_policies) {
            *listeners_of.entry(&policy.name).or_default() += 1;
        }
    }
    for (name, count) in listeners_of.into_iter().filter(|(_, count)| *count > LISTENERS_OF_POLICY_MAX) {
        checks.error(
            QuotaExceeded.of("SecurityPolicyAttachedNum"),
            &Spot::SecurityPolicy(name.clone()),
            format!("named by {count} listeners"),
            format!("a policy serves at most {LISTENERS_OF_POLICY_MAX} listeners"),
            "write a copy of it for some of them",
        );
    }
}
