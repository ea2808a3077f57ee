//! Plans as text.

use super::*;
use crate::health::{Failure, FailureReason, GroupHealth, Outcome};
use crate::model::ListenerProtocol::{Http, Tcp};
use crate::model::{ConnectionDrain, HealthCheck, HealthCheckProtocol, SlowStart};
use crate::plan::{dump_change, dump_contents};
use forwarder_common::server::STATE_SERVING;

#[track_caller]
fn plans(world: &mut World, expected: &str) {
    let found = world.apply().map_or("nothing\n".into(), |change| dump_change(&change));
    assert!(found == expected, "found:\n{found}\nexpected:\n{expected}");
}

/// One L7 and one L4 listener; a server on a link and one behind the router.
fn world() -> World {
    let mut world = World::new();
    world.group("tcp", &[("172.16.1.20:8080", 100), ("192.168.1.20:8080", 50)]);
    world.listener(Http, 80, "tcp");
    world.listener(Tcp, 9000, "tcp");
    world
}

#[test]
fn first_apply() {
    plans(
        &mut world(),
        "\
prepare
  write table 0: server 0 x43691, server 1 x21846
  set next hop 0[1] vxlan 172.16.1.10 -> 172.16.1.253 vni 101 if 4 mtu 1450
  set next hop 1[1] vxlan 172.16.1.10 -> 172.16.1.254 vni 101 if 4 mtu 1450
  set next hop 2[1] direct 172.16.1.20 if 4 mtu 1500
  set hop group 0[1] hop 0 x125, hop 1 x126
  set server 0[1] 172.16.1.20:8080 via next hop 2, generation 1
  set server 1[1] 192.168.1.20:8080 via hop group 0, generation 1
  set vip 0[1] L7
  set vip 1[1] L4 table 0
  set settings[1] nat 172.16.100.0/24 vxlan 4789 exclusive
  insert vip key 203.0.113.10:0/6 -> address only
  insert vip key 203.0.113.10:9000/6 -> vip 1
  insert vip key 203.0.113.10:80/6 -> vip 0
  insert route from 172.16.100.0 to 192.168.0.0/16 -> hop group 0
  insert route from 172.16.1.101 to 192.168.0.0/16 -> hop group 0
  insert route from 172.16.1.102 to 192.168.0.0/16 -> hop group 0
  insert tunnel 172.16.1.253 -> 172.16.1.10 vni 101 -> next hop 0
  insert tunnel 172.16.1.253 -> 172.16.1.10 vni any -> known
  insert tunnel 172.16.1.254 -> 172.16.1.10 vni 101 -> next hop 1
  insert tunnel 172.16.1.254 -> 172.16.1.10 vni any -> known
  insert local address 172.16.1.101
  insert local address 172.16.1.102
commit epoch 1
",
    );
}

#[test]
fn nothing_to_do_when_nothing_changes() {
    let mut world = world();
    world.apply();
    plans(&mut world, "nothing\n");
    // Time alone changes nothing either, nor does another order of writing.
    world.now = world.now + Duration::from_secs(3600);
    world.group("tcp", &[("192.168.1.20:8080", 50), ("172.16.1.20:8080", 100)]);
    plans(&mut world, "nothing\n");
}

#[test]
fn a_listener_comes_and_goes() {
    let mut world = world();
    world.apply();
    world.listener(Tcp, 9001, "tcp");
    plans(
        &mut world,
        "\
prepare
  set next hop 0[0] vxlan 172.16.1.10 -> 172.16.1.253 vni 101 if 4 mtu 1450
  set next hop 1[0] vxlan 172.16.1.10 -> 172.16.1.254 vni 101 if 4 mtu 1450
  set next hop 2[0] direct 172.16.1.20 if 4 mtu 1500
  set hop group 0[0] hop 0 x125, hop 1 x126
  set server 0[0] 172.16.1.20:8080 via next hop 2, generation 1
  set server 1[0] 192.168.1.20:8080 via hop group 0, generation 1
  set vip 0[0] L7
  set vip 1[0] L4 table 0
  set vip 2[0] L4 table 0
  set settings[0] nat 172.16.100.0/24 vxlan 4789 exclusive
  insert vip key 203.0.113.10:9001/6 -> vip 2
commit epoch 2
",
    );
    world.resources.listeners.retain(|_, listener| listener.port.get() != 9000);
    plans(
        &mut world,
        "\
prepare
  set vip 1[1] free
  set vip 2[1] L4 table 0
commit epoch 3
cleanup
  remove vip key 203.0.113.10:9000/6
",
    );
}

