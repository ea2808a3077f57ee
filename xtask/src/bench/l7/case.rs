//! What is measured, and what is to be reached (`>=` and `<=` of median paired ratios, or of medians).

use super::load::Load;
use super::proxies::Client;

/// One case.
pub struct Case {
    /// For `--case`.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    pub client: Client,
    pub what: What,
    pub targets: &'static [Target],
}

/// How it is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Requests per second of the proxy's CPU time.
    Throughput { load: Load, path: &'static str },
    /// Response times at a rate that all can sustain.
    Latency,
    /// Memory per connection that waits.
    Idle,
    /// Many rules against few, the last of which takes the request. Ours alone.
    Rules { many: u32, few: u32 },
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At least so many times the requests per CPU second of both others.
    OfBoth(f64),
    /// Of nginx.
    OfNginx(f64),
    /// Of HAProxy.
    OfHaproxy(f64),
    /// At most so many microseconds of our own code's time per request.
    UserMicros(f64),
    /// A 99th percentile of at most so many times that of either.
    P99OfBoth(f64),
    /// At most so many KB per idle connection.
    IdleKb(f64),
    /// With many rules, at most so many times the user time per request with few.
    UserOfFew(f64),
}

const fn closed(connections: u32) -> Load {
    Load::Closed { connections, close: false }
}

const fn throughput(load: Load) -> What {
    What::Throughput { load, path: "/small" }
}

/// All cases, in the order in which they run.
pub const CASES: [Case; 12] = [
    Case {
        name: "1k-64",
        title: "1 KB, 64 kept connections",
        client: Client::Plain,
        what: throughput(closed(64)),
        targets: &[Target::OfBoth(1.15), Target::UserMicros(3.5)],
    },
    Case {
        name: "1k-256",
        title: "1 KB, 256 kept connections",
        client: Client::Plain,
        what: throughput(closed(256)),
        targets: &[Target::OfBoth(1.4)],
    },
    Case {
        name: "100k-64",
        title: "100 KB, 64 kept connections",
        client: Client::Plain,
        what: What::Throughput { load: closed(64), path: "/large" },
        targets: &[Target::OfBoth(1.0)],
    },
    Case {
        name: "100k-256",
        title: "100 KB, 256 kept connections",
        client: Client::Plain,
        what: What::Throughput { load: closed(256), path: "/large" },
        targets: &[Target::OfBoth(1.0)],
    },
    Case {
        name: "new-connection",
        title: "1 KB, a new connection per request, 64 at a time",
        client: Client::Plain,
        what: throughput(Load::Closed { connections: 64, close: true }),
        targets: &[Target::OfBoth(1.05)],
    },
    Case {
        name: "https",
        title: "HTTPS (TLS 1.3), 1 KB, 64 kept connections",
        client: Client::Tls,
        what: throughput(closed(64)),
        targets: &[Target::OfBoth(1.2)],
    },
    Case {
        name: "handshake",
        title: "TLS 1.3 full handshake (P-256 certificate), one request, close; 16 clients",
        client: Client::Tls,
        what: throughput(Load::Handshakes { clients: 16 }),
        targets: &[Target::OfBoth(1.75)],
    },
    Case {
        name: "http2",
        title: "HTTP/2 over TLS to HTTP/1.1 servers, 16 connections x 32 streams, 1 KB",
        client: Client::Http2,
        what: throughput(Load::Streams { connections: 16, streams: 32 }),
        targets: &[Target::OfNginx(1.0), Target::OfHaproxy(0.85)],
    },
    Case {
        name: "idle-plain",
        title: "an idle kept connection, plain",
        client: Client::Plain,
        what: What::Idle,
        targets: &[Target::IdleKb(4.0)],
    },
    Case {
        name: "idle-tls",
        title: "an idle kept connection, TLS",
        client: Client::Tls,
        what: What::Idle,
        targets: &[Target::IdleKb(16.0)],
    },
    Case {
        name: "latency",
        title: "1 KB at 70 % of the slowest proxy's rate, open loop, 64 connections",
        client: Client::Plain,
        what: What::Latency,
        targets: &[Target::P99OfBoth(1.0)],
    },
    Case {
        name: "rules",
        title: "1 KB, 64 kept connections: 10,000 rules against 10",
        client: Client::Plain,
        what: What::Rules { many: 10_000, few: 10 },
        targets: &[Target::UserOfFew(1.1)],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_and_a_target() {
        for (index, case) in CASES.iter().enumerate() {
            assert!(CASES[..index].iter().all(|other| other.name != case.name), "{}", case.name);
            assert!(!case.targets.is_empty(), "{}", case.name);
        }
    }
}
