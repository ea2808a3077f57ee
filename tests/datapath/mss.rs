//! The MSS option of SYNs, clamped to what the way to the server carries.

use crate::connection::{Connection, client};
use controller::model::ListenerProtocol::Tcp;
use tests::difference::assert_same_frame;
use tests::forwarder::Forwarder;
use tests::packet::{Packet, inner_frame, tcp};
use tests::scenario::{INNER_MAC, VIP, ZONE_MAC};

/// Through a tunnel of 1500 bytes: 1500 - 50 - 40.
const LIMIT: u16 = 1410;

/// TCP options of a SYN, and what they become.
fn cases() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let option = |mss: u16| [&[2, 4][..], &mss.to_be_bytes()].concat();
    let with = |before: &[u8], mss: u16, behind: &[u8]| [before, &option(mss), behind].concat();
    let clamped = |name, before: &[u8], mss: u16, behind: &[u8]| {
        (name, with(before, mss, behind), with(before, mss.min(LIMIT), behind))
    };
    let same = |name, options: &[u8]| (name, options.to_vec(), options.to_vec());
    vec![
        clamped("larger than the path carries", &[], 1460, &[]),
        clamped("the largest", &[], 65535, &[]),
        clamped("one too many", &[], LIMIT + 1, &[]),
        clamped("just right", &[], LIMIT, &[]),
        clamped("small", &[], 536, &[]),
        clamped("zero", &[], 0, &[]),
        clamped("behind a NOP, at an odd offset", &[1], 1460, &[]),
        clamped("odd, and bytes that carry", &[1], 0xffff, &[]),
        clamped("behind two NOPs", &[1, 1], 1460, &[]),
        clamped("behind a window scale of three bytes", &[3, 3, 7], 8960, &[1]),
        clamped("behind SACK permitted", &[4, 2], 1460, &[]),
        clamped("behind time stamps", &[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8], 9000, &[]),
        clamped("as Linux sends it", &[], 1460, &[4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]),
        clamped(
            "at the end of forty bytes",
            &[
                8, 36, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8,
                9, 0, 1, 2, 3,
            ],
            1460,
            &[],
        ),
        same("absent", &[]),
        same("absent among others", &[1, 1, 4, 2]),
        same("behind the end of the list", &[0, 2, 4, 5, 180, 0, 0, 0]),
        same("cut off by the header's end", &[1, 1, 2, 4]),
        same("behind an option of length 0", &[8, 0, 2, 4, 5, 180, 0, 0]),
        same("behind an option of length 1", &[8, 1, 2, 4, 5, 180, 0, 0]),
        same("behind an option longer than the header", &[8, 200, 2, 4, 5, 180, 0, 0]),
        same("of a wrong length", &[2, 6, 5, 180, 0, 0, 0, 0]),
    ]
}

fn forwarder() -> Option<Forwarder> {
    let mut forwarder = Forwarder::open()?;
    forwarder.scenario.group("tcp", &[("192.168.1.20:8080", 100)]).listener(Tcp, 9000, "tcp");
    forwarder.apply();
    Some(forwarder)
}

fn to_server(packet: Packet) -> Packet {
    packet.ethernet(ZONE_MAC, INNER_MAC)
}

// Holds XR-106
#[test]
fn clamps_the_clients_mss() {
    let Some(forwarder) = forwarder() else { return };
    for (number, (name, before, after)) in cases().into_iter().enumerate() {
        println!("{name}");
        let client = client(number as u32);
        let outcome = forwarder.from_clients(
            &tcp(&format!("{client} -> {VIP}:9000")).syn().tcp_options(&before).payload(b"odd"),
        );
        let connection = Connection::of(client, outcome.is_redirected());
        let expected = to_server(connection.translated_request().syn().tcp_options(&after).payload(b"odd"));
        assert_same_frame(inner_frame(&outcome.frame), &expected.bytes());
    }
}

// Holds XR-106
#[test]
fn clamps_the_servers_mss() {
    let Some(forwarder) = forwarder() else { return };
    for (number, (name, before, after)) in cases().into_iter().enumerate() {
        println!("{name}");
        let connection = Connection::open(&forwarder, client(number as u32));
        let reply = connection.tunnelled(&connection.reply().syn().ack().tcp_options(&before));
        let expected = connection.translated_reply().syn().ack().tcp_options(&after);
        let expected = expected.ethernet(tests::packet::HOST_MAC, tests::packet::PEER_MAC);
        forwarder.from_zone(&reply).is_redirected().as_frame(&expected);
    }
}

#[test]
fn leaves_the_options_of_other_segments_alone() {
    let Some(forwarder) = forwarder() else { return };
    let connection = Connection::open(&forwarder, client(1));
    let outcome = forwarder.from_clients(&connection.request().ack().mss(1460));
    let expected = to_server(connection.translated_request().ack().mss(1460));
    assert_same_frame(inner_frame(&outcome.is_redirected().frame), &expected.bytes());
}
