//! One history, taken step by step by the reference and by the product, which are compared after each.

use crate::history::{Change, Seconds, Step, Ticks};
use crate::picks::{self, Homes, Tally, same};
use crate::reference::{
    Address, Drain, End, Happening, Nanos, Reference, Scheduler, Settings, Stay, Word, Zone,
};
use crate::subject::{Entry, Seen, Subject, Told};
use controller::health::MemberId;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Requests in flight beyond which more are not kept.
const IN_FLIGHT_MAX: usize = 64;
/// Counts on their way beyond which no more are made.
const COUNTS_MAX: usize = 6;

/// How the product differs from what is required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    pub expected: String,
    pub found: String,
    /// Requirement numbers, and what they say.
    pub rule: String,
}

impl Difference {
    pub fn new(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        rule: impl Into<String>,
    ) -> Difference {
        Difference { what: what.into(), expected: expected.into(), found: found.into(), rule: rule.into() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { what, expected, found, rule } = self;
        write!(f, "{what}\n  expected  {expected}\n  found     {found}\n  by        {rule}")
    }
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// Number of the server's stay.
    stay: u32,
    address: Address,
    began: Nanos,
}

/// Counts on their way.
#[derive(Clone, Debug)]
struct Counts {
    at: Nanos,
    /// For each drain, requests begun before it; otherwise all.
    apart: bool,
    /// Servers to tell of, by stay.
    servers: Vec<(MemberId, Address)>,
    /// What was in flight.
    requests: Vec<Request>,
}

impl Counts {
    /// What is told of a drain of a server.
    fn open(&self, address: Address, drain: &Drain) -> u64 {
        let is_counted =
            |request: &&Request| request.address == address && (!self.apart || request.began < drain.began);
        self.requests.iter().filter(is_counted).count() as u64
    }
}

/// What a run saw, so that its success is not said of nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sights(pub BTreeMap<String, u64>);

impl Sights {
    fn see(&mut self, what: &str) {
        match self.0.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(what.to_owned(), 1)),
        }
    }
}

/// Reference and product in step.
pub struct Run {
    reference: Reference,
    subject: Subject,
    settings: Settings,
    /// The product's name of each stay.
    ids: BTreeMap<MemberId, u32>,
    requests: Vec<Request>,
    counts: VecDeque<Counts>,
    /// By zone of entry.
    tallies: BTreeMap<Zone, Tally>,
    homes: BTreeMap<Zone, Homes>,
    /// Time has passed without a tick: the product does not know yet.
    is_overdue: bool,
    told: Vec<Told>,
    /// Before the latest step.
    before: Vec<Seen>,
    pub sights: Sights,
}

impl Run {
    /// Both at the start.
    pub fn new(settings: &Settings) -> Result<Run, Difference> {
        let (subject, told) = Subject::new(settings);
        let mut run = Run {
            reference: Reference::new(settings.clone(), 0),
            subject,
            settings: settings.clone(),
            ids: BTreeMap::new(),
            requests: Vec::new(),
            counts: VecDeque::new(),
            tallies: BTreeMap::new(),
            homes: BTreeMap::new(),
            is_overdue: false,
            told,
            before: Vec::new(),
            sights: Sights::default(),
        };
        run.compare()?;
        run.publish(true)?;
        Ok(run)
    }

