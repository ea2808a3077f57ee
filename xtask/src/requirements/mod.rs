//! The requirement table: which tests hold each requirement, or why none does.
//!
//! Requirements are written in `tests/requirements/*.txt` (form: [`document`]); a further file needs nothing else. Tests
//! say what they hold in marks (form: [`marks`]). [`judge`] brings both together and reads no file itself.

mod document;
mod marks;
mod number;
mod table;

use crate::{command, screen};
use anyhow::{Context, Result, bail};
use document::Requirement;
use marks::Mark;
use number::{Number, Span};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

const DOCUMENTS: &str = "tests/requirements";
/// Folders whose tests may hold requirements.
const SOURCES: [&str; 4] = ["tests", "controller", "forwarder-common", "xtask"];
/// Where standard output is no terminal.
const COLUMNS: usize = 100;
/// Narrower than this, nothing of a name would be left.
const COLUMNS_MIN: usize = 40;

/// Something wrong in a file.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    /// From 1.
    line: usize,
    what: String,
}

/// A test that holds a requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    /// The test's file, from the repository's root.
    path: String,
    /// Of the mark, from 1.
    line: usize,
    /// The test's function.
    test: String,
}

/// A requirement and what became of it; neither holders nor a reason: it is open.
#[derive(Debug)]
struct Row {
    /// Name of the file it is written in, without its ending.
    document: String,
    section: String,
    number: Number,
    text: String,
    reason: Option<String>,
    holders: Vec<Holder>,
}

impl Row {
    fn is_open(&self) -> bool {
        self.holders.is_empty() && self.reason.is_none()
    }
}

/// Which rows to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// `SG-81` or `SG-81..SG-88`.
    Span(Span),
    /// `SG`
    Family(String),
    /// `open`
    Open,
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "open" => Ok(Self::Open),
            _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase()) => {
                Ok(Self::Family(text.to_owned()))
            }
            _ => text.parse().map(Self::Span).map_err(|error| format!("{error}, SG-81..SG-88, SG or open")),
        }
    }
}

impl Selection {
    fn takes(&self, row: &Row) -> bool {
        match self {
            Self::Span(span) => span.contains(&row.number),
            Self::Family(family) => row.number.family == *family,
            Self::Open => row.is_open(),
        }
    }
}

/// Prints the rows that any of `selections` takes with all their tests, or without a selection every row in brief; then
/// what is wrong anywhere, and a line that sums up. Exit code 1 if something is wrong or a row that is shown is open.
pub fn run(selections: &[Selection]) -> Result<ExitCode> {
    let root = command::root();
    let mut documents = Vec::new();
    collect(&root, &root.join(DOCUMENTS), ".txt", &mut documents)?;
    let mut sources = Vec::new();
    for folder in SOURCES {
        collect(&root, &root.join(folder), ".rs", &mut sources)?;
    }
    let (mut rows, problems) = judge(&documents, &sources);
    if !selections.is_empty() {
        rows.retain(|row| selections.iter().any(|selection| selection.takes(row)));
        if rows.is_empty() && !selections.contains(&Selection::Open) {
            bail!("no such requirement in {DOCUMENTS}");
        }
    }
    let width = screen::columns().unwrap_or(COLUMNS).max(COLUMNS_MIN);
    let table = if selections.is_empty() { table::brief } else { table::full };
    print!("{}", table(&rows, width));
    println!();
    problems.iter().for_each(|problem| println!("{problem}"));
    println!("{}", summary(&rows, &problems));
    let is_whole = problems.is_empty() && !rows.iter().any(Row::is_open);
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Files below `folder` whose names end in `ending`, in order of their paths, each with its text; leaves out what is
/// built.
fn collect(root: &Path, folder: &Path, ending: &str, files: &mut Vec<(String, String)>) -> Result<()> {
    let listed = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = listed.with_context(|| format!("read {}", folder.display()))?;
    entries.sort_by_key(fs::DirEntry::path);
    for path in entries.iter().map(fs::DirEntry::path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" {
                collect(root, &path, ending, files)?;
            }
        } else if name.ends_with(ending) {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(&path);
            files.push((relative.to_string_lossy().into_owned(), text));
        }
    }
    Ok(())
}

