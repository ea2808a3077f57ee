mod random;

use super::*;
use crate::health::machine::{DrainCause, DrainEnd};
use crate::health::{FailureReason, MemberId, Tally};
use crate::model::{ConnectionDrain, HealthCheckProtocol, Server, VpcName};
use std::net::IpAddr;
use std::num::NonZeroU16;

const FAIL_OPEN_BEGINS: GroupNotice = GroupNotice::FailOpen { zone: None, begins: true };
const FAIL_OPEN_ENDS: GroupNotice = GroupNotice::FailOpen { zone: None, begins: false };
const RAMP: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Moment {
    Moment::from_nanos(seconds * 1_000_000_000)
}

fn address(last: u8) -> ServerAddress {
    ServerAddress { ip: [172, 16, 1, last].into(), port: NonZeroU16::new(80).unwrap() }
}

fn weight(weight: u32) -> Weight {
    Weight::new(weight).unwrap()
}

fn check() -> HealthCheck {
    HealthCheck {
        protocol: HealthCheckProtocol::Tcp,
        connect_port: None,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(5),
        healthy_threshold: 3,
        unhealthy_threshold: 3,
    }
}

/// A group of servers (last byte of the address, weight) with everything on.
fn config(servers: &[(u8, u32)]) -> ServerGroup {
    ServerGroup {
        health_check: Some(check()),
        slow_start: Some(SlowStart { duration: RAMP }),
        connection_drain: Some(ConnectionDrain { timeout: Duration::from_secs(15) }),
        servers: servers.iter().map(|(last, w)| Server::new(address(*last), weight(*w))).collect(),
        ..ServerGroup::new("web", &VpcName::new("vpc1"))
    }
}

fn unchecked(servers: &[(u8, u32)]) -> ServerGroup {
    ServerGroup { health_check: None, ..config(servers) }
}

fn failure() -> Failure {
    Failure { reason: FailureReason::ConnectFailed, actual: None, expected: None, detail: String::new() }
}

fn new(group: &ServerGroup) -> GroupHealth {
    GroupHealth::new(group, &BTreeSet::new(), at(0)).0
}

fn pass(health: &mut GroupHealth, server: u8, now: u64) {
    for _ in 0..3 {
        health.probed(address(server), Outcome::Passed, at(now));
    }
}

fn fail(health: &mut GroupHealth, server: u8, now: u64) {
    for _ in 0..3 {
        health.probed(address(server), Outcome::Failed(failure()), at(now));
    }
}

fn last_byte(address: ServerAddress) -> u8 {
    let IpAddr::V4(ip) = address.ip else { unreachable!("these tests have IPv4 servers") };
    ip.octets()[3]
}

/// Each server as its last byte and: `+` receives, `^` ramps, `d` drains, `-` nothing of these; then the status.
fn picture(health: &GroupHealth) -> String {
    let mut words = Vec::new();
    for standing in health.standings() {
        let mut word = format!("{}", last_byte(standing.address));
        let marks = [
            (standing.receives_new, '+'),
            (standing.ramp.is_some(), '^'),
            (!standing.drains.is_empty(), 'd'),
        ];
        let marks: String = marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect();
        word.push_str(if marks.is_empty() { "-" } else { &marks });
        words.push(format!("{word}{}", standing.status));
    }
    words.join(" ")
}

#[track_caller]
fn expect(health: &GroupHealth, wanted: &str) {
    assert_eq!(picture(health), wanted);
}

// Holds SG-187, SG-192
#[test]
fn sends_to_all_while_none_is_proven_and_to_the_proven_ones_afterwards() {
    let mut health = new(&config(&[(1, 100), (2, 50), (3, 0)]));
    assert!(health.is_fail_open());
    expect(&health, "1+Initial 2+Initial 3-Unused");
    pass(&mut health, 1, 1);
    assert!(!health.is_fail_open());
    expect(&health, "1+Normal 2-Initial 3-Unused");
}

// Holds SG-90, SG-93, SG-192
#[test]
fn sends_to_all_when_all_have_failed_and_never_to_weight_zero() {
    let mut health = new(&config(&[(1, 100), (2, 100), (3, 0)]));
    fail(&mut health, 1, 1);
    fail(&mut health, 2, 1);
    assert!(health.is_fail_open());
    expect(&health, "1+Unhealthy 2+Unhealthy 3-Unused");
}