#[test]
fn the_last_l4_listener_takes_servers_tables_and_nat_prefix_with_it() {
    let mut world = world();
    world.apply();
    world.resources.listeners.retain(|_, listener| listener.protocol == Http);
    plans(
        &mut world,
        "\
prepare
  set next hop 0[0] vxlan 172.16.1.10 -> 172.16.1.253 vni 101 if 4 mtu 1450
  set next hop 1[0] vxlan 172.16.1.10 -> 172.16.1.254 vni 101 if 4 mtu 1450
  set hop group 0[0] hop 0 x125, hop 1 x126
  set server 0[0] free, generation 1
  set server 1[0] free, generation 1
  set vip 0[0] L7
  set settings[0] nat 0.0.0.0/0 vxlan 4789 exclusive
commit epoch 2
cleanup
  remove vip key 203.0.113.10:0/6
  remove vip key 203.0.113.10:9000/6
  remove route from 172.16.100.0 to 192.168.0.0/16
",
    );
}

#[test]
fn a_route_comes_and_goes() {
    let mut world = World::new();
    world.apply();
    world.vpc("vpc1", &[("192.168.0.0/16", "tr1"), ("10.0.0.0/8", "tr1")]);
    plans(
        &mut world,
        "\
prepare
  set next hop 0[0] vxlan 172.16.1.10 -> 172.16.1.253 vni 101 if 4 mtu 1450
  set next hop 1[0] vxlan 172.16.1.10 -> 172.16.1.254 vni 101 if 4 mtu 1450
  set hop group 0[0] hop 0 x125, hop 1 x126
  set hop group 1[0] hop 0 x125, hop 1 x126
  set settings[0] nat 0.0.0.0/0 vxlan 4789 exclusive
  insert route from 172.16.1.101 to 10.0.0.0/8 -> hop group 1
  insert route from 172.16.1.102 to 10.0.0.0/8 -> hop group 1
commit epoch 2
",
    );
    world.vpc("vpc1", &[("10.0.0.0/8", "tr1")]);
    plans(
        &mut world,
        "\
prepare
  set hop group 0[1] free
  set hop group 1[1] hop 0 x125, hop 1 x126
commit epoch 3
cleanup
  remove route from 172.16.1.101 to 192.168.0.0/16
  remove route from 172.16.1.102 to 192.168.0.0/16
",
    );
}

#[test]
fn a_hop_changes_its_vni() {
    let mut world = World::new();
    world.apply();
    world.router("tr1", &[("172.16.1.253", 101, 100), ("172.16.1.254", 202, 100)]);
    plans(
        &mut world,
        "\
prepare
  set next hop 0[0] vxlan 172.16.1.10 -> 172.16.1.253 vni 101 if 4 mtu 1450
  set next hop 2[0] vxlan 172.16.1.10 -> 172.16.1.254 vni 202 if 4 mtu 1450
  set hop group 0[0] hop 0 x125, hop 2 x126
  set settings[0] nat 0.0.0.0/0 vxlan 4789 exclusive
  insert tunnel 172.16.1.254 -> 172.16.1.10 vni 202 -> next hop 2
commit epoch 2
cleanup
  remove tunnel 172.16.1.254 -> 172.16.1.10 vni 101
",
    );
}

