//! Smooth weighted round robin (SG-81, SG-82) with slow start evaluated at the pick (SG-133).
//!
//! Every pick adds each server's effective weight to its credit, takes the server with the most credit and takes the
//! sum of all weights off it. Over one cycle (the sum of the weights divided by their greatest common divisor) each
//! server is picked exactly its weight's number of times, spread out: 2:1:1 gives `a b c a`. Absent here: health
//! (a server that may not be picked is not listed) and the clock (`now_ns` is an argument).

use super::slow_start;
use crate::snapshot::{Ramp, ServerSnapshot};
use std::time::Duration;

/// One unit of weight. Fixed point, so that a server of weight 1 ramps as smoothly as one of weight 100.
const UNIT: i64 = 1 << 16;

/// The position of one rule target in its cycle (SG-96: every target keeps its own).
#[derive(Clone, Debug)]
pub struct RoundRobin {
    members: Vec<Member>,
    ramping: bool,
    /// Position of the server that comes first among those of equal credit; the others follow in turn.
    first: usize,
    /// Position of the server picked last.
    last: Option<usize>,
    /// Neither it nor those it goes on from ever picked: it begins at the list's head, whoever became healthy first.
    is_fresh: bool,
}

#[derive(Clone, Debug)]
struct Member {
    id: u32,
    weight: u32,
    effective: i64,
    credit: i64,
    ramp: Option<Ramp>,
}

impl RoundRobin {
    /// A cycle over `servers`, at its start. A server of weight 0 is never picked.
    pub fn new(servers: &[ServerSnapshot]) -> Self {
        let members: Vec<Member> = servers
            .iter()
            .map(|server| Member {
                id: server.id,
                weight: server.weight,
                effective: i64::from(server.weight) * UNIT,
                credit: 0,
                ramp: server.ramp,
            })
            .collect();
        let ramping = members.iter().any(|member| member.ramp.is_some());
        RoundRobin { members, ramping, first: 0, last: None, is_fresh: true }
    }

    /// As [`RoundRobin::new`], going on where `previous` stands if ids and weights are the same. Else the new cycle
    /// begins behind the server picked last: where something changes more often than a cycle lasts, those at the end
    /// of the list must have their turn too.
    pub fn resume(servers: &[ServerSnapshot], previous: &RoundRobin) -> Self {
        let mut next = RoundRobin::new(servers);
        let same = next.members.len() == previous.members.len()
            && next.members.iter().zip(&previous.members).all(|(a, b)| (a.id, a.weight) == (b.id, b.weight));
        if same {
            for (member, before) in next.members.iter_mut().zip(&previous.members) {
                member.credit = before.credit;
            }
            (next.first, next.last) = (previous.first, previous.last);
        } else if !previous.is_fresh {
            next.first = next.position_after(previous).unwrap_or(0);
        }
        next.is_fresh = previous.is_fresh;
        next
    }

    /// Where the server stands that comes after the last pick of `previous`, or after that the first that is still here.
    fn position_after(&self, previous: &RoundRobin) -> Option<usize> {
        let next = previous.last.map_or(previous.first, |last| last + 1);
        let (before, from) = previous.members.split_at(next);
        let mut following = from.iter().chain(before);
        following.find_map(|member| self.members.iter().position(|other| other.id == member.id))
    }

    /// Position in the list given to [`RoundRobin::new`] of the server for the next request, or `None` if there is
    /// none of positive weight. `avoid` is passed over while any other server can be had: the position a first
    /// attempt failed at. `now_ns` is CLOCK_MONOTONIC.
    pub fn pick(&mut self, now_ns: u64, avoid: Option<usize>) -> Option<usize> {
        if self.ramping {
            self.evaluate_ramps(now_ns);
        }
        let avoid = avoid.filter(|avoided| {
            self.members.iter().enumerate().any(|(index, member)| index != *avoided && member.effective > 0)
        });
        self.advance(|index| Some(index) != avoid)
    }

    /// One turn among the servers of positive weight that `takes_part` approves of, the others standing still.
    pub(super) fn advance(&mut self, takes_part: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(usize, i64)> = None;
        let mut total = 0;
        let (before, from) = self.members.split_at_mut(self.first);
        for (index, member) in (self.first..).zip(from).chain((0..).zip(before)) {
            if member.effective == 0 || !takes_part(index) {
                continue;
            }
            member.credit += member.effective;
            total += member.effective;
            if best.is_none_or(|(_, credit)| member.credit > credit) {
                best = Some((index, member.credit));
            }
        }
        let (index, _) = best?;
        self.members[index].credit -= total;
        self.last = Some(index);
        self.is_fresh = false;
        Some(index)
    }

