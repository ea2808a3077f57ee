//! How requests are shared: who may be picked at all, in what proportion, and by what rule of the scheduler.

use crate::reference::{Address, Reference, Scheduler, Stay, Zone};
use crate::run::Difference;
use crate::subject::{clock, listed};
use controller::balance::consistent_hash::{ConsistentHash, key_of_address};
use controller::balance::least_connections::LeastConnections;
use controller::balance::round_robin::RoundRobin;
use controller::snapshot::{GroupSnapshot, SchedulerSnapshot, ServerSnapshot};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Picks beyond which a cycle is not followed to its end.
const CYCLE_PICKS_MAX: u32 = 240;
/// Precision of a ramp: thousandths of the weight.
const RAMP_PRECISION: f64 = 0.001;
/// Clients, each with an address of its own.
pub const CLIENTS: u8 = 100;

/// A worker's scheduler of the group's only target.
#[derive(Clone, Debug)]
pub enum Worker {
    Wrr(RoundRobin),
    Wlc(LeastConnections),
    Sch(ConsistentHash),
}

impl Worker {
    /// For what the snapshot says, going on where `previous` stands if it is of the same kind.
    pub fn new(group: &GroupSnapshot, previous: Option<&Worker>) -> Worker {
        let servers = &group.servers;
        match (&group.scheduler, previous) {
            (SchedulerSnapshot::Wrr, Some(Worker::Wrr(cycle))) => {
                Worker::Wrr(RoundRobin::resume(servers, cycle))
            }
            (SchedulerSnapshot::Wrr, _) => Worker::Wrr(RoundRobin::new(servers)),
            (SchedulerSnapshot::Wlc, Some(Worker::Wlc(least))) => {
                Worker::Wlc(LeastConnections::resume(servers, least))
            }
            (SchedulerSnapshot::Wlc, _) => Worker::Wlc(LeastConnections::new(servers)),
            (SchedulerSnapshot::SchSourceIp | SchedulerSnapshot::SchUrlParameter(_), _) => {
                Worker::Sch(ConsistentHash::new(servers))
            }
        }
    }

    /// Position in the snapshot of the server for a request of `client`; `active` tells how many each server has.
    pub fn pick(&mut self, now_ns: u64, client: u8, active: impl Fn(usize) -> u32) -> Option<usize> {
        match self {
            Worker::Wrr(cycle) => cycle.pick(now_ns, None),
            Worker::Wlc(least) => least.pick(active, None),
            Worker::Sch(hash) => hash.pick(key(client), None),
        }
    }

    /// The scheduler it is.
    pub fn scheduler(&self) -> Scheduler {
        match self {
            Worker::Wrr(_) => Scheduler::Wrr,
            Worker::Wlc(_) => Scheduler::Wlc,
            Worker::Sch(_) => Scheduler::Sch,
        }
    }
}

fn key(client: u8) -> u64 {
    key_of_address(Ipv4Addr::new(198, 51, 100, client).into())
}

/// Fails unless `address` may take a request that enters `zone`, with the requirement that forbids it.
pub fn may_be_picked(group: &Reference, zone: Zone, address: Option<Address>) -> Result<(), Difference> {
    let found = address.map_or("no server".to_owned(), |address| format!("server {address}"));
    let differs = |expected: String, rule: &str| Err(Difference::new("pick", expected, found.clone(), rule));
    let Some(address) = address else {
        let mut members = group.members.iter().filter(|stay| group.is_reached_from(zone, stay));
        let receiving = members.find(|stay| group.receives(stay).0);
        return receiving
            .map_or(Ok(()), |stay| differs(format!("server {}", stay.address), group.receives(stay).1));
    };
    let Some(stay) = group.members.iter().find(|stay| stay.address == address) else {
        return differs("a member".into(), "SG-201, SG-226: a server that was removed takes nothing new");
    };
    match group.receives(stay) {
        (true, _) if !group.is_reached_from(zone, stay) => {
            differs("a server of the zone".into(), "SG-171: traffic stays in its zone")
        }
        (true, _) => Ok(()),
        (false, why) => differs("another server".into(), why),
    }
}

/// Fails unless `address` has the fewest requests for its weight (SG-83), given those in flight before this one.
pub fn has_least(
    group: &Reference,
    zone: Zone,
    address: Address,
    active: impl Fn(Address) -> u32,
) -> Result<(), Difference> {
    // (active + 1) / weight as a fraction.
    let load = |address: Address, weight: u32| (u64::from(active(address)) + 1, u64::from(weight));
    let weight_of =
        |address| group.members.iter().find(|stay| stay.address == address).map(|stay| stay.weight);
    let picked = load(address, weight_of(address).unwrap_or_default());
    let may_receive = |stay: &&Stay| group.receives(stay).0 && group.is_reached_from(zone, stay);
    for stay in group.members.iter().filter(may_receive) {
        let other = load(stay.address, stay.weight);
        if other.0 * picked.1 < picked.0 * other.1 {
            return Err(Difference::new(
                "pick",
                format!("server {} with (active + 1) / weight of {}/{}", stay.address, other.0, other.1),
                format!("server {address} with {}/{}", picked.0, picked.1),
                "SG-83: the least (active + 1) / weight",
            ));
        }
    }
    Ok(())
}

