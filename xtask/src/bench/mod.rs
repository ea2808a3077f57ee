//! `bench`: measuring against what others do, in pairs taken in turn, because a machine's speed changes under one's
//! hands: a figure alone says nothing, a ratio of neighbours does.

mod iperf;
mod ratio;
mod tunnel;

use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Command {
    /// One TCP flow through our tunnel against the kernel's vxlan device.
    Tunnel(tunnel::Arguments),
}

/// Runs one of the benches.
pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Tunnel(arguments) => tunnel::run(arguments),
    }
}
