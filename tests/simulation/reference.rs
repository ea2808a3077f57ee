//! What the requirements say a server group does, written as plainly as they are, apart from the product's code: facts
//! about each stay of a server, and rules over them. Every rule names its requirement, for the report of a difference.
//!
//! Absent here: anything of `controller`.

use std::collections::BTreeSet;

/// Nanoseconds since the history began.
pub type Nanos = u64;
/// One second.
pub const SECOND: Nanos = 1_000_000_000;
/// A server: the last byte of its address.
pub type Address = u8;

/// A zone. The balancer is in those of [`ZONES`].
pub type Zone = char;
/// Zones the balancer is in.
pub const ZONES: [Zone; 2] = ['a', 'b'];

/// The zone of a server's vSwitch (SG-175).
pub fn zone_of(address: Address) -> Option<Zone> {
    match address {
        1..=3 => Some('a'),
        4 | 5 => Some('b'),
        6 => Some('c'),
        _ => None,
    }
}

/// Servers that carry traffic for each other: those of a zone; `None`: all, as traffic crosses zones (SG-170).
pub type Realm = Option<Zone>;

/// What is configured for the group, and the zones the node serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Servers and their weights, in order.
    pub servers: Vec<(Address, u32)>,
    /// Whether traffic crosses zones.
    pub cross_zone: bool,
    /// The node's zones, of [`ZONES`].
    pub served: &'static [Zone],
    /// How a server is picked (SG-80).
    pub scheduler: Scheduler,
    /// `None`: off.
    pub checks: Option<Checks>,
    /// Duration; `None`: off, as with every scheduler but Wrr (SG-131).
    pub slow_start: Option<Nanos>,
    /// Timeout; `None`: off.
    pub drain: Option<Nanos>,
}

/// How a server is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    Wrr,
    Wlc,
    Sch,
}

/// Settings of the health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Passes in a row until healthy.
    pub healthy: u8,
    /// Failures in a row until unhealthy.
    pub unhealthy: u8,
    /// Seconds; matters here only as a setting that can change.
    pub interval: u8,
}

/// The API's words for where a server stands (SG-192).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    Normal,
    Initial,
    Unhealthy,
    Unused,
    Unavailable,
    Removing,
}

/// Why a server drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    Unhealthy,
    Removed,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Idle,
    Deadline,
    Cancelled,
}

/// A drain: what began before `began` is cut at `deadline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drain {
    pub cause: Cause,
    pub began: Nanos,
    pub deadline: Nanos,
}

/// What became of the requests a drain waited for, so far as they were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tally {
    pub finished: u64,
    pub cut: u64,
}

/// What happens, beyond where servers stand; in any order within one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// Of the stay with that number.
    DrainBegan(u32, Drain),
    DrainEnded(u32, Drain, End, Option<Tally>),
    FailOpen(Realm, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// No evidence yet.
    Unknown,
    Good,
    Bad,
}

/// One stay of a server in the group, from joining until nothing of it is left.
#[derive(Clone, Debug)]
pub struct Stay {
    /// Stays are numbered in order of joining.
    pub number: u32,
    pub address: Address,
    pub weight: u32,
    pub has_left: bool,
    /// Results since counting last began, oldest first: passed or not.
    results: Vec<bool>,
    verdict: Verdict,
    /// Number of the latest failure, as [`crate::history::Step::Probe`] gives it.
    pub failure: Option<u32>,
    /// Since when its verdict is good and it is in use.
    good_since: Option<Nanos>,
    pub ramp: Option<Nanos>,
    pub drains: Vec<Drain>,
    /// For each drain, every count of its own requests: those of older drains are left out.
    counts: Vec<Vec<u64>>,
    was_shut_out: bool,
    word: Word,
    pub since: Nanos,
    pub why: Why,
}

/// The requirements by which a server stands where it does.
#[derive(Clone, Copy, Debug)]
pub struct Why {
    pub word: &'static str,
    pub ramp: &'static str,
    pub drains: &'static str,
}

/// A group at a moment.
#[derive(Clone, Debug)]
pub struct Reference {
    pub now: Nanos,
    pub settings: Settings,
    /// In the order of the settings.
    pub members: Vec<Stay>,
    /// Those that left and drain, in the order in which they left.
    pub left: Vec<Stay>,
    /// Where all servers receive because none is good.
    pub fail_open: BTreeSet<Realm>,
    /// Since last taken.
    pub happenings: Vec<Happening>,
    /// Every change of word there was, for checking that a run saw all of them. `None`: absent.
    pub arrows: BTreeSet<(Option<Word>, Option<Word>)>,
    /// Slow starts so far.
    pub ramps: u64,
    stays: u32,
}

