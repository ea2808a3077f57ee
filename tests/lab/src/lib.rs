//! The lab: hosts, networks and servers of the two-region tutorial, in network namespaces of one machine.
//!
//! ```text
//! region Chengdu: VPC1 172.16.0.0/12                                   region Hangzhou: VPC2 192.168.0.0/16
//!
//!              203.0.113.0/24        VSW1 172.16.1.0/24
//!  client ───── net ───── eth0 lb eth1 ──── sw1 ──┬── ecs01 .20
//!  .50 …     (DNS .53)     .2  │   .10            └── eth1 tr1 w1 ───────── w2 tr2 eth1 ───── ecs02
//!                              │   .10               .254 │ 10.255.0.0/30   VSW3 192.168.1.0/24 .20
//!                              └─ eth2 ──── sw2 ─── eth2 ─┘                     └ eth2: VSW4 192.168.2.0/24
//!                                    VSW2 172.16.2.0/24
//! ```
//!
//! `tr1` ends two VXLAN tunnels, VNI 101 from the balancer's address in VSW1 and 102 from that in VSW2, with kernel
//! devices. The balancer's VIPs, local addresses, routes and tunnel ends are *not* set up here: that is the
//! controller's work, and what the tests look at.
//!
//! [`LabOptions`] add to it, and cost nothing when they are not asked for: web servers in VSW1 and VSW2 that misbehave
//! when told to ([`web_servers`], [`Behaviour`]), a gRPC server, an HTTP function, a crowd of thousands of web servers,
//! IPv6, a second balancer's host `lb2`, which then has `eth2` and chengdu-b to itself.
//!
//! A lab is removed when [`Lab`] is dropped, on Ctrl-C, by [`down`], and before the next [`Lab::up`] with its label.
//! Removal touches only what the lab wrote down when it made it: see [`Layout::run_dir`].

mod behaviour;
mod configuration;
mod fault;
mod interrupt;
mod layout;
mod namespace;
mod options;
mod process;
mod program;
mod removal;
pub mod requirement;
mod resolver;
mod server;
mod topology;
pub mod usage;
mod web;

pub use behaviour::Behaviour;
pub use configuration::{node_yaml, node_yaml_on, resources_yaml};
pub use fault::Fault;
pub use interrupt::on_interrupt;
pub use layout::*;
pub use options::{Balancers, ExtraServer, LabOptions, Offloads, ServerKind, web_servers};
pub use process::Process;
pub use program::{FUNCTION_PORT, FUNCTION_PREFIX, GRPC_PORT, GrpcHealth};
pub use removal::{Removed, down};
pub use resolver::Domain;
pub use server::{LogLine, SERVER_PORTS, index_page};
pub use web::TLS_PORT;

use anyhow::{Context, Result, bail};
use behaviour::{ANY_PATH, Behaviours};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use topology::Step;

/// A standing lab. Dropping it removes it, unless [`Lab::leave_standing`].
#[derive(Debug)]
pub struct Lab {
    layout: Layout,
    options: LabOptions,
    servers: Mutex<BTreeMap<String, Process>>,
    behaviours: Mutex<BTreeMap<String, Behaviours>>,
    resolver: Option<Process>,
    _registered: interrupt::Registered,
    lock: Option<fs::File>,
}

impl Lab {
    /// Builds the two regions, starts servers and resolver, writes [`node_yaml`] and [`resources_yaml`] into the run
    /// folder. What an earlier lab of this label left behind is removed first.
    ///
    /// # Errors
    /// Not root, a missing program, a namespace of a needed name that is not ours, the label in use by a living lab,
    /// or a command that fails: named, with what it printed. Nothing is left behind then.
    pub fn up(options: LabOptions) -> Result<Lab> {
        let layout = Layout::new(&options.id)?;
        options::check(&options)?;
        let lock = removal::lock(&layout)?;
        let registered = interrupt::register(&layout)?;
        removal::remove(&layout)?;
        // From here on, dropping `lab` removes whatever was made.
        let mut lab = Lab {
            layout,
            options,
            servers: Mutex::default(),
            behaviours: Mutex::default(),
            resolver: None,
            _registered: registered,
            lock: Some(lock),
        };
        lab.build().with_context(|| format!("build lab {:?}", lab.layout.id()))?;
        Ok(lab)
    }

