//! `causeway unload`: its arguments.

use super::{CliError, print};
use clap::Args;
use std::path::PathBuf;

/// Take everything of ours out of the kernel: programs, maps, rules and routes, and nothing else
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    after_help = "Stop `causeway run` first. Open L4 flows end; applied resources and keys stay on disk.\n\n\
                        Example:\n  causeway unload --node /etc/causeway/node.yaml"
)]
pub(super) struct UnloadArgs {
    /// Settings of this host
    #[arg(long, value_name = "FILE", default_value = "/etc/causeway/node.yaml")]
    pub node: PathBuf,
}

pub(super) fn unload(arguments: &UnloadArgs) -> Result<(), CliError> {
    let removed = crate::run::unload(&arguments.node)?;
    print(&format!(
        "removed {} attachments, {} maps, and {} addresses, rules and routes\n",
        removed.datapath.links, removed.datapath.maps, removed.host
    ))
}
