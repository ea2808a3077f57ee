//! The balancer in a lab: the real program, asked over its own interfaces, the native API and its metrics.

use anyhow::{Context, Result, bail};
use causeway_lab::{LB, Lab, Layout, Process};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where [`causeway_lab::node_yaml`] has the metrics served, inside the balancer's host.
const METRICS: &str = "127.0.0.1:9180";
/// It answers from memory; this long means that it hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running `causeway`.
pub struct Balancer {
    process: Process,
    program: PathBuf,
    layout: Layout,
}

/// A server of a group, as the balancer sees it. Of the API's view only what is shown or checked.
#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    pub group: String,
    pub address: SocketAddrV4,
    /// Weight in force; above 0, it gets traffic.
    pub effective_weight: f64,
    /// `Normal`, `Unhealthy`...
    pub health: String,
    pub failure: Option<Failure>,
    pub counters: ServerCounters,
}

impl Server {
    /// Whether it passes its checks.
    pub fn is_healthy(&self) -> bool {
        self.health == "Normal"
    }

    /// Whether it has been found to fail them.
    pub fn is_unhealthy(&self) -> bool {
        self.health == "Unhealthy"
    }

    /// Whether its address is `address`, whatever the port.
    pub fn is_at(&self, address: Ipv4Addr) -> bool {
        *self.address.ip() == address
    }
}

/// Why a server is unhealthy.
#[derive(Clone, Debug, Deserialize)]
pub struct Failure {
    /// `CONNECT_TIMEOUT`...
    pub reason: String,
}

/// What a server has done so far.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct ServerCounters {
    pub requests: u64,
    pub connections: u64,
    pub connect_failures: u64,
    pub flows: u64,
}

/// A tunnel endpoint of the transit router.
#[derive(Clone, Debug, Deserialize)]
pub struct NextHop {
    pub name: String,
    pub counters: HopCounters,
}

/// What went through a tunnel.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct HopCounters {
    /// Packets sent.
    pub packets: u64,
    /// Packets that came back.
    pub reply_packets: u64,
}

impl Balancer {
    /// Starts `program` on the lab's balancer host with the lab's settings, and waits until its API answers.
    pub fn start(lab: &Lab, program: &Path) -> Result<Balancer> {
        let layout = lab.layout().clone();
        let [node, resources] =
            [layout.node_file(), layout.resources_file()].map(|f| f.display().to_string());
        let name = program.display().to_string();
        let process = lab.spawn(LB, &[&name, "run", "--node", &node, "--resources", &resources])?;
        let mut balancer = Balancer { process, program: program.to_owned(), layout };
        let layout = balancer.layout.clone();
        balancer.process.wait_until("answering on its API", START_LIMIT, || {
            ask::<Vec<Server>>(&layout, "servers").is_ok_and(|servers| !servers.is_empty())
        })?;
        Ok(balancer)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until every server is healthy whose group is in use, so that every way is known to carry.
    pub fn wait_until_healthy(&mut self, limit: Duration) -> Result<()> {
        let layout = self.layout.clone();
        self.process.wait_until("finding every server healthy", limit, || {
            ask::<Vec<Server>>(&layout, "servers").is_ok_and(|servers| {
                servers.iter().all(|server| server.is_healthy() || server.health == "Unused")
            })
        })
    }

    /// Every server of every group.
    pub fn servers(&self) -> Result<Vec<Server>> {
        ask(&self.layout, "servers")
    }

    /// Every tunnel endpoint.
    pub fn next_hops(&self) -> Result<Vec<NextHop>> {
        ask(&self.layout, "next-hops")
    }

    /// Packets the datapath has dropped, by the name of the reason; reasons that never occurred are left out.
    pub fn drops(&self, lab: &Lab) -> Result<Vec<(String, u64)>> {
        let text = lab.within(LB, read_metrics)?.context("read the balancer's metrics")?;
        Ok(parse_drops(&text))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Ends it and takes everything of it out of the kernel; returns what `causeway unload` said.
    pub fn stop(self, lab: &Lab) -> Result<String> {
        self.process.stop();
        let (program, node) = (self.program.display().to_string(), self.layout.node_file());
        let said = lab.run(LB, &[&program, "unload", "--node", &node.display().to_string()])?;
        Ok(said.trim().to_owned())
    }
}

/// Asks the native API for every thing of `kind`: one line of JSON there, one back.
fn ask<T: DeserializeOwned>(layout: &Layout, kind: &str) -> Result<T> {
    let path = layout.api_socket();
    let place = || format!("ask causeway on {}", path.display());
    let mut stream = UnixStream::connect(&path).with_context(place)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).with_context(place)?;
    writeln!(stream, "{{\"request\":\"get\",\"kind\":\"{kind}\"}}").with_context(place)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).with_context(place)?;
    parse_view(&line).with_context(place)
}

fn parse_view<T: DeserializeOwned>(line: &str) -> Result<T> {
    let mut answer: serde_json::Value = serde_json::from_str(line)?;
    if answer["response"] != "view" {
        bail!("it answered {}", line.trim());
    }
    Ok(serde_json::from_value(answer["view"]["items"].take())?)
}

fn read_metrics() -> std::io::Result<String> {
    let mut stream = TcpStream::connect(METRICS)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn parse_drops(metrics: &str) -> Vec<(String, u64)> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("causeway_drops_total{reason=\""));
    let drops = lines.filter_map(|line| {
        let (reason, count) = line.split_once("\"} ")?;
        Some((reason.to_owned(), count.parse().ok()?))
    });
    drops.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_apis_answer() {
        let line = r#"{"response":"view","view":{"kind":"servers","items":[{"group":"web",
            "address":"172.16.1.20:80","weight":100,"effective_weight":100.0,"health":"Unhealthy",
            "failure":{"reason":"CONNECT_TIMEOUT","actual":null,"expected":null,"detail":"x"},"since_secs":3,
            "counters":{"active":1,"requests":7,"connections":2,"connect_failures":1,"request_failures":0,
            "flows":0,"l4":{"packets":0,"bytes":0,"reply_packets":0,"reply_bytes":0}}}]}}"#;
        let servers: Vec<Server> = parse_view(&line.replace('\n', "")).expect("an answer");
        assert!(servers[0].is_at(Ipv4Addr::new(172, 16, 1, 20)) && servers[0].is_unhealthy());
        assert_eq!(servers[0].counters.requests, 7);
        let refused = parse_view::<Vec<Server>>(r#"{"response":"failed","message":"busy"}"#);
        assert!(refused.is_err_and(|error| error.to_string().contains("busy")));
    }

    #[test]
    fn reads_drops_and_leaves_out_what_never_happened() {
        let text = "# TYPE causeway_drops counter\ncauseway_drops_total{reason=\"truncated\"} 0\n\
                    causeway_drops_total{reason=\"tunnel_wrong_vni\"} 4\n# EOF\n";
        assert_eq!(parse_drops(text), [("tunnel_wrong_vni".to_owned(), 4)]);
    }
}
