//! Weighted look-up tables for L4: flow hash → slot → server.
//!
//! Maglev (Eisenbud et al., NSDI 2016) lets servers take turns at claiming the next free slot of their own permutation.
//! That fills quotas exactly, but every claim depends on all claims before it: one changed weight among 1,000 moves several
//! percent of the table. Here the permutations stay and the turns go:
//!
//! 1. Each server claims the slots of its permutation at times that depend on its own weight and nothing else; a slot
//!    belongs to whoever claims it first. Claim times are spaced like the order statistics of an exponential distribution,
//!    so shares are proportional to weights, whatever the weights. A change of one server moves nothing between others.
//! 2. What chance gave a server beyond its quota goes back into a pool, latest claims first, and the pool is shared out
//!    the same way, in proportion to what each server still lacks. Each round shrinks the error to about its square root.
//! 3. After the last round a server keeps an error of one slot, and only larger ones are levelled. The slack keeps
//!    one change from displacing a long chain of slots.
//!
//! The result depends on the set of members alone, not on their order and not on any earlier table: two nodes with the same
//! members have the same table. All arithmetic is in integers for the same reason.
//!
//! Known limit: where one server outweighs each of hundreds of others a hundredfold, changing *its* weight moves up to
//! 2.5 % of the table between the others (ramping it, up to 10 % over the whole ramp), since each of them gains or loses
//! several slots of quota. Equal weights, and random ones from 1 to 100, were measured at no more than 0.7 % and 2.5 %.

/// Slots of a table.
pub const TABLE_SLOTS: usize = 65537;

/// Entry of a slot when no member has weight.
pub const EMPTY: u16 = u16::MAX;

/// Largest [`Member::weight`].
pub const WEIGHT_MAX: u32 = 1 << 20;

/// A server in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What the table's slots will hold; below [`EMPTY`], distinct.
    pub index: u16,
    /// Decides which slots it likes; equal on every node and for the server's life, distinct.
    pub identity: u64,
    /// Share relative to its siblings', 0 to [`WEIGHT_MAX`], in any one unit; 0 takes no slot.
    pub weight: u32,
}

/// Builds tables of one size.
#[derive(Clone, Debug)]
pub struct Builder {
    /// `claim_times[rank]`: when a server of weight 1 claims the slot at `rank` of its permutation, in [`TIME_UNIT`]s.
    claim_times: Vec<u64>,
}

/// Largest distance of a server's slots from `weight / total weights × slots`, in slots (exclusive).
pub const QUOTA_ERROR_SLOTS: usize = 2;

/// One unit of time, in which a server of weight w claims the fraction w of the slots (for small w).
const TIME_UNIT: u64 = 1 << 20;
/// Precision of the inverse weight; times [`TIME_UNIT`] × ln(size) it must fit 64 bits.
const INVERSE_ONE: u64 = 1 << 38;
/// How long each round of claims lasts, in units of 1 / total weight: e^-x of the pool stays unclaimed.
const ROUND_LENGTHS: [u64; 3] = [5, 3, 3];
/// Error that the last round leaves alone, slots.
const SLACK: i32 = 1;

impl Builder {
    /// A builder of tables with `slots` slots.
    ///
    /// # Panics
    /// When `slots` is not a prime between 3 and 2^20: steps of a permutation would not reach every slot.
    pub fn new(slots: usize) -> Builder {
        assert!((3..1 << 20).contains(&slots) && is_prime(slots), "{slots} slots: not a prime below 2^20");
        // The expected order statistics of `slots` exponential variables: sums of 1/slots + 1/(slots-1) + ...
        let claim_times = (0..slots as u64)
            .scan(0, |time, rank| {
                *time += TIME_UNIT / (slots as u64 - rank);
                Some(*time)
            })
            .collect();
        Builder { claim_times }
    }

