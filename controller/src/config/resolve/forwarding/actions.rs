//! Actions of a rule (LR-90 to LR-95, LR-100, LR-104, LR-106).

use super::cors::resolve_cors;
use super::destination::{resolve_redirect, resolve_rewrite};
use super::headers::{HeaderRules, resolve_insert, resolve_remove};
use super::{ACTIONS_MAX, OfListener};
use crate::config::ErrorFamily::{DuplicatedParam, IllegalParam, MissingParam, QuotaExceeded};
use crate::config::decode::{Field, Head, Report, Short};
use crate::config::file::{ActionEntry, FixedResponseEntry, ForwardEntry, TrafficLimitEntry};
use crate::model::{
    Actions, Condition, Extension, Final, FixedResponse, Forward, GroupShare, Ordered, RuleDirection,
    ServerGroupName, TrafficLimit,
};
use serde_saphyr::Location;
use std::collections::{BTreeMap, BTreeSet};

/// LR-94; as far as a quota can be raised (D-16).
const GROUPS_MAX: usize = 5;
const WEIGHT_MAX: i128 = 10_000;
const QPS: std::ops::RangeInclusive<i128> = 1..=1_000_000;
const CONTENT_TYPES: [&str; 5] =
    ["text/plain", "text/css", "text/html", "application/javascript", "application/json"];
const CONTENT_BYTES_MAX: usize = 1024;

/// What of a rule matters to its actions.
pub(super) struct OfRule<'a> {
    pub(super) direction: RuleDirection,
    /// `None` where they are wrong.
    pub(super) conditions: Option<&'a [Condition]>,
    pub(super) listener: &'a OfListener<'a>,
}

/// Kinds of actions, each with whether it ends a rule, and whether a rule may have several of it.
const KINDS: [(&str, bool, bool); 9] = [
    ("forward", true, false),
    ("redirect", true, false),
    ("fixed_response", true, false),
    ("rewrite", false, false),
    ("insert_header", false, true),
    ("remove_header", false, true),
    ("traffic_limit", false, false),
    ("traffic_mirror", false, false),
    ("cors", false, false),
];
/// Of rules for responses (LR-92).
const RESPONSE_KINDS: [&str; 3] = ["fixed_response", "insert_header", "remove_header"];

enum Action {
    Extension(Extension<ServerGroupName>),
    Final(Final<ServerGroupName>),
}

/// `None` after reporting what is wrong.
pub(super) fn resolve_actions(
    head: &Head,
    entries: &[ActionEntry],
    rule: &OfRule<'_>,
    report: &mut Report<'_>,
) -> Option<Actions<ServerGroupName>> {
    if let Some(beyond) = entries.get(ACTIONS_MAX) {
        report.error(
            QuotaExceeded.of("RuleActions"),
            beyond.head.at,
            &head.subject,
            format!("{} actions", entries.len()),
            format!("a rule has at most {ACTIONS_MAX}"),
            "remove some",
        );
    }
    let orders = resolve_orders(entries, report);
    let kinds: Vec<_> = entries.iter().map(|entry| kind_of(entry, report)).collect();
    let fits = check_kinds(head, entries, &kinds, orders.as_deref(), rule.direction, report);
    let mut headers = HeaderRules::new(rule.direction, rule.listener.loops);
    let resolve = |entry| resolve_action(entry, rule, &mut headers, report);
    let actions: Vec<Option<Action>> = entries.iter().map(resolve).collect();
    let (orders, actions) = (orders?, actions.into_iter().collect::<Option<Vec<_>>>()?);
    if !fits {
        return None;
    }
    let mut resolved = Actions { extensions: Vec::new(), last: None };
    for (order, action) in orders.into_iter().zip(actions) {
        match action {
            Action::Extension(action) => resolved.extensions.push(Ordered { order, action }),
            Action::Final(action) => resolved.last = Some(Ordered { order, action }),
        }
    }
    resolved.extensions.sort_by_key(|extension| extension.order);
    Some(resolved)
}