/// Which server each client has, while the scheduler is Sch.
#[derive(Clone, Debug, Default)]
pub struct Homes {
    /// Weight of each server.
    weights: BTreeMap<Address, u32>,
    homes: Vec<Address>,
}

impl Homes {
    /// Takes in a new snapshot. Fails if a client changes between servers of which nothing has changed, or if the
    /// answer depends on the order of the list.
    pub fn take_in(&mut self, servers: &[ServerSnapshot]) -> Result<(), Difference> {
        let weights: BTreeMap<Address, u32> =
            servers.iter().map(|server| (listed(server), server.weight)).collect();
        if weights == self.weights {
            return Ok(());
        }
        let homes = homes(servers);
        let reversed: Vec<ServerSnapshot> = servers.iter().rev().cloned().collect();
        let rule = "SG-84, SG-87: every worker and node chooses alike from the same servers";
        same("servers of clients, with the list reversed", &homes, &self::homes(&reversed), rule)?;
        for (client, (before, after)) in (0u8..).zip(self.homes.iter().zip(&homes)) {
            let is_unchanged = |address: &Address| self.weights.get(address) == weights.get(address);
            if before != after && is_unchanged(before) && is_unchanged(after) {
                return Err(Difference::new(
                    format!("server of client {client}"),
                    before.to_string(),
                    after.to_string(),
                    "SG-87, D-14: a change of one server moves nothing between others",
                ));
            }
        }
        *self = Homes { weights, homes };
        Ok(())
    }

    /// Fails unless a request of `client` went where all of its requests go.
    pub fn picked(&self, client: u8, address: Address) -> Result<(), Difference> {
        same(
            "server of a client",
            &self.homes[usize::from(client)],
            &address,
            "SG-84: same factor, same server",
        )
    }
}

fn homes(servers: &[ServerSnapshot]) -> Vec<Address> {
    let hash = ConsistentHash::new(servers);
    let home = |client| hash.pick(key(client), None).map(|place| listed(&servers[place]));
    (0..CLIENTS).filter_map(home).collect()
}

/// Picks of one worker since its list of servers last changed, against what the weights promise; while the scheduler is
/// Wrr.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Address and weight of each server, as the worker has them.
    list: Vec<(Address, u32)>,
    promised: Vec<f64>,
    picked: Vec<f64>,
    ramped: u32,
}

impl Tally {
    /// Takes in a pick of `address` from `servers`; fails if a server is further from its share than the algorithm's
    /// bound, which lies within one cycle (SG-81, SG-82, and SG-133 while servers ramp).
    pub fn picked(
        &mut self,
        group: &Reference,
        servers: &[ServerSnapshot],
        address: Address,
    ) -> Result<(), Difference> {
        let list = addresses_and_weights(servers);
        if list != self.list {
            let none = vec![0.0; list.len()];
            *self = Tally { list, promised: none.clone(), picked: none, ramped: 0 };
        }
        self.ramped += u32::from(is_ramping(group));
        // While the sum of the weights grows, tenfold at most, what a server is behind counts for more.
        let behind = behind(&self.list);
        let bound = match self.ramped {
            0 => behind,
            picks => 5.0 * behind + RAMP_PRECISION * f64::from(picks),
        };
        for (place, share) in shares(group, &self.list).into_iter().enumerate() {
            self.promised[place] += share;
            self.picked[place] += f64::from(u8::from(self.list[place].0 == address));
            let off = self.picked[place] - self.promised[place];
            if off.abs() > bound {
                return Err(Difference::new(
                    format!("picks of server {} since the list of servers changed", self.list[place].0),
                    format!("{:.2}, give or take {bound:.2}", self.promised[place]),
                    self.picked[place].to_string(),
                    "SG-81, SG-82: shares follow the weights; SG-133: weights follow slow start",
                ));
            }
        }
        Ok(())
    }
}

/// Picks as a worker would whose requests all end at once, without counting them as requests; fails unless they are
/// shared by weight.
pub fn share(group: &Reference, snapshot: &GroupSnapshot, worker: &Worker) -> Result<(), Difference> {
    let servers = &snapshot.servers;
    if servers.is_empty() {
        return Ok(());
    }
    match worker {
        Worker::Wrr(_) => {
            whole_cycle(group, servers, Worker::new(snapshot, None))?;
            going_on(group, servers, worker.clone())
        }
        // All servers tie, so they take turns as with Wrr.
        Worker::Wlc(_) => whole_cycle(group, servers, Worker::new(snapshot, None)),
        Worker::Sch(_) => hashed(group, servers),
    }
}

