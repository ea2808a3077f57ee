//! Which answers pass a health check: classes of HTTP statuses, or gRPC statuses.

use crate::config::ErrorFamily::IllegalParam;
use crate::config::decode::{At, Field, Report, Word, nearest};
use crate::config::file::HealthCheckEntry;
use crate::model::StatusClass;
use std::ops::RangeInclusive;

/// Ranges and single statuses of a gRPC check.
const STATUSES_MAX: usize = 20;
const STATUSES: RangeInclusive<u8> = 0..=99;
const CLASSES: [(&str, StatusClass); 4] = [
    ("http_2xx", StatusClass(2)),
    ("http_3xx", StatusClass(3)),
    ("http_4xx", StatusClass(4)),
    ("http_5xx", StatusClass(5)),
];

/// For checks of HTTP and HTTPS: 2xx where nothing is written.
pub(super) fn resolve_classes(entry: &HealthCheckEntry, report: &mut Report<'_>) -> Option<Vec<StatusClass>> {
    let Some(words) = written(entry, "write `codes: [http_2xx]`, or leave `codes` out", report)? else {
        return Some(vec![StatusClass(2)]);
    };
    let mut classes: Vec<StatusClass> = words.iter().filter_map(|word| class(entry, word, report)).collect();
    classes.sort();
    classes.dedup();
    Some(classes)
}

/// For checks of gRPC: 0 where nothing is written.
pub(super) fn resolve_statuses(
    entry: &HealthCheckEntry,
    report: &mut Report<'_>,
) -> Option<Vec<RangeInclusive<u8>>> {
    let Some(words) = written(entry, "write `codes: [0]`, or leave `codes` out", report)? else {
        return Some(vec![0..=0]);
    };
    if let Some(beyond) = words.get(STATUSES_MAX) {
        report.error(
            entry.head.code(IllegalParam, "codes"),
            beyond.at,
            &entry.head.subject,
            format!("{} codes", words.len()),
            format!("at most {STATUSES_MAX} codes or ranges"),
            "join neighbours to ranges, such as 0-5",
        );
    }
    Some(words.iter().filter_map(|word| statuses(entry, word, report)).collect())
}

/// For checks that see no status: each must be right for one of the other protocols.
pub(super) fn resolve_codes(entry: &HealthCheckEntry, report: &mut Report<'_>) -> Option<()> {
    let words = written(entry, "leave `codes` out", report)?.unwrap_or_default();
    for word in words.iter().filter(|word| parse_statuses(&word.value.0).is_none()) {
        class(entry, word, report)?;
    }
    Some(())
}

/// The inner `None` is absence.
fn written<'e>(
    entry: &'e HealthCheckEntry,
    remedy: &str,
    report: &mut Report<'_>,
) -> Option<Option<&'e [At<Word>]>> {
    let words = match &entry.codes {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(words) => words,
    };
    if words.is_empty() {
        let code = entry.head.code(IllegalParam, "codes");
        report.error(code, entry.head.at, &entry.head.subject, "codes", "no status could ever pass", remedy);
    }
    Some(Some(words))
}

fn class(entry: &HealthCheckEntry, word: &At<Word>, report: &mut Report<'_>) -> Option<StatusClass> {
    let text = &word.value.0;
    if let Some((_, class)) = CLASSES.iter().find(|(name, _)| name == text) {
        return Some(*class);
    }
    let names = CLASSES.map(|(name, _)| name);
    let remedy = match nearest(text, &names) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("write {}", names.join(" or ")),
    };
    report.error(
        entry.head.code(IllegalParam, "codes"),
        word.at,
        &entry.head.subject,
        format!("code {text}"),
        format!("not one of {}", names.join(", ")),
        remedy,
    );
    None
}

fn statuses(
    entry: &HealthCheckEntry,
    word: &At<Word>,
    report: &mut Report<'_>,
) -> Option<RangeInclusive<u8>> {
    let range = parse_statuses(&word.value.0);
    if range.is_none() {
        report.error(
            entry.head.code(IllegalParam, "codes"),
            word.at,
            &entry.head.subject,
            format!("code {}", word.value.0),
            "not a gRPC status or a range of them within 0 to 99",
            "write a number such as 0, or a range such as 0-5",
        );
    }
    range
}

/// `12`, or `0-5` whose first number is not the larger one.
fn parse_statuses(text: &str) -> Option<RangeInclusive<u8>> {
    let number = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| is_number && STATUSES.contains(number))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some(first..=last)
}
