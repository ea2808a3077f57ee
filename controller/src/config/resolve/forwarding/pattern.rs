//! What texts in conditions may look like (LR-72, LR-84); expressions are compiled by [`crate::rules`] (LR-85).

use crate::model::Pattern;
use crate::rules::{Subject, check_pattern};

/// A text of a host condition.
pub(super) fn host(text: &str) -> Result<Pattern, String> {
    check_length(text, 3..=128)?;
    let is_of_regex = |c: char| c.is_ascii_alphanumeric() || ".-?=~_+\\^*!$&|()[]".contains(c);
    if let Some(expression) = text.strip_prefix('~') {
        if !text.chars().all(is_of_regex) {
            return Err("an expression for hosts has letters, digits and `.-?=~_+\\^*!$&|()[]`".to_owned());
        }
        // Hosts are compared without regard to case (LR-82).
        return self::expression(Subject::Host, expression, true);
    }
    if text.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("hosts are compared in lower case".to_owned());
    }
    if !text.chars().all(is_of_regex) {
        return Err("a host has lower-case letters, digits, `-`, `.`, the wildcards `*` and `?`, and `=~_+\\^!$&|()[]`"
            .to_owned());
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_of_last = |c: char| c.is_ascii_lowercase() || matches!(c, '*' | '?');
    if !text.contains('.') || text.starts_with('.') || last.is_empty() || !last.chars().all(is_of_last) {
        return Err("a host has a dot inside, and its last label has letters and wildcards only".to_owned());
    }
    Ok(Pattern::glob(text))
}

/// A text of a path condition.
pub(super) fn path(text: &str) -> Result<Pattern, String> {
    check_length(text, 1..=128)?;
    if let Some(expression) = text.strip_prefix('~') {
        let (expression, ignore_case) = match expression.strip_prefix('*') {
            Some(expression) => (expression, true),
            None => (expression, false),
        };
        return self::expression(Subject::Other, expression, ignore_case);
    }
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "$-_.+/&~@:*?".contains(c);
    if !text.starts_with('/') || !text.chars().all(is_fine) {
        return Err(
            "a path begins with `/` and has letters, digits, `$-_.+/&~@:` and the wildcards `*` and `?`"
                .to_owned(),
        );
    }
    Ok(Pattern::glob(text))
}

/// A value of a header condition.
pub(super) fn field_value(text: &str) -> Result<Pattern, String> {
    check_length(text, 1..=128)?;
    if !text.bytes().all(|byte| (32..=126).contains(&byte)) || text.starts_with(' ') || text.ends_with(' ') {
        return Err("a header's value has printable ASCII characters, and no space at its ends".to_owned());
    }
    Ok(Pattern::glob(text))
}

/// A part of a parameter of the query.
pub(super) fn query_part(text: &str, chars_max: usize) -> Result<Pattern, String> {
    check_pair_part(text, chars_max, "#[]{}\\|<>&\"")
}

/// A part of a cookie.
pub(super) fn cookie_part(text: &str, chars_max: usize) -> Result<Pattern, String> {
    check_pair_part(text, chars_max, "#[]{}\\|<>&\";")
}

fn check_pair_part(text: &str, chars_max: usize, refused: &str) -> Result<Pattern, String> {
    check_length(text, 1..=chars_max)?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(|c| refused.contains(c)) {
        return Err(format!("it has printable ASCII characters without spaces and `{refused}`"));
    }
    Ok(Pattern::glob(text))
}

fn check_length(text: &str, chars: std::ops::RangeInclusive<usize>) -> Result<(), String> {
    if chars.contains(&text.chars().count()) {
        return Ok(());
    }
    Err(format!("it has {} to {} characters", chars.start(), chars.end()))
}

fn expression(subject: Subject, pattern: &str, ignore_case: bool) -> Result<Pattern, String> {
    if pattern.is_empty() {
        return Err("the expression is empty".to_owned());
    }
    let pattern = Pattern::Regex { pattern: pattern.to_owned(), ignore_case };
    check_pattern(&pattern, subject).map(|_| pattern)
}
