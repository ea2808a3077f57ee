//! Seeded random histories of server groups: every step is taken by the product's pure modules and by a plain reference
//! model written from the requirements, and both must agree on everything after it.
//!
//! - `history`: what can happen, and drawing it at random
//! - `reference`: what the requirements say then
//! - `subject`: the product, driven as its control loop drives it
//! - `run`: both in step, with what is in flight
//! - `picks`: who gets which requests
//! - `report`: the failing history, cut down, and how to run it again
//!
//! `cargo xtask test simulation` runs it; `--seed N` one history, `--seeds N --steps N` more or longer ones.

mod history;
mod picks;
mod reference;
mod report;
mod run;
mod subject;

use history::Generator;
use reference::Word;
use report::Failure;
use run::{Run, Sights};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Histories of a run that names none.
const SEEDS: u64 = 1_000;
/// Steps of each.
const STEPS: usize = 3_000;
/// Steps in all from which on a run must have seen everything that can happen.
const STEPS_THAT_SHOW_ALL: u64 = 300_000;

// Holds SG-80..SG-84, SG-87, SG-90..SG-94
// Holds SG-130, SG-133..SG-141
// Holds SG-151, SG-153..SG-156, SG-158, SG-159, SG-161
// Holds SG-171, SG-173, SG-174
// Holds SG-186, SG-187, SG-190, SG-192, SG-195
// Holds SG-200..SG-202, SG-226
#[test]
fn groups_do_what_the_requirements_say_whatever_happens() {
    let steps = setting("SIMULATION_STEPS").map_or(STEPS, |steps| steps as usize);
    let seeds = match setting("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let next = AtomicU64::new(seeds.start);
    let outcome: Mutex<(Seen, Option<Box<Failure>>)> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut seen = Seen::default();
                let mut failure = None;
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    failure = history(seed, steps, &mut seen).err();
                    if failure.is_some() {
                        // The others need not go on.
                        next.store(seeds.end, Ordering::Relaxed);
                        break;
                    }
                }
                let mut outcome = outcome.lock().expect("no thread panics while it adds");
                outcome.0.add(seen);
                outcome.1 = outcome.1.take().into_iter().chain(failure).min_by_key(|failure| failure.seed);
            });
        }
    });
    let (seen, failure) = outcome.into_inner().expect("no thread panics while it adds");
    if let Some(failure) = failure {
        panic!("{}", failure.report());
    }
    println!("{} histories of {steps} steps:", seeds.end - seeds.start);
    for (what, count) in &seen.sights.0 {
        println!("{count:>12}  {what}");
    }
    if (seeds.end - seeds.start) * steps as u64 >= STEPS_THAT_SHOW_ALL {
        seen.assert_complete();
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a whole number")))
}

/// Runs one history; the error holds it up to the first step at which something differs.
fn history(seed: u64, steps: usize, seen: &mut Seen) -> Result<(), Box<Failure>> {
    let mut generator = Generator::new(seed);
    let settings = generator.settings();
    let mut taken = Vec::new();
    let mut run = match report::catch(|| Run::new(&settings)) {
        Ok(run) => run,
        Err(difference) => return Err(Box::new(Failure { seed, settings, steps: taken, difference })),
    };
    for _ in 0..steps {
        let step = generator.step(run.reference());
        taken.push(step);
        let step = taken.last().expect("just pushed");
        if let Err(difference) = report::catch(|| run.step(step)) {
            return Err(Box::new(Failure { seed, settings, steps: taken, difference }));
        }
    }
    let mut sights = run.sights.clone();
    *sights.0.entry("slow start begins".to_owned()).or_default() += run.reference().ramps;
    seen.add(Seen { sights, arrows: run.reference().arrows.clone() });
    Ok(())
}

/// What happened in all histories together.
#[derive(Default)]
struct Seen {
    sights: Sights,
    arrows: BTreeSet<(Option<Word>, Option<Word>)>,
}

impl Seen {
    fn add(&mut self, other: Seen) {
        for (what, count) in other.sights.0 {
            *self.sights.0.entry(what).or_default() += count;
        }
        self.arrows.extend(other.arrows);
    }

    /// Every arrow of section 12 was taken (SG-200), and everything else that can happen did.
    fn assert_complete(&self) {
        use Word::{Initial, Normal, Removing, Unavailable, Unhealthy, Unused};
        let arrows = [
            (None, Some(Initial)),
            (None, Some(Unused)),
            (None, Some(Unavailable)),
            (Some(Initial), Some(Normal)),
            (Some(Initial), Some(Unhealthy)),
            (Some(Normal), Some(Unhealthy)),
            (Some(Unhealthy), Some(Normal)),
            (Some(Initial), Some(Unused)),
            (Some(Normal), Some(Unused)),
            (Some(Unhealthy), Some(Unused)),
            (Some(Unavailable), Some(Unused)),
            (Some(Unused), Some(Initial)),
            (Some(Unused), Some(Unavailable)),
            (Some(Initial), Some(Unavailable)),
            (Some(Normal), Some(Unavailable)),
            (Some(Unhealthy), Some(Unavailable)),
            (Some(Unavailable), Some(Normal)),
            (Some(Initial), Some(Removing)),
            (Some(Normal), Some(Removing)),
            (Some(Unhealthy), Some(Removing)),
            (Some(Unused), Some(Removing)),
            (Some(Unavailable), Some(Removing)),
            (Some(Removing), None),
            (Some(Normal), None),
        ];
        for arrow in arrows {
            assert!(self.arrows.contains(&arrow), "no history took {arrow:?}");
        }
        for what in [
            "request by Wrr",
            "request by Wlc",
            "request by Sch",
            "request by fail-open",
            "request without a server",
            "request to a ramping server",
            "slow start begins",
            "drain begins",
            "drain ends idle",
            "drain ends by its deadline",
            "drain cuts requests",
            "drain is cancelled",
            "fail-open begins",
            "fail-open ends",
            "fail-open begins in a zone",
            "fail-open ends in a zone",
        ] {
            assert!(self.sights.0.get(what).is_some_and(|count| *count > 0), "no history saw: {what}");
        }
    }
}
