//! The real `causeway` program on a balancer's host of a lab: started, asked, killed; nothing of it is linked into the test.
//!
//! Whatever a test waits for, it waits for by looking (at the API, at metrics, at a log) until it is so or a deadline
//! has passed; what it saw last is in the failure's message.

use causeway_lab::usage::{self, Usage};
use causeway_lab::{LB, Lab, Node, Process};
use controller::api::client::Client;
use controller::api::{HealthStatus, Kind, NextHopView, Request, Response, ServerView, StatusView, View};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Every deadline that is not itself a requirement: generous, since a loaded machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition without an event of its own is looked at.
const POLL: Duration = Duration::from_millis(20);

/// The `causeway` program of this workspace, built if it is not up to date.
///
/// # Panics
/// If it cannot be built.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("a test program has a path");
        let folder = test.parent().and_then(Path::parent).expect("tests stand in TARGET/PROFILE/deps");
        // Set by `cargo test` only: a test program that was copied elsewhere uses what was copied with it.
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "-p", "controller", "--bin", "causeway"]);
            build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
            if folder.file_name().is_some_and(|profile| profile == "release") {
                build.arg("--release");
            }
            assert!(build.status().expect("run cargo").success(), "`causeway` does not build");
        }
        folder.join("causeway")
    })
}

/// A running `causeway`. Dropping it stops it.
#[derive(Debug)]
pub struct Balancer<'lab> {
    lab: &'lab Lab,
    host: &'lab str,
    process: Option<Process>,
}

impl<'lab> Balancer<'lab> {
    /// Starts it with the lab's files and waits until what they say is in force.
    ///
    /// # Panics
    /// If it ends, or does not come that far, with what it printed.
    pub fn start(lab: &'lab Lab) -> Balancer<'lab> {
        Balancer::start_on(lab, LB)
    }

    /// As [`Balancer::start`], on `host`: one of [`Lab::balancers`].
    pub fn start_on(lab: &'lab Lab, host: &'lab str) -> Balancer<'lab> {
        let resources = lab.layout().node_on(host).resources_file;
        Balancer::start_on_with(lab, host, &["--resources", &resources.display().to_string()])
    }

