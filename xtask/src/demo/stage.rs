//! The stage: lab, balancer and client together, and what is shown of them meanwhile.

use super::client::{Client, Listener, Tallies, Tally, resolve};
use super::picture::{COLUMNS, Picture};
use super::terminal::Terminal;
use crate::balancer::{Balancer, Server};
use crate::screen::wrap;
use anyhow::{Context, Result, bail};
use causeway_lab::{HOSTS, Lab, LabOptions};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Label of the demo's lab.
const LAB: &str = "demo";
/// Three passed checks, 2 s apart, the first up to 2 s away, and ARP before it.
const HEALTHY_LIMIT: Duration = Duration::from_secs(15);
/// From one question whether something has happened to the next; also the precision of the times told.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// Waiting goes on for this long beyond a limit, so that a miss can be told with its figure.
const BEYOND: Duration = Duration::from_secs(10);
/// Without a terminal, a sign of life comes this often.
const SPEAK_EVERY: Duration = Duration::from_secs(3);

/// The audience pressed q.
#[derive(Debug)]
pub struct Quit;

impl fmt::Display for Quit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ended by q")
    }
}

impl std::error::Error for Quit {}

/// How the demo speaks.
pub enum Output {
    /// A live view on a terminal, a key between steps.
    Live(Terminal),
    /// Lines, without waiting for keys: no terminal.
    Lines,
    /// Results alone on standard output.
    Script,
}

/// Everything that plays.
pub struct Stage {
    /// The two regions.
    pub lab: Arc<Lab>,
    /// The balancer on its host.
    pub balancer: Balancer,
    /// What sends traffic.
    pub client: Client,
    output: Output,
    status: String,
    drawn: Instant,
}

/// What the beginning found out: the domain's canonical name, and how long each part took.
pub struct Opening {
    pub name: String,
    pub addresses: String,
    pub lab_took: Duration,
    pub balancer_took: Duration,
    pub healthy_took: Duration,
}

impl Stage {
    /// Lays out the regions, starts servers, balancer and client, and waits until every server is healthy.
    pub fn open(program: &Path, is_script: bool) -> Result<(Stage, Opening)> {
        eprintln!("laying out two regions: {}", HOSTS.join(", "));
        let started = Instant::now();
        let lab = Lab::up(LabOptions { id: LAB.into(), big_file_bytes: 0, ..LabOptions::default() })?;
        let (lab, lab_took) = (Arc::new(lab), started.elapsed());
        let started = Instant::now();
        let balancer = Balancer::start(&lab, program)?;
        let balancer_took = started.elapsed();
        let (name, addresses) = resolve(&lab)?;
        let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let client = Client::start(&lab, addresses)?;
        let output = match (is_script, Terminal::open()) {
            (true, _) => Output::Script,
            (false, Some(terminal)) => Output::Live(terminal),
            (false, None) => Output::Lines,
        };
        let mut stage = Stage { lab, balancer, client, output, status: String::new(), drawn: Instant::now() };
        // What was sent before the servers were known to be healthy belongs to no step.
        let healthy_took = stage
            .wait_for_servers("waiting for the first health checks", HEALTHY_LIMIT, |servers| {
                servers.iter().all(Server::is_healthy)
            })?
            .with_context(|| format!("not every server is healthy after {HEALTHY_LIMIT:?}"))?;
        let opening = Opening { name, addresses: shown.join(" and "), lab_took, balancer_took, healthy_took };
        Ok((stage, opening))
    }

    /// Says what comes now.
    pub fn announce(&mut self, heading: &str, explanation: &str) {
        let mut lines = vec![String::new(), heading.to_owned()];
        lines.extend(wrap(explanation, COLUMNS - 2).iter().map(|line| format!("  {line}")));
        match &mut self.output {
            Output::Live(terminal) => terminal.print(&lines),
            Output::Lines => lines.iter().for_each(|line| println!("{line}")),
            Output::Script => eprintln!("{heading}: {explanation}"),
        }
    }

    /// Says what came of it.
    pub fn conclude(&mut self, line: &str) {
        match &mut self.output {
            Output::Live(terminal) => {
                let lines = wrap(line, COLUMNS - 2);
                let indent =
                    |(i, line): (usize, &String)| if i == 0 { line.clone() } else { format!("   {line}") };
                terminal.print(&lines.iter().enumerate().map(indent).collect::<Vec<_>>());
            }
            Output::Lines => {
                println!("{line}");
                if let Ok(picture) = self.picture() {
                    picture.lines().iter().for_each(|line| println!("{line}"));
                }
            }
            Output::Script => println!("{line}"),
        }
    }

