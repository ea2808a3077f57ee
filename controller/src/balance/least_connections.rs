//! Weighted least connections (SG-83): the server whose requests, this one included, are fewest for its weight.
//!
//! Least (active + 1) / weight wins; servers that tie take turns as in [`super::round_robin`]. Fractions are compared
//! crosswise in integers, so equal is equal. Absent here: slow start (Wrr only, SG-131) and the counting, which is the
//! caller's: it may count for all workers.

use super::round_robin::RoundRobin;
use crate::snapshot::ServerSnapshot;

/// The servers of one rule target and whose turn it is among equals.
#[derive(Clone, Debug)]
pub struct LeastConnections {
    members: Vec<Member>,
    /// Breaks ties; always at full weight, as [`RoundRobin::advance`] evaluates no ramp.
    cycle: RoundRobin,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    weight: u32,
    /// Active requests with the one to place, as read for the pick under way: another worker may change them meanwhile.
    load: u64,
}

impl Member {
    /// Whether this server is the less loaded one for its weight.
    fn is_below(&self, other: &Member) -> bool {
        self.load * u64::from(other.weight) < other.load * u64::from(self.weight)
    }
}

impl LeastConnections {
    /// Over `servers`. A server of weight 0 is never picked.
    pub fn new(servers: &[ServerSnapshot]) -> LeastConnections {
        let members = servers.iter().map(|server| Member { weight: server.weight, load: 0 }).collect();
        LeastConnections { members, cycle: RoundRobin::new(servers) }
    }

    /// As [`LeastConnections::new`], with the turn among equals where `previous` has it: see [`RoundRobin::resume`].
    pub fn resume(servers: &[ServerSnapshot], previous: &LeastConnections) -> LeastConnections {
        let mut next = LeastConnections::new(servers);
        next.cycle = RoundRobin::resume(servers, &previous.cycle);
        next
    }

    /// Position in the list given to [`LeastConnections::new`] of the server for the next request, or `None` if there
    /// is none of positive weight. `active` tells, once for each position, how many requests and upgraded tunnels are
    /// with that server. `avoid` is passed over while any other server can be had.
    pub fn pick(&mut self, active: impl Fn(usize) -> u32, avoid: Option<usize>) -> Option<usize> {
        let mut least: Option<Member> = None;
        for (index, member) in self.members.iter_mut().enumerate() {
            if member.weight == 0 || Some(index) == avoid {
                continue;
            }
            member.load = u64::from(active(index)) + 1;
            if least.is_none_or(|least| member.is_below(&least)) {
                least = Some(*member);
            }
        }
        let Some(least) = least else {
            return avoid.filter(|&index| self.members.get(index).is_some_and(|member| member.weight > 0));
        };
        let members = &self.members;
        // None of those read is below the least, so what is not above it ties with it.
        self.cycle.advance(|index| Some(index) != avoid && !least.is_below(&members[index]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Ramp;

    fn servers(weights: &[u32]) -> Vec<ServerSnapshot> {
        let address = "192.0.2.1:80".parse().unwrap();
        (0..).zip(weights).map(|(id, &weight)| ServerSnapshot { id, address, weight, ramp: None }).collect()
    }

    fn pick(group: &mut LeastConnections, active: &[u32]) -> Option<usize> {
        group.pick(|index| active[index], None)
    }

    // Holds SG-83
    #[test]
    fn takes_the_server_with_fewest_requests_for_its_weight() {
        // Weights, active requests, expected: (active + 1) / weight decides.
        for (weights, active, expected) in [
            (&[1, 1, 1][..], &[3, 2, 4][..], 1),
            (&[100, 50], &[1, 0], 0),
            (&[100, 50], &[2, 0], 1),
            (&[1, 100], &[0, 98], 1),
            (&[1, 100], &[0, 100], 0),
            (&[3, 7], &[2, 5], 1),
            (&[3, 7], &[2, 7], 0),
            (&[100, 99], &[u32::MAX, u32::MAX], 0),
            (&[0, 1], &[0, 1000], 1),
        ] {
            let mut group = LeastConnections::new(&servers(weights));
            assert_eq!(pick(&mut group, active), Some(expected), "weights {weights:?}, active {active:?}");
        }
    }

    // Holds SG-83
    #[test]
    fn gives_equals_their_turns_by_weight() {
        let mut group = LeastConnections::new(&servers(&[1, 1, 1]));
        let order: Vec<_> = (0..6).map(|_| pick(&mut group, &[0, 0, 0]).unwrap()).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
        // The busy one stands still meanwhile, and has its turn when it is equal again.
        let order: Vec<_> = (0..4).map(|_| pick(&mut group, &[1, 0, 0]).unwrap()).collect();
        assert_eq!(order, [1, 2, 1, 2]);
        // 2 / 100 is 1 / 50: equals, of different weight.
        let mut group = LeastConnections::new(&servers(&[100, 50]));
        let order: Vec<_> = (0..6).map(|_| pick(&mut group, &[1, 0]).unwrap()).collect();
        assert_eq!(order, [0, 1, 0, 0, 1, 0]);
    }

    // Holds SG-83
    #[test]
    fn fills_servers_in_proportion_to_their_weights() {
        let weights = [100, 50, 7, 1];
        let mut group = LeastConnections::new(&servers(&weights));
        let mut active = [0; 4];
        (0..158 * 3).for_each(|_| active[pick(&mut group, &active).unwrap()] += 1);
        assert_eq!(active, weights.map(|weight| weight * 3));
    }

    // Holds SG-94
    #[test]
    fn has_no_server_to_pick_from_an_empty_or_weightless_list() {
        assert_eq!(pick(&mut LeastConnections::new(&[]), &[]), None);
        let mut weightless = LeastConnections::new(&servers(&[0, 0]));
        assert_eq!(pick(&mut weightless, &[0, 0]), None);
        assert_eq!(weightless.pick(|_| 0, Some(1)), None);
        assert_eq!(weightless.pick(|_| 0, Some(2)), None);
    }

    #[test]
    fn passes_over_the_server_that_just_failed_unless_it_is_the_only_one() {
        let mut group = LeastConnections::new(&servers(&[1, 1, 1]));
        for _ in 0..4 {
            assert_eq!(group.pick(|index| [0, 9, 8][index], Some(0)), Some(2));
        }
        assert_eq!(LeastConnections::new(&servers(&[5])).pick(|_| 7, Some(0)), Some(0));
        assert_eq!(LeastConnections::new(&servers(&[5, 0])).pick(|_| 7, Some(0)), Some(0));
    }

    #[test]
    fn goes_on_with_the_turn_of_the_list_before() {
        let list = servers(&[1, 1, 1]);
        let mut before = LeastConnections::new(&list);
        assert_eq!(pick(&mut before, &[0; 3]), Some(0));
        assert_eq!(pick(&mut LeastConnections::resume(&list, &before), &[0; 3]), Some(1));
        assert_eq!(pick(&mut LeastConnections::resume(&servers(&[1, 1]), &before), &[0; 2]), Some(1));
    }

    // Holds SG-131
    #[test]
    fn knows_no_slow_start() {
        let mut list = servers(&[1, 1]);
        list[1].ramp = Some(Ramp { start_ns: 0, duration_ms: u32::MAX });
        let mut group = LeastConnections::new(&list);
        let order: Vec<_> = (0..4).map(|_| pick(&mut group, &[0, 0]).unwrap()).collect();
        assert_eq!(order, [0, 1, 0, 1]);
    }
}