// Holds SG-93
#[test]
fn a_group_without_weight_is_not_fail_open() {
    assert!(!new(&config(&[])).is_fail_open());
    let health = new(&config(&[(1, 0)]));
    assert!(!health.is_fail_open());
    expect(&health, "1-Unused");
}

// Holds SG-91, SG-190
#[test]
fn only_servers_with_weight_are_probed_and_only_while_checks_are_on() {
    assert_eq!(new(&config(&[(1, 100), (2, 0)])).probed_servers().collect::<Vec<_>>(), [address(1)]);
    assert_eq!(new(&unchecked(&[(1, 100)])).probed_servers().count(), 0);
}

// Holds SG-135..SG-137, SG-187
#[test]
fn the_first_server_does_not_ramp_and_the_next_one_does() {
    let mut health = new(&config(&[(1, 100)]));
    pass(&mut health, 1, 1);
    expect(&health, "1+Normal");
    health.update(&config(&[(1, 100), (2, 100)]), &BTreeSet::new(), at(5));
    expect(&health, "1+Normal 2-Initial");
    pass(&mut health, 2, 10);
    expect(&health, "1+Normal 2+^Normal");
    health.tick(at(40));
    expect(&health, "1+Normal 2+Normal");
}

// Holds SG-135, SG-137, SG-190, SG-192
#[test]
fn without_checks_a_new_server_ramps_at_once() {
    let mut health = new(&unchecked(&[(1, 100), (2, 100)]));
    expect(&health, "1+Unavailable 2+Unavailable");
    health.update(&unchecked(&[(1, 100), (2, 100), (3, 100), (4, 100)]), &BTreeSet::new(), at(1));
    expect(&health, "1+Unavailable 2+Unavailable 3+^Unavailable 4+^Unavailable");
}

// Holds SG-136, SG-140
#[test]
fn a_server_ramping_itself_lets_no_other_ramp() {
    let mut health = new(&config(&[(1, 100), (2, 100)]));
    pass(&mut health, 1, 1);
    pass(&mut health, 2, 2);
    expect(&health, "1+Normal 2+^Normal");
    fail(&mut health, 1, 3);
    expect(&health, "1dUnhealthy 2+^Normal");
    pass(&mut health, 1, 4);
    expect(&health, "1+dNormal 2+^Normal");
}

// Holds SG-140
#[test]
fn servers_that_recover_at_one_moment_do_not_ramp() {
    let mut health = new(&config(&[(1, 100), (2, 100)]));
    fail(&mut health, 1, 1);
    fail(&mut health, 2, 1);
    pass(&mut health, 1, 5);
    pass(&mut health, 2, 5);
    expect(&health, "1+Normal 2+dNormal");
}

// Holds SG-139
#[test]
fn a_server_that_recovers_ramps_from_zero() {
    let mut health = new(&config(&[(1, 100), (2, 100)]));
    pass(&mut health, 1, 1);
    pass(&mut health, 2, 2);
    fail(&mut health, 2, 10);
    expect(&health, "1+Normal 2dUnhealthy");
    pass(&mut health, 2, 20);
    assert_eq!(health.standings().nth(1).unwrap().ramp, Some(RampStanding { start: at(20), duration: RAMP }));
}

// Holds SG-138, SG-158, SG-201, SG-202
#[test]
fn a_server_added_again_ramps_again_and_its_old_drain_goes_on() {
    let mut health = new(&config(&[(1, 100), (2, 100)]));
    pass(&mut health, 1, 1);
    pass(&mut health, 2, 1);
    health.update(&config(&[(1, 100)]), &BTreeSet::new(), at(10));
    expect(&health, "1+Normal 2dRemoving");
    health.update(&config(&[(1, 100), (2, 100)]), &BTreeSet::new(), at(11));
    pass(&mut health, 2, 12);
    expect(&health, "1+Normal 2+^Normal 2dRemoving");
    let ids: BTreeSet<_> = health.standings().map(|standing| standing.id).collect();
    assert_eq!(ids, BTreeSet::from([MemberId(0), MemberId(1), MemberId(2)]));
    assert_eq!(health.next_deadline(at(24)), Some(at(25)));
    let notices = health.tick(at(25));
    assert!(notices.iter().any(|notice| matches!(
        notice,
        GroupNotice::Server {
            id: MemberId(1),
            notice: Notice::DrainEnded { end: DrainEnd::Deadline, .. },
            ..
        }
    )));
    expect(&health, "1+Normal 2+^Normal");
}

