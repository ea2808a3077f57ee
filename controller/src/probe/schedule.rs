//! Runs the probes of all targets in one task, with one more task per probe in flight.

use super::timetable::{Run, Timetable};
use super::{ProbeResult, Target, TargetId, probe};
use crate::health::{Moment, Outcome};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The running probes; dropping it ends them.
#[derive(Debug)]
pub struct Prober {
    targets: watch::Sender<Vec<Target>>,
    timetable: Arc<Mutex<Timetable>>,
}

impl Prober {
    /// Starts with no targets, on the current tokio runtime. `clock` reads the control loop's moments; `seed` spreads
    /// first probes (SG-189). Outcomes are sent to `results`; while that channel is full no further probe starts.
    pub fn start(results: mpsc::Sender<ProbeResult>, clock: fn() -> Moment, seed: u64) -> Prober {
        let (targets, changes) = watch::channel(Vec::new());
        let origin = Origin { moment: clock(), instant: Instant::now() };
        let timetable = Arc::new(Mutex::new(Timetable::default()));
        let probe = |target: Target| async move { probe(&target).await };
        tokio::spawn(run(changes, results, timetable.clone(), origin, seed, probe));
        Prober { targets, timetable }
    }

    /// When the next probe of `id` starts; `None` while one runs, and for what is no target (yet).
    pub fn next_probe(&self, id: TargetId) -> Option<Moment> {
        locked(&self.timetable).due(id)
    }

    /// Replaces the targets; those that did not change keep their schedule.
    pub fn set_targets(&self, targets: Vec<Target>) {
        self.targets.send_replace(targets);
    }
}

/// One instant on two clocks that run alike: tokio's, which tests can pause, and the control loop's.
#[derive(Clone, Copy)]
struct Origin {
    moment: Moment,
    instant: Instant,
}

impl Origin {
    fn now(&self) -> Moment {
        self.moment + self.instant.elapsed()
    }

    fn instant(&self, moment: Moment) -> Instant {
        self.instant + moment.since(self.moment)
    }
}

/// Probes start in turns this far apart, so that many share a wake-up: at 500 probes a second, a good part of what they
/// cost. A probe starts up to this late, and never drifts, as long as an interval is a multiple of it.
const TURN: Duration = Duration::from_millis(10);

/// The last turn until `moment`.
fn turn_before(moment: Moment) -> Moment {
    let nanos = moment.as_nanos();
    Moment::from_nanos(nanos - nanos % TURN.as_nanos() as u64)
}

/// The first turn from `moment` on.
fn turn_from(moment: Moment) -> Moment {
    turn_before(moment + (TURN - Duration::from_nanos(1)))
}