    /// Where the reference stands, for drawing the next step.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Takes `step`; an error is the first difference.
    pub fn step(&mut self, step: &Step) -> Result<(), Difference> {
        let now = self.reference.now;
        match step {
            Step::Wait { by, ticks } => self.wait(now + by, *ticks)?,
            Step::Configure(changes) => {
                changes.iter().for_each(|change: &Change| change.apply(&mut self.settings));
                self.reference.configure(self.settings.clone());
                let told = self.subject.configure(&self.settings, now);
                self.told.extend(told);
                self.is_overdue = false;
            }
            Step::Probe { address, result } => {
                self.reference.probe(*address, *result);
                let told = self.subject.probe(*address, *result, now);
                self.is_noticed(&told)?;
                self.told.extend(told);
                self.is_overdue = false;
            }
            Step::Requests { count, client, entry } => {
                let served = self.settings.served;
                for _ in 0..*count {
                    self.request(served[usize::from(*entry) % served.len()], *client)?;
                }
            }
            Step::Finish(number) if !self.requests.is_empty() => {
                let place = *number as usize % self.requests.len();
                self.requests.swap_remove(place);
            }
            Step::Finish(_) => {}
            Step::FinishAll(address) => self.requests.retain(|request| request.address != *address),
            Step::Count { apart } => self.count(*apart),
            Step::Deliver => self.deliver()?,
            Step::Publish => {}
            Step::Share => {
                for Entry { snapshot, worker } in self.subject.entries.values() {
                    picks::share(&self.reference, snapshot, worker)?;
                }
            }
        }
        if !self.is_overdue {
            self.compare()?;
            self.publish(*step == Step::Publish)?;
        }
        Ok(())
    }

    fn wait(&mut self, end: Nanos, ticks: Ticks) -> Result<(), Difference> {
        self.reference.wait_until(end);
        let told = self.subject.wait_until(end, ticks).map_err(|error| {
            Difference::new(
                "deadlines",
                "every change by time is announced, and lies ahead",
                error,
                "SG-133, SG-155",
            )
        })?;
        for (at, told) in &told {
            if let Told::DrainEnded(_, drain, End::Deadline, _) = told
                && *at != drain.deadline
                && ticks == Ticks::AtDeadlines
                && !self.is_overdue
            {
                let (expected, found) = (format!("{} ns", drain.deadline), format!("{at} ns"));
                return Err(Difference::new(
                    "end of a drain",
                    expected,
                    found,
                    "SG-155: drains end at their deadline",
                ));
            }
        }
        self.told.extend(told.into_iter().map(|(_, told)| told));
        self.is_overdue = ticks == Ticks::Never;
        Ok(())
    }

    /// Tells the workers what there is to tell.
    fn publish(&mut self, anyway: bool) -> Result<(), Difference> {
        for zone in self.subject.publish(anyway) {
            let Entry { snapshot, worker } = &self.subject.entries[&zone];
            let scheduler = worker.scheduler();
            same("scheduler, as workers are told", &self.settings.scheduler, &scheduler, "SG-80")?;
            let rule = "SG-93, SG-94, SG-173: exactly while there are servers with weight and none is usable";
            let fails_open = self.reference.is_fail_open(zone);
            same("fail-open, as workers are told", &fails_open, &snapshot.fail_open, rule)?;
            // What one scheduler did says nothing of the next.
            if scheduler != Scheduler::Wrr {
                self.tallies.remove(&zone);
            }
            if scheduler == Scheduler::Sch {
                self.homes.entry(zone).or_default().take_in(&snapshot.servers)?;
            } else {
                self.homes.remove(&zone);
            }
        }
        let is_served = |zone: &Zone| self.settings.served.contains(zone);
        self.tallies.retain(|zone, _| is_served(zone));
        self.homes.retain(|zone, _| is_served(zone));
        Ok(())
    }

    /// A request arrives, and goes where a worker sends it.
    fn request(&mut self, zone: Zone, client: u8) -> Result<(), Difference> {
        let requests = &self.requests;
        let active = |address| requests.iter().filter(|request| request.address == address).count() as u32;
        let address = self.subject.pick(zone, client, active);
        picks::may_be_picked(&self.reference, zone, address)?;
        let Some(address) = address else {
            self.sights.see("request without a server");
            return Ok(());
        };
        match self.settings.scheduler {
            Scheduler::Wrr => {
                let servers = &self.subject.entries[&zone].snapshot.servers;
                self.tallies.entry(zone).or_default().picked(&self.reference, servers, address)?;
            }
            Scheduler::Wlc => picks::has_least(&self.reference, zone, address, active)?,
            Scheduler::Sch => self.homes.entry(zone).or_default().picked(client, address)?,
        }
        let stay = self.reference.members.iter().find(|stay| stay.address == address);
        let stay = stay.expect("only members may be picked");
        self.sights.see(match (self.reference.is_fail_open(zone), stay.ramp, self.settings.scheduler) {
            (true, ..) => "request by fail-open",
            (false, Some(_), _) => "request to a ramping server",
            (false, None, Scheduler::Wrr) => "request by Wrr",
            (false, None, Scheduler::Wlc) => "request by Wlc",
            (false, None, Scheduler::Sch) => "request by Sch",
        });
        let stay = stay.number;
        if self.requests.len() < IN_FLIGHT_MAX {
            self.requests.push(Request { stay, address, began: self.reference.now });
        }
        Ok(())
    }

