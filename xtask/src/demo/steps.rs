//! What the demo walks through: the tutorial's verifications (XR-77 to XR-81), each with what it expects.

use super::client::{Answerer, Listener, Tallies};
use super::stage::Stage;
use crate::balancer::{HopCounters, Server};
use anyhow::Result;
use causeway_lab::{ECS01, ECS01_ADDRESS, ECS02, ECS02_ADDRESS, Fault};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Requests on fresh connections from which the distribution is read.
const REQUESTS: usize = 100;
/// Flows of the TCP listener likewise.
const FLOWS: usize = 200;
/// A fair coin thrown [`FLOWS`] times falls outside of this once in 47,000 times: the hash's key and the client's ports
/// are new each time.
const FAIR: std::ops::RangeInclusive<u64> = 70..=130;
/// A refused port is found within this: three checks, one every 2 s (SG-188).
const REFUSED_LIMIT: Duration = Duration::from_secs(6);
/// A silent one: up to 2 s to the next check, then three times its timeout of 5 s (XR-80).
const SILENT_LIMIT: Duration = Duration::from_secs(17);
/// Three passed checks, one every 2 s (XR-79), after one that may be running into its timeout.
const RECOVERY_LIMIT: Duration = Duration::from_secs(11);
/// What looking every so often, on a machine that may be busy, may add to a time.
const PRECISION: Duration = Duration::from_millis(500);

/// One step.
pub struct Step {
    /// A word or two.
    pub name: &'static str,
    /// What happens, and what is to be seen.
    pub explanation: &'static str,
    /// Does it.
    pub act: fn(&mut Stage, &mut Findings) -> Result<()>,
}

/// What a step measured.
#[derive(Debug, Default)]
pub struct Findings {
    figures: Vec<String>,
    misses: Vec<String>,
}

impl Findings {
    /// Something measured.
    pub fn figure(&mut self, text: String) {
        self.figures.push(text);
    }

    /// Something else than expected.
    pub fn miss(&mut self, text: String) {
        self.misses.push(text);
    }

    /// Notes `expected` and `found` unless `is_met`.
    pub fn expect(&mut self, is_met: bool, expected: &str, found: &str) {
        if !is_met {
            self.miss(format!("expected {expected}, found {found}"));
        }
    }

    /// Whether all was as expected.
    pub fn are_good(&self) -> bool {
        self.misses.is_empty()
    }

    /// One line: `ok STEP: FIGURES` or `FAIL STEP: EXPECTED, FOUND`.
    pub fn line(&self, step: &str) -> String {
        let (word, texts) = if self.are_good() { ("ok", &self.figures) } else { ("FAIL", &self.misses) };
        // An error may hold more than one line.
        format!("{word} {step}: {}", texts.join("; ").replace('\n', " | "))
    }
}

/// The steps between the beginning and the end.
pub const STEPS: [Step; 7] = [
    Step {
        name: "distribution",
        explanation: "Both servers have weight 100. HTTP requests alternate between them; TCP flows follow a Maglev \
                      table in XDP. ECS02 is in the other region: what goes there leaves in a VXLAN tunnel that our \
                      own TC and XDP programs build.",
        act: distribution,
    },
    Step {
        name: "server failure",
        explanation: "nginx on ECS01 stops. Three failed checks, 2 s apart, take it out. Until then a refused request \
                      is tried once more on ECS02, so HTTP clients see no failure; a TCP listener cannot retry.",
        act: server_failure,
    },
    Step {
        name: "recovery",
        explanation: "nginx on ECS01 starts again. Once three checks have passed it gets its half of the traffic.",
        act: recovery,
    },
    Step {
        name: "link loss",
        explanation: "The link between the regions loses every packet and tells nobody. Checks of ECS02 run into their \
                      timeout of 5 s, three times; then ECS01 serves alone. Requests that meet the dead link wait for \
                      their connection, and are tried again on ECS01.",
        act: link_loss,
    },
    Step {
        name: "link return",
        explanation: "The link carries packets again. After three passed checks through the tunnel ECS02 is back.",
        act: link_return,
    },
    Step {
        name: "all servers down",
        explanation: "nginx stops on both servers. With nobody healthy left the balancer fails open: it goes on trying \
                      all of them, and answers 502 where none accepts.",
        act: all_down,
    },
    Step {
        name: "all servers back",
        explanation: "nginx starts on both servers, and all is as in the beginning.",
        act: all_back,
    },
];

fn distribution(stage: &mut Stage, findings: &mut Findings) -> Result<()> {
    let before = hops(stage)?;
    expect_halves(stage, findings)?;
    let tunnels: Vec<_> = hops(stage)?
        .into_iter()
        .map(|(name, now)| {
            let then = before.get(&name).copied().unwrap_or_default();
            let (out, back) = (now.packets - then.packets, now.reply_packets - then.reply_packets);
            (name, out, back)
        })
        .collect();
    let carried = tunnels.iter().any(|(_, out, _)| *out > 0) && tunnels.iter().any(|(_, _, back)| *back > 0);
    findings.expect(carried, "packets both ways in the tunnel", &format!("{tunnels:?}"));
    let shown: Vec<_> = tunnels.iter().map(|(name, out, back)| format!("{name} {out}/{back}")).collect();
    findings.figure(format!("tunnel packets sent/received: {}", shown.join(", ")));
    stage.client.resume();
    Ok(())
}

