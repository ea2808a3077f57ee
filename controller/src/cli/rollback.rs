//! `causeway rollback`: an earlier revision into force again.

use super::apply::{Applied, print_applied};
use super::{CliError, Connection, get};
use crate::api::{Kind, Request, View};
use clap::Args;

/// Take an earlier revision into force again, as a new one
#[derive(Debug, Args)]
#[command(
    after_help = "`causeway history` shows which there are. What is in force now stays in the history.\n\n\
                        Example:\n  causeway rollback 7"
)]
pub(super) struct RollbackArgs {
    /// The revision
    #[arg(value_name = "REVISION")]
    revision: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn rollback(arguments: &RollbackArgs) -> Result<(), CliError> {
    let name = &arguments.revision;
    let View::Resources(resources) = get::ask(&arguments.connection, Kind::Resources, Some(name))? else {
        return Err(CliError::UnexpectedAnswer);
    };
    // A revision says where its servers were; that is what is wanted back.
    let file_name = format!("revision {name}");
    let request = Request::Apply { file_name, text: resources.text, follow: true };
    print_applied(Applied::of(arguments.connection.ask(&request)?)?)
}
