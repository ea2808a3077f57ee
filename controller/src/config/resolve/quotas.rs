//! Quotas (SG section 16, D-16): the node's settings of them, and their keeping.

use super::{Checks, Spot};
use crate::config::ErrorFamily::QuotaExceeded;
use crate::config::decode::{Field, Report};
use crate::config::file::QuotasEntry;
use crate::model::{Edition, Listener, LoadBalancerName, Quotas, Resources, ServerGroupName, VpcName};
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
        server_group_weight
    )
}

/// SG-240; each quota that is exceeded is one error, at what goes beyond it.
pub(super) fn check_quotas(quotas: &Quotas, resources: &Resources, checks: &mut Checks<'_>) {
    check_servers_of_balancers(quotas, resources, checks);
    check_attachments(quotas, resources, checks);
    check_groups_of_servers(quotas, resources, checks);
}

/// Per association (SG-241): a server counts once for every listener it is reached through.
fn check_servers_of_balancers(quotas: &Quotas, resources: &Resources, checks: &mut Checks<'_>) {
    let mut listeners: BTreeMap<&LoadBalancerName, Vec<&Listener>> = BTreeMap::new();
    for listener in resources.listeners.values() {
        listeners.entry(&listener.load_balancer).or_default().push(listener);
    }
    for (name, listeners) in listeners {
        let Some(balancer) = resources.load_balancers.get(name) else { continue };
        let (key, max, ceiling) = match balancer.edition {
            Edition::Basic => (
                "servers_per_basic_load_balancer",
                quotas.servers_per_basic_load_balancer,
                Quotas::MAX.servers_per_basic_load_balancer,
            ),
            Edition::Standard => (
                "servers_per_standard_load_balancer",
                quotas.servers_per_standard_load_balancer,
                Quotas::MAX.servers_per_standard_load_balancer,
            ),
        };
        let servers_of = |listener: &Listener| {
            resources.server_groups.get(&listener.server_group).map_or(0, |group| group.servers.len())
        };
        let count: usize = listeners.iter().map(|listener| servers_of(listener)).sum();
        if count > max as usize {
            checks.error(
                QuotaExceeded.of("ServersNum"),
                &Spot::LoadBalancer(name.clone()),
                format!("{count} servers, each counted for every listener that leads to it"),
                format!("a load balancer of edition {:?} has at most {max}", balancer.edition),
                format!("remove servers or listeners{}", raise(key, max, ceiling)),
            );
        }
    }
}

/// Listeners, and later rules, that send to a group.
fn check_attachments(quotas: &Quotas, resources: &Resources, checks: &mut Checks<'_>) {
    let mut counts: BTreeMap<&ServerGroupName, usize> = BTreeMap::new();
    for listener in resources.listeners.values() {
        *counts.entry(&listener.server_group).or_default() += 1;
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
