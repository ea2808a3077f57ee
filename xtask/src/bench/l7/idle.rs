//! Connections that made one request and then wait: what one costs the proxy.

use super::machine::{Cores, pinned};
use super::proxies::{Client, Listening};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// How many.
pub const CONNECTIONS: u32 = 2000;

/// Opens connections, one after the other, asks once on each, says so, and holds them until its input ends. Python
/// because TLS clients come with it.
const HOLDER: &str = r#"
import socket, ssl, sys
port, count, secure = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "tls"
context = ssl._create_unverified_context()
context.minimum_version = ssl.TLSVersion.TLSv1_3
held = []
for _ in range(count):
    held.append(socket.create_connection(("127.0.0.1", port)))
    if secure:
        held[-1] = context.wrap_socket(held[-1], server_hostname="bench.example")
    held[-1].sendall(b"GET /small HTTP/1.1\r\nHost: bench.example\r\n\r\n")
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < 1024:
        part = held[-1].recv(65536)
        assert part, received
        received += part
    assert received.startswith(b"HTTP/1.1 200"), received
print("held", flush=True)
sys.stdin.read()
"#;

/// Bytes of resident memory per idle connection: what the proxy has with them more than it had before, after it has
/// served some.
pub fn measure(proxy: &Listening, client: Client, cores: Cores) -> Result<f64> {
    let secure = if client == Client::Plain { "plain" } else { "tls" };
    let hold = |count: u32| -> Result<(std::process::Child, u64)> {
        let mut python = pinned("python3", cores.other)?;
        python.args(["-c", HOLDER, &proxy.address.port().to_string(), &count.to_string(), secure]);
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().context("its output is piped")?).read_line(&mut line)?;
        if line.trim() != "held" {
            let output = child.wait_with_output()?;
            anyhow::bail!("connections are not held: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok((child, proxy.running.usage()?.resident_bytes))
    };
    let end = |mut child: std::process::Child| -> Result<()> {
        drop(child.stdin.take());
        ensure!(child.wait()?.success(), "the holder of connections failed");
        Ok(())
    };
    // What the first requests need is not the connections'.
    let (child, before) = hold(20)?;
    let (more, with) = hold(CONNECTIONS)?;
    end(child)?;
    end(more)?;
    Ok(with.saturating_sub(before) as f64 / f64::from(CONNECTIONS))
}
