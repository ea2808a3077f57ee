//! When each target is next due (SG-188, SG-189). Pure: moments and randomness are arguments.

use super::{Target, TargetId};
use crate::health::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The next probe of every target.
///
/// Probes of one target never overlap: the next starts at max(previous start + interval, previous end).
#[derive(Debug, Default)]
pub struct Timetable {
    targets: BTreeMap<TargetId, Entry>,
    /// Targets with no probe running, by the moment they are due.
    due: BTreeSet<(Moment, TargetId)>,
    runs: u64,
}

/// One run of a probe; tells its end from that of a run begun before the target changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(u64);

#[derive(Debug)]
struct Entry {
    target: Target,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting { due: Moment },
    Running { run: Run, started: Moment },
}

impl Timetable {
    /// Replaces the set of targets. Targets that did not change keep their schedule and their running probe; new and
    /// changed ones are first probed at a random point of one interval, chosen by `random`, so that a new configuration
    /// does not probe everything at once.
    pub fn set_targets(&mut self, targets: Vec<Target>, now: Moment, mut random: impl FnMut() -> u64) {
        let mut before = std::mem::take(&mut self.targets);
        self.due.clear();
        for target in targets {
            let entry = match before.remove(&target.id) {
                Some(entry) if entry.target == target => entry,
                _ => {
                    let due = now + fraction(target.check.interval, random());
                    Entry { target, state: State::Waiting { due } }
                }
            };
            if let State::Waiting { due } = entry.state {
                self.due.insert((due, entry.target.id));
            }
            self.targets.insert(entry.target.id, entry);
        }
    }

    /// When `id` is due; `None` while it is being probed, and for unknown targets.
    pub fn due(&self, id: TargetId) -> Option<Moment> {
        match self.targets.get(&id)?.state {
            State::Waiting { due } => Some(due),
            State::Running { .. } => None,
        }
    }

    /// When the next probe is due, if any target waits.
    pub fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Starts the probe that has been due longest, if one is due at `now`.
    pub fn start(&mut self, now: Moment) -> Option<(Run, &Target)> {
        let (due, id) = *self.due.first()?;
        if due > now {
            return None;
        }
        self.due.pop_first();
        let run = Run(self.runs);
        self.runs += 1;
        let entry = self.targets.get_mut(&id).expect("every target that is due is in the table");
        entry.state = State::Running { run, started: now };
        Some((run, &entry.target))
    }

    /// Ends a probe of `id`. `false`: the target is gone or has changed since `run` began, so its outcome says nothing.
    pub fn end(&mut self, id: TargetId, run: Run, now: Moment) -> bool {
        let Some(entry) = self.targets.get_mut(&id) else { return false };
        match entry.state {
            State::Running { run: current, started } if current == run => {
                let due = (started + entry.target.check.interval).max(now);
                entry.state = State::Waiting { due };
                self.due.insert((due, id));
                true
            }
            _ => false,
        }
    }
}