    /// As the control loop counts: by address, for all stays together.
    fn count(&mut self, apart: bool) {
        if self.counts.len() < COUNTS_MAX {
            let servers = self.subject.servers().map(|server| (server.id, server.address)).collect();
            let requests = self.requests.clone();
            self.counts.push_back(Counts { at: self.reference.now, apart, servers, requests });
        }
    }

    fn deliver(&mut self) -> Result<(), Difference> {
        let Some(counts) = self.counts.pop_front() else { return Ok(()) };
        for (id, address) in &counts.servers {
            let open = |drain: &Drain| counts.open(*address, drain);
            self.reference.counted(self.number(*id), open, counts.at);
            let told = self.subject.counted(*id, open, counts.at, self.reference.now);
            self.is_noticed(&told)?;
            self.told.extend(told);
            self.is_overdue = false;
        }
        Ok(())
    }

    fn number(&self, id: MemberId) -> u32 {
        *self.ids.get(&id).expect("seen when it joined")
    }

    /// The control loop applies the effects of a probe or a count only if it is told of something.
    fn is_noticed(&mut self, told: &[Told]) -> Result<(), Difference> {
        let now: Vec<Seen> = self.subject.servers().collect();
        // The table's weight also follows the time; the latest failure is shown when asked for.
        let applied = |seen: &Seen| Seen { table_weight: 0, failure: None, ..seen.clone() };
        let same = now.len() == self.before.len()
            && now.iter().zip(&self.before).all(|(now, before)| applied(now) == applied(before));
        self.before = now;
        if same || !told.is_empty() {
            return Ok(());
        }
        Err(Difference::new(
            "notices",
            "of what has changed",
            "none",
            "changes without a notice are not applied",
        ))
    }

    fn compare(&mut self) -> Result<(), Difference> {
        let seen: Vec<Seen> = self.subject.servers().collect();
        let stays: Vec<&Stay> = self.reference.servers().collect();
        let addresses = (
            stays.iter().map(|stay| stay.address).collect::<Vec<_>>(),
            seen.iter().map(|seen| seen.address).collect::<Vec<_>>(),
        );
        if addresses.0 != addresses.1 {
            return Err(Difference::new(
                "servers: members in order, then those that left and drain, oldest first",
                format!("{:?}", addresses.0),
                format!("{:?}", addresses.1),
                "SG-202: a removed server is shown while it drains; SG-158: a server added again is a new one",
            ));
        }
        for (stay, seen) in stays.iter().zip(&seen) {
            compare_server(&self.reference, stay, seen)?;
            let known = self.ids.get(&seen.id).copied();
            let is_new = known.is_none() && !self.ids.values().any(|number| *number == stay.number);
            if is_new {
                self.ids.insert(seen.id, stay.number);
            } else if known != Some(stay.number) {
                let expected = format!("a name of its own for stay {}", stay.number);
                return Err(Difference::new("identity", expected, format!("{:?}", seen.id), "SG-158"));
            }
        }
        let rule = "SG-93, SG-94: exactly while there are servers with weight and none is usable";
        same("fail-open", &!self.reference.fail_open.is_empty(), &self.subject.is_fail_open(), rule)?;
        let rule = "SG-91: not weight 0; SG-190: not while checks are off";
        let probed: Vec<Address> = self.subject.probed().collect();
        same("servers to probe", &self.reference.probed(), &probed, rule)?;
        self.compare_happenings()?;
        self.before = seen;
        Ok(())
    }