fn server_failure(stage: &mut Stage, findings: &mut Findings) -> Result<()> {
    let before = stage.client.tallies();
    stage.lab.stop_server(ECS01)?;
    expect_detection(stage, findings, ECS01_ADDRESS, REFUSED_LIMIT)?;
    let during = stage.settle(&before)?;
    expect_no_failed_request(findings, &during);
    let tcp = &during.tcp;
    findings.figure(format!("TCP listener: {} of {} flows failed until then", tcp.failures(), tcp.total()));
    expect_all_from(stage, findings, Answerer::Ecs02)?;
    stage.client.resume();
    Ok(())
}

fn recovery(stage: &mut Stage, findings: &mut Findings) -> Result<()> {
    let before = stage.client.tallies();
    stage.lab.start_server(ECS01)?;
    expect_health(stage, findings)?;
    let during = stage.settle(&before)?;
    expect_no_failed_request(findings, &during);
    expect_halves(stage, findings)?;
    stage.client.resume();
    Ok(())
}

fn link_loss(stage: &mut Stage, findings: &mut Findings) -> Result<()> {
    let before = stage.client.tallies();
    stage.lab.inject(&Fault::LinkSilentDrop)?;
    expect_detection(stage, findings, ECS02_ADDRESS, SILENT_LIMIT)?;
    let during = stage.settle(&before)?;
    let (http, tcp) = (&during.http, &during.tcp);
    findings.figure(format!(
        "until then of {} requests {} came late and {} failed; TCP listener: of {} flows failed {}",
        http.total(),
        http.late,
        http.describe_failures(),
        tcp.total(),
        tcp.describe_failures()
    ));
    expect_all_from(stage, findings, Answerer::Ecs01)?;
    stage.client.resume();
    Ok(())
}

fn link_return(stage: &mut Stage, findings: &mut Findings) -> Result<()> {
    let before = stage.client.tallies();
    stage.lab.mend(&Fault::LinkSilentDrop)?;
    expect_health(stage, findings)?;
    let during = stage.settle(&before)?;
    expect_no_failed_request(findings, &during);
    expect_halves(stage, findings)?;
    stage.client.resume();
    Ok(())
}

fn all_down(stage: &mut Stage, findings: &mut Findings) -> Result<()> {
    let before = stage.client.tallies();
    for host in [ECS01, ECS02] {
        stage.lab.stop_server(host)?;
    }
    let what = "waiting for the checks to find both servers down";
    let all = |servers: &[Server]| servers.iter().all(Server::is_unhealthy);
    let took = stage.wait_for_servers(what, REFUSED_LIMIT, all)?;
    let is_soon = took.is_some_and(|took| took <= REFUSED_LIMIT + PRECISION);
    findings.expect(is_soon, &format!("every server unhealthy within {REFUSED_LIMIT:?}"), &seconds(took));
    findings.figure(format!("detected in {}", seconds(took)));
    stage.settle(&before)?;

    let servers = stage.balancer.servers()?;
    let in_use = servers.iter().filter(|server| server.effective_weight > 0.0).count();
    findings.expect(in_use == servers.len(), "every server in use (fail-open)", &format!("{in_use} in use"));
    let tally = stage.burst(Listener::Http, 20)?;
    let refused = tally.failed.get("status 502").copied().unwrap_or_default();
    findings.expect(refused == 20, "20 requests answered with 502", &tally.describe_failures());
    let tries = tries_since(&servers, &stage.balancer.servers()?);
    let all_tried = tries.values().all(|tries| *tries > 0) && tries.len() == 2;
    findings.expect(all_tried, "connections tried to both servers", &format!("{tries:?}"));
    let tries: Vec<_> = tries.iter().map(|(server, tries)| format!("{server} {tries}")).collect();
    findings.figure(format!("fail-open: 20 requests, 20 answered with 502, tries: {}", tries.join(", ")));
    stage.client.resume();
    Ok(())
}

fn all_back(stage: &mut Stage, findings: &mut Findings) -> Result<()> {
    let before = stage.client.tallies();
    for host in [ECS01, ECS02] {
        stage.lab.start_server(host)?;
    }
    expect_health(stage, findings)?;
    stage.settle(&before)?;
    expect_halves(stage, findings)?;
    stage.client.resume();
    Ok(())
}

