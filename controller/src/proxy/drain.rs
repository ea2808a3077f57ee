//! Requests under way, and the cuts that end them when their server's drain is over (SG-155, SG-157).
//!
//! Each connection has one [`Attempt`], in which a request notes its server and beginning: nothing else is paid per
//! request. Counting and cutting walk all of a worker's connections, which is for rare moments. Nothing here reads a
//! clock; times are CLOCK_MONOTONIC nanoseconds.
//!
//! Invariant: an attempt that is under way when a cut is first listed counts as begun before it. It was begun on an
//! older snapshot, perhaps later than the controller decided on the drain, and nobody else would ever end it. So a cut
//! must be listed from the drain's beginning on, before its server takes requests again.

use crate::snapshot::Cut;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Beginning of an attempt that is not under way; before no moment.
const NEVER: u64 = u64::MAX;

/// One connection's attempt at a request, from the pick of its server to its end.
pub struct Attempt {
    server: Cell<u32>,
    begun: Cell<u64>,
    cut: Cell<bool>,
}

impl Attempt {
    /// Under way at `server` until the guard is dropped, `begun` when the request took the snapshot it runs on: a retry
    /// may pick a server that has left since, and is to end with the others there.
    pub fn begin(&self, server: u32, begun: u64) -> AttemptGuard<'_> {
        self.server.set(server);
        self.begun.set(begun);
        AttemptGuard(self)
    }

    /// True once the attempt is to end.
    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }
}

/// Ends an attempt.
pub struct AttemptGuard<'a>(&'a Attempt);

impl Drop for AttemptGuard<'_> {
    fn drop(&mut self) {
        self.0.begun.set(NEVER);
        self.0.cut.set(false);
    }
}

/// The attempts of a worker's connections.
#[derive(Default)]
pub struct Attempts(RefCell<Slab<Rc<Attempt>>>);

impl Attempts {
    /// A new connection's, with the key to remove it by.
    pub fn add(&self) -> (usize, Rc<Attempt>) {
        let attempt =
            Rc::new(Attempt { server: Cell::new(0), begun: Cell::new(NEVER), cut: Cell::new(false) });
        (self.0.borrow_mut().insert(attempt.clone()), attempt)
    }

    pub fn remove(&self, key: usize) {
        self.0.borrow_mut().remove(key);
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// How many attempts are under way for each of `drains`: a server, and the moment they began before.
    pub fn count(&self, drains: &[(u32, u64)]) -> Vec<u64> {
        let mut sorted: Vec<_> = drains.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let mut counts = vec![0; drains.len()];
        for (_, attempt) in &*self.0.borrow() {
            let (server, begun) = (attempt.server.get(), attempt.begun.get());
            if begun == NEVER {
                continue;
            }
            let first = sorted.partition_point(|((drained, _), _)| *drained < server);
            for ((_, before), index) in
                sorted[first..].iter().take_while(|((drained, _), _)| *drained == server)
            {
                counts[*index] += u64::from(begun < *before);
            }
        }
        counts
    }

    /// Marks every attempt that one of `cuts` ends; whether there were any.
    fn cut(&self, cuts: &[Cut]) -> bool {
        let mut any = false;
        for (_, attempt) in &*self.0.borrow() {
            let (server, begun) = (attempt.server.get(), attempt.begun.get());
            if cuts.iter().any(|cut| cut.server == server && begun < cut.begun_before_ns) {
                attempt.cut.set(true);
                any = true;
            }
        }
        any
    }

    /// Dates every attempt at the server of `cut` that is under way to before it.
    fn date_back(&self, cut: &Cut) {
        for (_, attempt) in &*self.0.borrow() {
            let begun = attempt.begun.get();
            if attempt.server.get() == cut.server && begun != NEVER && begun >= cut.begun_before_ns {
                attempt.begun.set(cut.begun_before_ns.saturating_sub(1));
            }
        }
    }
}

/// The cuts in force.
#[derive(Default)]
pub struct Cuts(RefCell<Vec<Listed>>);

struct Listed {
    cut: Cut,
    done: bool,
}

impl Cuts {
    /// Takes `cuts` for those in force. The same server and `begun_before_ns` is the same cut.
    pub fn replace(&self, cuts: &[Cut], attempts: &Attempts) {
        let mut listed = self.0.borrow_mut();
        let news = cuts
            .iter()
            .map(|cut| {
                let known = listed.iter().find(|known| {
                    (known.cut.server, known.cut.begun_before_ns) == (cut.server, cut.begun_before_ns)
                });
                if known.is_none() {
                    attempts.date_back(cut);
                }
                Listed { cut: *cut, done: known.is_some_and(|known| known.done) }
            })
            .collect();
        *listed = news;
    }