    /// The table: for each slot the [`Member::index`] of its server, or [`EMPTY`] everywhere when no member has weight.
    ///
    /// Each server has its quota of slots, give or take less than [`QUOTA_ERROR_SLOTS`].
    ///
    /// # Panics
    /// When a member breaks the rules of its fields.
    pub fn build(&self, members: &[Member]) -> Vec<u16> {
        let mut members: Vec<Member> = members.iter().filter(|member| member.weight > 0).copied().collect();
        for member in &members {
            assert!(
                member.weight <= WEIGHT_MAX,
                "weight {} of member {} is above {WEIGHT_MAX}",
                member.weight,
                member.index
            );
            assert!(member.index != EMPTY, "{EMPTY} marks an empty slot and is no member's index");
        }
        members.sort_unstable_by_key(|member| member.identity);
        let slots = self.claim_times.len();
        if members.is_empty() {
            return vec![EMPTY; slots];
        }
        let quotas = quotas(&members, slots);
        let mut filling = Filling {
            claim_times: &self.claim_times,
            owners: vec![NOBODY; slots],
            claimed_at: vec![u64::MAX; slots],
            missing: quotas.clone(),
        };
        let weights: Vec<u64> = members.iter().map(|member| u64::from(member.weight)).collect();
        filling.share_out(&members, &weights, 0);
        filling.give_back(0);
        for round in 1..ROUND_LENGTHS.len() {
            let lacking: Vec<u64> = filling.missing.iter().map(|missing| (*missing).max(0) as u64).collect();
            filling.share_out(&members, &lacking, round);
            filling.give_back(if round + 1 == ROUND_LENGTHS.len() { SLACK } else { 0 });
        }
        filling.level(&members);
        filling.owners.into_iter().map(|owner| members[owner as usize].index).collect()
    }
}

/// Owner of a slot nobody has claimed.
const NOBODY: u16 = u16::MAX;

/// A table being filled; servers are numbered in order of identity.
struct Filling<'a> {
    claim_times: &'a [u64],
    owners: Vec<u16>,
    /// When the owner claimed the slot: 0 once it is settled, `u64::MAX` while it is in the pool.
    claimed_at: Vec<u64>,
    /// Quota minus slots owned, per server.
    missing: Vec<i32>,
}

