//! Changes of the configuration under traffic.

use crate::connection::{Connection, client, syn};
use controller::model::ListenerProtocol::Tcp;
use controller::plan::{Change, MapOp};
use forwarder_common::address::Be16;
use forwarder_common::nat;
use forwarder_common::verdict::DropReason;
use forwarder_common::vip::VipKey;
use tests::forwarder::{Forwarder, Plain};
use tests::packet::{tcp, vxlan};
use tests::scenario::{LOCAL_ADDRESS, VNI};

fn forwarder() -> Option<Forwarder> {
    let mut forwarder = Forwarder::open()?;
    forwarder.scenario.group("tcp", &[("172.16.1.20:8080", 100)]).listener(Tcp, 9000, "tcp");
    forwarder.scenario.group("remote", &[("192.168.1.20:8080", 100)]).listener(Tcp, 9001, "remote");
    forwarder.apply();
    Some(forwarder)
}

/// Servers, hops, VIP and tables all change.
fn change(forwarder: &mut Forwarder) -> Change {
    forwarder.scenario.group("tcp", &[("192.168.1.21:81", 50), ("172.16.1.21:8080", 50)]);
    forwarder.scenario.group("remote", &[("172.16.1.22:8080", 100)]);
    forwarder.scenario.next_hops().remove(0);
    forwarder.scenario.listener(Tcp, 9002, "remote");
    forwarder.change().expect("much changed")
}

#[test]
fn packets_see_nothing_of_a_half_prepared_change() {
    let Some(mut forwarder) = forwarder() else { return };
    let old = Connection::open(&forwarder, client(1));
    let change = change(&mut forwarder);
    let epoch = forwarder.datapath.state().epoch;
    assert!(change.prepare.len() > 8, "{}", controller::plan::dump_change(&change));
    for done in 0..=change.prepare.len() {
        // The change stops here: what is prepared is, and the epoch stays.
        if done > 0 {
            let step = Change { prepare: vec![change.prepare[done - 1].clone()], epoch, cleanup: Vec::new() };
            forwarder.datapath.apply(&step).expect("apply a step");
        }
        let outcome = forwarder.from_clients(&old.request().ack());
        assert_eq!(Connection::of(old.client, outcome.is_redirected()), old, "after {done} steps");
        forwarder.from_zone(&old.reply().ack()).is_redirected();
        let new = Connection::open(&forwarder, client(10 + done as u32));
        assert_eq!(new.server, old.server, "after {done} steps");
        forwarder.from_clients(&tcp("192.0.2.7:31337 -> 203.0.113.10:9002").syn()).passes_untouched();
        let answer = tcp(&format!("192.168.1.20:80 -> {LOCAL_ADDRESS}:4000")).ack();
        for router in ["172.16.1.253", "172.16.1.254"] {
            forwarder.from_zone(&vxlan(&format!("{router} -> 172.16.1.10"), VNI, &answer)).passes_as(&answer);
        }
    }
    let rest = Change { prepare: Vec::new(), ..change };
    forwarder.datapath.apply(&rest).expect("commit");
    assert!(forwarder.change().is_none_or(|change| change.prepare.iter().all(is_departure)));
    // The flow's server left without a drain.
    let outcome = forwarder.from_clients(&old.request().ack());
    assert_eq!(Connection::of(old.client, outcome.is_redirected()), old);
    for number in 100..120 {
        let new = Connection::open(&forwarder, client(number)).server.to_string();
        assert!(["192.168.1.21:81", "172.16.1.21:8080"].contains(&new.as_str()), "{new}");
    }
    forwarder.from_clients(&tcp("192.0.2.7:31337 -> 203.0.113.10:9002").syn()).is_redirected();
    let answer = tcp(&format!("192.168.1.21:81 -> {LOCAL_ADDRESS}:4000")).ack();
    forwarder
        .from_zone(&vxlan("172.16.1.253 -> 172.16.1.10", VNI, &answer))
        .is_dropped(DropReason::TunnelUnknownSource);
}

fn is_departure(op: &MapOp) -> bool {
    matches!(op, MapOp::SetServer { .. } | MapOp::SetNextHop { .. })
}

