//! `bench`: measuring against what others do, in pairs taken in turn, because a machine's speed changes under one's
//! hands: a figure alone says nothing, a ratio of neighbours does.

mod health;
mod iperf;
mod l7;
mod ratio;
mod rules;
mod tunnel;

use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Command {
    /// What probing 1,000 servers in 100 groups costs.
    Health(health::Arguments),
    /// What finding the rule of a request costs, with 10 to 10,000 rules.
    Rules(rules::Arguments),
    /// HTTP side by side with nginx and HAProxy.
    L7(l7::Arguments),
    /// One TCP flow through our tunnel against the kernel's vxlan device.
    Tunnel(tunnel::Arguments),
}

/// Runs one of the benches.
pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Health(arguments) => health::run(arguments),
        Command::Rules(arguments) => rules::run(arguments),
        Command::L7(arguments) => l7::run(arguments),
        Command::Tunnel(arguments) => tunnel::run(arguments),
    }
}
