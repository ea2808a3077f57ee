//! What the lab's network can be beyond the tutorial's: two address families, a balancer's host in each zone.

use crate::web::curl;
use crate::{PATIENCE, small, tunnelled_at};
use causeway_lab::{
    Balancers, CLIENT, ECS01, ECS02, LB, LB2, Lab, LabOptions, TR1, VIP_A, Variant, index_page, ipv6_of,
    requirement, web_servers,
};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

/// Has `host` hold `address` beside its own, as the controller would, on the interface of its network: nobody answers
/// for an IPv6 address that is on another, such as loopback.
fn hold(lab: &Lab, host: &str, address: &str) {
    // Without `nodad` it could not be used before a kernel worker has said so.
    let length = if address.contains(':') { "128 nodad" } else { "32" };
    let port = match address {
        _ if address.starts_with("fd00:16:2:") || address.starts_with("172.16.2.") => "eth2",
        _ if address.starts_with("2001:") => "eth0",
        _ if host == LB2 => "eth2",
        _ => "eth1",
    };
    let words = format!("ip addr replace {address}/{length} dev {port}");
    lab.run(host, &words.split(' ').collect::<Vec<_>>()).expect("add an address");
}

/// Has `host` hold `addresses` and ask `url` from each of them.
fn ask_from(lab: &Lab, host: &str, addresses: &[String], url: &str) -> Vec<Result<String, i32>> {
    addresses.iter().for_each(|address| hold(lab, host, address));
    addresses.iter().map(|from| curl(lab, host, &["--max-time", "2", "--interface", from, url])).collect()
}

#[test]
fn local_addresses_of_both_zones_reach_servers_of_both_vswitches() {
    if !requirement::root("local_addresses_of_both_zones_reach_servers_of_both_vswitches") {
        return;
    }
    for variant in [Variant::Vswitch, Variant::BackToOrigin] {
        let lab = Lab::up(LabOptions { variant, extra_servers: web_servers(1, 1), ..small("lablocal") });
        let lab = lab.expect("lab up");
        let local: Vec<String> = variant
            .local_addresses_a()
            .into_iter()
            .chain(variant.local_addresses_b())
            .map(|address| address.to_string())
            .collect();
        for (server, address) in [("ecs11", "172.16.1.41"), ("ecs21", "172.16.2.41")] {
            let answers = ask_from(&lab, LB, &local, &format!("http://{address}/"));
            assert_eq!(answers, vec![Ok(index_page(server)); 4], "{variant:?}");
        }
    }
}

#[test]
fn ipv6_reaches_servers_of_both_vswitches_and_clients() {
    if !requirement::root("ipv6_reaches_servers_of_both_vswitches_and_clients") {
        return;
    }
    let options = LabOptions { ipv6: true, extra_servers: web_servers(1, 1), ..small("labv6") };
    let lab = Lab::up(options).expect("lab up");
    let local = [Variant::Vswitch.local_addresses_a(), Variant::Vswitch.local_addresses_b()].concat();
    let local: Vec<String> = local.into_iter().map(|address| ipv6_of(address).to_string()).collect();
    for (server, address) in [(ECS01, "1::20"), ("ecs11", "1::41"), ("ecs21", "2::41")] {
        let answers = ask_from(&lab, LB, &local, &format!("http://[fd00:16:{address}]/"));
        assert_eq!(answers, vec![Ok(index_page(server)); 4], "{server}");
    }
    let vip = ipv6_of(VIP_A).to_string();
    hold(&lab, LB, &vip);
    let from_client = |to: &str| {
        let to = SocketAddr::new(to.parse().expect("an address"), 80);
        let connect = || TcpStream::connect_timeout(&to, PATIENCE).map_err(|error| error.kind()).map(|_| ());
        lab.within(CLIENT, connect).expect("enter the client")
    };
    assert_eq!(from_client(&vip), Err(io::ErrorKind::ConnectionRefused), "it is there, and nothing listens");
    assert_eq!(from_client("fd00:16:1::41"), Err(io::ErrorKind::NetworkUnreachable));
    // Usable from the start: nobody waited to see whether another has it.
    let addresses = lab.run(CLIENT, &["ip", "-6", "-o", "addr", "show", "dev", "eth0"]).expect("ip shows");
    assert!(!addresses.contains("tentative"), "{addresses}");
}

#[test]
fn with_a_host_per_zone_each_reaches_every_server() {
    if !requirement::root("with_a_host_per_zone_each_reaches_every_server") {
        return;
    }
    let options = LabOptions {
        balancers: Balancers::HostPerZone,
        ipv6: true,
        extra_servers: web_servers(1, 1),
        ..small("labzones")
    };
    let lab = Lab::up(options).expect("lab up");
    let zones = [
        (LB, Variant::Vswitch.local_addresses_a(), "172.16.1.10", "172.16.100.9"),
        (LB2, Variant::Vswitch.local_addresses_b(), "172.16.2.10", "172.16.101.9"),
    ];
    for (host, local, own, nat) in zones {
        let v6: Vec<String> = local.iter().map(|address| ipv6_of(*address).to_string()).collect();
        let mut v4: Vec<String> = local.iter().map(Ipv4Addr::to_string).collect();
        v4.extend([own.to_owned(), nat.to_owned()]);
        let servers = [(ECS01, "1::20", "1.20"), ("ecs11", "1::41", "1.41"), ("ecs21", "2::41", "2.41")];
        for (server, end_v6, end_v4) in servers {
            let answers = ask_from(&lab, host, &v4, &format!("http://172.16.{end_v4}/"));
            assert_eq!(answers, vec![Ok(index_page(server)); v4.len()], "{host} to {server} from {v4:?}");
            let answers = ask_from(&lab, host, &v6, &format!("http://[fd00:16:{end_v6}]/"));
            assert_eq!(answers, vec![Ok(index_page(server)); v6.len()], "{host} to {server} from {v6:?}");
        }
    }
    // The other region answers each host in its own tunnel.
    assert_eq!(tunnelled_at(&lab, LB, Ipv4Addr::new(172, 16, 1, 10), Ipv4Addr::new(172, 16, 1, 11)).0, 101);
    assert_eq!(tunnelled_at(&lab, LB2, Ipv4Addr::new(172, 16, 2, 10), Ipv4Addr::new(172, 16, 2, 12)).0, 102);
    assert_eq!(tunnelled_at(&lab, LB2, Ipv4Addr::new(172, 16, 2, 10), Ipv4Addr::new(172, 16, 101, 7)).0, 102);
    assert_eq!(curl(&lab, TR1, &["http://192.168.1.20/"]), Ok(index_page(ECS02)));
}