#[test]
fn a_change_that_fails_leaves_nothing_behind() {
    let Some(mut forwarder) = forwarder() else { return };
    let before = Connection::open(&forwarder, client(1));
    // Somebody fills the map of VIPs, so that the new listener's key finds no room.
    let mut vips = forwarder.hash_map::<VipKey, u32>("VIPS");
    let junk = |number: u32| {
        Plain(VipKey { address: forwarder_common::address::Be32::new(number), ..VipKey::default() })
    };
    let filled = (0..10_000).take_while(|number| vips.insert(junk(*number), Plain(0), 0).is_ok()).count();
    let good = forwarder.scenario.clone();
    forwarder.scenario.group("tcp", &[("172.16.1.66:8080", 100)]).listener(Tcp, 9002, "remote");
    let change = forwarder.change().expect("a listener more");
    let error = forwarder.datapath.apply(&change).expect_err("no room").to_string();
    assert!(error.contains("VIPS"), "{error}");
    let outcome = forwarder.from_clients(&syn(before.client));
    assert_eq!(Connection::of(before.client, outcome.is_redirected()), before);

    for number in 0..filled as u32 {
        vips.remove(&junk(number)).expect("remove what was filled in");
    }
    // The listener is given up. The next change knows what the failed one has written.
    forwarder.scenario = good;
    forwarder.scenario.listener(Tcp, 9003, "tcp");
    forwarder.apply();
    let (kernel, believed) =
        (tests::forwarder::open_again(&forwarder.directory()), forwarder.datapath.state());
    let kernel = kernel.expect("open the same maps");
    assert_eq!(kernel.state().copies, believed.copies);
    assert_eq!(kernel.state().keys, believed.keys);
    let outcome = forwarder.from_clients(&tcp("192.0.2.7:31337 -> 203.0.113.10:9003").syn());
    assert_eq!(Connection::of(client(0), outcome.is_redirected()).server.to_string(), "172.16.1.20:8080");
    assert!(forwarder.change().is_none(), "it is in force");
}

#[test]
fn all_listeners_can_be_replaced_at_once() {
    let Some(mut forwarder) = Forwarder::open() else { return };
    // As many as the tables hold beside each other while one configuration takes the place of the other.
    let listeners = forwarder_common::limits::VIPS as u16 / 2;
    forwarder.scenario.group("tcp", &[("172.16.1.20:8080", 100)]);
    let empty = forwarder.scenario.clone();
    for port in 0..listeners - 1 {
        forwarder.scenario.listener(Tcp, 10_000 + port, "tcp");
    }
    forwarder.apply();
    forwarder.scenario = empty;
    for port in 0..listeners - 1 {
        forwarder.scenario.listener(Tcp, 20_000 + port, "tcp");
    }
    forwarder.apply();
    forwarder.from_clients(&tcp("192.0.2.7:31337 -> 203.0.113.10:20000").syn()).is_redirected();
    forwarder.from_clients(&tcp("192.0.2.7:31337 -> 203.0.113.10:10000").syn()).passes_untouched();
}

#[test]
fn local_addresses_can_all_be_replaced_at_once() {
    let Some(mut forwarder) = Forwarder::open() else { return };
    let addresses = |third: u8| {
        (0..4u8)
            .flat_map(move |low| (0..250u8).map(move |host| [172, 17, third + low, host].into()))
            .collect()
    };
    for third in [0, 100, 0] {
        for balancer in forwarder.scenario.resources.load_balancers.values_mut() {
            balancer.zone_mappings[0].local_addresses = addresses(third);
        }
        forwarder.apply();
        let inside = tcp(&format!("192.168.1.20:80 -> 172.17.{third}.7:4000")).ack();
        forwarder.from_zone(&vxlan("172.16.1.254 -> 172.16.1.10", VNI, &inside)).passes_as(&inside);
    }
}

#[test]
fn no_flow_of_an_earlier_nat_prefix_is_found_under_a_new_one() {
    let Some(mut forwarder) = forwarder() else { return };
    let flows: Vec<Connection> = (0..20).map(|number| Connection::open(&forwarder, client(number))).collect();
    forwarder.scenario.node.nat_prefix = Some("172.16.100.0/25".parse().expect("a prefix"));
    forwarder.apply();
    for flow in flows {
        let offset = u32::from(flow.nat.ip().octets()[3]);
        let slot = nat::slot_of(offset, Be16::new(flow.nat.port()), 256).expect("a NAT port");
        let (offset, port) = nat::slot_address(slot, 128);
        let stranger = format!("{} -> 172.16.100.{offset}:{}", flow.server, port.get());
        forwarder.from_zone(&tcp(&stranger).ack()).is_dropped(DropReason::NatMiss);
    }
}
