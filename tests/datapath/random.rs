//! Packets that nobody would send.

use crate::connection::{Connection, client, syn};
use controller::datapath::{Action, Hook};
use controller::model::ListenerProtocol::{Http, Tcp};
use std::net::Ipv4Addr;
use tests::difference::{assert_same_frame, hex};
use tests::forwarder::Forwarder;
use tests::packet::{Packet, frame, icmp, tcp, udp, vxlan};
use tests::random::Random;
use tests::scenario::{LOCAL_ADDRESS, TUNNEL_ADDRESS, VIP, VNI};

const PACKETS: u32 = 30_000;
const SEED: u64 = 20_260_101;

/// Good packets of every kind to start from.
fn seeds(connection: &Connection, remote: &Connection) -> Vec<Vec<u8>> {
    let answer = tcp(&format!("192.168.1.20:80 -> {LOCAL_ADDRESS}:4000")).ack().payload(b"HTTP/1.1 200 OK");
    let quote = answer.quoted(28);
    let packets: Vec<Packet> = vec![
        syn(client(77)),
        syn(client(78)).tcp_options(&[1, 2, 4, 5, 180, 3, 3, 7]),
        connection.request().ack().payload(b"request"),
        connection.reply().syn().ack().mss(1460),
        connection.reply().ack().payload(b"reply"),
        remote.tunnelled(&remote.reply().ack().payload(b"reply")),
        vxlan("172.16.1.254 -> 172.16.1.10", VNI, &answer),
        vxlan(
            "172.16.1.254 -> 172.16.1.10",
            VNI,
            &icmp("192.168.1.20 -> 172.16.1.101", 3, 4).payload(&quote),
        ),
        tcp("192.0.2.7:31337 -> 203.0.113.10:80").ack().payload(b"GET /"),
        udp("192.0.2.7:53 -> 198.51.100.7:53").payload(b"query"),
        icmp("192.0.2.7 -> 203.0.113.10", 8, 0),
    ];
    packets.iter().map(Packet::bytes).chain([frame(0x0806, &[0; 46])]).collect()
}

/// One of the seeds, changed in a few places, or nothing but noise.
fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    if random.below(20) == 0 {
        let length = 14 + random.below(200);
        let mut noise: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
        if random.below(2) == 0 && length >= 24 {
            noise[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, length as u8 - 14, 0, 0, 0, 0, 64, 6]);
        }
        return noise;
    }
    let mut frame = random.pick(seeds).clone();
    for _ in 0..random.below(4) {
        let place = random.below(frame.len());
        match random.below(3) {
            0 => frame[place] ^= 1 << random.below(8),
            1 => frame[place] = random.bits() as u8,
            _ => frame[place] = *random.pick(&[0, 1, 0x45, 0x46, 0x7f, 0x80, 0xff]),
        }
    }
    match random.below(6) {
        0 => frame.truncate(14 + random.below(frame.len() - 13)),
        1 => frame.extend((0..random.below(60)).map(|_| 0xaa)),
        _ => {}
    }
    frame
}

/// What may not be touched, whatever it is: read off the frame without the programs' own code.
fn is_foreign(frame: &[u8]) -> bool {
    let Some(ip) = frame.get(14..34) else { return true };
    let destination = Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]);
    let is_nat = destination.octets()[..3] == [172, 16, 100];
    let is_ours =
        is_nat || (destination == VIP && ip[9] == 6) || (destination == TUNNEL_ADDRESS && ip[9] == 17);
    frame[12..14] != [8, 0] || !is_ours
}

#[test]
fn whatever_comes_what_is_not_ours_is_not_touched() {
    let Some(mut forwarder) = Forwarder::open() else { return };
    forwarder.scenario.group("web", &[]).listener(Http, 80, "web");
    forwarder.scenario.group("tcp", &[("172.16.1.20:8080", 100), ("192.168.1.20:8080", 100)]);
    forwarder.scenario.listener(Tcp, 9000, "tcp");
    forwarder.apply();
    let connections: Vec<Connection> =
        (0..20).map(|number| Connection::open(&forwarder, client(number))).collect();
    let local = connections.iter().find(|connection| connection.hop.is_none()).expect("one of two");
    let remote = connections.iter().find(|connection| connection.hop.is_some()).expect("one of two");
    let seeds = seeds(local, remote);

    let seed = Random::seed(SEED);
    let mut random = Random::new(seed);
    let (mut foreign, mut dropped, mut sent) = (0, 0, 0);
    for number in 0..PACKETS {
        let frame = mutated(&mut random, &seeds);
        let hook = *random.pick(&[Hook::Xdp, Hook::Xdp, Hook::TcIngress]);
        let ifindex = *random.pick(&[forwarder.clients, forwarder.zone]);
        let told = || format!("packet {number} of SEED={seed}, {hook:?}: {}", hex(&frame));
        // A test run of TC takes no IPv4 frame without a whole header.
        if hook == Hook::TcIngress && frame.len() < 34 {
            continue;
        }
        let run = forwarder
            .datapath
            .run(hook, &frame, ifindex)
            .unwrap_or_else(|error| panic!("{error}; {}", told()));
        match run.action {
            Action::Pass if is_foreign(&frame) => {
                foreign += 1;
                assert!(run.frame == frame, "changed: {}", told());
            }
            Action::Pass => {}
            Action::Drop => dropped += 1,
            Action::SendBack | Action::Redirect => sent += 1,
            Action::Unexpected(_) => panic!("{:?}: {}", run.action, told()),
        }
        assert!(!is_foreign(&frame) || run.action == Action::Pass, "{:?}: {}", run.action, told());
    }
    // All ways were taken, so none of the above was said of nothing.
    assert!(
        foreign > PACKETS / 10 && dropped > PACKETS / 10 && sent > PACKETS / 100,
        "{foreign} {dropped} {sent}"
    );
    let drops = forwarder.datapath.counters().expect("read counters").drops;
    assert_eq!(drops.values().sum::<u64>(), u64::from(dropped), "every drop has its reason: {drops:?}");

    // The connections have survived what came under their names, unless it closed them.
    let fresh = Connection::open(&forwarder, client(500));
    let outcome = forwarder.from_clients(&fresh.request().ack());
    assert_same_frame(&outcome.sent, &fresh.request().ack().bytes());
    outcome.is_redirected();
}
