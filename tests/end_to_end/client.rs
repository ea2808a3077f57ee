//! A small HTTP/1.1 client with one connection per request unless told otherwise, and steady load while something
//! happens. Its answers say more than a status: when, how long, and what went wrong.

use causeway_lab::{CLIENT, ECS01, ECS02, Lab, index_page};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything the balancer may take: its request timeout is 60 s.
const TIMEOUT: Duration = Duration::from_secs(90);

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its header lines.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The server whose page this is.
    pub fn server(&self) -> &'static str {
        match std::str::from_utf8(&self.body) {
            Ok(body) if body == index_page(ECS01) => ECS01,
            Ok(body) if body == index_page(ECS02) => ECS02,
            _ => panic!("no server's page: {} {:?}", self.status, String::from_utf8_lossy(&self.body)),
        }
    }
}

/// A connection that may carry several requests.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects; must be called within a host of the lab.
    pub fn open(to: SocketAddrV4) -> io::Result<Connection> {
        Connection::of(TcpStream::connect_timeout(&SocketAddr::V4(to), TIMEOUT)?)
    }

    /// Connects from `from`, whose port may be 0.
    pub fn open_from(from: SocketAddrV4, to: SocketAddrV4) -> io::Result<Connection> {
        use std::os::fd::FromRawFd;
        // SAFETY: a system call on constants; its result is checked before it becomes a socket.
        let descriptor = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened and nobody else holds it.
        let stream = unsafe { TcpStream::from_raw_fd(descriptor) };
        let call = |call: unsafe extern "C" fn(i32, *const libc::sockaddr, u32) -> i32, at: SocketAddrV4| {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: at.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(at.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the address is a whole sockaddr_in that outlives the call, and its length is given.
            let result =
                unsafe { call(descriptor, (&raw const address).cast(), size_of_val(&address) as u32) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        call(libc::bind, from)?;
        call(libc::connect, to)?;
        Connection::of(stream)
    }

    fn of(stream: TcpStream) -> io::Result<Connection> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::with_capacity(1 << 16, stream) })
    }

    /// GET `path`, reading the whole body.
    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: www.example.test\r\n\r\n").as_bytes())?;
        self.answer()
    }

    /// The answer to what was sent, with the whole body.
    pub fn answer(&mut self) -> io::Result<Reply> {
        let (status, head, length) = self.head()?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Reply { status, head, body })
    }

    /// GET `path`, up to the body, whose length is returned. [`Connection::body`] reads it.
    pub fn begin(&mut self, path: &str) -> io::Result<usize> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: www.example.test\r\n\r\n").as_bytes())?;
        let (status, head, length) = self.head()?;
        if status == 200 { Ok(length) } else { Err(io::Error::other(format!("{path}: {status} {head}"))) }
    }

    /// Fills `bytes` from the body.
    pub fn body(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(bytes)
    }

    /// PUT `body` to `path`; the status.
    pub fn put(&mut self, path: &str, body: &[u8]) -> io::Result<u16> {
        let length = body.len();
        self.send(format!("PUT {path} HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
        self.send(body)?;
        let (status, _, length) = self.head()?;
        self.stream.read_exact(&mut vec![0; length])?;
        Ok(status)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Everything up to the other side's end.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Gives up a read after `limit`.
    pub fn limit_reads(&self, limit: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(limit))
    }

    /// Ends the connection.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.get_ref().shutdown(how)
    }

    /// Status, header lines and body length of a response.
    fn head(&mut self) -> io::Result<(u16, String, usize)> {
        let mut head = String::new();
        loop {
            let before = head.len();
            if self.stream.read_line(&mut head)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("ended within {head:?}")));
            }
            if &head[before..] == "\r\n" {
                break;
            }
        }
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, head.clone());
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(malformed)?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        // 201 and 204 of nginx's PUT have a length of 0 or none.
        let length = length.or((status == 201 || status == 204).then_some(0)).ok_or_else(malformed)?;
        Ok((status, head, length))
    }
}

/// GET `/` on a connection of its own; must be called within a host of the lab.
pub fn get(to: SocketAddrV4) -> io::Result<Reply> {
    Connection::open(to)?.get("/")
}

/// The servers that answered `count` requests from the client, one after the other, each on a fresh connection.
#[track_caller]
pub fn servers_of(lab: &Lab, to: SocketAddrV4, count: usize) -> Vec<&'static str> {
    let ask = || (0..count).map(|_| get(to)).collect::<io::Result<Vec<Reply>>>();
    let replies = lab.within(CLIENT, ask).expect("enter the client").expect("every request is answered");
    for reply in &replies {
        assert_eq!(reply.status, 200, "{}", reply.head);
    }
    replies.iter().map(Reply::server).collect()
}

/// Asserts that `servers` are both, turn by turn, so exactly half each.
#[track_caller]
pub fn assert_alternate(servers: &[&str]) {
    let turns = servers.windows(2).all(|pair| pair[0] != pair[1]);
    let first = servers.iter().filter(|server| **server == ECS01).count();
    assert!(turns && first * 2 == servers.len(), "{first} of {} by ECS01: {servers:?}", servers.len());
}

/// One request of a steady load.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it began.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    /// The answer, or what happened instead.
    pub outcome: Result<Reply, String>,
}

/// A load that runs while `work` does: `clients`, each with a request on a fresh connection, `pause` after the last.
/// Returns every request, in the order of their beginnings, and what `work` returned.
pub fn load_while<T>(
    lab: &Lab,
    to: SocketAddrV4,
    clients: usize,
    pause: Duration,
    work: impl FnOnce() -> T,
) -> (Vec<Sample>, T) {
    let stop = AtomicBool::new(false);
    let samples = Mutex::new(Vec::new());
    let one_client = || {
        while !stop.load(Ordering::Relaxed) {
            let at = Instant::now();
            let outcome = get(to).map_err(|error| error.to_string());
            let sample = Sample { at, took: at.elapsed(), outcome };
            samples.lock().expect("no client panics with it").push(sample);
            std::thread::sleep(pause);
        }
    };
    let result = std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for _ in 0..clients {
            scope.spawn(|| lab.within(CLIENT, one_client).expect("enter the client"));
        }
        work()
    });
    let mut samples = samples.into_inner().expect("no client panics with it");
    samples.sort_by_key(|sample| sample.at);
    (samples, result)
}

/// Also stops the clients when `work` panics, or its panic would wait for them for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asserts that every request was answered with a server's page.
#[track_caller]
pub fn assert_none_failed(samples: &[Sample], began: Instant) {
    assert!(samples.len() > 20, "only {} requests", samples.len());
    let failed: Vec<String> = samples
        .iter()
        .filter(|sample| !sample.outcome.as_ref().is_ok_and(|reply| reply.status == 200))
        .map(|sample| {
            let at = sample.at.saturating_duration_since(began);
            let how = sample.outcome.as_ref().map_or_else(Clone::clone, |reply| reply.status.to_string());
            format!("at {at:?} after {:?}: {how}", sample.took)
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} requests failed: {failed:#?}", failed.len(), samples.len());
}

/// A VIP and port.
pub fn at(vip: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(vip, port)
}
