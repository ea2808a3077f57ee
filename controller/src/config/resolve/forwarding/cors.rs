//! Cross-origin resource sharing (LR-107).

use crate::config::ErrorFamily::{DuplicatedParam, IllegalParam};
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::CorsEntry;
use crate::config::resolve::listener::check_header_name;
use crate::config::resolve::rules::is_host_name;
use crate::model::{Cors, Origins};
use std::collections::BTreeSet;

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
/// -1: it may not be remembered.
const MAX_AGE_SECS: std::ops::RangeInclusive<i128> = -1..=172_800;

pub(super) fn resolve_cors(entry: &CorsEntry, report: &mut Report<'_>) -> Option<Cors> {
    let head = &entry.head;
    let remedy = "list origins such as https://www.example.com, or `\"*\"` alone";
    let origins = report
        .required(head, "allow_origin", &entry.allow_origin, remedy)
        .and_then(|texts| resolve_list(head, "allow_origin", texts, check_origin, remedy, report));
    let remedy = format!("list some of {}, or `\"*\"` alone", METHODS.join(", "));
    let methods = match &entry.allow_methods {
        Field::Absent => Some(METHODS.map(str::to_owned).to_vec()),
        Field::Bad => None,
        Field::Good(texts) => resolve_list(head, "allow_methods", texts, check_method, &remedy, report),
    };
    let mut names = |key, field: &Field<Vec<At<String>>>| match field {
        Field::Absent => Some(Vec::new()),
        Field::Bad => None,
        Field::Good(texts) => {
            let remedy = "list names of headers, or `\"*\"` alone";
            resolve_list(head, key, texts, check_header_name, remedy, report)
        }
    };
    let headers = names("allow_headers", &entry.allow_headers);
    let expose = names("expose_headers", &entry.expose_headers);
    let credentials = report.flag(&entry.allow_credentials, false);
    let max_age = report.number(head, "max_age", &entry.max_age, MAX_AGE_SECS, -1);
    let origins = match origins? {
        origins if origins == ["*"] => Origins::Any,
        origins => Origins::Listed(origins.iter().map(|origin| origin.to_ascii_lowercase()).collect()),
    };
    Some(Cors {
        origins,
        methods: methods?,
        headers: headers?,
        expose: expose?,
        credentials: credentials?,
        max_age: i32::try_from(max_age?).ok()?,
    })
}

/// Distinct values, or `*` alone.
fn resolve_list(
    head: &Head,
    key: &str,
    texts: &[At<String>],
    check: fn(&str) -> Result<(), String>,
    remedy: &str,
    report: &mut Report<'_>,
) -> Option<Vec<String>> {
    let errors = report.errors.len();
    if texts.is_empty() {
        report.error(head.code(IllegalParam, key), head.at, &head.subject, key, "the list is empty", remedy);
    }
    let mut known = BTreeSet::new();
    for text in texts {
        let value = format!("{key} {:?}", text.value);
        let (family, rule) = match check(&text.value) {
            _ if text.value == "*" && texts.len() == 1 => continue,
            _ if text.value == "*" => (IllegalParam, "it stands for all, and so stands alone".to_owned()),
            Err(rule) => (IllegalParam, rule),
            Ok(()) if !known.insert(text.value.to_ascii_lowercase()) => {
                (DuplicatedParam, "it is listed twice".to_owned())
            }
            Ok(()) => continue,
        };
        report.error(head.code(family, key), text.at, &head.subject, value, rule, remedy);
    }
    (report.errors.len() == errors).then(|| texts.iter().map(|text| text.value.clone()).collect())
}

/// `http(s)://host[:port]`; the host may begin with `*.`.
fn check_origin(origin: &str) -> Result<(), String> {
    let rule = "an origin is http:// or https://, a host that may begin with `*.`, and perhaps a port from 1 to 65535";
    let lower = origin.to_ascii_lowercase();
    let rest = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://")).ok_or(rule)?;
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let name = host.strip_prefix("*.").unwrap_or(host);
    if is_host_name(name) && port.is_none_or(is_port) { Ok(()) } else { Err(rule.to_owned()) }
}

fn check_method(method: &str) -> Result<(), String> {
    if METHODS.contains(&method) { Ok(()) } else { Err(format!("not one of {}", METHODS.join(", "))) }
}
