//! Resources with server groups of a test's own, on the tutorial's network.

use causeway_lab::{Variant, resources_yaml};
use std::net::Ipv4Addr;

/// Health checks that find out within two seconds, at a path that servers can be told to treat in a way of its own.
pub const FAST_CHECK: &str = "health_check: {enabled: true, protocol: HTTP, path: /health, interval: 1, timeout: 1, \
                              healthy_threshold: 2, unhealthy_threshold: 2}";

/// A server group and its listener, as an author writes them.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// Name of both.
    pub name: &'a str,
    /// Protocol of both.
    pub protocol: &'a str,
    /// Port of the listener.
    pub listens: u16,
    /// Further settings, a line each.
    pub settings: &'a [&'a str],
    /// Address, port and weight of each server.
    pub servers: Vec<(Ipv4Addr, u16, u32)>,
}

impl<'a> Group<'a> {
    /// The group `web` behind port 80, with `settings` and these servers and weights, port 80 of each.
    pub fn web(settings: &'a [&'a str], servers: &[(Ipv4Addr, u32)]) -> Group<'a> {
        let servers = servers.iter().map(|(address, weight)| (*address, 80, *weight)).collect();
        Group { name: "web", protocol: "HTTP", listens: 80, settings, servers }
    }
}

/// The tutorial's resources with these groups and their listeners instead of its own.
pub fn resources(groups: &[Group]) -> String {
    let tutorial = resources_yaml(Variant::Vswitch);
    let (network, _) = tutorial.split_once("server_groups:\n").expect("the tutorial has groups");
    let mut text = format!("{network}server_groups:\n");
    for Group { name, protocol, settings, servers, .. } in groups {
        text.push_str(&format!("  - name: {name}\n    type: Ip\n    vpc: vpc1\n    protocol: {protocol}\n"));
        settings.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
        text.push_str(if servers.is_empty() { "    servers: []\n" } else { "    servers:\n" });
        for (address, port, weight) in servers {
            text.push_str(&format!("      - {{address: {address}, port: {port}, weight: {weight}}}\n"));
        }
    }
    text.push_str("listeners:\n");
    for Group { name, protocol, listens, .. } in groups {
        text.push_str(&listener(name, protocol, *listens, name));
    }
    text
}

/// A listener of the tutorial's load balancer, to be added to [`resources`].
pub fn listener(name: &str, protocol: &str, port: u16, group: &str) -> String {
    format!(
        "  - {{name: {name}, load_balancer: alb1, protocol: {protocol}, port: {port}, server_group: {group}}}\n"
    )
}

/// The address of the web server ecs11, ecs12...
pub fn ecs1(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 16, 1, 40 + number)
}
