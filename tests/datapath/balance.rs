//! Flows of L4 listeners to servers on a link.

use crate::connection::{Connection, client, syn};
use controller::datapath::Action;
use controller::model::ListenerProtocol::Tcp;
use forwarder_common::address::{Be16, Be32};
use forwarder_common::counters::{HopCounters, ServerCounters, VipCounters};
use forwarder_common::hash;
use forwarder_common::limits::MAGLEV_ENTRIES;
use forwarder_common::verdict::DropReason;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use tests::forwarder::{FLOW_HASH_KEY, Forwarder};
use tests::packet::{FIN, HOST_MAC, PEER_MAC, tcp};
use tests::scenario::{VIP, ZONE_MAC, mac_of};

const SERVERS: [(&str, u32); 3] =
    [("172.16.1.20:8080", 100), ("172.16.1.21:8080", 50), ("172.16.1.22:8081", 10)];

fn forwarder(servers: &[(&str, u32)]) -> Option<Forwarder> {
    let mut forwarder = Forwarder::open()?;
    forwarder.scenario.group("tcp", servers).listener(Tcp, 9000, "tcp");
    forwarder.apply();
    Some(forwarder)
}

/// Index of the server that the Maglev table in force gives to a client.
fn table_entry(forwarder: &Forwarder, client: SocketAddrV4) -> u32 {
    let state = forwarder.datapath.state();
    let table = forwarder.datapath.table(state.live().vip[&forwarder.vip(9000)].table).expect("read a table");
    let (address, port) = (Be32::from(*client.ip()), Be16::new(client.port()));
    let hash = hash::flow_hash(FLOW_HASH_KEY, address, VIP.into(), port, Be16::new(9000), 6);
    u32::from(table[hash::slot(hash, MAGLEV_ENTRIES) as usize])
}

#[test]
fn translates_a_syn_to_the_server_of_the_table() {
    let Some(forwarder) = forwarder(&SERVERS) else { return };
    let client = client(1);
    let outcome = forwarder.from_clients(&syn(client));
    outcome.is_redirected();
    let connection = Connection::of(client, &outcome);
    let server = table_entry(&forwarder, client);
    assert_eq!(forwarder.server(&connection.server.to_string()), server);
    assert_eq!(connection.nat.ip().octets()[..3], [172, 16, 100], "from the NAT prefix");
    assert!(connection.nat.port() >= 1024);
    let expected =
        connection.translated_request().syn().mss(1460).ethernet(ZONE_MAC, mac_of(*connection.server.ip()));
    outcome.as_frame(&expected);

    let vip = VipCounters { packets: 1, bytes: 44, flows: 1, drops: 0 };
    assert_eq!(outcome.moved.vips, BTreeMap::from([(forwarder.vip(9000), vip)]));
    let counted = ServerCounters { flows: 1, packets: 1, bytes: 44, ..ServerCounters::default() };
    assert_eq!(outcome.moved.servers, BTreeMap::from([(server, counted)]));
    let hop = forwarder.datapath.state().live().server[&server].via;
    let sent = HopCounters { packets: 1, bytes: 44, ..HopCounters::default() };
    assert_eq!(outcome.moved.next_hops, BTreeMap::from([(hop, sent)]));
}

#[test]
fn carries_a_connection_both_ways() {
    let Some(forwarder) = forwarder(&SERVERS) else { return };
    let connection = Connection::open(&forwarder, client(2));
    let server = forwarder.server(&connection.server.to_string());

    let outcome = forwarder.from_zone(&connection.reply().syn().ack().mss(1460));
    let to_client = |packet: tests::packet::Packet| packet.ethernet(HOST_MAC, PEER_MAC);
    outcome.is_redirected().as_frame(&to_client(connection.translated_reply().syn().ack().mss(1460)));
    let counted = ServerCounters { reply_packets: 1, reply_bytes: 44, ..ServerCounters::default() };
    assert_eq!(outcome.moved.servers, BTreeMap::from([(server, counted)]));

    // An odd payload, and a class that the server must see.
    let request =
        |packet: tests::packet::Packet| packet.ack().payload(b"GET /").traffic_class(0xb9).identification(7);
    let outcome = forwarder.from_clients(&request(connection.request()));
    let expected =
        request(connection.translated_request()).ethernet(ZONE_MAC, mac_of(*connection.server.ip()));
    outcome.is_redirected().as_frame(&expected);
    assert_eq!(outcome.moved.vips[&forwarder.vip(9000)].flows, 0);

    let outcome = forwarder.from_zone(&connection.reply().ack().ip_length(1500));
    outcome.is_redirected().as_frame(&to_client(connection.translated_reply().ack().ip_length(1500)));

    // Ethernet padding of a bare ACK stays as it is.
    let outcome = forwarder.from_zone(&connection.reply().ack().padding(6));
    outcome.is_redirected().as_frame(&to_client(connection.translated_reply().ack().padding(6)));
}

