//! Which requests the L7 engine is to end: drains in progress, and those whose time came before the engine had a snapshot
//! that says so.
//!
//! A worker cuts by itself at the time that is listed. A drain that is over is listed on until a snapshot with it has
//! been acknowledged after its deadline: before that, the engine may not have known of it.

use crate::health::{Drain, DrainEnd, Moment};
use crate::snapshot::Cut;
use std::collections::BTreeSet;

/// Cuts that have come due and may not have been carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    due: BTreeSet<Cut>,
}

impl Cuts {
    /// A drain of the server with this number ended. One that was cancelled, or had nothing left, needs no cut.
    pub fn ended(&mut self, server: u32, drain: &Drain, end: DrainEnd) {
        if end == DrainEnd::Deadline {
            self.due.insert(cut(server, drain));
        }
    }

    /// What the next snapshot lists, `running` being the drains in progress.
    pub fn listed<'a>(&self, running: impl IntoIterator<Item = (u32, &'a Drain)>) -> Vec<Cut> {
        let running = running.into_iter().map(|(server, drain)| cut(server, drain));
        self.due.iter().copied().chain(running).collect::<BTreeSet<Cut>>().into_iter().collect()
    }

    /// Every worker has a snapshot with these cuts, sent at `sent`: those due by then are carried out.
    pub fn acknowledged(&mut self, cuts: &[Cut], sent: Moment) {
        self.due.retain(|due| due.at_ns > sent.as_nanos() || !cuts.contains(due));
    }
}

fn cut(server: u32, drain: &Drain) -> Cut {
    Cut { server, begun_before_ns: drain.began.as_nanos(), at_ns: drain.deadline.as_nanos() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::DrainCause;

    fn drain(began: u64, deadline: u64) -> Drain {
        let (began, deadline) = (Moment::from_nanos(began), Moment::from_nanos(deadline));
        Drain { cause: DrainCause::Removed, began, deadline, in_flight: None }
    }

    fn at(cuts: &[Cut]) -> Vec<(u32, u64, u64)> {
        cuts.iter().map(|cut| (cut.server, cut.begun_before_ns, cut.at_ns)).collect()
    }

    // Holds SG-155
    #[test]
    fn a_drain_is_listed_from_its_beginning_until_its_cut_was_acknowledged() {
        let mut cuts = Cuts::default();
        let drain = drain(10, 40);
        let listed = cuts.listed([(7, &drain)]);
        assert_eq!(at(&listed), [(7, 10, 40)]);
        cuts.acknowledged(&listed, Moment::from_nanos(11));
        cuts.ended(7, &drain, DrainEnd::Deadline);
        assert_eq!(at(&cuts.listed([])), [(7, 10, 40)], "the engine had it before it came due");
        // A snapshot that was made before says nothing of it.
        cuts.acknowledged(&[], Moment::from_nanos(41));
        let listed = cuts.listed([]);
        assert_eq!(at(&listed), [(7, 10, 40)]);
        cuts.acknowledged(&listed, Moment::from_nanos(42));
        assert_eq!(at(&cuts.listed([])), []);
    }

    // Holds SG-156, SG-161
    #[test]
    fn drains_that_ended_early_or_were_cancelled_cut_nothing() {
        let mut cuts = Cuts::default();
        for end in [DrainEnd::Idle, DrainEnd::Cancelled] {
            cuts.ended(7, &drain(10, 40), end);
            assert_eq!(at(&cuts.listed([])), []);
        }
    }

    // Holds SG-151
    #[test]
    fn a_drain_without_time_cuts_with_the_next_snapshot() {
        let mut cuts = Cuts::default();
        cuts.ended(7, &drain(10, 10), DrainEnd::Deadline);
        let listed = cuts.listed([(8, &drain(5, 35))]);
        assert_eq!(at(&listed), [(7, 10, 10), (8, 5, 35)]);
        cuts.acknowledged(&listed, Moment::from_nanos(10));
        assert_eq!(at(&cuts.listed([])), []);
    }
}
