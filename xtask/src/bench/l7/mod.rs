//! `bench l7`: the L7 engine side by side with Debian's nginx and HAProxy.
//!
//! All proxies of a case run at the same time on one core, and only the one that is measured has anything to do. Servers
//! and load have the other core. Rounds go A B C A B C, and what counts is the median of the ratios within rounds: the
//! machine's speed cancels out. CPU time is the process's, all threads: what a proxy does per second of it is what a
//! core of it can do, also where servers or load are the bottleneck of the moment.

mod case;
mod idle;
mod load;
mod machine;
mod open_loop;
mod proxies;
mod report;

use crate::command::{cargo, run as run_command};
use crate::setup;
use anyhow::{Result, bail, ensure};
use case::{CASES, Case, What};
use load::{Load, Place};
use machine::{Cores, Usage};
use proxies::{Client, Listening, Proxy, Stage};
use report::{Sample, Series, Verdict, render};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
#[command(after_help = "\
Prints, for each case, requests per second, requests per second of the proxy's CPU time, user and system time per \
request (and the least of their sum), response times, memory; then ours to each other's, median (least..greatest) of \
the rounds' ratios; then the targets. Ratios hold on a busy machine too; absolute figures do not. CPU time comes in \
ticks: with less than 10 s a measurement, or 5 rounds, small differences are noise. Everything is on loopback. \
All cases take about half an hour.

Example:
  cargo xtask bench l7 --case 1k-64 --rounds 3 --seconds 5")]
pub struct Arguments {
    /// Only these cases: 1k-64, 1k-256, 100k-64, 100k-256, new-connection, https, handshake, http2, idle-plain,
    /// idle-tls, latency, rules. May be given several times.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(CASES.iter().map(|case| case.name)), hide_possible_values = true)]
    case: Vec<String>,
    /// Rounds of each case.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Exit code 1 if a target is missed, saying which.
    #[arg(long)]
    check: bool,
}

/// Share of the slowest proxy's rate at which response times are compared.
const OPEN_LOOP_SHARE: f64 = 0.7;
/// Rounds for memory, which varies little.
const IDLE_ROUNDS: u32 = 3;

/// Measures and prints. Exit code 1 if asked to check and a target is missed.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::tools(&["nginx", "haproxy", "wrk", "nghttp2-client", "openssl", "python3"])?;
    let cores = Cores::choose()?;
    run_command(cargo().args(["build", "--release", "--package", "controller", "--example", "l7_engine"]))?;
    println!("{}", proxies::versions()?);
    machine::stop_in_order();
    let stage = Stage::set(cores)?;
    let mut missed = Vec::new();
    let chosen =
        |case: &&Case| arguments.case.is_empty() || arguments.case.iter().any(|name| name == case.name);
    for case in CASES.iter().filter(chosen) {
        println!("\n{}: {}", case.name, case.title);
        let (series, failures) = Measurement { stage: &stage, case, arguments }.run()?;
        let (table, verdicts) = render(&series, case.targets);
        print!("{table}");
        failures.iter().for_each(|failure| println!("  {failure}"));
        let missed_here = verdicts.into_iter().filter(|verdict| !verdict.is_met);
        missed.extend(missed_here.map(|Verdict { what, .. }| format!("{}: {what}", case.name)));
    }
    if missed.is_empty() {
        println!("\nall targets are met");
    } else {
        println!("\nmissed targets:");
        missed.iter().for_each(|line| println!("  {line}"));
    }
    Ok(if arguments.check && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One case being measured.
struct Measurement<'a> {
    stage: &'a Stage,
    case: &'a Case,
    arguments: &'a Arguments,
}

