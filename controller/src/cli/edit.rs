//! What the commands that change something in force share.

use super::{CliError, Connection, print, print_error};
use crate::api::{Request, Response};
use crate::config::edit::{Operation, Remark};

/// Has `operation` carried out, and prints what changed.
pub(super) fn carry_out(connection: &Connection, operation: Operation) -> Result<(), CliError> {
    print(&carry_out_quietly(connection, operation)?)
}

/// Has `operation` carried out; what changed, for printing.
pub(super) fn carry_out_quietly(connection: &Connection, operation: Operation) -> Result<String, CliError> {
    match connection.ask(&Request::Edit { operation })? {
        Response::Edited { revision, changes, warnings } => {
            let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
            print_error(&warnings);
            let lines: String = changes.iter().map(|change| format!("{change}\n")).collect();
            Ok(match changes.len() {
                0 => format!("nothing changed; revision {revision} is in force\n"),
                1 => format!("{lines}revision {revision} is in force; 1 change\n"),
                count => format!("{lines}revision {revision} is in force; {count} changes\n"),
            })
        }
        _ => Err(CliError::UnexpectedAnswer),
    }
}

/// Every reason, one to a line, then their number.
pub(super) fn render_denials(denials: &[Remark]) -> String {
    let lines: String = denials
        .iter()
        .map(|denial| {
            let code = denial.code.as_ref().map_or(String::new(), |code| format!("[{code}]"));
            let text = Remark { code: None, ..denial.clone() };
            format!("error{code}: {text}\n")
        })
        .collect();
    match denials.len() {
        // One speaks for itself, and may have been a question.
        1 => lines,
        count => lines + &format!("{count} errors; nothing was changed\n"),
    }
}
