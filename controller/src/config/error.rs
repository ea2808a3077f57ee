//! What is wrong with a configuration: where, what, which rule, what to write instead.

use super::code::ErrorCode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Remedy of an error that hides all others.
pub(super) const SYNTAX_REMEDY: &str = "correct the YAML; other errors show once it can be read";

/// Where in a file something was written. Lines and columns count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file, as it was named by the user.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Characters covered, at least 1; may run past the line's end.
    pub length: u32,
    /// The line, or the part of it around the column where it is long.
    pub excerpt: String,
    /// The column within `excerpt`, from 1.
    pub excerpt_column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One thing wrong with, or doubtful in, a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of error it is; `None` in warnings.
    pub code: Option<ErrorCode>,
    /// Where it was written.
    pub place: Place,
    /// Which thing, named as the user wrote it: `server group "web", server 172.16.1.20:80`.
    pub subject: String,
    /// The value in question: `weight 101`. Empty where something is absent.
    pub value: String,
    /// The rule that it breaks.
    pub rule: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Finding {
    /// One line: place, code, subject, value, rule; remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(code) = &self.code {
            write!(f, "[{code}] ")?;
        }
        f.write_str(&self.sentence())?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

impl Finding {
    fn sentence(&self) -> String {
        let parts = [self.subject.as_str(), self.value.as_str(), self.rule.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }

    /// Several lines: code and sentence, the source line with carets under the value, and the remedy.
    fn render(&self, severity: &str) -> String {
        let Place { line, length, excerpt, excerpt_column, .. } = &self.place;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let before = *excerpt_column as usize - 1;
        // Tabs are kept in the padding, so that the carets stand under the value at any tab width.
        let padding: String = excerpt.chars().take(before).map(|c| if c == '\t' { c } else { ' ' }).collect();
        let rest = excerpt.chars().count().saturating_sub(before);
        let carets = "^".repeat((*length as usize).min(rest).max(1));
        let code = self.code.as_ref().map_or(String::new(), |code| format!("[{code}]"));
        let mut text = format!(
            "{severity}{code}: {}\n{margin}--> {}\n{margin} |\n{number} | {excerpt}\n{margin} | {padding}{carets}\n",
            self.sentence(),
            self.place,
        );
        if !self.remedy.is_empty() {
            text.push_str(&format!("{margin} = {}\n", self.remedy));
        }
        text
    }
}

/// Every error of a configuration, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigErrors(Vec<Finding>);

impl std::error::Error for ConfigErrors {}

impl ConfigErrors {
    /// `None` when there is nothing to report.
    pub(super) fn new(mut errors: Vec<Finding>) -> Option<Self> {
        errors.sort_by(|a, b| a.place.cmp(&b.place));
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// The errors, in the order of the file.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }

    /// Whether the text could not be read as YAML at all; then this is the only error.
    pub fn is_syntax(&self) -> bool {
        matches!(self.0.as_slice(), [only] if only.subject.is_empty() && only.value.is_empty() && only.remedy == SYNTAX_REMEDY)
    }

    /// For a person: each error with its source line, then their number.
    pub fn render(&self) -> String {
        let mut text = render_all(&self.0, "error");
        text.push_str(&match self.0.len() {
            1 => "1 error\n".to_owned(),
            count => format!("{count} errors\n"),
        });
        text
    }

    /// The errors of both.
    pub fn and(mut self, mut other: Self) -> Self {
        self.0.append(&mut other.0);
        self.0.sort_by(|a, b| a.place.cmp(&b.place));
        self
    }
}

impl fmt::Display for ConfigErrors {
    /// One line for each error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Finding::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// What is allowed but probably not wanted, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Warnings(Vec<Finding>);

impl Warnings {
    pub(super) fn new(mut warnings: Vec<Finding>) -> Self {
        warnings.sort_by(|a, b| a.place.cmp(&b.place));
        Self(warnings)
    }

    /// The warnings, in the order of the file.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }

    /// For a person: each warning with its source line.
    pub fn render(&self) -> String {
        render_all(&self.0, "warning")
    }

    /// The warnings of both.
    pub fn and(mut self, mut other: Self) -> Self {
        self.0.append(&mut other.0);
        self.0.sort_by(|a, b| a.place.cmp(&b.place));
        self
    }
}

fn render_all(findings: &[Finding], severity: &str) -> String {
    findings.iter().map(|finding| finding.render(severity) + "\n").collect()
}
