//! The L7 engine alone, one worker, for measuring and looking at it under a profiler, e.g.
//! `taskset -c 0 target/release/examples/l7_engine --log /tmp/access.log 127.0.0.1:8090 127.0.0.1:8081 127.0.0.1:8082`.
//!
//! It prints `serving on ADDRESS` once it serves, and what it counted when it is ended (SIGINT or SIGTERM).

use clap::Parser;
use controller::model::{Actions, Condition, Final, Forward, GroupShare, Ordered, Pattern, TlsVersion};
use controller::proxy::memory::{Memory, default_limit};
use controller::proxy::{AccessLog, Engine, ListenerSocket, Stats, bind_listeners, bind_quic};
use controller::snapshot::{
    CertificateSnapshot, DownstreamProtocol, GroupSnapshot, ListenerSnapshot, RuleSnapshot, ServerSnapshot,
    Snapshot, TlsSnapshot, UpstreamProtocol,
};
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
struct Arguments {
    /// The access log.
    #[arg(long)]
    log: PathBuf,
    /// Source of connections to servers.
    #[arg(long, default_value = "127.0.0.1")]
    local: IpAddr,
    /// Speak TLS 1.3 to clients, with this certificate and its key (PEM).
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// The key.
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
    /// Offer HTTP/2 too.
    #[arg(long, requires = "certificate")]
    http2: bool,
    /// Serve HTTP/3 instead, over UDP.
    #[arg(long, requires = "certificate", conflicts_with = "http2")]
    http3: bool,
    /// So many rules, each for a host and a path; the last one takes `http://hN.example/rN/...`, N being the number
    /// less one, and all lead to the same servers.
    #[arg(long, default_value_t = 0)]
    rules: u32,
    /// Where to listen.
    listen: SocketAddr,
    /// Servers; those written `https://ADDRESS` are spoken to by TLS, all of them or none.
    #[arg(required = true)]
    servers: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let arguments = Arguments::parse();
    let snapshot = snapshot(&arguments)?;
    let stats = Arc::new(Stats::default());
    controller::proxy::check(&snapshot)?;
    controller::proxy::raise_limit()?;
    let engine =
        Engine::start(1, &AccessLog::File(arguments.log), &stats, Memory::of_process(default_limit()?))?;
    let sockets: Vec<ListenerSocket> = if arguments.http3 {
        bind_quic(&[arguments.listen], engine.workers())?.into_iter().map(ListenerSocket::Quic).collect()
    } else {
        bind_listeners(&[arguments.listen])?.into_iter().map(ListenerSocket::Tcp).collect()
    };
    let sockets = sockets.into_iter().map(|socket| (1, socket)).collect();
    engine.publish(snapshot.encode(1).into(), sockets).await?;
    println!("serving on {}", arguments.listen);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("{:#?}\n{:#?}", stats.listeners(), stats.servers());
    engine.shutdown(std::time::Duration::from_secs(1));
    Ok(())
}

/// One listener, one group.
fn snapshot(arguments: &Arguments) -> Result<Snapshot, Box<dyn std::error::Error>> {
    let is_https = arguments.servers.iter().any(|server| server.starts_with("https://"));
    let servers = (1..)
        .zip(arguments.servers.iter().map(|server| server.trim_start_matches("https://")))
        .map(|(id, server)| Ok(ServerSnapshot { id, address: server.parse()?, weight: 100, ramp: None }))
        .collect::<Result<_, AddrParseError>>()?;
    let mut group = GroupSnapshot::new("bench", servers);
    if is_https {
        group.protocol = UpstreamProtocol::Https { verification: None };
    }
    let mut listener = ListenerSnapshot::new(1, "bench", vec![arguments.listen], vec![arguments.local]);
    // As nginx and HAProxy are set up beside it.
    listener.idle_timeout_ms = 60_000;
    listener.rules = (0..arguments.rules).map(rule).collect();
    let mut certificates = Vec::new();
    if let (Some(chain), Some(key)) = (&arguments.certificate, &arguments.key) {
        certificates.push(CertificateSnapshot {
            name: "bench".into(),
            chain: std::fs::read_to_string(chain)?,
            key: std::fs::read_to_string(key)?,
        });
        let tls = TlsSnapshot {
            certificates: vec![0],
            versions: vec![TlsVersion::Tls13],
            // The one that nginx and HAProxy are told beside it.
            suites: vec!["TLS13_AES_128_GCM_SHA256".into()],
            client_authorities: None,
            http2: arguments.http2,
        };
        listener.protocol =
            if arguments.http3 { DownstreamProtocol::Quic(tls) } else { DownstreamProtocol::Https(tls) };
    }
    Ok(Snapshot {
        listeners: vec![listener],
        certificates,
        installation: "bench".into(),
        groups: vec![group],
        cookie_keys: vec![],
        cuts: vec![],
    })
}

fn rule(number: u32) -> RuleSnapshot {
    RuleSnapshot {
        id: format!("rule-{number}"),
        conditions: vec![
            Condition::Host(vec![Pattern::glob(format!("h{number}.example"))]),
            Condition::Path(vec![Pattern::glob(format!("/r{number}/*"))]),
        ],
        actions: Actions {
            extensions: vec![],
            last: Some(Ordered {
                order: 1,
                action: Final::Forward(Forward {
                    groups: vec![GroupShare { group: 0, weight: 100 }],
                    sticky_secs: None,
                }),
            }),
        },
    }
}