impl Reference {
    /// A group whose servers all join at `now`.
    pub fn new(settings: Settings, now: Nanos) -> Reference {
        let nothing = Settings { servers: Vec::new(), ..settings.clone() };
        let mut reference = Reference {
            now,
            settings: nothing,
            members: Vec::new(),
            left: Vec::new(),
            fail_open: BTreeSet::new(),
            happenings: Vec::new(),
            arrows: BTreeSet::new(),
            ramps: 0,
            stays: 0,
        };
        reference.configure(settings);
        reference
    }

    /// Members, then those that left and drain.
    pub fn servers(&self) -> impl Iterator<Item = &Stay> {
        self.members.iter().chain(&self.left)
    }

    /// The part of the group that a server is in; `None`: this node's traffic does not reach it (SG-171).
    pub fn realm_of(&self, address: Address) -> Option<Realm> {
        if self.settings.cross_zone {
            return Some(None);
        }
        zone_of(address).filter(|zone| self.settings.served.contains(zone)).map(Some)
    }

    /// Whether requests that enter `zone` may go to the server, as far as zones go.
    pub fn is_reached_from(&self, zone: Zone, stay: &Stay) -> bool {
        self.realm_of(stay.address).is_some_and(|realm| realm.is_none_or(|own| own == zone))
    }

    /// Whether requests that enter `zone` go to servers of which none is good.
    pub fn is_fail_open(&self, zone: Zone) -> bool {
        self.fail_open.contains(&None) || self.fail_open.contains(&Some(zone))
    }

    /// Has weight, and traffic reaches it (SG-90, SG-171).
    fn is_in_use(&self, stay: &Stay) -> bool {
        !stay.has_left && stay.weight > 0 && self.realm_of(stay.address).is_some()
    }

    /// The word for a server (section 12).
    pub fn word(&self, stay: &Stay) -> Word {
        match stay.verdict {
            _ if stay.has_left => Word::Removing,
            _ if !self.is_in_use(stay) => Word::Unused,
            _ if self.settings.checks.is_none() => Word::Unavailable,
            Verdict::Unknown => Word::Initial,
            Verdict::Good => Word::Normal,
            Verdict::Bad => Word::Unhealthy,
        }
    }

    /// Whether new requests may go to the server, and by which requirement.
    pub fn receives(&self, stay: &Stay) -> (bool, &'static str) {
        match stay.verdict {
            _ if stay.has_left => (false, "SG-201, SG-226: a server that was removed takes nothing new"),
            _ if stay.weight == 0 => (false, "SG-90: weight 0 takes nothing new"),
            _ if !self.is_in_use(stay) => (false, "SG-171: traffic stays in its zone"),
            Verdict::Good => (true, "SG-92, SG-190: a server that is healthy or not checked takes its share"),
            _ if self.no_member_is_good(self.realm_of(stay.address)) => {
                (true, "SG-93, SG-173: no server with weight is healthy, so all receive")
            }
            Verdict::Unknown => (false, "SG-187: nothing until healthy, while others are"),
            Verdict::Bad => (false, "SG-92: nothing while unhealthy, while others are not"),
        }
    }

    /// SG-93, SG-94, SG-173: there are servers with weight, and none of them is good.
    fn no_member_is_good(&self, realm: Option<Realm>) -> bool {
        let is_there = |stay: &&Stay| self.is_in_use(stay) && self.realm_of(stay.address) == realm;
        let mut with_weight = self.members.iter().filter(is_there).peekable();
        with_weight.peek().is_some() && with_weight.all(|stay| stay.verdict != Verdict::Good)
    }

    /// SG-91, SG-174, SG-190: servers in use are probed, while checks are on.
    pub fn probed(&self) -> Vec<Address> {
        let checked = self.settings.checks.is_some();
        self.members.iter().filter(|stay| checked && self.is_in_use(stay)).map(|stay| stay.address).collect()
    }

    /// The fraction of its weight a server counts with (SG-133), as (numerator, denominator).
    pub fn fraction(&self, stay: &Stay) -> (u128, u128) {
        let (Some(start), Some(duration)) = (stay.ramp, self.settings.slow_start) else { return (1, 1) };
        let (age, duration) = (u128::from(self.now - start), u128::from(duration));
        if age * 10 < duration { (1, 10) } else { (age.min(duration), duration) }
    }