impl Filling<'_> {
    /// Lets servers claim slots of the pool at rates `weights`.
    fn share_out(&mut self, members: &[Member], weights: &[u64], round: usize) {
        let total: u64 = weights.iter().sum();
        if total == 0 {
            return;
        }
        let slots = self.owners.len();
        let end = ROUND_LENGTHS[round] * TIME_UNIT * INVERSE_ONE.div_ceil(total);
        for (server, (member, weight)) in (0u16..).zip(members.iter().zip(weights)) {
            if *weight == 0 {
                continue;
            }
            let inverse_weight = INVERSE_ONE / weight;
            let bits = mix(member.identity ^ mix(round as u64 + 1));
            let mut slot = (bits as u32 as usize) % slots;
            let step = ((bits >> 32) as usize) % (slots - 1) + 1;
            for time in self.claim_times {
                let at = time * inverse_weight;
                if at > end {
                    break;
                }
                // Settled slots hold 0, so no claim succeeds there. An equal time goes to the lower identity.
                if at < self.claimed_at[slot] {
                    self.claimed_at[slot] = at;
                    self.owners[slot] = server;
                }
                slot += step;
                if slot >= slots {
                    slot -= slots;
                }
            }
        }
    }

    /// Settles the claims of a round: who got more than quota + `slack` returns the latest claims to the pool.
    fn give_back(&mut self, slack: i32) {
        // Slots claimed in this round, grouped by owner.
        let mut starts = vec![0usize; self.missing.len() + 1];
        let is_new = |at: u64| at != 0 && at != u64::MAX;
        for (owner, at) in self.owners.iter().zip(&self.claimed_at) {
            if is_new(*at) {
                starts[*owner as usize + 1] += 1;
            }
        }
        for server in 1..starts.len() {
            starts[server] += starts[server - 1];
        }
        let mut ends = starts.clone();
        let mut claims = vec![(0u64, 0u32); *starts.last().expect("one more than the servers")];
        for (slot, (owner, at)) in (0u32..).zip(self.owners.iter().zip(&mut self.claimed_at)) {
            if is_new(*at) {
                let end = &mut ends[*owner as usize];
                claims[*end] = (*at, slot);
                *end += 1;
                *at = 0;
            }
        }
        for (server, missing) in self.missing.iter_mut().enumerate() {
            let claims = &mut claims[starts[server]..ends[server]];
            *missing -= claims.len() as i32;
            let excess = (-slack - *missing).clamp(0, claims.len() as i32) as usize;
            if excess == 0 {
                continue;
            }
            let kept = claims.len() - excess;
            if kept > 0 {
                claims.select_nth_unstable(kept);
            }
            for (_, slot) in &claims[kept..] {
                self.owners[*slot as usize] = NOBODY;
                self.claimed_at[*slot as usize] = u64::MAX;
            }
            *missing += excess as i32;
        }
    }

    /// Gives every slot an owner and brings every server within [`SLACK`] of its quota.
    fn level(&mut self, members: &[Member]) {
        let lack: i32 = self.missing.iter().map(|missing| (missing - SLACK).max(0)).sum();
        let mut pool: Vec<usize> =
            (0..self.owners.len()).filter(|slot| self.owners[*slot] == NOBODY).collect();
        // Servers with one slot too many hand it over when the pool alone cannot bring the others up.
        for slot in 0..self.owners.len() {
            if pool.len() >= lack as usize {
                break;
            }
            let owner = self.owners[slot];
            if owner != NOBODY && self.missing[owner as usize] < 0 {
                self.owners[slot] = NOBODY;
                self.missing[owner as usize] += 1;
                pool.push(slot);
            }
        }
        let mut pool = pool.into_iter();
        // First those who lack most, then those below quota, then those who may have one more.
        for lack in [SLACK, 0, -SLACK] {
            let mut takers: Vec<u16> = (0u16..)
                .zip(&self.missing)
                .filter(|(_, missing)| **missing > lack)
                .map(|(server, _)| server)
                .collect();
            while !takers.is_empty() {
                let Some(slot) = pool.next() else { return };
                let taker = (0..takers.len())
                    .min_by_key(|taker| mix(members[takers[*taker] as usize].identity ^ mix(slot as u64)))
                    .expect("takers is not empty");
                let server = takers[taker] as usize;
                self.owners[slot] = takers[taker];
                self.missing[server] -= 1;
                if self.missing[server] <= lack {
                    takers.swap_remove(taker);
                }
            }
        }
        assert!(
            pool.next().is_none(),
            "quotas sum to the table's slots, so the last taker takes the last slot"
        );
    }
}

/// Whole slots of each member: its exact share rounded down, the rest by largest remainder, then lower identity.
fn quotas(members: &[Member], slots: usize) -> Vec<i32> {
    let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let exact = |member: &Member| u64::from(member.weight) * slots as u64;
    let mut quotas: Vec<i32> = members.iter().map(|member| (exact(member) / total) as i32).collect();
    let left = slots - quotas.iter().sum::<i32>() as usize;
    let mut by_remainder: Vec<usize> = (0..members.len()).collect();
    by_remainder.sort_by_key(|server| (std::cmp::Reverse(exact(&members[*server]) % total), *server));
    for server in &by_remainder[..left] {
        quotas[*server] += 1;
    }
    quotas
}