/// The table in the order of the documents, and every problem as `path:line: what`. Files are (path, text).
fn judge(documents: &[(String, String)], sources: &[(String, String)]) -> (Vec<Row>, Vec<String>) {
    let mut problems = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    // Where each number's row is, and where it is written.
    let mut places: BTreeMap<Number, (usize, String)> = BTreeMap::new();
    for (path, text) in documents {
        let (requirements, wrong) = document::read(text);
        problems.extend(wrong.iter().map(|problem| at(path, problem)));
        for requirement in requirements {
            let place = format!("{path}:{}", requirement.line);
            match places.entry(requirement.number.clone()) {
                Entry::Occupied(first) => {
                    let number = &requirement.number;
                    problems.push(format!("{place}: {number} again; it stands at {}", first.get().1));
                }
                Entry::Vacant(free) => {
                    free.insert((rows.len(), place));
                    rows.push(row(path, requirement));
                }
            }
        }
    }
    for (path, text) in sources {
        let (marks, wrong) = marks::scan(text);
        problems.extend(wrong.iter().map(|problem| at(path, problem)));
        for mark in marks {
            for unknown in ends(&mark).filter(|number| !places.contains_key(number)) {
                let what = format!("{unknown} is in no file of {DOCUMENTS}");
                problems.push(at(path, &Problem { line: mark.line, what }));
            }
            // Numbers that a span jumps over need not exist.
            for row in rows.iter_mut().filter(|row| mark.spans.iter().any(|span| span.contains(&row.number)))
            {
                let holder = Holder { path: path.clone(), line: mark.line, test: mark.test.clone() };
                if !row.holders.iter().any(|known| known.path == holder.path && known.test == holder.test) {
                    row.holders.push(holder);
                }
            }
        }
    }
    for row in &rows {
        if let (Some(holder), Some(_)) = (row.holders.first(), &row.reason) {
            let place = &places[&row.number].1;
            problems.push(format!(
                "{place}: {} has a reason, though {} ({}:{}) holds it; remove one of them",
                row.number, holder.test, holder.path, holder.line
            ));
        }
    }
    (rows, problems)
}

fn row(path: &str, requirement: Requirement) -> Row {
    let name = Path::new(path).file_stem().unwrap_or_default();
    let Requirement { number, text, reason, section, line: _ } = requirement;
    Row { document: name.to_string_lossy().into_owned(), section, number, text, reason, holders: Vec::new() }
}

/// The numbers a mark names: one, or both ends of a span.
fn ends(mark: &Mark) -> impl Iterator<Item = &Number> {
    mark.spans.iter().flat_map(|span| {
        let last = (span.last != span.first).then_some(&span.last);
        std::iter::once(&span.first).chain(last)
    })
}

fn at(path: &str, problem: &Problem) -> String {
    format!("{path}:{}: {}", problem.line, problem.what)
}

