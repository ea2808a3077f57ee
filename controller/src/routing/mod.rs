//! Destination → route → transit router and its next hops, by longest prefix.
//!
//! Absent here: how a next hop is chosen among several, and whether any is alive.

use crate::model::{NextHop, Resources, Route, TransitRouter, VpcName};
use std::net::IpAddr;

/// How a VPC reaches an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path<'a> {
    /// Inside the VPC's own CIDR: the host's network carries it.
    Local,
    /// Through a transit router, wrapped toward one of its next hops.
    Via {
        /// The route that matched.
        route: &'a Route,
        /// The router it names.
        transit_router: &'a TransitRouter,
        /// The router's tunnel endpoints; may be empty.
        next_hops: &'a [NextHop],
    },
    /// No route: the address cannot be reached.
    None,
}

/// How `vpc` reaches `destination`, by its system route table alone (XR-13): its own CIDR, else the route with the
/// longest prefix (XR-39). An unknown VPC reaches nothing.
///
/// Without a VPC, as for functions, the host's network carries it.
///
/// The whole VPC CIDR is local, so 172.31.0.5 counts as inside a VPC of 172.16.0.0/12 (XR-84).
pub fn resolve<'a>(resources: &'a Resources, vpc: Option<&VpcName>, destination: IpAddr) -> Path<'a> {
    let Some(vpc) = vpc else { return Path::Local };
    let Some(vpc) = resources.vpcs.get(vpc) else { return Path::None };
    if vpc.contains(destination) {
        return Path::Local;
    }
    // Remote servers have IPv4 addresses (SG-63), and so have routes.
    let IpAddr::V4(destination) = destination else { return Path::None };
    let longest = vpc
        .routes
        .iter()
        .filter(|route| route.destination.contains(&destination))
        .max_by_key(|route| route.destination.prefix_len());
    let found =
        longest.and_then(|route| Some((route, resources.transit_routers.get(&route.transit_router)?)));
    match found {
        Some((route, transit_router)) => {
            Path::Via { route, transit_router, next_hops: &transit_router.next_hops }
        }
        None => Path::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RegionName, TransitRouterName, Vpc};

    /// The tutorial's VPC1, with a longer route inside the one to Hangzhou.
    fn chengdu() -> Resources {
        let mut resources = Resources::default();
        let route = |destination: &str, router: &str| Route {
            destination: destination.parse().unwrap(),
            transit_router: TransitRouterName::new(router),
        };
        let vpc = Vpc {
            name: VpcName::new("vpc1"),
            region: RegionName::new("chengdu"),
            cidr: "172.16.0.0/12".parse().unwrap(),
            ipv6_cidr: None,
            vswitches: Default::default(),
            routes: vec![
                route("192.168.0.0/16", "hangzhou"),
                route("192.168.7.0/24", "office"),
                route("10.0.0.0/8", "gone"),
            ],
        };
        resources.vpcs.insert(vpc.name.clone(), vpc);
        for name in ["hangzhou", "office"] {
            let name = TransitRouterName::new(name);
            let router = TransitRouter {
                name: name.clone(),
                region: RegionName::new("chengdu"),
                attachments: vec![],
                next_hops: vec![],
            };
            resources.transit_routers.insert(name, router);
        }
        resources
    }

    /// `local`, `none`, or the router's name.
    fn path(destination: &str) -> String {
        let resources = chengdu();
        match resolve(&resources, Some(&VpcName::new("vpc1")), destination.parse().unwrap()) {
            Path::Local => "local".into(),
            Path::None => "none".into(),
            Path::Via { transit_router, .. } => transit_router.name.to_string(),
        }
    }

    // Holds XR-84
    #[test]
    fn counts_the_whole_vpc_cidr_as_local() {
        for inside in ["172.16.0.0", "172.16.1.20", "172.31.0.5", "172.31.255.255"] {
            assert_eq!(path(inside), "local", "{inside}");
        }
        assert_eq!(path("172.32.0.0"), "none");
    }

    // Holds XR-39
    #[test]
    fn prefers_the_longest_prefix() {
        assert_eq!(path("192.168.1.20"), "hangzhou");
        assert_eq!(path("192.168.7.20"), "office");
    }

    #[test]
    fn reaches_nothing_without_a_route_a_router_or_a_vpc() {
        assert_eq!(path("100.64.0.1"), "none");
        assert_eq!(path("10.1.2.3"), "none", "the route names a router that does not exist");
        assert_eq!(
            resolve(&chengdu(), Some(&VpcName::new("vpc9")), "172.16.0.1".parse().unwrap()),
            Path::None
        );
    }
}