#[test]
fn repeated_syns_are_one_flow() {
    let Some(forwarder) = forwarder(&SERVERS) else { return };
    let connection = Connection::open(&forwarder, client(3));
    let again = forwarder.from_clients(&syn(connection.client));
    assert_eq!(Connection::of(connection.client, &again), connection);
    assert_eq!(again.moved.vips[&forwarder.vip(9000)].flows, 0);
}

#[test]
fn a_reused_client_port_is_a_new_connection_after_a_close() {
    let Some(forwarder) = forwarder(&SERVERS) else { return };
    let server_of = |connection: &Connection| forwarder.server(&connection.server.to_string());
    let closers: [&dyn Fn(&Connection) -> u64; 3] = [
        &|connection| {
            let ended = forwarder.from_clients(&connection.request().fin()).moved.servers
                [&server_of(connection)]
                .flows_ended;
            assert_eq!(ended, 0, "half closed");
            forwarder.from_zone(&connection.reply().fin()).moved.servers[&server_of(connection)].flows_ended
        },
        &|connection| {
            forwarder.from_clients(&connection.request().rst()).moved.servers[&server_of(connection)]
                .flows_ended
        },
        &|connection| {
            forwarder.from_zone(&connection.reply().rst()).moved.servers[&server_of(connection)].flows_ended
        },
    ];
    for (number, close) in closers.iter().enumerate() {
        let client = client(40 + number as u32);
        let first = Connection::open(&forwarder, client);
        forwarder.from_zone(&first.reply().syn().ack()).is_redirected();
        forwarder.from_clients(&first.request().ack()).is_redirected();
        assert_eq!(close(&first), 1, "closer {number} ends the flow once");
        // The last acknowledgement still finds its way.
        forwarder.from_clients(&first.request().ack()).is_redirected();
        assert_eq!(
            forwarder.from_zone(&first.reply().flags(FIN).ack()).moved.servers[&server_of(&first)]
                .flows_ended,
            0
        );

        let second = forwarder.from_clients(&syn(client));
        assert_eq!(second.moved.vips[&forwarder.vip(9000)].flows, 1);
        let second = Connection::of(client, &second);
        assert_eq!(second.server, first.server, "same tuple, same table");
        assert_ne!(second.nat, first.nat, "the server still remembers the old one");
        forwarder.from_zone(&second.reply().syn().ack()).is_redirected();
        forwarder.from_clients(&second.request().ack()).is_redirected();
    }
}

#[test]
fn never_repairs_a_wrong_checksum() {
    let Some(forwarder) = forwarder(&SERVERS) else { return };
    let outcome = forwarder.from_clients(&syn(client(5)).wrong_tcp_checksum());
    let all = tests::difference::fields(&outcome.is_redirected().frame);
    let checksum = &all.iter().find(|(name, _)| name == "tcp.checksum").expect("a TCP packet").1;
    assert!(checksum.ends_with("WRONG"), "{checksum}");
}

// Holds SG-81
#[test]
fn the_table_follows_the_weights_within_two_slots() {
    let Some(forwarder) = forwarder(&SERVERS) else { return };
    let state = forwarder.datapath.state();
    let table = forwarder.datapath.table(state.live().vip[&forwarder.vip(9000)].table).expect("read a table");
    for (address, weight) in SERVERS {
        let index = forwarder.server(address);
        let slots = table.iter().filter(|entry| u32::from(**entry) == index).count() as f64;
        let share = f64::from(weight) / 160.0 * f64::from(MAGLEV_ENTRIES);
        assert!((slots - share).abs() < 2.0, "{address}: {slots} slots, its share is {share}");
    }
}

// Holds SG-81
#[test]
fn spreads_flows_by_weight() {
    const FLOWS: u32 = 4000;
    let Some(forwarder) = forwarder(&SERVERS) else { return };
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for number in 0..FLOWS {
        let client = client(number);
        let frame = syn(client).bytes();
        let run = forwarder
            .datapath
            .run(controller::datapath::Hook::Xdp, &frame, forwarder.clients)
            .expect("run a SYN");
        assert_eq!(run.action, Action::Redirect);
        let server = tests::packet::endpoints(&run.frame).1.to_string();
        assert_eq!(forwarder.server(&server), table_entry(&forwarder, client));
        *counts.entry(server).or_default() += 1;
    }
    let statistic: f64 = SERVERS
        .iter()
        .map(|(address, weight)| {
            let expected = f64::from(FLOWS) * f64::from(*weight) / 160.0;
            (f64::from(counts[*address]) - expected).powi(2) / expected
        })
        .sum();
    // 2 degrees of freedom: p = 0.001 lies at 13.82.
    assert!(statistic < 13.82, "chi-square {statistic}: {counts:?}");
    let flows = forwarder.datapath.flows(tests::forwarder::now_secs()).expect("count flows").by_server;
    assert_eq!(flows.values().sum::<u64>(), u64::from(FLOWS));
}

