//! How many requests per second are too many (LR-104, LR-105): of all clients together, and of each.
//!
//! A limit is a clock that every request moves on by its share of a second (GCRA): while it is not further ahead of real
//! time than the burst allows, requests pass. Its whole state is one number, so that threads share it without a lock.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests that come together after a pause may be as many as the limit lets through in this time, nanoseconds. A
/// twentieth: within the tenth that LR-105 leaves over 10 s, and enough for what waits for a busy thread.
const BURST_NS: u64 = 50_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Clients counted at a time by one limit.
const CLIENTS: usize = 16_384;
/// Places in which a client's clock may be.
const WAYS: usize = 8;

/// A limit on a rate. `Default` for the state: nothing has passed yet.
#[derive(Debug, Default)]
pub struct Rate(AtomicU64);

impl Rate {
    /// Whether a request passes at `now` (nanoseconds of any clock that does not go back) under `per_second`, at least 1.
    pub fn take(&self, per_second: u32, now: u64) -> bool {
        take(&self.0, per_second, now)
    }
}

fn take(state: &AtomicU64, per_second: u32, now: u64) -> bool {
    let share = SECOND_NS / u64::from(per_second.max(1));
    // At least one request passes after a pause, whatever the rate.
    let ahead_max = BURST_NS.max(share);
    let passed = state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |clock| {
        let next = clock.max(now) + share;
        (next <= now + ahead_max).then_some(next)
    });
    passed.is_ok()
}

/// A limit on the rate of each client.
///
/// [`CLIENTS`] places, [`WAYS`] of which a client may take, found by a keyed hash of its address. A client that finds all
/// of them taken by busy others shares the one furthest behind: then both are limited as one. An attacker who does not
/// know the key can fill the table, at the price of as many addresses, but not choose whom to hit. 256 KB.
#[derive(Debug)]
pub struct ClientRates {
    key: u64,
    places: Box<[Place]>,
}

#[derive(Debug, Default)]
struct Place {
    /// Names the client; 0 for none.
    client: AtomicU64,
    clock: AtomicU64,
}

impl ClientRates {
    /// With a random key.
    pub fn new(key: u64) -> ClientRates {
        ClientRates { key, places: (0..CLIENTS).map(|_| Place::default()).collect() }
    }

    /// As [`Rate::take`], for the client at `address`.
    pub fn take(&self, address: IpAddr, per_second: u32, now: u64) -> bool {
        take(&self.place(address, now).clock, per_second, now)
    }

    fn place(&self, address: IpAddr, now: u64) -> &Place {
        let hash = self.hash(address);
        let first = hash as usize % (CLIENTS / WAYS) * WAYS;
        let ways = &self.places[first..first + WAYS];
        // The lower bits chose the places, so the name is what is left; never 0.
        let name = hash | 1;
        if let Some(own) = ways.iter().find(|place| place.client.load(Ordering::Relaxed) == name) {
            return own;
        }
        // A clock that is not ahead means nothing any more, so its place is free to take.
        for place in ways.iter().filter(|place| place.clock.load(Ordering::Relaxed) <= now) {
            let before = place.client.load(Ordering::Relaxed);
            let taken = place.client.compare_exchange(before, name, Ordering::Relaxed, Ordering::Relaxed);
            if taken.is_ok() || taken == Err(name) {
                return place;
            }
        }
        let behind = ways.iter().min_by_key(|place| place.clock.load(Ordering::Relaxed));
        behind.expect("there are several ways")
    }