/// LR-91. Where none is written, the list's order is meant.
fn resolve_orders(entries: &[ActionEntry], report: &mut Report<'_>) -> Option<Vec<u16>> {
    if entries.iter().all(|entry| !entry.order.is_written()) {
        return Some((1..).take(entries.len()).collect());
    }
    let mut orders = Vec::new();
    let mut known: BTreeMap<i128, Location> = BTreeMap::new();
    for entry in entries {
        let head = &entry.head;
        let order = report
            .required(head, "order", &entry.order, "write it for each action of the rule, or for none")
            .and_then(|order| report.in_range(head, "order", order, 1..=50_000));
        let at = entry.order.at().unwrap_or(head.at);
        if let Some(first) = order.and_then(|order| known.insert(order, at)) {
            let rule = format!("the rule has an action of this order on line {}", first.line());
            let value = format!("order {}", order.unwrap_or_default());
            report.error(
                head.code(DuplicatedParam, "order"),
                at,
                &head.subject,
                value,
                rule,
                "choose another",
            );
        }
        orders.push(order.and_then(|order| u16::try_from(order).ok()));
    }
    orders.into_iter().collect()
}

type Kind = (&'static str, bool, bool);

/// The one kind that an action is of.
fn kind_of(entry: &ActionEntry, report: &mut Report<'_>) -> Option<Kind> {
    let written = [
        entry.forward.is_written(),
        entry.redirect.is_written(),
        entry.fixed_response.is_written(),
        entry.rewrite.is_written(),
        entry.insert_header.is_written(),
        entry.remove_header.is_written(),
        entry.traffic_limit.is_written(),
        entry.traffic_mirror.is_written(),
        entry.cors.is_written(),
    ];
    let kinds: Vec<_> = KINDS.into_iter().zip(written).filter(|(_, is_written)| *is_written).collect();
    let head = &entry.head;
    match kinds.as_slice() {
        [(kind, _)] => return Some(*kind),
        [] => {
            let remedy = format!("write one of {}", KINDS.map(|(kind, ..)| format!("`{kind}`")).join(", "));
            report.error(
                MissingParam.of("RuleActions"),
                head.at,
                &head.subject,
                "",
                "it does nothing",
                remedy,
            );
        }
        several => {
            let words: Vec<&str> = several.iter().map(|((kind, ..), _)| *kind).collect();
            let rule = "an action is of one kind";
            let remedy = "begin each with `- ` of its own";
            let code = IllegalParam.of("RuleActions");
            report.error(code, head.at, &head.subject, words.join(", "), rule, remedy);
        }
    }
    None
}

/// LR-92, LR-93.
fn check_kinds(
    head: &Head,
    entries: &[ActionEntry],
    kinds: &[Option<Kind>],
    orders: Option<&[u16]>,
    direction: RuleDirection,
    report: &mut Report<'_>,
) -> bool {
    let errors = report.errors.len();
    let known: Vec<(&ActionEntry, Kind)> =
        entries.iter().zip(kinds).filter_map(|(entry, kind)| Some((entry, (*kind)?))).collect();
    let mut seen = BTreeSet::new();
    let mut error = |entry: &ActionEntry, code, kind: &str, rule: &str, remedy: &str| {
        report.error(code, entry.head.at, &entry.head.subject, kind, rule, remedy);
    };
    for (entry, (kind, _, allows_several)) in &known {
        if direction == RuleDirection::Response && !RESPONSE_KINDS.contains(kind) {
            let code = IllegalParam.of("RuleActions");
            let rule = "a rule for responses inserts and removes headers, or answers with a fixed response";
            error(entry, code, kind, rule, "remove it");
        } else if !seen.insert(*kind) && !allows_several {
            let code = DuplicatedParam.of("RuleActions");
            error(entry, code, kind, "a rule has one action of this kind", "remove it");
        }
    }
    let is_final = |(_, (_, is_final, _)): &&(&ActionEntry, Kind)| *is_final;
    let finals: Vec<_> = known.iter().filter(is_final).collect();
    let last = finals.last().map(|(entry, (kind, ..))| (*entry, *kind));
    match (finals.as_slice(), last) {
        ([_, .., _], Some((entry, kind))) if finals.iter().any(|(_, (other, ..))| *other != kind) => {
            let code = IllegalParam.of("RuleActions");
            let rule = "a rule has one action that ends it: forward, redirect or fixed_response";
            error(entry, code, kind, rule, "remove it, or make another rule of it");
        }
        ([_], Some((entry, kind))) => {
            let place = entries.iter().position(|other| std::ptr::eq(other, entry));
            let is_last = orders.is_none_or(|orders| {
                place.is_none_or(|place| orders.iter().all(|order| *order <= orders[place]))
            });
            if !is_last {
                let code = IllegalParam.of("RuleActions");
                error(
                    entry,
                    code,
                    kind,
                    "it ends the rule, and another action comes after it",
                    "put it last",
                );
            }
        }
        _ => {}
    }
    let is_whole = known.len() == entries.len();
    if finals.is_empty() && is_whole && !entries.is_empty() && direction == RuleDirection::Request {
        report.error(
            MissingParam.of("RuleActions"),
            head.at,
            &head.subject,
            "",
            "no action ends the rule",
            "add one of `forward`, `redirect` and `fixed_response`",
        );
    }
    let rewrite = known.iter().find(|(_, (kind, ..))| *kind == "rewrite");
    if let (Some((entry, _)), Some((_, last))) = (rewrite, last)
        && last != "forward"
    {
        let code = IllegalParam.of("RuleActions");
        let (rule, remedy) =
            ("only a request that is forwarded can be rewritten", "add a `forward`, or remove it");
        report.error(code, entry.head.at, &entry.head.subject, "rewrite", rule, remedy);
    }
    report.errors.len() == errors
}

fn resolve_action(
    entry: &ActionEntry,
    rule: &OfRule<'_>,
    headers: &mut HeaderRules,
    report: &mut Report<'_>,
) -> Option<Action> {
    let head = &entry.head;
    if let Field::Good(forward) = &entry.forward {
        return resolve_forward(head, forward, rule, report)
            .map(|forward| Action::Final(Final::Forward(forward)));
    }
    if let Field::Good(redirect) = &entry.redirect {
        return resolve_redirect(redirect, rule, report)
            .map(|redirect| Action::Final(Final::Redirect(redirect)));
    }
    if let Field::Good(fixed) = &entry.fixed_response {
        return resolve_fixed(fixed, report).map(|fixed| Action::Final(Final::FixedResponse(fixed)));
    }
    let extension = if let Field::Good(rewrite) = &entry.rewrite {
        resolve_rewrite(rewrite, rule, report).map(Extension::Rewrite)
    } else if let Field::Good(insert) = &entry.insert_header {
        resolve_insert(insert, headers, report).map(Extension::InsertHeader)
    } else if let Field::Good(key) = &entry.remove_header {
        resolve_remove(head, key, headers, report).map(|key| Extension::RemoveHeader { key })
    } else if let Field::Good(limit) = &entry.traffic_limit {
        resolve_limit(limit, report).map(Extension::TrafficLimit)
    } else if let Field::Good(group) = &entry.traffic_mirror {
        let group = report.reference(head, "server group", group, rule.listener.groups);
        group.map(|group| Extension::TrafficMirror { group: ServerGroupName::new(group) })
    } else if let Field::Good(cors) = &entry.cors {
        resolve_cors(cors, report).map(Extension::Cors)
    } else {
        None
    };
    extension.map(Action::Extension)
}

/// LR-94, LR-95.
fn resolve_forward(
    head: &Head,
    forward: &Short<ForwardEntry>,
    rule: &OfRule<'_>,
    report: &mut Report<'_>,
) -> Option<Forward<ServerGroupName>> {
    let entry = match forward {
        Short::Word(text) => {
            let group = report.reference(head, "server group", text, rule.listener.groups)?;
            let share = GroupShare { group: ServerGroupName::new(group), weight: 100 };
            return Some(Forward { groups: vec![share], sticky_secs: None });
        }
        Short::Full(entry) => entry,
    };
    let head = &entry.head;
    let sticky_secs = match &entry.sticky {
        Field::Absent => Some(None),
        Field::Bad => None,
        Field::Good(sticky) => {
            let timeout = report.number(&sticky.head, "timeout", &sticky.timeout, 1..=86_400, 1000);
            let is_on = report.flag(&sticky.enabled, true);
            timeout.zip(is_on).map(|(timeout, is_on)| u32::try_from(timeout).ok().filter(|_| is_on))
        }
    };
    let shares =
        report.required(head, "groups", &entry.groups, "name the groups: `groups: [{group: ...}]`")?;
    if shares.is_empty() || shares.len() > GROUPS_MAX {
        report.error(
            head.code(IllegalParam, "groups"),
            shares.get(GROUPS_MAX).map_or(head.at, |beyond| beyond.head.at),
            &head.subject,
            format!("{} groups", shares.len()),
            format!("a rule forwards to 1 to {GROUPS_MAX}"),
            "name some of `server_groups`",
        );
    }
    let mut known = BTreeSet::new();
    let mut groups = Vec::new();
    for share in shares {
        let head = &share.head;
        let group = report
            .required(head, "group", &share.group, "name the server group")
            .and_then(|text| report.reference(head, "server group", text, rule.listener.groups));
        if let Some(group) = group.as_ref().filter(|group| !known.insert((*group).clone())) {
            let value = format!("server group \"{group}\"");
            let code = head.code(DuplicatedParam, "group");
            report.error(
                code,
                head.at,
                &head.subject,
                value,
                "it is named twice",
                "name it once, with its whole weight",
            );
        }
        let weight = if shares.len() > 1 {
            report
                .required(head, "weight", &share.weight, "write each group's share, such as `weight: 50`")
                .and_then(|weight| report.in_range(head, "weight", weight, 0..=WEIGHT_MAX))
        } else {
            report.number(head, "weight", &share.weight, 0..=WEIGHT_MAX, 100)
        };
        let weight = weight.and_then(|weight| u32::try_from(weight).ok());
        let share = group.zip(weight);
        groups.push(share.map(|(group, weight)| GroupShare { group: ServerGroupName::new(group), weight }));
    }
    Some(Forward { groups: groups.into_iter().collect::<Option<_>>()?, sticky_secs: sticky_secs? })
}

/// LR-100.
fn resolve_fixed(entry: &FixedResponseEntry, report: &mut Report<'_>) -> Option<FixedResponse> {
    let head = &entry.head;
    let status =
        report.required(head, "status", &entry.status, "write a status such as 404").and_then(|number| {
            if matches!(number.value, 200..=299 | 400..=599) {
                return u16::try_from(number.value).ok();
            }
            report.error(
                head.code(IllegalParam, "status"),
                number.at,
                &head.subject,
                format!("status {}", number.value),
                "a fixed response is a 2xx, 4xx or 5xx",
                "write one such as 404; use `redirect` for 3xx",
            );
            None
        });
    let types = CONTENT_TYPES.map(|name| (name, name));
    let content_type = report.choice_or(head, "content_type", &entry.content_type, types[0].1, &types, &[]);
    let content = match &entry.content {
        Field::Absent => Some(String::new()),
        Field::Bad => None,
        Field::Good(text) if text.value.len() <= CONTENT_BYTES_MAX && text.value.is_ascii() => {
            Some(text.value.clone())
        }
        Field::Good(text) => {
            report.error(
                head.code(IllegalParam, "content"),
                text.at,
                &head.subject,
                format!("content of {} bytes", text.value.len()),
                format!("at most {CONTENT_BYTES_MAX} bytes of ASCII"),
                "shorten it; let a server answer what is longer",
            );
            None
        }
    };
    let (status, content) = (status?, content?);
    if matches!(status, 204 | 205) && !content.is_empty() {
        report.error(
            head.code(IllegalParam, "content"),
            entry.content.at().unwrap_or(head.at),
            &head.subject,
            format!("status {status}"),
            "a response of this status has no content",
            "remove `content`, or write another status",
        );
        return None;
    }
    Some(FixedResponse { status, content_type: content_type?.to_owned(), content })
}

/// LR-104.
fn resolve_limit(entry: &TrafficLimitEntry, report: &mut Report<'_>) -> Option<TrafficLimit> {
    let head = &entry.head;
    let mut limit = |key, field: &Field<_>| match field {
        Field::Absent => Some(None),
        field => report.number(head, key, field, QPS, 0).map(|limit| u32::try_from(limit).ok()),
    };
    let (qps, per_ip_qps) = (limit("qps", &entry.qps), limit("per_ip_qps", &entry.per_ip_qps));
    let limit = TrafficLimit { qps: qps?, per_ip_qps: per_ip_qps? };
    match (limit.qps, limit.per_ip_qps) {
        (None, None) => {
            let code = head.code(MissingParam, "qps");
            let remedy = "write requests per second as `qps`, `per_ip_qps` or both";
            report.error(code, head.at, &head.subject, "traffic_limit", "nothing is limited", remedy);
            None
        }
        (Some(qps), Some(per_ip)) if per_ip >= qps => {
            report.error(
                head.code(IllegalParam, "per_ip_qps"),
                entry.per_ip_qps.at().unwrap_or(head.at),
                &head.subject,
                format!("per_ip_qps {per_ip}"),
                format!("not smaller than qps {qps}, which all addresses share"),
                "lower it, or raise `qps`",
            );
            None
        }
        _ => Some(limit),
    }
}