    /// The same in an L4 table, which climbs in 8 steps, each the fraction of its middle in whole thousandths.
    pub fn table_fraction(&self, stay: &Stay) -> (u128, u128) {
        let (Some(start), Some(duration)) = (stay.ramp, self.settings.slow_start) else { return (1, 1) };
        match u128::from(self.now - start) * 8 / u128::from(duration) {
            0 => (1, 10),
            step @ 1..8 => ((step * 2 + 1) * 1000 / 16, 1000),
            _ => (1, 1),
        }
    }

    /// Moments at which time alone changes something.
    pub fn deadlines(&self) -> Vec<Nanos> {
        let drains = self.servers().flat_map(|stay| &stay.drains).map(|drain| drain.deadline);
        let steps = self.members.iter().flat_map(|stay| {
            let ramp = stay.ramp.zip(self.settings.slow_start);
            (1..=8)
                .filter_map(move |step| ramp.map(|(start, duration)| start + (duration * step).div_ceil(8)))
        });
        drains.chain(steps).filter(|deadline| *deadline > self.now).collect()
    }

    /// Time passes.
    pub fn wait_until(&mut self, now: Nanos) {
        self.now = now;
        self.expire();
    }

    /// A probe of `address` ended.
    pub fn probe(&mut self, address: Address, result: Result<(), u32>) {
        self.expire();
        let Some(checks) = self.settings.checks else { return };
        let others = self.normal();
        let Some(place) = self.members.iter().position(|stay| stay.address == address) else { return };
        if !self.is_in_use(&self.members[place]) {
            return;
        }
        let stay = &mut self.members[place];
        stay.results.push(result.is_ok());
        stay.failure = result.err().or(stay.failure);
        let before = stay.verdict;
        // SG-186
        if stay.last_results_are(true, checks.healthy) {
            stay.verdict = Verdict::Good;
            stay.why.word = "SG-186: healthy after HealthyThreshold passes in a row";
        } else if stay.last_results_are(false, checks.unhealthy) {
            stay.verdict = Verdict::Bad;
            stay.why.word = "SG-186: unhealthy after UnhealthyThreshold failures in a row";
        }
        let number = stay.number;
        if stay.verdict == before {
            stay.why.word = "SG-186: a verdict changes after as many results in a row as its threshold says, and one \
                             of the other kind resets the count";
        }
        self.enter_traffic(&[number], &others);
        self.settle();
    }

    /// What was in flight to the stay at `counted_at`: `open` tells of each drain how many requests begun before it.
    pub fn counted(&mut self, number: u32, open: impl Fn(&Drain) -> u64, counted_at: Nanos) {
        self.expire();
        // What was counted before a drain began says nothing about it.
        let is_about = |drain: &Drain| drain.began <= counted_at;
        for stay in self.members.iter_mut().chain(&mut self.left).filter(|stay| stay.number == number) {
            let mut older = 0;
            for (drain, counts) in stay.drains.iter().zip(&mut stay.counts) {
                if is_about(drain) {
                    counts.push(open(drain).saturating_sub(older));
                }
                older = open(drain);
            }
        }
        // SG-156: nothing is in flight that it would cut.
        self.end_drains(End::Idle, |stay, place| {
            let drain = &stay.drains[place];
            stay.number == number && is_about(drain) && open(drain) == 0
        });
        self.settle();
    }

