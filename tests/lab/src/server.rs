//! Web servers: Debian's nginx with generated settings, one per server host. The tutorial's (XR-71) are plain; see
//! [`crate::web`] for what the others can do.

use crate::layout::{ECS01, ECS02, Layout};
use crate::namespace;
use crate::process::Process;
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

/// How long a server may take to start.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(10);

/// Starts the tutorial's nginx on `host` and waits until it accepts.
pub(crate) fn start(layout: &Layout, host: &str, ipv6: bool) -> Result<Process> {
    let dir = layout.server_dir(host);
    let site = format!("{}{}", listens(&SERVER_PORTS, "", ipv6), locations(&dir, &layout.big_file()));
    prepare(&dir, host)?;
    start_nginx(layout, host, &settings(&dir, "", "", &site), &SERVER_PORTS)
}

/// Starts the nginx of the crowd and waits until it accepts.
pub(crate) fn start_crowd(layout: &Layout, host: &str) -> Result<Process> {
    let dir = layout.server_dir(host);
    let site = format!(
        "{}    access_log off;
    add_header X-Server $server_addr always;
    location / {{ return 200 \"Hello World! This is $server_addr in Chengdu.\"; }}
",
        listens(&SERVER_PORTS, "", false)
    );
    prepare(&dir, host)?;
    start_nginx(layout, host, &settings(&dir, "", "", &site), &SERVER_PORTS)
}

/// Makes the folders that nginx needs, and its page.
pub(crate) fn prepare(dir: &Path, host: &str) -> Result<()> {
    for folder in ["www", "upload", "upload/up", "temp"] {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    }
    write(&dir.join("www/index.html"), &index_page(host))
}

/// Starts nginx on `host` with `settings` and waits until it accepts on `ports`.
pub(crate) fn start_nginx(layout: &Layout, host: &str, settings: &str, ports: &[u16]) -> Result<Process> {
    let dir = layout.server_dir(host);
    write(&dir.join("nginx.conf"), settings)?;
    let mut command = namespace::command(layout, host, "nginx")?;
    command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf")).arg("-e").arg(dir.join("error.log"));
    let mut server = Process::start(layout, host, command, false)?;
    server.wait_until_listening(ports, START_LIMIT)?;
    Ok(server)
}

pub(crate) fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
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

/// nginx's `listen` lines for `ports`, each with `option`.
pub(crate) fn listens(ports: &[u16], option: &str, ipv6: bool) -> String {
    let line = |port: &u16| {
        let v4 = format!("    listen {port} {option} backlog=4096;\n");
        if ipv6 { format!("{v4}    listen [::]:{port} {option} backlog=4096;\n") } else { v4 }
    };
    ports.iter().map(line).collect()
}

/// What every server offers: its page, `/big`, and `PUT` below `/up/`.
pub(crate) fn locations(dir: &Path, big_file: &Path) -> String {
    let (dir, big_file) = (dir.display(), big_file.display());
    format!(
        "    root {dir}/www;
    location = /big {{ default_type application/octet-stream; alias {big_file}; }}
    location /up/ {{
      root {dir}/upload;
      client_max_body_size 0;
      dav_methods PUT;
      create_full_put_path on;
    }}
"
    )
}

/// nginx's settings with one site: `modules` go to the top, `http` and `site` into the blocks of those names.
pub(crate) fn settings(dir: &Path, modules: &str, http: &str, site: &str) -> String {
    let dir = dir.display();
    format!(
        "{modules}user root root;
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
{http}  server {{
{site}  }}
}}
"
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
