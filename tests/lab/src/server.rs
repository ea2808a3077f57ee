//! The tutorial's web servers: Debian's nginx with generated settings, one per server host (XR-71).

use crate::layout::{ECS01, ECS02, Layout};
use crate::process::Process;
use crate::{namespace, process};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

/// Ports every server answers on, with the same content. HTTP groups use the first, TCP groups the second.
pub const SERVER_PORTS: [u16; 2] = [80, 8080];

/// One line of a server's access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When the answer was finished, ISO 8601.
    pub time: String,
    /// The TCP peer: a balancer's local address or NAT address.
    pub peer: String,
    /// The X-Forwarded-For header, "-" if there was none.
    pub forwarded_for: String,
    /// The request line.
    pub request: String,
    /// Status code of the answer.
    pub status: u16,
}

/// What the server on `host` says at `/`.
pub fn index_page(host: &str) -> String {
    match host {
        ECS01 => "Hello World! This is ECS01 in Chengdu.".to_owned(),
        ECS02 => "Hello World! This is ECS02 in Hangzhou.".to_owned(),
        other => format!("Hello World! This is {} in Chengdu.", other.to_uppercase()),
    }
}

/// Starts nginx on `host` and waits until it accepts.
pub(crate) fn start(layout: &Layout, host: &str) -> Result<Process> {
    let dir = layout.server_dir(host);
    for folder in ["www", "upload", "upload/up", "temp"] {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let write = |name: &str, text: String| {
        let file = dir.join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    };
    write("www/index.html", index_page(host))?;
    write("nginx.conf", settings(&dir, &layout.big_file()))?;
    let mut command = namespace::command(layout, host, "nginx")?;
    command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf")).arg("-e").arg(dir.join("error.log"));
    let mut server = process::Process::start(layout, host, command, false)?;
    server.wait_until_listening(&SERVER_PORTS, Duration::from_secs(5))?;
    Ok(server)
}

/// The access log of the server on `host`, oldest first; empty if it never ran.
pub(crate) fn log(layout: &Layout, host: &str) -> Result<Vec<LogLine>> {
    let file = layout.server_dir(host).join("access.log");
    if !file.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    Ok(text.lines().filter_map(parse_log_line).collect())
}

fn parse_log_line(line: &str) -> Option<LogLine> {
    let mut fields = line.split('\t').map(str::to_owned);
    Some(LogLine {
        time: fields.next()?,
        peer: fields.next()?,
        forwarded_for: fields.next()?,
        request: fields.next()?,
        status: fields.next()?.parse().ok()?,
    })
}

fn settings(dir: &Path, big_file: &Path) -> String {
    let dir = dir.display();
    let listens: String =
        SERVER_PORTS.iter().map(|port| format!("    listen {port} backlog=4096;\n")).collect();
    format!(
        "user root root;
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 8192; }}
http {{
  log_format lab '$time_iso8601\\t$remote_addr\\t$http_x_forwarded_for\\t$request\\t$status';
  access_log {dir}/access.log lab;
  client_body_temp_path {dir}/temp/body;
  proxy_temp_path {dir}/temp/proxy;
  fastcgi_temp_path {dir}/temp/fastcgi;
  uwsgi_temp_path {dir}/temp/uwsgi;
  scgi_temp_path {dir}/temp/scgi;
  default_type text/plain;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  server {{
{listens}    root {dir}/www;
    location = /big {{ default_type application/octet-stream; alias {big_file}; }}
    location /up/ {{
      root {dir}/upload;
      client_max_body_size 0;
      dav_methods PUT;
      create_full_put_path on;
    }}
  }}
}}
",
        big_file = big_file.display()
    )
}

/// Fills `file` with `bytes` bytes that look random and are the same in every run.
pub(crate) fn write_big_file(file: &Path, bytes: u64) -> Result<()> {
    let place = || format!("write {}", file.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file).with_context(place)?);
    let mut state = 0x6361_7573_6577_6179_u64;
    let mut left = bytes;
    while left > 0 {
        // SplitMix64 (Steele, Lea, Flood 2014): one state word, passes the usual tests, incompressible.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let take = left.min(8);
        out.write_all(&word.to_le_bytes()[..take as usize]).with_context(place)?;
        left -= take;
    }
    out.flush().with_context(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Holds XR-71
    #[test]
    fn pages_are_the_tutorials_word_for_word() {
        assert_eq!(index_page(ECS01), "Hello World! This is ECS01 in Chengdu.");
        assert_eq!(index_page(ECS02), "Hello World! This is ECS02 in Hangzhou.");
    }

    #[test]
    fn reads_peer_and_client_from_a_log_line() {
        let line = "2025-01-02T03:04:05+00:00\t172.16.1.11\t203.0.113.50\tGET / HTTP/1.1\t200";
        let parsed = parse_log_line(line).expect("a whole line");
        assert_eq!((parsed.peer.as_str(), parsed.forwarded_for.as_str()), ("172.16.1.11", "203.0.113.50"));
        assert_eq!((parsed.request.as_str(), parsed.status), ("GET / HTTP/1.1", 200));
        assert_eq!(parse_log_line("cut off\t172."), None);
    }
}