    /// New settings, in force all at once.
    pub fn configure(&mut self, settings: Settings) {
        self.expire();
        let in_use: Vec<u32> =
            self.members.iter().filter(|stay| self.is_in_use(stay)).map(|stay| stay.number).collect();
        let before = std::mem::replace(&mut self.settings, settings);
        // A ramp is judged by the settings that now hold.
        self.expire();
        let normal_before = self.normal();

        let mut stayed = Vec::new();
        for mut stay in std::mem::take(&mut self.members) {
            if self.settings.servers.iter().any(|(address, _)| *address == stay.address) {
                stayed.push(stay);
                continue;
            }
            stay.has_left = true;
            stay.ramp = None;
            stay.why = Why {
                word: "SG-202: shown as Removing while it drains",
                ramp: "SG-138: removing a server ends its slow start",
                drains: "SG-153: removal begins a drain",
            };
            self.left.push(stay);
            let place = self.left.len() - 1;
            if let Some(drain) = self.new_drain(Cause::Removed) {
                self.happenings.push(Happening::DrainBegan(self.left[place].number, drain));
                self.left[place].begin(drain);
            }
        }

        let checked = self.settings.checks.is_some();
        let fresh = if checked { Verdict::Unknown } else { Verdict::Good };
        for (address, weight) in self.settings.servers.clone() {
            let known = stayed.iter().position(|stay| stay.address == address);
            let Some(place) = known else {
                let mut stay = Stay::join(self.stays, address, weight, self.now);
                self.stays += 1;
                stay.verdict = if self.is_in_use(&stay) { fresh } else { Verdict::Unknown };
                stay.word = self.word(&stay);
                self.arrows.insert((None, Some(stay.word)));
                self.members.push(stay);
                continue;
            };
            let mut stay = stayed.remove(place);
            if before.checks != self.settings.checks {
                stay.results.clear();
                stay.why.word = "SG-195: other settings restart the counts and leave the verdict";
            }
            stay.weight = weight;
            let (was_in_use, is_in_use) = (in_use.contains(&stay.number), self.is_in_use(&stay));
            if !checked && is_in_use {
                stay.verdict = Verdict::Good;
                stay.why.word = "SG-190: with checks off every server is usable";
            }
            if was_in_use != is_in_use {
                stay.results.clear();
                stay.verdict = if is_in_use { fresh } else { Verdict::Unknown };
                stay.why.word = "SG-91, SG-174, section 12: Unused at weight 0 or out of reach, and back from there it is new";
            }
            self.members.push(stay);
        }
        let numbers: Vec<u32> = self.members.iter().map(|stay| stay.number).collect();
        self.enter_traffic(&numbers, &normal_before);
        self.settle();
    }

    /// Members that carry their full share: good, with weight, not ramping (D-11); and were so before this moment, since
    /// two that recover at one moment do not wait for each other (SG-140).
    fn normal(&self) -> Vec<u32> {
        let is_normal = |stay: &&Stay| {
            self.is_in_use(stay)
                && stay.ramp.is_none()
                && stay.good_since.is_some_and(|since| since < self.now)
        };
        self.members.iter().filter(is_normal).map(|stay| stay.number).collect()
    }

    /// Slow start of members whose verdict has become good or is so no more. `normal_before` are those that carried
    /// their full share before the event; only those of them that still do let others ramp.
    fn enter_traffic(&mut self, numbers: &[u32], normal_before: &[u32]) {
        for place in 0..self.members.len() {
            let stay = &self.members[place];
            if !numbers.contains(&stay.number) {
                continue;
            }
            let is_good = |stay: &Stay| stay.verdict == Verdict::Good && self.is_in_use(stay);
            let others_carry = self.members.iter().any(|other| {
                other.number != stay.number
                    && is_good(other)
                    && self.realm_of(other.address) == self.realm_of(stay.address)
                    && normal_before.contains(&other.number)
            });
            let is_good = is_good(stay);
            let stay = &mut self.members[place];
            match (is_good, stay.good_since) {
                (true, None) => {
                    stay.good_since = Some(self.now);
                    self.ramps += u64::from(self.settings.slow_start.is_some() && others_carry);
                    (stay.ramp, stay.why.ramp) = match self.settings.slow_start {
                        None => (None, "SG-130: slow start is off"),
                        Some(_) if others_carry => (
                            Some(self.now),
                            "SG-136..SG-141: becomes usable beside a server that is usable and does not ramp",
                        ),
                        Some(_) => (
                            None,
                            "SG-135, SG-136, SG-140: no other server was usable and not ramping before this moment",
                        ),
                    };
                }
                (false, Some(_)) => {
                    stay.good_since = None;
                    stay.ramp = None;
                    stay.why.ramp = "SG-139: a server that is not usable does not ramp";
                }
                _ => {}
            }
        }
    }

