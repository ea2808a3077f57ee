//! `causeway run`: its arguments.

use super::CliError;
use crate::run::RunOptions;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Balance traffic on this host, in the foreground, until stopped
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(after_help = "Needs root, or CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_NET_BIND_SERVICE.\n\
                        What was applied last is in force again after a restart; --resources is for the first start.\n\n\
                        Example:\n  causeway run --node /etc/causeway/node.yaml")]
pub(super) struct RunArgs {
    /// Settings of this host
    #[arg(long, value_name = "FILE", default_value = "/etc/causeway/node.yaml")]
    pub node: PathBuf,
    /// Resources to apply at start; without it, those applied last
    #[arg(long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// What the BPF programs report of rare events
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = BpfLogLevel::Off)]
    pub bpf_log: BpfLogLevel,
}

/// What the BPF programs report; at `Off` the loaded programs hold no logging code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum BpfLogLevel {
    /// Nothing, and no logging code is loaded
    Off,
    /// What should never happen
    Error,
    /// Dropped packets of tunnels, such as spoofed ones
    Warn,
    /// New flows and their servers
    Info,
}

impl BpfLogLevel {
    /// As the programs count them.
    fn number(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Error => 1,
            Self::Warn => 2,
            Self::Info => 3,
        }
    }
}

/// Runs until stopped. What is logged goes to standard error; `RUST_LOG` chooses the level, `info` by default.
pub(super) fn run(arguments: &RunArgs) -> Result<(), CliError> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    crate::run::run(&RunOptions {
        node: arguments.node.clone(),
        resources: arguments.resources.clone(),
        bpf_log: arguments.bpf_log.number(),
    })?;
    Ok(())
}
