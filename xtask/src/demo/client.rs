//! The client: asks the balancer by name, all the time, by HTTP and over the TCP listener, each time on a connection
//! of its own, and keeps count of who answered.
//!
//! Requests leave on a fixed beat, whether earlier ones were answered or not, so that a server that hangs slows nobody
//! else down.

use anyhow::{Context, Result, bail};
use causeway_lab::{CLIENT, ECS01, ECS02, Lab, index_page};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The tutorial's domain, a CNAME for the load balancer's name.
pub const DOMAIN: &str = "www.example.test";
/// From one HTTP request to the next; TCP flows come at half that rate.
const BEAT: Duration = Duration::from_millis(50);
/// The client gives up on a request. Longer than the balancer's 5 s for a connection that a dead server never
/// accepts, so that its second attempt is seen to help.
pub const PATIENCE: Duration = Duration::from_secs(8);
/// An answer that takes longer than this is called late: it is far beyond what a healthy server needs.
const LATE: Duration = Duration::from_secs(1);
/// How many of the last answers are remembered one by one.
const REMEMBERED: usize = 24;
/// A burst that is not through by then ends early; what is missing shows in its tally.
const BURST_LIMIT: Duration = Duration::from_secs(30);
/// For one request: far more than it uses.
const STACK_BYTES: usize = 128 * 1024;

/// Which of the balancer's listeners a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// HTTP, port 80: a worker picks a server for each request.
    Http,
    /// TCP, port 9000: XDP picks a server for each flow.
    Tcp,
}

impl Listener {
    /// The port it listens on.
    pub const fn port(self) -> u16 {
        match self {
            Listener::Http => 80,
            Listener::Tcp => 9000,
        }
    }
}

/// A server that can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answerer {
    /// In Chengdu, beside the balancer.
    Ecs01,
    /// In Hangzhou, behind the tunnel.
    Ecs02,
}

/// What became of requests to one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests answered by ECS01 and ECS02, whole and right.
    pub answered: [u64; 2],
    /// How many of them took more than a second.
    pub late: u64,
    /// Requests that got something else, by what.
    pub failed: BTreeMap<String, u64>,
    /// The last outcomes, oldest first: `1`, `2`, or `x` for a failure.
    pub recent: VecDeque<char>,
}

impl Tally {
    /// Answers of one server.
    pub fn of(&self, answerer: Answerer) -> u64 {
        self.answered[answerer as usize]
    }

    /// All failures.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Everything that has come to an end.
    pub fn total(&self) -> u64 {
        self.answered.iter().sum::<u64>() + self.failures()
    }

    /// What has been added since `earlier`, apart from the single outcomes.
    pub fn since(&self, earlier: &Tally) -> Tally {
        let failed = self.failed.iter().map(|(what, count)| {
            (what.clone(), count - earlier.failed.get(what).copied().unwrap_or_default())
        });
        Tally {
            answered: [0, 1].map(|i| self.answered[i] - earlier.answered[i]),
            late: self.late - earlier.late,
            failed: failed.filter(|(_, count)| *count > 0).collect(),
            recent: VecDeque::new(),
        }
    }

    /// Failures with their kinds: `3 (2 refused, 1 status 502)`.
    pub fn describe_failures(&self) -> String {
        let kinds: Vec<_> = self.failed.iter().map(|(what, count)| format!("{count} {what}")).collect();
        if kinds.is_empty() { "0".to_owned() } else { format!("{} ({})", self.failures(), kinds.join(", ")) }
    }

    fn add(&mut self, outcome: &Outcome) {
        let mark = match outcome {
            Outcome::Answered(answerer, took) => {
                self.answered[*answerer as usize] += 1;
                self.late += u64::from(*took > LATE);
                if *answerer == Answerer::Ecs01 { '1' } else { '2' }
            }
            Outcome::Failed(what) => {
                *self.failed.entry(what.clone()).or_default() += 1;
                'x'
            }
        };
        self.recent.push_back(mark);
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
    }
}

