//! The proxies side by side, set up alike: one worker, X-Forwarded-For appended, an access log line per request, kept
//! connections to two servers in turn, TLS 1.3 with the same certificate and suite and default session tickets. Where a
//! choice was left, it is the one that is faster for nginx and HAProxy: nginx gathers its log lines and has buffers for
//! the large response (with its defaults it writes some of it to temporary files); HAProxy writes log lines to a file
//! rather than to a syslog socket and may use a kept connection also for a client's first request.

use super::machine::{Cores, Running, free_ports, pinned, pinned_path};
use crate::command::{self, target};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Ours, with so many rules.
    Causeway { rules: u32 },
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
}

impl Proxy {
    /// The three that are compared.
    pub const COMPARED: [Proxy; 3] = [Proxy::Causeway { rules: 0 }, Proxy::Nginx, Proxy::Haproxy];

    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Proxy::Causeway { rules: 0 } => "Causeway".to_owned(),
            Proxy::Causeway { rules } => format!("{rules} rules"),
            Proxy::Nginx => "nginx".to_owned(),
            Proxy::Haproxy => "HAProxy".to_owned(),
        }
    }
}

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// HTTP/1.1.
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    Http2,
}

/// A folder in memory for configurations, certificates and logs, gone when dropped; and the two servers.
pub struct Stage {
    folder: PathBuf,
    cores: Cores,
    engine: PathBuf,
    servers: [SocketAddr; 2],
    _servers: Running,
}

/// Bytes of the small and the large response.
pub const SMALL: usize = 1024;
pub const LARGE: usize = 100 * 1024;

/// Connections that each program can hold, with as many to servers.
const CONNECTIONS: u32 = 9000;

impl Stage {
    /// Makes a certificate and starts the servers.
    pub fn set(cores: Cores) -> Result<Stage> {
        let engine = target().join("release/examples/l7_engine");
        // On tmpfs: what the disk does is not what is measured.
        let folder = PathBuf::from(format!("/dev/shm/causeway-bench-{}", std::process::id()));
        let folder = Folder::make(folder)?;
        certificate(&folder.0)?;
        fs::write(folder.0.join("large"), vec![b'x'; LARGE])?;
        let servers = free_ports::<2>()?;
        let config = folder.0.join("servers.conf");
        fs::write(&config, servers_conf(&folder.0, servers))?;
        let running = nginx(&folder.0, &config, cores.other, servers[1])?;
        Ok(Stage { folder: folder.keep(), cores, engine, servers, _servers: running })
    }

    /// Where files may be put.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Which cores are whose.
    pub fn cores(&self) -> Cores {
        self.cores
    }

    /// Starts `proxy`.
    pub fn start(&self, proxy: Proxy, client: Client) -> Result<Listening> {
        let [address] = free_ports::<1>()?;
        let log = self.folder.join(format!("{}.log", proxy.name()));
        let errors = self.folder.join(format!("{}.errors", proxy.name()));
        File::create(&errors)?;
        let config = self.folder.join(format!("{}.conf", proxy.name()));
        let running = match proxy {
            Proxy::Causeway { rules } => {
                let mut command = pinned_path(&self.engine, self.cores.proxy);
                command.arg("--log").arg(&log).arg("--rules").arg(rules.to_string());
                if client != Client::Plain {
                    let file = |name| self.folder.join(name);
                    command.arg("--certificate").arg(file("cert.pem")).arg("--key").arg(file("key.pem"));
                }
                if client == Client::Http2 {
                    command.arg("--http2");
                }
                command.arg(address.to_string()).args(self.servers.map(|server| server.to_string()));
                Running::start(command, &self.folder.join("said"), &errors, address)
            }
            Proxy::Nginx => {
                fs::write(&config, nginx_conf(&self.folder, &log, address, client, self.servers))?;
                nginx(&self.folder, &config, self.cores.proxy, address)
            }
            Proxy::Haproxy => {
                fs::write(&config, haproxy_conf(&self.folder, address, client, self.servers))?;
                let mut command = pinned("haproxy", self.cores.proxy)?;
                command.args(["-db", "-f"]).arg(&config);
                Running::start(command, &log, &errors, address)
            }
        };
        let running = running.with_context(|| format!("start {}", proxy.name()))?;
        Ok(Listening { proxy, address, log, running })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes the folder unless it is kept.
struct Folder(PathBuf);

impl Folder {
    fn make(path: PathBuf) -> Result<Folder> {
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Folder(path))
    }

    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A proxy that serves.
pub struct Listening {
    pub proxy: Proxy,
    pub address: SocketAddr,
    log: PathBuf,
    pub running: Running,
}

impl Listening {
    /// Empties the access log, which grows by some MB a second; all programs append. Says whether there was anything.
    pub fn empty_log(&self) -> Result<bool> {
        let file = File::options().write(true).open(&self.log);
        let file = file.with_context(|| format!("{}: no access log", self.log.display()))?;
        let had = file.metadata()?.len() > 0;
        file.set_len(0)?;
        Ok(had)
    }
}

/// Names and versions of what is measured, and of what measures.
pub fn versions() -> Result<String> {
    let first = |command: &mut Command| -> Result<String> {
        let output = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
    };
    let program =
        |name: &str| command::find(name).with_context(|| format!("{name} is missing; `cargo xtask setup`"));
    let nginx = first(Command::new(program("nginx")?).arg("-v"))?;
    let haproxy = first(Command::new(program("haproxy")?).arg("-v"))?;
    let wrk = first(Command::new(program("wrk")?).arg("-v"))?;
    let h2load = first(Command::new(program("h2load")?).arg("--version"))?;
    let openssl = first(Command::new(program("openssl")?).arg("version"))?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let words = |text: &str, count| text.split_whitespace().take(count).collect::<Vec<_>>().join(" ");
    Ok(format!(
        "{}, {}, {}; {}, {}\nload by {} and {}; two nginx servers; Linux {}",
        format_args!("Causeway {}", env!("CARGO_PKG_VERSION")),
        nginx.trim_start_matches("nginx version: ").replace('/', " "),
        words(&haproxy, 3).replace("version ", ""),
        words(&openssl, 2),
        cpu.trim_start_matches([' ', '\t', ':']),
        words(&wrk, 2),
        h2load.replace('/', " "),
        kernel.trim(),
    ))
}

fn certificate(folder: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.args(["-subj", "/CN=bench.example", "-addext", "subjectAltName=DNS:bench.example", "-keyout"]);
    command::output(openssl.arg(folder.join("key.pem")).arg("-out").arg(folder.join("cert.pem")))?;
    let read = |name| fs::read(folder.join(name));
    fs::write(folder.join("both.pem"), [read("cert.pem")?, read("key.pem")?].concat())?;
    Ok(())
}

fn nginx(folder: &Path, config: &Path, core: usize, address: SocketAddr) -> Result<Running> {
    let mut command = pinned("nginx", core)?;
    let errors = config.with_extension("errors");
    command.arg("-p").arg(folder).arg("-e").arg(&errors).arg("-c").arg(config);
    Running::start(command, &config.with_extension("said"), &errors, address)
}

/// What both uses of nginx have in common; the caller closes the brace of `http`.
fn nginx_head(folder: &Path, name: &str) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("  {what}_temp_path {folder}/{name}-{what};\n"))
        .concat();
    format!(
        "daemon off; user root; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.errors;\n\
         events {{ worker_connections {}; }}\nhttp {{\n{temporary}  keepalive_requests 1000000000;\n",
        2 * CONNECTIONS
    )
}

