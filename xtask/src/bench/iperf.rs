//! One TCP flow, measured by iperf3.

use anyhow::{Context, Result};
use causeway_lab::{Lab, Process};
use std::net::Ipv4Addr;
use std::time::Duration;

/// The server's CPU and the client's: both are busy with one flow, and on one CPU they would share it.
const SERVER_CPU: u32 = 1;
const CLIENT_CPU: u32 = 0;
const PORT: u16 = 5201;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the balancer to the other region.
    Up,
    /// Back.
    Down,
}

impl Direction {
    /// Both.
    pub const ALL: [Direction; 2] = [Direction::Up, Direction::Down];

    /// `up` or `down`.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
        }
    }
}

/// A server on `host`, until dropped.
pub fn serve(lab: &Lab, host: &str, address: Ipv4Addr) -> Result<Process> {
    let (address, port) = (address.to_string(), PORT.to_string());
    let cpu = SERVER_CPU.to_string();
    let mut server = lab.spawn(host, &["iperf3", "-s", "-B", &address, "-p", &port, "-A", &cpu])?;
    server.wait_until_listening(&[PORT], Duration::from_secs(5))?;
    Ok(server)
}

/// Sends for `seconds` on one flow between `from` on `host` and the server at `to`, after one more second to come up
/// to speed. Returns what arrived, Gb/s.
pub fn measure(
    lab: &Lab,
    host: &str,
    (from, to): (Ipv4Addr, Ipv4Addr),
    direction: Direction,
    seconds: u32,
) -> Result<f64> {
    let (from, to, seconds) = (from.to_string(), to.to_string(), seconds.to_string());
    let (port, cpu) = (PORT.to_string(), CLIENT_CPU.to_string());
    let mut words = vec!["iperf3", "-c", &to, "-p", &port, "-B", &from, "-t", &seconds];
    words.extend(["-O", "1", "-A", &cpu, "--connect-timeout", "5000", "-J"]);
    if direction == Direction::Down {
        words.push("-R");
    }
    let report = lab.run(host, &words)?;
    parse(&report).with_context(|| format!("iperf3 on {host} reported: {}", report.trim()))
}

fn parse(report: &str) -> Result<f64> {
    let report: serde_json::Value = serde_json::from_str(report)?;
    let rate = &report["end"]["sum_received"]["bits_per_second"];
    Ok(rate.as_f64().context("no end.sum_received.bits_per_second")? / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_arrived() {
        let report =
            r#"{"end":{"sum_sent":{"bits_per_second":2.1e10},"sum_received":{"bits_per_second":2.0e10}}}"#;
        assert_eq!(parse(report).expect("a report"), 20.0);
        assert!(parse(r#"{"error":"unable to connect"}"#).is_err());
    }
}