fn summary(rows: &[Row], problems: &[String]) -> String {
    let held = rows.iter().filter(|row| !row.holders.is_empty()).count();
    let open = rows.iter().filter(|row| row.is_open()).count();
    let with_reason = rows.len() - held - open;
    let wrong = match problems.len() {
        0 => String::new(),
        1 => ", 1 problem".to_owned(),
        count => format!(", {count} problems"),
    };
    format!(
        "{} requirements: {held} held by tests, {with_reason} with a reason, {open} open{wrong}",
        rows.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "[One]\nSG-1 a\nSG-2 b\n    reason: free\nSG-4 c\nSG-5 d\n";

    fn judged(document: &str, sources: &[&str]) -> (Vec<Row>, Vec<String>) {
        let named = |(index, text): (usize, &&str)| (format!("tests/{index}.rs"), (*text).to_owned());
        judge(
            &[("tests/requirements/groups.txt".to_owned(), document.to_owned())],
            &sources.iter().enumerate().map(named).collect::<Vec<_>>(),
        )
    }

    fn holders(rows: &[Row], number: &str) -> Vec<String> {
        let row = rows.iter().find(|row| row.number.to_string() == number).expect("a known number");
        row.holders.iter().map(|holder| format!("{}:{} {}", holder.path, holder.line, holder.test)).collect()
    }

    #[test]
    fn numbers_are_held_by_the_tests_that_name_them() {
        let (rows, problems) = judged(
            DOCUMENT,
            &[
                "// Holds SG-1, SG-4\n#[test]\nfn a() {}\n",
                "// Holds SG-4..SG-5\n// Holds SG-4\n#[test]\nfn b() {}\n",
            ],
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(holders(&rows, "SG-1"), ["tests/0.rs:1 a"]);
        assert_eq!(holders(&rows, "SG-4"), ["tests/0.rs:1 a", "tests/1.rs:1 b"]);
        assert_eq!(holders(&rows, "SG-5"), ["tests/1.rs:1 b"]);
        assert_eq!(summary(&rows, &problems), "4 requirements: 3 held by tests, 1 with a reason, 0 open");
    }

    #[test]
    fn a_number_with_neither_test_nor_reason_is_open() {
        let (rows, problems) = judged(DOCUMENT, &[]);
        let open: Vec<_> =
            rows.iter().filter(|row| row.is_open()).map(|row| row.number.to_string()).collect();
        assert_eq!((open, problems.len()), (vec!["SG-1".into(), "SG-4".into(), "SG-5".into()], 0));
        assert_eq!(
            summary(&rows, &["x".to_owned()]),
            "4 requirements: 0 held by tests, 1 with a reason, 3 open, 1 problem"
        );
    }

    #[track_caller]
    fn wrong(document: &str, source: &str, expected: &str) {
        assert_eq!(judged(document, &[source]).1, [expected]);
    }

    #[test]
    fn a_mark_names_known_numbers() {
        let unknown = "tests/0.rs:1: SG-3 is in no file of tests/requirements";
        wrong(DOCUMENT, "// Holds SG-1, SG-3\n#[test]\nfn a() {}\n", unknown);
        wrong("SG-1 a\nSG-2 b\n", "// Holds SG-1..SG-3\n#[test]\nfn a() {}\n", unknown);
        wrong(
            DOCUMENT,
            "// Holds LR-1\n#[test]\nfn a() {}\n",
            "tests/0.rs:1: LR-1 is in no file of tests/requirements",
        );
    }

    #[test]
    fn a_span_may_jump_over_numbers_that_do_not_exist() {
        let document = DOCUMENT.replace("    reason: free\n", "");
        let (rows, problems) = judged(&document, &["// Holds SG-2..SG-5\n#[test]\nfn a() {}\n"]);
        assert_eq!(problems, [""; 0]);
        assert_eq!(rows.iter().filter(|row| !row.holders.is_empty()).count(), 3);
    }

    #[test]
    fn a_reason_is_stale_once_a_test_holds_the_number() {
        wrong(
            DOCUMENT,
            "\n// Holds SG-2\n#[test]\nfn a() {}\n",
            "tests/requirements/groups.txt:3: SG-2 has a reason, though a (tests/0.rs:2) holds it; remove one of them",
        );
    }

    #[test]
    fn a_number_is_written_once() {
        wrong(
            "SG-1 a\nSG-1 b\n",
            "",
            "tests/requirements/groups.txt:2: SG-1 again; it stands at tests/requirements/groups.txt:1",
        );
    }

    #[test]
    fn what_is_wrong_in_a_file_is_told_with_its_place() {
        wrong(
            "SG-1 a\nSG2 b\n",
            "",
            "tests/requirements/groups.txt:2: \"SG2\" is no requirement's number; write it like SG-81",
        );
        assert!(judged("", &["fn a() {}\n// Holds SG-1\nfn b() {}\n"]).1[0].starts_with("tests/0.rs:2: "));
    }

    #[test]
    fn rows_are_selected_by_number_span_family_or_being_open() {
        let (rows, _) = judged(&format!("{DOCUMENT}XR-1 e\n"), &["// Holds SG-1\n#[test]\nfn a() {}\n"]);
        let selected = |text: &str| {
            let selection: Selection = text.parse().expect("a selection");
            let taken = rows.iter().filter(|row| selection.takes(row));
            taken.map(|row| row.number.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(selected("SG-2"), "SG-2");
        assert_eq!(selected("SG-2..SG-4"), "SG-2 SG-4");
        assert_eq!(selected("XR"), "XR-1");
        assert_eq!(selected("open"), "SG-4 SG-5 XR-1");
        assert!("sg".parse::<Selection>().is_err() && "".parse::<Selection>().is_err());
    }

    #[test]
    fn the_repositorys_requirements_can_be_read() {
        let root = command::root();
        let mut documents = Vec::new();
        collect(&root, &root.join(DOCUMENTS), ".txt", &mut documents).expect("readable files");
        let (rows, problems) = judge(&documents, &[]);
        assert_eq!(problems, [""; 0]);
        assert!(!rows.is_empty(), "no requirements in {DOCUMENTS}");
    }
}