    /// Marks the attempts whose cut has come due by `now`: whether there were any, and when the next comes due.
    pub fn enforce(&self, attempts: &Attempts, now: u64) -> (bool, Option<u64>) {
        let mut due = Vec::new();
        let mut next = None;
        for listed in self.0.borrow_mut().iter_mut().filter(|listed| !listed.done) {
            let at = listed.cut.at_ns;
            if at <= now {
                listed.done = true;
                due.push(listed.cut);
            } else {
                next = Some(next.map_or(at, |next: u64| next.min(at)));
            }
        }
        (!due.is_empty() && attempts.cut(&due), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(server: u32, begun_before_ns: u64, at_ns: u64) -> Cut {
        Cut { server, begun_before_ns, at_ns }
    }

    #[test]
    fn ends_what_began_before_and_nothing_else() {
        let attempts = Attempts::default();
        let all: Vec<_> = (0..4).map(|_| attempts.add().1).collect();
        let cuts = Cuts::default();
        cuts.replace(&[cut(1, 10, 50)], &attempts);
        let _guards = [all[0].begin(1, 9), all[1].begin(1, 10), all[2].begin(2, 9)];
        assert_eq!(cuts.enforce(&attempts, 49), (false, Some(50)));
        assert_eq!(cuts.enforce(&attempts, 50), (true, None));
        let marked: Vec<_> = all.iter().map(|attempt| attempt.is_cut()).collect();
        assert_eq!(marked, [true, false, false, false]);
        assert_eq!(attempts.count(&[(2, 10), (1, 11), (1, 10), (3, 99)]), [1, 2, 1, 0]);
    }

    #[test]
    fn an_attempt_that_ended_is_neither_cut_nor_counted() {
        let attempts = Attempts::default();
        let (key, attempt) = attempts.add();
        let cuts = Cuts::default();
        cuts.replace(&[cut(1, 10, 50)], &attempts);
        let guard = attempt.begin(1, 5);
        cuts.enforce(&attempts, 50);
        drop(guard);
        assert!(!attempt.is_cut());
        assert_eq!(attempts.count(&[(1, NEVER)]), [0]);
        attempts.remove(key);
        assert_eq!(attempts.len(), 0);
    }

    #[test]
    fn a_cut_no_longer_listed_is_cancelled_and_a_moved_one_comes_due_when_it_says() {
        let attempts = Attempts::default();
        let (_, attempt) = attempts.add();
        let _guard = attempt.begin(1, 5);
        let cuts = Cuts::default();
        cuts.replace(&[cut(1, 10, 50), cut(1, 7, 60)], &attempts);
        cuts.replace(&[cut(1, 7, 80)], &attempts);
        assert_eq!(cuts.enforce(&attempts, 70), (false, Some(80)));
        cuts.replace(&[], &attempts);
        assert_eq!(cuts.enforce(&attempts, 90), (false, None));
        assert!(!attempt.is_cut());
    }

    #[test]
    fn what_began_late_on_an_older_snapshot_counts_as_begun_before() {
        let attempts = Attempts::default();
        let ((_, old), (_, new)) = (attempts.add(), attempts.add());
        let _old = old.begin(1, 20);
        let cuts = Cuts::default();
        cuts.replace(&[cut(1, 10, 50)], &attempts);
        let _new = new.begin(1, 20);
        // The same cut again is no new one.
        cuts.replace(&[cut(1, 10, 50)], &attempts);
        assert_eq!(attempts.count(&[(1, 10)]), [1]);
        assert_eq!(cuts.enforce(&attempts, 50), (true, None));
        assert_eq!((old.is_cut(), new.is_cut()), (true, false));
    }
}