#[test]
fn a_local_address_moves_to_another_vpc() {
    let mut world = World::new();
    world.vpc("vpc2", &[("192.168.0.0/16", "tr2")]);
    world.router("tr2", &[("172.16.1.252", 7, 100)]);
    world.balancer("lb2", "vpc2", "203.0.113.11", &["172.16.1.103"]);
    world.balancer("lb", "vpc1", "203.0.113.10", &["172.16.1.101"]);
    world.apply();
    world.balancer("lb", "vpc2", "203.0.113.10", &["172.16.1.101"]);
    // The key is never without an element for longer than its removal takes.
    plans(
        &mut world,
        "\
prepare
  set next hop 2[0] vxlan 172.16.1.10 -> 172.16.1.252 vni 7 if 4 mtu 1450
  set hop group 1[0] hop 2 x251
  set settings[0] nat 0.0.0.0/0 vxlan 4789 exclusive
commit epoch 2
cleanup
  remove route from 172.16.1.101 to 192.168.0.0/16
  remove tunnel 172.16.1.253 -> 172.16.1.10 vni 101
  remove tunnel 172.16.1.253 -> 172.16.1.10 vni any
  remove tunnel 172.16.1.254 -> 172.16.1.10 vni 101
  remove tunnel 172.16.1.254 -> 172.16.1.10 vni any
  insert route from 172.16.1.101 to 192.168.0.0/16 -> hop group 1
",
    );
    plans(&mut world, "nothing\n");
}

// Holds SG-90
#[test]
fn a_server_without_weight_has_an_element_and_no_share() {
    let mut world = world();
    world.group("tcp", &[("172.16.1.20:8080", 0)]);
    world.apply();
    assert_eq!(
        servers_and_tables(&world),
        "\
table 0: none x65537
server 0: 172.16.1.20:8080 via next hop 2, generation 1
"
    );
}

#[test]
fn what_is_not_resolved_is_planned_all_the_same() {
    let mut world = world();
    world.unresolved = ["172.16.1.20", "172.16.1.254"].map(|address| address.parse().unwrap()).into();
    let change = dump_change(&world.apply().expect("a first plan"));
    assert_eq!(change.lines().filter(|line| line.ends_with(", unresolved")).count(), 2, "{change}");
    world.unresolved.clear();
    plans(
        &mut world,
        "\
prepare
  set next hop 0[0] vxlan 172.16.1.10 -> 172.16.1.253 vni 101 if 4 mtu 1450
  set next hop 1[0] vxlan 172.16.1.10 -> 172.16.1.254 vni 101 if 4 mtu 1450
  set next hop 2[0] direct 172.16.1.20 if 4 mtu 1500
  set hop group 0[0] hop 0 x125, hop 1 x126
  set server 0[0] 172.16.1.20:8080 via next hop 2, generation 1
  set server 1[0] 192.168.1.20:8080 via hop group 0, generation 1
  set vip 0[0] L7
  set vip 1[0] L4 table 0
  set settings[0] nat 172.16.100.0/24 vxlan 4789 exclusive
commit epoch 2
",
    );
}

