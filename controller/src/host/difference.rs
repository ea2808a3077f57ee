//! From what of ours is in the kernel to what should be: ordered changes. Pure.

use super::desired::{Address, HostState, Route, RouteTarget, Rule};
use std::fmt;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds an address.
    AddAddress(Address),
    /// Adds a route that is not there.
    AddRoute(Route),
    /// Replaces our route with the same table, destination and metric.
    ReplaceRoute(Route),
    /// Adds a rule.
    AddRule(Rule),
    /// Removes a rule of ours.
    RemoveRule(Rule),
    /// Removes a route of ours.
    RemoveRoute(Route),
    /// Removes an address of ours.
    RemoveAddress(Address),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::AddAddress(Address { interface, address }) => {
                write!(f, "added address {address} to {interface}")
            }
            Change::RemoveAddress(Address { interface, address }) => {
                write!(f, "removed address {address} from {interface}")
            }
            Change::AddRule(Rule { source, table, .. }) => {
                write!(f, "added rule from {source} to table {table}")
            }
            Change::RemoveRule(Rule { source, table, .. }) => {
                write!(f, "removed rule from {source} to table {table}")
            }
            Change::AddRoute(route) => write!(f, "added route {route}"),
            Change::ReplaceRoute(route) => write!(f, "replaced route {route}"),
            Change::RemoveRoute(route) => write!(f, "removed route {route}"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Route { table, destination, metric, target } = self;
        write!(f, "{destination} ")?;
        match target {
            RouteTarget::OnLink { interface } => write!(f, "on {interface}"),
            RouteTarget::Via { gateway, interface, mtu } => {
                write!(f, "via {gateway} on {interface}, MTU {mtu}")
            }
            RouteTarget::Toward { endpoint, interface, mtu } => {
                write!(f, "toward {endpoint} on {interface}, MTU {mtu}")
            }
            RouteTarget::Unreachable => f.write_str("unreachable"),
            RouteTarget::Blackhole => f.write_str("blackhole"),
        }?;
        write!(f, ", table {table}, metric {metric}")
    }
}

/// Changes that turn `current` into `wanted`: what is needed comes first and bottom up (addresses, routes, the rules
/// that lead to them), what is not goes afterwards and top down. Empty when nothing differs.
pub fn changes(current: &HostState, wanted: &HostState) -> Vec<Change> {
    let mut added: Vec<&Route> = wanted.routes.difference(&current.routes).collect();
    // A gateway is accepted only once its network is known.
    added.sort_by_key(|route| !matches!(route.target, RouteTarget::OnLink { .. }));
    let replaces = |route: &Route| current.routes.iter().any(|other| is_same_place(route, other));
    let replaced = |route: &Route| wanted.routes.iter().any(|other| is_same_place(route, other));

    let mut changes: Vec<Change> = Vec::new();
    changes.extend(wanted.addresses.difference(&current.addresses).cloned().map(Change::AddAddress));
    changes.extend(added.into_iter().cloned().map(|route| match replaces(&route) {
        true => Change::ReplaceRoute(route),
        false => Change::AddRoute(route),
    }));
    changes.extend(wanted.rules.difference(&current.rules).cloned().map(Change::AddRule));
    changes.extend(current.rules.difference(&wanted.rules).cloned().map(Change::RemoveRule));
    let gone = current.routes.difference(&wanted.routes).filter(|route| !replaced(route));
    changes.extend(gone.cloned().map(Change::RemoveRoute));
    changes.extend(current.addresses.difference(&wanted.addresses).cloned().map(Change::RemoveAddress));
    changes
}

/// Whether the kernel would keep one of the two only.
fn is_same_place(a: &Route, b: &Route) -> bool {
    (a.table, a.destination, a.metric) == (b.table, b.destination, b.metric)
}

#[cfg(test)]
mod tests {
    use super::super::desired::desired;
    use super::super::desired::tests::{node, resources};
    use super::*;
    use crate::model::Resources;
    use std::collections::BTreeSet;

    fn state(resources: &Resources) -> HostState {
        desired(&node(), resources, &BTreeSet::new())
    }

    #[test]
    fn nothing_changes_when_nothing_differs() {
        let wanted = state(&resources());
        assert_eq!(changes(&wanted, &wanted), []);
    }

    #[test]
    fn adds_bottom_up_and_removes_top_down() {
        let wanted = state(&resources());
        let kinds = |changes: Vec<Change>| {
            let mut kinds: Vec<&str> = Vec::new();
            for change in changes {
                let kind = match change {
                    Change::AddAddress(_) => "add address",
                    Change::AddRoute(Route { target: RouteTarget::OnLink { .. }, .. }) => "add network",
                    Change::AddRoute(_) => "add route",
                    Change::ReplaceRoute(_) => "replace route",
                    Change::AddRule(_) => "add rule",
                    Change::RemoveRule(_) => "remove rule",
                    Change::RemoveRoute(_) => "remove route",
                    Change::RemoveAddress(_) => "remove address",
                };
                if kinds.last() != Some(&kind) {
                    kinds.push(kind);
                }
            }
            kinds
        };
        let nothing = HostState::default();
        assert_eq!(
            kinds(changes(&nothing, &wanted)),
            ["add address", "add network", "add route", "add rule"]
        );
        assert_eq!(kinds(changes(&wanted, &nothing)), ["remove rule", "remove route", "remove address"]);
    }

    #[test]
    fn a_route_that_changes_is_replaced_in_place() {
        let current = state(&resources());
        let mut resources = resources();
        resources.transit_routers.values_mut().next().unwrap().next_hops[0].mtu = 1400;
        let changes = changes(&current, &state(&resources));
        assert_eq!(changes.len(), 2);
        for change in changes {
            assert!(
                matches!(
                    &change,
                    Change::ReplaceRoute(Route { target: RouteTarget::Via { mtu: 1350, .. }, .. })
                ),
                "{change:?}"
            );
        }
    }
}
