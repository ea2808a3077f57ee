//! The lab's configuration as an operator would write it: node settings and the tutorial's resources (XR-70 to XR-76).

use crate::layout::{BACK_TO_ORIGIN_PREFIX, LB, LB2, LB2_NAT_PREFIX, Layout, NAT_PREFIX, Variant};
use crate::options::Balancers;
use std::net::Ipv4Addr;

/// The balancer's node settings in a lab with [`Balancers::OneHost`].
pub fn node_yaml(layout: &Layout) -> String {
    node_yaml_on(layout, Balancers::OneHost, LB)
}

/// The node settings of the balancer on `host`, [`LB`] or [`LB2`].
pub fn node_yaml_on(layout: &Layout, balancers: Balancers, host: &str) -> String {
    let zone_a = "  - {zone: chengdu-a, interface: eth1, tunnel_address: 172.16.1.10}\n";
    let zone_b = "  - {zone: chengdu-b, interface: eth2, tunnel_address: 172.16.2.10}\n";
    let (zones, nat_prefix) = match (balancers, host) {
        (Balancers::OneHost, _) => (format!("{zone_a}{zone_b}"), NAT_PREFIX),
        (Balancers::HostPerZone, LB2) => (zone_b.to_owned(), LB2_NAT_PREFIX),
        (Balancers::HostPerZone, _) => (zone_a.to_owned(), NAT_PREFIX),
    };
    let node = layout.node_on(host);
    format!(
        "name: {host}
zones:
{zones}client_interfaces: [eth0]
tunnel: {{vxlan_port: 4789, admission: exclusive}}
nat_prefix: {nat_prefix}
workers: 1
state_dir: {state}
api_socket: {socket}
metrics_listen: 127.0.0.1:9180
bpf_dir: {bpf}
access_log: {log}
",
        state = node.state_dir.display(),
        socket = node.api_socket.display(),
        bpf = node.bpf_dir.display(),
        log = node.access_log.display(),
    )
}

/// The tutorial's resources, plus a TCP listener with a group of its own.
pub fn resources_yaml(variant: Variant) -> String {
    let list = |addresses: [Ipv4Addr; 2]| format!("[{}, {}]", addresses[0], addresses[1]);
    let prefix = match variant {
        Variant::Vswitch => String::new(),
        Variant::BackToOrigin => format!("    back_to_origin_prefix: {BACK_TO_ORIGIN_PREFIX}\n"),
    };
    format!(
        "vpcs:
  - name: vpc1
    region: chengdu
    cidr: 172.16.0.0/12
    vswitches:
      - {{name: vsw1, zone: chengdu-a, cidr: 172.16.1.0/24}}
      - {{name: vsw2, zone: chengdu-b, cidr: 172.16.2.0/24}}
    routes:
      - {{destination: 192.168.0.0/16, transit_router: tr-chengdu}}
  - name: vpc2
    region: hangzhou
    cidr: 192.168.0.0/16
    vswitches:
      - {{name: vsw3, zone: hangzhou-h, cidr: 192.168.1.0/24}}
      - {{name: vsw4, zone: hangzhou-i, cidr: 192.168.2.0/24}}
transit_routers:
  - name: tr-chengdu
    region: chengdu
    attachments:
      - {{vpc: vpc1, vswitches: [vsw1, vsw2]}}
      - {{peer: tr-hangzhou}}
    next_hops:
      - {{name: tr-chengdu-a, zone: chengdu-a, address: 172.16.1.254, vxlan: {{vni: 101, mac: \"02:00:00:00:01:01\"}}, mtu: 1500, weight: 100}}
      - {{name: tr-chengdu-b, zone: chengdu-b, address: 172.16.2.254, vxlan: {{vni: 102, mac: \"02:00:00:00:01:02\"}}, mtu: 1500, weight: 100}}
  - name: tr-hangzhou
    region: hangzhou
    attachments:
      - {{vpc: vpc2, vswitches: [vsw3, vsw4]}}
      - {{peer: tr-chengdu}}
load_balancers:
  - name: alb1
    edition: Standard
    address_type: Internet
    vpc: vpc1
    dns_name: alb1.causeway.test
    zone_mappings:
      - {{zone: chengdu-a, vswitch: vsw1, vip: 203.0.113.10, local_addresses: {local_a}}}
      - {{zone: chengdu-b, vswitch: vsw2, vip: 203.0.113.11, local_addresses: {local_b}}}
{prefix}server_groups:
  - name: web
    type: Ip
    vpc: vpc1
    protocol: HTTP
    scheduler: Wrr
    health_check: {{enabled: true, protocol: HTTP, path: /}}
    servers:
      - {{address: 172.16.1.20, port: 80, weight: 100}}
      - {{address: 192.168.1.20, port: 80, weight: 100, remote_ip: true}}
  - name: tcp-web
    type: Ip
    vpc: vpc1
    protocol: TCP
    scheduler: Wrr
    health_check: {{enabled: true, protocol: TCP}}
    slow_start: {{enabled: false, duration: 30}}
    connection_drain: {{enabled: true, timeout: 30}}
    servers:
      - {{address: 172.16.1.20, port: 8080, weight: 100}}
      - {{address: 192.168.1.20, port: 8080, weight: 100, remote_ip: true}}
listeners:
  - {{name: http, load_balancer: alb1, protocol: HTTP, port: 80, server_group: web}}
  - {{name: tcp, load_balancer: alb1, protocol: TCP, port: 9000, server_group: tcp-web}}
",
        local_a = list(variant.local_addresses_a()),
        local_b = list(variant.local_addresses_b()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_variant_names_its_prefix_and_takes_its_addresses_from_it() {
        let text = resources_yaml(Variant::BackToOrigin);
        assert!(text.contains("\n    back_to_origin_prefix: 100.64.0.0/24\n"), "{text}");
        assert!(text.contains("local_addresses: [100.64.0.21, 100.64.0.22]"), "{text}");
        assert!(!resources_yaml(Variant::Vswitch).contains("100.64"));
    }

    #[test]
    fn two_labs_never_share_a_file() {
        let [one, other] = ["", "t1"].map(|id| Layout::new(id).expect("valid label"));
        let paths = |text: &str| -> Vec<String> {
            text.split_whitespace().filter(|word| word.starts_with("/run/")).map(str::to_owned).collect()
        };
        let (one, other) = (paths(&node_yaml(&one)), paths(&node_yaml(&other)));
        assert_eq!(one.len(), 4);
        assert!(one.iter().all(|path| !other.contains(path)));
    }

    #[test]
    fn two_hosts_of_a_lab_share_neither_a_file_nor_a_zone() {
        let layout = Layout::new("t1").expect("valid label");
        let [one, other] = [LB, LB2].map(|host| node_yaml_on(&layout, Balancers::HostPerZone, host));
        let shared: Vec<_> = one.lines().filter(|line| other.lines().any(|other| other == *line)).collect();
        assert_eq!(
            shared,
            [
                "zones:",
                "client_interfaces: [eth0]",
                "tunnel: {vxlan_port: 4789, admission: exclusive}",
                "workers: 1",
                "metrics_listen: 127.0.0.1:9180",
            ],
            "only what is inside each host"
        );
    }
}
