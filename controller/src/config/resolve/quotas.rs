//! Quotas (SG section 16, D-16, LR-13, LR-67): the node's settings of them, and their keeping.

use super::{Checks, Spot};
use crate::config::ErrorFamily::{IllegalParam, QuotaExceeded};
use crate::config::decode::{Field, Report};
use crate::config::file::QuotasEntry;
use crate::model::{
    Edition, Final, Listener, LoadBalancerName, Ordered, Quotas, Resources, ServerGroupName, VpcName,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The node's quotas: defaults where nothing is written, at most the ceilings. `None` after reporting what is wrong.
pub(super) fn resolve_quotas(section: &Field<QuotasEntry>, report: &mut Report<'_>) -> Option<Quotas> {
    let entry = match section {
        Field::Absent => return Some(Quotas::default()),
        Field::Bad => return None,
        Field::Good(entry) => entry,
    };
    let (defaults, max) = (Quotas::default(), Quotas::MAX);
    let mut quota = |key: &str, field, default: u32, max: u32| {
        let number = report.number(&entry.head, key, field, 1..=max.into(), default.into());
        number.and_then(|number| u32::try_from(number).ok())
    };
    // Each is looked at before any is missed, so that all errors come at once.
    macro_rules! quotas {
        ($($name:ident),*) => {{
            $(let $name = quota(stringify!($name), &entry.$name, defaults.$name, max.$name);)*
            Some(Quotas { $($name: $name?,)* })
        }};
    }
    quotas!(
        servers_per_basic_load_balancer,
        servers_per_standard_load_balancer,
        groups_per_server,
        attachments_per_server_group,
        server_group_weight,
        listeners_per_basic_load_balancer,
        listeners_per_standard_load_balancer,
        rules_per_basic_load_balancer,
        rules_per_standard_load_balancer,
        additional_certificates_per_basic_load_balancer,
        additional_certificates_per_standard_load_balancer,
        idle_timeout,
        request_timeout
    )
}

/// SG-240; each quota that is exceeded is one error, at what goes beyond it.
pub(super) fn check_quotas(quotas: &Quotas, resources: &Resources, checks: &mut Checks<'_>) {
    check_balancers(quotas, resources, checks);
    check_timeouts(quotas, resources, checks);
    check_group_weights(quotas, resources, checks);
    check_attachments(quotas, resources, checks);
    check_groups_of_servers(quotas, resources, checks);
}

/// What a load balancer has. Per association (SG-241): a server counts once for every listener and rule that it is
/// reached through.
fn check_balancers(quotas: &Quotas, resources: &Resources, checks: &mut Checks<'_>) {
    let mut listeners: BTreeMap<&LoadBalancerName, Vec<&Listener>> = BTreeMap::new();
    for listener in resources.listeners.values() {
        listeners.entry(&listener.load_balancer).or_default().push(listener);
    }
    for (name, listeners) in listeners {
        let Some(balancer) = resources.load_balancers.get(name) else { continue };
        macro_rules! quota {
            ($basic:ident, $standard:ident) => {
                match balancer.edition {
                    Edition::Basic => (stringify!($basic), quotas.$basic, Quotas::MAX.$basic),
                    Edition::Standard => (stringify!($standard), quotas.$standard, Quotas::MAX.$standard),
                }
            };
        }
        let servers_of = |listener: &&Listener| -> usize {
            let groups = listener.groups().filter_map(|group| resources.server_groups.get(group));
            groups.map(|group| group.servers.len()).sum()
        };
        let additional = |listener: &&Listener| {
            listener.tls.as_ref().map_or(0, |tls| tls.certificates.len().saturating_sub(1))
        };
        let sum = |of: &dyn Fn(&&Listener) -> usize| listeners.iter().map(of).sum::<usize>();
        for (subject, count, what, (key, max, ceiling), remedy) in [
            (
                "ServersNum",
                sum(&servers_of),
                "servers, each counted for every listener and rule that leads to it",
                quota!(servers_per_basic_load_balancer, servers_per_standard_load_balancer),
                "remove servers, rules or listeners",
            ),
            (
                "ListenersNum",
                listeners.len(),
                "listeners",
                quota!(listeners_per_basic_load_balancer, listeners_per_standard_load_balancer),
                "remove some",
            ),
            (
                "RulesNum",
                sum(&|listener| listener.rules.len()),
                "rules",
                quota!(rules_per_basic_load_balancer, rules_per_standard_load_balancer),
                "remove some",
            ),
            (
                "AdditionalCertificatesNum",
                sum(&additional),
                "certificates beside the default ones",
                quota!(
                    additional_certificates_per_basic_load_balancer,
                    additional_certificates_per_standard_load_balancer
                ),
                "use certificates with several names",
            ),
        ] {
            if count > max as usize {
                checks.error(
                    QuotaExceeded.of(subject),
                    &Spot::LoadBalancer(name.clone()),
                    format!("{count} {what}"),
                    format!("a load balancer of edition {:?} has at most {max}", balancer.edition),
                    format!("{remedy}{}", raise(key, max, ceiling)),
                );
            }
        }
    }
}

/// LR-13.
fn check_timeouts(quotas: &Quotas, resources: &Resources, checks: &mut Checks<'_>) {
    for listener in resources.listeners.values() {
        let name = || listener.name.clone();
        for (key, subject, spot, timeout, max, ceiling) in [
            (
                "idle_timeout",
                "IdleTimeout",
                Spot::IdleTimeout(name()),
                listener.timeouts.idle,
                quotas.idle_timeout,
                Quotas::MAX.idle_timeout,
            ),
            (
                "request_timeout",
                "RequestTimeout",
                Spot::RequestTimeout(name()),
                listener.timeouts.request,
                quotas.request_timeout,
                Quotas::MAX.request_timeout,
            ),
        ] {
            if timeout.as_secs() > max.into() {
                checks.error(
                    IllegalParam.of(subject),
                    &spot,
                    format!("{key} {}", timeout.as_secs()),
                    format!("outside 1 to {max}"),
                    format!("write a number from 1 to {max}{}", raise(key, max, ceiling)),
                );
            }
        }
    }
}

/// D-16.
fn check_group_weights(quotas: &Quotas, resources: &Resources, checks: &mut Checks<'_>) {
    let max = quotas.server_group_weight;
    for listener in resources.listeners.values() {
        for rule in &listener.rules {
            let Some(Ordered { action: Final::Forward(forward), .. }) = &rule.actions.last else { continue };
            for share in forward.groups.iter().filter(|share| share.weight > max) {
                checks.error(
                    QuotaExceeded.of("ServerGroupWeight"),
                    &Spot::Rule(listener.name.clone(), rule.direction, rule.priority),
                    format!("server group \"{}\" with weight {}", share.group, share.weight),
                    format!("a group's weight in a rule is at most {max}"),
                    format!(
                        "lower all weights of the rule{}",
                        raise("server_group_weight", max, Quotas::MAX.server_group_weight)
                    ),
                );
            }
        }
    }
}

/// Listeners and rules that send to a group.
fn check_attachments(quotas: &Quotas, resources: &Resources, checks: &mut Checks<'_>) {
    let mut counts: BTreeMap<&ServerGroupName, usize> = BTreeMap::new();
    for group in resources.listeners.values().flat_map(Listener::groups) {
        *counts.entry(group).or_default() += 1;
    }
    let max = quotas.attachments_per_server_group;
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > max as usize) {
        checks.error(
            QuotaExceeded.of("ServerGroupAttachedNum"),
            &Spot::ServerGroup(name.clone()),
            format!("attached {count} times"),
            format!("a group is attached to at most {max} listeners and rules"),
            format!(
                "use further groups{}",
                raise("attachments_per_server_group", max, Quotas::MAX.attachments_per_server_group)
            ),
        );
    }
}

