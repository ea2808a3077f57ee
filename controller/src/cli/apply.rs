//! `causeway apply`: new resources into force.

use super::{CliError, Connection, print, print_error, read_file};
use crate::api::{KeptAddress, Request, Response};
use crate::config::{Change, Warnings};
use crate::store::Revision;
use clap::Args;
use std::path::PathBuf;

/// Take resources into force: all of them or, with any error, none
#[derive(Debug, Args)]
#[command(after_help = "Returns when they are in force, and prints what changed.\n\n\
                        Examples:\n  causeway apply -f resources.yaml\n  \
                        causeway apply -f resources.yaml --follow")]
pub(super) struct ApplyArgs {
    /// Resources; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Move servers named by id to the addresses that the inventory has for them now; else they keep theirs
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn apply(arguments: &ApplyArgs) -> Result<(), CliError> {
    let (text, file_name) = read_file(&arguments.file)?;
    let request = Request::Apply { file_name, text, follow: arguments.follow };
    print_applied(Applied::of(arguments.connection.ask(&request)?)?)
}

/// A line for each, then what to do about them.
pub(super) fn render_kept(kept: &[KeptAddress]) -> String {
    let line = |kept: &KeptAddress| {
        format!(
            "warning: server group \"{}\" keeps {} at {}; the inventory has it at {}\n",
            kept.group, kept.server, kept.address, kept.inventory
        )
    };
    let mut lines: String = kept.iter().map(line).collect();
    if !kept.is_empty() {
        lines.push_str("`causeway apply --follow` moves servers to their new addresses\n");
    }
    lines
}

/// What came of an apply.
pub(super) struct Applied {
    revision: Revision,
    changes: Vec<Change>,
    warnings: Warnings,
    kept: Vec<KeptAddress>,
}

impl Applied {
    pub(super) fn of(response: Response) -> Result<Applied, CliError> {
        match response {
            Response::Applied { revision, changes, warnings, kept } => {
                Ok(Applied { revision, changes, warnings, kept })
            }
            _ => Err(CliError::UnexpectedAnswer),
        }
    }
}

/// Prints what changed.
pub(super) fn print_applied(applied: Applied) -> Result<(), CliError> {
    let Applied { revision, changes, warnings, kept } = applied;
    print_error(&warnings.render());
    print_error(&render_kept(&kept));
    let mut lines: String = changes.iter().map(|change| format!("{change}\n")).collect();
    lines.push_str(&match changes.len() {
        0 => format!("revision {revision} is in force; nothing changed\n"),
        1 => format!("revision {revision} is in force; 1 change\n"),
        count => format!("revision {revision} is in force; {count} changes\n"),
    });
    print(&lines)
}
