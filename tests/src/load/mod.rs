//! Load at a constant rate from the lab's client: requests begin when they are due, whether or not earlier ones were
//! answered, so that a server that slows down is not spared (an open loop).
//!
//! ```no_run
//! # use causeway_lab::{Lab, VIP_A};
//! # use tests::load::Load;
//! # fn show(lab: &Lab) {
//! let (records, ()) = Load::new((VIP_A, 80), 200.0).kept().run_while(lab, |load| {
//!     load.wait_for(400);
//!     lab.stop_server("ecs11").expect("it stops");
//!     load.wait_for(400);
//! });
//! records.assert_none_failed();
//! println!("{:?}", records.counts());
//! # }
//! ```

mod exchange;
mod record;

pub use record::{Answer, Record, Records};

use causeway_lab::{CLIENT, Lab};
use exchange::Connection;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A load, not yet begun. Request number `n` begins `n / rate` seconds after the first.
#[derive(Clone)]
pub struct Load {
    to: SocketAddr,
    rate: f64,
    kept: bool,
    sources: Vec<IpAddr>,
    users: usize,
    limit: Duration,
    host: String,
    path: Arc<dyn Fn(u64) -> String + Send + Sync>,
    headers: Arc<dyn Fn(u64) -> String + Send + Sync>,
}

impl Load {
    /// `rate` requests per second for `/` of `www.example.test` at `to`, each on a connection of its own.
    ///
    /// # Panics
    /// If `rate` is not above zero.
    pub fn new(to: impl Into<SocketAddr>, rate: f64) -> Load {
        assert!(rate > 0.0 && rate.is_finite(), "a rate of {rate} requests per second");
        Load {
            to: to.into(),
            rate,
            kept: false,
            sources: Vec::new(),
            users: 0,
            limit: Duration::from_secs(90),
            host: "www.example.test".to_owned(),
            path: Arc::new(|_| "/".to_owned()),
            headers: Arc::new(|_| String::new()),
        }
    }

    /// Keeps connections and uses them again: each request takes an idle one of its source, or opens one.
    #[must_use]
    pub fn kept(self) -> Load {
        Load { kept: true, ..self }
    }

    /// Sends request number `n` from `sources[n % sources.len()]`: of [`causeway_lab::CLIENT_ADDRESSES`], or what
    /// [`causeway_lab::ipv6_of`] makes of them.
    #[must_use]
    pub fn from<A: Copy + Into<IpAddr>>(self, sources: &[A]) -> Load {
        Load { sources: sources.iter().map(|source| (*source).into()).collect(), ..self }
    }

    /// Has `count` users take turns, each of whom keeps the cookies it is given: request number `n` is of user
    /// `n % count`.
    #[must_use]
    pub fn users(self, count: usize) -> Load {
        Load { users: count, ..self }
    }

    /// Asks for `path`, query and all.
    #[must_use]
    pub fn path(self, path: &str) -> Load {
        let path = path.to_owned();
        self.paths(move |_| path.clone())
    }

    /// Asks for `path(n)`, query and all, with request number `n`.
    #[must_use]
    pub fn paths(self, path: impl Fn(u64) -> String + Send + Sync + 'static) -> Load {
        Load { path: Arc::new(path), ..self }
    }

    /// Sends `headers(n)` with request number `n`: whole lines, each ended by CR LF.
    #[must_use]
    pub fn headers(self, headers: impl Fn(u64) -> String + Send + Sync + 'static) -> Load {
        Load { headers: Arc::new(headers), ..self }
    }

    /// Asks `host` instead of `www.example.test`.
    #[must_use]
    pub fn host(self, host: &str) -> Load {
        Load { host: host.to_owned(), ..self }
    }

    /// Gives a request up after `limit`, instead of 90 seconds.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Load {
        Load { limit, ..self }
    }

    /// Runs the load from the lab's client while `work` does. Requests that are under way when `work` returns are
    /// waited for. Returns every request, by number, and what `work` returned.
    ///
    /// # Panics
    /// As `work`; the load has ended then.
    pub fn run_while<T>(self, lab: &Lab, work: impl FnOnce(&Progress) -> T) -> (Records, T) {
        self.run(|generate| lab.within(CLIENT, generate).expect("enter the client"), work)
    }

    /// As [`Load::run_while`], for `time`.
    pub fn run_for(self, lab: &Lab, time: Duration) -> Records {
        self.run_while(lab, |_| std::thread::sleep(time)).0
    }

    /// `enter` calls what it is given on a thread from where the load shall come.
    fn run<T>(
        self,
        enter: impl FnOnce(&(dyn Fn() + Sync)) + Send,
        work: impl FnOnce(&Progress) -> T,
    ) -> (Records, T) {
        let progress = Progress::default();
        let result = std::thread::scope(|scope| {
            let _stop = StopOnDrop(&progress.shared);
            let shared = Arc::clone(&progress.shared);
            let generate = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime can be made").block_on(generate(self.clone(), Arc::clone(&shared)));
            };
            scope.spawn(move || enter(&generate));
            work(&progress)
        });
        let mut records = std::mem::take(&mut *progress.shared.records());
        records.sort_by_key(|record| record.number);
        (Records(records), result)
    }
}