enum Outcome {
    Answered(Answerer, Duration),
    Failed(String),
}

/// Tallies of both listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Of the HTTP listener.
    pub http: Tally,
    /// Of the TCP listener.
    pub tcp: Tally,
}

impl Tallies {
    /// What has been added since `earlier`.
    pub fn since(&self, earlier: &Tallies) -> Tallies {
        Tallies { http: self.http.since(&earlier.http), tcp: self.tcp.since(&earlier.tcp) }
    }

    fn of(&mut self, listener: Listener) -> &mut Tally {
        match listener {
            Listener::Http => &mut self.http,
            Listener::Tcp => &mut self.tcp,
        }
    }
}

/// Sends requests from the lab's client host until dropped.
pub struct Client {
    shared: Arc<Shared>,
    beat: Option<JoinHandle<Result<()>>>,
}

struct Shared {
    /// The balancer's addresses, as the name led to them; used in turn.
    addresses: Vec<Ipv4Addr>,
    turn: AtomicU64,
    tallies: Mutex<Tallies>,
    in_flight: AtomicUsize,
    is_paused: AtomicBool,
    is_over: AtomicBool,
}

/// What the client's resolver says of [`DOMAIN`]: the name it is an alias for, and the addresses.
pub fn resolve(lab: &Lab) -> Result<(String, Vec<Ipv4Addr>)> {
    let said = lab.run(CLIENT, &["getent", "ahostsv4", DOMAIN])?;
    parse_addresses(&said).with_context(|| format!("{DOMAIN} leads nowhere; getent printed {said:?}"))
}

/// `ADDRESS STREAM CANONICAL-NAME`, then the same for other socket types, without the name.
fn parse_addresses(said: &str) -> Option<(String, Vec<Ipv4Addr>)> {
    let name = said.lines().next()?.split_whitespace().nth(2)?.to_owned();
    let streams = said.lines().filter(|line| line.contains("STREAM"));
    Some((name, streams.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()))
}

