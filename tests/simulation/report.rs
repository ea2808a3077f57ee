//! A failing history for people: its end, the shortest part of it that still fails, and how to run it again.

use crate::history::{Seconds, Step};
use crate::reference::{Scheduler, Settings};
use crate::run::{Difference, Run, picture};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Steps shown of a long history.
const TAIL: usize = 20;

/// A history whose last step showed a difference.
pub struct Failure {
    pub seed: u64,
    pub settings: Settings,
    pub steps: Vec<Step>,
    pub difference: Difference,
}

impl Failure {
    /// All of it, as text.
    pub fn report(&self) -> String {
        let count = self.steps.len();
        let mut text = format!("seed {}, step {count}: {}\n", self.seed, self.difference);
        let skipped = count.saturating_sub(TAIL);
        let _ = write!(text, "\nthe last {} of {count} steps:\n", count - skipped);
        tell(&mut text, &self.settings, &self.steps, skipped);
        let Shortened { settings, steps, difference } = self.shortened();
        let _ = write!(text, "\n{} steps suffice for: {difference}\n  begin: {settings}\n", steps.len());
        tell(&mut text, &settings, &steps, 0);
        let _ = write!(
            text,
            "\nrun it again: cargo xtask test simulation --seed {} --steps {count}\n",
            self.seed
        );
        text
    }

    /// The history without what can be left out, as long as a difference of the same kind remains: pieces of it, ever
    /// smaller ones; then single changes of configurations, and servers and settings it begins with.
    fn shortened(&self) -> Shortened {
        let mut best = Shortened {
            settings: self.settings.clone(),
            steps: self.steps.clone(),
            difference: self.difference.clone(),
        };
        let mut piece = best.steps.len().div_ceil(2);
        while piece > 0 {
            let mut place = 0;
            while place < best.steps.len() {
                let mut fewer = best.steps.clone();
                fewer.drain(place..(place + piece).min(best.steps.len()));
                if !best.improve(best.settings.clone(), fewer) {
                    place += piece;
                }
            }
            piece /= 2;
        }
        for place in (0..best.settings.servers.len()).rev() {
            let mut settings = best.settings.clone();
            settings.servers.remove(place);
            best.improve(settings, best.steps.clone());
        }
        let without: [fn(&mut Settings); 4] = [
            |settings| settings.scheduler = Scheduler::Wrr,
            |settings| settings.checks = None,
            |settings| settings.slow_start = None,
            |settings| settings.drain = None,
        ];
        for without in without {
            let mut settings = best.settings.clone();
            without(&mut settings);
            best.improve(settings, best.steps.clone());
        }
        let mut place = 0;
        while let Some(step) = best.steps.get(place) {
            let Step::Configure(changes) = step else {
                place += 1;
                continue;
            };
            let changes = changes.clone();
            let is_shorter = changes.len() > 1
                && (0..changes.len()).any(|left_out| {
                    let (mut changes, mut steps) = (changes.clone(), best.steps.clone());
                    changes.remove(left_out);
                    steps[place] = Step::Configure(changes);
                    best.improve(best.settings.clone(), steps)
                });
            place += usize::from(!is_shorter);
        }
        best
    }
}

/// A history that shows a difference.
struct Shortened {
    settings: Settings,
    steps: Vec<Step>,
    difference: Difference,
}

impl Shortened {
    /// Takes on a smaller history if it still shows a difference of the same kind.
    fn improve(&mut self, settings: Settings, mut steps: Vec<Step>) -> bool {
        match first_difference(&settings, &steps) {
            Some((end, difference)) if kind(&difference) == kind(&self.difference) => {
                steps.truncate(end);
                *self = Shortened { settings, steps, difference };
                true
            }
            _ => false,
        }
    }
}

/// Runs `check`, with a panic of the product as a difference.
pub fn catch<T>(check: impl FnOnce() -> Result<T, Difference>) -> Result<T, Difference> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Difference::new(
            "panic",
            "none",
            text.unwrap_or_default(),
            "whatever happens, the control loop goes on",
        ))
    })
}

/// What differs, whichever server it is of.
fn kind(difference: &Difference) -> &str {
    difference.what.split_once(": ").map_or(&difference.what, |(_, what)| what)
}

/// The first difference of a history, and after how many steps.
fn first_difference(settings: &Settings, steps: &[Step]) -> Option<(usize, Difference)> {
    let mut run = match catch(|| Run::new(settings)) {
        Ok(run) => run,
        Err(difference) => return Some((0, difference)),
    };
    steps
        .iter()
        .enumerate()
        .find_map(|(place, step)| catch(|| run.step(step)).err().map(|difference| (place + 1, difference)))
}

/// Writes the steps from `first` on, each with where the reference stands after it.
fn tell(text: &mut String, settings: &Settings, steps: &[Step], first: usize) {
    let Ok(mut run) = Run::new(settings) else { return };
    for (place, step) in steps.iter().enumerate() {
        let before = run.reference().now;
        // The last step differs, and is told all the same.
        let _ = catch(|| run.step(step));
        if place < first {
            continue;
        }
        let _ = writeln!(text, "{:>5}  at {} s: {step}", place + 1, Seconds(before));
        let _ = writeln!(text, "           {}", picture(run.reference()));
    }
}