/// From the start of a cycle: exact over the whole of it, and without bursts.
fn whole_cycle(group: &Reference, servers: &[ServerSnapshot], mut worker: Worker) -> Result<(), Difference> {
    let list = addresses_and_weights(servers);
    let shares = shares(group, &list);
    let is_ramping = is_ramping(group);
    let divisor =
        list.iter().fold(0, |divisor, (_, weight)| greatest_common_divisor(divisor, *weight)).max(1);
    let cycle = list.iter().map(|(_, weight)| weight / divisor).sum::<u32>();
    let picks = cycle.min(CYCLE_PICKS_MAX);
    let mut counts = vec![0u32; list.len()];
    let behind = behind(&list);
    for pick in 1..=picks {
        counts[next(group, &mut worker, servers)?] += 1;
        let imprecision = if is_ramping { RAMP_PRECISION * f64::from(pick) } else { 0.0 };
        for (place, share) in shares.iter().enumerate() {
            let promised = share * f64::from(pick);
            let off = f64::from(counts[place]) - promised;
            if off >= 1.0 + imprecision || off < -behind - imprecision {
                return Err(Difference::new(
                    format!("picks of server {} after {pick} from the start of a cycle", list[place].0),
                    format!("{promised:.3}, less than 1 more and at most {behind:.2} less"),
                    counts[place].to_string(),
                    "SG-81, SG-82: smooth shares by weight; SG-133: weight times max(elapsed/duration, 1/10)",
                ));
            }
        }
    }
    let exact: Vec<u32> = list.iter().map(|(_, weight)| weight / divisor).collect();
    if picks == cycle && !is_ramping {
        same("picks of a whole cycle", &exact, &counts, "SG-81: exact over a whole cycle")?;
    }
    Ok(())
}

/// From wherever the worker stands: within twice the bound, since it may stand that far off.
fn going_on(group: &Reference, servers: &[ServerSnapshot], mut worker: Worker) -> Result<(), Difference> {
    let list = addresses_and_weights(servers);
    let mut counts = vec![0u32; list.len()];
    for _ in 0..CYCLE_PICKS_MAX {
        counts[next(group, &mut worker, servers)?] += 1;
    }
    let bound = 5.0 * behind(&list) + RAMP_PRECISION * f64::from(CYCLE_PICKS_MAX);
    for (place, share) in shares(group, &list).into_iter().enumerate() {
        let promised = share * f64::from(CYCLE_PICKS_MAX);
        if (f64::from(counts[place]) - promised).abs() > bound {
            return Err(Difference::new(
                format!("picks of server {} of the worker's next {CYCLE_PICKS_MAX}", list[place].0),
                format!("{promised:.2}, give or take {bound:.2}"),
                counts[place].to_string(),
                "SG-81, SG-133: weight times max(elapsed/duration, 1/10)",
            ));
        }
    }
    Ok(())
}

/// Clients share as the weights do, as far as chance lets so few: within six deviations.
fn hashed(group: &Reference, servers: &[ServerSnapshot]) -> Result<(), Difference> {
    let list = addresses_and_weights(servers);
    let homes = homes(servers);
    for ((address, _), share) in list.iter().zip(shares(group, &list)) {
        let found = homes.iter().filter(|home| *home == address).count() as f64;
        let promised = share * f64::from(CLIENTS);
        let bound = 6.0 * (promised * (1.0 - share)).sqrt() + 1.0;
        if (found - promised).abs() > bound {
            return Err(Difference::new(
                format!("clients of server {address}"),
                format!("{promised:.2}, give or take {bound:.2}"),
                found.to_string(),
                "SG-87: shares by weight",
            ));
        }
    }
    Ok(())
}

fn next(group: &Reference, worker: &mut Worker, servers: &[ServerSnapshot]) -> Result<usize, Difference> {
    // As many requests as make (active + 1) / weight equal.
    let place = worker.pick(clock(group.now), 0, |place| servers[place].weight - 1);
    place.ok_or_else(|| {
        Difference::new("pick", "a server", "none", "SG-93, SG-94: only a group without weight has none")
    })
}

fn addresses_and_weights(servers: &[ServerSnapshot]) -> Vec<(Address, u32)> {
    servers.iter().map(|server| (listed(server), server.weight)).collect()
}

fn is_ramping(group: &Reference) -> bool {
    group.members.iter().any(|stay| group.fraction(stay) != (1, 1))
}

/// Each server's share of the requests now.
fn shares(group: &Reference, list: &[(Address, u32)]) -> Vec<f64> {
    let weight = |(address, weight): &(Address, u32)| {
        let stay = group.members.iter().find(|stay| stay.address == *address);
        let (part, whole) = stay.map_or((1, 1), |stay| group.fraction(stay));
        f64::from(*weight) * part as f64 / whole as f64
    };
    let weights: Vec<f64> = list.iter().map(weight).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// How many picks a server may be behind its share: it is never ahead by a whole one, and who is furthest behind comes
/// next, so the logarithm bounds it.
fn behind(list: &[(Address, u32)]) -> f64 {
    1.0 + (list.len() as f64).ln()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Fails unless the two are equal.
pub fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &T,
    found: &T,
    rule: &str,
) -> Result<(), Difference> {
    if expected == found {
        return Ok(());
    }
    Err(Difference::new(what, format!("{expected:?}"), format!("{found:?}"), rule))
}