    fn build(&mut self) -> Result<()> {
        removal::prepare(&self.layout)?;
        for host in topology::hosts(&self.options) {
            let _turn = interrupt::turn();
            namespace::create(&self.layout, &host)?;
        }
        self.run_steps(&topology::steps(&self.layout, &self.options))?;
        self.wait_until_switches_forward()?;
        if self.options.big_file_bytes > 0 {
            server::write_big_file(&self.layout.big_file(), self.options.big_file_bytes)?;
        }
        for host in self.balancers() {
            let node = self.layout.node_on(host);
            fs::write(node.node_file, node_yaml_on(&self.layout, self.options.balancers, host))?;
            fs::write(node.resources_file, resources_yaml(self.options.variant))?;
        }
        self.resolver = Some(resolver::start(&self.layout, &self.options.domains)?);
        for host in self.servers() {
            self.start_server(&host)?;
        }
        Ok(())
    }

    /// Names and paths of this lab.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What this lab was made of.
    pub fn options(&self) -> &LabOptions {
        &self.options
    }

    /// Hosts that balance, or would.
    pub fn balancers(&self) -> &'static [&'static str] {
        match self.options.balancers {
            Balancers::OneHost => &[LB],
            Balancers::HostPerZone => &[LB, LB2],
        }
    }

    /// Hosts with a server: ECS01, ECS02, and the extra ones.
    pub fn servers(&self) -> Vec<String> {
        let extra = self.options.extra_servers.iter().map(|server| server.name.clone());
        [ECS01, ECS02].map(str::to_owned).into_iter().chain(extra).collect()
    }

    /// `program`, to be run on `host`: in its network, with this process's files and mounts. The caller adds arguments,
    /// and spawns and ends it.
    pub fn command(&self, host: &str, program: &str) -> Result<Command> {
        command(&self.layout, host, program)
    }

    /// Runs `words` on `host` to the end and returns its standard output. A failure names host, command, status and
    /// what it printed to standard error.
    pub fn run(&self, host: &str, words: &[&str]) -> Result<String> {
        namespace::run(&mut self.prepare(host, words)?, &format!("lab host {host}"))
    }

    /// Starts `words` on `host` in the background; what it prints goes to a file in [`Layout::log_dir`].
    pub fn spawn(&self, host: &str, words: &[&str]) -> Result<Process> {
        let command = self.prepare(host, words)?;
        Process::start(&self.layout, host, command, false)
    }

    /// Starts `command`, which [`Lab::command`] made for `host`, with the input and output it was given.
    pub fn spawn_command(&self, host: &str, command: Command) -> Result<Process> {
        Process::start(&self.layout, host, command, true)
    }

    /// Runs `work` on a thread in the network of `host`, so that sockets it opens are there.
    pub fn within<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
        namespace::within(&self.layout, host, work)
    }

    /// Stops the web server on `host`: its ports refuse connections when this returns.
    pub fn stop_server(&self, host: &str) -> Result<()> {
        self.check_server(host)?;
        if let Some(server) = self.lock_servers().remove(host) {
            server.stop();
        }
        Ok(())
    }

    /// Starts the web server on `host`: its ports accept when this returns. No effect if it runs.
    pub fn start_server(&self, host: &str) -> Result<()> {
        self.check_server(host)?;
        let mut servers = self.lock_servers();
        if !servers.contains_key(host) {
            let ipv6 = self.options.ipv6;
            let process = match self.kind(host) {
                None => server::start(&self.layout, host, ipv6),
                Some(ServerKind::Web) => web::start(&self.layout, host, ipv6),
                Some(ServerKind::Grpc) => program::start_grpc(&self.layout, host),
                Some(ServerKind::Crowd) => server::start_crowd(&self.layout, host),
                Some(ServerKind::Function) => program::start_function(&self.layout, host),
            };
            servers.insert(host.to_owned(), process?);
        }
        Ok(())
    }

    /// From now on, and also when it is started anew, the web server on `host` treats every request so, except at
    /// paths of [`Lab::set_behaviour_at`].
    pub fn set_behaviour(&self, host: &str, behaviour: Behaviour) -> Result<()> {
        self.set_behaviour_at(host, ANY_PATH, behaviour)
    }

    /// As [`Lab::set_behaviour`], for requests with exactly this path.
    pub fn set_behaviour_at(&self, host: &str, path: &str, behaviour: Behaviour) -> Result<()> {
        if self.kind(host) != Some(ServerKind::Web) {
            bail!(
                "lab host {host:?} is no web server that can be told how to behave; make it an extra server"
            );
        }
        // A panic while holding it leaves whole what each server was told last.
        let mut behaviours = self.behaviours.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let file = self.layout.behaviour_file(host);
        behaviours.entry(host.to_owned()).or_default().set(&file, path, behaviour)
    }

    /// From now on, and also when it is started anew, the gRPC server on `host` says this of its health.
    pub fn set_grpc_health(&self, host: &str, health: GrpcHealth) -> Result<()> {
        if self.kind(host) != Some(ServerKind::Grpc) {
            bail!("lab host {host:?} has no gRPC server; make it an extra server of that kind");
        }
        program::set_grpc_health(&self.layout, host, health)
    }

    /// What the web server on `host` logged so far, oldest first.
    pub fn server_log(&self, host: &str) -> Result<Vec<LogLine>> {
        self.check_server(host)?;
        server::log(&self.layout, host)
    }

    /// Breaks something. Again has no further effect.
    pub fn inject(&self, fault: &Fault) -> Result<()> {
        self.run_steps(&fault.break_steps(self.options.variant))
    }

    /// Mends it. No effect if it is not broken.
    pub fn mend(&self, fault: &Fault) -> Result<()> {
        self.run_steps(&fault.mend_steps())
    }

    /// Lets the lab stand, with its servers, when this process ends. [`down`] removes it.
    pub fn leave_standing(self) {
        interrupt::forget(&self.layout);
        // Also forgets the lock's descriptor, which the end of this process closes.
        std::mem::forget(self);
    }

    fn prepare(&self, host: &str, words: &[&str]) -> Result<Command> {
        let Some((program, arguments)) = words.split_first() else {
            bail!("lab host {host}: no command given")
        };
        let mut command = self.command(host, program)?;
        command.args(arguments);
        Ok(command)
    }

    fn run_steps(&self, steps: &[Step]) -> Result<()> {
        for step in steps {
            // One at a time with removal by Ctrl-C, which could otherwise miss what is being made.
            let _turn = interrupt::turn();
            let words: Vec<_> = step.words.iter().map(String::as_str).collect();
            self.run(&step.host, &words)?;
        }
        Ok(())
    }

    /// Carrier is reported by a kernel worker, so a bridge's port may join a moment after both its ends are up.
    fn wait_until_switches_forward(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(5);
        for switch in topology::SWITCHES {
            let is_up = |line: &str| line.split_whitespace().nth(1) == Some("UP");
            loop {
                let ports = self.run(switch, &["ip", "-brief", "link", "show", "master", "br0"])?;
                if ports.lines().all(is_up) {
                    break;
                }
                if Instant::now() > end {
                    bail!("lab host {switch}: ports of br0 are not all up after five seconds:\n{ports}");
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// What runs on `host`, if that is an extra server.
    fn kind(&self, host: &str) -> Option<ServerKind> {
        self.options.extra_servers.iter().find(|server| server.name == host).map(|server| server.kind)
    }

    fn check_server(&self, host: &str) -> Result<()> {
        let servers = self.servers();
        if !servers.iter().any(|server| server == host) {
            bail!("lab host {host:?} has no web server; those that have: {}", servers.join(", "));
        }
        Ok(())
    }

    fn lock_servers(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Process>> {
        // A panic while holding it leaves the map whole: each change is one insert or remove.
        self.servers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            removal::save_logs(&self.layout);
        }
        self.lock_servers().clear();
        self.resolver = None;
        let _turn = interrupt::turn();
        if let Err(error) = removal::remove(&self.layout) {
            // Nobody is left to hand the error to.
            eprintln!("lab {:?}: {error:#}", self.layout.id());
        }
        if let Some(lock) = self.lock.take() {
            removal::unlock(&self.layout, lock);
        }
    }
}

/// `program`, to be run on `host` of a lab that stands, whoever built it.
pub fn command(layout: &Layout, host: &str, program: &str) -> Result<Command> {
    namespace::command(layout, host, program)
}