/// How far a running load is.
#[derive(Default)]
pub struct Progress {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    records: Mutex<Vec<Record>>,
    stop: Notify,
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        // A panic while holding it leaves the list whole: each change is one push.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    /// How many requests have ended so far.
    pub fn count(&self) -> usize {
        self.shared.records().len()
    }

    /// The requests that have ended so far, by number.
    pub fn records(&self) -> Records {
        let mut records = self.shared.records().clone();
        records.sort_by_key(|record| record.number);
        Records(records)
    }

    /// Waits until `more` requests have ended from now on.
    ///
    /// # Panics
    /// If that takes more than [`crate::balancer::PATIENCE`].
    #[track_caller]
    pub fn wait_for(&self, more: usize) {
        let wanted = self.count() + more;
        crate::balancer::wait_until(
            &format!("{wanted} requests have ended"),
            crate::balancer::PATIENCE,
            || {
                let count = self.count();
                if count >= wanted { Ok(()) } else { Err(count) }
            },
        );
    }
}

/// Also stops the load when `work` panics, or its panic would wait for it for ever.
struct StopOnDrop<'a>(&'a Shared);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.notify_one();
    }
}

/// What requests of one load share.
struct Clients {
    load: Load,
    idle: Mutex<HashMap<Option<IpAddr>, Vec<Connection>>>,
    /// Cookies of each user, by name.
    jars: Mutex<Vec<BTreeMap<String, String>>>,
}

