//! Servers that take new flows again while they drain.

use super::golden::{Healthy, checks, failed, servers_and_tables};
use super::server_address;
use crate::health::Outcome;
use crate::model::{ConnectionDrain, ServerGroupName};
use std::collections::BTreeSet;
use std::time::Duration;

const SERVERS: [(&str, u32); 2] = [("172.16.1.20:8080", 100), ("172.16.1.21:8080", 100)];

/// Two servers under checks, of which the first is about to fail; drains take 30 s.
fn failing() -> Healthy {
    let mut healthy = Healthy::new(|group| {
        group.connection_drain = Some(ConnectionDrain { timeout: Duration::from_secs(30) });
        group.health_check = Some(checks());
    });
    healthy.servers(&SERVERS);
    probe(&mut healthy, &[Outcome::Passed, Outcome::Passed]);
    healthy
}

/// As often as it takes to be believed, every 2 s.
fn probe(healthy: &mut Healthy, outcomes: &[Outcome]) {
    for _ in 0..3 {
        healthy.wait(2);
        for ((server, _), outcome) in SERVERS.iter().zip(outcomes) {
            healthy.health.probed(server_address(server), outcome.clone(), healthy.world.now);
        }
    }
    healthy.apply();
}

// Holds SG-155, SG-159
#[test]
fn a_server_that_recovers_while_it_drains_takes_new_flows_in_another_element() {
    let mut healthy = failing();
    probe(&mut healthy, &[failed(), Outcome::Passed]);
    healthy.world.in_use = BTreeSet::from([0, 1]);
    probe(&mut healthy, &[Outcome::Passed, Outcome::Passed]);
    assert_eq!(
        servers_and_tables(&healthy.world),
        "\
table 1: server 1 x32769, server 2 x32768
server 0: 172.16.1.20:8080 via next hop 2, generation 1, draining
server 1: 172.16.1.21:8080 via next hop 3, generation 1
server 2: 172.16.1.20:8080 via next hop 2, generation 1
"
    );
    // The drain began 6 s ago.
    healthy.world.in_use = BTreeSet::from([0, 1, 2]);
    healthy.wait(23);
    assert!(healthy.apply().is_none());
    healthy.wait(1);
    healthy.apply().expect("the drain is over");
    assert_eq!(
        servers_and_tables(&healthy.world),
        "\
table 1: server 1 x32769, server 2 x32768
server 0: free, generation 1
server 1: 172.16.1.21:8080 via next hop 3, generation 1
server 2: 172.16.1.20:8080 via next hop 2, generation 1
"
    );
}

// Holds SG-159
#[test]
fn each_drain_ends_the_flows_that_began_before_it() {
    let mut healthy = failing();
    healthy.world.in_use = BTreeSet::from([0, 1, 2]);
    for _ in 0..2 {
        probe(&mut healthy, &[failed(), Outcome::Passed]);
        probe(&mut healthy, &[Outcome::Passed, Outcome::Passed]);
    }
    let elements = |healthy: &Healthy| -> Vec<String> {
        let dump = servers_and_tables(&healthy.world);
        let lines = dump.lines().filter(|line| line.starts_with("server") && !line.contains("1.21"));
        lines.map(|line| line.replace("172.16.1.20:8080 via next hop 2, generation ", "")).collect()
    };
    assert_eq!(elements(&healthy), ["server 0: 1, draining", "server 2: 1, draining", "server 3: 1"]);
    // The drains began 18 s and 6 s ago.
    healthy.wait(12);
    healthy.apply();
    assert_eq!(elements(&healthy), ["server 0: free, generation 1", "server 2: 1, draining", "server 3: 1"]);
    healthy.wait(12);
    healthy.apply();
    assert_eq!(
        elements(&healthy),
        ["server 0: free, generation 1", "server 2: free, generation 1", "server 3: 1"]
    );
}

// Holds SG-155, SG-159
#[test]
fn a_drain_in_progress_does_not_concern_the_element_that_a_server_recovers_in() {
    let mut healthy = failing();
    healthy.world.in_use = BTreeSet::from([0, 2]);
    probe(&mut healthy, &[failed(), Outcome::Passed]);
    probe(&mut healthy, &[Outcome::Passed, Outcome::Passed]);
    probe(&mut healthy, &[failed(), Outcome::Passed]);
    // The drains began 12 s ago and now. As the first ends, its element is free for the next beginning.
    healthy.wait(18);
    healthy.apply();
    probe(&mut healthy, &[Outcome::Passed, Outcome::Passed]);
    let elements = "\
server 0: 172.16.1.20:8080 via next hop 2, generation 2
server 1: 172.16.1.21:8080 via next hop 3, generation 1
";
    let draining = "server 2: 172.16.1.20:8080 via next hop 2, generation 1, draining\n";
    let dump = servers_and_tables(&healthy.world);
    assert!(dump.ends_with(&format!("{elements}{draining}")), "{dump}");
    healthy.wait(6);
    healthy.apply();
    let dump = servers_and_tables(&healthy.world);
    assert!(dump.ends_with(&format!("{elements}server 2: free, generation 1\n")), "{dump}");
}