// Holds SG-140, SG-141
#[test]
fn a_raised_weight_ramps_and_a_changed_one_goes_on() {
    let mut health = new(&unchecked(&[(1, 100), (2, 0)]));
    health.update(&unchecked(&[(1, 100), (2, 50)]), &BTreeSet::new(), at(3));
    expect(&health, "1+Unavailable 2+^Unavailable");
    health.update(&unchecked(&[(1, 100), (2, 80)]), &BTreeSet::new(), at(18));
    let standing = health.standings().nth(1).unwrap();
    assert_eq!(standing.ramp, Some(RampStanding { start: at(3), duration: RAMP }));
    assert_eq!(standing.table_weight(at(18)), 80 * 562);
    health.update(&unchecked(&[(1, 100), (2, 0)]), &BTreeSet::new(), at(19));
    expect(&health, "1+Unavailable 2-Unused");
}

// Holds SG-134
#[test]
fn turning_slow_start_on_or_off_starts_no_ramp() {
    let off = |servers| ServerGroup { slow_start: None, ..config(servers) };
    let mut health = new(&off(&[(1, 100), (2, 100)]));
    pass(&mut health, 1, 1);
    pass(&mut health, 2, 2);
    health.update(&config(&[(1, 100), (2, 100)]), &BTreeSet::new(), at(3));
    expect(&health, "1+Normal 2+Normal");
    fail(&mut health, 2, 4);
    pass(&mut health, 2, 5);
    expect(&health, "1+Normal 2+^dNormal");
    health.update(&off(&[(1, 100), (2, 100)]), &BTreeSet::new(), at(6));
    health.update(&config(&[(1, 100), (2, 100)]), &BTreeSet::new(), at(7));
    expect(&health, "1+Normal 2+dNormal");
}

// Holds SG-93, SG-153, SG-161
#[test]
fn the_last_usable_server_failing_cancels_the_drains_of_those_that_receive_again() {
    let mut health = new(&config(&[(1, 100), (2, 100), (3, 100)]));
    for server in 1..=3 {
        pass(&mut health, server, 1);
    }
    health.update(&config(&[(1, 100), (2, 100)]), &BTreeSet::new(), at(2));
    fail(&mut health, 1, 3);
    expect(&health, "1dUnhealthy 2+Normal 3dRemoving");
    fail(&mut health, 2, 4);
    // No drain for 2, none any more for 1; the removed one goes on and receives nothing.
    expect(&health, "1+Unhealthy 2+Unhealthy 3dRemoving");
    pass(&mut health, 1, 5);
    // Fail-open is over: 2 is shut out now.
    expect(&health, "1+Normal 2dUnhealthy 3dRemoving");
}

// Holds SG-154
#[test]
fn draining_off_lets_removed_servers_go_at_once() {
    let off = |servers| ServerGroup { connection_drain: None, ..config(servers) };
    let mut health = new(&off(&[(1, 100), (2, 100)]));
    pass(&mut health, 1, 1);
    pass(&mut health, 2, 1);
    fail(&mut health, 2, 2);
    expect(&health, "1+Normal 2-Unhealthy");
    health.update(&off(&[(1, 100)]), &BTreeSet::new(), at(3));
    expect(&health, "1+Normal");
}

// Holds SG-156
#[test]
fn an_idle_server_goes_before_its_deadline() {
    let mut health = new(&config(&[(1, 100), (2, 100)]));
    health.update(&config(&[(1, 100)]), &BTreeSet::new(), at(3));
    health.counted(MemberId(1), |_| 0, at(2), at(4));
    expect(&health, "1+Initial 2dRemoving");
    health.counted(MemberId(1), |_| 0, at(4), at(4));
    expect(&health, "1+Initial");
}

// Holds SG-190, SG-195
#[test]
fn turning_checks_off_makes_all_usable_and_on_again_keeps_them() {
    let servers = [(1, 100), (2, 100), (3, 0)];
    let mut health = new(&config(&servers));
    pass(&mut health, 1, 1);
    fail(&mut health, 2, 1);
    health.update(&unchecked(&servers), &BTreeSet::new(), at(2));
    expect(&health, "1+Unavailable 2+^dUnavailable 3-Unused");
    health.update(&config(&servers), &BTreeSet::new(), at(40));
    expect(&health, "1+Normal 2+Normal 3-Unused");
    fail(&mut health, 2, 41);
    expect(&health, "1+Normal 2dUnhealthy 3-Unused");
}

