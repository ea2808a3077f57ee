//! Revisions and what each changed.

use super::duration;
use crate::api::RevisionView;
use crate::cli::table::{Align, Table};

/// `now`: seconds since 1970. A revision by itself is shown with all its changes.
pub(super) fn history(revisions: &[RevisionView], now: u64, width: Option<usize>) -> String {
    let mut table = Table::new(&[("REVISION", Align::Left), ("AGE", Align::Right), ("CHANGES", Align::Left)]);
    for revision in revisions {
        let mark = if revision.in_force { " *" } else { "" };
        table.row([
            format!("{}{mark}", revision.revision),
            duration(now.saturating_sub(revision.kept_at)),
            changes(revision),
        ]);
    }
    let table = table.render(width);
    match revisions {
        [RevisionView { changes: Some(changes), .. }] if changes.len() > 1 => {
            let lines: String = changes.iter().map(|change| format!("{change}\n")).collect();
            format!("{table}\n{lines}")
        }
        _ => table,
    }
}

fn changes(revision: &RevisionView) -> String {
    match revision.changes.as_deref() {
        None => "unknown".to_owned(),
        Some([]) => "nothing".to_owned(),
        Some([only]) => only.to_string(),
        Some([first, others @ ..]) => format!("{first}; {} more", others.len()),
    }
}