// Holds SG-158
#[test]
fn a_server_added_again_while_it_drains_begins_in_another_element() {
    let mut healthy = Healthy::new(|group| {
        group.connection_drain = Some(ConnectionDrain { timeout: Duration::from_secs(30) });
    });
    healthy.servers(&SERVERS);
    healthy.apply();
    healthy.world.in_use = BTreeSet::from([0]);
    healthy.servers(&SERVERS[1..]);
    healthy.apply();
    healthy.wait(10);
    healthy.servers(&SERVERS);
    healthy.apply();
    assert_eq!(
        servers_and_tables(&healthy.world),
        "\
table 1: server 1 x32769, server 2 x32768
server 0: 172.16.1.20:8080 via next hop 2, generation 1, draining
server 1: 172.16.1.21:8080 via next hop 3, generation 1
server 2: 172.16.1.20:8080 via next hop 2, generation 1
"
    );
    healthy.wait(20);
    healthy.apply();
    assert!(servers_and_tables(&healthy.world).contains("server 0: free, generation 1"));
}

// Holds SG-161
#[test]
fn fail_open_cancels_the_drain_of_a_failed_server() {
    let mut healthy = failing();
    probe(&mut healthy, &[failed(), Outcome::Passed]);
    assert!(
        servers_and_tables(&healthy.world)
            .contains("server 0: 172.16.1.20:8080 via next hop 2, generation 1, draining")
    );
    probe(&mut healthy, &[failed(), failed()]);
    assert_eq!(
        servers_and_tables(&healthy.world),
        "\
table 1: server 0 x32768, server 1 x32769
server 0: 172.16.1.20:8080 via next hop 2, generation 1
server 1: 172.16.1.21:8080 via next hop 3, generation 1
"
    );
    healthy.wait(30);
    assert!(healthy.apply().is_none(), "nothing is cut");
}

// Holds SG-151
#[test]
fn without_time_to_drain_the_flows_of_a_removed_server_end_at_once() {
    let mut healthy = Healthy::new(|group| {
        group.connection_drain = Some(ConnectionDrain { timeout: Duration::ZERO });
    });
    healthy.servers(&SERVERS);
    healthy.apply();
    healthy.world.in_use = BTreeSet::from([0, 1]);
    healthy.servers(&SERVERS[1..]);
    healthy.apply();
    assert!(servers_and_tables(&healthy.world).contains("server 0: free, generation 1"));
}

// Holds SG-155
#[test]
fn a_drain_ends_at_its_own_deadline_under_the_next_process() {
    let mut healthy = failing();
    healthy.world.in_use = BTreeSet::from([0, 1]);
    healthy.servers(&SERVERS[1..]);
    healthy.apply();
    healthy.wait(10);
    // The next process knows the configuration and the maps.
    healthy.world.known_since = healthy.world.now;
    let group = healthy.world.resources.server_groups.values().next().expect("one group").clone();
    (healthy.health, _) = crate::health::GroupHealth::new(&group, &BTreeSet::new(), healthy.world.now);
    healthy.apply();
    healthy.wait(19);
    assert!(healthy.apply().is_none());
    healthy.wait(1);
    healthy.apply().expect("30 s after it began");
    assert!(servers_and_tables(&healthy.world).contains("server 0: free, generation 1"));
}

// Holds SG-155
#[test]
fn flows_of_a_group_that_no_listener_uses_any_more_last() {
    let mut healthy = Healthy::new(|group| {
        group.connection_drain = Some(ConnectionDrain { timeout: Duration::from_secs(30) });
    });
    healthy.servers(&SERVERS);
    healthy.apply();
    healthy.world.in_use = BTreeSet::from([0]);
    healthy.world.group("other", &[("172.16.1.30:8080", 100)]);
    for listener in healthy.world.resources.listeners.values_mut() {
        listener.server_group = ServerGroupName::new("other");
    }
    // Longer than a drain takes, so that one that was forgotten would be over.
    healthy.wait(31);
    healthy.apply();
    let dump = servers_and_tables(&healthy.world);
    assert!(dump.contains("server 0: 172.16.1.20:8080 via next hop 2, generation 1\n"), "{dump}");
    assert!(dump.contains("server 1: free, generation 1"), "{dump}");
}