/// The timetable, whoever panicked while holding it: it is whole between its calls.
fn locked(timetable: &Mutex<Timetable>) -> MutexGuard<'_, Timetable> {
    timetable.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run<F>(
    mut changes: watch::Receiver<Vec<Target>>,
    results: mpsc::Sender<ProbeResult>,
    timetable: Arc<Mutex<Timetable>>,
    origin: Origin,
    seed: u64,
    probe: impl Fn(Target) -> F,
) where
    F: Future<Output = Outcome> + Send + 'static,
{
    let mut running: JoinSet<(TargetId, Run, Outcome)> = JoinSet::new();
    let mut random = Random(seed);
    loop {
        let turn = turn_before(origin.now());
        let due = {
            let mut timetable = locked(&timetable);
            while let Some((run, target)) = timetable.start(turn) {
                let id = target.id;
                let probe = probe(target.clone());
                running.spawn(async move { (id, run, probe.await) });
            }
            timetable.next_due().map(|due| origin.instant(turn_from(due)))
        };
        let until_due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                let targets = changes.borrow_and_update().clone();
                locked(&timetable).set_targets(targets, origin.now(), || random.next());
            }
            Some(ended) = running.join_next() => {
                let (id, run, outcome) = ended.expect("probes neither panic nor are aborted before the set is dropped");
                let at = origin.now();
                let counts = locked(&timetable).end(id, run, at);
                if counts && results.send(ProbeResult { id, outcome, at }).await.is_err() {
                    return;
                }
            }
            () = until_due => {}
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tcp::tests::{expect_failure, refused_port, target};
    use super::*;
    use crate::health::{Failure, FailureReason};
    use crate::model::HealthCheckProtocol;
    use std::collections::BTreeMap;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn start_of_time() -> Moment {
        Moment::from_nanos(7)
    }

    fn numbered(id: u64) -> Target {
        Target { id: TargetId(id), ..target(80, HealthCheckProtocol::Tcp, TIMEOUT) }
    }

    /// A prober whose probes of even targets pass after 1 ms, and of odd ones time out after 5 s.
    fn fake() -> (watch::Sender<Vec<Target>>, mpsc::Receiver<ProbeResult>, Origin) {
        let (targets, changes) = watch::channel(Vec::new());
        let (results, received) = mpsc::channel(64);
        let origin = Origin { moment: start_of_time(), instant: Instant::now() };
        let silent = Failure {
            reason: FailureReason::ConnectTimeout,
            actual: None,
            expected: None,
            detail: String::new(),
        };
        let probe = move |target: Target| {
            let silent = silent.clone();
            async move {
                if target.id.0.is_multiple_of(2) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    Outcome::Passed
                } else {
                    tokio::time::sleep(target.check.timeout).await;
                    Outcome::Failed(silent)
                }
            }
        };
        tokio::spawn(run(changes, results, Arc::default(), origin, 42, probe));
        (targets, received, origin)
    }

    /// Times of the first `count` results of each target, by target.
    async fn times(
        received: &mut mpsc::Receiver<ProbeResult>,
        targets: u64,
        count: usize,
    ) -> BTreeMap<u64, Vec<Moment>> {
        let mut times: BTreeMap<u64, Vec<Moment>> = BTreeMap::new();
        while times.len() < targets as usize || times.values().any(|times| times.len() < count) {
            let result = received.recv().await.unwrap();
            assert_eq!(result.outcome == Outcome::Passed, result.id.0 % 2 == 0);
            times.entry(result.id.0).or_default().push(result.at);
        }
        times
    }

    // Holds SG-188, SG-189
    #[tokio::test(start_paused = true)]
    async fn probes_each_target_at_its_own_pace() {
        let (targets, mut received, _) = fake();
        targets.send_replace((0..20).map(numbered).collect());
        let times = times(&mut received, 20, 4).await;
        for (id, times) in &times {
            let first = times[0].since(start_of_time());
            let (earliest, latest, pace) = match id % 2 {
                0 => (0, 2010, 2000),
                _ => (5000, 7010, 5000),
            };
            assert!((earliest..latest).contains(&first.as_millis()), "target {id}: first at {first:?}");
            for pair in times.windows(2) {
                let gap = pair[1].since(pair[0]).as_millis() as i64;
                // Up to a turn late; timers have a resolution of 1 ms.
                assert!((-1..=11).contains(&(gap - pace)), "target {id}: {gap} ms apart");
            }
        }
        let firsts: std::collections::BTreeSet<_> = times.values().map(|times| times[0]).collect();
        assert!(firsts.len() > 15, "first probes are not spread: {firsts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn stops_probing_targets_that_left() {
        let (targets, mut received, origin) = fake();
        targets.send_replace(vec![numbered(2), numbered(4)]);
        times(&mut received, 2, 1).await;
        targets.send_replace(vec![numbered(4)]);
        // Whatever was sent before the change was taken in.
        tokio::time::sleep(Duration::from_millis(10)).await;
        while received.try_recv().is_ok() {}
        let until = origin.now() + Duration::from_secs(20);
        loop {
            let result = received.recv().await.unwrap();
            assert_eq!(result.id, TargetId(4));
            if result.at > until {
                break;
            }
        }
    }

    // Holds SG-188
    #[tokio::test(start_paused = true)]
    async fn turns_make_no_target_drift() {
        let (targets, mut received, _) = fake();
        targets.send_replace((0..20).map(|number| numbered(number * 2)).collect());
        let times = times(&mut received, 20, 20).await;
        for (id, times) in &times {
            let all = times[19].since(times[0]);
            assert!(all <= Duration::from_millis(19 * 2000 + 2), "target {id}: 19 intervals took {all:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ends_with_its_owner() {
        let (targets, mut received, _) = fake();
        targets.send_replace(vec![numbered(2)]);
        times(&mut received, 1, 1).await;
        drop(targets);
        while received.recv().await.is_some() {}
    }

    #[tokio::test]
    async fn reports_a_real_server() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_held, refused) = refused_port();
        let (results, mut received) = mpsc::channel(64);
        let prober = Prober::start(results, start_of_time, 1);
        let fast = |id, port| {
            let mut target = target(port, HealthCheckProtocol::Tcp, TIMEOUT);
            target.id = TargetId(id);
            target.check.interval = Duration::from_millis(10);
            target
        };
        assert_eq!(prober.next_probe(TargetId(1)), None);
        prober.set_targets(vec![fast(1, listener.local_addr().unwrap().port()), fast(2, refused)]);
        let mut seen = BTreeMap::new();
        while seen.len() < 2 {
            let result = received.recv().await.unwrap();
            if let Some(next) = prober.next_probe(result.id) {
                // From the start of the last probe, which was before its result, or at once.
                assert!(next.since(result.at) <= Duration::from_millis(10), "{next:?} after {result:?}");
            }
            seen.insert(result.id, result.outcome);
        }
        assert_eq!(seen.remove(&TargetId(1)), Some(Outcome::Passed));
        expect_failure(seen.remove(&TargetId(2)).unwrap(), FailureReason::ConnectFailed);
    }
}
