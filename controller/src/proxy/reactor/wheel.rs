//! Timers of one thread: a wheel of buckets, one tick each.
//!
//! A deadline that moves further away costs nothing: the entry stays in its bucket and is put into a later one when
//! that bucket's turn comes. Connections push their deadline on with every request, so this is the common case. Times
//! are nanoseconds of CLOCK_MONOTONIC and always arguments.

use slab::Slab;
use std::task::Waker;

/// Length of a tick. A timer fires in the first turn at or after its deadline that begins a new tick.
pub const TICK_NS: u64 = 8_000_000;
/// Buckets; a deadline further away than these waits in the last one and is looked at again.
const BUCKETS: u64 = 1024;
/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    /// Length of a tick.
    tick_ns: u64,
    entries: Slab<Entry>,
    buckets: Vec<Vec<usize>>,
    /// One bit per bucket that is not empty, so that the next one is found without touching them.
    occupied: [u64; BUCKETS as usize / 64],
    /// The last tick whose bucket was emptied.
    tick: u64,
}

#[derive(Debug)]
struct Entry {
    deadline: u64,
    /// Tick and position in its bucket, while in one.
    place: Option<(u64, usize)>,
    waker: Option<Waker>,
}

impl Wheel {
    /// An empty wheel at `now`, with ticks of so many nanoseconds.
    pub fn new(now: u64, tick_ns: u64) -> Wheel {
        let buckets = (0..BUCKETS).map(|_| Vec::new()).collect();
        let occupied = [0; BUCKETS as usize / 64];
        Wheel { tick_ns, entries: Slab::new(), buckets, occupied, tick: now / tick_ns }
    }

    /// A timer without a deadline.
    pub fn insert(&mut self) -> usize {
        self.entries.insert(Entry { deadline: NEVER, place: None, waker: None })
    }

    /// Forgets a timer.
    pub fn remove(&mut self, key: usize) {
        self.unplace(key);
        self.entries.remove(key);
    }

    /// Moves a timer's deadline; [`NEVER`] takes it away.
    pub fn set(&mut self, key: usize, deadline: u64) {
        let entry = &mut self.entries[key];
        entry.deadline = deadline;
        if deadline == NEVER {
            return;
        }
        let wanted = self.tick_for(deadline);
        match self.entries[key].place {
            Some((tick, _)) if tick <= wanted => {}
            Some(_) => {
                self.unplace(key);
                self.place(key, wanted);
            }
            None => self.place(key, wanted),
        }
    }

    /// True at and after the deadline; otherwise `waker` is woken then.
    pub fn poll(&mut self, key: usize, now: u64, waker: &Waker) -> bool {
        let entry = &mut self.entries[key];
        if entry.deadline <= now {
            return true;
        }
        match &mut entry.waker {
            Some(known) => known.clone_from(waker),
            None => entry.waker = Some(waker.clone()),
        }
        false
    }

    /// Calls `wake` for every timer whose deadline `now` has reached.
    pub fn advance(&mut self, now: u64, mut wake: impl FnMut(&Waker)) {
        let target = now / self.tick_ns;
        if self.entries.is_empty() {
            self.tick = target;
            return;
        }
        // After a pause longer than a rotation every bucket is due once.
        let mut tick = self.tick.max(target.saturating_sub(BUCKETS));
        while tick < target {
            tick += 1;
            self.tick = tick;
            let bucket = (tick % BUCKETS) as usize;
            if self.buckets[bucket].is_empty() {
                continue;
            }
            let mut due = std::mem::take(&mut self.buckets[bucket]);
            self.mark(tick, false);
            for key in due.drain(..) {
                let entry = &mut self.entries[key];
                entry.place = None;
                if entry.deadline <= now {
                    if let Some(waker) = &entry.waker {
                        wake(waker);
                    }
                } else if entry.deadline != NEVER {
                    let tick = self.tick_for(self.entries[key].deadline);
                    self.place(key, tick);
                }
            }
            self.buckets[bucket] = due;
        }
    }

    /// Nanoseconds from `now` until [`Wheel::advance`] may have something to do; `None` without deadlines.
    pub fn next(&self, now: u64) -> Option<u64> {
        if self.entries.is_empty() {
            return None;
        }
        let first = self.tick + 1;
        let words = self.occupied.len();
        // The first word is looked at twice: its bits from `first` on, and at last those before.
        let mut mask = u64::MAX << (first % 64);
        for step in 0..=words {
            let word = ((first % BUCKETS) / 64) as usize + step;
            let bits = self.occupied[word % words] & mask;
            if bits != 0 {
                let bucket = (word % words) as u64 * 64 + u64::from(bits.trailing_zeros());
                let ahead = (bucket + BUCKETS - first % BUCKETS) % BUCKETS;
                return Some(((first + ahead) * self.tick_ns).saturating_sub(now));
            }
            mask = u64::MAX;
        }
        None
    }