/// Waits until the checks of both groups have found the server at `address` to be unhealthy.
fn expect_detection(
    stage: &mut Stage,
    findings: &mut Findings,
    address: Ipv4Addr,
    limit: Duration,
) -> Result<()> {
    let name = if address == ECS01_ADDRESS { "ECS01" } else { "ECS02" };
    let what = format!("waiting for the checks to find {name} down");
    let down =
        |servers: &[Server]| servers.iter().filter(|server| server.is_at(address)).all(Server::is_unhealthy);
    let took = stage.wait_for_servers(&what, limit, down)?;
    let is_soon = took.is_some_and(|took| took <= limit + PRECISION);
    findings.expect(is_soon, &format!("{name} unhealthy within {} s", limit.as_secs()), &seconds(took));
    findings.figure(format!("detected in {}", seconds(took)));
    Ok(())
}

/// Waits until every server is healthy.
fn expect_health(stage: &mut Stage, findings: &mut Findings) -> Result<()> {
    let limit = RECOVERY_LIMIT;
    let healthy = |servers: &[Server]| servers.iter().all(Server::is_healthy);
    let took = stage.wait_for_servers("waiting for three passed checks", limit, healthy)?;
    let is_soon = took.is_some_and(|took| took <= limit + PRECISION);
    findings.expect(is_soon, &format!("every server healthy within {} s", limit.as_secs()), &seconds(took));
    findings.figure(format!("healthy again after {}", seconds(took)));
    Ok(())
}

fn expect_no_failed_request(findings: &mut Findings, during: &Tallies) {
    let http = &during.http;
    findings.expect(http.failures() == 0, "no failed request", &http.describe_failures());
    findings.figure(format!("{} of {} requests failed", http.failures(), http.total()));
}

/// With the client paused: requests split exactly, flows as a fair coin would.
fn expect_halves(stage: &mut Stage, findings: &mut Findings) -> Result<()> {
    stage.settle(&Tallies::default())?;
    let http = stage.burst(Listener::Http, REQUESTS)?;
    let half = REQUESTS as u64 / 2;
    let found = format!(
        "{} requests on fresh connections: ECS01 {}, ECS02 {}",
        http.total(),
        http.of(Answerer::Ecs01),
        http.of(Answerer::Ecs02)
    );
    findings.expect(
        http.answered == [half, half],
        &format!("{half} requests each"),
        &format!("{found}, failed {}", http.describe_failures()),
    );
    findings.figure(found);
    let tcp = stage.burst(Listener::Tcp, FLOWS)?;
    let found = format!(
        "TCP listener {} flows: {}/{}",
        tcp.total(),
        tcp.of(Answerer::Ecs01),
        tcp.of(Answerer::Ecs02)
    );
    findings.expect(
        FAIR.contains(&tcp.of(Answerer::Ecs01)) && tcp.failures() == 0,
        &format!("{FLOWS} flows split as by a fair coin ({} to {})", FAIR.start(), FAIR.end()),
        &format!("{found}, failed {}", tcp.describe_failures()),
    );
    findings.figure(found);
    Ok(())
}

/// With the client paused: one server answers everything.
fn expect_all_from(stage: &mut Stage, findings: &mut Findings, answerer: Answerer) -> Result<()> {
    const COUNT: usize = 50;
    let name = if answerer == Answerer::Ecs01 { "ECS01" } else { "ECS02" };
    for (listener, what) in [(Listener::Http, "requests"), (Listener::Tcp, "flows")] {
        let tally = stage.burst(listener, COUNT)?;
        let found = format!("{} of {}", tally.of(answerer), tally.total());
        let is_met = tally.of(answerer) == COUNT as u64;
        let failed = tally.describe_failures();
        findings.expect(
            is_met,
            &format!("{COUNT} {what} answered by {name}"),
            &format!("{found}, failed {failed}"),
        );
        findings.figure(format!("then {found} {what} by {name}"));
    }
    Ok(())
}

fn hops(stage: &Stage) -> Result<BTreeMap<String, HopCounters>> {
    Ok(stage.balancer.next_hops()?.into_iter().map(|hop| (hop.name, hop.counters)).collect())
}

/// Connections tried to each HTTP server since `earlier`.
fn tries_since(earlier: &[Server], now: &[Server]) -> BTreeMap<&'static str, u64> {
    let tries = |server: &Server| server.counters.connections + server.counters.connect_failures;
    let http = now.iter().filter(|server| server.group == "web");
    http.map(|server| {
        let then = earlier.iter().find(|then| then.group == server.group && then.address == server.address);
        let name = if server.is_at(ECS01_ADDRESS) { "ECS01" } else { "ECS02" };
        (name, tries(server) - then.map_or(0, tries))
    })
    .collect()
}

fn seconds(took: Option<Duration>) -> String {
    took.map_or_else(|| "not at all".to_owned(), |took| format!("{:.1} s", took.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_line_whatever_it_found() {
        let mut findings = Findings::default();
        findings.figure("100 requests".into());
        findings.expect(true, "x", "y");
        assert_eq!(findings.line("distribution"), "ok distribution: 100 requests");
        findings.expect(false, "50 each", "51 and 49");
        findings.miss("an error\nof two lines".into());
        assert!(!findings.are_good());
        let line = findings.line("distribution");
        assert_eq!(line, "FAIL distribution: expected 50 each, found 51 and 49; an error | of two lines");
    }
}
