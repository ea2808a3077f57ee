//! Every reason to drop a packet can be met.

use crate::connection::{Connection, client, syn};
use aya::maps::MapError;
use controller::datapath::{Action, Arrival, Hook};
use controller::model::ListenerProtocol::Tcp;
use forwarder_common::epoch::position;
use forwarder_common::flow::{FlowKey, FlowRef};
use forwarder_common::limits;
use forwarder_common::nat::{Claim, NatSlot, state};
use forwarder_common::server::Server;
use forwarder_common::verdict::DropReason;
use forwarder_common::vip::Vip;
use std::net::Ipv4Addr;
use tests::forwarder::{Forwarder, Outcome, now_secs};
use tests::packet::{icmp, tcp, udp, vxlan};
use tests::requirement;
use tests::scenario::{HOPS, LOCAL_ADDRESS, VNI};

const ROUTER: &str = "172.16.1.254 -> 172.16.1.10";

/// Replace, do not insert (linux/bpf.h).
const BPF_EXIST: u64 = 2;

/// A forwarder with a local server behind port 9000 and a remote one behind port 9001.
fn forwarder() -> Option<Forwarder> {
    let mut forwarder = Forwarder::open()?;
    forwarder.scenario.group("local", &[("172.16.1.20:8080", 100)]).listener(Tcp, 9000, "local");
    forwarder.scenario.group("remote", &[("192.168.1.20:8080", 100)]).listener(Tcp, 9001, "remote");
    forwarder.apply();
    Some(forwarder)
}

