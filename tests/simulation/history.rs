//! What can happen to a group, as data: drawn at random, written for people, applied to any state (a step that finds
//! nothing to act on does nothing, so that a history can be cut shorter and still be run).

use crate::picks::CLIENTS;
use crate::reference::{Address, Checks, Nanos, Reference, SECOND, Scheduler, Settings, Zone};
use std::fmt;
use tests::random::Random;

/// Addresses servers have. Few, so that servers return to addresses where others still drain.
const ADDRESSES: u8 = 7;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Time passes, and the control loop ticks.
    Wait { by: Nanos, ticks: Ticks },
    /// The configuration changes, all at once.
    Configure(Vec<Change>),
    /// A probe ends: passed, or failed with a number that tells the failure from others.
    Probe { address: Address, result: Result<(), u32> },
    /// Requests of a client arrive in one of the zones the node serves (modulo how many), and stay in flight.
    Requests { count: u8, client: u8, entry: u8 },
    /// The n-th request in flight ends (modulo how many there are).
    Finish(u32),
    /// All requests in flight to the server end.
    FinishAll(Address),
    /// What is in flight is counted, for each drain apart or for the server as a whole; the counts are on their way.
    Count { apart: bool },
    /// The oldest counts on their way arrive.
    Deliver,
    /// Something else changes, and workers get a new snapshot with the same group.
    Publish,
    /// Picks over whole cycles, to see how they are shared.
    Share,
}

/// When the control loop ticks during a [`Step::Wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticks {
    /// At the deadlines it is told, and at no other moment.
    AtDeadlines,
    /// Also at moments in between, this many, and at the end.
    Often(u8),
    /// Once, when all is over.
    AtTheEnd,
    /// Not at all: the next event comes first.
    Never,
}

/// One change of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Join(Address, u32),
    Leave(Address),
    Weight(Address, u32),
    Checks(Option<Checks>),
    /// Without effect unless the scheduler is Wrr: the configuration refuses it.
    SlowStart(Option<Nanos>),
    CrossZone(bool),
    /// Zones the node serves.
    Serve(&'static [Zone]),
    /// With another scheduler than Wrr slow start is off.
    Scheduler(Scheduler),
    Drain(Option<Nanos>),
    /// The servers are written in another order.
    Reverse,
}

impl Change {
    /// Applies it to `settings`.
    pub fn apply(self, settings: &mut Settings) {
        let servers = &mut settings.servers;
        let place = |address| servers.iter().position(|(other, _)| *other == address);
        match self {
            Change::Join(address, weight) if place(address).is_none() => servers.push((address, weight)),
            Change::Join(..) => {}
            Change::Leave(address) => servers.retain(|(other, _)| *other != address),
            Change::Weight(address, weight) => {
                if let Some(place) = place(address) {
                    servers[place].1 = weight;
                }
            }
            Change::Checks(checks) => settings.checks = checks,
            Change::SlowStart(duration) => {
                settings.slow_start = duration.filter(|_| settings.scheduler == Scheduler::Wrr);
            }
            Change::Scheduler(scheduler) => {
                settings.scheduler = scheduler;
                settings.slow_start = settings.slow_start.filter(|_| scheduler == Scheduler::Wrr);
            }
            Change::CrossZone(crosses) => settings.cross_zone = crosses,
            Change::Serve(zones) => settings.served = zones,
            Change::Drain(timeout) => settings.drain = timeout,
            Change::Reverse => servers.reverse(),
        }
    }
}

