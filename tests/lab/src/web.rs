//! Web servers that can be made to misbehave: nginx with its Lua module, which asks a file before every answer.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the page, as the tutorial's servers |
//! | `/health` | `ok` |
//! | `/slow?s=10` | the page, after ten seconds |
//! | `/login` | the page, with cookies `APPSESSION` (of this server, a new value each time) and `theme` |
//! | `/echo`, and below it | what arrived, as JSON: see `echo.lua` |
//! | `/big`, `PUT /up/NAME` | as the tutorial's servers |
//!
//! Every answer says in `X-Server` which host it is from.

use crate::layout::Layout;
use crate::process::Process;
use crate::server::{self, SERVER_PORTS, listens, locations, settings, write};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// The port on which web servers speak TLS.
pub const TLS_PORT: u16 = 443;

/// Where Debian puts nginx's modules; the paths that nginx itself knows are relative to its folder of the day.
const MODULES: &str = "load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
";

const PROGRAMS: [(&str, &str); 2] = [
    ("behaviour.lua", include_str!("../programs/behaviour.lua")),
    ("echo.lua", include_str!("../programs/echo.lua")),
];

/// Starts nginx on `host` and waits until it accepts.
pub(crate) fn start(layout: &Layout, host: &str, ipv6: bool) -> Result<Process> {
    let dir = layout.server_dir(host);
    server::prepare(&dir, host)?;
    write(&dir.join("www/health"), "ok\n")?;
    for (name, text) in PROGRAMS {
        write(&dir.join(name), text)?;
    }
    make_certificate(layout)?;
    let settings = settings(&dir, MODULES, HTTP, &site(layout, host, ipv6));
    let ports: Vec<u16> = SERVER_PORTS.into_iter().chain([TLS_PORT]).collect();
    server::start_nginx(layout, host, &settings, &ports)
}

const HTTP: &str = "  lua_package_path '/usr/share/lua/5.1/?.lua;;';
  lua_shared_dict flap 1m;
  lua_shared_dict sessions 1m;
";

fn site(layout: &Layout, host: &str, ipv6: bool) -> String {
    let dir = layout.server_dir(host);
    let [certificate, key] = layout.certificate();
    format!(
        "{plain}{tls}    ssl_certificate {certificate};
    ssl_certificate_key {key};
    set $server_label {host};
    set $behaviour_file {behaviour};
    add_header X-Server {host} always;
    lua_check_client_abort on;
    access_by_lua_file {dir}/behaviour.lua;
{locations}    location = /slow {{
      rewrite_by_lua_block {{ ngx.sleep(tonumber(ngx.var.arg_s) or 1) }}
      try_files /index.html =404;
    }}
    location = /login {{
      header_filter_by_lua_block {{
        local session = ngx.var.server_label .. '-' .. ngx.shared.sessions:incr('next', 1, 0)
        ngx.header['Set-Cookie'] = {{ 'APPSESSION=' .. session .. '; Path=/; HttpOnly', 'theme=dark; Path=/' }}
      }}
      try_files /index.html =404;
    }}
    location /echo {{
      client_max_body_size 0;
      content_by_lua_file {dir}/echo.lua;
    }}
",
        plain = listens(&SERVER_PORTS, "", ipv6),
        tls = listens(&[TLS_PORT], "ssl", ipv6),
        locations = locations(&dir, &layout.big_file()),
        behaviour = layout.behaviour_file(host).display(),
        certificate = certificate.display(),
        key = key.display(),
        dir = dir.display(),
    )
}

/// Makes the lab's self-signed certificate, unless it is there.
fn make_certificate(layout: &Layout) -> Result<()> {
    let [certificate, key] = layout.certificate();
    if certificate.exists() {
        return Ok(());
    }
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    command.args(["-days", "2", "-subj", "/CN=lab", "-addext", "subjectAltName=DNS:www.example.test"]);
    // A server's and no authority's, which who verifies would not take from a server.
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let output = command.output().context("run `openssl`; is it installed? (`cargo xtask setup`)")?;
    if !output.status.success() {
        bail!("`openssl req` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
