//! The product under test, driven as its control loop drives it: events into `GroupHealth`, standings through the plan
//! into a snapshot, and a worker that picks from the snapshot.

use crate::history::Ticks;
use crate::picks::Worker;
use crate::reference::{
    Address, Cause, Checks, Drain, End, Happening, Nanos, Realm, SECOND, Scheduler, Settings, Tally, Word,
    ZONES, Zone, zone_of,
};
use controller::health::{
    self, DrainCause, DrainEnd, Failure, FailureReason, GroupHealth, GroupNotice, MemberId, Moment, Notice,
    Outcome, Standing, Status,
};
use controller::model::{
    self, ConnectionDrain, HashFactor, HealthCheck, HealthCheckProtocol, ListenerProtocol, NodeZone, Server,
    ServerAddress, ServerGroupName, SlowStart, Weight, ZoneMapping, ZoneName,
};
use controller::plan::{self, Ids, SnapshotInputs};
use controller::snapshot::{GroupSnapshot, ListenerSnapshot, ServerSnapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tests::scenario::Scenario;

/// Name of the group.
const GROUP: &str = "web";
/// The moment a history begins at; not 0, which is a value of its own.
const EPOCH: Nanos = 1_000 * SECOND;
/// Where servers listen.
const PORT: u16 = 8080;

/// One group of the product.
pub struct Subject {
    scenario: Scenario,
    ids: Ids,
    health: GroupHealth,
    now: Nanos,
    served: &'static [Zone],
    /// Where traffic enters, by zone.
    pub entries: BTreeMap<Zone, Entry>,
}

/// What L7 workers know of the group in a zone.
pub struct Entry {
    /// What they were told last.
    pub snapshot: GroupSnapshot,
    pub worker: Worker,
}

/// Where a server stands, in the reference's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub id: MemberId,
    pub address: Address,
    pub weight: u32,
    pub receives: bool,
    /// Start and duration.
    pub ramp: Option<(Nanos, Nanos)>,
    pub word: Word,
    /// Number of the failure.
    pub failure: Option<u32>,
    pub since: Nanos,
    pub drains: Vec<Drain>,
    /// In an L4 table, in thousandths.
    pub table_weight: u32,
}

/// What a call said happened: to which stay, if to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    DrainBegan(MemberId, Drain),
    DrainEnded(MemberId, Drain, End, Option<Tally>),
    FailOpen(Realm, bool),
    /// Anything else: the control loop only asks whether there is anything.
    Other,
}

impl Told {
    /// As the reference says it, with the number of the stay.
    pub fn happening(self, number: impl Fn(MemberId) -> u32) -> Option<Happening> {
        Some(match self {
            Told::DrainBegan(id, drain) => Happening::DrainBegan(number(id), drain),
            Told::DrainEnded(id, drain, how, tally) => Happening::DrainEnded(number(id), drain, how, tally),
            Told::FailOpen(realm, begins) => Happening::FailOpen(realm, begins),
            Told::Other => return None,
        })
    }
}

impl Subject {
    pub fn new(settings: &Settings) -> (Subject, Vec<Told>) {
        let mut scenario = Scenario::new(1);
        scenario.group(GROUP, &[]).listener(ListenerProtocol::Http, 80, GROUP);
        let balancer = scenario.resources.load_balancers.values_mut().next().expect("a scenario has one");
        let pattern = balancer.zone_mappings[0].clone();
        balancer.zone_mappings = ZONES
            .into_iter()
            .map(|zone| ZoneMapping { zone: zone_name(zone), vip: vip(zone), ..pattern.clone() })
            .collect();
        let zones = configure(&mut scenario, settings);
        let group = &scenario.resources.server_groups[&ServerGroupName::new(GROUP)];
        let (health, notices) = GroupHealth::new(group, &zones, moment(0));
        let (ids, entries, served) = (Ids::default(), BTreeMap::new(), settings.served);
        (Subject { scenario, ids, health, now: 0, served, entries }, told(notices))
    }

    /// A new configuration at `now`.
    pub fn configure(&mut self, settings: &Settings, now: Nanos) -> Vec<Told> {
        self.now = now;
        self.served = settings.served;
        let zones = configure(&mut self.scenario, settings);
        let group = &self.scenario.resources.server_groups[&ServerGroupName::new(GROUP)];
        told(self.health.update(group, &zones, moment(now)))
    }

    /// The end of a probe.
    pub fn probe(&mut self, address: Address, result: Result<(), u32>, now: Nanos) -> Vec<Told> {
        self.now = now;
        let outcome = match result {
            Ok(()) => Outcome::Passed,
            Err(number) => Outcome::Failed(failure(number)),
        };
        told(self.health.probed(server_address(address), outcome, moment(now)))
    }

    /// What was in flight at `counted_at`: `open` tells of each drain how many requests begun before it.
    pub fn counted(
        &mut self,
        id: MemberId,
        open: impl Fn(&Drain) -> u64,
        counted_at: Nanos,
        now: Nanos,
    ) -> Vec<Told> {
        self.now = now;
        let open = |of: &health::Drain| open(&drain(of));
        told(self.health.counted(id, open, moment(counted_at), moment(now)))
    }

