use super::*;
use crate::health::FailureReason;

const NOW: Moment = Moment::from_nanos(1_000_000_000);
const LATER: Moment = Moment::from_nanos(9_000_000_000);
const THRESHOLDS: Thresholds = Thresholds { healthy: 3, unhealthy: 2 };

fn failure() -> Failure {
    Failure { reason: FailureReason::ConnectFailed, actual: None, expected: None, detail: String::new() }
}

fn pass() -> Event {
    Event::Probed(Outcome::Passed, THRESHOLDS)
}

fn fail() -> Event {
    Event::Probed(Outcome::Failed(failure()), THRESHOLDS)
}

/// `open` requests of one drain, counted `at`.
fn counted(open: u64, at: Moment) -> Event {
    Event::Counted { open: vec![open], at }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A machine in `state`, ramping since NOW if it can be.
fn machine(state: State) -> Machine {
    let usable = matches!(state, State::Healthy | State::Unchecked).then_some(NOW);
    Machine { state, since: NOW, evidence: None, usable_since: usable, ramp: usable, drains: Vec::new() }
}

/// Sends `events` to a machine in `from` and expects it in `to`, ramping or not.
#[track_caller]
fn check(from: State, events: &[Event], to: State, ramping: bool) -> Machine {
    let mut machine = machine(from);
    for event in events {
        machine.handle(event.clone(), &|| false, LATER);
    }
    assert_eq!(machine.state(), &to);
    assert_eq!(machine.ramp().is_some(), ramping, "ramping");
    assert_eq!(machine.usable_since().is_some(), matches!(to, State::Healthy | State::Unchecked), "usable");
    machine
}

// Holds SG-91, SG-137, SG-200
#[test]
fn joins_by_use_and_checks() {
    let join = |has_weight, checked| Machine::join(has_weight, checked, true, NOW);
    assert_eq!(join(false, true).0.state(), &State::Unused);
    assert_eq!(join(false, false).0.state(), &State::Unused);
    assert_eq!(join(true, true), (machine(State::Initial), vec![]));
    assert_eq!(join(true, false), (machine(State::Unchecked), vec![Notice::RampBegan]));
    assert_eq!(Machine::join(true, false, false, NOW).0.ramp(), None);
}

// Holds SG-186, SG-200
#[test]
fn becomes_healthy_after_the_threshold_of_passes_in_a_row() {
    check(State::Initial, &[pass(), pass()], State::Initial, false);
    check(State::Initial, &[pass(), pass(), pass()], State::Healthy, false);
    check(State::Initial, &[pass(), pass(), fail(), pass(), pass()], State::Initial, false);
    check(State::Unhealthy(failure()), &[pass(), pass(), pass()], State::Healthy, false);
    check(State::Unhealthy(failure()), &[pass(), pass(), fail(), pass()], State::Unhealthy(failure()), false);
}

// Holds SG-186, SG-200
#[test]
fn becomes_unhealthy_after_the_threshold_of_failures_in_a_row() {
    check(State::Initial, &[fail()], State::Initial, false);
    check(State::Initial, &[fail(), fail()], State::Unhealthy(failure()), false);
    check(State::Healthy, &[fail(), pass(), fail()], State::Healthy, true);
    check(State::Healthy, &[fail(), fail()], State::Unhealthy(failure()), false);
}

// Holds SG-200
#[test]
fn reports_the_latest_reason_and_the_first_moment_of_a_failure() {
    let mut machine = check(State::Initial, &[fail(), fail()], State::Unhealthy(failure()), false);
    let silent = Failure { reason: FailureReason::ConnectTimeout, ..failure() };
    let notices = machine.handle(
        Event::Probed(Outcome::Failed(silent.clone()), THRESHOLDS),
        &|| false,
        LATER + seconds(5),
    );
    assert_eq!(notices, []);
    assert_eq!((machine.state(), machine.since()), (&State::Unhealthy(silent), LATER));
}

// Holds SG-137, SG-139, SG-200
#[test]
fn ramps_from_the_moment_it_becomes_healthy_if_told_to() {
    for from in [State::Initial, State::Unhealthy(failure())] {
        let mut machine = machine(from.clone());
        machine.handle(pass(), &|| true, LATER);
        machine.handle(pass(), &|| true, LATER);
        assert_eq!(machine.ramp(), None);
        let notices = machine.handle(pass(), &|| true, LATER);
        assert_eq!(notices, [Notice::State { from, to: State::Healthy }, Notice::RampBegan]);
        assert_eq!(machine.ramp(), Some(LATER));
        assert_eq!(machine.handle(pass(), &|| true, LATER + seconds(1)), []);
    }
}

#[test]
fn a_ramp_ends_with_its_time() {
    let mut machine = machine(State::Healthy);
    assert_eq!(machine.handle(Event::Tick(Some(seconds(30))), &|| false, NOW + seconds(29)), []);
    assert_eq!(
        machine.handle(Event::Tick(Some(seconds(30))), &|| false, NOW + seconds(30)),
        [Notice::RampEnded]
    );
    assert_eq!(machine.ramp(), None);
}

#[test]
fn a_ramp_ends_when_slow_start_is_turned_off() {
    assert_eq!(machine(State::Healthy).handle(Event::Tick(None), &|| false, NOW), [Notice::RampEnded]);
}

// Holds SG-91, SG-200
#[test]
fn weight_zero_makes_it_unused_from_anywhere() {
    for from in [State::Initial, State::Healthy, State::Unhealthy(failure()), State::Unchecked, State::Unused]
    {
        check(from, &[Event::OutOfUse, pass(), pass(), pass()], State::Unused, false);
    }
}

// Holds SG-141, SG-200
#[test]
fn a_raised_weight_starts_over() {
    check(State::Unused, &[Event::InUse { checked: true }], State::Initial, false);
    check(State::Unused, &[Event::InUse { checked: false }], State::Unchecked, false);
    let mut machine = machine(State::Unused);
    machine.handle(Event::InUse { checked: false }, &|| true, LATER);
    assert_eq!(machine.ramp(), Some(LATER));
}

// Holds SG-190, SG-195, SG-200
#[test]
fn disabled_checks_make_it_usable_and_enabled_ones_keep_the_verdict() {
    check(State::Initial, &[Event::ChecksDisabled], State::Unchecked, false);
    check(State::Unhealthy(failure()), &[Event::ChecksDisabled], State::Unchecked, false);
    check(State::Healthy, &[Event::ChecksDisabled], State::Unchecked, true);
    check(State::Unused, &[Event::ChecksDisabled], State::Unused, false);
    check(State::Unchecked, &[Event::ChecksEnabled], State::Healthy, true);
    check(State::Unchecked, &[fail(), fail()], State::Unchecked, true);
    check(State::Unchecked, &[Event::ChecksEnabled, fail(), fail()], State::Unhealthy(failure()), false);
    let mut machine = machine(State::Initial);
    machine.handle(Event::ChecksDisabled, &|| true, LATER);
    assert_eq!(machine.ramp(), Some(LATER));
}

// Holds SG-195, SG-200
#[test]
fn changed_check_settings_restart_the_counts_and_keep_the_verdict() {
    check(State::Healthy, &[fail(), Event::ChecksChanged, fail()], State::Healthy, true);
    check(State::Initial, &[pass(), pass(), Event::ChecksChanged, pass()], State::Initial, false);
}

// Holds SG-153, SG-200
#[test]
fn a_failed_server_that_receives_nothing_drains() {
    let mut machine = machine(State::Unhealthy(failure()));
    let drain =
        Drain { cause: DrainCause::Unhealthy, began: NOW, deadline: NOW + seconds(15), in_flight: None };
    assert_eq!(
        machine.handle(Event::ShutOut(Some(seconds(15))), &|| false, NOW),
        [Notice::DrainBegan(drain)]
    );
    assert_eq!(machine.drains(), [drain]);
    assert_eq!(machine.handle(Event::Tick(None), &|| false, NOW + seconds(14)), []);
    let ended = machine.handle(Event::Tick(None), &|| false, NOW + seconds(15));
    assert_eq!(ended, [Notice::DrainEnded { drain, end: DrainEnd::Deadline, tally: None }]);
    assert_eq!(machine.drains(), []);
}

// Holds SG-154
#[test]
fn does_not_drain_while_draining_is_off() {
    assert_eq!(machine(State::Unhealthy(failure())).handle(Event::ShutOut(None), &|| false, NOW), []);
}

// Holds SG-156, SG-200
#[test]
fn a_drain_ends_early_only_when_nothing_was_in_flight_after_it_began() {
    let mut machine = machine(State::Unhealthy(failure()));
    machine.handle(Event::ShutOut(Some(seconds(15))), &|| false, LATER);
    assert_eq!(machine.handle(counted(0, NOW), &|| false, LATER), []);
    let [Notice::DrainEnded { end, tally, .. }] = machine.handle(counted(0, LATER), &|| false, LATER)[..]
    else {
        panic!("one drain ends");
    };
    assert_eq!((end, tally), (DrainEnd::Idle, Some(Tally { finished: 0, cut: 0 })));
}

/// A failed server that drains for 15 s from `NOW` on.
fn draining() -> Machine {
    let mut machine = machine(State::Unhealthy(failure()));
    machine.handle(Event::ShutOut(Some(seconds(15))), &|| false, NOW);
    machine
}

#[track_caller]
fn tally(notices: &[Notice]) -> (DrainEnd, Option<Tally>) {
    match notices {
        [Notice::DrainEnded { end, tally, .. }] => (*end, *tally),
        other => panic!("expected the end of one drain, got {other:?}"),
    }
}

// Holds SG-155, SG-156
#[test]
fn the_end_of_a_drain_says_how_many_finished_and_how_many_were_cut() {
    let mut machine = draining();
    for (open, second) in [(40, 1), (31, 7), (12, 14)] {
        assert_eq!(
            machine.handle(counted(open, NOW + seconds(second)), &|| false, NOW + seconds(second)),
            []
        );
    }
    let deadline = NOW + seconds(15);
    let at_deadline = draining().handle(counted(0, deadline), &|| false, deadline);
    assert_eq!(at_deadline, [], "who is not open at the deadline may have been cut");
    assert_eq!(machine.drains()[0].in_flight, Some(InFlight { first: 40, latest: 12 }));
    let mut idle = machine.clone();
    let cut = machine.handle(Event::Tick(None), &|| false, deadline);
    assert_eq!(tally(&cut), (DrainEnd::Deadline, Some(Tally { finished: 28, cut: 12 })));
    let done = idle.handle(counted(0, NOW + seconds(14)), &|| false, NOW + seconds(14));
    assert_eq!(tally(&done), (DrainEnd::Idle, Some(Tally { finished: 40, cut: 0 })));
}

// Holds SG-161
#[test]
fn a_cancelled_drain_cuts_nothing() {
    let mut machine = draining();
    machine.handle(counted(9, NOW + seconds(1)), &|| false, NOW + seconds(1));
    machine.handle(counted(4, NOW + seconds(2)), &|| false, NOW + seconds(2));
    let cancelled = machine.handle(Event::ReceivesFailOpen, &|| false, NOW + seconds(2));
    assert_eq!(tally(&cancelled), (DrainEnd::Cancelled, Some(Tally { finished: 5, cut: 0 })));
}

// Holds SG-158
#[test]
fn a_request_counts_for_the_first_drain_that_began_after_it() {
    let mut machine = draining();
    machine.handle(Event::Removed(Some(seconds(30))), &|| false, NOW + seconds(5));
    let count = |open: [u64; 2]| Event::Counted { open: open.to_vec(), at: NOW + seconds(6) };
    assert_eq!(machine.handle(count([3, 10]), &|| false, NOW + seconds(6)), []);
    assert_eq!(machine.drains()[0].in_flight, Some(InFlight { first: 3, latest: 3 }));
    assert_eq!(machine.drains()[1].in_flight, Some(InFlight { first: 7, latest: 7 }));
    // The 3 that are left are of the first one, and both drains would cut them.
    assert_eq!(machine.handle(count([3, 3]), &|| false, NOW + seconds(6)), []);
    assert_eq!(machine.drains()[1].in_flight, Some(InFlight { first: 7, latest: 0 }));
    let ended = machine.handle(count([0, 0]), &|| false, NOW + seconds(6));
    let tallies: Vec<_> = ended
        .iter()
        .filter_map(|notice| match notice {
            Notice::DrainEnded { end, tally, .. } => Some((*end, *tally)),
            _ => None,
        })
        .collect();
    let finished = |finished| (DrainEnd::Idle, Some(Tally { finished, cut: 0 }));
    assert_eq!(tallies, [finished(3), finished(7)]);
    assert_eq!(machine.state(), &State::Gone);
}

// Holds SG-155, SG-156
#[test]
fn a_drain_is_not_idle_while_requests_are_open_that_belong_to_an_older_one() {
    let mut machine = draining();
    machine.handle(Event::Removed(Some(seconds(2))), &|| false, NOW + seconds(5));
    let count = |open: [u64; 2]| Event::Counted { open: open.to_vec(), at: NOW + seconds(6) };
    assert_eq!(machine.handle(count([3, 3]), &|| false, NOW + seconds(6)), []);
    // Its deadline comes first, and is theirs too.
    let cut = machine.handle(Event::Tick(None), &|| false, NOW + seconds(7));
    assert!(matches!(cut[..], [Notice::DrainEnded { end: DrainEnd::Deadline, .. }]), "{cut:?}");
}

// Holds SG-159
#[test]
fn a_drain_outlives_recovery() {
    let mut machine = machine(State::Unhealthy(failure()));
    machine.handle(Event::ShutOut(Some(seconds(15))), &|| false, NOW);
    for _ in 0..3 {
        machine.handle(pass(), &|| false, NOW + seconds(1));
    }
    assert_eq!(machine.state(), &State::Healthy);
    assert_eq!(machine.drains().len(), 1);
    // It fails again: what began in between has a deadline of its own.
    for _ in 0..2 {
        machine.handle(fail(), &|| false, NOW + seconds(5));
    }
    machine.handle(Event::ShutOut(Some(seconds(15))), &|| false, NOW + seconds(5));
    let deadlines: Vec<_> = machine.drains().iter().map(|drain| drain.deadline).collect();
    assert_eq!(deadlines, [NOW + seconds(15), NOW + seconds(20)]);
}

// Holds SG-161
#[test]
fn fail_open_cancels_a_drain_for_failing() {
    let mut machine = machine(State::Unhealthy(failure()));
    machine.handle(Event::ShutOut(Some(seconds(15))), &|| false, NOW);
    let drain = machine.drains()[0];
    let notices = machine.handle(Event::ReceivesFailOpen, &|| false, NOW);
    assert_eq!(notices, [Notice::DrainEnded { drain, end: DrainEnd::Cancelled, tally: None }]);
}

// Holds SG-153, SG-200, SG-202
#[test]
fn a_removed_server_drains_and_goes() {
    for from in [State::Initial, State::Healthy, State::Unhealthy(failure()), State::Unused, State::Unchecked]
    {
        let mut machine = check(from, &[Event::Removed(Some(seconds(300)))], State::Leaving, false);
        assert_eq!(machine.status(), Status::Removing);
        // Nothing brings it back.
        for event in [pass(), pass(), pass(), Event::InUse { checked: false }, Event::ReceivesFailOpen] {
            assert_eq!(machine.handle(event, &|| true, LATER), []);
        }
        machine.handle(Event::Tick(None), &|| false, LATER + seconds(300));
        assert_eq!(machine.state(), &State::Gone);
    }
}

// Holds SG-151, SG-156, SG-200
#[test]
fn a_removed_server_goes_at_once_without_draining_or_without_time_for_it() {
    check(State::Healthy, &[Event::Removed(None)], State::Gone, false);
    check(State::Healthy, &[Event::Removed(Some(Duration::ZERO))], State::Gone, false);
    check(State::Healthy, &[Event::Removed(Some(seconds(9))), counted(0, LATER)], State::Gone, false);
}

// Holds SG-151
#[test]
fn time_zero_cuts_at_once() {
    let notices =
        machine(State::Unhealthy(failure())).handle(Event::ShutOut(Some(Duration::ZERO)), &|| false, NOW);
    let drain = Drain { cause: DrainCause::Unhealthy, began: NOW, deadline: NOW, in_flight: None };
    assert_eq!(
        notices,
        [Notice::DrainBegan(drain), Notice::DrainEnded { drain, end: DrainEnd::Deadline, tally: None }]
    );
}

/// States in the order of the columns of the tables below, each reached as a server reaches it.
fn states() -> Vec<(char, Machine)> {
    let mut leaving = machine(State::Healthy);
    leaving.handle(Event::Removed(Some(seconds(300))), &|| false, NOW);
    vec![
        ('I', machine(State::Initial)),
        ('H', machine(State::Healthy)),
        ('U', machine(State::Unhealthy(failure()))),
        ('0', machine(State::Unused)),
        ('C', machine(State::Unchecked)),
        ('L', leaving),
        ('G', machine(State::Gone)),
    ]
}

fn letter(state: &State) -> char {
    match state {
        State::Initial => 'I',
        State::Healthy => 'H',
        State::Unhealthy(_) => 'U',
        State::Unused => '0',
        State::Unchecked => 'C',
        State::Leaving => 'L',
        State::Gone => 'G',
    }
}

// Holds SG-91, SG-137, SG-141, SG-153, SG-186, SG-190, SG-195, SG-200..SG-202
#[test]
fn every_event_leads_from_every_state_to_the_one_the_table_says() {
    let drained = counted(0, LATER);
    //                                          from I, H, U, 0, C, L, G to      enters traffic from
    for (event, times, to, enters) in [
        (pass(), 3, "HHH0CLG", "IU"),
        (pass(), 2, "IHU0CLG", ""),
        (fail(), 2, "UUU0CLG", ""),
        (fail(), 1, "IHU0CLG", ""),
        (Event::OutOfUse, 1, "00000LG", ""),
        (Event::InUse { checked: true }, 1, "IHUICLG", ""),
        (Event::InUse { checked: false }, 1, "IHUCCLG", "0"),
        (Event::ChecksDisabled, 1, "CCC0CLG", "IU"),
        (Event::ChecksEnabled, 1, "IHU0HLG", ""),
        (Event::ChecksChanged, 1, "IHU0CLG", ""),
        (Event::ShutOut(Some(seconds(15))), 1, "IHU0CLG", ""),
        (Event::ReceivesFailOpen, 1, "IHU0CLG", ""),
        (Event::Removed(Some(seconds(15))), 1, "LLLLLLG", ""),
        (Event::Removed(Some(Duration::ZERO)), 1, "GGGGGLG", ""),
        (Event::Removed(None), 1, "GGGGGLG", ""),
        (drained, 1, "IHU0CGG", ""),
        (Event::Tick(Some(seconds(30))), 1, "IHU0CLG", ""),
    ] {
        for ((from, before), to) in states().into_iter().zip(to.chars()) {
            let mut machine = before.clone();
            let mut notices = Vec::new();
            for _ in 0..times {
                notices.extend(machine.handle(event.clone(), &|| true, LATER));
            }
            let context = format!("from {from} by {times} × {event:?}: {machine:?}, {notices:?}");
            assert_eq!(letter(machine.state()), to, "{context}");
            let said = notices.iter().any(|notice| matches!(notice, Notice::State { .. }));
            assert_eq!(said, from != to, "{context}");
            assert_eq!(machine.since(), if from == to { before.since() } else { LATER }, "{context}");
            let usable = matches!(to, 'H' | 'C');
            assert_eq!(machine.usable_since().is_some(), usable, "{context}");
            assert_eq!(notices.contains(&Notice::RampBegan), enters.contains(from), "{context}");
            // Those that were usable before ramp already.
            assert_eq!(machine.ramp().is_some(), usable, "{context}");
            let began = notices.iter().any(|notice| matches!(notice, Notice::DrainBegan(_)));
            let drains = match event {
                Event::ShutOut(_) => from == 'U',
                Event::Removed(Some(_)) => !matches!(from, 'L' | 'G'),
                _ => false,
            };
            assert_eq!(began, drains, "{context}");
        }
    }
}

// Holds SG-186, SG-195
#[test]
fn keeps_the_latest_result_and_how_many_like_it_came_in_a_row() {
    let mut machine = machine(State::Initial);
    assert_eq!(machine.evidence(), None);
    let mut expect = |event: Event, outcome: Outcome, in_a_row: u32, at: Moment| {
        machine.handle(event, &|| false, at);
        assert_eq!(machine.evidence(), Some(&Evidence { outcome, at, in_a_row }));
    };
    let failed = || Outcome::Failed(failure());
    expect(pass(), Outcome::Passed, 1, NOW);
    expect(pass(), Outcome::Passed, 2, NOW + seconds(2));
    expect(fail(), failed(), 1, NOW + seconds(4));
    expect(fail(), failed(), 2, NOW + seconds(6));
    expect(fail(), failed(), 3, NOW + seconds(8));
    expect(pass(), Outcome::Passed, 1, NOW + seconds(10));
    machine.handle(Event::ChecksChanged, &|| false, NOW + seconds(11));
    assert_eq!(
        machine.evidence(),
        Some(&Evidence { outcome: Outcome::Passed, at: NOW + seconds(10), in_a_row: 0 })
    );
    machine.handle(pass(), &|| false, NOW + seconds(12));
    assert_eq!(machine.evidence().unwrap().in_a_row, 1);
}

// Holds SG-91, SG-190
#[test]
fn a_server_that_is_no_longer_probed_has_no_evidence() {
    for event in [Event::OutOfUse, Event::ChecksDisabled] {
        let mut machine = check(State::Healthy, &[pass()], State::Healthy, true);
        machine.handle(event, &|| false, LATER);
        assert_eq!(machine.evidence(), None);
    }
    assert_eq!(check(State::Unused, &[pass()], State::Unused, false).evidence(), None);
}

// Holds SG-90, SG-158
#[test]
fn what_drains_goes_on_draining_when_the_weight_goes_to_0() {
    let mut machine = draining();
    machine.handle(Event::OutOfUse, &|| false, NOW + seconds(1));
    assert_eq!(machine.drains().len(), 1);
}

// Holds SG-158, SG-161
#[test]
fn fail_open_does_not_cancel_the_drain_of_a_removed_server() {
    let mut machine = draining();
    machine.handle(Event::Removed(Some(seconds(15))), &|| false, NOW + seconds(1));
    assert_eq!(machine.drains().len(), 2);
    assert_eq!(machine.handle(Event::ReceivesFailOpen, &|| false, NOW + seconds(2)), []);
    assert_eq!(machine.drains().len(), 2);
}
