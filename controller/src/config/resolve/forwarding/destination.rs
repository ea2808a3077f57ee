//! Where requests are sent instead: redirects and rewrites (LR-97, LR-98, LR-101).

use super::actions::OfRule;
use crate::config::ErrorFamily::IllegalParam;
use crate::config::decode::{At, Field, Head, Report, Word};
use crate::config::file::{RedirectEntry, RewriteEntry};
use crate::config::resolve::rules::is_host_name;
use crate::model::{Condition, ListenerProtocol, Pattern, Piece, Redirect, Rewrite, Template};
use crate::rules::{Subject, check_pattern};
use std::collections::BTreeSet;

const HOST_CHARS: std::ops::RangeInclusive<usize> = 3..=256;
const PATH_CHARS_MAX: usize = 256;
const QUERY_CHARS_MAX: usize = 128;
/// Neither in a path nor in a query as they are sent (RFC 3986), nor safe to send.
const UNSAFE: &str = "\"#<>\\^`{|}";

pub(super) fn resolve_redirect(
    entry: &RedirectEntry,
    rule: &OfRule<'_>,
    report: &mut Report<'_>,
) -> Option<Redirect> {
    let head = &entry.head;
    let status = match &entry.status {
        Field::Absent => Some(301),
        Field::Bad => None,
        Field::Good(number) if [301, 302, 303, 307, 308].contains(&number.value) => {
            u16::try_from(number.value).ok()
        }
        Field::Good(number) => {
            let value = format!("status {}", number.value);
            let rule = "not one of 301, 302, 303, 307, 308";
            report.error(
                head.code(IllegalParam, "status"),
                number.at,
                &head.subject,
                value,
                rule,
                "write one of them",
            );
            None
        }
    };
    let https = resolve_protocol(entry, rule.listener.protocol, report);
    let host = resolve_host(head, &entry.host, report);
    let port = resolve_port(head, &entry.port, report);
    let path = resolve_path(head, &entry.path, rule, report);
    let query = resolve_query(head, &entry.query, report);
    let redirect =
        Redirect { status: status?, https: https?, host: host?, port: port?, path: path?, query: query? };
    let stays = redirect.https.is_none()
        && redirect.host.is_none()
        && redirect.port.is_none()
        && redirect.path == Template::path()
        && redirect.query == Template::query();
    if stays {
        let remedy = "write another `protocol`, `host`, `port`, `path` or `query`";
        let rule = "it leads to where the request came";
        report.error(IllegalParam.of("RedirectConfig"), head.at, &head.subject, "redirect", rule, remedy);
        return None;
    }
    Some(redirect)
}

/// LR-101.
pub(super) fn resolve_rewrite(
    entry: &RewriteEntry,
    rule: &OfRule<'_>,
    report: &mut Report<'_>,
) -> Option<Rewrite> {
    let head = &entry.head;
    let host = resolve_host(head, &entry.host, report);
    let path = resolve_path(head, &entry.path, rule, report);
    let query = resolve_query(head, &entry.query, report);
    let rewrite = Rewrite { host: host?, path: path?, query: query? };
    let stays =
        rewrite.host.is_none() && rewrite.path == Template::path() && rewrite.query == Template::query();
    if stays {
        let rule = "it leaves the request as it is";
        let remedy = "write another `host`, `path` or `query`, or remove it";
        report.error(IllegalParam.of("RewriteConfig"), head.at, &head.subject, "rewrite", rule, remedy);
        return None;
    }
    Some(rewrite)
}

/// The outer `None` is an error, the inner one "as the client asked"; so of the next two as well.
fn resolve_protocol(
    entry: &RedirectEntry,
    listener: Option<ListenerProtocol>,
    report: &mut Report<'_>,
) -> Option<Option<bool>> {
    let head = &entry.head;
    let choices = [("HTTP", Some(false)), ("HTTPS", Some(true)), ("${protocol}", None)];
    let https = report.choice_or(head, "protocol", &entry.protocol, None, &choices, &[])?;
    if let (Some(false), Some(listener)) = (https, listener.filter(|listener| listener.is_tls())) {
        report.error(
            head.code(IllegalParam, "protocol"),
            entry.protocol.at().unwrap_or(head.at),
            &head.subject,
            "protocol HTTP",
            format!("a rule of a listener of protocol {listener} redirects to HTTPS only"),
            "write HTTPS, or leave it out",
        );
        return None;
    }
    Some(https)
}

fn resolve_host(head: &Head, field: &Field<At<String>>, report: &mut Report<'_>) -> Option<Option<String>> {
    let text = match field {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(text) if text.value == "${host}" => return Some(None),
        Field::Good(text) => text,
    };
    if HOST_CHARS.contains(&text.value.len()) && is_host_name(&text.value) {
        return Some(Some(text.value.clone()));
    }
    report.error(
        head.code(IllegalParam, "host"),
        text.at,
        &head.subject,
        format!("host {:?}", text.value),
        "a host here is `${host}`, or a name of 3 to 253 characters: labels of letters, digits and inner hyphens",
        "write a whole name, without port and variables",
    );
    None
}

