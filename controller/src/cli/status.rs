//! `causeway status`: how the running controller stands.

use super::{CliError, Connection, print, to_json};
use crate::api::{Request, Response};
use crate::cli::get::duration;
use clap::{Args, ValueEnum};

/// Show release, revision in force and uptime of the running causeway
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  causeway status -o json")]
pub(super) struct StatusArgs {
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = StatusOutput::Text)]
    output: StatusOutput,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StatusOutput {
    /// For people
    Text,
    /// For programs
    Json,
}

pub(super) fn status(arguments: &StatusArgs) -> Result<(), CliError> {
    let Response::Status { status } = arguments.connection.ask(&Request::Status)? else {
        return Err(CliError::UnexpectedAnswer);
    };
    if arguments.output == StatusOutput::Json {
        return print(&to_json(&status));
    }
    let revision = status.revision.map_or("none applied yet".to_owned(), |revision| revision.to_string());
    print(&format!(
        "causeway {} on node {}, pid {}, up {}\nrevision {revision}, snapshot {}, workers {}\n",
        status.version,
        status.node,
        status.pid,
        duration(status.uptime_secs),
        status.snapshot_sequence,
        status.workers,
    ))
}
