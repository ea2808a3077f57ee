//! `causeway apply`: new resources into force.

use super::{CliError, Connection, print, print_error, read_file};
use crate::api::{Request, Response};
use crate::config::{Change, Warnings};
use crate::store::Revision;
use clap::Args;
use std::path::PathBuf;

/// Take resources into force: all of them or, with any error, none
#[derive(Debug, Args)]
#[command(after_help = "Returns when they are in force, and prints what changed.\n\n\
                        Example:\n  causeway apply -f resources.yaml")]
pub(super) struct ApplyArgs {
    /// Resources; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn apply(arguments: &ApplyArgs) -> Result<(), CliError> {
    let (text, file_name) = read_file(&arguments.file)?;
    print_applied(Applied::of(arguments.connection.ask(&Request::Apply { file_name, text })?)?)
}

/// What came of an apply.
pub(super) struct Applied {
    revision: Revision,
    changes: Vec<Change>,
    warnings: Warnings,
}

impl Applied {
    pub(super) fn of(response: Response) -> Result<Applied, CliError> {
        match response {
            Response::Applied { revision, changes, warnings } => Ok(Applied { revision, changes, warnings }),
            _ => Err(CliError::UnexpectedAnswer),
        }
    }
}

/// Prints what changed.
pub(super) fn print_applied(applied: Applied) -> Result<(), CliError> {
    let Applied { revision, changes, warnings } = applied;
    print_error(&warnings.render());
    let mut lines: String = changes.iter().map(|change| format!("{change}\n")).collect();
    lines.push_str(&match changes.len() {
        0 => format!("revision {revision} is in force; nothing changed\n"),
        1 => format!("revision {revision} is in force; 1 change\n"),
        count => format!("revision {revision} is in force; {count} changes\n"),
    });
    print(&lines)
}