// Holds SG-155
#[test]
fn a_draining_server_keeps_its_flows_and_gets_no_new_ones() {
    let Some(mut forwarder) = forwarder(&[("172.16.1.20:8080", 100), ("172.16.1.21:8080", 100)]) else {
        return;
    };
    let old: Vec<Connection> = (0..20).map(|number| Connection::open(&forwarder, client(number))).collect();
    assert!(old.iter().any(|connection| connection.server.to_string() == "172.16.1.20:8080"));
    forwarder.scenario.stands("tcp", "172.16.1.20:8080", |standing| standing.receives_new = false);
    forwarder.apply();
    for connection in &old {
        let outcome = forwarder.from_clients(&connection.request().ack());
        assert_eq!(Connection::of(connection.client, outcome.is_redirected()), *connection);
        forwarder.from_zone(&connection.reply().ack()).is_redirected();
    }
    for number in 100..160 {
        assert_eq!(Connection::open(&forwarder, client(number)).server.to_string(), "172.16.1.21:8080");
    }
}

// Holds SG-154, SG-226
#[test]
fn a_server_removed_without_a_drain_keeps_its_flows() {
    let Some(mut forwarder) = forwarder(&[("172.16.1.20:8080", 100)]) else { return };
    let connection = Connection::open(&forwarder, client(1));
    forwarder.scenario.group("tcp", &[("172.16.1.21:8080", 100)]);
    forwarder.apply();
    forwarder.from_clients(&connection.request().ack()).is_redirected();
    forwarder.from_zone(&connection.reply().ack()).is_redirected();
    assert_eq!(Connection::open(&forwarder, client(2)).server.to_string(), "172.16.1.21:8080");

    // Once its flows are over, its element is free.
    forwarder.from_zone(&connection.reply().rst()).is_redirected();
    forwarder.apply();
    let servers = &forwarder.datapath.state().live().server;
    assert_eq!(servers.values().filter(|server| server.identity != 0).count(), 1);
}

// Holds SG-153, SG-155
#[test]
fn flows_of_a_removed_server_end_with_its_drain() {
    let Some(mut forwarder) = forwarder(&[("172.16.1.20:8080", 100)]) else { return };
    let connection = Connection::open(&forwarder, client(1));
    // The group drains, and no standing is left of the server: the deadline has passed.
    forwarder.scenario.group("tcp", &[("172.16.1.21:8080", 100)]).drain("tcp", 30);
    forwarder.apply();
    forwarder.from_clients(&connection.request().ack()).is_dropped(DropReason::ServerGone);
    forwarder.from_zone(&connection.reply().ack()).is_dropped(DropReason::ServerGone);
}

// Holds SG-153, SG-155
#[test]
fn flows_of_a_failed_server_end_with_its_drain() {
    let Some(mut forwarder) = forwarder(&[("172.16.1.20:8080", 100), ("172.16.1.21:8080", 100)]) else {
        return;
    };
    forwarder.scenario.drain("tcp", 30);
    let connection = Connection::open(&forwarder, client(1));
    let fail = |standing: &mut controller::health::Standing| {
        standing.receives_new = false;
        standing.status = controller::health::Status::Unhealthy;
    };
    forwarder.scenario.stands("tcp", &connection.server.to_string(), fail);
    forwarder.apply();
    forwarder.from_clients(&connection.request().ack()).is_dropped(DropReason::ServerGone);
}

#[test]
fn the_next_holder_of_an_index_inherits_no_flows() {
    let Some(mut forwarder) = forwarder(&[("172.16.1.20:8080", 100)]) else { return };
    let connection = Connection::open(&forwarder, client(1));
    let index = forwarder.server("172.16.1.20:8080");
    // As if the flow had been overlooked: its server leaves although it lives.
    for servers in [&[][..], &[("172.16.1.21:8080", 100)][..]] {
        forwarder.scenario.group("tcp", servers);
        let change = forwarder.change_with(&Default::default()).expect("servers changed");
        forwarder.datapath.apply(&change).expect("apply");
    }
    assert_eq!(forwarder.server("172.16.1.21:8080"), index);
    forwarder.from_clients(&connection.request().ack()).is_dropped(DropReason::ServerGone);
    forwarder.from_zone(&connection.reply().ack()).is_dropped(DropReason::ServerGone);
    let fresh = Connection::open(&forwarder, client(2));
    assert_eq!(fresh.server.to_string(), "172.16.1.21:8080");
}