fn servers_conf(folder: &Path, [one, other]: [SocketAddr; 2]) -> String {
    format!(
        "{}  keepalive_timeout 600;\n  access_log off; sendfile on; tcp_nopush on; open_file_cache max=10;\n  server {{\n    listen {one} backlog=4096; \
         listen {other} backlog=4096;\n    location / {{ return 200 \"{}\"; }}\n    location = /large {{ root {}; }}\n  }}\n}}\n",
        nginx_head(folder, "servers"),
        "x".repeat(SMALL),
        folder.display(),
    )
}

fn nginx_conf(
    folder: &Path,
    log: &Path,
    address: SocketAddr,
    client: Client,
    [one, other]: [SocketAddr; 2],
) -> String {
    let listen = match client {
        Client::Plain => "",
        Client::Tls => " ssl",
        Client::Http2 => " ssl http2",
    };
    let tls = match client {
        Client::Plain => "",
        Client::Tls | Client::Http2 => {
            "    ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.3;\n    \
             ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;\n"
        }
    };
    format!(
        "{}  keepalive_timeout 60;\n  access_log '{}' combined buffer=32k flush=1s;\n  upstream servers {{\n    server {one}; server {other}; \
         keepalive 256; keepalive_requests 1000000000;\n  }}\n  \
         proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k;\n  server {{\n    listen {address}{listen} backlog=4096;\n{tls}    \
         location / {{\n      proxy_pass http://servers; proxy_http_version 1.1;\n      proxy_set_header Connection \"\"; \
         proxy_set_header Host $host;\n      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    }}\n  }}\n}}\n",
        nginx_head(folder, "nginx"),
        log.display(),
    )
}

fn haproxy_conf(folder: &Path, address: SocketAddr, client: Client, [one, other]: [SocketAddr; 2]) -> String {
    let certificate = folder.join("both.pem");
    let certificate = certificate.display();
    let bind = match client {
        Client::Plain => String::new(),
        Client::Tls => format!(
            " ssl crt {certificate} ssl-min-ver TLSv1.3 ciphersuites TLS_AES_128_GCM_SHA256 alpn http/1.1"
        ),
        Client::Http2 => format!(
            " ssl crt {certificate} ssl-min-ver TLSv1.3 ciphersuites TLS_AES_128_GCM_SHA256 alpn h2,http/1.1"
        ),
    };
    format!(
        "global\n  nbthread 1\n  maxconn {CONNECTIONS}\n  log stdout format raw local0 info\n\
         defaults\n  mode http\n  log global\n  option httplog\n  option forwardfor\n  http-reuse always\n  \
         timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout http-keep-alive 60s\n\
         frontend clients\n  bind {address}{bind} backlog 4096\n  default_backend servers\n\
         backend servers\n  balance roundrobin\n  server one {one}\n  server other {other}\n"
    )
}