// Holds SG-186, SG-195
#[test]
fn changed_check_settings_keep_verdicts_and_restart_counts() {
    let mut health = new(&config(&[(1, 100)]));
    pass(&mut health, 1, 1);
    let failed = || Outcome::Failed(failure());
    health.probed(address(1), failed(), at(2));
    health.probed(address(1), failed(), at(4));
    let slower = HealthCheck { interval: Duration::from_secs(9), ..check() };
    health.update(
        &ServerGroup { health_check: Some(slower), ..config(&[(1, 100)]) },
        &BTreeSet::new(),
        at(5),
    );
    health.probed(address(1), failed(), at(6));
    expect(&health, "1+Normal");
    health.probed(address(1), failed(), at(8));
    health.probed(address(1), failed(), at(10));
    expect(&health, "1+Unhealthy");
}

// Holds SG-133
#[test]
fn announces_each_step_of_a_ramp_until_it_is_over() {
    let mut health = new(&unchecked(&[(1, 100)]));
    health.update(&unchecked(&[(1, 100), (2, 100)]), &BTreeSet::new(), at(10));
    let mut now = at(10);
    let mut weights = vec![health.standings().nth(1).unwrap().table_weight(now)];
    while let Some(next) = health.next_deadline(now) {
        assert!(next > now);
        now = next;
        health.tick(now);
        weights.push(health.standings().nth(1).unwrap().table_weight(now));
    }
    assert_eq!(now, at(40));
    assert_eq!(weights, [10_000, 18_700, 31_200, 43_700, 56_200, 68_700, 81_200, 93_700, 100_000]);
}

#[test]
fn says_what_happened() {
    let (mut health, notices) = GroupHealth::new(&config(&[(1, 100)]), &BTreeSet::new(), at(0));
    assert_eq!(notices, [FAIL_OPEN_BEGINS]);
    health.probed(address(1), Outcome::Passed, at(1));
    health.probed(address(1), Outcome::Passed, at(3));
    let notices = health.probed(address(1), Outcome::Passed, at(5));
    let notice = Notice::State { from: State::Initial, to: State::Healthy };
    let server = GroupNotice::Server { id: MemberId(0), address: address(1), notice };
    assert_eq!(notices, [server, FAIL_OPEN_ENDS]);
    assert_eq!(health.probed(address(9), Outcome::Passed, at(6)), []);
}

// Holds SG-193
#[test]
fn shows_the_latest_result_of_each_server_also_when_it_changes_nothing() {
    let mut health = new(&config(&[(1, 100), (2, 100)]));
    assert!(health.standings().all(|standing| standing.evidence.is_none()));
    assert_eq!(health.probed(address(2), Outcome::Failed(failure()), at(1)), []);
    assert_eq!(health.probed(address(2), Outcome::Failed(failure()), at(3)), []);
    let evidence: Vec<_> = health.standings().map(|standing| standing.evidence).collect();
    let latest = Evidence { outcome: Outcome::Failed(failure()), at: at(3), in_a_row: 2 };
    assert_eq!(evidence, [None, Some(latest)]);
}

// Holds SG-153, SG-156
#[test]
fn says_who_drains() {
    let mut health = new(&config(&[(1, 100), (2, 100), (3, 100)]));
    assert_eq!(health.draining().count(), 0);
    pass(&mut health, 1, 1);
    fail(&mut health, 2, 2);
    health.update(&config(&[(1, 100), (2, 100)]), &BTreeSet::new(), at(3));
    let draining: Vec<_> = health
        .draining()
        .map(|(id, server, drains)| {
            (id.0, last_byte(server), drains.iter().map(|drain| drain.began).collect())
        })
        .collect();
    assert_eq!(draining, [(1, 2, vec![at(2)]), (2, 3, vec![at(3)])]);
    health.counted(MemberId(1), |_| 0, at(4), at(4));
    assert_eq!(health.draining().map(|(id, ..)| id.0).collect::<Vec<_>>(), [2]);
}

/// A group whose traffic stays in its zones; servers are (last byte, weight, zone).
fn zoned(servers: &[(u8, u32, &str)]) -> ServerGroup {
    let mut group = config(&servers.iter().map(|(last, weight, _)| (*last, *weight)).collect::<Vec<_>>());
    for (server, (_, _, zone)) in group.servers.iter_mut().zip(servers) {
        server.zone = (!zone.is_empty()).then(|| ZoneName::new(*zone));
    }
    ServerGroup { cross_zone: false, ..group }
}

