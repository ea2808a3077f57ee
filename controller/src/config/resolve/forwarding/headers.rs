//! Headers that rules insert and remove (LR-102, LR-103, LR-113).

use crate::config::ErrorFamily::{DuplicatedParam, IllegalParam, MissingParam};
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::InsertHeaderEntry;
use crate::config::resolve::listener::check_header_name;
use crate::model::{HeaderValue, InsertHeader, LoopDetection, RuleDirection, SystemValue};
use std::collections::BTreeMap;

/// What no rule inserts, and none for requests removes (LR-102).
const FORBIDDEN: [&str; 18] = [
    "slb-id",
    "slb-ip",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-eip",
    "x-forwarded-port",
    "x-forwarded-client-srcport",
    "x-forwarded-host",
    "connection",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "keep-alive",
    "te",
    "host",
    "cookie",
    "remoteip",
    "authority",
];
/// What no rule for responses removes (LR-103).
const KEPT_IN_RESPONSES: [&str; 4] = ["connection", "upgrade", "content-length", "transfer-encoding"];
const VALUE_MAX: usize = 128;

/// Whether a header, in lower case, is no rule's to insert, but for those that loops are known by.
pub(in crate::config::resolve) fn is_taken(name: &str) -> bool {
    FORBIDDEN.contains(&name)
}

/// What is known of the headers of one rule.
pub(super) struct HeaderRules<'a> {
    direction: RuleDirection,
    loops: &'a LoopDetection,
    /// Names inserted so far, in lower case, and on which line.
    inserted: BTreeMap<String, u64>,
}

impl<'a> HeaderRules<'a> {
    pub(super) fn new(direction: RuleDirection, loops: &'a LoopDetection) -> Self {
        Self { direction, loops, inserted: BTreeMap::new() }
    }

    /// The name, if a rule may touch it; `forbidden` are names in lower case.
    fn name(
        &self,
        head: &Head,
        key: &At<String>,
        word: &str,
        forbidden: &[&str],
        report: &mut Report<'_>,
    ) -> Option<String> {
        let lower = key.value.to_ascii_lowercase();
        let rule = match check_header_name(&key.value) {
            Err(rule) => rule,
            Ok(()) if self.loops.protects(&lower) => "loops are detected by it".to_owned(),
            Ok(()) if forbidden.contains(&lower.as_str()) => "rules leave this header alone".to_owned(),
            Ok(()) => return Some(key.value.clone()),
        };
        let value = format!("{word} {:?}", key.value);
        report.error(
            head.code(IllegalParam, word),
            key.at,
            &head.subject,
            value,
            rule,
            "name another header",
        );
        None
    }
}

pub(super) fn resolve_remove(
    head: &Head,
    key: &At<String>,
    headers: &HeaderRules<'_>,
    report: &mut Report<'_>,
) -> Option<String> {
    let forbidden: &[&str] = match headers.direction {
        RuleDirection::Request => &FORBIDDEN,
        RuleDirection::Response => &KEPT_IN_RESPONSES,
    };
    headers.name(head, key, "remove_header", forbidden, report)
}

pub(super) fn resolve_insert(
    entry: &InsertHeaderEntry,
    headers: &mut HeaderRules<'_>,
    report: &mut Report<'_>,
) -> Option<InsertHeader> {
    let head = &entry.head;
    let key = report.required(head, "key", &entry.key, "write the header's name").and_then(|key| {
        let name = headers.name(head, key, "key", &FORBIDDEN, report)?;
        if let Some(line) = headers.inserted.insert(name.to_ascii_lowercase(), key.at.line()) {
            let rule = format!("the rule inserts this header already, on line {line}");
            let value = format!("key {:?}", key.value);
            let code = head.code(DuplicatedParam, "key");
            report.error(code, key.at, &head.subject, value, rule, "insert it once");
            return None;
        }
        Some(name)
    });
    let value = resolve_value(entry, report);
    let cover = report.flag(&entry.cover, true);
    Some(InsertHeader { key: key?, value: value?, cover: cover? })
}

/// One of three kinds of values.
fn resolve_value(entry: &InsertHeaderEntry, report: &mut Report<'_>) -> Option<HeaderValue> {
    let head = &entry.head;
    let written = [
        ("value", entry.value.is_written()),
        ("reference", entry.reference.is_written()),
        ("system", entry.system.is_written()),
    ];
    let written: Vec<&str> = written.iter().filter(|(_, is)| *is).map(|(key, _)| *key).collect();
    let remedy = "write `value` for a text, `reference` for what another header has, or `system` for what the \
                  balancer knows";
    match written.as_slice() {
        [_] => {}
        [] => {
            report.error(
                head.code(MissingParam, "value"),
                head.at,
                &head.subject,
                "",
                "there is no value",
                remedy,
            );
            return None;
        }
        several => {
            let code = head.code(IllegalParam, "value");
            let rule = "a header has one value";
            report.error(code, head.at, &head.subject, several.join(", "), rule, remedy);
            return None;
        }
    }
    let mut illegal = |key: &str, text: &str, at, rule: &str, remedy: &str| {
        report.error(
            head.code(IllegalParam, key),
            at,
            &head.subject,
            format!("{key} {text:?}"),
            rule,
            remedy,
        );
    };
    if let Field::Good(text) = &entry.value {
        let value = &text.value.0;
        let is_printable = value.bytes().all(|byte| (32..=126).contains(&byte) && byte != b'"');
        let has_good_ends = !value.starts_with(' ') && !value.ends_with([' ', '\\']);
        if (1..=VALUE_MAX).contains(&value.len()) && is_printable && has_good_ends {
            return Some(HeaderValue::Text(value.clone()));
        }
        let rule =
            "1 to 128 printable ASCII characters without `\"`, no space at the ends, and no `\\` at the end";
        illegal("value", value, text.at, rule, "correct it");
    }
    if let Field::Good(text) = &entry.reference {
        let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if (1..=VALUE_MAX).contains(&text.value.len()) && text.value.chars().all(is_fine) {
            return Some(HeaderValue::Reference(text.value.clone()));
        }
        let rule = "a header's name has 1 to 128 characters here: lower-case letters, digits, `-` and `_`";
        illegal("reference", &text.value, text.at, rule, "write the name of a header");
    }
    let Field::Good(text) = &entry.system else { return None };
    let values = [
        ("ClientSrcPort", SystemValue::ClientSrcPort),
        ("ClientSrcIp", SystemValue::ClientSrcIp),
        ("Protocol", SystemValue::Protocol),
        ("SLBId", SystemValue::SlbId),
        ("SLBPort", SystemValue::SlbPort),
    ];
    report.choice(head, "system", text, &values, &[]).map(HeaderValue::System)
}
