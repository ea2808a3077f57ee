//! `causeway diff`: what applying would change.

use super::apply::render_kept;
use super::{CliError, Connection, print, print_error, read_file};
use crate::api::{Request, Response};
use clap::Args;
use std::path::PathBuf;

/// Show what applying a file would change, without applying it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  causeway diff -f resources.yaml")]
pub(super) struct DiffArgs {
    /// Resources; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// As for `apply`
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn diff(arguments: &DiffArgs) -> Result<(), CliError> {
    let (text, file_name) = read_file(&arguments.file)?;
    match arguments.connection.ask(&Request::Diff { file_name, text, follow: arguments.follow })? {
        Response::Difference { changes, warnings, kept } => {
            print_error(&warnings.render());
            print_error(&render_kept(&kept));
            if changes.is_empty() {
                return print("nothing would change\n");
            }
            print(&changes.iter().map(|change| format!("{change}\n")).collect::<String>())
        }
        _ => Err(CliError::UnexpectedAnswer),
    }
}