/// Draws histories. Each has a character of its own: what is frequent in one is rare in another.
pub struct Generator {
    random: Random,
    /// How often each kind of step is drawn.
    frequencies: [usize; 10],
    /// Of 8 probes, how many pass; changes over time, so that servers go up and down together.
    passes_of_8: usize,
    /// Schedulers it switches between.
    schedulers: &'static [Scheduler],
    /// Whether zones matter in it.
    zones: bool,
    /// Thresholds up to this.
    threshold_max: u8,
    failures: u32,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        let mut random = Random::new(seed);
        let mut frequencies: [usize; 10] = [6, 3, 12, 4, 4, 1, 3, 3, 2, 1];
        for frequency in &mut frequencies {
            *frequency = (*frequency * *random.pick(&[1, 2, 4])).div_ceil(2);
        }
        let threshold_max = *random.pick(&[2, 2, 3, 10]);
        // Slow start is Wrr's alone, so that many histories never leave it.
        use Scheduler::{Sch, Wlc, Wrr};
        let schedulers: &[Scheduler] = match random.below(8) {
            0 => &[Wlc],
            1 => &[Sch],
            2 | 3 => &[Wrr, Wlc, Sch],
            _ => &[Wrr],
        };
        let zones = random.below(3) == 0;
        Generator { random, frequencies, passes_of_8: 4, schedulers, zones, threshold_max, failures: 0 }
    }

    /// The configuration a history begins with.
    pub fn settings(&mut self) -> Settings {
        let mut settings = Settings {
            servers: Vec::new(),
            cross_zone: self.cross_zone(),
            served: self.served(),
            scheduler: self.scheduler(),
            checks: None,
            slow_start: None,
            drain: None,
        };
        for _ in 0..self.random.below(6) {
            let change = self.join();
            change.apply(&mut settings);
        }
        settings.checks = self.checks();
        Change::SlowStart(self.slow_start()).apply(&mut settings);
        settings.drain = self.drain();
        settings
    }

    /// The next step, given where the group stands.
    pub fn step(&mut self, group: &Reference) -> Step {
        let total: usize = self.frequencies.iter().sum();
        let mut place = self.random.below(total);
        let kind = self.frequencies.iter().position(|frequency| {
            let is_here = place < *frequency;
            place = place.wrapping_sub(*frequency);
            is_here
        });
        match kind.expect("below the total") {
            0 => self.wait(group),
            1 => Step::Configure((0..=self.random.below(3)).map(|_| self.change(group)).collect()),
            2 => self.probe(group),
            3 => Step::Requests {
                count: 1 + self.random.below(4) as u8,
                client: self.random.below(CLIENTS.into()) as u8,
                entry: self.random.below(2) as u8,
            },
            4 => Step::Finish(self.random.bits() as u32),
            5 => Step::FinishAll(self.address(group)),
            6 => Step::Count { apart: self.random.below(2) == 0 },
            7 => Step::Deliver,
            8 => Step::Publish,
            _ => Step::Share,
        }
    }

    fn wait(&mut self, group: &Reference) -> Step {
        let ticks = match self.random.below(8) {
            0..4 => Ticks::AtDeadlines,
            4 | 5 => Ticks::Often(1 + self.random.below(4) as u8),
            6 => Ticks::AtTheEnd,
            _ => Ticks::Never,
        };
        let deadlines = group.deadlines();
        let by = match self.random.below(10) {
            // To a deadline, and right before or after it.
            0..5 if !deadlines.is_empty() => {
                let deadline = *self.random.pick(&deadlines) - group.now;
                *self.random.pick(&[deadline - 1, deadline, deadline, deadline + 1])
            }
            0..7 => self.random.bits() % (3 * SECOND),
            7 => 1,
            8 => self.random.bits() % (60 * SECOND),
            _ => self.random.bits() % (1_000 * SECOND),
        };
        Step::Wait { by, ticks }
    }

    fn probe(&mut self, group: &Reference) -> Step {
        if self.random.below(40) == 0 {
            self.passes_of_8 = *self.random.pick(&[0, 1, 4, 6, 7, 8]);
        }
        // Mostly servers that are probed; sometimes a result that comes too late.
        let probed = group.probed();
        let address = match self.random.below(8) {
            0 => self.address(group),
            _ if probed.is_empty() => self.address(group),
            _ => *self.random.pick(&probed),
        };
        self.failures += 1;
        let passed = self.random.below(8) < self.passes_of_8;
        Step::Probe { address, result: if passed { Ok(()) } else { Err(self.failures) } }
    }

    fn change(&mut self, group: &Reference) -> Change {
        let servers = group.members.len();
        match self.random.below(27) {
            0..6 if servers < 6 => self.join(),
            0..9 => Change::Leave(self.address(group)),
            9..15 => Change::Weight(self.address(group), self.weight()),
            15 | 16 => Change::Checks(self.checks()),
            17 | 18 => Change::SlowStart(self.slow_start()),
            19 | 20 => Change::Drain(self.drain()),
            21 | 22 => Change::Scheduler(self.scheduler()),
            23 | 24 if self.zones => Change::CrossZone(self.cross_zone()),
            25 if self.zones => Change::Serve(self.served()),
            _ => Change::Reverse,
        }
    }

    fn join(&mut self) -> Change {
        Change::Join(1 + self.random.below(ADDRESSES.into()) as u8, self.weight())
    }

    /// Mostly a member's.
    fn address(&mut self, group: &Reference) -> Address {
        if group.members.is_empty() || self.random.below(8) == 0 {
            return 1 + self.random.below(ADDRESSES.into()) as u8;
        }
        self.random.pick(&group.members).address
    }

    fn weight(&mut self) -> u32 {
        match self.random.below(8) {
            0 | 1 => 0,
            2 => 100,
            3 => 1,
            4 => 50,
            _ => self.random.below(101) as u32,
        }
    }

    fn checks(&mut self) -> Option<Checks> {
        let mut threshold = || 2 + self.random.below(usize::from(self.threshold_max) - 1) as u8;
        let (healthy, unhealthy) = (threshold(), threshold());
        let checks = Checks { healthy, unhealthy, interval: 1 + self.random.below(2) as u8 };
        (self.random.below(4) > 0).then_some(checks)
    }

    fn slow_start(&mut self) -> Option<Nanos> {
        let duration = match self.random.below(3) {
            0 => 30,
            1 => 900,
            _ => 30 + self.random.below(871) as Nanos,
        };
        (self.random.below(4) > 0).then_some(duration * SECOND)
    }

    fn scheduler(&mut self) -> Scheduler {
        *self.random.pick(self.schedulers)
    }

    fn cross_zone(&mut self) -> bool {
        !self.zones || self.random.below(3) == 0
    }

    fn served(&mut self) -> &'static [Zone] {
        match self.random.below(4) {
            0 if self.zones => &['b'],
            1 | 2 if self.zones => &['a', 'b'],
            _ => &['a'],
        }
    }

    fn drain(&mut self) -> Option<Nanos> {
        let timeout = match self.random.below(4) {
            0 => 0,
            1 => 900,
            2 => 1 + self.random.below(10) as Nanos,
            _ => self.random.below(901) as Nanos,
        };
        (self.random.below(4) > 0).then_some(timeout * SECOND)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Wait { by, ticks } => {
                let ticks = match ticks {
                    Ticks::AtDeadlines => "ticking at deadlines".to_owned(),
                    Ticks::Often(count) => {
                        format!("ticking at deadlines, {count} more times, and at the end")
                    }
                    Ticks::AtTheEnd => "ticking once at the end".to_owned(),
                    Ticks::Never => "without a tick".to_owned(),
                };
                write!(f, "wait {} s, {ticks}", Seconds(*by))
            }
            Step::Configure(changes) => {
                let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
                write!(f, "configure: {}", changes.join("; "))
            }
            Step::Probe { address, result: Ok(()) } => write!(f, "probe of server {address} passes"),
            Step::Probe { address, result: Err(number) } => {
                write!(f, "probe of server {address} fails (failure {number})")
            }
            Step::Requests { count, client, entry } => {
                write!(f, "{count} requests of client {client} arrive in zone {entry} modulo those served")
            }
            Step::Finish(number) => write!(f, "a request ends ({number} modulo those in flight)"),
            Step::FinishAll(address) => write!(f, "all requests to server {address} end"),
            Step::Count { apart: true } => write!(f, "what is in flight is counted for each drain"),
            Step::Count { apart: false } => write!(f, "what is in flight is counted for each server"),
            Step::Deliver => write!(f, "the oldest counts on their way arrive"),
            Step::Publish => write!(f, "workers get a new snapshot with the same group"),
            Step::Share => write!(f, "picks are counted over whole cycles"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |duration: &Option<Nanos>| match duration {
            Some(duration) => format!("{} s", Seconds(*duration)),
            None => "off".to_owned(),
        };
        match self {
            Change::Join(address, weight) => write!(f, "add server {address} with weight {weight}"),
            Change::Leave(address) => write!(f, "remove server {address}"),
            Change::Weight(address, weight) => write!(f, "weight of server {address} to {weight}"),
            Change::Checks(Some(Checks { healthy, unhealthy, interval })) => {
                write!(f, "checks every {interval} s, healthy after {healthy}, unhealthy after {unhealthy}")
            }
            Change::Checks(None) => write!(f, "checks off"),
            Change::SlowStart(duration) => write!(f, "slow start {}", seconds(duration)),
            Change::CrossZone(true) => write!(f, "cross-zone on"),
            Change::CrossZone(false) => write!(f, "cross-zone off"),
            Change::Serve(zones) => write!(f, "the node serves zones {zones:?}"),
            Change::Scheduler(scheduler) => write!(f, "scheduler {scheduler:?}"),
            Change::Drain(timeout) => write!(f, "drain {}", seconds(timeout)),
            Change::Reverse => write!(f, "servers in reverse order"),
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = [
            Change::CrossZone(self.cross_zone),
            Change::Serve(self.served),
            Change::Scheduler(self.scheduler),
            Change::Checks(self.checks),
            Change::SlowStart(self.slow_start),
            Change::Drain(self.drain),
        ];
        let servers = self.servers.iter().map(|(address, weight)| Change::Join(*address, *weight));
        let all: Vec<String> = settings.into_iter().chain(servers).map(|change| change.to_string()).collect();
        write!(f, "{}", all.join("; "))
    }
}

/// Nanoseconds, written as seconds.
pub struct Seconds(pub Nanos);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / SECOND, self.0 % SECOND) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, rest) => write!(f, "{whole}.{rest:09}"),
        }
    }
}