/// Meets `reason`: a match, so that a new reason does not compile without a case.
fn meet(reason: DropReason, forwarder: &mut Forwarder) -> Outcome {
    let answer = || tcp(&format!("192.168.1.20:8080 -> {LOCAL_ADDRESS}:41000")).ack();
    match reason {
        DropReason::Truncated => forwarder.from_clients(&syn(client(1)).truncated(50)),
        DropReason::TunnelUnknownSource => {
            forwarder.from_zone(&vxlan("172.16.1.77 -> 172.16.1.10", VNI, &answer()))
        }
        DropReason::TunnelWrongVni => forwarder.from_zone(&vxlan(ROUTER, VNI + 1, &answer())),
        DropReason::TunnelMalformed => forwarder.from_zone(&vxlan(ROUTER, VNI, &answer()).fragment(0, true)),
        DropReason::TunnelInnerDestination => {
            forwarder.from_zone(&vxlan(ROUTER, VNI, &tcp("192.168.1.20:8080 -> 172.16.1.10:22")))
        }
        DropReason::TunnelInnerSource => {
            let stranger = tcp(&format!("198.51.100.1:80 -> {LOCAL_ADDRESS}:41000"));
            forwarder.from_zone(&vxlan(ROUTER, VNI, &stranger))
        }
        DropReason::Fragment => forwarder.from_clients(&syn(client(1)).fragment(0, true)),
        DropReason::IpOptions => forwarder.from_clients(&syn(client(1)).ip_options(&[1, 1, 1, 1])),
        DropReason::TtlExpired => forwarder.from_clients(&syn(client(1)).ttl(1)),
        DropReason::NoServer => {
            forwarder.scenario.stands("local", "172.16.1.20:8080", |standing| standing.receives_new = false);
            forwarder.apply();
            forwarder.from_clients(&syn(client(1)))
        }
        DropReason::NotSyn => {
            forwarder.from_clients(&tcp(&format!("{} -> 203.0.113.10:9000", client(1))).ack())
        }
        DropReason::NatExhausted => {
            hold_every_slot(forwarder);
            forwarder.from_clients(&syn(client(1)))
        }
        DropReason::FlowTableFull => {
            fill_flow_table(forwarder);
            forwarder.from_clients(&syn(client(1)))
        }
        DropReason::NatMiss => forwarder.from_zone(&tcp("172.16.1.20:8080 -> 172.16.100.1:2000").ack()),
        DropReason::NatForeignSource => {
            let connection = Connection::open(forwarder, client(1));
            forwarder.from_zone(&tcp(&format!("172.16.1.20:8081 -> {}", connection.nat)).ack())
        }
        DropReason::ServerGone => {
            let connection = Connection::open(forwarder, client(1));
            forwarder.scenario.group("local", &[]).drain("local", 0);
            forwarder.apply();
            forwarder.from_clients(&connection.request().ack())
        }
        DropReason::NoNextHop => {
            forwarder.scenario.next_hops().clear();
            forwarder.apply();
            forwarder.from_clients(&tcp(&format!("{} -> 203.0.113.10:9001", client(1))).syn())
        }
        DropReason::NextHopUnresolved => {
            forwarder.scenario.neighbours.insert(Ipv4Addr::new(172, 16, 1, 20), None);
            forwarder.apply();
            forwarder.from_clients(&syn(client(1)))
        }
        DropReason::PacketTooBig => {
            let syn = tcp(&format!("{} -> 203.0.113.10:9001", client(1))).syn();
            forwarder.from_clients(&syn.ip_length(1451))
        }
        DropReason::NoHeadroom => {
            // Segments of no known protocol, which the kernel does not wrap.
            let arrival = Arrival { ifindex: forwarder.zone, gso_size: 1400, ..Arrival::default() };
            let packet = tcp(&format!("{LOCAL_ADDRESS}:41000 -> 192.168.1.20:8080")).ack().ip_length(3000);
            forwarder.arrives(Hook::TcEgress, &packet, &arrival)
        }
        DropReason::FlowBusy => {
            let connection = Connection::open(forwarder, client(1));
            let mut flows = forwarder.hash_map::<FlowKey, u64>("FLOWS");
            let tombstone = tests::forwarder::Plain(FlowRef::TOMBSTONE);
            let key = tests::forwarder::Plain(connection.key());
            flows.insert(key, tombstone, BPF_EXIST).expect("bury the flow");
            forwarder.from_clients(&syn(client(1)))
        }
        DropReason::MapInconsistent => {
            let index = forwarder.vip(9000);
            let mut vips = forwarder.array::<Vip>("VIP");
            let position = position(index, forwarder.datapath.state().epoch);
            let mut vip = vips.get(&position, 0).expect("read a VIP").0;
            vip.table = limits::MAGLEV_TABLES;
            vips.set(position, tests::forwarder::Plain(vip), 0).expect("spoil a VIP");
            forwarder.from_clients(&syn(client(1)))
        }
    }
}

/// Marks every NAT slot as held by a flow of this second.
fn hold_every_slot(forwarder: &Forwarder) {
    let mut slots = forwarder.array::<NatSlot>("NAT_SLOTS");
    let claim = Claim { state: state::LIVE, generation: 1, seen: now_secs() }.to_bits();
    let held = tests::forwarder::Plain(NatSlot { claim, ..NatSlot::default() });
    for index in 0..limits::NAT_SLOTS {
        slots.set(index, held, 0).expect("hold a slot");
    }
}

/// Puts entries of nobody into the flow table until it takes no more.
fn fill_flow_table(forwarder: &Forwarder) {
    let mut flows = forwarder.hash_map::<FlowKey, u64>("FLOWS");
    for number in 0..=limits::FLOWS {
        let key = FlowKey { client: forwarder_common::address::Be32::new(number), ..FlowKey::default() };
        match flows.insert(tests::forwarder::Plain(key), tests::forwarder::Plain(0), 0) {
            Ok(()) => {}
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::E2BIG) => {
                return;
            }
            Err(error) => panic!("fill the flow table: {error}"),
        }
    }
    panic!("the flow table holds more than {} entries", limits::FLOWS);
}