fn resolve_port(head: &Head, field: &Field<At<Word>>, report: &mut Report<'_>) -> Option<Option<u16>> {
    let text = match field {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(text) if text.value.0 == "${port}" => return Some(None),
        Field::Good(text) => text,
    };
    let port = text.value.0.parse::<u16>().ok().filter(|port| *port > 0);
    if port.is_none() {
        report.error(
            head.code(IllegalParam, "port"),
            text.at,
            &head.subject,
            format!("port {}", text.value.0),
            "a port here is `${port}`, or a number from 1 to 65535",
            "write one of these",
        );
    }
    port.map(Some)
}

fn resolve_query(head: &Head, field: &Field<At<String>>, report: &mut Report<'_>) -> Option<Template> {
    let text = match field {
        Field::Absent => return Some(Template::query()),
        Field::Bad => return None,
        Field::Good(text) => text,
    };
    let template = parse(&text.value, QUERY_CHARS_MAX).and_then(|template| {
        let has_captures = template.captures().next().is_some();
        let rule = "what an expression captured can stand in a path only";
        if has_captures { Err(rule.to_owned()) } else { Ok(template) }
    });
    of_template(head, "query", text, template, report)
}

fn resolve_path(
    head: &Head,
    field: &Field<At<String>>,
    rule: &OfRule<'_>,
    report: &mut Report<'_>,
) -> Option<Template> {
    let text = match field {
        Field::Absent => return Some(Template::path()),
        Field::Bad => return None,
        Field::Good(text) => text,
    };
    let template = parse(&text.value, PATH_CHARS_MAX).and_then(|template| {
        let begins_well = match template.0.first() {
            Some(Piece::Text(text)) => text.starts_with('/'),
            first => first == Some(&Piece::Path),
        };
        if !begins_well {
            return Err("a path begins with `/` or `${path}`".to_owned());
        }
        let has_question_mark = |piece: &Piece| matches!(piece, Piece::Text(text) if text.contains('?'));
        if template.0.iter().any(has_question_mark) {
            return Err("a `?` would begin the query, which has a setting of its own".to_owned());
        }
        check_captures(&template, rule.conditions)?;
        Ok(template)
    });
    of_template(head, "path", text, template, report)
}

fn of_template(
    head: &Head,
    key: &str,
    text: &At<String>,
    template: Result<Template, String>,
    report: &mut Report<'_>,
) -> Option<Template> {
    let rule = match template {
        Ok(template) => return Some(template),
        Err(rule) => rule,
    };
    report.error(
        head.code(IllegalParam, key),
        text.at,
        &head.subject,
        format!("{key} {:?}", text.value),
        rule,
        "correct it; variables are ${protocol}, ${host}, ${port}, ${path}, ${query}, and in paths ${1} to ${3}",
    );
    None
}

fn parse(text: &str, chars_max: usize) -> Result<Template, String> {
    if !(1..=chars_max).contains(&text.chars().count()) {
        return Err(format!("it has 1 to {chars_max} characters"));
    }
    let template: Template = text.parse()?;
    let mut seen: Vec<&Piece> = Vec::new();
    for piece in &template.0 {
        match piece {
            Piece::Text(text) => {
                let is_fine = |c: char| c.is_ascii_graphic() && !UNSAFE.contains(c);
                if let Some(bad) = text.chars().find(|c| !is_fine(*c)) {
                    return Err(format!("{bad:?} cannot stand in a URL as it is"));
                }
            }
            variable if seen.contains(&variable) => return Err("each variable stands in it once".to_owned()),
            variable => seen.push(variable),
        }
    }
    Ok(template)
}

/// LR-98: what is used must be captured, whichever of the rule's paths the request has.
fn check_captures(template: &Template, conditions: Option<&[Condition]>) -> Result<(), String> {
    let used: BTreeSet<u8> = template.captures().collect();
    let (Some(conditions), false) = (conditions, used.is_empty()) else { return Ok(()) };
    let paths = conditions.iter().find_map(|condition| match condition {
        Condition::Path(paths) => Some(paths),
        _ => None,
    });
    let Some(paths) = paths else {
        return Err("${1} to ${3} are what the rule's path condition captured, and there is none".to_owned());
    };
    if (1..).zip(&used).any(|(number, used)| number != *used) {
        return Err("variables of captures are numbered from ${1} without gaps".to_owned());
    }
    for path in paths {
        let Pattern::Regex { pattern: expression, .. } = path else {
            return Err(
                "${1} to ${3} need regular expressions for all paths of the rule's condition".to_owned()
            );
        };
        let groups = check_pattern(path, Subject::Other)?;
        if groups != used.len() {
            return Err(format!(
                "it uses {} of {groups} captures of the path {expression:?}; all are to be used",
                used.len()
            ));
        }
    }
    Ok(())
}