/// A bijection of 64 bits in which every output bit depends on every input bit (the finalizer of SplitMix64).
fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn is_prime(number: usize) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator; tests print its seed.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(1);
            mix(self.0)
        }

        fn below(&mut self, end: u64) -> u64 {
            self.next() % end
        }

        fn members(&mut self, count: u16, mut weight: impl FnMut(&mut Random) -> u32) -> Vec<Member> {
            // Neighbouring addresses, as servers have them; they must not lead to neighbouring permutations.
            let identity = |index| (0xac10_010a + u64::from(index)) << 16 | 80;
            (0..count)
                .map(|index| Member { index, identity: identity(index), weight: weight(self) })
                .collect()
        }
    }

    fn slots_of(table: &[u16], members: usize) -> Vec<i64> {
        let mut slots = vec![0; members];
        for member in table {
            slots[*member as usize] += 1;
        }
        slots
    }

    /// Slots with another owner, and the fewest that could have one given how many each server owns.
    fn moved_and_ideal(before: &[u16], after: &[u16], members: usize) -> (i64, i64) {
        let moved = before.iter().zip(after).filter(|(before, after)| before != after).count() as i64;
        let gained = |(before, after): (i64, i64)| (after - before).max(0);
        let ideal = slots_of(before, members).into_iter().zip(slots_of(after, members)).map(gained).sum();
        (moved, ideal)
    }

    fn percent(share: f64) -> i64 {
        (TABLE_SLOTS as f64 * share / 100.0) as i64
    }

    /// 1,000 servers, a few, and one; weights equal, random 1 to 100, and 100 beside 1.
    fn memberships() -> Vec<(String, Vec<Member>)> {
        let mut random = Random(0x5eed);
        let mut sets = Vec::new();
        for count in [1, 2, 3, 10, 100, 1000] {
            sets.push((format!("{count} equal"), random.members(count, |_| 100_000)));
            sets.push((
                format!("{count} random"),
                random.members(count, |random| random.below(100) as u32 * 1000 + 1000),
            ));
            sets.push((
                format!("{count} mixed"),
                random.members(count, |random| [1000, 100_000][random.below(2) as usize]),
            ));
        }
        sets
    }

    // Holds SG-81
    #[test]
    fn gives_each_server_its_quota_within_two_slots() {
        let builder = Builder::new(TABLE_SLOTS);
        for (name, members) in memberships() {
            let table = builder.build(&members);
            assert_eq!(table.len(), TABLE_SLOTS);
            let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
            let mut variation = 0.0;
            for (member, slots) in members.iter().zip(slots_of(&table, members.len())) {
                let quota = f64::from(member.weight) * TABLE_SLOTS as f64 / total as f64;
                let error = (slots as f64 - quota).abs();
                assert!(
                    error < QUOTA_ERROR_SLOTS as f64,
                    "{name}: {member:?} has {slots} slots, quota {quota:.2}"
                );
                variation += error / 2.0;
            }
            assert!(variation <= percent(1.0) as f64, "{name}: total variation {variation} slots");
        }
    }

    #[test]
    fn depends_on_the_membership_only() {
        let builder = Builder::new(TABLE_SLOTS);
        let mut random = Random(7);
        let mut members = random.members(100, |random| random.below(101) as u32 * 1000);
        let table = builder.build(&members);
        for place in (1..members.len()).rev() {
            members.swap(place, random.below(place as u64 + 1) as usize);
        }
        assert_eq!(builder.build(&members), table);
        assert_eq!(Builder::new(TABLE_SLOTS).build(&members), table);
    }

    #[test]
    fn keeps_a_table_from_release_to_release() {
        // Nodes of adjacent releases must agree on every slot; a change here breaks flows during an upgrade.
        let members = Random(1).members(50, |random| random.below(100) as u32 * 1000 + 1000);
        let table = Builder::new(TABLE_SLOTS).build(&members);
        let digest = table.iter().fold(0, |digest, member| mix(digest ^ u64::from(*member)));
        assert_eq!(digest, 0xece1_2433_061b_210b);
    }

    // Holds SG-81
    #[test]
    fn small_tables_keep_quotas_and_are_kept_from_release_to_release() {
        let builder = Builder::new(251);
        let mut random = Random(251);
        let mut digest = 0;
        // Of so many, some come out of the rounds with fewer slots left than servers lack, and are levelled.
        for _ in 0..1000 {
            let count = 2 + random.below(119) as u16;
            let members = random.members(count, |random| random.below(100) as u32 * 1000 + 1000);
            let table = builder.build(&members);
            let total: u32 = members.iter().map(|member| member.weight).sum();
            for (member, slots) in members.iter().zip(slots_of(&table, members.len())) {
                let quota = f64::from(member.weight) * 251.0 / f64::from(total);
                let error = (slots as f64 - quota).abs();
                assert!(error < QUOTA_ERROR_SLOTS as f64, "{member:?} has {slots} slots, quota {quota:.2}");
            }
            digest = table.iter().fold(digest, |digest, member| mix(digest ^ u64::from(*member)));
        }
        assert_eq!(digest, 0x1761_99ae_eaa6_0040);
    }

    // Holds SG-81
    #[test]
    fn levelling_takes_no_more_from_a_server_than_it_has_beyond_its_quota() {
        // Of these the rounds leave two slots too few, and one server has two slots before the next one that could give.
        let mut members = Random(88).members(40, |random| random.below(100) as u32 * 1000 + 1000);
        members[0].weight = 100_000;
        let slots = slots_of(&Builder::new(251).build(&members), members.len());
        let beyond =
            slots.into_iter().zip(quotas(&members, 251)).map(|(slots, quota)| slots - i64::from(quota));
        assert_eq!(beyond.filter(|beyond| *beyond != 0).collect::<Vec<_>>(), [-1, 1]);
    }

    #[test]
    #[should_panic(expected = "65535 slots: not a prime")]
    fn refuses_a_size_that_permutations_would_not_fill() {
        Builder::new(65_535);
    }

    #[test]
    fn removing_a_server_moves_little_between_the_others() {
        let builder = Builder::new(TABLE_SLOTS);
        for (name, members) in memberships().into_iter().filter(|(_, members)| members.len() > 1) {
            let removed = members.len() / 2;
            let before = builder.build(&members);
            let mut members = members;
            members.remove(removed);
            let after = builder.build(&members);
            let between_others = before
                .iter()
                .zip(&after)
                .filter(|(before, after)| **before != removed as u16 && before != after)
                .count() as i64;
            assert!(between_others <= percent(1.0), "{name}: {between_others} slots moved between survivors");
        }
    }

    #[test]
    fn changing_a_weight_moves_little_beyond_the_ideal() {
        let builder = Builder::new(TABLE_SLOTS);
        for (name, members) in memberships() {
            let before = builder.build(&members);
            let changed = members.len() / 3;
            for factor in [0.1, 0.5, 0.9] {
                let mut members = members.clone();
                members[changed].weight = (f64::from(members[changed].weight) * factor) as u32;
                let (moved, ideal) = moved_and_ideal(&before, &builder.build(&members), members.len());
                assert!(moved <= ideal + percent(1.0), "{name} × {factor}: moved {moved}, ideal {ideal}");
            }
        }
    }

    #[test]
    fn a_whole_slow_start_moves_little_beyond_the_ideal() {
        let builder = Builder::new(TABLE_SLOTS);
        for (name, members) in memberships().into_iter().filter(|(_, members)| members.len() > 1) {
            let ramping = members.len() / 2;
            let at = |eighths: u32| {
                let mut members = members.clone();
                members[ramping].weight =
                    (members[ramping].weight * eighths / 8).max(members[ramping].weight / 10);
                builder.build(&members)
            };
            let tables: Vec<_> = (0..=8).map(at).collect();
            let moved: i64 =
                tables.windows(2).map(|pair| moved_and_ideal(&pair[0], &pair[1], members.len()).0).sum();
            let (_, ideal) = moved_and_ideal(&tables[0], &tables[8], members.len());
            assert!(moved <= ideal + percent(3.0), "{name}: moved {moved}, ideal {ideal}");
        }
    }

    // Holds SG-90
    #[test]
    fn servers_without_weight_take_no_slot() {
        let builder = Builder::new(251);
        let idle = Member { index: 0, identity: 1, weight: 0 };
        let busy = Member { index: 1, identity: 2, weight: 1 };
        assert_eq!(builder.build(&[idle, busy]), vec![1; 251]);
        assert_eq!(builder.build(&[idle]), vec![EMPTY; 251]);
        assert_eq!(builder.build(&[]), vec![EMPTY; 251]);
    }

    #[test]
    fn more_servers_than_slots_still_fill_the_table() {
        let members = Random(3).members(1000, |random| random.below(100) as u32 + 1);
        let table = Builder::new(251).build(&members);
        assert!(table.iter().all(|member| *member < 1000));
        assert!(slots_of(&table, 1000).into_iter().all(|slots| slots <= 2));
    }
}
