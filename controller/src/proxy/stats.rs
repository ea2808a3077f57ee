//! Counters of the engine, readable from any thread while requests run.
//!
//! Each worker writes columns of its own and readers add the columns up, so the request path has no locks and no
//! contended cache lines. Workers look their columns up when a snapshot is taken into force, never per request.
//!
//! One number is written by all workers: [`SharedCount`], which least connections (SG-83) reads for every server at every
//! pick. Adding the workers' columns up instead would be as many reads again as there are workers, each of a line that
//! its worker writes several times per request; two additions per request to a line of its own cost less from two
//! servers on. Servers of other groups do not pay: their columns know that they are not shared.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`. Only the column's worker may call this: there is one writer, so load and store suffice.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes one off; the same worker must have added it.
    pub fn subtract_one(&self) {
        self.add(u64::MAX);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker's counters of one server.
#[derive(Debug, Default)]
pub struct ServerColumn {
    /// Requests sent, attempts that were retried elsewhere included.
    pub requests: Counter,
    /// Requests under way, from the pick of the server to the response's end.
    pub active: Counter,
    /// Connections established.
    pub connections: Counter,
    /// Connections refused, reset or timed out before they were established.
    pub connect_failures: Counter,
    /// Responses by class, 1xx (101 alone) to 5xx.
    pub responses: [Counter; 5],
    /// Requests cut at the end of a drain.
    pub cut: Counter,
    /// Bytes sent to the server.
    pub bytes_sent: Counter,
    /// Bytes received from it.
    pub bytes_received: Counter,
    /// [`ServerColumn::active`] of all workers that share it.
    shared: Arc<SharedCount>,
    /// Whether this worker does. One writer.
    is_shared: AtomicBool,
}

/// Requests under way at a server, of all workers. Has a cache line to itself.
#[derive(Debug, Default)]
#[repr(align(64))]
struct SharedCount(AtomicU32);

impl ServerColumn {
    /// Counts a request as under way. For the column's worker only, as everything that counts here.
    pub fn begin(&self) {
        self.active.add(1);
        if self.is_shared.load(Ordering::Relaxed) {
            self.shared.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends what [`ServerColumn::begin`] began.
    pub fn end(&self) {
        if self.is_shared.load(Ordering::Relaxed) {
            self.shared.0.fetch_sub(1, Ordering::Relaxed);
        }
        self.active.subtract_one();
    }

    /// Whether this worker's requests count in [`ServerColumn::active_everywhere`] from now on, those under way included.
    pub fn share(&self, on: bool) {
        if self.is_shared.swap(on, Ordering::Relaxed) == on {
            return;
        }
        let own = self.active.value() as u32;
        if on {
            self.shared.0.fetch_add(own, Ordering::Relaxed);
        } else {
            self.shared.0.fetch_sub(own, Ordering::Relaxed);
        }
    }

    /// Requests under way at the server from all workers that share their count.
    pub fn active_everywhere(&self) -> u32 {
        self.shared.0.load(Ordering::Relaxed)
    }
}

/// One worker's counters of one listener on one VIP.
#[derive(Debug, Default)]
pub struct ListenerColumn {
    /// Requests whose first byte came.
    pub requests: Counter,
    /// Connections accepted.
    pub connections: Counter,
    /// Connections open.
    pub active_connections: Counter,
    /// Responses by class, 1xx (101 alone) to 5xx, as sent to clients, our own included.
    pub responses: [Counter; 5],
    /// Bytes received from clients.
    pub bytes_received: Counter,
    /// Bytes sent to clients.
    pub bytes_sent: Counter,
    /// TLS handshakes that came to nothing. Plain HTTP on the TLS port is none: it is answered.
    pub handshake_failures: Counter,
    /// Requests that went wrong, by whose fault: the client's, a server's, ours.
    pub errors: [Counter; 3],
}

/// One worker's counters of one request rule of a listener, or of its default rule.
#[derive(Debug, Default)]
pub struct RuleColumn {
    /// Responses by class, 1xx (101 alone) to 5xx, as sent to clients, our own included.
    pub responses: [Counter; 5],
    /// Requests that its traffic limit refused.
    pub limited: Counter,
}

/// [`ServerColumn`] summed over the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of ServerColumn")]
pub struct ServerTotals {
    pub requests: u64,
    pub active: u64,
    pub connections: u64,
    pub connect_failures: u64,
    pub responses: [u64; 5],
    pub cut: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

/// [`ListenerColumn`] summed over the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of ListenerColumn")]
pub struct ListenerTotals {
    pub requests: u64,
    pub connections: u64,
    pub active_connections: u64,
    pub responses: [u64; 5],
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub handshake_failures: u64,
    pub errors: [u64; 3],
}

/// [`RuleColumn`] summed over the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of RuleColumn")]
pub struct RuleTotals {
    pub responses: [u64; 5],
    pub limited: u64,
}

/// Each worker's column of each thing counted.
type Columns<K, T> = Mutex<BTreeMap<K, Vec<Arc<T>>>>;

/// All counters. Ids are those of the snapshot; a server or listener that left keeps its totals.
#[derive(Debug, Default)]
pub struct Stats {
    servers: Columns<u32, ServerColumn>,
    listeners: Columns<(u32, SocketAddr), ListenerColumn>,
    rules: Mutex<Rules>,
    log_lines_dropped: AtomicU64,
    mirrors_dropped: AtomicU64,
    connections_refused: AtomicU64,
    requests_refused: AtomicU64,
    memory: Mutex<MemoryUse>,
}

/// Memory as of the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of anonymous memory in use.
    pub used: u64,
    /// Bytes this process is to use at most.
    pub limit: u64,
    /// The rung of the ladder: 0, nothing is refused, to 3, new requests are.
    pub pressure: u8,
}

/// Each worker's column of each rule, by its listener's id and its own. Names come and go with configuration, and what
/// no worker holds any more is forgotten.
#[derive(Debug, Default)]
struct Rules {
    columns: BTreeMap<(u32, String), Vec<Arc<RuleColumn>>>,
    /// How many rules there are when those that left are looked for.
    full: usize,
}

/// Fewest rules for which that is worth it.
const RULES_FULL_MIN: usize = 64;

impl Rules {
    fn add(&mut self, listener: u32, rule: &str) -> Arc<RuleColumn> {
        if self.columns.len() >= self.full {
            self.columns.retain(|_, columns| is_held(columns));
            self.full = RULES_FULL_MIN.max(2 * self.columns.len());
        }
        let column = Arc::<RuleColumn>::default();
        self.columns.entry((listener, rule.to_owned())).or_default().push(column.clone());
        column
    }
}

fn is_held<T>(columns: &[Arc<T>]) -> bool {
    columns.iter().any(|column| Arc::strong_count(column) > 1)
}

/// Adds the class of `status` up.
pub fn count_response(classes: &[Counter; 5], status: u16) {
    if let Some(class) = usize::from(status / 100).checked_sub(1).and_then(|index| classes.get(index)) {
        class.add(1);
    }
}

fn add_column<K: Ord, T: Default>(columns: &Columns<K, T>, id: K) -> Arc<T> {
    let column = Arc::new(T::default());
    let mut columns = columns.lock().unwrap_or_else(PoisonError::into_inner);
    columns.entry(id).or_default().push(column.clone());
    column
}

fn totals<K: Ord + Copy, T, S>(columns: &Columns<K, T>, sum: impl Fn(&[Arc<T>]) -> S) -> BTreeMap<K, S> {
    let columns = columns.lock().unwrap_or_else(PoisonError::into_inner);
    columns.iter().map(|(id, columns)| (*id, sum(columns))).collect()
}

impl Stats {
    /// Totals of every server that ever was in a snapshot, by id.
    pub fn servers(&self) -> BTreeMap<u32, ServerTotals> {
        totals(&self.servers, |columns| {
            let sum = |counter: fn(&ServerColumn) -> &Counter| total(columns, counter);
            ServerTotals {
                requests: sum(|column| &column.requests),
                active: sum(|column| &column.active),
                connections: sum(|column| &column.connections),
                connect_failures: sum(|column| &column.connect_failures),
                responses: [0, 1, 2, 3, 4].map(|class| total(columns, |column| &column.responses[class])),
                cut: sum(|column| &column.cut),
                bytes_sent: sum(|column| &column.bytes_sent),
                bytes_received: sum(|column| &column.bytes_received),
            }
        })
    }

    /// Totals of every listener that ever was in a snapshot, by id and VIP.
    pub fn listeners(&self) -> BTreeMap<(u32, SocketAddr), ListenerTotals> {
        totals(&self.listeners, |columns| {
            let sum = |counter: fn(&ListenerColumn) -> &Counter| total(columns, counter);
            ListenerTotals {
                requests: sum(|column| &column.requests),
                connections: sum(|column| &column.connections),
                active_connections: sum(|column| &column.active_connections),
                responses: [0, 1, 2, 3, 4].map(|class| total(columns, |column| &column.responses[class])),
                bytes_received: sum(|column| &column.bytes_received),
                bytes_sent: sum(|column| &column.bytes_sent),
                handshake_failures: sum(|column| &column.handshake_failures),
                errors: [0, 1, 2].map(|source| total(columns, |column| &column.errors[source])),
            }
        })
    }

    /// Totals of every rule in force, and of those that requests under way still go by: by its listener's id and its own.
    pub fn rules(&self) -> BTreeMap<(u32, String), RuleTotals> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let held = rules.columns.iter().filter(|(_, columns)| is_held(columns));
        held.map(|(key, columns)| {
            let totals = RuleTotals {
                responses: [0, 1, 2, 3, 4].map(|class| total(columns, |column| &column.responses[class])),
                limited: total(columns, |column| &column.limited),
            };
            (key.clone(), totals)
        })
        .collect()
    }

    /// Access log lines that were dropped because the writer could not keep up.
    pub fn log_lines_dropped(&self) -> u64 {
        self.log_lines_dropped.load(Ordering::Relaxed)
    }

    pub(super) fn add_log_lines_dropped(&self, lines: u64) {
        self.log_lines_dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// Copies of requests that a rule wanted and that were left out: too many at a time, too long, or for nobody (LR-106).
    pub fn mirrors_dropped(&self) -> u64 {
        self.mirrors_dropped.load(Ordering::Relaxed)
    }

    pub(super) fn add_mirrors_dropped(&self, copies: u64) {
        self.mirrors_dropped.fetch_add(copies, Ordering::Relaxed);
    }

    /// Connections closed unanswered because memory was scarce.
    pub fn connections_refused(&self) -> u64 {
        self.connections_refused.load(Ordering::Relaxed)
    }

    pub(super) fn add_connection_refused(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests answered 503 because memory was scarce.
    pub fn requests_refused(&self) -> u64 {
        self.requests_refused.load(Ordering::Relaxed)
    }

    pub(super) fn add_request_refused(&self) {
        self.requests_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Memory as of the last look.
    pub fn memory(&self) -> MemoryUse {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_memory(&self, used: u64, limit: u64, pressure: u8) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = MemoryUse { used, limit, pressure };
    }

    pub(super) fn server_column(&self, id: u32) -> Arc<ServerColumn> {
        let mut columns = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let columns = columns.entry(id).or_default();
        let shared = columns.first().map(|column| column.shared.clone()).unwrap_or_default();
        let column = Arc::new(ServerColumn { shared, ..ServerColumn::default() });
        columns.push(column.clone());
        column
    }

    pub(super) fn listener_column(&self, id: u32, vip: SocketAddr) -> Arc<ListenerColumn> {
        add_column(&self.listeners, (id, vip))
    }

    pub(super) fn rule_column(&self, listener: u32, rule: &str) -> Arc<RuleColumn> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).add(listener, rule)
    }
}

fn total<T>(columns: &[Arc<T>], counter: impl Fn(&T) -> &Counter) -> u64 {
    // Wrapping: a column read between two of its worker's steps may be one below zero.
    columns.iter().fold(0, |sum: u64, column| sum.wrapping_add(counter(column).value()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Holds SG-83
    #[test]
    fn counts_what_is_under_way_over_all_workers_that_share_it() {
        let stats = Stats::default();
        let (one, two, other) = (stats.server_column(7), stats.server_column(7), stats.server_column(8));
        one.begin();
        one.begin();
        assert_eq!(one.active_everywhere(), 0);
        // Switched on with requests under way, at each worker in its own time.
        one.share(true);
        one.share(true);
        two.begin();
        assert_eq!((two.active_everywhere(), other.active_everywhere()), (2, 0));
        two.share(true);
        two.begin();
        one.end();
        assert_eq!((one.active_everywhere(), two.active_everywhere()), (3, 3));
        one.share(false);
        one.end();
        assert_eq!(two.active_everywhere(), 2);
        two.end();
        two.end();
        assert_eq!((two.active_everywhere(), stats.servers()[&7].active), (0, 0));
    }

    #[test]
    fn rules_are_told_while_a_worker_holds_them_and_forgotten_afterwards() {
        let stats = Stats::default();
        let (one, two) = (stats.rule_column(7, "api"), stats.rule_column(7, "api"));
        count_response(&one.responses, 200);
        count_response(&two.responses, 201);
        two.limited.add(3);
        drop(one);
        let totals = RuleTotals { responses: [0, 2, 0, 0, 0], limited: 3 };
        assert_eq!(stats.rules(), BTreeMap::from([((7, "api".to_owned()), totals)]));
        drop(two);
        assert_eq!(stats.rules(), BTreeMap::new());
        // However many names come and go.
        for number in 0..10_000 {
            stats.rule_column(7, &format!("rule-{number}"));
        }
        assert!(stats.rules.lock().unwrap().columns.len() <= RULES_FULL_MIN);
    }

    #[test]
    fn sums_the_columns_of_all_workers() {
        let stats = Stats::default();
        let (one, two) = (stats.server_column(7), stats.server_column(7));
        one.requests.add(2);
        two.requests.add(3);
        two.active.add(1);
        two.active.subtract_one();
        count_response(&one.responses, 204);
        count_response(&two.responses, 503);
        count_response(&two.responses, 101);
        count_response(&two.responses, 999);
        let totals = stats.servers()[&7];
        assert_eq!((totals.requests, totals.active, totals.responses), (5, 0, [1, 1, 0, 0, 1]));
    }
}