    fn mark(&mut self, tick: u64, occupied: bool) {
        let bucket = tick % BUCKETS;
        let bit = 1 << (bucket % 64);
        let word = &mut self.occupied[(bucket / 64) as usize];
        *word = if occupied { *word | bit } else { *word & !bit };
    }

    /// The tick at which `deadline` has passed, within the wheel's reach.
    fn tick_for(&self, deadline: u64) -> u64 {
        deadline.div_ceil(self.tick_ns).clamp(self.tick + 1, self.tick + BUCKETS - 1)
    }

    fn place(&mut self, key: usize, tick: u64) {
        let bucket = &mut self.buckets[(tick % BUCKETS) as usize];
        self.entries[key].place = Some((tick, bucket.len()));
        bucket.push(key);
        self.mark(tick, true);
    }

    fn unplace(&mut self, key: usize) {
        let Some((tick, position)) = self.entries[key].place.take() else { return };
        let bucket = &mut self.buckets[(tick % BUCKETS) as usize];
        bucket.swap_remove(position);
        if let Some(&moved) = bucket.get(position) {
            self.entries[moved].place = Some((tick, position));
        }
        if bucket.is_empty() {
            self.mark(tick, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn fires_within_a_tick_after_the_deadline_and_not_before() {
        for deadline in [1, TICK_NS, 3 * SECOND, 8 * SECOND, 100 * SECOND + 1] {
            let start = 77 * SECOND + 5;
            let mut wheel = Wheel::new(start, TICK_NS);
            let (_, waker) = counted();
            let key = wheel.insert();
            wheel.set(key, start + deadline);
            assert!(!wheel.poll(key, start, &waker));
            let mut now = start;
            let fired = loop {
                now += wheel.next(now).expect("armed").max(1);
                let mut fired = false;
                wheel.advance(now, |_| fired = true);
                if fired {
                    break now;
                }
            };
            assert!((start + deadline..=start + deadline + TICK_NS).contains(&fired), "{deadline}: {fired}");
            assert!(wheel.poll(key, fired, &waker));
            assert_eq!(wheel.next(fired), None);
        }
    }

    #[test]
    fn names_the_next_bucket_wherever_it_is() {
        for start in 0..BUCKETS {
            for ahead in [1, 2, 63, 64, 65, 500, BUCKETS - 2, BUCKETS - 1] {
                let mut wheel = Wheel::new(start * TICK_NS, TICK_NS);
                assert_eq!(wheel.next(start * TICK_NS), None);
                let key = wheel.insert();
                wheel.set(key, (start + ahead) * TICK_NS);
                assert_eq!(wheel.next(start * TICK_NS), Some(ahead * TICK_NS), "from {start}");
                wheel.remove(key);
                assert_eq!(wheel.next(start * TICK_NS), None);
            }
        }
    }

    #[test]
    fn a_deadline_pushed_on_fires_once_at_its_last_place() {
        let mut wheel = Wheel::new(0, TICK_NS);
        let key = wheel.insert();
        let (count, waker) = counted();
        for request in 0..100 {
            wheel.set(key, request * SECOND / 10 + SECOND);
            wheel.poll(key, 0, &waker);
            wheel.advance(request * SECOND / 10, |waker| waker.wake_by_ref());
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        wheel.advance(60 * SECOND, |waker| waker.wake_by_ref());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_deadline_drawn_nearer_fires_early_and_a_removed_one_never() {
        let mut wheel = Wheel::new(0, TICK_NS);
        let (count, waker) = counted();
        let keys: Vec<usize> = (0..5).map(|_| wheel.insert()).collect();
        for &key in &keys {
            wheel.set(key, 5 * SECOND);
            wheel.poll(key, 0, &waker);
        }
        wheel.set(keys[2], SECOND);
        wheel.remove(keys[0]);
        wheel.set(keys[4], NEVER);
        wheel.advance(SECOND + TICK_NS, |waker| waker.wake_by_ref());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        wheel.advance(50 * SECOND, |waker| waker.wake_by_ref());
        assert_eq!(count.0.load(Ordering::Relaxed), 3);
    }
}
