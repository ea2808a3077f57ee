//! The table as text for a terminal.

use super::{Holder, Row};
use crate::screen::wrap;

const GAP: usize = 2;
/// Of what the numbers leave, this many parts of 100 are for what is asked.
const TEXT_PERCENT: usize = 52;

/// One row each, grouped under headings; tests are counted after the first, and no line is wider than `width`.
pub fn brief(rows: &[Row], width: usize) -> String {
    let numbers = rows.iter().map(|row| row.number.to_string().len()).max().unwrap_or(0);
    let rest = width.saturating_sub(numbers + 2 * GAP);
    let text_width = rest * TEXT_PERCENT / 100;
    let mut out = String::new();
    each_with_heading(rows, &mut out, |row, out| {
        let answer = match (&*row.holders, &row.reason) {
            ([first, more @ ..], _) => vec![name_and_count(first, more.len(), rest - text_width)],
            ([], Some(reason)) => wrap(&format!("none: {reason}"), rest - text_width),
            ([], None) => vec!["OPEN".to_owned()],
        };
        let text = wrap(&row.text, text_width);
        for line in 0..text.len().max(answer.len()) {
            let number = if line == 0 { row.number.to_string() } else { String::new() };
            let cell = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
            let left = format!("{number:<numbers$}  {:<text_width$}", cell(&text));
            *out += format!("{left}  {}", cell(&answer)).trim_end();
            out.push('\n');
        }
    });
    out
}

/// Every test of every row with its place.
pub fn full(rows: &[Row], width: usize) -> String {
    let mut out = String::new();
    each_with_heading(rows, &mut out, |row, out| {
        let answers = match (&*row.holders, &row.reason) {
            ([], Some(reason)) => vec![format!("none: {reason}")],
            ([], None) => vec!["OPEN".to_owned()],
            (holders, _) => holders.iter().map(|at| format!("{} {}:{}", at.test, at.path, at.line)).collect(),
        };
        for (index, line) in wrap(&format!("{} {}", row.number, row.text), width - 4).iter().enumerate() {
            *out += &format!("{}{line}\n", if index == 0 { "" } else { "    " });
        }
        for answer in answers {
            for (index, line) in wrap(&answer, width - 6).iter().enumerate() {
                *out += &format!("    {}{line}\n", if index == 0 { "" } else { "  " });
            }
        }
    });
    out
}

fn each_with_heading<'a>(rows: &'a [Row], out: &mut String, mut each: impl FnMut(&'a Row, &mut String)) {
    let mut heading = None;
    for row in rows {
        let its = (&row.document, &row.section);
        if heading != Some(its) {
            let gap = if heading.is_some() { "\n" } else { "" };
            let section = if row.section.is_empty() { String::new() } else { format!(": {}", row.section) };
            *out += &format!("{gap}{}{section}\n", row.document);
            heading = Some(its);
        }
        each(row, out);
    }
}

/// `name (+3 more)`; a name that leaves no room for that is cut.
fn name_and_count(first: &Holder, more: usize, width: usize) -> String {
    let count = if more == 0 { String::new() } else { format!(" (+{more} more)") };
    let room = width.saturating_sub(count.len());
    if first.test.chars().count() <= room {
        return first.test.clone() + &count;
    }
    first.test.chars().take(room.saturating_sub(1)).collect::<String>() + "…" + &count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: &str, section: &str, tests: &[&str], reason: Option<&str>) -> Row {
        Row {
            document: "server-groups".to_owned(),
            section: section.to_owned(),
            number: number.parse().expect("a number"),
            text: "what is asked of it here, in one line that is too long for a narrow column".to_owned(),
            reason: reason.map(str::to_owned),
            holders: tests
                .iter()
                .map(|test| Holder { path: "a/b.rs".to_owned(), line: 7, test: (*test).to_owned() })
                .collect(),
        }
    }

    fn rows() -> Vec<Row> {
        let long = "shares_are_exact_over_whole_cycles_whatever_the_weights_and_their_order_may_be";
        vec![
            row("SG-1", "The object", &[long, "b", "c"], None),
            row(
                "SG-14",
                "The object",
                &[],
                Some("says that there is nothing whatever to build for this one"),
            ),
            row("SG-100", "Keepalive", &[], None),
            row("SG-101", "Keepalive", &["short"], None),
        ]
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [60, 80, 100, 200] {
            for line in brief(&rows(), width).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn each_number_has_its_first_test_its_reason_or_neither() {
        let table = brief(&rows(), 80);
        for line in ["… (+2 more)\n", "  none: says that there is nothing", "  OPEN\n", "  short\n"] {
            assert!(table.contains(line), "{line:?} is not in\n{table}");
        }
        assert!(table.contains("\nSG-100  what is asked"), "{table}");
        assert_eq!(table.matches("server-groups: Keepalive\n").count(), 1);
        assert_eq!(table.matches("server-groups: The object\n").count(), 1);
    }

    #[test]
    fn asked_for_by_number_every_test_is_shown_with_its_place() {
        let table = full(&rows()[..1], 120);
        assert!(table.starts_with("server-groups: The object\nSG-1 what is asked"), "{table}");
        assert!(table.contains("\n    b a/b.rs:7\n    c a/b.rs:7\n"), "{table}");
    }
}
