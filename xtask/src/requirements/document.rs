//! A file of requirements as written: numbers, what each asks in a line, and for some why no test holds them.
//!
//! ```text
//! # Remarks begin with `#`.
//! [Scheduling]
//! SG-81 what is asked, in one line
//! SG-14 what is asked here
//!     reason: why no test can hold it
//! ```

use super::Problem;
use super::number::Number;

/// One requirement.
#[derive(Debug, PartialEq, Eq)]
pub struct Requirement {
    pub number: Number,
    /// What it asks.
    pub text: String,
    /// Why no test holds it.
    pub reason: Option<String>,
    /// The heading it stands under; may be empty.
    pub section: String,
    /// Where it is written, from 1.
    pub line: usize,
}

/// Reads the requirements of a file; a line that is none of the forms above is a problem.
pub fn read(text: &str) -> (Vec<Requirement>, Vec<Problem>) {
    let mut requirements: Vec<Requirement> = Vec::new();
    let mut problems = Vec::new();
    let mut section = String::new();
    for (index, line) in text.lines().enumerate() {
        let at = index + 1;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let read = if let Some(heading) = line.strip_prefix('[') {
            read_heading(heading).map(|heading| section = heading)
        } else if line.starts_with([' ', '\t']) {
            read_reason(line, requirements.last_mut())
        } else {
            read_requirement(line, &section, at).map(|requirement| requirements.push(requirement))
        };
        problems.extend(read.err().map(|what| Problem { line: at, what }));
    }
    (requirements, problems)
}

fn read_heading(rest: &str) -> Result<String, String> {
    let heading = rest.trim_end().strip_suffix(']');
    heading.map(str::to_owned).ok_or_else(|| "a heading ends in `]`".to_owned())
}

fn read_requirement(line: &str, section: &str, at: usize) -> Result<Requirement, String> {
    let (number, text) = line.split_once(' ').unwrap_or((line, ""));
    let number: Number = number.parse()?;
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("{number} does not say what it asks"));
    }
    Ok(Requirement { number, text: text.to_owned(), reason: None, section: section.to_owned(), line: at })
}

fn read_reason(line: &str, of: Option<&mut Requirement>) -> Result<(), String> {
    let reason = line.trim().strip_prefix("reason:").map(str::trim).unwrap_or_default();
    if reason.is_empty() {
        return Err("an indented line is `reason: ` and why no test holds the requirement above".to_owned());
    }
    let requirement = of.ok_or("a reason without a requirement above it")?;
    if requirement.reason.is_some() {
        return Err(format!("a second reason for {}", requirement.number));
    }
    requirement.reason = Some(reason.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_texts_reasons_and_headings_are_read() {
        let text = "# A remark.\n\n[The object]\nSG-1   a named set\nSG-14 free of charge\n    reason: nothing to build\n[More]\nSG-20 x\n";
        let (requirements, problems) = read(text);
        assert_eq!(problems, []);
        let seen: Vec<_> = requirements
            .iter()
            .map(|r| (r.number.to_string(), &*r.text, r.reason.as_deref(), &*r.section, r.line))
            .collect();
        assert_eq!(
            seen,
            [
                ("SG-1".to_owned(), "a named set", None, "The object", 4),
                ("SG-14".to_owned(), "free of charge", Some("nothing to build"), "The object", 5),
                ("SG-20".to_owned(), "x", None, "More", 8),
            ]
        );
    }

    #[track_caller]
    fn wrong(text: &str, line: usize, part: &str) {
        let (_, problems) = read(text);
        assert!(
            problems.len() == 1 && problems[0].line == line && problems[0].what.contains(part),
            "{problems:?}"
        );
    }

    #[test]
    fn every_other_line_is_a_problem() {
        wrong("SG-1 a\nand more of it\n", 2, "no requirement's number");
        wrong("SG-1\n", 1, "does not say what it asks");
        wrong("SG-01 a\n", 1, "no requirement's number");
        wrong("    reason: x\nSG-1 a\n", 1, "without a requirement");
        wrong("SG-1 a\n    reason:\n", 2, "an indented line");
        wrong("SG-1 a\n    raeson: x\n", 2, "an indented line");
        wrong("SG-1 a\n    reason: x\n    reason: y\n", 3, "second reason for SG-1");
        wrong("[Open\nSG-1 a\n", 1, "ends in `]`");
    }

    #[test]
    fn what_can_be_read_is_read_beside_a_problem() {
        assert_eq!(read("SG-1 a\nnonsense\nSG-2 b\n").0.len(), 2);
    }
}
