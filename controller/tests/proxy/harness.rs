//! Servers that do as a test says, clients that read exactly one response, and an engine with a configuration.

use controller::proxy::memory::Memory;
use controller::proxy::{AccessLog, Engine, ListenerSocket, PublishError, Stats, bind_listeners};
use controller::snapshot::{GroupSnapshot, ListenerSnapshot, ServerSnapshot, Snapshot};
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// No read of a test waits longer: a hang becomes a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// An engine, its configuration and the address of its first listener.
pub struct Balancer {
    pub engine: Engine,
    pub stats: Arc<Stats>,
    pub snapshot: Snapshot,
    pub address: SocketAddr,
    /// Hundredths of the memory limit that the engine believes are used.
    pub memory: Arc<AtomicU64>,
    sequence: u64,
    log: LogFile,
}

/// Removed with the balancer.
struct LogFile(std::path::PathBuf);

impl Drop for LogFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Balancer {
    /// One worker, one listener, servers of equal weight.
    pub fn new(servers: &[SocketAddr]) -> Balancer {
        Balancer::with(servers, 1, |_| {})
    }

    pub fn with(servers: &[SocketAddr], workers: usize, change: impl FnOnce(&mut Snapshot)) -> Balancer {
        let servers = (1..)
            .zip(servers)
            .map(|(id, &address)| ServerSnapshot { id, address, weight: 100, ramp: None })
            .collect();
        let sockets = bind_listeners(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = sockets[0].local_addr().unwrap();
        let mut snapshot = Snapshot {
            listeners: vec![ListenerSnapshot {
                request_timeout_ms: 15_000,
                ..ListenerSnapshot::new(1, "web", vec![address], vec![Ipv4Addr::LOCALHOST.into()])
            }],
            certificates: vec![],
            installation: "test".into(),
            groups: vec![GroupSnapshot::new("web", servers)],
            cookie_keys: vec![],
            cuts: vec![],
        };
        change(&mut snapshot);
        let stats = Arc::new(Stats::default());
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("causeway-proxy-{}-{number}.log", std::process::id()));
        let memory = Arc::<AtomicU64>::default();
        let used = memory.clone();
        let ladder = Memory { limit: 100, used: Box::new(move || Ok(used.load(Ordering::Relaxed))) };
        let engine = Engine::start(workers, &AccessLog::File(log.clone()), &stats, ladder).unwrap();
        let mut balancer =
            Balancer { engine, stats, snapshot, address, memory, sequence: 0, log: LogFile(log) };
        balancer.publish_with(sockets.into_iter().map(|socket| (1, socket.into())).collect()).unwrap();
        balancer
    }

    /// Publishes `self.snapshot` as it is now.
    pub fn publish(&mut self) {
        self.publish_with(vec![]).unwrap();
    }

    pub fn publish_with(&mut self, sockets: Vec<(u32, ListenerSocket)>) -> Result<(), PublishError> {
        self.sequence += 1;
        let bytes = self.snapshot.encode(self.sequence);
        let sequence = block_on(self.engine.publish(bytes.into(), sockets))?;
        assert_eq!(sequence, self.sequence);
        Ok(())
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own, which the client asks to close.
    pub fn get(&self, path: &str) -> Response {
        self.client().request(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    }

    /// Ends the engine and returns its log.
    pub fn into_log(self) -> Vec<serde_json::Value> {
        self.engine.shutdown(PATIENCE);
        let text = std::fs::read_to_string(&self.log.0).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A response as a client sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// A head as a server got it, without the line that loops are known by, which has to be there.
pub fn without_trace(head: &str) -> String {
    let start = head.find("Causeway-Trace: ").expect("every forwarded head has it");
    let end = start + head[start..].find("\r\n").expect("lines end") + 2;
    [&head[..start], &head[end..]].concat()
}

pub fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// A client connection.
pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).unwrap())
    }

