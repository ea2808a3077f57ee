//! Load generators, and what they report. The parsing is pure.

use super::machine::{Cores, output, pinned};
use super::proxies::Client;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What arrives at a proxy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So many connections, each with its next request as soon as it has a response.
    Closed {
        /// How many.
        connections: u32,
        /// Each request on a connection of its own.
        close: bool,
    },
    /// So many connections of HTTP/2, each with so many requests under way.
    Streams { connections: u32, streams: u32 },
    /// So many clients, each with one handshake after the other, none resumed.
    Handshakes { clients: u32 },
}

/// What a load generator saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Requests answered well.
    pub requests: f64,
    /// In this time.
    pub time: Duration,
    /// Response times, milliseconds: median and 99th percentile.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

/// HTTP/2 connections are used for less than the 1,000 requests after which Causeway asks clients for a new one (LR-52):
/// h2load has no answer to that. All proxies get new connections after as many.
const REQUESTS_PER_CONNECTION: u32 = 960;

/// Whom to ask, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub address: SocketAddr,
    pub client: Client,
    pub path: &'a str,
    /// Sent as Host.
    pub host: &'a str,
}

impl Load {
    /// Puts the load on `place` for so many seconds. Fails if anything was not answered well.
    pub fn run(self, place: Place<'_>, seconds: u64, cores: Cores, folder: &Path) -> Result<Seen> {
        let Place { address, client, path, host } = place;
        let scheme = if client == Client::Plain { "http" } else { "https" };
        let url = format!("{scheme}://{address}{path}");
        let host = format!("Host: {host}");
        match self {
            Load::Closed { connections, close } => {
                let mut wrk = pinned("wrk", cores.other)?;
                wrk.args(["-t1", "--latency", "--timeout", "10s", "-H", &host]);
                wrk.arg(format!("-c{connections}")).arg(format!("-d{seconds}s"));
                if close {
                    wrk.args(["-H", "Connection: close"]);
                }
                let report = output(wrk.arg(url))?;
                parse_wrk(&report).with_context(|| format!("wrk reported: {}", report.trim()))
            }
            Load::Streams { connections, streams } => {
                let mut all = Seen { requests: 0.0, time: Duration::ZERO, p50: None, p99: None };
                let mut times = Vec::new();
                while all.time < Duration::from_secs(seconds) {
                    let log = folder.join("times");
                    let mut h2load = pinned("h2load", cores.other)?;
                    h2load.arg(format!("-c{connections}")).arg(format!("-m{streams}"));
                    h2load.arg(format!("-n{}", connections * REQUESTS_PER_CONNECTION));
                    h2load.arg("-H").arg(host.replace("Host:", ":authority:"));
                    let report = output(h2load.arg(format!("--log-file={}", log.display())).arg(&url))?;
                    let seen = parse_h2load(&report);
                    let seen = seen.with_context(|| format!("h2load reported: {}", report.trim()))?;
                    all.requests += seen.requests;
                    all.time += seen.time;
                    times.extend(parse_h2load_log(&fs::read_to_string(&log)?));
                    fs::remove_file(&log)?;
                }
                (all.p50, all.p99) = percentiles(times);
                Ok(all)
            }
            Load::Handshakes { clients } => {
                // It writes `GET PATH HTTP/1.0`; this path makes it a request of today, with a header at the end.
                let rest = "Connection: close\r\nX-Rest:";
                let path = format!("{path} HTTP/1.1\r\n{host}\r\n{rest}");
                let shakers = (0..clients)
                    .map(|_| {
                        let mut openssl = pinned("openssl", cores.other)?;
                        openssl.args(["s_time", "-new", "-tls1_3", "-connect", &address.to_string()]);
                        openssl.args(["-www", &path, "-time", &seconds.to_string()]);
                        Ok(std::thread::spawn(move || shake(openssl)))
                    })
                    .collect::<Result<Vec<_>>>()?;
                let mut requests = 0.0;
                for shaker in shakers {
                    requests += shaker.join().expect("it does not panic")?;
                }
                Ok(Seen { requests, time: Duration::from_secs(seconds), p50: None, p99: None })
            }
        }
    }
}

fn shake(mut openssl: Command) -> Result<f64> {
    let report = output(&mut openssl)?;
    parse_s_time(&report).with_context(|| format!("openssl s_time reported: {}", report.trim()))
}

/// `298 connections in 0.25s; 1192.00 connections/user sec, bytes read 348362`
fn parse_s_time(report: &str) -> Result<f64> {
    let line = report.lines().find(|line| line.contains("connections/user sec")).context("no result")?;
    let count: f64 = line.split(' ').next().unwrap_or_default().parse()?;
    let bytes: f64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
    ensure!(count > 0.0 && bytes / count > super::proxies::SMALL as f64, "responses are too short");
    Ok(count)
}

