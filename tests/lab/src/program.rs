//! Servers that are no web servers: Python programs that come with the lab, run by Debian's interpreter.

use crate::behaviour::replace;
use crate::layout::Layout;
use crate::namespace;
use crate::process::Process;
use crate::server::{START_LIMIT, write};
use anyhow::{Context, Result};
use std::fs;

/// The port on which gRPC servers answer, without TLS.
pub const GRPC_PORT: u16 = 50051;
/// The port on which functions answer.
pub const FUNCTION_PORT: u16 = 9000;
/// Where the trigger URL of every function begins.
pub const FUNCTION_PREFIX: &str = "/2016-08-15/proxy/shop/checkout/";

/// Not whatever `python3` is first in the path: the gRPC package is installed for this one.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// What a gRPC server's `grpc.health.v1.Health/Check` answers. [`GrpcHealth::Serving`] until told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcHealth {
    /// gRPC status 0, and a message that says SERVING.
    Serving,
    /// gRPC status 0, and a message that says NOT_SERVING.
    NotServing,
    /// This gRPC status, from 1 to 16, and no message. 12 is UNIMPLEMENTED, 14 UNAVAILABLE.
    Code(u8),
    /// Nothing, until this changes.
    Hang,
}

impl GrpcHealth {
    /// What `grpc_server.py` reads; numbers of `HealthCheckResponse.ServingStatus`.
    fn words(self) -> String {
        match self {
            GrpcHealth::Serving => "status 1".to_owned(),
            GrpcHealth::NotServing => "status 2".to_owned(),
            GrpcHealth::Code(code) => format!("code {code}"),
            GrpcHealth::Hang => "hang".to_owned(),
        }
    }
}

/// Tells the gRPC server on `host` how it is.
pub(crate) fn set_grpc_health(layout: &Layout, host: &str, health: GrpcHealth) -> Result<()> {
    replace(&layout.behaviour_file(host), &health.words())
}

/// Starts a gRPC server on `host` and waits until it accepts.
pub(crate) fn start_grpc(layout: &Layout, host: &str) -> Result<Process> {
    let behaviour = layout.behaviour_file(host).display().to_string();
    let program = include_str!("../programs/grpc_server.py");
    start(layout, host, "grpc_server.py", program, GRPC_PORT, &behaviour)
}

/// Starts a function on `host` and waits until it accepts.
pub(crate) fn start_function(layout: &Layout, host: &str) -> Result<Process> {
    let program = include_str!("../programs/function_server.py");
    start(layout, host, "function_server.py", program, FUNCTION_PORT, FUNCTION_PREFIX)
}

fn start(layout: &Layout, host: &str, name: &str, text: &str, port: u16, argument: &str) -> Result<Process> {
    let dir = layout.server_dir(host);
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    write(&dir.join(name), text)?;
    let mut command = namespace::command(layout, host, PYTHON)?;
    // -u: what it prints is there when it has failed.
    command.arg("-u").arg(dir.join(name)).args([host, &port.to_string(), argument]);
    let mut server = Process::start(layout, host, command, false)?;
    server.wait_until_listening(&[port], START_LIMIT)?;
    Ok(server)
}