impl Client {
    /// Begins to send to `addresses`.
    pub fn start(lab: &Arc<Lab>, addresses: Vec<Ipv4Addr>) -> Result<Client> {
        if addresses.is_empty() {
            bail!("{DOMAIN} has no address");
        }
        let shared = Arc::new(Shared {
            addresses,
            turn: AtomicU64::new(0),
            tallies: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            is_paused: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let (lab, beats) = (Arc::clone(lab), Arc::clone(&shared));
        let beat = thread::Builder::new().name("client".into()).spawn(move || {
            // Threads it starts are in the client's network too.
            lab.within(CLIENT, || send_until_over(&beats))
        })?;
        Ok(Client { shared, beat: Some(beat) })
    }

    /// Sends nothing more until [`Self::resume`].
    pub fn pause(&self) {
        self.shared.is_paused.store(true, Ordering::SeqCst);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.shared.is_paused.store(false, Ordering::SeqCst);
    }

    /// Requests without an outcome yet.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// What became of all requests so far.
    pub fn tallies(&self) -> Tallies {
        self.shared.tallies().clone()
    }

    /// Sends `count` requests, one after the other, each on a connection of its own.
    pub fn burst(&self, lab: &Lab, listener: Listener, count: usize) -> Result<Tally> {
        lab.within(CLIENT, || {
            let end = Instant::now() + BURST_LIMIT;
            let mut tally = Tally::default();
            for _ in 0..count {
                if Instant::now() > end {
                    break;
                }
                let outcome = self.shared.send(listener);
                tally.add(&outcome);
                self.shared.tallies().of(listener).add(&outcome);
            }
            tally
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        if let Some(Ok(Err(error))) = self.beat.take().map(JoinHandle::join) {
            // Nobody is left to hand the error to.
            eprintln!("client: {error:#}");
        }
    }
}

fn send_until_over(shared: &Arc<Shared>) {
    let mut next = Instant::now();
    for beat in 0_u64.. {
        next += BEAT;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        shared.send_in_background(Listener::Http);
        if beat % 2 == 0 {
            shared.send_in_background(Listener::Tcp);
        }
    }
}

impl Shared {
    fn tallies(&self) -> MutexGuard<'_, Tallies> {
        // A panic while holding it leaves counts that are each right.
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_in_background(self: &Arc<Self>, listener: Listener) {
        // Counted before looking at the pause: who pauses, then sees nothing in flight, can be sure.
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        if self.is_paused.load(Ordering::SeqCst) {
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let shared = Arc::clone(self);
        let send = move || {
            let outcome = shared.send(listener);
            shared.tallies().of(listener).add(&outcome);
            shared.in_flight.fetch_sub(1, Ordering::SeqCst);
        };
        let thread = thread::Builder::new().name("request".into()).stack_size(STACK_BYTES).spawn(send);
        if let Err(error) = thread {
            self.tallies().of(listener).add(&Outcome::Failed(format!("not sent: {error}")));
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn send(&self, listener: Listener) -> Outcome {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let address = self.addresses[turn % self.addresses.len()];
        let started = Instant::now();
        match request((address, listener.port()).into(), started + PATIENCE) {
            Ok(answer) => read_answer(&answer, started.elapsed()),
            Err(error) => Outcome::Failed(describe(&error)),
        }
    }
}

/// One request on a new connection; returns everything that came back.
fn request(address: SocketAddr, deadline: Instant) -> io::Result<Vec<u8>> {
    let left = || -> io::Result<Duration> {
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer)? {
            0 => return Ok(answer),
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
}

fn read_answer(answer: &[u8], took: Duration) -> Outcome {
    let text = String::from_utf8_lossy(answer);
    let status = text.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        let what =
            if text.is_empty() { "closed without answer".to_owned() } else { format!("status {status}") };
        return Outcome::Failed(what);
    }
    for (host, answerer) in [(ECS01, Answerer::Ecs01), (ECS02, Answerer::Ecs02)] {
        if text.ends_with(&index_page(host)) {
            return Outcome::Answered(answerer, took);
        }
    }
    Outcome::Failed("cut short".to_owned())
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("without answer in {} s", PATIENCE.as_secs())
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(answer: &str) -> Tally {
        let mut tally = Tally::default();
        tally.add(&read_answer(answer.as_bytes(), Duration::ZERO));
        tally
    }

    #[test]
    fn knows_servers_by_their_pages() {
        let page = "HTTP/1.1 200 OK\r\n\r\nHello World! This is ECS02 in Hangzhou.";
        assert_eq!(outcome(page).answered, [0, 1]);
        assert_eq!(
            outcome("HTTP/1.1 200 OK\r\n\r\nHello World! This is ECS").describe_failures(),
            "1 (1 cut short)"
        );
        assert_eq!(outcome("HTTP/1.1 502 Bad Gateway\r\n\r\n").describe_failures(), "1 (1 status 502)");
        assert_eq!(outcome("").describe_failures(), "1 (1 closed without answer)");
    }

    #[test]
    fn a_difference_holds_only_what_was_added() {
        let mut tally = outcome("");
        let earlier = tally.clone();
        assert_eq!(tally.since(&earlier), Tally::default());
        tally.add(&Outcome::Answered(Answerer::Ecs01, Duration::from_secs(2)));
        let added = tally.since(&earlier);
        assert_eq!((added.of(Answerer::Ecs01), added.late, added.failures(), added.total()), (1, 1, 0, 1));
        assert_eq!(tally.recent, ['x', '1']);
    }

    #[test]
    fn follows_the_alias_to_every_address() {
        let said = "203.0.113.10    STREAM alb1.causeway.test\n203.0.113.10    DGRAM  \n\
                    203.0.113.11    STREAM \n203.0.113.11    DGRAM  \n";
        let addresses = [10, 11].map(|last| Ipv4Addr::new(203, 0, 113, last)).to_vec();
        assert_eq!(parse_addresses(said), Some(("alb1.causeway.test".to_owned(), addresses)));
        assert_eq!(parse_addresses(""), None);
    }
}