    fn compare_happenings(&mut self) -> Result<(), Difference> {
        let mut expected = std::mem::take(&mut self.reference.happenings);
        let told = std::mem::take(&mut self.told);
        let mut found: Vec<Happening> =
            told.into_iter().filter_map(|told| told.happening(|id| self.number(id))).collect();
        expected.sort();
        found.sort();
        if expected != found {
            let rule = "SG-93; SG-151, SG-153 to SG-159, SG-161, D-13: which drains begin and end, and how";
            return Err(Difference::new(
                "what happened",
                format!("{expected:?}"),
                format!("{found:?}"),
                rule,
            ));
        }
        for happening in found {
            self.take_in(happening)?;
        }
        Ok(())
    }

    /// What the end of a drain means for what is in flight.
    fn take_in(&mut self, happening: Happening) -> Result<(), Difference> {
        let Happening::DrainEnded(number, drain, how, _) = happening else {
            self.sights.see(match happening {
                Happening::FailOpen(None, true) => "fail-open begins",
                Happening::FailOpen(None, false) => "fail-open ends",
                Happening::FailOpen(Some(_), true) => "fail-open begins in a zone",
                Happening::FailOpen(Some(_), false) => "fail-open ends in a zone",
                _ => "drain begins",
            });
            return Ok(());
        };
        let concerned = |request: &Request| request.stay == number && request.began < drain.began;
        let in_flight = self.requests.iter().filter(|request| concerned(request)).count();
        match how {
            End::Idle => {
                self.sights.see("drain ends idle");
                if let Some(request) = self.requests.iter().find(|request| concerned(request)) {
                    let found = format!("a request begun at {} s still runs", Seconds(request.began));
                    let rule = "SG-155, SG-156: a drain ends early only when nothing is in flight";
                    return Err(Difference::new("drain that ended idle", "nothing in flight", found, rule));
                }
            }
            End::Deadline => {
                self.sights.see(if in_flight > 0 {
                    "drain cuts requests"
                } else {
                    "drain ends by its deadline"
                });
                self.requests.retain(|request| !concerned(request));
            }
            End::Cancelled => self.sights.see("drain is cancelled"),
        }
        Ok(())
    }
}

fn compare_server(group: &Reference, stay: &Stay, seen: &Seen) -> Result<(), Difference> {
    let (receives, why_receives) = group.receives(stay);
    let word = group.word(stay);
    let ramp = stay.ramp.zip(group.settings.slow_start);
    let failure = stay.failure.filter(|_| word == Word::Unhealthy);
    let (part, whole) = group.table_fraction(stay);
    let table_weight = if receives { u128::from(stay.weight) * 1000 * part / whole } else { 0 };
    same("weight", &stay.weight, &seen.weight, "SG-90")?;
    same("status", &word, &seen.word, stay.why.word)?;
    same("receives new requests", &receives, &seen.receives, why_receives)?;
    same("slow start (start, duration)", &ramp, &seen.ramp, stay.why.ramp)?;
    same("drains", &stay.drains, &seen.drains, stay.why.drains)?;
    same("failure", &failure, &seen.failure, "SG-193: the latest failure")?;
    same("status since", &stay.since, &seen.since, "SG-192: since the status changed")?;
    same("L4 weight", &table_weight, &u128::from(seen.table_weight), "SG-133, in 8 steps; SG-90; SG-92")
}

/// Where the reference stands, in a line: each server with its weight, its status and `+` receives, `^` ramps, `d` a
/// drain.
pub fn picture(group: &Reference) -> String {
    let server = |stay: &Stay| {
        let receives = if group.receives(stay).0 { "+" } else { "" };
        let ramp = if stay.ramp.is_some() { "^" } else { "" };
        let drains = "d".repeat(stay.drains.len());
        format!("{}:{}{receives}{ramp}{drains} {:?}", stay.address, stay.weight, group.word(stay))
    };
    let servers: Vec<String> = group.servers().map(server).collect();
    format!("t={} s  {}", Seconds(group.now), servers.join(", "))
}
