//! Plain settings of a listener.

use super::place_or;
use crate::config::ErrorFamily::{DuplicatedParam, IllegalParam};
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::{ListenerEntry, LoopDetectionEntry};
use crate::model::LoopDetection;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::num::NonZeroU32;

/// LR-4.
const DESCRIPTION_CHARS: std::ops::RangeInclusive<usize> = 2..=256;
/// Ours; the API knows no end of them.
const LOGGED_HEADERS_MAX: usize = 10;
/// What the usual names of headers about certificates begin with, in lower case (LR-41).
const CERTIFICATE_PREFIX: &str = "x-forwarded-clientcert-";
/// Requests of a connection. Ours: what HTTP/2 has numbers of streams for.
const REQUESTS: std::ops::RangeInclusive<i128> = 1..=1_000_000_000;
/// Characters of a header's name in rules and settings (LR section 4).
const HEADER_NAME_MAX: usize = 40;

/// LR-4; the outer `None` is an error.
pub(super) fn resolve_description(entry: &ListenerEntry, report: &mut Report<'_>) -> Option<Option<String>> {
    let head = &entry.head;
    let text = match &entry.description {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(text) => text,
    };
    let is_fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '/' | '.' | '_');
    if DESCRIPTION_CHARS.contains(&text.value.chars().count()) && text.value.chars().all(is_fine) {
        return Some(Some(text.value.clone()));
    }
    report.error(
        head.code(IllegalParam, "description"),
        text.at,
        &head.subject,
        format!("description {:?}", text.value),
        "2 to 256 characters: letters, digits, `-`, `/`, `.` and `_`",
        "reword it, or leave it out",
    );
    None
}

/// The outer `None` is an error, the inner one "no proxy is believed" (LR-44, SG-88).
pub(super) fn resolve_trusted_proxies(
    entry: &ListenerEntry,
    report: &mut Report<'_>,
) -> Option<Option<Vec<IpNet>>> {
    let head = &entry.head;
    let cidrs = match &entry.trusted_proxies {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(cidrs) => cidrs,
    };
    if cidrs.is_empty() {
        report.error(
            head.code(IllegalParam, "trusted_proxies"),
            head.at,
            &head.subject,
            "trusted_proxies",
            "no proxy could be believed",
            "list the proxies' CIDRs, or remove it to take the peer for the client",
        );
        return None;
    }
    let networks: Vec<IpNet> =
        cidrs.iter().filter_map(|cidr| report.any_cidr(head, "trusted_proxies", cidr)).collect();
    Some(Some(networks))
}

/// LR-54: in lower case, as headers are compared.
pub(super) fn resolve_logged_headers(entry: &ListenerEntry, report: &mut Report<'_>) -> Option<Vec<String>> {
    let head = &entry.head;
    let names = match &entry.logged_headers {
        Field::Absent => return Some(Vec::new()),
        Field::Bad => return None,
        Field::Good(names) => names,
    };
    if let Some(beyond) = names.get(LOGGED_HEADERS_MAX) {
        report.error(
            head.code(IllegalParam, "logged_headers"),
            place_or(head, beyond.at),
            &head.subject,
            format!("{} headers", names.len()),
            format!("the access log records at most {LOGGED_HEADERS_MAX} of a listener"),
            "remove some",
        );
    }
    let mut known = BTreeSet::new();
    let mut logged = Vec::new();
    for name in names {
        if let Err(rule) = check_header_name(&name.value) {
            report.error(
                head.code(IllegalParam, "logged_headers"),
                name.at,
                &head.subject,
                format!("header {:?}", name.value),
                rule,
                "write the name of a request header",
            );
        } else if !known.insert(name.value.to_ascii_lowercase()) {
            repeated(head, "logged_headers", name, report);
        }
        logged.push(name.value.to_ascii_lowercase());
    }
    Some(logged)
}

/// LR-52; the outer `None` is an error, the inner one "as the protocol has it".
pub(super) fn resolve_requests_per_connection(
    entry: &ListenerEntry,
    report: &mut Report<'_>,
) -> Option<Option<NonZeroU32>> {
    match &entry.requests_per_connection {
        Field::Absent => Some(None),
        Field::Bad => None,
        Field::Good(number) => report
            .in_range(&entry.head, "requests_per_connection", number, REQUESTS)
            .and_then(|number| u32::try_from(number).ok())
            .map(NonZeroU32::new),
    }
}

/// LR-112; `taken` says what is written or read under a name, in lower case.
pub(super) fn resolve_loop_detection(
    section: &Field<LoopDetectionEntry>,
    is_taken: impl Fn(&str) -> bool,
    report: &mut Report<'_>,
) -> Option<LoopDetection> {
    let entry = match section {
        Field::Absent => return Some(LoopDetection::default()),
        Field::Bad => return None,
        Field::Good(entry) => entry,
    };
    let head = &entry.head;
    let header = match &entry.header {
        Field::Absent => Some(LoopDetection::default().header),
        Field::Bad => None,
        Field::Good(name) => {
            let lower = name.value.to_ascii_lowercase();
            let rule = match check_header_name(&name.value) {
                Err(rule) => Some(rule),
                Ok(()) if is_taken(&lower) || lower.starts_with(CERTIFICATE_PREFIX) => {
                    Some("a header of this name says something else".to_owned())
                }
                Ok(()) => None,
            };
            match rule {
                None => Some(name.value.clone()),
                Some(rule) => {
                    let value = format!("header {:?}", name.value);
                    let remedy = "choose another name, or leave it out for Causeway-Trace";
                    report.error(
                        head.code(IllegalParam, "header"),
                        name.at,
                        &head.subject,
                        value,
                        rule,
                        remedy,
                    );
                    None
                }
            }
        }
    };
    let honours_alb = report.flag(&entry.alicloud_alb_trace, false);
    Some(LoopDetection { header: header?, honours_alb: honours_alb? })
}

/// What a header's name is made of; the error is the rule.
pub(in crate::config::resolve) fn check_header_name(name: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=HEADER_NAME_MAX).contains(&name.len()) && name.chars().all(is_fine) {
        return Ok(());
    }
    Err(format!("a header's name has 1 to {HEADER_NAME_MAX} characters here: letters, digits, `-` and `_`"))
}

/// Says that a list holds `text` twice.
pub(super) fn repeated(head: &Head, key: &str, text: &At<String>, report: &mut Report<'_>) {
    report.error(
        head.code(DuplicatedParam, key),
        text.at,
        &head.subject,
        format!("{key} {}", text.value),
        "it is listed twice",
        "name it once",
    );
}