    /// What depends on the whole group: fail-open, and the drains of servers that fail.
    fn settle(&mut self) {
        let realms = self.members.iter().filter_map(|stay| self.realm_of(stay.address));
        let fail_open: BTreeSet<Realm> =
            realms.filter(|realm| self.no_member_is_good(Some(*realm))).collect();
        for realm in self.fail_open.symmetric_difference(&fail_open) {
            self.happenings.push(Happening::FailOpen(*realm, fail_open.contains(realm)));
        }
        self.fail_open = fail_open;
        for place in 0..self.members.len() {
            let stay = &self.members[place];
            let (number, receives) = (stay.number, self.receives(stay).0);
            let is_shut_out = self.is_in_use(stay) && stay.verdict == Verdict::Bad && !receives;
            let is_bad_and_receives = receives && stay.verdict != Verdict::Good;
            let drain = self.new_drain(Cause::Unhealthy).filter(|_| is_shut_out && !stay.was_shut_out);
            let stay = &mut self.members[place];
            stay.was_shut_out = is_shut_out;
            if let Some(drain) = drain {
                stay.begin(drain);
                stay.why.drains = "SG-153, SG-161: begins when it fails and gets no fail-open traffic";
                self.happenings.push(Happening::DrainBegan(number, drain));
            }
            if is_bad_and_receives {
                self.end_drains(End::Cancelled, |stay, place| {
                    stay.number == number && stay.drains[place].cause == Cause::Unhealthy
                });
            }
        }
        self.expire();
        for place in 0..self.members.len() {
            let word = self.word(&self.members[place]);
            let stay = &mut self.members[place];
            if stay.word != word {
                self.arrows.insert((Some(stay.word), Some(word)));
                (stay.word, stay.since) = (word, self.now);
            }
        }
        for place in 0..self.left.len() {
            let stay = &mut self.left[place];
            if stay.word != Word::Removing {
                self.arrows.insert((Some(stay.word), Some(Word::Removing)));
                (stay.word, stay.since) = (Word::Removing, self.now);
            }
        }
    }

    /// SG-150: a drain that begins now, if draining is on.
    fn new_drain(&self, cause: Cause) -> Option<Drain> {
        self.settings.drain.map(|timeout| Drain { cause, began: self.now, deadline: self.now + timeout })
    }

    /// What time alone ends: ramps, drains, and then those that left.
    fn expire(&mut self) {
        let now = self.now;
        for stay in &mut self.members {
            if let Some(start) = stay.ramp {
                let over = "SG-133: it is over after its duration";
                let off = "SG-130, SG-134: turned off it is over, and turning it on begins none";
                match self.settings.slow_start {
                    Some(duration) if now < start + duration => {}
                    Some(_) => (stay.ramp, stay.why.ramp) = (None, over),
                    None => (stay.ramp, stay.why.ramp) = (None, off),
                }
            }
        }
        self.end_drains(End::Deadline, |stay, place| stay.drains[place].deadline <= now);
    }

    fn end_drains(&mut self, how: End, ends: impl Fn(&Stay, usize) -> bool) {
        for stay in self.members.iter_mut().chain(&mut self.left) {
            let ends: Vec<bool> = (0..stay.drains.len()).map(|place| ends(stay, place)).collect();
            for place in (0..ends.len()).rev().filter(|place| ends[*place]) {
                let (drain, counts) = (stay.drains.remove(place), stay.counts.remove(place));
                stay.why.drains = match how {
                    End::Idle => "SG-156: ends when nothing is in flight",
                    End::Deadline => "SG-151, SG-155: ends at its deadline",
                    End::Cancelled => "D-13: cancelled by fail-open traffic",
                };
                let tally = counts.last().zip(counts.iter().max()).map(|(last, most)| Tally {
                    finished: most - last,
                    cut: if how == End::Deadline { *last } else { 0 },
                });
                self.happenings.push(Happening::DrainEnded(stay.number, drain, how, tally));
            }
        }
        let arrows = &mut self.arrows;
        self.left.retain(|stay| {
            if stay.drains.is_empty() {
                // With draining off, or a timeout of 0, it is gone before it is seen leaving.
                arrows.insert((Some(stay.word), None));
            }
            !stay.drains.is_empty()
        });
    }
}

impl Stay {
    fn join(number: u32, address: Address, weight: u32, now: Nanos) -> Stay {
        Stay {
            number,
            address,
            weight,
            has_left: false,
            results: Vec::new(),
            verdict: Verdict::Unknown,
            failure: None,
            good_since: None,
            ramp: None,
            drains: Vec::new(),
            counts: Vec::new(),
            was_shut_out: false,
            word: Word::Initial,
            since: now,
            why: Why {
                word: "SG-187, SG-190, SG-91: Initial, Unavailable with checks off, Unused with weight 0",
                ramp: "SG-137: slow start begins when the server becomes usable",
                drains: "SG-153, SG-154: only removal and failing health checks begin a drain, and only when it is on",
            },
        }
    }

    fn begin(&mut self, drain: Drain) {
        self.drains.push(drain);
        self.counts.push(Vec::new());
    }

    fn last_results_are(&self, passed: bool, count: u8) -> bool {
        let count = usize::from(count);
        self.results.len() >= count && self.results.iter().rev().take(count).all(|result| *result == passed)
    }
}