/// A point of `interval`, its start included and its end not, chosen by `random`'s bits.
fn fraction(interval: Duration, random: u64) -> Duration {
    Duration::from_nanos_u128((interval.as_nanos() * u128::from(random)) >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Failure, FailureReason, GroupHealth, Outcome, Status};
    use crate::model::{
        HealthCheck, HealthCheckProtocol, Server, ServerAddress, ServerGroup, VpcName, Weight,
    };

    const INTERVAL: Duration = Duration::from_secs(2);
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn ms(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn check() -> HealthCheck {
        HealthCheck {
            protocol: HealthCheckProtocol::Tcp,
            connect_port: None,
            interval: INTERVAL,
            timeout: TIMEOUT,
            healthy_threshold: 3,
            unhealthy_threshold: 3,
        }
    }

    fn target(id: u64) -> Target {
        let server = ServerAddress { ip: [172, 16, 1, id as u8].into(), port: 80.try_into().unwrap() };
        Target { id: TargetId(id), server, source: [172, 16, 1, 11].into(), check: check() }
    }

    /// Starts everything due at `now`.
    fn start_all(timetable: &mut Timetable, now: Moment) -> Vec<(Run, u64)> {
        std::iter::from_fn(|| timetable.start(now).map(|(run, target)| (run, target.id.0))).collect()
    }

    // Holds SG-189
    #[test]
    fn first_probes_are_spread_over_one_interval() {
        let mut timetable = Timetable::default();
        let mut draws = [0, u64::MAX / 2, u64::MAX].into_iter();
        timetable.set_targets(vec![target(1), target(2), target(3)], ms(100), || draws.next().unwrap());
        let dues: Vec<_> = timetable.due.iter().map(|(due, id)| (due.as_nanos() / 1_000_000, id.0)).collect();
        assert_eq!(dues, [(100, 1), (1099, 2), (2099, 3)]);
    }

    // Holds SG-188
    #[test]
    fn the_next_probe_starts_one_interval_after_the_last_but_never_before_its_end() {
        let mut timetable = Timetable::default();
        timetable.set_targets(vec![target(1)], ms(0), || 0);
        let (run, _) = start_all(&mut timetable, ms(0))[0];
        assert_eq!((timetable.next_due(), timetable.due(TargetId(1))), (None, None));
        assert!(timetable.end(TargetId(1), run, ms(10)));
        assert_eq!((timetable.next_due(), timetable.due(TargetId(1))), (Some(ms(2000)), Some(ms(2000))));
        assert_eq!(timetable.due(TargetId(9)), None);
        assert_eq!(start_all(&mut timetable, ms(1999)), []);
        let (run, _) = start_all(&mut timetable, ms(2000))[0];
        assert!(timetable.end(TargetId(1), run, ms(7000)));
        assert_eq!(timetable.next_due(), Some(ms(7000)));
    }

    #[test]
    fn targets_that_did_not_change_keep_their_schedule() {
        let mut timetable = Timetable::default();
        timetable.set_targets(vec![target(1), target(2), target(3)], ms(0), || 0);
        let running = start_all(&mut timetable, ms(0));
        for (run, id) in &running[..2] {
            assert!(timetable.end(TargetId(*id), *run, ms(5)));
        }
        let mut changed = target(2);
        changed.check.timeout = Duration::from_secs(1);
        timetable.set_targets(vec![target(1), changed, target(3), target(4)], ms(500), || u64::MAX / 2);
        let dues: Vec<_> = timetable.due.iter().map(|(due, id)| (due.as_nanos() / 1_000_000, id.0)).collect();
        assert_eq!(dues, [(1499, 2), (1499, 4), (2000, 1)]);
        // 3 is still being probed, and that probe still counts.
        assert!(timetable.end(TargetId(3), running[2].0, ms(600)));
    }

    #[test]
    fn outcomes_of_targets_that_changed_or_left_do_not_count() {
        let mut timetable = Timetable::default();
        timetable.set_targets(vec![target(1), target(2)], ms(0), || 0);
        let running = start_all(&mut timetable, ms(0));
        let mut changed = target(1);
        changed.check.timeout = Duration::from_secs(1);
        timetable.set_targets(vec![changed], ms(1), || 0);
        let again = start_all(&mut timetable, ms(1));
        assert!(!timetable.end(TargetId(1), running[0].0, ms(2)));
        assert!(!timetable.end(TargetId(2), running[1].0, ms(2)));
        assert!(timetable.end(TargetId(1), again[0].0, ms(3)));
    }

    /// How long after a healthy server breaks at `breaks` it is reported, if each probe then takes `takes` to fail;
    /// and how long until healthy after it works again.
    fn detection(breaks: Moment, takes: Duration) -> (Duration, Duration) {
        let group = ServerGroup {
            health_check: Some(check()),
            servers: vec![Server::new(target(1).server, Weight::MAX)],
            ..ServerGroup::new("web", &VpcName::new("vpc1"))
        };
        let mut health = GroupHealth::new(&group, &BTreeSet::new(), ms(0)).0;
        let mut timetable = Timetable::default();
        timetable.set_targets(vec![target(1)], ms(0), || 0);
        let mut broken_until = None;
        loop {
            let started = timetable.next_due().unwrap();
            let (run, _) = start_all(&mut timetable, started)[0];
            let fails = started >= breaks && broken_until.is_none_or(|until| started < until);
            let failure = Failure {
                reason: FailureReason::ConnectTimeout,
                actual: None,
                expected: None,
                detail: String::new(),
            };
            let outcome = if fails { Outcome::Failed(failure) } else { Outcome::Passed };
            let ended = started + if fails { takes } else { Duration::from_millis(1) };
            assert!(timetable.end(TargetId(1), run, ended));
            health.probed(target(1).server, outcome, ended);
            let status = health.standings().next().unwrap().status;
            match broken_until {
                None if status == Status::Unhealthy => broken_until = Some(ended + Duration::from_nanos(1)),
                Some(until) if status == Status::Normal => return (until.since(breaks), ended.since(until)),
                _ => {}
            }
        }
    }

    // Holds SG-188
    #[test]
    fn failure_and_recovery_are_noticed_within_the_stated_bounds() {
        // Breaking at any point of an interval, just after a probe started included.
        for breaks in (20_000..24_000).step_by(100).chain([20_001, 21_999, 22_001]) {
            let (refused, recovery) = detection(ms(breaks), Duration::from_millis(1));
            assert!(refused <= Duration::from_millis(6001), "refused at {breaks}: {refused:?}");
            assert!(recovery <= Duration::from_millis(6001), "recovery at {breaks}: {recovery:?}");
            // A silent server may recover just after a probe went out that hangs until its timeout.
            let (silent, recovery) = detection(ms(breaks), TIMEOUT);
            assert!(silent <= Duration::from_millis(17_001), "silent at {breaks}: {silent:?}");
            assert!(recovery <= Duration::from_millis(9001), "recovery at {breaks}: {recovery:?}");
        }
    }

    #[test]
    fn a_thousand_targets_are_probed_once_per_interval() {
        let mut timetable = Timetable::default();
        let mut draw = 0u64;
        let spread = || {
            draw = draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
            draw
        };
        timetable.set_targets((0..1000).map(target).collect(), ms(0), spread);
        let mut started = 0;
        for now in (0..20_000).map(ms) {
            for (run, id) in start_all(&mut timetable, now) {
                started += 1;
                assert!(timetable.end(TargetId(id), run, now));
            }
        }
        // Starts are late by up to the millisecond of this loop, so a target may miss its last turn.
        assert!((9_000..=10_000).contains(&started), "{started} probes in 10 intervals");
    }
}
