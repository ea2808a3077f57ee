//! `bench`: measuring against what others do, in pairs.

use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Command {
    /// One TCP flow.
    Tunnel,
}

/// Runs one of the benches.
pub fn run(_command: &Command) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
