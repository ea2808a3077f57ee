//! The L7 engine alone, one worker, for measuring: `l7_engine LISTEN LOG LOCAL SERVER...`, e.g.
//! `taskset -c 0 target/release/examples/l7_engine 127.0.0.1:8090 /tmp/access.log 127.0.0.1 127.0.0.1:8081 127.0.0.1:8082`.
//! Servers written as `https://ADDRESS` are spoken to by TLS.

use controller::proxy::{AccessLog, Engine, Stats, bind_listeners};
use controller::snapshot::{GroupSnapshot, ListenerSnapshot, ServerSnapshot, Snapshot, UpstreamProtocol};
use std::net::SocketAddr;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, log, local, servers @ ..] = &arguments[..] else {
        return Err("usage: l7_engine LISTEN LOG LOCAL SERVER...".into());
    };
    let address: SocketAddr = listen.parse()?;
    let is_https = servers.iter().any(|server| server.starts_with("https://"));
    let servers = (1..)
        .zip(servers.iter().map(|server| server.trim_start_matches("https://")))
        .map(|(id, server)| Ok(ServerSnapshot { id, address: server.parse()?, weight: 100, ramp: None }))
        .collect::<Result<_, std::net::AddrParseError>>()?;
    let mut group = GroupSnapshot::new("bench", servers);
    if is_https {
        group.protocol = UpstreamProtocol::Https { verification: None };
    }
    let snapshot = Snapshot {
        listeners: vec![ListenerSnapshot::new(1, "bench", vec![address], vec![local.parse()?])],
        certificates: vec![],
        installation: "bench".into(),
        groups: vec![group],
        cookie_keys: vec![],
        cuts: vec![],
    };
    let stats = Arc::new(Stats::default());
    let engine = Engine::start(1, &AccessLog::File(log.into()), &stats)?;
    let sockets = bind_listeners(&[address])?.into_iter().map(|socket| (1, socket)).collect();
    engine.publish(snapshot.encode(1).into(), sockets).await?;
    println!("serving on {address}");
    tokio::signal::ctrl_c().await?;
    println!("{:#?}\n{:#?}", stats.listeners(), stats.servers());
    engine.shutdown(std::time::Duration::from_secs(1));
    Ok(())
}