fn parse_wrk(report: &str) -> Result<Seen> {
    for bad in ["Socket errors", "Non-2xx"] {
        if let Some(line) = report.lines().find(|line| line.contains(bad)) {
            anyhow::bail!("{}", line.trim());
        }
    }
    let line =
        report.lines().find_map(|line| line.split_once(" requests in ")).context("no number of requests")?;
    let time = line.1.split(',').next().and_then(parse_time).context("no time")?;
    let percentile = |which: &str| {
        let line = report.lines().find_map(|line| line.trim().strip_prefix(which))?;
        Some(parse_time(line.trim())?.as_nanos() as f64 / 1e6)
    };
    let requests: f64 = line.0.trim().parse()?;
    ensure!(requests > 0.0, "no requests");
    Ok(Seen { requests, time, p50: percentile("50%"), p99: percentile("99%") })
}

/// A time as wrk and h2load write it.
fn parse_time(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..at].trim().parse().ok()?;
    let unit = match &text[at..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number * unit))
}

/// A line per request: when it began (µs), its status, how long it took (µs).
fn parse_h2load_log(log: &str) -> impl Iterator<Item = u32> {
    log.lines().filter_map(|line| line.rsplit('\t').next()?.parse().ok())
}

fn parse_h2load(report: &str) -> Result<Seen> {
    let line = report.lines().find(|line| line.starts_with("requests:")).context("no line `requests:`")?;
    let count = |what: &str| -> Option<f64> {
        let part = line.trim_start_matches("requests:").split(',').find(|part| part.ends_with(what))?;
        part.trim().split(' ').next()?.parse().ok()
    };
    ensure!(count(" failed") == Some(0.0) && count(" errored") == Some(0.0), "{line}");
    let requests = count(" succeeded").context("no number of successes")?;
    ensure!(requests > 0.0, "no requests");
    let finished =
        report.lines().find_map(|line| line.strip_prefix("finished in ")).context("no `finished in`")?;
    let time = finished.split(',').next().and_then(parse_time).context("no time")?;
    Ok(Seen { requests, time, p50: None, p99: None })
}

/// Median and 99th percentile of microseconds, in milliseconds.
pub fn percentiles(mut times: Vec<u32>) -> (Option<f64>, Option<f64>) {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share).ceil() as usize).saturating_sub(1);
        times.get(index).map(|us| f64::from(*us) / 1000.0)
    };
    (at(0.50), at(0.99))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 2s test @ http://127.0.0.1:1/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.46ms    5.78ms  34.91ms   80.62%
    Req/Sec     1.02k   381.98     1.74k    70.00%
  Latency Distribution
     50%  480.00us
     75%    3.00ms
     90%    4.00ms
     99%    5.25ms
  2086 requests in 2.06s, 2.33MB read
Requests/sec:   1014.44
Transfer/sec:      1.13MB
";

    #[test]
    fn reads_what_wrk_reports() {
        let seen = parse_wrk(WRK).expect("a report");
        let expected =
            Seen { requests: 2086.0, time: Duration::from_millis(2060), p50: Some(0.48), p99: Some(5.25) };
        assert_eq!(seen, expected);
    }

    #[test]
    fn answers_that_are_not_good_are_no_figures() {
        for line in
            ["  Non-2xx or 3xx responses: 3", "  Socket errors: connect 0, read 1, write 0, timeout 0"]
        {
            let error = parse_wrk(&format!("{WRK}{line}\n")).expect_err("it says so");
            assert_eq!(error.to_string(), line.trim());
        }
        assert!(parse_wrk("  0 requests in 2.0s, 0B read").is_err());
    }

    #[test]
    fn reads_what_h2load_reports() {
        let report = |failed| {
            format!(
                "finished in 2.04s, 978.05 req/s, 0B/s\nrequests: 2000 total, 2000 started, 2000 done, 1999 succeeded, \
                 {failed} failed, 0 errored, 0 timeout\n"
            )
        };
        let seen = parse_h2load(&report(0)).expect("a report");
        let expected = Seen { requests: 1999.0, time: Duration::from_millis(2040), p50: None, p99: None };
        assert_eq!(seen, expected);
        assert!(parse_h2load(&report(1)).is_err());
        assert_eq!(parse_h2load_log("1\t200\t1000\n2\t200\t9000\n").collect::<Vec<_>>(), [1000, 9000]);
    }

    #[test]
    fn reads_what_s_time_reports() {
        let line =
            |bytes| format!("298 connections in 0.25s; 1192.00 connections/user sec, bytes read {bytes}");
        assert_eq!(parse_s_time(&line(348_362)).expect("a report"), 298.0);
        // Refusals instead of responses.
        assert!(parse_s_time(&line(29_800)).is_err());
    }

    #[test]
    fn percentiles_are_of_the_smallest_that_hold() {
        assert_eq!(percentiles((1..=100).map(|n| n * 1000).collect()), (Some(50.0), Some(99.0)));
        assert_eq!(percentiles(vec![]), (None, None));
    }
}