#[test]
fn sends_back_out_of_the_interface_a_packet_came_from() {
    let Some(forwarder) = forwarder(&[("172.16.1.20:8080", 100)]) else { return };
    let outcome = forwarder.from_zone(&syn(client(1)));
    outcome.is_sent_back();
    let connection = Connection::of(client(1), &outcome);
    forwarder.from_zone(&connection.reply().syn().ack()).is_sent_back();
}

#[test]
fn answers_follow_the_client_to_the_interface_it_used_first() {
    let Some(forwarder) = forwarder(&[("172.16.1.20:8080", 100)]) else { return };
    let router = [2, 0, 0, 0, 0x77, 1];
    let outcome = forwarder.from_clients(&syn(client(1)).ethernet(router, HOST_MAC));
    let connection = Connection::of(client(1), outcome.is_redirected());
    let expected = connection.translated_reply().syn().ack().ethernet(HOST_MAC, router);
    forwarder.from_zone(&connection.reply().syn().ack()).is_redirected().as_frame(&expected);
}

#[test]
fn serves_two_groups_apart() {
    let Some(mut forwarder) = forwarder(&[("172.16.1.20:8080", 100)]) else { return };
    forwarder.scenario.group("other", &[("172.16.1.20:8080", 100), ("172.16.1.30:22", 0)]);
    forwarder.scenario.group("third", &[("172.16.1.30:22", 100)]).listener(Tcp, 2222, "third");
    forwarder.apply();
    let outcome = forwarder.from_clients(&tcp(&format!("{} -> {VIP}:2222", client(1))).syn());
    assert_eq!(Connection::of(client(1), outcome.is_redirected()).server.to_string(), "172.16.1.30:22");
    assert_eq!(Connection::open(&forwarder, client(1)).server.to_string(), "172.16.1.20:8080");
}

/// Two CPUs at once: a SYN and its copies, as after a retransmission or on a network that duplicates.
#[test]
fn copies_of_a_syn_on_two_cpus_make_one_flow() {
    const CLIENTS: u32 = 3000;
    let Some(forwarder) = forwarder(&SERVERS) else { return };
    let frames: Vec<Vec<u8>> = (0..CLIENTS).map(|number| syn(client(number)).bytes()).collect();
    let start = std::sync::Barrier::new(2);
    let hammer = || {
        start.wait();
        let runs = frames.iter().map(|frame| {
            let hook = controller::datapath::Hook::Xdp;
            forwarder.datapath.run(hook, frame, forwarder.clients).expect("run a SYN").action
        });
        runs.filter(|action| *action == Action::Drop).count() as u64
    };
    let busy: u64 = std::thread::scope(|scope| {
        let other = scope.spawn(hammer);
        hammer() + other.join().expect("no panic")
    });
    let counters = forwarder.datapath.counters().expect("read counters");
    assert_eq!(counters.drops[&DropReason::FlowBusy], busy, "{:?}", counters.drops);
    assert_eq!(counters.drops.values().sum::<u64>(), busy);

    // Whatever was lost is repeated, and then every client has one flow and an address and port of its own.
    let connections: Vec<Connection> =
        (0..CLIENTS).map(|number| Connection::open(&forwarder, client(number))).collect();
    let nats: std::collections::BTreeSet<SocketAddrV4> =
        connections.iter().map(|connection| connection.nat).collect();
    assert_eq!(nats.len(), CLIENTS as usize);
    let flows = forwarder.datapath.flows(tests::forwarder::now_secs()).expect("count flows").by_server;
    assert_eq!(flows.values().sum::<u64>(), u64::from(CLIENTS));
    let counters = forwarder.datapath.counters().expect("read counters");
    assert_eq!(counters.vips[&forwarder.vip(9000)].flows, u64::from(CLIENTS));
    for connection in connections.iter().step_by(100) {
        forwarder.from_zone(&connection.reply().syn().ack()).is_redirected();
    }
}

#[test]
fn a_client_whose_server_has_gone_begins_again_at_another() {
    let Some(mut forwarder) = forwarder(&[("172.16.1.20:8080", 100)]) else { return };
    let first = Connection::open(&forwarder, client(1));
    forwarder.from_zone(&first.reply().syn().ack()).is_redirected();
    forwarder.from_clients(&first.request().ack()).is_redirected();
    forwarder.scenario.group("tcp", &[("172.16.1.21:8080", 100)]).drain("tcp", 0);
    forwarder.apply();
    forwarder.from_clients(&first.request().ack()).is_dropped(DropReason::ServerGone);
    // The same port again, long before the flow would have expired.
    let second = Connection::open(&forwarder, client(1));
    assert_eq!(second.server.to_string(), "172.16.1.21:8080");
    forwarder.from_zone(&second.reply().syn().ack()).is_redirected();
    forwarder.from_clients(&second.request().ack()).is_redirected();
}