    /// A client at `source`.
    pub fn from(source: Ipv4Addr, address: SocketAddr) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source.into(), 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Client::over(socket.into())
    }

    fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    pub fn request(&mut self, text: &str) -> Response {
        self.send(text);
        self.response(text.starts_with("HEAD"))
    }

    /// One whole response; panics if it is cut.
    pub fn response(&mut self, to_head: bool) -> Response {
        let head = self.head();
        let status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{head:?}"));
        let mut body = Vec::new();
        if to_head || status < 200 || matches!(status, 204 | 304) {
        } else if let Some(length) = header(&head, "content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.reader.read_exact(&mut body).unwrap();
        } else if header(&head, "transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(self.line().split(';').next().unwrap().trim(), 16).unwrap();
                if size == 0 {
                    while !self.line().trim().is_empty() {}
                    break;
                }
                let from = body.len();
                body.resize(from + size, 0);
                self.reader.read_exact(&mut body[from..]).unwrap();
                assert_eq!(self.line(), "\r\n");
            }
        } else {
            self.reader.read_to_end(&mut body).unwrap();
        }
        Response { status, head, body }
    }

    pub fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let line = self.line();
            assert!(!line.is_empty(), "closed within the head: {head:?}");
            head.push_str(&line);
        }
        head
    }

    pub fn reader(&mut self) -> &mut impl BufRead {
        &mut self.reader
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line
    }

    /// Everything up to the end of the connection, and whether the end was proper.
    pub fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut rest = Vec::new();
        let proper = self.reader.read_to_end(&mut rest).is_ok();
        (rest, proper)
    }

    #[track_caller]
    pub fn expect_closed(&mut self) {
        assert_eq!(self.rest(), (vec![], true));
    }
}

/// A request as a server sees it.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

/// A connection at a server.
pub struct ServerConnection {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// The balancer's side, and how many connections came before.
    pub peer: SocketAddr,
    pub number: usize,
}

impl ServerConnection {
    /// The next request's head; `None` when the balancer closed.
    pub fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        Some(head)
    }

    /// The next request with a Content-Length body.
    pub fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).ok()?;
        Some(Request { head, body })
    }

    pub fn reader(&mut self) -> &mut impl BufRead {
        &mut self.reader
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The balancer may be gone, which is for the client's side of the test to judge.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub fn answer(&mut self, body: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    }
}

/// A server on a port of its own; its threads end with the test process.
pub struct Server {
    pub address: SocketAddr,
    /// What handlers noted.
    pub notes: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Runs `handle` for each connection in a thread of its own.
    pub fn new(
        handle: impl Fn(&mut ServerConnection, &Mutex<Vec<String>>) + Send + Sync + 'static,
    ) -> Server {
        Server::at("127.0.0.1:0", handle)
    }

    /// The same on an address of the test's.
    pub fn at(
        address: &str,
        handle: impl Fn(&mut ServerConnection, &Mutex<Vec<String>>) + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let notes = Arc::new(Mutex::new(Vec::new()));
        let (shared, handle) = (notes.clone(), Arc::new(handle));
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (stream, handle, notes) = (stream.unwrap(), handle.clone(), shared.clone());
                std::thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    let peer = stream.peer_addr().unwrap();
                    let reader = BufReader::new(stream.try_clone().unwrap());
                    handle(&mut ServerConnection { stream, reader, peer, number }, &notes);
                });
            }
        });
        Server { address, notes }
    }

    /// Answers every request with `name`, noting the request line and head.
    pub fn named(name: &'static str) -> Server {
        Server::new(move |connection, notes| {
            while let Some(request) = connection.request() {
                notes.lock().unwrap().push(request.head);
                connection.answer(name);
            }
        })
    }

    pub fn noted(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }
}

/// A server that tells when a request came and answers when it is told to.
pub fn held() -> (Server, Receiver<()>, Sender<()>) {
    let (arrived, arrivals) = channel();
    let (release, released) = channel();
    let (arrived, released) = (Mutex::new(arrived), Mutex::new(released));
    let server = Server::new(move |connection, _| {
        while connection.request().is_some() {
            arrived.lock().unwrap().send(()).unwrap();
            released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            connection.answer("held");
        }
    });
    (server, arrivals, release)
}

/// An address nobody listens on.
pub fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();

    listener.local_addr().unwrap()
}

/// An address that leaves SYNs unanswered, as long as what is returned lives: a listener with a full queue.
pub fn silent() -> (SocketAddr, impl Sized) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let full: Vec<_> = (0..2)
        .map(|_| {
            let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&address.into());
            filler
        })
        .collect();
    (address, (socket, full))
}