    fn hash(&self, address: IpAddr) -> u64 {
        // Clients with an IPv6 prefix of their own have as many addresses as they like: 64 bits name a network.
        let bits = match address.to_canonical() {
            IpAddr::V4(address) => u64::from(u32::from(address)),
            IpAddr::V6(address) => (u128::from(address) >> 64) as u64 | 1 << 63,
        };
        let mut hash = bits ^ self.key;
        for _ in 0..3 {
            hash = (hash ^ hash >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ self.key.rotate_left(23);
        }
        hash ^ hash >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `rate` requests a second, evenly over `seconds`, pass.
    fn passed(mut take: impl FnMut(u64) -> bool, rate: u64, seconds: u64) -> u64 {
        let start = 7 * SECOND_NS;
        (0..rate * seconds).filter(|number| take(start + number * SECOND_NS / rate)).count() as u64
    }

    // Holds LR-104, LR-105
    #[test]
    fn lets_the_limit_through_within_a_tenth_and_below_it_everything() {
        for limit in [1, 7, 100, 5_000, 100_000] {
            let rate = Rate::default();
            let through = passed(|now| rate.take(limit, now), 2 * u64::from(limit), 10);
            let wanted = 10 * u64::from(limit);
            assert!(through * 10 >= wanted * 9 && through * 10 <= wanted * 11, "{limit}: {through}");
            let rate = Rate::default();
            let below = u64::from(limit).div_ceil(2);
            assert_eq!(passed(|now| rate.take(limit, now), below, 10), 10 * below, "{limit}");
        }
    }

    #[test]
    fn a_pause_is_no_credit_beyond_the_burst() {
        let rate = Rate::default();
        let at_once = |now| (0..1000).filter(|_| rate.take(100, now)).count();
        assert_eq!(at_once(SECOND_NS), 5);
        assert_eq!(at_once(SECOND_NS), 0);
        assert_eq!(at_once(3600 * SECOND_NS), 5);
        let slow = Rate::default();
        assert_eq!((0..10).filter(|_| slow.take(1, SECOND_NS)).count(), 1);
    }

    // Holds LR-105
    #[test]
    fn threads_share_one_limit() {
        let rate = Rate::default();
        let through: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let at = |number: u64| SECOND_NS + number * SECOND_NS / 2_000;
                        (0..20_000).filter(|number| rate.take(4_000, at(*number))).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // Each thread has a clock of its own; the latest of them rules, which lets nothing more through.
        assert!(through <= 44_000, "{through}");
        assert!(through > 10_000, "{through}");
    }

    // Holds LR-104
    #[test]
    fn each_client_has_a_limit_of_its_own() {
        let rates = ClientRates::new(0x0123_4567_89ab_cdef);
        let clients: Vec<IpAddr> = (0..100).map(|number| [10, 0, 1, number].into()).collect();
        let mut through = vec![0; clients.len()];
        for number in 0..200_u64 {
            let now = SECOND_NS + number * SECOND_NS / 20;
            for (client, through) in clients.iter().zip(&mut through) {
                *through += u32::from(rates.take(*client, 10, now));
            }
        }
        assert!(through.iter().all(|through| (90..=110).contains(through)), "{through:?}");
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let rates = ClientRates::new(1);
        let take = |address: &str| rates.take(address.parse().unwrap(), 1, SECOND_NS);
        assert!(take("2001:db8::1"));
        assert!(!take("2001:db8::2"));
        assert!(take("2001:db8:0:1::1"));
        assert!(take("192.0.2.1"));
        assert!(!take("::ffff:192.0.2.1"));
        // A network whose number is that of an address of IPv4 is another client.
        assert!(take("0:0:c000:201::1"));
        assert!(take("192.0.2.2"));
        assert!(take("8000:0:c000:202::1"));
    }

    #[test]
    fn clients_spread_over_the_table_whatever_their_addresses_have_in_common() {
        let sets = CLIENTS / WAYS;
        let v4 = |number: u32| IpAddr::V4(number.into());
        let v6 = |prefix: u64| IpAddr::V6((u128::from(prefix) << 64).into());
        let ours: [&dyn Fn(u32) -> IpAddr; 5] = [
            &|number| v4(0x0a00_0000 + number),
            &|number| v4(number << 8),
            &|number| v4(number << 16),
            &|number| v6(0x2001_0db8_0000_0000 + u64::from(number)),
            &|number| v6(u64::from(number) << 48 | 1),
        ];
        for key in [1, 0x0123_4567_89ab_cdef] {
            for (pattern, address) in ours.iter().enumerate() {
                let rates = ClientRates::new(key);
                // A set has room for eight; at random, one client in some 9,000 finds it full.
                (0..sets as u32)
                    .for_each(|number| assert!(rates.take(address(number), 1, SECOND_NS), "{number}"));
                let taken = rates
                    .places
                    .chunks(WAYS)
                    .filter(|ways| ways.iter().any(|place| place.client.load(Ordering::Relaxed) != 0));
                // So many balls leave 1 / e of as many bins empty.
                let taken = taken.count();
                assert!(taken > sets * 60 / 100, "{pattern} {key:x}: {taken}");
            }
        }
    }

    #[test]
    fn a_full_table_still_limits_and_forgets_who_went() {
        let rates = ClientRates::new(2);
        let flood = |now: u64| {
            (0..8 * CLIENTS as u32).filter(|number| rates.take(IpAddr::V4((*number).into()), 1, now)).count()
        };
        let first = flood(SECOND_NS);
        assert!(first <= CLIENTS, "no more pass than there are places: {first}");
        assert!(first > CLIENTS / 2, "{first}");
        assert_eq!(flood(SECOND_NS), 0);
        // Two seconds later every clock is behind.
        assert!(flood(3 * SECOND_NS) > CLIENTS / 2);
    }

    #[test]
    fn who_comes_anew_takes_one_place_however_many_are_free() {
        let rates = ClientRates::new(3);
        let clients = 8 * CLIENTS as u32;
        let take = |number: u32, now| rates.take(IpAddr::V4(number.into()), 1, now);
        // Places become free at different times, in no order.
        for number in 0..clients {
            take(number, SECOND_NS + u64::from(number.wrapping_mul(7919) % clients));
        }
        let late = 3 * SECOND_NS;
        for newcomer in clients..clients + clients / 64 {
            assert!(take(newcomer, late));
            assert!(!take(newcomer, late), "{newcomer}");
        }
    }
}