#[test]
fn every_drop_reason_can_be_met() {
    if !requirement::root() {
        return;
    }
    let mut unspoilt = None;
    for reason in DropReason::ALL {
        println!("{}", reason.name());
        let mut forwarder = unspoilt.take().unwrap_or_else(|| forwarder().expect("root was checked"));
        meet(*reason, &mut forwarder).is_dropped(*reason);
        if !spoils(*reason) {
            unspoilt = Some(forwarder);
        }
    }
}

/// Whether meeting a reason leaves the maps unfit for the next one.
fn spoils(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::NoServer
            | DropReason::NatExhausted
            | DropReason::FlowTableFull
            | DropReason::NatForeignSource
            | DropReason::ServerGone
            | DropReason::NoNextHop
            | DropReason::NextHopUnresolved
            | DropReason::FlowBusy
            | DropReason::MapInconsistent
    )
}

#[test]
fn drops_what_the_driver_left_no_room_to_wrap() {
    let Some(forwarder) = forwarder() else { return };
    let syn = tcp(&format!("{} -> 203.0.113.10:9001", client(1))).syn();
    let arrival = |metadata| Arrival { ifindex: forwarder.clients, metadata, ..Arrival::default() };
    if forwarder.datapath.run_arrival(Hook::Xdp, &syn.bytes(), &arrival(216)).is_err() {
        requirement::skip("needs a kernel that takes 216 bytes of metadata (6.8)");
        return;
    }
    forwarder.arrives(Hook::Xdp, &syn, &arrival(216)).is_dropped(DropReason::NoHeadroom);
    assert_eq!(forwarder.arrives(Hook::Xdp, &syn, &arrival(32)).action, Action::Redirect);
}

/// What the same reason looks like from other sides.
#[test]
fn names_the_reason_also_elsewhere() {
    let Some(mut forwarder) = forwarder() else { return };
    let nat = "172.16.100.1:2000";
    let to_nat = || tcp(&format!("172.16.1.20:8080 -> {nat}")).ack();
    let cases = [
        ("a fragment for a NAT address", to_nat().fragment(0, true), DropReason::Fragment),
        ("a later fragment for a NAT address", to_nat().fragment(1480, false), DropReason::Fragment),
        ("options for a NAT address", to_nat().ip_options(&[1, 1, 1, 1]), DropReason::IpOptions),
        ("a dying packet for a NAT address", to_nat().ttl(1), DropReason::TtlExpired),
        ("an answer cut off", to_nat().truncated(50), DropReason::Truncated),
        ("an answer that claims more than is there", to_nat().total_length(41), DropReason::Truncated),
        ("an answer shorter than TCP", to_nat().total_length(39), DropReason::Truncated),
        ("UDP to a NAT address", udp(&format!("172.16.1.20:53 -> {nat}")), DropReason::NatMiss),
        ("ICMP to a NAT address", icmp("172.16.1.20 -> 172.16.100.1", 3, 4), DropReason::NatMiss),
        ("a port below those used", tcp("172.16.1.20:8080 -> 172.16.100.1:1023").ack(), DropReason::NatMiss),
        (
            "the last NAT address and port",
            tcp("172.16.1.20:8080 -> 172.16.100.255:65535").ack(),
            DropReason::NatMiss,
        ),
        (
            "a later fragment for the VIP",
            syn(client(1)).payload(&[0; 40]).fragment(1480, false),
            DropReason::Fragment,
        ),
        ("TTL 0", syn(client(1)).ttl(0), DropReason::TtlExpired),
        ("a SYN that claims more than is there", syn(client(1)).total_length(45), DropReason::Truncated),
        ("a packet without flags", tcp(&format!("{} -> 203.0.113.10:9000", client(1))), DropReason::NotSyn),
        ("a SYN-ACK from a client", syn(client(1)).ack(), DropReason::NotSyn),
        ("a SYN with RST", syn(client(1)).rst(), DropReason::NotSyn),
    ];
    for (what, packet, reason) in cases {
        println!("{what}");
        forwarder.from_clients(&packet).is_dropped(reason);
        forwarder.from_zone(&packet).is_dropped(reason);
    }

    let connection = Connection::open(&forwarder, client(1));
    let other_address = tcp(&format!("172.16.1.21:8080 -> {}", connection.nat)).ack();
    forwarder.from_zone(&other_address).is_dropped(DropReason::NatForeignSource);

    // Drops are also counted on their VIP.
    let outcome = forwarder.from_clients(&tcp(&format!("{} -> 203.0.113.10:9000", client(2))).ack());
    assert_eq!(outcome.moved.vips[&forwarder.vip(9000)].drops, 1);

    for hop in HOPS {
        forwarder.scenario.neighbours.insert(hop, None);
    }
    forwarder.apply();
    let remote = tcp(&format!("{} -> 203.0.113.10:9001", client(1))).syn();
    forwarder.from_clients(&remote).is_dropped(DropReason::NextHopUnresolved);
}

