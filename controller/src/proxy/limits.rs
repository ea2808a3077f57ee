//! Traffic limits of rules, one for all workers (LR-104, LR-105).

use crate::model::TrafficLimit;
use crate::rules::limit::{ClientRates, Rate};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One rule's limit.
#[derive(Debug)]
pub struct Limits {
    limit: TrafficLimit,
    all: Rate,
    clients: Option<ClientRates>,
}

/// Every limit in force, by load balancer and rule: workers that take the same rule into force share it, and it is gone
/// with the last of them.
#[derive(Debug, Default)]
pub struct SharedLimits(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    limits: HashMap<(String, String), Weak<Limits>>,
    /// With so many, those that are gone are looked for.
    sweep_at: usize,
}

impl SharedLimits {
    /// The limit of a rule; what it counted so far lasts while the limit is the same.
    pub fn of(&self, load_balancer: &str, rule: &str, limit: TrafficLimit) -> Arc<Limits> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.limits.len() >= known.sweep_at {
            known.limits.retain(|_, limits| limits.strong_count() > 0);
            // At twice as many: each then pays for one of those that are looked at.
            known.sweep_at = 2 * known.limits.len() + 1;
        }
        let place = known.limits.entry((load_balancer.to_owned(), rule.to_owned())).or_default();
        if let Some(limits) = place.upgrade().filter(|limits| limits.limit == limit) {
            return limits;
        }
        let mut key = [0; 8];
        // Without randomness an attacker might find addresses that share places; the limit still is one.
        let _ = aws_lc_rs::rand::fill(&mut key);
        let clients = limit.per_ip_qps.map(|_| ClientRates::new(u64::from_ne_bytes(key)));
        let made = Arc::new(Limits { limit, all: Rate::default(), clients });
        *place = Arc::downgrade(&made);
        made
    }
}

impl Limits {
    /// Whether a request of the client at `address` passes. The client's own limit is asked first, so that one who is
    /// beyond it takes nothing from the others.
    pub fn take(&self, address: IpAddr, now: u64) -> bool {
        let own = match (&self.clients, self.limit.per_ip_qps) {
            (Some(clients), Some(qps)) => clients.take(address, qps, now),
            _ => true,
        };
        own && self.limit.qps.is_none_or(|qps| self.all.take(qps, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000_000;

    fn limit(qps: impl Into<Option<u32>>, per_ip_qps: impl Into<Option<u32>>) -> TrafficLimit {
        TrafficLimit { qps: qps.into(), per_ip_qps: per_ip_qps.into() }
    }

    fn client(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    // Holds LR-104
    #[test]
    fn a_client_is_held_to_its_own_limit_and_to_that_of_all() {
        // At 20 a second, one request at a time is let through.
        let passed = |limit: TrafficLimit, clients: &[u8]| {
            let limits = SharedLimits::default().of("lb", "rule", limit);
            clients.iter().filter(|number| limits.take(client(**number), NOW)).count()
        };
        assert_eq!(passed(limit(None, None), &[1; 100]), 100);
        assert_eq!(passed(limit(None, 20), &[1, 1, 2, 2, 3]), 3);
        assert_eq!(passed(limit(20, None), &[1, 2, 3]), 1);
        assert_eq!(passed(limit(40, 20), &[1, 2, 3, 4]), 2);
        // Who is beyond its own takes nothing from the others.
        assert_eq!(passed(limit(40, 20), &[1, 1, 1, 1, 2]), 2);
    }

    // Holds LR-104, LR-105
    #[test]
    fn a_rule_s_limit_is_one_wherever_it_is_in_force_and_starts_anew_when_it_changes() {
        let shared = SharedLimits::default();
        let of = |balancer: &str, rule: &str, qps: u32| shared.of(balancer, rule, limit(qps, None));
        let (one, other) = (of("lb", "a", 20), of("lb", "a", 20));
        assert!(Arc::ptr_eq(&one, &other));
        assert!(one.take(client(1), NOW) && !other.take(client(1), NOW));
        for another in [of("lb", "b", 20), of("other", "a", 20)] {
            assert!(another.take(client(1), NOW));
        }
        let changed = of("lb", "a", 30);
        assert!(changed.take(client(1), NOW));
        assert!(Arc::ptr_eq(&changed, &of("lb", "a", 30)), "the latest is the one in force");
    }

    #[test]
    fn limits_that_nobody_has_in_force_are_forgotten() {
        let shared = SharedLimits::default();
        let kept = shared.of("lb", "kept", limit(20, None));
        let gone: Vec<_> = (0..10).map(|rule| shared.of("lb", &rule.to_string(), limit(20, None))).collect();
        assert!(gone[3].take(client(1), NOW));
        drop(gone);
        assert!(shared.of("lb", "3", limit(20, None)).take(client(1), NOW), "nothing of it is left");
        // They are looked for now and then: what is remembered stays within twice what is in force.
        for rule in 0..1000 {
            shared.of("lb", &format!("passing {rule}"), limit(20, None));
            let known = shared.0.lock().unwrap().limits.len();
            assert!(known < 30, "{known} for one in force");
        }
        assert!(Arc::ptr_eq(&kept, &shared.of("lb", "kept", limit(20, None))));
    }
}