/// The lines of a dump that concern servers.
pub(super) fn servers_and_tables(world: &World) -> String {
    let dump = dump_contents(&world.wanted().expect("fits the tables"));
    let lines = dump.lines().filter(|line| line.starts_with("server") || line.starts_with("table"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// A world whose standings come from the health of the group `tcp`.
pub(super) struct Healthy {
    pub world: World,
    pub health: GroupHealth,
}

impl Healthy {
    pub fn new(change: impl Fn(&mut ServerGroup)) -> Healthy {
        let mut world = world();
        let group = world.group("tcp", &[("172.16.1.20:8080", 100)]);
        change(group);
        let (health, _) = GroupHealth::new(group, &BTreeSet::new(), Moment::from_nanos(1_000_000_000_000));
        let mut healthy = Healthy { world, health };
        healthy.apply();
        healthy
    }

    pub fn apply(&mut self) -> Option<Change> {
        let standings = self.health.standings().collect();
        self.world.standings.insert(ServerGroupName::new("tcp"), standings);
        self.world.apply()
    }

    /// Another set of servers, the group's settings as they were.
    pub fn servers(&mut self, servers: &[(&str, u32)]) {
        let name = ServerGroupName::new("tcp");
        let before = self.world.resources.server_groups[&name].clone();
        let servers = self.world.group("tcp", servers).servers.clone();
        let group = ServerGroup { servers, ..before };
        self.health.update(&group, &BTreeSet::new(), self.world.now);
        self.world.resources.server_groups.insert(name, group);
    }

    pub fn wait(&mut self, seconds: u64) {
        self.world.now = self.world.now + Duration::from_secs(seconds);
        self.health.tick(self.world.now);
    }
}

// Holds SG-133
#[test]
fn a_slow_start_changes_the_table_in_eight_steps() {
    let mut healthy = Healthy::new(|group| {
        group.slow_start = Some(SlowStart { duration: Duration::from_secs(30) });
    });
    healthy.wait(10);
    healthy.servers(&[("172.16.1.20:8080", 100), ("172.16.1.21:8080", 100)]);
    let began = healthy.world.now;
    let mut text = String::new();
    loop {
        let change = healthy.apply().expect("every step changes the table");
        let writes: Vec<String> = dump_change(&change)
            .lines()
            .filter(|line| line.contains("table"))
            .map(|line| line.trim().to_owned())
            .collect();
        text += &format!("{:>6.2} s {}\n", healthy.world.now.since(began).as_secs_f64(), writes.join("; "));
        let Some(next) = healthy.health.next_deadline(healthy.world.now) else { break };
        // A moment before, there is nothing to do.
        healthy.world.now = Moment::from_nanos(next.as_nanos() - 1);
        assert!(healthy.apply().is_none());
        healthy.world.now = next;
        healthy.health.tick(next);
    }
    assert_eq!(
        text,
        "\
\x20 0.00 s write table 1: server 0 x59579, server 1 x5958; set vip 1[0] L4 table 1
  3.75 s write table 0: server 0 x55212, server 1 x10325
  7.50 s write table 1: server 0 x49951, server 1 x15586
 11.25 s write table 0: server 0 x45607, server 1 x19930
 15.00 s write table 1: server 0 x41957, server 1 x23580
 18.75 s write table 0: server 0 x38848, server 1 x26689
 22.50 s write table 1: server 0 x36168, server 1 x29369
 26.25 s write table 0: server 0 x33834, server 1 x31703
 30.00 s write table 1: server 0 x32768, server 1 x32769
"
    );
}

// Holds SG-153, SG-155
#[test]
fn a_removed_server_drains_and_is_then_free() {
    let mut healthy = Healthy::new(|group| {
        group.connection_drain = Some(ConnectionDrain { timeout: Duration::from_secs(30) });
    });
    healthy.servers(&[("172.16.1.20:8080", 100), ("172.16.1.21:8080", 100)]);
    healthy.apply();
    healthy.servers(&[("172.16.1.21:8080", 100)]);
    let change = healthy.apply().expect("the weight leaves the table");
    assert_eq!(
        dump_change(&change),
        "\
prepare
  write table 0: server 1 x65537
  set next hop 3[1] direct 172.16.1.21 if 4 mtu 1500
  set server 0[1] 172.16.1.20:8080 via next hop 2, generation 1, draining
  set server 1[1] 172.16.1.21:8080 via next hop 3, generation 1
commit epoch 3
"
    );
    // It has flows to the end, which its drain's end cuts.
    healthy.world.in_use = BTreeSet::from([0]);
    healthy.wait(29);
    assert!(healthy.apply().is_none());
    healthy.wait(1);
    let change = healthy.apply().expect("the drain is over");
    assert_eq!(
        dump_change(&change),
        "\
prepare
  set next hop 2[0] free
  set server 0[0] free, generation 1
  set server 1[0] 172.16.1.21:8080 via next hop 3, generation 1
  set vip 1[0] L4 table 0
commit epoch 4
"
    );
    // Who comes next gets the index under another generation.
    healthy.servers(&[("172.16.1.21:8080", 100), ("172.16.1.22:8080", 100)]);
    healthy.apply();
    assert_eq!(
        servers_and_tables(&healthy.world),
        "\
table 1: server 0 x32769, server 1 x32768
server 0: 172.16.1.22:8080 via next hop 2, generation 2
server 1: 172.16.1.21:8080 via next hop 3, generation 1
"
    );
}

#[test]
fn a_drain_goes_on_under_the_next_process() {
    let mut healthy = Healthy::new(|group| {
        group.connection_drain = Some(ConnectionDrain { timeout: Duration::from_secs(30) });
    });
    healthy.servers(&[("172.16.1.20:8080", 100), ("172.16.1.21:8080", 100)]);
    healthy.apply();
    // Another process removed the first server and ended: nobody knows of its drain.
    healthy.servers(&[("172.16.1.21:8080", 100)]);
    healthy.wait(60);
    healthy.world.known_since = healthy.world.now;
    healthy.world.in_use = BTreeSet::from([0]);
    healthy.apply();
    healthy.wait(29);
    assert!(healthy.apply().is_none(), "it may have begun just before");
    assert!(servers_and_tables(&healthy.world).contains("server 0: 172.16.1.20:8080"));
    healthy.wait(1);
    healthy.apply().expect("its time is up");
    assert!(!servers_and_tables(&healthy.world).contains("172.16.1.20:8080"));
}

// Holds SG-154
#[test]
fn a_removed_server_without_drain_keeps_its_element_while_it_has_flows() {
    let mut healthy = Healthy::new(|_| {});
    healthy.servers(&[("172.16.1.20:8080", 100), ("172.16.1.21:8080", 100)]);
    healthy.apply();
    healthy.servers(&[("172.16.1.21:8080", 100)]);
    healthy.world.in_use = BTreeSet::from([0, 1]);
    healthy.apply().expect("the weight leaves the table");
    let server = healthy.world.maps.live().server[&0];
    assert_eq!((server.state, server.generation), (STATE_SERVING, 1));
    assert_eq!((server.weight, server.table), (0, 0), "its share of table 1 is forgotten");
    healthy.wait(100_000);
    assert!(healthy.apply().is_none());
    healthy.world.in_use = BTreeSet::from([1]);
    let change = healthy.apply().expect("no flow holds it");
    assert_eq!(
        dump_change(&change),
        "\
prepare
  set next hop 2[0] free
  set server 0[0] free, generation 1
  set server 1[0] 172.16.1.21:8080 via next hop 3, generation 1
  set vip 1[0] L4 table 0
commit epoch 4
"
    );
}

// Holds SG-154
#[test]
fn a_removed_server_behind_a_router_keeps_its_element_while_there_is_a_route() {
    let mut world = world();
    world.apply();
    world.in_use = BTreeSet::from([0, 1]);
    world.group("tcp", &[("172.16.1.20:8080", 100)]);
    world.apply();
    let kept = "server 1: 192.168.1.20:8080 via hop group 0, generation 1\n";
    assert!(servers_and_tables(&world).contains(kept));
    world.vpc("vpc1", &[]);
    world.apply();
    assert!(servers_and_tables(&world).contains("server 1: free, generation 1\n"));
}

// Holds SG-153, SG-155, SG-159
#[test]
fn a_failed_server_drains_and_is_then_gone() {
    let mut healthy = Healthy::new(|group| {
        group.connection_drain = Some(ConnectionDrain { timeout: Duration::from_secs(30) });
        group.health_check = Some(checks());
    });
    healthy.servers(&[("172.16.1.20:8080", 100), ("172.16.1.21:8080", 100)]);
    healthy.apply();
    for _ in 0..3 {
        healthy.wait(2);
        healthy.health.probed(server_address("172.16.1.21:8080"), Outcome::Passed, healthy.world.now);
        healthy.health.probed(server_address("172.16.1.20:8080"), failed(), healthy.world.now);
    }
    healthy.apply();
    assert_eq!(
        servers_and_tables(&healthy.world),
        "\
table 1: server 1 x65537
server 0: 172.16.1.20:8080 via next hop 2, generation 1, draining
server 1: 172.16.1.21:8080 via next hop 3, generation 1
"
    );
    healthy.wait(30);
    healthy.apply();
    assert_eq!(
        servers_and_tables(&healthy.world),
        "\
table 1: server 1 x65537
server 0: 172.16.1.20:8080 via next hop 2, generation 1, draining, gone
server 1: 172.16.1.21:8080 via next hop 3, generation 1
"
    );
    for _ in 0..3 {
        healthy.wait(2);
        healthy.health.probed(server_address("172.16.1.20:8080"), Outcome::Passed, healthy.world.now);
    }
    healthy.apply();
    // Under another generation: what was cut stays cut.
    assert_eq!(
        servers_and_tables(&healthy.world),
        "\
table 0: server 0 x32768, server 1 x32769
server 0: 172.16.1.20:8080 via next hop 2, generation 2
server 1: 172.16.1.21:8080 via next hop 3, generation 1
"
    );
}

#[test]
fn after_a_restart_the_table_of_before_holds_until_something_is_known() {
    let mut healthy = Healthy::new(|group| group.health_check = Some(checks()));
    healthy.servers(&[("172.16.1.20:8080", 100), ("172.16.1.21:8080", 100)]);
    for _ in 0..3 {
        healthy.wait(2);
        healthy.health.probed(server_address("172.16.1.21:8080"), Outcome::Passed, healthy.world.now);
    }
    healthy.apply();
    let before = servers_and_tables(&healthy.world);
    let group = healthy.world.resources.server_groups[&ServerGroupName::new("tcp")].clone();
    // A new process has the maps, and no memory of probes.
    (healthy.health, _) = GroupHealth::new(&group, &BTreeSet::new(), healthy.world.now);
    healthy.apply();
    assert_eq!(servers_and_tables(&healthy.world), before);
    // But nobody stays in it who has left meanwhile.
    healthy.servers(&[("172.16.1.20:8080", 100)]);
    healthy.apply();
    assert!(servers_and_tables(&healthy.world).contains("server 0 x65537"));
}

pub(super) fn failed() -> Outcome {
    Outcome::Failed(Failure {
        reason: FailureReason::ConnectFailed,
        actual: None,
        expected: None,
        detail: String::new(),
    })
}

pub(super) fn checks() -> HealthCheck {
    HealthCheck {
        protocol: HealthCheckProtocol::Tcp,
        connect_port: None,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(5),
        healthy_threshold: 3,
        unhealthy_threshold: 3,
    }
}

// Holds XR-108
#[test]
fn flows_of_a_next_hop_that_cannot_be_reached_go_to_the_others() {
    let mut world = World::new();
    let unreachable = |world: &mut World, addresses: &[&str]| -> BTreeSet<Option<u16>> {
        world.unresolved = addresses.iter().map(|address| address.parse().unwrap()).collect();
        world.apply();
        let group = *world.maps.live().hop_group.values().next().expect("the route to tr1");
        assert_eq!(group.count, 2, "answers of both are accepted");
        (0..1000u64).map(|flow| group.pick(flow.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
    };
    let both = unreachable(&mut world, &[]);
    assert_eq!(both.len(), 2);
    let one = unreachable(&mut world, &["172.16.1.254"]);
    assert!(one.len() == 1 && both.is_superset(&one), "{one:?}");
    // With none left, each may be the first to come back.
    assert_eq!(unreachable(&mut world, &["172.16.1.253", "172.16.1.254"]), both);
    assert_eq!(unreachable(&mut world, &[]), both);
}
