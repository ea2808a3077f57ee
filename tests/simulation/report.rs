//! A failing history for people: its end, the shortest part of it that still fails, and how to run it again.

use crate::history::{Seconds, Step};
use crate::reference::Settings;
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
        let (steps, difference) = self.shortened();
        let _ =
            write!(text, "\n{} steps suffice for: {difference}\n  begin: {}\n", steps.len(), self.settings);
        tell(&mut text, &self.settings, &steps, 0);
        let _ = write!(
            text,
            "\nrun it again: cargo xtask test simulation --seed {} --steps {count}\n",
            self.seed
        );
        text
    }

    /// The history without what can be left out: ever smaller pieces, as long as some difference in the same thing
    /// remains.
    fn shortened(&self) -> (Vec<Step>, Difference) {
        let mut steps = self.steps.clone();
        let mut difference = self.difference.clone();
        let mut piece = steps.len().div_ceil(2);
        while piece > 0 {
            let mut place = 0;
            let mut is_shorter = false;
            while place < steps.len() {
                let mut fewer = steps.clone();
                fewer.drain(place..(place + piece).min(steps.len()));
                match first_difference(&self.settings, &fewer) {
                    Some((end, found)) if kind(&found) == kind(&self.difference) => {
                        fewer.truncate(end);
                        (steps, difference) = (fewer, found);
                        is_shorter = true;
                    }
                    _ => place += piece,
                }
            }
            if !is_shorter || piece > 1 {
                piece /= 2;
            }
        }
        (steps, difference)
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