/// Whatever index stands in a map, the programs neither fault nor pass the packet on as if nothing were.
#[test]
fn wrong_maps_are_named() {
    let Some(mut forwarder) = forwarder() else { return };
    let connection = Connection::open(&forwarder, client(1));
    let index = forwarder.server("172.16.1.20:8080");
    let place = position(index, forwarder.datapath.state().epoch);
    let mut servers = forwarder.array::<Server>("SERVER");
    let good = servers.get(&place, 0).expect("read a server").0;
    let wrong = [
        (Server { via: limits::NEXT_HOPS, ..good }, DropReason::MapInconsistent),
        (Server { via: u32::MAX, ..good }, DropReason::MapInconsistent),
        (Server { reach: 2, via: limits::HOP_GROUPS, ..good }, DropReason::MapInconsistent),
        (Server { via: 77, ..good }, DropReason::NextHopUnresolved),
        (Server { reach: 2, via: 77, ..good }, DropReason::NoNextHop),
        (Server { reach: 9, ..good }, DropReason::NoNextHop),
        (Server { state: 9, ..good }, DropReason::ServerGone),
    ];
    for (server, reason) in wrong {
        servers.set(place, tests::forwarder::Plain(server), 0).expect("spoil a server");
        forwarder.from_clients(&connection.request().ack()).is_dropped(reason);
    }
    servers.set(place, tests::forwarder::Plain(good), 0).expect("mend the server");
    assert_eq!(forwarder.from_clients(&connection.request().ack()).action, Action::Redirect);

    // An L4 listener without a NAT prefix, which no configuration allows.
    forwarder.scenario.node.nat_prefix = None;
    forwarder.apply();
    forwarder.from_clients(&syn(client(2))).is_dropped(DropReason::MapInconsistent);
}

/// With the smallest NAT prefix, all its ports can be used and then no more.
#[test]
fn a_small_nat_prefix_is_used_up_and_no_further() {
    let Some(mut forwarder) = forwarder() else { return };
    forwarder.scenario.node.nat_prefix = Some("172.16.100.7/32".parse().expect("a prefix"));
    forwarder.apply();
    let mut ports = std::collections::BTreeSet::new();
    let mut refused = 0;
    for number in 0..80_000 {
        let frame = syn(client(number)).bytes();
        let run = forwarder.datapath.run(Hook::Xdp, &frame, forwarder.clients).expect("run a SYN");
        if run.action == Action::Drop {
            refused += 1;
            continue;
        }
        let nat = tests::packet::endpoints(&run.frame).0;
        assert_eq!(*nat.ip(), Ipv4Addr::new(172, 16, 100, 7));
        assert!(nat.port() >= 1024 && ports.insert(nat.port()), "{nat} was given out twice");
    }
    // Eight candidates each: nearly all of 64,512 ports are found.
    assert!(ports.len() > 60_000, "{} ports used, {refused} flows refused", ports.len());
    let drops = forwarder.datapath.counters().expect("read counters").drops;
    assert_eq!(drops[&DropReason::NatExhausted], refused);
}