    /// Lets time pass, ticking as asked. What ended at which tick is in the result, with the tick's moment. An error
    /// is a deadline that lies in the past, or a change that no deadline announced.
    pub fn wait_until(&mut self, end: Nanos, ticks: Ticks) -> Result<Vec<(Nanos, Told)>, String> {
        let begin = std::mem::replace(&mut self.now, end);
        let mut all = Vec::new();
        let mut tick = |health: &mut GroupHealth, at: Nanos| {
            all.extend(told(health.tick(moment(at))).into_iter().map(|told| (at, told)));
        };
        match ticks {
            Ticks::Never => return Ok(all),
            Ticks::AtTheEnd => tick(&mut self.health, end),
            Ticks::AtDeadlines => {
                // The loop comes from an event or a tick, so nothing is overdue.
                let mut at = begin;
                tick(&mut self.health, at);
                while let Some(deadline) = self.health.next_deadline(moment(at)).map(nanos) {
                    if deadline <= at {
                        return Err(format!("at {at} ns the next deadline is {deadline} ns"));
                    }
                    self.same_table(at, end.min(deadline - 1))?;
                    if deadline > end {
                        break;
                    }
                    tick(&mut self.health, deadline);
                    at = deadline;
                }
                self.same_table(at, end)?;
            }
            Ticks::Often(count) => {
                let step = (end - begin) / u64::from(count);
                for at in (0..u64::from(count)).map(|number| begin + number * step).chain([end]) {
                    tick(&mut self.health, at);
                }
            }
        }
        Ok(all)
    }

    /// Fails if tables of the two moments, between which no deadline lies, would differ.
    fn same_table(&self, first: Nanos, last: Nanos) -> Result<(), String> {
        for standing in self.health.standings() {
            let weights = [first, last].map(|at| standing.table_weight(moment(at)));
            if weights[0] != weights[1] {
                let address = standing.address;
                return Err(format!(
                    "no deadline is announced between {first} ns and {last} ns, but the weight of {address} in an L4 \
                     table goes from {} to {} thousandths",
                    weights[0], weights[1]
                ));
            }
        }
        Ok(())
    }

    /// Where servers stand.
    pub fn servers(&self) -> impl Iterator<Item = Seen> + '_ {
        self.health.standings().map(|standing| self.seen(&standing))
    }

    pub fn is_fail_open(&self) -> bool {
        self.health.is_fail_open()
    }

    /// Servers that are to be probed.
    pub fn probed(&self) -> impl Iterator<Item = Address> + '_ {
        self.health.probed_servers().map(|server| last_byte(server.ip))
    }

    /// Tells the workers what there is to tell; `anyway`: also if nothing of this group has changed. Returns the zones
    /// whose workers got something.
    pub fn publish(&mut self, anyway: bool) -> Vec<Zone> {
        let name = ServerGroupName::new(GROUP);
        self.scenario.standings.insert(name, self.health.standings().collect());
        let Scenario { node, resources, standings, .. } = &self.scenario;
        let (dead, certificates) = (BTreeSet::new(), BTreeMap::new());
        let inputs = SnapshotInputs { node, resources, standings, dead: &dead, certificates: &certificates };
        let snapshot = plan::snapshot(&inputs, &mut self.ids);
        let mut before = std::mem::take(&mut self.entries);
        let mut published = Vec::new();
        for zone in ZONES.into_iter().filter(|zone| self.served.contains(zone)) {
            let is_here = |listener: &&ListenerSnapshot| listener.addresses[0].ip() == vip(zone);
            let listener = snapshot.listeners.iter().find(is_here).expect("the balancer is in every zone");
            let group = snapshot.groups[listener.group as usize].clone();
            let entry = match before.remove(&zone) {
                Some(entry) if !anyway && entry.snapshot == group => entry,
                previous => {
                    published.push(zone);
                    let worker = Worker::new(&group, previous.as_ref().map(|entry| &entry.worker));
                    Entry { snapshot: group, worker }
                }
            };
            self.entries.insert(zone, entry);
        }
        published
    }

    /// The server a worker sends the next request of `client` to that enters `zone`, one that the node serves; `active`
    /// tells how many each server has.
    pub fn pick(&mut self, zone: Zone, client: u8, active: impl Fn(Address) -> u32) -> Option<Address> {
        let Entry { snapshot, worker } = self.entries.get_mut(&zone).expect("only zones that are served");
        let servers = &snapshot.servers;
        let place = worker.pick(clock(self.now), client, |place| active(listed(&servers[place])))?;
        Some(listed(&servers[place]))
    }

    fn seen(&self, standing: &Standing) -> Seen {
        Seen {
            id: standing.id,
            address: last_byte(standing.address.ip),
            weight: standing.weight.get(),
            receives: standing.receives_new,
            ramp: standing.ramp.map(|ramp| (nanos(ramp.start), ramp.duration.as_nanos() as Nanos)),
            word: match standing.status {
                Status::Normal => Word::Normal,
                Status::Initial => Word::Initial,
                Status::Unhealthy => Word::Unhealthy,
                Status::Unused => Word::Unused,
                Status::Unavailable => Word::Unavailable,
                Status::Removing => Word::Removing,
            },
            failure: standing.failure.as_ref().map(|failure| failure.detail.parse().expect("as given")),
            since: nanos(standing.since),
            drains: standing.drains.iter().map(drain).collect(),
            table_weight: standing.table_weight(moment(self.now)),
        }
    }
}

