//! Conditions of a rule (LR-69 to LR-72).

use super::{CONDITIONS_MAX, pattern, wildcards};
use crate::config::ErrorFamily::{DuplicatedParam, IllegalParam, MissingParam, QuotaExceeded};
use crate::config::decode::{At, Field, Head, Report, Word};
use crate::config::file::{ConditionEntry, FieldEntry, PairEntry};
use crate::config::resolve::listener::check_header_name;
use crate::model::{Condition, FieldCondition, Pair, Pattern, RuleDirection, StatusPattern};
use ipnet::IpNet;
use serde_saphyr::Location;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Values of a source condition.
const SOURCES_MAX: usize = 5;
const METHODS: [&str; 7] = ["HEAD", "GET", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"];
/// Characters of the parts of a parameter, and of a cookie.
const KEY_MAX: usize = 100;
const VALUE_MAX: usize = 128;

/// Kinds of conditions, each with whether a rule may have several of it (LR-71) and whether it looks at a response.
const KINDS: [(&str, bool, bool); 9] = [
    ("host", false, false),
    ("path", false, false),
    ("header", true, false),
    ("query", true, false),
    ("method", false, false),
    ("cookie", true, false),
    ("source_ip", false, false),
    ("response_header", true, true),
    ("response_status_code", false, true),
];

/// `None` after reporting what is wrong.
pub(super) fn resolve_conditions(
    head: &Head,
    entries: &[ConditionEntry],
    direction: RuleDirection,
    report: &mut Report<'_>,
) -> Option<Vec<Condition>> {
    let mut kinds = BTreeSet::new();
    let mut conditions = Vec::new();
    for entry in entries {
        let Some((kind, allows_several, is_of_response)) = kind_of(entry, report) else {
            conditions.push(None);
            continue;
        };
        let mut error = |code, rule: &str, remedy: &str| {
            report.error(code, entry.head.at, &entry.head.subject, kind, rule, remedy);
        };
        if !kinds.insert(kind) && !allows_several {
            let code = DuplicatedParam.of("RuleConditions");
            let remedy = "write all values in one; any of them suffices";
            error(code, "a rule has one condition of this kind", remedy);
        }
        if is_of_response && direction == RuleDirection::Request {
            let code = IllegalParam.of("RuleConditions");
            error(code, "a rule for requests sees no response", "remove it, or write `direction: Response`");
        }
        conditions.push(resolve_condition(entry, report));
    }
    let conditions: Option<Vec<Condition>> = conditions.into_iter().collect();
    let count = wildcards(conditions.as_deref().unwrap_or_default());
    for (subject, count, noun) in
        [("RuleConditions", entries.len(), "conditions"), ("RuleWildcards", count, "values with wildcards")]
    {
        if count > CONDITIONS_MAX {
            report.error(
                QuotaExceeded.of(subject),
                entries[0].head.at,
                &head.subject,
                format!("{count} {noun}"),
                format!("a rule has at most {CONDITIONS_MAX}"),
                "make two rules of it",
            );
        }
    }
    conditions
}

/// The one kind that a condition is of.
fn kind_of(entry: &ConditionEntry, report: &mut Report<'_>) -> Option<(&'static str, bool, bool)> {
    let written = [
        entry.host.is_written(),
        entry.path.is_written(),
        entry.header.is_written(),
        entry.query.is_written(),
        entry.method.is_written(),
        entry.cookie.is_written(),
        entry.source_ip.is_written(),
        entry.response_header.is_written(),
        entry.response_status_code.is_written(),
    ];
    let kinds: Vec<_> = KINDS.into_iter().zip(written).filter(|(_, is_written)| *is_written).collect();
    let head = &entry.head;
    match kinds.as_slice() {
        [(kind, _)] => return Some(*kind),
        [] => report.error(
            MissingParam.of("RuleConditions"),
            head.at,
            &head.subject,
            "",
            "it asks for nothing",
            format!("write one of {}", KINDS.map(|(kind, ..)| format!("`{kind}`")).join(", ")),
        ),
        several => {
            let words: Vec<&str> = several.iter().map(|((kind, ..), _)| *kind).collect();
            report.error(
                IllegalParam.of("RuleConditions"),
                head.at,
                &head.subject,
                words.join(", "),
                "a condition is of one kind",
                "begin each with `- ` of its own; all of them must hold",
            );
        }
    }
    None
}

fn resolve_condition(entry: &ConditionEntry, report: &mut Report<'_>) -> Option<Condition> {
    let head = &entry.head;
    macro_rules! of {
        ($field:ident, $resolve:expr) => {
            if let Field::Good(values) = &entry.$field {
                let resolve: fn(&Head, _, &mut Report<'_>) -> Option<Condition> = $resolve;
                return resolve(head, values, report);
            }
        };
    }
    of!(host, |head, values, report| hosts(head, values, report).map(Condition::Host));
    of!(path, |head, values, report| texts(head, values, "path", pattern::path, report).map(Condition::Path));
    of!(header, |_, field, report| resolve_field(field, report).map(Condition::Header));
    of!(query, |head, pairs, report| {
        resolve_pairs(head, pairs, pattern::query_part, report).map(Condition::QueryString)
    });
    of!(method, |head, values, report| methods(head, values, report).map(Condition::Method));
    of!(cookie, |head, pairs, report| {
        resolve_pairs(head, pairs, pattern::cookie_part, report).map(Condition::Cookie)
    });
    of!(source_ip, |head, values, report| sources(head, values, report).map(Condition::SourceIp));
    of!(response_header, |_, field, report| resolve_field(field, report).map(Condition::ResponseHeader));
    of!(response_status_code, |head, values, report| {
        statuses(head, values, report).map(Condition::ResponseStatusCode)
    });
    None
}

fn illegal(
    head: &Head,
    at: Location,
    value: String,
    rule: impl Into<String>,
    remedy: &str,
    report: &mut Report<'_>,
) {
    report.error(IllegalParam.of("RuleConditions"), at, &head.subject, value, rule, remedy);
}

/// Whether there is at least one value.
fn has_values<T>(head: &Head, values: &[T], kind: &str, report: &mut Report<'_>) -> bool {
    if values.is_empty() {
        let code = MissingParam.of("RuleConditions");
        report.error(code, head.at, &head.subject, kind, "no value is listed", "write at least one");
    }
    !values.is_empty()
}

fn texts(
    head: &Head,
    values: &[At<String>],
    kind: &str,
    check: fn(&str) -> Result<Pattern, String>,
    report: &mut Report<'_>,
) -> Option<Vec<Pattern>> {
    if !has_values(head, values, kind, report) {
        return None;
    }
    let check = |text: &At<String>| match check(&text.value) {
        Ok(pattern) => Some(pattern),
        Err(rule) => {
            let remedy = match text.value.strip_prefix('~') {
                Some(_) => {
                    "write it in the syntax of Rust's `regex`, without look-around and back-references"
                }
                None => "correct it, or begin it with `~` to make it a regular expression",
            };
            illegal(head, text.at, format!("{kind} {:?}", text.value), rule, remedy, report);
            None
        }
    };
    // Each is looked at before any is missed.
    values.iter().map(check).collect::<Vec<_>>().into_iter().collect()
}

fn hosts(head: &Head, values: &[At<String>], report: &mut Report<'_>) -> Option<Vec<Pattern>> {
    let patterns = texts(head, values, "host", pattern::host, report)?;
    for text in values.iter().filter(|text| !text.value.starts_with('~')) {
        if text.value.contains(|c| "^$|()[]\\+".contains(c)) {
            let value = format!("host {:?}", text.value);
            let rule = "no host has these characters, and it is not taken for a regular expression";
            report.warning(text.at, &head.subject, value, rule, "begin it with `~` to make it one");
        }
    }
    Some(patterns)
}

fn resolve_field(entry: &FieldEntry, report: &mut Report<'_>) -> Option<FieldCondition> {
    let head = &entry.head;
    let key = report.required(head, "key", &entry.key, "write the header's name");
    let key = key.and_then(|key| {
        let name = key.value.to_ascii_lowercase();
        let rule = match check_header_name(&key.value) {
            Err(rule) => rule,
            Ok(()) if matches!(name.as_str(), "cookie" | "host") => {
                "it has a kind of condition of its own".to_owned()
            }
            Ok(()) => return Some(key.value.clone()),
        };
        let remedy = "write the name of another header, or `host` or `cookie` as a condition";
        illegal(head, key.at, format!("key {:?}", key.value), rule, remedy, report);
        None
    });
    let values = report.required(head, "values", &entry.values, "list values of which any suffices")?;
    if !has_values(head, values, "values", report) {
        return None;
    }
    let check = |value: &At<Word>| part(head, "value", value, pattern::field_value, report);
    let values: Vec<Option<Pattern>> = values.iter().map(check).collect();
    Some(FieldCondition { key: key?, values: values.into_iter().collect::<Option<_>>()? })
}

fn part(
    head: &Head,
    key: &str,
    text: &At<Word>,
    check: impl Fn(&str) -> Result<Pattern, String>,
    report: &mut Report<'_>,
) -> Option<Pattern> {
    match check(&text.value.0) {
        Ok(pattern) => Some(pattern),
        Err(rule) => {
            let value = format!("{key} {:?}", text.value.0);
            illegal(head, text.at, value, rule, "correct it", report);
            None
        }
    }
}

fn resolve_pairs(
    head: &Head,
    entries: &[PairEntry],
    check: fn(&str, usize) -> Result<Pattern, String>,
    report: &mut Report<'_>,
) -> Option<Vec<Pair>> {
    if !has_values(head, entries, "key and value", report) {
        return None;
    }
    let mut pairs = Vec::new();
    for entry in entries {
        let head = &entry.head;
        let key = report
            .required(head, "key", &entry.key, "write its name; `*` for any")
            .and_then(|text| part(head, "key", text, |text| check(text, KEY_MAX), report));
        let value = report
            .required(head, "value", &entry.value, "write its value; `*` for any")
            .and_then(|text| part(head, "value", text, |text| check(text, VALUE_MAX), report));
        pairs.push(key.zip(value).map(|(key, value)| Pair { key, value }));
    }
    pairs.into_iter().collect()
}

fn methods(head: &Head, values: &[At<String>], report: &mut Report<'_>) -> Option<Vec<String>> {
    if !has_values(head, values, "method", report) {
        return None;
    }
    let mut methods = Vec::new();
    for text in values {
        let is_method = METHODS.contains(&text.value.as_str());
        if !is_method {
            let value = format!("method {:?}", text.value);
            let rule = format!("not one of {}", METHODS.join(", "));
            illegal(head, text.at, value, rule, "write one of them, in capitals", report);
        }
        methods.push(is_method.then(|| text.value.clone()));
    }
    methods.into_iter().collect()
}

fn sources(head: &Head, values: &[At<String>], report: &mut Report<'_>) -> Option<Vec<IpNet>> {
    if !has_values(head, values, "source_ip", report) {
        return None;
    }
    if values.len() > SOURCES_MAX {
        let value = format!("source_ip of {} values", values.len());
        let rule = format!("a condition has at most {SOURCES_MAX}");
        illegal(head, head.at, value, rule, "join networks that lie side by side", report);
        return None;
    }
    let mut networks = Vec::new();
    for text in values {
        let network = text.value.parse::<IpNet>().or_else(|_| text.value.parse::<IpAddr>().map(IpNet::from));
        let (rule, remedy) = match network {
            Ok(network) if network == network.trunc() => {
                networks.push(Some(network));
                continue;
            }
            Ok(network) => {
                let (address, network) = (network.addr(), network.trunc());
                let remedy = format!("write {network}, or {address} for the one address");
                ("the address has bits set beyond the prefix length", remedy)
            }
            Err(_) => {
                ("neither an address nor a CIDR", "write one such as 192.0.2.7 or 192.0.2.0/24".to_owned())
            }
        };
        illegal(head, text.at, format!("source_ip {:?}", text.value), rule, &remedy, report);
        networks.push(None);
    }
    networks.into_iter().collect()
}

fn statuses(head: &Head, values: &[At<Word>], report: &mut Report<'_>) -> Option<Vec<StatusPattern>> {
    if !has_values(head, values, "response_status_code", report) {
        return None;
    }
    let status = |text: &str| match text.as_bytes() {
        [class @ b'1'..=b'5', b'x', b'x'] => Some(StatusPattern::Class(class - b'0')),
        [b'1'..=b'5', _, _] => text.parse().ok().map(StatusPattern::Code),
        _ => None,
    };
    let mut statuses = Vec::new();
    for text in values {
        let status = status(&text.value.0);
        if status.is_none() {
            let value = format!("response_status_code {:?}", text.value.0);
            let rule = "neither a status from 100 to 599 nor a class of them";
            illegal(head, text.at, value, rule, "write one such as 404 or 5xx", report);
        }
        statuses.push(status);
    }
    statuses.into_iter().collect()
}
