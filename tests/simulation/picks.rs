//! How requests are shared: who may be picked at all, and in what proportion.

use crate::reference::{Address, Reference};
use crate::run::Difference;
use crate::subject::{clock, listed};
use controller::balance::round_robin::RoundRobin;
use controller::snapshot::ServerSnapshot;

/// Picks of one [`Tally::shares`] beyond which a cycle is not followed to its end.
const SHARE_PICKS_MAX: u32 = 240;
/// Least [`RoundRobin`] knows of a ramp: thousandths of the weight.
const RAMP_PRECISION: f64 = 0.001;

/// Fails unless `address` may take a request, with the requirement that forbids it.
pub fn may_be_picked(group: &Reference, address: Option<Address>) -> Result<(), Difference> {
    let found = address.map_or("no server".to_owned(), |address| format!("server {address}"));
    let Some(address) = address else {
        let receiving = group.members.iter().find(|stay| group.receives(stay).0);
        return match receiving {
            None => Ok(()),
            Some(stay) => Err(Difference::new(
                "pick",
                format!("server {}", stay.address),
                found,
                group.receives(stay).1,
            )),
        };
    };
    let Some(stay) = group.members.iter().find(|stay| stay.address == address) else {
        return Err(Difference::new(
            "pick",
            "a member",
            found,
            "SG-201, SG-226: a server that was removed takes nothing new",
        ));
    };
    match group.receives(stay) {
        (true, _) => Ok(()),
        (false, why) => Err(Difference::new("pick", "another server", found, why)),
    }
}

/// Picks of one worker since its list of servers last changed, against what the weights promise.
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
        let list: Vec<(Address, u32)> =
            servers.iter().map(|server| (listed(server), server.weight)).collect();
        if list != self.list {
            let none = vec![0.0; list.len()];
            *self = Tally { list, promised: none.clone(), picked: none, ramped: 0 };
        }
        let shares = shares(group, &self.list);
        let is_ramping = group.members.iter().any(|stay| group.fraction(stay) != (1, 1));
        self.ramped += u32::from(is_ramping);
        // Never ahead by a pick, never behind by more than the logarithm. While the sum of the weights grows, what a
        // server is behind counts for more; it grows tenfold at most.
        let count = self.list.len() as f64;
        let behind = 1.0 + count.ln();
        let bound =
            if self.ramped == 0 { behind } else { 5.0 * behind + RAMP_PRECISION * f64::from(self.ramped) };
        for (place, share) in shares.iter().enumerate() {
            self.promised[place] += share;
            self.picked[place] += f64::from(u8::from(self.list[place].0 == address));
            let off = self.picked[place] - self.promised[place];
            if off.abs() > bound {
                let what =
                    format!("picks of server {} since the list of servers changed", self.list[place].0);
                return Err(Difference::new(
                    what,
                    format!("{:.2}, give or take {bound:.2}", self.promised[place]),
                    self.picked[place].to_string(),
                    "SG-81, SG-82: shares follow the weights; SG-133: weights follow slow start",
                ));
            }
        }
        Ok(())
    }
}

/// Picks whole cycles from their start; fails unless they are shared exactly, without bursts.
pub fn share(group: &Reference, servers: &[ServerSnapshot]) -> Result<(), Difference> {
    let list: Vec<(Address, u32)> = servers.iter().map(|server| (listed(server), server.weight)).collect();
    let shares = shares(group, &list);
    let is_ramping = group.members.iter().any(|stay| group.fraction(stay) != (1, 1));
    let divisor =
        list.iter().fold(0, |divisor, (_, weight)| greatest_common_divisor(divisor, *weight)).max(1);
    let cycle = list.iter().map(|(_, weight)| weight / divisor).sum::<u32>();
    let picks = cycle.min(SHARE_PICKS_MAX);
    let mut rotation = RoundRobin::new(servers);
    let mut counts = vec![0u32; list.len()];
    let behind = 1.0 + (list.len() as f64).ln();
    for pick in 1..=picks {
        let Some(place) = rotation.pick(clock(group.now), None) else {
            return Err(Difference::new(
                "pick",
                "a server",
                "none",
                "SG-93, SG-94: only a group without weight has none",
            ));
        };
        counts[place] += 1;
        for (place, share) in shares.iter().enumerate() {
            let promised = share * f64::from(pick);
            let off = f64::from(counts[place]) - promised;
            let imprecision = if is_ramping { RAMP_PRECISION * f64::from(pick) } else { 0.0 };
            if off >= 1.0 + imprecision || off < -behind - imprecision {
                return Err(Difference::new(
                    format!("picks of server {} after {pick} from the start of a cycle", list[place].0),
                    format!("{promised:.3}, at most 1 more or {behind:.2} less"),
                    counts[place].to_string(),
                    "SG-81, SG-82: smooth shares by weight; SG-133: weight times max(elapsed/duration, 1/10)",
                ));
            }
        }
    }
    let exact: Vec<u32> = list.iter().map(|(_, weight)| weight / divisor).collect();
    if picks == cycle && !is_ramping && counts != exact {
        return Err(Difference::new(
            "picks of a whole cycle",
            format!("{exact:?}"),
            format!("{counts:?}"),
            "SG-81",
        ));
    }
    Ok(())
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

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