impl Measurement<'_> {
    /// A series for each proxy, ours first, and why proxies have none.
    fn run(&self) -> Result<(Vec<Series>, Vec<String>)> {
        match self.case.what {
            What::Throughput { load, path } => {
                let place = |proxy: &Listening| Place {
                    address: proxy.address,
                    client: self.case.client,
                    path,
                    host: "bench.example",
                };
                self.rounds(&Proxy::COMPARED, |proxy| self.under_load(proxy, load, place(proxy)))
            }
            What::Rules { many, few } => {
                let proxies = [Proxy::Causeway { rules: many }, Proxy::Causeway { rules: few }];
                self.rounds(&proxies, |proxy| {
                    let Proxy::Causeway { rules } = proxy.proxy else { bail!("only Causeway has rules") };
                    let last = rules - 1;
                    let (path, host) = (format!("/r{last}/small"), format!("h{last}.example"));
                    let place =
                        Place { address: proxy.address, client: self.case.client, path: &path, host: &host };
                    self.under_load(proxy, Load::Closed { connections: 64, close: false }, place)
                })
            }
            What::Latency => self.latency(),
            What::Idle => self.idle(),
        }
    }

    /// Starts `proxies` and measures them in turn, round by round. One that fails is left out from then on, with all
    /// its samples, and the reason is returned.
    fn rounds(
        &self,
        proxies: &[Proxy],
        measure: impl Fn(&Listening) -> Result<Sample>,
    ) -> Result<(Vec<Series>, Vec<String>)> {
        let mut failures = Vec::new();
        let mut running = Vec::new();
        for proxy in proxies {
            machine::ensure_not_stopped()?;
            match self.start_warm(*proxy) {
                Ok(listening) => running.push((listening, Vec::new())),
                Err(error) => failures.push(not_measured(*proxy, &error)),
            }
        }
        for round in 1..=self.arguments.rounds {
            let mut next = 0;
            while let Some((proxy, samples)) = running.get_mut(next) {
                let name = proxy.proxy.name();
                progress(&format!("{}: round {round} of {}: {name}", self.case.name, self.arguments.rounds));
                let measured = measure(proxy);
                machine::ensure_not_stopped()?;
                match measured {
                    Ok(sample) => {
                        samples.push(sample);
                        next += 1;
                    }
                    Err(error) => {
                        failures.push(not_measured(proxy.proxy, &error));
                        running.remove(next);
                    }
                }
            }
        }
        progress("");
        Ok((in_order(proxies, running), failures))
    }

    /// A proxy that has connections to its servers and its code in the caches.
    fn start_warm(&self, proxy: Proxy) -> Result<Listening> {
        progress(&format!("{}: start {}", self.case.name, proxy.name()));
        let listening = self.stage.start(proxy, self.case.client)?;
        let place = Place {
            address: listening.address,
            client: self.case.client,
            path: "/small",
            host: "bench.example",
        };
        let load = match self.case.client {
            Client::Http2 => Load::Streams { connections: 16, streams: 32 },
            Client::Plain | Client::Tls => Load::Closed { connections: 64, close: false },
        };
        load.run(place, 1, self.stage.cores(), self.stage.folder())?;
        Ok(listening)
    }

    fn under_load(&self, proxy: &Listening, load: Load, place: Place<'_>) -> Result<Sample> {
        let before = proxy.running.usage()?;
        let seen = load.run(place, self.arguments.seconds, self.stage.cores(), self.stage.folder())?;
        let after = proxy.running.usage()?;
        ensure!(proxy.empty_log()?, "{} has not written its access log", proxy.proxy.name());
        let per_request = per_request(before, after, seen.requests);
        Ok(Sample {
            per_second: seen.requests / seen.time.as_secs_f64(),
            p50: seen.p50,
            p99: seen.p99,
            ..per_request
        })
    }

    /// Finds a rate that all sustain, then compares response times at it.
    fn latency(&self) -> Result<(Vec<Series>, Vec<String>)> {
        let mut slowest = f64::INFINITY;
        for proxy in Proxy::COMPARED {
            let listening = self.start_warm(proxy)?;
            progress(&format!("{}: the most that {} can", self.case.name, proxy.name()));
            let place = Place {
                address: listening.address,
                client: self.case.client,
                path: "/small",
                host: "bench.example",
            };
            let load = Load::Closed { connections: 64, close: false };
            let seconds = self.arguments.seconds.min(5);
            let seen = load.run(place, seconds, self.stage.cores(), self.stage.folder())?;
            slowest = slowest.min(seen.requests / seen.time.as_secs_f64());
        }
        let rate = slowest * OPEN_LOOP_SHARE;
        progress("");
        println!("  {rate:.0} requests a second");
        let length = Duration::from_secs(self.arguments.seconds);
        self.rounds(&Proxy::COMPARED, |proxy| {
            let before = proxy.running.usage()?;
            let seen = open_loop::run(proxy.address, rate, length, self.stage.cores())?;
            let after = proxy.running.usage()?;
            ensure!(proxy.empty_log()?, "{} has not written its access log", proxy.proxy.name());
            let per_request = per_request(before, after, seen.requests);
            Ok(Sample { per_second: rate, p50: seen.p50, p99: seen.p99, ..per_request })
        })
    }

    /// Memory: a proxy is started anew for each round, since memory once taken is kept.
    fn idle(&self) -> Result<(Vec<Series>, Vec<String>)> {
        let mut failures = Vec::new();
        let mut series: Vec<Series> = Vec::new();
        for proxy in Proxy::COMPARED {
            let mut samples = Vec::new();
            for round in 1..=self.arguments.rounds.min(IDLE_ROUNDS) {
                progress(&format!("{}: round {round}: {}", self.case.name, proxy.name()));
                let measured = self.stage.start(proxy, self.case.client).and_then(|listening| {
                    let idle = idle::measure(&listening, self.case.client, self.stage.cores())?;
                    let resident = listening.running.usage()?.resident_bytes as f64;
                    Ok(Sample { idle, resident, ..Sample::default() })
                });
                machine::ensure_not_stopped()?;
                match measured {
                    Ok(sample) => samples.push(sample),
                    Err(error) => {
                        failures.push(not_measured(proxy, &error));
                        samples.clear();
                        break;
                    }
                }
            }
            if !samples.is_empty() || series.is_empty() {
                series.push(Series { name: proxy.name(), samples });
            }
        }
        progress("");
        Ok((series, failures))
    }
}

/// Series of those that were measured; ours, the first of `proxies`, is there in any case.
fn in_order(proxies: &[Proxy], measured: Vec<(Listening, Vec<Sample>)>) -> Vec<Series> {
    let mut series: Vec<Series> = measured
        .into_iter()
        .map(|(listening, samples)| Series { name: listening.proxy.name(), samples })
        .collect();
    let ours = proxies[0].name();
    if series.first().is_none_or(|first| first.name != ours) {
        series.insert(0, Series { name: ours, samples: Vec::new() });
    }
    series
}

/// Why, in a line: the cause. What a program printed around it is long.
fn not_measured(proxy: Proxy, error: &anyhow::Error) -> String {
    let cause = error.root_cause().to_string();
    format!("{} is not measured: {}", proxy.name(), cause.lines().last().unwrap_or_default().trim())
}

fn per_request(before: Usage, after: Usage, requests: f64) -> Sample {
    let micros = |before: Duration, after: Duration| (after - before).as_secs_f64() * 1e6 / requests;
    Sample {
        user: micros(before.user, after.user),
        system: micros(before.system, after.system),
        resident: after.resident_bytes as f64,
        ..Sample::default()
    }
}

/// Shows what is going on, in one line that the next replaces; nothing unless somebody looks.
fn progress(text: &str) {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        let _ = write!(error, "\r\x1b[K{text}");
        let _ = error.flush();
    }
}
