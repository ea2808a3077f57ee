//! What probing costs: CPU per probe and memory, for many servers on loopback that another process plays.
//!
//! ```text
//! cargo run --release -p controller --example probes -- [http|https|tcp] [SERVERS] [SECONDS]
//! ```
//!
//! Probes run at the default interval, and their results go through the health of groups of ten, as in the control
//! loop. On loopback the kernel does the servers' part of each packet on the sender's account, so a network costs less.

use controller::health::{GroupHealth, Outcome};
use controller::model::{
    HealthCheck, HealthCheckMethod, HealthCheckProtocol, HttpVersion, Server, ServerAddress, ServerGroup,
    StatusClass, VpcName, Weight,
};
use controller::probe::schedule::Prober;
use controller::probe::{Target, TargetId, clock};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use rustls::ServerConfig;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

const GROUP: usize = 10;
const INTERVAL: Duration = Duration::from_secs(2);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: usize| {
        arguments.get(place).map_or(default, |text| text.parse().expect("a number"))
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    match arguments.first().map(String::as_str) {
        Some("serve") => runtime.block_on(serve(&arguments[1], number(2, 0))),
        protocol => {
            runtime.block_on(measure(protocol.unwrap_or("http"), number(1, 1000), number(2, 20)));
        }
    }
}

/// Listens on as many ports, prints them, and answers every request.
async fn serve(protocol: &str, servers: usize) {
    let tls = (protocol == "https").then(acceptor);
    let mut ports = Vec::new();
    for _ in 0..servers {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port of loopback");
        ports.push(listener.local_addr().expect("it is bound").port().to_string());
        let tls = tls.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => answer(stream).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream).await;
                        }
                    }
                }
            }
        });
    }
    println!("{}", ports.join(" "));
    std::future::pending().await
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = [0; 1024];
    // A TCP probe sends nothing.
    if matches!(stream.read(&mut request).await, Ok(length) if length > 0) {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await;
        let _ = stream.shutdown().await;
    }
}

fn acceptor() -> TlsAcceptor {
    let certificate = rcgen::generate_simple_self_signed(vec!["example.com".into()]).expect("a key");
    let key = certificate.signing_key.serialize_der().try_into().expect("a PKCS #8 key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .expect("the key is that of the certificate");
    TlsAcceptor::from(Arc::new(config))
}

async fn measure(protocol: &str, servers: usize, seconds: usize) {
    let own = std::env::current_exe().expect("this program's own path");
    let mut child = Command::new(own)
        .args(["serve", protocol, &servers.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the servers' process starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("ports");
    let servers: Vec<ServerAddress> = line
        .split_whitespace()
        .map(|port| format!("127.0.0.1:{port}").parse().expect("an address"))
        .collect();
    let mut groups: Vec<GroupHealth> = servers
        .chunks(GROUP)
        .map(|servers| {
            let group = ServerGroup {
                health_check: Some(check(protocol)),
                servers: servers.iter().map(|address| Server::new(*address, Weight::MAX)).collect(),
                ..ServerGroup::new("group", &VpcName::new("vpc"))
            };
            GroupHealth::new(&group, &BTreeSet::new(), clock::now()).0
        })
        .collect();
    let (results, mut received) = mpsc::channel(1024);
    let prober = Prober::start(results, clock::now, 1);
    let target = |(number, server): (usize, &ServerAddress)| Target {
        id: TargetId(number as u64),
        server: *server,
        source: "127.0.0.1".parse().expect("an address"),
        check: check(protocol),
    };
    prober.set_targets(servers.iter().enumerate().map(target).collect());

    // The first interval is not counted.
    let begin = Instant::now() + INTERVAL;
    let end = begin + Duration::from_secs(seconds as u64);
    let mut before = None;
    let (mut count, mut failures) = (0u32, 0u32);
    while let Ok(Some(result)) = tokio::time::timeout_at(end, received.recv()).await {
        if Instant::now() >= begin {
            before.get_or_insert_with(usage);
            count += 1;
        }
        let number = result.id.0 as usize;
        failures += u32::from(result.outcome != Outcome::Passed);
        groups[number / GROUP].probed(servers[number], result.outcome, result.at);
    }
    let (before, after) = (before.expect("a probe ended"), usage());
    let per_probe = |index: usize| (after[index] - before[index]).as_secs_f64() * 1e6 / f64::from(count);
    let (user, system) = (per_probe(0), per_probe(1));
    let per_second = f64::from(count) / seconds as f64;
    println!(
        "{protocol}: {count} probes, {failures} failed; {per_second:.0} a second; {user:.1} + {system:.1} = {:.1} µs of \
         CPU each, {:.2} % of a core; resident {}",
        user + system,
        (user + system) * per_second / 1e4,
        resident(),
    );
    std::io::stdout().flush().expect("standard output");
    child.kill().expect("the servers' process can be ended");
    child.wait().expect("the servers' process ends");
}

fn check(protocol: &str) -> HealthCheck {
    let protocol = match protocol {
        "tcp" => HealthCheckProtocol::Tcp,
        "http" | "https" => HealthCheckProtocol::Http {
            tls: protocol == "https",
            method: HealthCheckMethod::Head,
            path: "/".into(),
            host: None,
            version: HttpVersion::Http11,
            codes: vec![StatusClass(2)],
        },
        other => panic!("{other:?} is none of http, https and tcp"),
    };
    HealthCheck {
        protocol,
        connect_port: None,
        interval: INTERVAL,
        timeout: Duration::from_secs(5),
        healthy_threshold: 3,
        unhealthy_threshold: 3,
    }
}

/// User and system time of this process.
fn usage() -> [Duration; 2] {
    let usage: Usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process has usage");
    [usage.user_time(), usage.system_time()]
        .map(|time| Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64))
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has memory");
    line["VmRSS:".len()..].trim().into()
}