fn zones(names: &[&str]) -> BTreeSet<ZoneName> {
    names.iter().map(|name| ZoneName::new(*name)).collect()
}

// Holds SG-155
#[test]
fn drains_outlast_the_use_of_their_group() {
    let mut health = new(&config(&[(1, 100), (2, 100)]));
    pass(&mut health, 1, 1);
    pass(&mut health, 2, 1);
    health.update(&config(&[(1, 100)]), &BTreeSet::new(), at(10));
    expect(&health, "1+Normal 2dRemoving");
    assert_eq!(health.retire(at(12)), [], "no server left its group");
    expect(&health, "2dRemoving");
    assert_eq!((health.next_deadline(at(12)), health.is_empty()), (Some(at(25)), false));

    // In use again: every server is new, and the drain has kept its deadline.
    let mut again = health.clone();
    again.update(&config(&[(1, 100), (2, 100)]), &BTreeSet::new(), at(13));
    expect(&again, "1+Initial 2+Initial 2dRemoving");

    let ends = |notice: &GroupNotice| {
        let GroupNotice::Server { notice, .. } = notice else { return false };
        matches!(notice, Notice::DrainEnded { end: DrainEnd::Deadline, .. })
    };
    assert_eq!(health.tick(at(25)).iter().filter(|notice| ends(notice)).count(), 1);
    assert!(health.is_empty());
}

// Holds SG-171, SG-174
#[test]
fn uses_only_servers_of_zones_it_serves_where_traffic_may_not_cross() {
    let group = zoned(&[(1, 100, "a"), (2, 100, "b"), (3, 100, ""), (4, 0, "a")]);
    let mut health = GroupHealth::new(&group, &zones(&["a"]), at(0)).0;
    expect(&health, "1+Initial 2-Unused 3-Unused 4-Unused");
    assert_eq!(health.probed_servers().collect::<Vec<_>>(), [address(1)]);
    // A probe that was on its way decides nothing.
    pass(&mut health, 2, 1);
    expect(&health, "1+Initial 2-Unused 3-Unused 4-Unused");
    let everywhere = GroupHealth::new(&ServerGroup { cross_zone: true, ..group }, &zones(&["a"]), at(0)).0;
    expect(&everywhere, "1+Initial 2+Initial 3+Initial 4-Unused");
}

// Holds SG-171, SG-173
#[test]
fn each_zone_fails_open_by_itself_where_traffic_may_not_cross() {
    let group = zoned(&[(1, 100, "a"), (2, 100, "b"), (3, 100, "b"), (4, 0, "c")]);
    let (mut health, notices) = GroupHealth::new(&group, &zones(&["a", "b", "c"]), at(0));
    let fail_open = |zone, begins| GroupNotice::FailOpen { zone: Some(ZoneName::new(zone)), begins };
    assert_eq!(notices, [fail_open("a", true), fail_open("b", true)]);
    pass(&mut health, 2, 1);
    expect(&health, "1+Initial 2+Normal 3-Initial 4-Unused");
    fail(&mut health, 1, 2);
    expect(&health, "1+Unhealthy 2+Normal 3-Initial 4-Unused");
    assert!(health.is_fail_open());
    health.probed(address(1), Outcome::Passed, at(3));
    health.probed(address(1), Outcome::Passed, at(3));
    let notices = health.probed(address(1), Outcome::Passed, at(3));
    assert!(notices.contains(&fail_open("a", false)), "{notices:?}");
    assert!(!health.is_fail_open());
}

// Holds SG-136, SG-171
#[test]
fn a_server_of_another_zone_carries_no_traffic_for_one_that_becomes_usable() {
    let mut health =
        GroupHealth::new(&zoned(&[(1, 100, "a"), (2, 100, "b"), (3, 100, "b")]), &zones(&["a", "b"]), at(0))
            .0;
    pass(&mut health, 1, 1);
    pass(&mut health, 2, 2);
    expect(&health, "1+Normal 2+Normal 3-Initial");
    pass(&mut health, 3, 3);
    expect(&health, "1+Normal 2+Normal 3+^Normal");
    // The same for servers that join.
    let unchecked = |servers| ServerGroup { health_check: None, ..zoned(servers) };
    let (mut health, _) =
        GroupHealth::new(&unchecked(&[(1, 100, "a"), (2, 100, "b")]), &zones(&["a", "b", "c"]), at(0));
    let more = unchecked(&[(3, 100, "c"), (1, 100, "a"), (4, 100, "a"), (2, 100, "b")]);
    health.update(&more, &zones(&["a", "b", "c"]), at(1));
    expect(&health, "3+Unavailable 1+Unavailable 4+^Unavailable 2+Unavailable");
}

