//! The live view as lines of text. Pure: what is shown is an argument.

use super::client::{Answerer, Listener, Tallies, Tally};
use crate::balancer::{NextHop, Server};
use crate::screen::cut;
use causeway_lab::ECS01_ADDRESS;

/// Every line fits a terminal of this many columns.
pub const COLUMNS: usize = 80;

/// Everything the view shows, at one moment.
#[derive(Debug, Default)]
pub struct Picture {
    /// As the balancer sees them.
    pub servers: Vec<Server>,
    /// The tunnel's ends.
    pub next_hops: Vec<NextHop>,
    /// Packets the datapath dropped, by reason.
    pub drops: Vec<(String, u64)>,
    /// As the client sees it.
    pub tallies: Tallies,
}

impl Picture {
    /// The view, without colours, each line at most [`COLUMNS`] wide.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![rule("servers, as the balancer sees them"), server_heading()];
        lines.extend(self.servers.iter().map(server));
        lines.push(rule("answers, as the client sees them"));
        lines.push(format!(
            " {:<12} {:>8} {:>8} {:>8}  {:<6} newest on the right",
            "sent to", "ECS01", "ECS02", "failed", "last"
        ));
        lines.push(answers("HTTP", Listener::Http, &self.tallies.http));
        lines.push(answers("TCP", Listener::Tcp, &self.tallies.tcp));
        lines.push(rule("packets in the tunnel to the other region"));
        lines.push(format!(" {:<24} {:>12} {:>12}", "next hop", "sent", "received"));
        lines.extend(self.next_hops.iter().map(next_hop));
        lines.push(rule("packets dropped, by reason"));
        lines.extend(self.drop_lines());
        for line in &mut lines {
            *line = cut(line, COLUMNS);
        }
        lines
    }

    fn drop_lines(&self) -> Vec<String> {
        if self.drops.is_empty() {
            return vec![" none".to_owned()];
        }
        let mut lines = vec![String::new()];
        for (reason, count) in &self.drops {
            let entry = format!(" {reason} {count} ");
            let last = lines.last_mut().expect("begins with one");
            if last.len() + entry.len() > COLUMNS {
                lines.push(entry);
            } else {
                last.push_str(&entry);
            }
        }
        lines
    }
}

fn server_heading() -> String {
    format!(
        " {:<8} {:<13} {:<28} {:>6} {:>6} {:>5} {:>5}",
        "group", "server", "health", "weight", "reqs", "conns", "flows"
    )
}

/// The weight is the one in force: 0 for a server that gets nothing, above 0 for an unhealthy one under fail-open.
fn server(server: &Server) -> String {
    let name = if server.is_at(ECS01_ADDRESS) { "ECS01 local" } else { "ECS02 tunnel" };
    let reason = server.failure.as_ref().map(|failure| format!(" {}", failure.reason));
    let health = format!("{}{}", server.health, reason.unwrap_or_default());
    let counters = &server.counters;
    format!(
        " {:<8} {name:<13} {:<28} {:>6.0} {:>6} {:>5} {:>5}",
        cut(&server.group, 8),
        cut(&health, 28),
        server.effective_weight,
        counters.requests,
        counters.connections,
        counters.flows
    )
}

fn answers(name: &str, listener: Listener, tally: &Tally) -> String {
    let last = match tally.recent.back() {
        Some('1') => "ECS01",
        Some('2') => "ECS02",
        Some(_) => "failed",
        None => "-",
    };
    let recent: String = tally.recent.iter().collect();
    let name = format!("{name} :{}", listener.port());
    let (one, two) = (tally.of(Answerer::Ecs01), tally.of(Answerer::Ecs02));
    format!(" {name:<12} {one:>8} {two:>8} {:>8}  {last:<6} {recent}", tally.failures())
}

fn next_hop(hop: &NextHop) -> String {
    format!(" {:<24} {:>12} {:>12}", hop.name, hop.counters.packets, hop.counters.reply_packets)
}

fn rule(title: &str) -> String {
    let line = format!("── {title} ");
    let rest = COLUMNS.saturating_sub(line.chars().count());
    line + &"─".repeat(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::{Failure, HopCounters, ServerCounters};

    fn picture() -> Picture {
        let server = |address: &str, health: &str, weight, reason: Option<&str>| Server {
            group: "web".into(),
            address: address.parse().expect("an address"),
            effective_weight: weight,
            health: health.into(),
            failure: reason.map(|reason| Failure { reason: reason.into() }),
            counters: ServerCounters {
                requests: 1_234_567,
                connections: 98_765,
                flows: 0,
                connect_failures: 3,
            },
        };
        Picture {
            servers: vec![
                server("172.16.1.20:80", "Normal", 100.0, None),
                server("192.168.1.20:80", "Unhealthy", 0.0, Some("RESPONSE_MISMATCH")),
                server("192.168.1.20:8080", "Unhealthy", 100.0, Some("CONNECT_FAILED")),
            ],
            next_hops: vec![NextHop {
                name: "tr-chengdu-a".into(),
                counters: HopCounters { packets: 31, reply_packets: 29 },
            }],
            drops: (0..9).map(|i| (format!("tunnel_unknown_source_{i}"), 100)).collect(),
            tallies: Tallies::default(),
        }
    }

    #[test]
    fn fits_eighty_columns_whatever_the_figures() {
        for line in picture().lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
    }

    #[test]
    fn shows_health_tunnel_and_drops() {
        let text = picture().lines().join("\n");
        for part in [
            "ECS02 tunnel  Unhealthy RESPONSE_MISMATCH       0",
            "ECS02 tunnel  Unhealthy CONNECT_FAILED        100",
            "tr-chengdu-a",
            " 31",
            " 29",
            "source_8 100",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(Picture::default().lines().contains(&" none".to_owned()));
    }

    #[test]
    fn the_last_answer_is_named() {
        let mut picture = picture();
        picture.tallies.http = Tally { recent: "12x".chars().collect(), ..Tally::default() };
        picture.tallies.tcp = Tally { recent: "x2".chars().collect(), ..Tally::default() };
        let lines = picture.lines();
        assert!(lines.iter().any(|line| line.starts_with(" HTTP :80") && line.ends_with(" failed 12x")));
        assert!(lines.iter().any(|line| line.starts_with(" TCP :9000") && line.ends_with(" ECS02  x2")));
    }
}