    /// Sets every effective weight for `now_ns`, and forgets ramps that have ended.
    fn evaluate_ramps(&mut self, now_ns: u64) {
        self.ramping = false;
        for member in &mut self.members {
            let full = i64::from(member.weight) * UNIT;
            let Some(ramp) = member.ramp else { continue };
            let age = Duration::from_nanos(now_ns.saturating_sub(ramp.start_ns));
            let length = Duration::from_millis(u64::from(ramp.duration_ms));
            let fraction = slow_start::fraction_at(age, length);
            member.effective = full * i64::from(fraction) / i64::from(slow_start::ONE);
            if fraction == slow_start::ONE {
                member.ramp = None;
            } else {
                self.ramping = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(weights: &[u32]) -> Vec<ServerSnapshot> {
        let address = "192.0.2.1:80".parse().unwrap();
        (0..).zip(weights).map(|(id, &weight)| ServerSnapshot { id, address, weight, ramp: None }).collect()
    }

    fn order(cycle: &mut RoundRobin, picks: usize) -> Vec<usize> {
        (0..picks).map(|_| cycle.pick(0, None).unwrap()).collect()
    }

    fn counts(cycle: &mut RoundRobin, picks: usize, now_ns: u64) -> Vec<usize> {
        let mut counts = vec![0; cycle.members.len()];
        (0..picks).for_each(|_| counts[cycle.pick(now_ns, None).unwrap()] += 1);
        counts
    }

    // Holds SG-82
    #[test]
    fn spreads_picks_instead_of_bursting() {
        let mut cycle = RoundRobin::new(&servers(&[100, 50, 50]));
        assert_eq!(order(&mut cycle, 8), [0, 1, 2, 0, 0, 1, 2, 0]);
        let mut cycle = RoundRobin::new(&servers(&[5, 1, 1]));
        assert_eq!(order(&mut cycle, 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    // Holds SG-81
    #[test]
    fn gives_each_server_exactly_its_weight_over_whole_cycles() {
        for weights in [&[100, 50, 50][..], &[1, 1], &[7], &[1, 100], &[3, 5, 7, 11], &[100, 99]] {
            let total: u32 = weights.iter().sum();
            let mut cycle = RoundRobin::new(&servers(weights));
            let counts = counts(&mut cycle, total as usize * 3, 0);
            let expected: Vec<usize> = weights.iter().map(|&weight| weight as usize * 3).collect();
            assert_eq!(counts, expected, "weights {weights:?}");
        }
    }

    // Holds SG-94
    #[test]
    fn has_no_server_to_pick_from_an_empty_or_weightless_list() {
        assert_eq!(RoundRobin::new(&[]).pick(0, None), None);
        assert_eq!(RoundRobin::new(&servers(&[0, 0])).pick(0, None), None);
    }

    // Holds SG-90
    #[test]
    fn never_picks_weight_zero() {
        let mut cycle = RoundRobin::new(&servers(&[0, 1, 2]));
        assert_eq!(counts(&mut cycle, 300, 0), [0, 100, 200]);
    }

    #[test]
    fn passes_over_the_server_that_just_failed_unless_it_is_the_only_one() {
        let mut cycle = RoundRobin::new(&servers(&[100, 1]));
        assert_eq!(cycle.pick(0, Some(0)), Some(1));
        let mut alone = RoundRobin::new(&servers(&[1]));
        assert_eq!(alone.pick(0, Some(0)), Some(0));
        let mut other_weightless = RoundRobin::new(&servers(&[1, 0]));
        assert_eq!(other_weightless.pick(0, Some(0)), Some(0));
    }

    // Holds SG-133
    #[test]
    fn ramps_linearly_from_the_floor_also_at_weight_one() {
        const SECOND: u64 = 1_000_000_000;
        let mut list = servers(&[1, 1]);
        list[1].ramp = Some(Ramp { start_ns: 10 * SECOND, duration_ms: 30_000 });
        // At `age` the ramping server's part of all picks is f / (1 + f), f = max(age / 30 s, the floor).
        for (age, fraction) in [(0, 0.1), (3, 0.1), (6, 0.2), (15, 0.5), (27, 0.9), (30, 1.0), (300, 1.0)] {
            let mut cycle = RoundRobin::new(&list);
            let counts = counts(&mut cycle, 11_000, (10 + age) * SECOND);
            let expected = 11_000.0 * fraction / (1.0 + fraction);
            assert!((counts[1] as f64 - expected).abs() <= 1.5, "age {age}: {counts:?}, expected {expected}");
        }
    }

    // Holds SG-130, SG-133
    #[test]
    fn a_ramp_goes_on_from_pick_to_pick_until_it_is_over() {
        const SECOND: u64 = 1_000_000_000;
        let mut list = servers(&[100, 100]);
        list[1].ramp = Some(Ramp { start_ns: 0, duration_ms: 30_000 });
        let mut cycle = RoundRobin::new(&list);
        for (age, fraction) in [(3, 0.1), (6, 0.2), (15, 0.5), (27, 0.9), (30, 1.0), (31, 1.0)] {
            let counts = counts(&mut cycle, 11_000, age * SECOND);
            let expected = 11_000.0 * fraction / (1.0 + fraction);
            assert!((counts[1] as f64 - expected).abs() <= 2.0, "age {age}: {counts:?}, expected {expected}");
        }
    }

    // Holds SG-96
    #[test]
    fn keeps_its_position_while_ids_and_weights_stay() {
        let list = servers(&[100, 50, 50]);
        let mut whole = RoundRobin::new(&list);
        let expected = order(&mut whole, 8);
        let mut first = RoundRobin::new(&list);
        let mut seen = order(&mut first, 3);
        let mut ramped = list.clone();
        ramped[1].ramp = Some(Ramp { start_ns: 0, duration_ms: 0 });
        let mut second = RoundRobin::resume(&ramped, &first);
        seen.extend(order(&mut second, 5));
        assert_eq!(seen, expected);
    }

    #[test]
    fn starts_a_new_cycle_behind_the_last_pick_when_membership_changes() {
        let mut before = RoundRobin::new(&servers(&[1, 1]));
        before.pick(0, None);
        let mut after = RoundRobin::resume(&servers(&[1, 1, 1]), &before);
        assert_eq!(order(&mut after, 6), [1, 2, 0, 1, 2, 0]);
        // Those that followed the last pick have left: the next one that is still here.
        let list = servers(&[1, 1, 1, 1]);
        let mut before = RoundRobin::new(&list);
        order(&mut before, 2);
        let mut after = RoundRobin::resume(&[list[3].clone(), list[0].clone(), list[1].clone()], &before);
        assert_eq!(order(&mut after, 3), [0, 1, 2]);
        // Weights count from the new beginning as from any other.
        let mut after = RoundRobin::resume(&servers(&[100, 50, 50]), &before);
        assert_eq!(order(&mut after, 8), [0, 2, 1, 0, 0, 2, 1, 0]);
        // A server in the place of another is a change too.
        let weighted = servers(&[100, 50, 50]);
        let mut before = RoundRobin::new(&weighted);
        order(&mut before, 1);
        let mut replaced = weighted.clone();
        replaced[0].id = 7;
        assert_eq!(order(&mut RoundRobin::resume(&replaced, &before), 4), [0, 1, 2, 0]);
        assert_eq!(order(&mut RoundRobin::resume(&weighted, &before), 4), [1, 2, 0, 0]);
        let mut unused = RoundRobin::resume(&servers(&[1, 1, 1]), &RoundRobin::new(&list));
        assert_eq!(order(&mut unused, 3), [0, 1, 2]);
        // Also after changes without a pick between them.
        let mut after = RoundRobin::resume(&servers(&[1, 1]), &RoundRobin::new(&list));
        order(&mut after, 1);
        let between = RoundRobin::resume(&list[1..], &after);
        assert_eq!(order(&mut RoundRobin::resume(&list, &between), 4), [1, 2, 3, 0]);
    }

    // Holds SG-81
    #[test]
    fn begins_at_the_head_whoever_became_healthy_first() {
        let list = servers(&[100, 50, 50]);
        let second = RoundRobin::resume(&list[1..2], &RoundRobin::new(&[]));
        let two = RoundRobin::resume(&list[..2], &second);
        assert_eq!(order(&mut RoundRobin::resume(&list, &two), 4), [0, 1, 2, 0]);
    }

    // Holds SG-81
    #[test]
    fn every_server_has_its_turn_while_another_comes_and_goes() {
        let all = servers(&[1; 10]);
        let mut cycle = RoundRobin::new(&all);
        let mut counts = [0; 10];
        for round in 0..900 {
            // The last one flaps, and now and then there are two requests meanwhile.
            let list = if round % 2 == 0 { &all[..9] } else { &all[..] };
            cycle = RoundRobin::resume(list, &cycle);
            if round % 3 == 0 {
                order(&mut cycle, 2).into_iter().for_each(|pick| counts[pick] += 1);
            }
        }
        assert!(counts[..9].iter().all(|count| (55..=70).contains(count)), "{counts:?}");
    }
}