async fn generate(load: Load, shared: Arc<Shared>) {
    let interval = 1.0 / load.rate;
    let jars = Mutex::new(vec![BTreeMap::new(); load.users]);
    let clients = Arc::new(Clients { load, idle: Mutex::default(), jars });
    let mut under_way = JoinSet::new();
    let began = Instant::now();
    for number in 0.. {
        let due = began + Duration::from_secs_f64(interval * number as f64);
        tokio::select! {
            biased;
            () = shared.stop.notified() => break,
            () = tokio::time::sleep_until(due.into()) => {}
        }
        let (clients, shared) = (Arc::clone(&clients), Arc::clone(&shared));
        under_way.spawn(async move {
            let record = clients.request(number, due).await;
            shared.records().push(record);
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}

impl Clients {
    async fn request(&self, number: u64, due: Instant) -> Record {
        let load = &self.load;
        let turn = |of: usize| (of > 0).then(|| (number % of as u64) as usize);
        let source = turn(load.sources.len()).map(|index| load.sources[index]);
        let user = turn(load.users);
        let path = (load.path)(number);
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", load.host);
        head.push_str(&(load.headers)(number));
        head.push_str(&user.map_or_else(String::new, |user| self.cookies(user)));
        head.push_str(if load.kept { "\r\n" } else { "Connection: close\r\n\r\n" });

        let began = Instant::now();
        let mut reused = false;
        let exchange = self.exchange(source, head.as_bytes(), &mut reused);
        let outcome = match tokio::time::timeout(load.limit, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {:?}", load.limit)),
        };
        let took = began.elapsed();
        if let (Some(user), Ok(answer)) = (user, &outcome) {
            self.keep_cookies(user, answer);
        }
        Record { number, due, began, took, source, user, path, reused, outcome }
    }

    async fn exchange(
        &self,
        source: Option<IpAddr>,
        head: &[u8],
        reused: &mut bool,
    ) -> std::io::Result<Answer> {
        while let Some(mut connection) = self.idle_connection(source) {
            *reused = true;
            match connection.exchange(head).await {
                Ok(answer) => return Ok(self.put_back(source, connection, answer)),
                // It was closed while idle, and the request went after that: what every client then does.
                Err(_) if !connection.has_answered() => continue,
                Err(error) => return Err(error),
            }
        }
        *reused = false;
        let mut connection = Connection::open(source, self.load.to).await?;
        let answer = connection.exchange(head).await?;
        Ok(self.put_back(source, connection, answer))
    }

    fn idle_connection(&self, source: Option<IpAddr>) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(&source)?;
        // Those that the other side has closed meanwhile are dropped.
        std::iter::from_fn(|| connections.pop()).find(Connection::is_idle)
    }

    fn put_back(&self, source: Option<IpAddr>, connection: Connection, answer: Answer) -> Answer {
        if self.load.kept && connection.is_reusable() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.entry(source).or_default().push(connection);
        }
        answer
    }

    fn cookies(&self, user: usize) -> String {
        let jars = self.jars.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs: Vec<String> = jars[user].iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { String::new() } else { format!("Cookie: {}\r\n", pairs.join("; ")) }
    }

    fn keep_cookies(&self, user: usize, answer: &Answer) {
        let mut jars = self.jars.lock().unwrap_or_else(PoisonError::into_inner);
        for line in answer.headers("set-cookie") {
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let Some((name, value)) = pair.split_once('=') else { continue };
            let is_gone = attributes.split(';').any(|word| word.trim().eq_ignore_ascii_case("max-age=0"));
            if is_gone {
                jars[user].remove(name.trim());
            } else {
                jars[user].insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};

    /// A server on loopback that answers each request on each connection with what `answer` makes of its head.
    fn serve(answer: impl Fn(&str) -> String + Clone + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = answer.clone();
                std::thread::spawn(move || serve_connection(stream, answer));
            }
        });
        address
    }

    fn serve_connection(mut stream: TcpStream, answer: impl Fn(&str) -> String) {
        let mut reader = BufReader::new(stream.try_clone().expect("duplicate"));
        let mut head = String::new();
        while reader.read_line(&mut head).is_ok_and(|length| length > 0) {
            if head.ends_with("\r\n\r\n") {
                let text = answer(&head);
                stream.write_all(text.as_bytes()).ok();
                if text.contains("Connection: close") || head.contains("Connection: close") {
                    return;
                }
                head.clear();
            }
        }
    }

    fn page(name: &str) -> String {
        let body = causeway_lab::index_page(name);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    fn run(load: Load, requests: usize) -> Records {
        let here = |generate: &(dyn Fn() + Sync)| generate();
        let (records, ()) = load.run(here, |progress| progress.wait_for(requests));
        records
    }

    #[test]
    fn requests_begin_when_due_though_none_is_answered() {
        // Accepts, and never answers.
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let to = listener.local_addr().expect("bound");
        let records = run(Load::new(to, 200.0).limit(Duration::from_millis(300)), 20);
        assert!(records.iter().all(|record| record.outcome.is_err()));
        // The first had not yet been given up when as many more had begun as are due in that time.
        let end_of_first = records.0[0].began + records.0[0].took;
        let begun = records.iter().filter(|record| record.due < end_of_first).count();
        assert!(begun >= 60, "{begun} had begun");
        assert!(records.iter().all(|record| record.began >= record.due));
    }

    #[test]
    fn connections_are_kept_and_replaced_when_the_other_side_closes() {
        let answer = |head: &str| {
            let close = if head.contains("/5 ") { "Connection: close\r\n" } else { "" };
            page("ecs11").replacen("Content", &format!("{close}Content"), 1)
        };
        let load = Load::new(serve(answer), 100.0).kept().paths(|number| format!("/{number}"));
        let records = run(load, 9);
        records.assert_none_failed();
        // One at a time, since each is answered long before the next is due, unless the machine is slow.
        let opened = records.iter().filter(|record| !record.reused).count();
        assert!((2..records.len()).contains(&opened), "{opened} of {}", records.len());
        assert!(!records.0[0].reused);
        assert_eq!(records.counts(), BTreeMap::from([("ecs11".to_owned(), records.len())]));
    }

    #[test]
    fn each_user_sends_the_cookies_it_was_given_and_only_those() {
        let answer = |head: &str| {
            let user = head.split(['/', ' ']).nth(2).unwrap_or_default().to_owned();
            let known = head.contains(&format!("Cookie: id={user}\r\n"));
            let status = if known || !head.contains("Cookie:") { "200 OK" } else { "400 Bad" };
            let cookies = format!("Set-Cookie: id={user}; Path=/\r\nSet-Cookie: old=; Max-Age=0\r\n");
            format!("HTTP/1.1 {status}\r\nX-Known: {known}\r\n{cookies}Content-Length: 0\r\n\r\n")
        };
        let load = Load::new(serve(answer), 100.0).users(3).paths(|number| format!("/{}", number % 3));
        let records = run(load, 12);
        records.assert_none_failed();
        for record in records.iter() {
            let known = record.answer().header("x-known").expect("it says");
            // Within a turn of three, the one before may still be under way.
            assert!(known == "true" || record.number < 6, "{record:?}");
        }
        assert!(records.iter().any(|record| record.user == Some(2) && record.number == 5));
    }

    #[test]
    fn sources_take_turns() {
        let sources: [std::net::Ipv4Addr; 2] =
            ["127.0.0.7".parse(), "127.0.0.8".parse()].map(|a| a.expect("ok"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let to = listener.local_addr().expect("bound");
        let peers = std::thread::spawn(move || {
            let accept = |_| {
                let (stream, peer) = listener.accept().expect("accept");
                serve_connection(stream, |_| page("ecs11"));
                peer.ip().to_string()
            };
            (0..6).map(accept).collect::<Vec<_>>()
        });
        let load = Load::new(to, 50.0).from(&sources).limit(Duration::from_secs(1));
        let records = run(load, 6);
        let expected = ["127.0.0.7", "127.0.0.8"];
        let peers = peers.join().expect("it accepts six");
        assert_eq!(peers, (0..6).map(|number| expected[number % 2]).collect::<Vec<_>>());
        assert_eq!(records.0[3].source, Some(sources[1].into()));
    }
}