    /// Says more, for whoever must find out why.
    pub fn tell(&mut self, lines: &[String]) {
        match &mut self.output {
            Output::Live(terminal) => terminal.print(lines),
            Output::Lines | Output::Script => lines.iter().for_each(|line| eprintln!("{line}")),
        }
    }

    /// On a terminal, shows what goes on until a key is pressed; [`Quit`] if it is q.
    pub fn pause(&mut self, what_next: &str) -> Result<()> {
        if !matches!(self.output, Output::Live(_)) {
            return Ok(());
        }
        self.status = format!("press a key for: {what_next}   (q quits)");
        loop {
            if self.look()?.is_some() {
                return Ok(());
            }
        }
    }

    /// Waits until `is_met` holds of the servers as the balancer sees them, which should happen within `limit`. Returns
    /// how long it took, perhaps longer; `None` if it did not happen.
    pub fn wait_for_servers(
        &mut self,
        what: &str,
        limit: Duration,
        mut is_met: impl FnMut(&[Server]) -> bool,
    ) -> Result<Option<Duration>> {
        self.wait(what, limit, |stage| Ok(is_met(&stage.balancer.servers()?)))
    }

    /// Lets no more traffic leave and waits until all that is under way has come to an end. Returns what became of the
    /// traffic since `earlier`.
    pub fn settle(&mut self, earlier: &Tallies) -> Result<Tallies> {
        self.client.pause();
        let limit = 2 * super::client::PATIENCE;
        let what = "waiting for the answers that are still due";
        if self.wait(what, limit, |stage| Ok(stage.client.in_flight() == 0))?.is_none() {
            bail!("{} requests are without answer after {limit:?}", self.client.in_flight());
        }
        Ok(self.client.tallies().since(earlier))
    }

    /// Sends `count` requests, one after the other, each on a connection of its own, while nothing else is sent.
    pub fn burst(&mut self, listener: Listener, count: usize) -> Result<Tally> {
        self.status = format!("sending {count} requests to port {}", listener.port());
        self.draw();
        self.client.burst(&self.lab, listener, count)
    }

    /// Takes the stage down; the parts are for the caller to end.
    pub fn close(self) -> (Arc<Lab>, Balancer) {
        (self.lab, self.balancer)
    }

    fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        mut is_met: impl FnMut(&Stage) -> Result<bool>,
    ) -> Result<Option<Duration>> {
        let started = Instant::now();
        let mut spoken = started;
        loop {
            if is_met(self)? {
                return Ok(Some(started.elapsed()));
            }
            let passed = started.elapsed();
            if passed > limit + BEYOND {
                return Ok(None);
            }
            self.status =
                format!("{what}: {:.1} s of at most {} s   (q quits)", passed.as_secs_f64(), limit.as_secs());
            if matches!(self.output, Output::Lines) && spoken.elapsed() > SPEAK_EVERY {
                spoken = Instant::now();
                println!("  {what}: {} s", passed.as_secs());
            }
            self.look()?;
        }
    }

    /// Lets a moment pass: draws when it is time, and returns a key, if one was pressed.
    fn look(&mut self) -> Result<Option<u8>> {
        if self.drawn.elapsed() > DRAW_EVERY {
            self.draw();
        }
        std::thread::sleep(LOOK_EVERY);
        let Output::Live(terminal) = &self.output else { return Ok(None) };
        match terminal.key() {
            Some(b'q' | b'Q') => Err(Quit.into()),
            key => Ok(key),
        }
    }

    fn draw(&mut self) {
        self.drawn = Instant::now();
        if !matches!(self.output, Output::Live(_)) {
            return;
        }
        // A balancer that does not answer is found out by whoever waits for it.
        let mut lines = self.picture().map(|picture| picture.lines()).unwrap_or_default();
        lines.push(format!(" > {}", self.status));
        if let Output::Live(terminal) = &mut self.output {
            terminal.draw(lines);
        }
    }

    fn picture(&self) -> Result<Picture> {
        Ok(Picture {
            servers: self.balancer.servers()?,
            next_hops: self.balancer.next_hops()?,
            drops: self.balancer.drops(&self.lab)?,
            tallies: self.client.tallies(),
        })
    }
}