/// The address of a server in a snapshot.
pub fn listed(server: &ServerSnapshot) -> Address {
    last_byte(server.address.ip())
}

/// A moment as schedulers take it.
pub fn clock(now: Nanos) -> u64 {
    moment(now).as_nanos()
}

/// Puts `settings` into the resources and the node; returns the zones the node serves.
fn configure(scenario: &mut Scenario, settings: &Settings) -> BTreeSet<ZoneName> {
    let node_zone = scenario.node.zones[0].clone();
    let node_zones =
        settings.served.iter().map(|zone| NodeZone { zone: zone_name(*zone), ..node_zone.clone() });
    scenario.node.zones = node_zones.collect();
    let name = ServerGroupName::new(GROUP);
    let group = scenario.resources.server_groups.get_mut(&name).expect("added at the start");
    group.cross_zone = settings.cross_zone;
    group.health_check = settings.checks.map(|Checks { healthy, unhealthy, interval }| HealthCheck {
        protocol: HealthCheckProtocol::Tcp,
        connect_port: None,
        interval: Duration::from_secs(interval.into()),
        timeout: Duration::from_secs(5),
        healthy_threshold: healthy,
        unhealthy_threshold: unhealthy,
    });
    group.scheduler = match settings.scheduler {
        Scheduler::Wrr => model::Scheduler::Wrr,
        Scheduler::Wlc => model::Scheduler::Wlc,
        Scheduler::Sch => model::Scheduler::Sch(HashFactor::SourceIp),
    };
    group.slow_start =
        settings.slow_start.map(|duration| SlowStart { duration: Duration::from_nanos(duration) });
    group.connection_drain =
        settings.drain.map(|timeout| ConnectionDrain { timeout: Duration::from_nanos(timeout) });
    let server = |(address, weight): &(Address, u32)| Server {
        zone: zone_of(*address).map(zone_name),
        ..Server::new(server_address(*address), Weight::new(*weight).expect("weights are up to 100"))
    };
    group.servers = settings.servers.iter().map(server).collect();
    settings.served.iter().copied().map(zone_name).collect()
}

fn zone_name(zone: Zone) -> ZoneName {
    ZoneName::new(zone)
}

/// Where clients reach the balancer in `zone`.
fn vip(zone: Zone) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, zone as u8)
}

fn told(notices: Vec<GroupNotice>) -> Vec<Told> {
    let told = |notice| match notice {
        GroupNotice::FailOpen { zone, begins } => {
            let realm = zone.map(|zone| zone.as_str().chars().next().expect("names are not empty"));
            Told::FailOpen(realm, begins)
        }
        GroupNotice::Server { id, notice: Notice::DrainBegan(began), .. } => {
            Told::DrainBegan(id, drain(&began))
        }
        GroupNotice::Server { id, notice: Notice::DrainEnded { drain: ended, end, tally }, .. } => {
            let how = match end {
                DrainEnd::Idle => End::Idle,
                DrainEnd::Deadline => End::Deadline,
                DrainEnd::Cancelled => End::Cancelled,
            };
            let tally = tally.map(|health::Tally { finished, cut }| Tally { finished, cut });
            Told::DrainEnded(id, drain(&ended), how, tally)
        }
        GroupNotice::Server { .. } => Told::Other,
    };
    notices.into_iter().map(told).collect()
}

fn drain(drain: &health::Drain) -> Drain {
    let cause = match drain.cause {
        DrainCause::Unhealthy => Cause::Unhealthy,
        DrainCause::Removed => Cause::Removed,
    };
    Drain { cause, began: nanos(drain.began), deadline: nanos(drain.deadline) }
}

fn failure(number: u32) -> Failure {
    Failure { reason: FailureReason::ConnectFailed, actual: None, expected: None, detail: number.to_string() }
}

fn moment(now: Nanos) -> Moment {
    Moment::from_nanos(EPOCH + now)
}

fn nanos(moment: Moment) -> Nanos {
    moment.as_nanos() - EPOCH
}

fn server_address(address: Address) -> ServerAddress {
    ServerAddress {
        ip: Ipv4Addr::new(172, 16, 1, address).into(),
        port: PORT.try_into().expect("a port is not 0"),
    }
}

fn last_byte(ip: IpAddr) -> Address {
    let IpAddr::V4(ip) = ip else { panic!("{ip}: all servers here have IPv4 addresses") };
    ip.octets()[3]
}
