//! Flows that fell silent. Time does not pass in a test: the second in which a slot was last seen is set back.

use crate::connection::{Connection, client, syn};
use controller::model::ListenerProtocol::Tcp;
use forwarder_common::address::Be16;
use forwarder_common::flow::FlowKey;
use forwarder_common::nat::{self, Claim, NatSlot, idle_secs};
use forwarder_common::verdict::DropReason;
use tests::forwarder::{Forwarder, Plain, now_secs};

const NAT_ADDRESSES: u32 = 256;

fn forwarder() -> Option<Forwarder> {
    let mut forwarder = Forwarder::open()?;
    forwarder.scenario.group("tcp", &[("172.16.1.20:8080", 100)]).listener(Tcp, 9000, "tcp");
    forwarder.apply();
    Some(forwarder)
}

fn slot_of(connection: &Connection) -> u32 {
    let offset = u32::from(connection.nat.ip().octets()[3]);
    nat::slot_of(offset, Be16::new(connection.nat.port()), NAT_ADDRESSES).expect("a NAT port")
}

/// As if the flow had been silent for so long.
fn silence(forwarder: &Forwarder, connection: &Connection, seconds: u32) {
    let mut slots = forwarder.array::<NatSlot>("NAT_SLOTS");
    let index = slot_of(connection);
    let mut slot = slots.get(&index, 0).expect("read a slot").0;
    let claim = Claim::from_bits(slot.claim);
    slot.claim = Claim { seen: now_secs() - seconds, ..claim }.to_bits();
    slots.set(index, Plain(slot), 0).expect("write a slot");
}

fn establish(forwarder: &Forwarder, number: u32) -> Connection {
    let connection = Connection::open(forwarder, client(number));
    forwarder.from_zone(&connection.reply().syn().ack()).is_redirected();
    forwarder.from_clients(&connection.request().ack()).is_redirected();
    connection
}

fn is_over(forwarder: &Forwarder, connection: &Connection) {
    forwarder.from_clients(&connection.request().ack()).is_dropped(DropReason::NotSyn);
    forwarder.from_zone(&connection.reply().ack()).is_dropped(DropReason::NatMiss);
}

/// The second may change between setting a clock back and looking.
const SLACK: u32 = 5;

#[test]
fn a_flow_lasts_while_it_may_be_silent_and_no_longer() {
    let Some(forwarder) = forwarder() else { return };
    let opening = Connection::open(&forwarder, client(1));
    silence(&forwarder, &opening, idle_secs::OPENING - SLACK);
    forwarder.from_clients(&syn(opening.client)).is_redirected();
    silence(&forwarder, &opening, idle_secs::OPENING + SLACK);
    is_over(&forwarder, &opening);

    let established = establish(&forwarder, 2);
    silence(&forwarder, &established, idle_secs::ESTABLISHED - SLACK);
    forwarder.from_zone(&established.reply().ack()).is_redirected();
    // That packet counted as a sign of life.
    silence(&forwarder, &established, idle_secs::ESTABLISHED - SLACK);
    forwarder.from_clients(&established.request().ack()).is_redirected();
    silence(&forwarder, &established, idle_secs::ESTABLISHED + SLACK);
    is_over(&forwarder, &established);

    let closed = establish(&forwarder, 3);
    forwarder.from_clients(&closed.request().rst()).is_redirected();
    silence(&forwarder, &closed, idle_secs::CLOSED + SLACK);
    is_over(&forwarder, &closed);
}

#[test]
fn the_same_client_begins_again_at_once_after_its_flow_expired() {
    let Some(forwarder) = forwarder() else { return };
    for number in 0..20 {
        let first = establish(&forwarder, number);
        forwarder.from_clients(&first.request().rst()).is_redirected();
        silence(&forwarder, &first, idle_secs::CLOSED + SLACK);
        let second = establish(&forwarder, number);
        assert_eq!(second.nat, first.nat, "the same client finds the same slot");
    }
}

#[test]
fn whoever_takes_a_slot_deletes_the_entry_of_its_last_holder() {
    let Some(mut forwarder) = forwarder() else { return };
    // Few ports, so that slots are taken over: 64,512 for more clients than that.
    forwarder.scenario.node.nat_prefix = Some("172.16.100.0/32".parse().expect("a prefix"));
    forwarder.apply();
    let old: Vec<Connection> = (0..100).map(|number| Connection::open(&forwarder, client(number))).collect();
    let mut slots = forwarder.array::<NatSlot>("NAT_SLOTS");
    for connection in &old {
        let index = nat::slot_of(0, Be16::new(connection.nat.port()), 1).expect("a NAT port");
        let mut slot = slots.get(&index, 0).expect("read a slot").0;
        let claim = Claim::from_bits(slot.claim);
        slot.claim = Claim { seen: now_secs() - 1000, ..claim }.to_bits();
        slots.set(index, Plain(slot), 0).expect("write a slot");
    }
    let hook = controller::datapath::Hook::Xdp;
    let mut opened = 0;
    for number in 1000..70_000 {
        let run =
            forwarder.datapath.run(hook, &syn(client(number)).bytes(), forwarder.clients).expect("run a SYN");
        opened += usize::from(run.action == controller::datapath::Action::Redirect);
    }
    let flows = forwarder.hash_map::<FlowKey, u64>("FLOWS");
    let entries = flows.keys().filter(Result::is_ok).count();
    let left = old.iter().filter(|connection| flows.get(&Plain(connection.key()), 0).is_ok());
    let left = left.count();
    assert!(left < 20, "{left} of 100 slots were not taken over");
    assert_eq!(entries, opened + left, "one entry for every flow");
}
