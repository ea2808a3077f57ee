//! `causeway server-group`: changes of whole groups.

use super::edit::carry_out;
use super::{CliError, Connection};
use crate::config::edit::Operation;
use clap::{Args, Subcommand};

/// Delete a server group
#[derive(Debug, Args)]
#[command(
    after_help = "Groups are made and their settings changed by `causeway apply`; the change made here is kept as a new \
                  revision.\n\n\
                  Example:\n  causeway server-group delete old-web"
)]
pub(super) struct ServerGroupArgs {
    #[command(subcommand)]
    command: ServerGroupCommand,
}

#[derive(Debug, Subcommand)]
enum ServerGroupCommand {
    Delete(DeleteArgs),
}

/// Delete a server group that no listener uses; its servers are not touched
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  causeway server-group delete old-web")]
struct DeleteArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    name: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn server_group(arguments: &ServerGroupArgs) -> Result<(), CliError> {
    match &arguments.command {
        ServerGroupCommand::Delete(DeleteArgs { name, connection }) => {
            carry_out(connection, Operation::DeleteServerGroup { name: name.clone() })
        }
    }
}