/// Groups that one address of a VPC is in.
fn check_groups_of_servers(quotas: &Quotas, resources: &Resources, checks: &mut Checks<'_>) {
    let mut groups_of: BTreeMap<(Option<&VpcName>, IpAddr), BTreeSet<&ServerGroupName>> = BTreeMap::new();
    for group in resources.server_groups.values() {
        for server in &group.servers {
            groups_of.entry((group.vpc.as_ref(), server.address.ip)).or_default().insert(&group.name);
        }
    }
    let max = quotas.groups_per_server;
    for ((_, ip), groups) in groups_of.into_iter().filter(|(_, groups)| groups.len() > max as usize) {
        let beyond = groups.iter().nth(max as usize).expect("there are more groups than that");
        checks.error(
            QuotaExceeded.of("ServerAddedNum"),
            &Spot::ServerGroup((*beyond).clone()),
            format!("server {ip} is in {} groups", groups.len()),
            format!("a server is in at most {max} groups"),
            format!("remove it from some{}", raise("groups_per_server", max, Quotas::MAX.groups_per_server)),
        );
    }
}

/// How far the node's setting can still be raised, if at all.
fn raise(key: &str, max: u32, ceiling: u32) -> String {
    if max < ceiling {
        format!(", or raise the node's `quotas: {{{key}: ...}}` to at most {ceiling}")
    } else {
        String::new()
    }
}