// Holds SG-170, SG-171, SG-174
#[test]
fn a_server_that_comes_into_reach_is_new_and_one_that_goes_out_of_it_drains_on() {
    let group = zoned(&[(1, 100, "a"), (2, 100, "b")]);
    let crossing = ServerGroup { cross_zone: true, ..group.clone() };
    let mut health = GroupHealth::new(&crossing, &zones(&["a"]), at(0)).0;
    pass(&mut health, 1, 1);
    pass(&mut health, 2, 2);
    fail(&mut health, 2, 3);
    expect(&health, "1+Normal 2dUnhealthy");
    health.update(&group, &zones(&["a"]), at(4));
    expect(&health, "1+Normal 2dUnused");
    health.update(&crossing, &zones(&["a"]), at(5));
    expect(&health, "1+Normal 2dInitial");
    pass(&mut health, 2, 6);
    expect(&health, "1+Normal 2+^dNormal");
    // The node begins to serve the other zone instead.
    health.update(&group, &zones(&["b"]), at(7));
    expect(&health, "1-Unused 2+^dNormal");
}

// Holds SG-171
#[test]
fn fail_open_ends_with_the_zones_it_was_in() {
    let group = zoned(&[(1, 100, "a"), (2, 100, "b")]);
    let mut health = GroupHealth::new(&group, &zones(&["a", "b"]), at(0)).0;
    pass(&mut health, 2, 1);
    let notices = health.update(&group, &zones(&["b"]), at(2));
    let ended = GroupNotice::FailOpen { zone: Some(ZoneName::new("a")), begins: false };
    assert_eq!(notices.iter().filter(|notice| **notice == ended).count(), 1, "{notices:?}");
    assert!(!health.is_fail_open());
}

// Holds SG-158, SG-159
#[test]
fn new_requests_go_to_a_server_that_recovers_while_the_old_ones_keep_their_deadline() {
    let mut health = new(&config(&[(1, 100), (2, 100)]));
    pass(&mut health, 1, 1);
    pass(&mut health, 2, 1);
    fail(&mut health, 2, 10);
    pass(&mut health, 2, 14);
    let standing = health.standings().nth(1).unwrap();
    let drain = Drain { cause: DrainCause::Unhealthy, began: at(10), deadline: at(25), in_flight: None };
    assert!(standing.receives_new);
    assert_eq!(
        (standing.id, standing.status, &standing.drains[..]),
        (MemberId(1), Status::Normal, &[drain][..])
    );
    health.counted(MemberId(1), |drain| if drain.began == at(10) { 3 } else { 0 }, at(24), at(24));
    let notices = health.tick(at(25));
    let ended = |notice: &GroupNotice| match notice {
        GroupNotice::Server { id, notice: Notice::DrainEnded { drain, end, tally }, .. } => {
            Some((*id, drain.began, *end, *tally))
        }
        _ => None,
    };
    let cut = Some(Tally { finished: 0, cut: 3 });
    assert_eq!(
        notices.iter().filter_map(ended).collect::<Vec<_>>(),
        [(MemberId(1), at(10), DrainEnd::Deadline, cut)]
    );
    expect(&health, "1+Normal 2+^Normal");
}

// Holds SG-136, SG-141
#[test]
fn a_raised_weight_does_not_ramp_beside_one_that_goes_to_0_at_once() {
    for order in [[1, 2], [2, 1]] {
        let weights = |raised, lowered| order.map(|last| (last, if last == 1 { raised } else { lowered }));
        let mut health = new(&unchecked(&weights(0, 100)));
        health.update(&unchecked(&weights(100, 0)), &BTreeSet::new(), at(5));
        let standing = health.standings().find(|standing| last_byte(standing.address) == 1).unwrap();
        assert!(standing.receives_new && standing.ramp.is_none(), "order {order:?}: {standing:?}");
    }
}

// Holds SG-202
#[test]
fn shows_those_that_left_in_the_order_in_which_they_left() {
    let mut health = new(&config(&[(1, 100), (2, 100), (3, 100)]));
    health.update(&config(&[(1, 100), (3, 100)]), &BTreeSet::new(), at(1));
    health.update(&config(&[(3, 100)]), &BTreeSet::new(), at(1));
    expect(&health, "3+Initial 2dRemoving 1dRemoving");
}
