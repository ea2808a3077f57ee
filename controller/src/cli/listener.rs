//! `causeway listener`: listeners that are started and stopped.

use super::edit::carry_out;
use super::{CliError, Connection};
use crate::config::edit::Operation;
use clap::{Args, Subcommand};

/// Start and stop listeners
#[derive(Debug, Args)]
#[command(
    after_help = "Listeners are made and their settings changed by `causeway apply`; the change made here is kept as a \
                  new revision.\n\n\
                  Example:\n  causeway listener stop http"
)]
pub(super) struct ListenerArgs {
    #[command(subcommand)]
    command: ListenerCommand,
}

#[derive(Debug, Subcommand)]
enum ListenerCommand {
    /// Let a listener accept connections again
    #[command(after_help = "Example:\n  causeway listener start http")]
    Start(NameArgs),
    /// Let a listener accept nothing; it keeps its settings, and the other listeners are not touched
    #[command(after_help = "Example:\n  causeway listener stop http")]
    Stop(NameArgs),
}

/// Which one.
#[derive(Debug, Args)]
struct NameArgs {
    /// The listener
    #[arg(value_name = "LISTENER")]
    name: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn listener(arguments: &ListenerArgs) -> Result<(), CliError> {
    let (NameArgs { name, connection }, enabled) = match &arguments.command {
        ListenerCommand::Start(arguments) => (arguments, true),
        ListenerCommand::Stop(arguments) => (arguments, false),
    };
    carry_out(connection, Operation::EnableListener { name: name.clone(), enabled })
}