    /// As [`Balancer::start_on`], with these resources instead of the lab's.
    pub fn start_resources_on(lab: &'lab Lab, host: &'lab str, resources: &str) -> Balancer<'lab> {
        let file = lab.layout().node_on(host).resources_file;
        std::fs::write(file, resources).expect("the lab's folder is writable");
        Balancer::start_on(lab, host)
    }

    /// As [`Balancer::start`], with these resources instead of the lab's.
    pub fn start_resources(lab: &'lab Lab, resources: &str) -> Balancer<'lab> {
        Balancer::start_resources_on(lab, LB, resources)
    }

    /// As [`Balancer::start`], with the lab's node settings and `arguments` alone.
    pub fn start_with(lab: &'lab Lab, arguments: &[&str]) -> Balancer<'lab> {
        Balancer::start_on_with(lab, LB, arguments)
    }

    fn start_on_with(lab: &'lab Lab, host: &'lab str, arguments: &[&str]) -> Balancer<'lab> {
        let files = lab.layout().node_on(host);
        let node = files.node_file.display().to_string();
        let program = program().display().to_string();
        let words: Vec<&str> =
            [&program, "run", "--node", &node].into_iter().chain(arguments.iter().copied()).collect();
        let mut process = lab.spawn(host, &words).expect("causeway can be started");
        let socket = files.api_socket;
        let is_up = || matches!(ask(&socket, &Request::Status), Ok(Response::Status { .. }));
        process.wait_until("answering on its API", PATIENCE, is_up).expect("causeway starts");
        Balancer { lab, host, process: Some(process) }
    }

    /// Waits until every server is `Normal`, but for those of weight 0 or of a group that nothing uses.
    pub fn wait_until_healthy(&self) {
        self.wait_until("every server is Normal", PATIENCE, || {
            let servers = self.servers();
            let is_fine =
                |server: &ServerView| matches!(server.health, HealthStatus::Normal | HealthStatus::Unused);
            servers.iter().all(is_fine).then_some(()).ok_or(servers)
        });
    }

    /// Waits until `server` of `group` has `health` and returns what is shown of it then.
    pub fn wait_for_health(
        &self,
        group: &str,
        server: impl Into<IpAddr>,
        health: HealthStatus,
        limit: Duration,
    ) -> ServerView {
        let server = server.into();
        self.wait_until(&format!("{server} of {group} is {health:?}"), limit, || {
            let view = self.server(group, server);
            if view.health == health { Ok(view) } else { Err(Box::new(view)) }
        })
    }

    /// Looks until it finds what it looks for; `look` gives it, or what it sees instead.
    ///
    /// # Panics
    /// When `limit` has passed, with what was seen last.
    #[track_caller]
    pub fn wait_until<T, E: Debug>(
        &self,
        what: &str,
        limit: Duration,
        look: impl FnMut() -> Result<T, E>,
    ) -> T {
        wait_until(what, limit, look)
    }

    /// What `causeway` has printed so far.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs until it is killed or stopped").id()
    }

    /// Ends it with SIGKILL.
    pub fn kill(mut self) {
        self.process.take().expect("it runs until it is killed or stopped").kill();
    }

    /// Asks it to end and returns when it has.
    pub fn stop(mut self) {
        let status = self.process.take().expect("it runs until it is killed or stopped").stop();
        assert!(status.is_some_and(|status| status.success()), "it ended with {status:?}");
    }

    /// Answers `request`.
    pub fn ask(&self, request: &Request) -> Response {
        ask(&self.files().api_socket, request).expect("causeway answers")
    }

    /// The host it runs on.
    pub fn host(&self) -> &str {
        self.host
    }

    /// Its files.
    pub fn files(&self) -> Node {
        self.lab.layout().node_on(self.host)
    }

    /// Every server of every group in use.
    pub fn servers(&self) -> Vec<ServerView> {
        match self.ask(&Request::Get { kind: Kind::Servers, name: None }) {
            Response::View { view: View::Servers(servers) } => servers,
            other => panic!("asked for servers, got {other:?}"),
        }
    }

    /// One server of `group`.
    pub fn server(&self, group: &str, address: impl Into<IpAddr>) -> ServerView {
        let (address, servers) = (address.into(), self.servers());
        let found =
            servers.iter().find(|server| server.group == group && server.address.ip() == address).cloned();
        found.unwrap_or_else(|| panic!("no {address} of {group} among {servers:?}"))
    }

    /// Every next hop, by name.
    pub fn next_hops(&self) -> BTreeMap<String, NextHopView> {
        match self.ask(&Request::Get { kind: Kind::NextHops, name: None }) {
            Response::View { view: View::NextHops(hops) } => {
                hops.into_iter().map(|hop| (hop.name.clone(), hop)).collect()
            }
            other => panic!("asked for next hops, got {other:?}"),
        }
    }

    /// How the program stands.
    pub fn status(&self) -> StatusView {
        match self.ask(&Request::Status) {
            Response::Status { status } => status,
            other => panic!("asked for the status, got {other:?}"),
        }
    }

    /// Applies `resources` by the command line, as an operator does.
    #[track_caller]
    pub fn apply(&self, resources: &str) -> String {
        let file = self.files().resources_file;
        std::fs::write(&file, resources).expect("the lab's folder is writable");
        self.command(&["apply", "-f", &file.display().to_string()])
    }

    /// What `causeway ARGUMENTS` prints, run to its end on the balancer's host.
    ///
    /// # Panics
    /// If it fails, with what it said.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "causeway {}: {}\n{said}", arguments.join(" "), output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What `causeway ARGUMENTS` says when it refuses, run to its end on the balancer's host.
    ///
    /// # Panics
    /// If it succeeds.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let words = arguments.join(" ");
        assert!(!output.status.success(), "causeway {words}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// What it and its children use of the machine.
    pub fn usage(&self) -> Usage {
        usage::of(self.id())
    }

    /// `causeway ARGUMENTS`, run to its end on the balancer's host.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        causeway_on(self.lab, self.host, arguments)
    }

    /// The metrics endpoint's answer: head and body.
    pub fn scrape(&self) -> (String, String) {
        let exchange = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], 9180)), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let answer = self.lab.within(self.host, exchange).expect("enter its host").expect("metrics answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.to_owned(), body.to_owned())
    }

    /// The value of a metric with exactly these labels, in any order; 0 if there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        crate::metrics::parse(&self.scrape().1).expect("valid OpenMetrics").value(name, labels).unwrap_or(0.0)
    }

    /// Packets dropped for `reason` so far.
    pub fn drops(&self, reason: &str) -> u64 {
        self.metric("causeway_drops_total", &[("reason", reason)]) as u64
    }

    /// The access log's lines, oldest first.
    ///
    /// # Panics
    /// If a line is no JSON.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.files().access_log).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    /// Waits until the access log has at least `lines` lines and returns them. Lines are written in batches, up to
    /// 100 ms late.
    pub fn wait_for_access_log(&self, lines: usize) -> Vec<serde_json::Value> {
        self.wait_until(&format!("{lines} lines in the access log"), PATIENCE, || {
            let log = self.access_log();
            if log.len() >= lines { Ok(log) } else { Err(log.len()) }
        })
    }
}

/// `causeway ARGUMENTS`, run to its end on the balancer's host, whether or not `causeway run` runs there.
pub fn causeway(lab: &Lab, arguments: &[&str]) -> Output {
    causeway_on(lab, LB, arguments)
}

/// As [`causeway`], on `host`.
pub fn causeway_on(lab: &Lab, host: &str, arguments: &[&str]) -> Output {
    let mut command = lab.command(host, &program().display().to_string()).expect("the lab has that host");
    let socket = lab.layout().node_on(host).api_socket;
    command.args(arguments).env("CAUSEWAY_SOCKET", socket).stdin(Stdio::null());
    command.output().expect("causeway can be started")
}

fn ask(socket: &Path, request: &Request) -> Result<Response, controller::api::client::ClientError> {
    Client::connect(socket)?.call(request)
}

/// As [`Balancer::wait_until`], for what needs no balancer.
#[track_caller]
pub fn wait_until<T, E: Debug>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + limit;
    loop {
        let started = Instant::now();
        match look() {
            Ok(found) => return found,
            Err(seen) if started > end => panic!("{what}: not within {limit:?}; seen last: {seen:?}"),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// `text` with each first of a pair replaced by its second.
///
/// # Panics
/// If a first is not there exactly once: the test would silently test something else.
#[track_caller]
pub fn edited(text: &str, changes: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (old, new) in changes {
        assert_eq!(text.matches(old).count(), 1, "{old:?} is not there exactly once in\n{text}");
        text = text.replacen(old, new, 1);
    }
    text
}
