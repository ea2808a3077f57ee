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
pub struct SharedLimits(Mutex<HashMap<(String, String), Weak<Limits>>>);

impl SharedLimits {
    /// The limit of a rule; what it counted so far lasts while the limit is the same.
    pub fn of(&self, load_balancer: &str, rule: &str, limit: TrafficLimit) -> Arc<Limits> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, limits| limits.strong_count() > 0);
        let place = known.entry((load_balancer.to_owned(), rule.to_owned())).or_default();
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
