//! Forwarding rules of listeners (LR-60 to LR-107).
//!
//! A rule of which anything is wrong is reported and left out. What depends on the load balancer's edition is
//! [`check_rules`]'s to say.

mod actions;
mod conditions;
mod cors;
mod destination;
mod headers;
mod pattern;

pub(super) use headers::is_taken as is_header_of_rules_taken;

use super::{Checks, Places, Spot};
use crate::config::ErrorFamily::{Conflict, MissingParam, OperationDenied, QuotaExceeded};
use crate::config::decode::Report;
use crate::config::file::{ListenerEntry, RuleEntry};
use crate::model::{
    Condition, Edition, Extension, FieldCondition, Final, ListenerName, ListenerProtocol, LoopDetection,
    Pair, Pattern, Resources, Rule, RuleDirection, RuleName,
};
use serde_saphyr::Location;
use std::collections::BTreeMap;

/// Conditions of a rule, and values with wildcards in them (LR-67).
const CONDITIONS_MAX: usize = 10;
const CONDITIONS_OF_BASIC_MAX: usize = 5;
/// Actions of a rule (LR-67).
const ACTIONS_MAX: usize = 5;
const ACTIONS_OF_BASIC_MAX: usize = 3;

/// What of a listener matters to its rules.
pub(super) struct OfListener<'a> {
    pub(super) name: Option<&'a ListenerName>,
    pub(super) protocol: Option<ListenerProtocol>,
    /// Server groups that are declared.
    pub(super) groups: &'a BTreeMap<String, Location>,
    pub(super) loops: &'a LoopDetection,
}

/// The listener's rules, by direction and priority.
pub(super) fn resolve_rules(
    entry: &ListenerEntry,
    listener: &OfListener<'_>,
    places: &mut Places,
    report: &mut Report<'_>,
) -> Vec<Rule> {
    let mut rules = BTreeMap::new();
    let mut priorities: BTreeMap<(RuleDirection, u16), Location> = BTreeMap::new();
    for entry in entry.rules.items() {
        let head = &entry.head;
        let directions = [("Request", RuleDirection::Request), ("Response", RuleDirection::Response)];
        let direction =
            report.choice_or(head, "direction", &entry.direction, RuleDirection::Request, &directions, &[]);
        let remedy = "write a number from 1 to 10000; the smallest is asked first";
        let priority = report
            .required(head, "priority", &entry.priority, remedy)
            .and_then(|number| report.in_range(head, "priority", number, 1..=10_000))
            .and_then(|number| u16::try_from(number).ok());
        let rule = resolve_rule(entry, direction, listener, report);
        let (Some(direction), Some(priority)) = (direction, priority) else { continue };
        let at = entry.priority.at().unwrap_or(head.at);
        if let Some(first) = priorities.insert((direction, priority), at) {
            report.error(
                Conflict.of("Priority"),
                at,
                &head.subject,
                format!("priority {priority}"),
                format!(
                    "another rule on line {} has this priority among those of direction {direction:?}",
                    first.line()
                ),
                "choose another priority",
            );
            continue;
        }
        if let Some(listener) = listener.name {
            let spot = Spot::Rule(listener.clone(), direction, priority);
            places.set(spot, report.place(head.at), &head.subject);
        }
        if let Some(rule) = rule {
            rules.insert((direction, priority), Rule { priority, ..rule });
        }
    }
    rules.into_values().collect()
}

/// Everything but the priority.
fn resolve_rule(
    entry: &RuleEntry,
    direction: Option<RuleDirection>,
    listener: &OfListener<'_>,
    report: &mut Report<'_>,
) -> Option<Rule> {
    let head = &entry.head;
    let name = report.name(head, &entry.name).map(RuleName::new);
    let conditions =
        report.required(head, "conditions", &entry.conditions, "write what a request must look like");
    let actions = report.required(head, "actions", &entry.actions, "write what becomes of the request");
    for (key, is_empty) in [
        ("conditions", conditions.is_some_and(Vec::is_empty)),
        ("actions", actions.is_some_and(Vec::is_empty)),
    ] {
        if is_empty {
            let code = head.code(MissingParam, key);
            report.error(code, head.at, &head.subject, key, "the list is empty", "write at least one");
        }
    }
    let direction = direction?;
    let conditions =
        conditions.and_then(|entries| conditions::resolve_conditions(head, entries, direction, report));
    let of_rule = actions::OfRule { direction, conditions: conditions.as_deref(), listener };
    let actions = actions.and_then(|entries| actions::resolve_actions(head, entries, &of_rule, report));
    Some(Rule { name: name?, direction, priority: 0, conditions: conditions?, actions: actions? })
}

/// What edition Basic has not (LR-67, LR-73).
pub(super) fn check_rules(resources: &Resources, checks: &mut Checks<'_>) {
    for listener in resources.listeners.values() {
        let balancer = resources.load_balancers.get(&listener.load_balancer);
        let Some(balancer) = balancer.filter(|balancer| balancer.edition == Edition::Basic) else { continue };
        for rule in &listener.rules {
            let spot = Spot::Rule(listener.name.clone(), rule.direction, rule.priority);
            let mut error = |code, value: String, rule: &str, remedy: &str| {
                let rule = format!("{rule}, and load balancer \"{}\" is of edition Basic", balancer.name);
                checks.error(code, &spot, value, rule, format!("{remedy}, or write `edition: Standard`"));
            };
            let wildcards = wildcards(&rule.conditions);
            let actions = rule.actions.extensions.len() + usize::from(rule.actions.last.is_some());
            for (subject, count, noun, max) in [
                ("RuleConditions", rule.conditions.len(), "conditions", CONDITIONS_OF_BASIC_MAX),
                ("RuleWildcards", wildcards, "values with wildcards", CONDITIONS_OF_BASIC_MAX),
                ("RuleActions", actions, "actions", ACTIONS_OF_BASIC_MAX),
            ] {
                if count > max {
                    let rule = format!("a rule there has at most {max}");
                    error(QuotaExceeded.of(subject), format!("{count} {noun}"), &rule, "remove some");
                }
            }
            for kind in rule.conditions.iter().filter_map(beyond_basic_condition) {
                let code = OperationDenied.of("RuleConditionWithBasicEdition");
                let rule = "conditions there are of host, path and header";
                error(code, format!("condition {kind}"), rule, "remove the condition");
            }
            let of_extensions = rule.actions.extensions.iter().map(|action| extension_word(&action.action));
            let of_last = rule.actions.last.iter().filter_map(|last| match &last.action {
                Final::FixedResponse(_) => Some("fixed_response"),
                Final::Forward(_) | Final::Redirect(_) => None,
            });
            for kind in of_extensions.chain(of_last) {
                let code = OperationDenied.of("RuleActionWithBasicEdition");
                error(
                    code,
                    format!("action {kind}"),
                    "actions there forward or redirect",
                    "remove the action",
                );
            }
        }
    }
}

fn beyond_basic_condition(condition: &Condition) -> Option<&'static str> {
    match condition {
        Condition::Host(_) | Condition::Path(_) | Condition::Header(_) => None,
        Condition::QueryString(_) => Some("query"),
        Condition::Method(_) => Some("method"),
        Condition::Cookie(_) => Some("cookie"),
        Condition::SourceIp(_) => Some("source_ip"),
        Condition::ResponseHeader(_) => Some("response_header"),
        Condition::ResponseStatusCode(_) => Some("response_status_code"),
    }
}

fn extension_word<G>(extension: &Extension<G>) -> &'static str {
    match extension {
        Extension::Rewrite(_) => "rewrite",
        Extension::InsertHeader(_) => "insert_header",
        Extension::RemoveHeader { .. } => "remove_header",
        Extension::TrafficLimit(_) => "traffic_limit",
        Extension::TrafficMirror { .. } => "traffic_mirror",
        Extension::Cors(_) => "cors",
    }
}

/// How many values have wildcards (LR-67).
fn wildcards(conditions: &[Condition]) -> usize {
    let is_wildcard = |pattern: &&Pattern| matches!(pattern, Pattern::Wildcard(_));
    let of_pairs = |pairs: &[Pair]| {
        pairs.iter().filter(|pair| is_wildcard(&&pair.key) || is_wildcard(&&pair.value)).count()
    };
    let count = |condition: &Condition| match condition {
        Condition::Host(values)
        | Condition::Path(values)
        | Condition::Header(FieldCondition { values, .. })
        | Condition::ResponseHeader(FieldCondition { values, .. }) => {
            values.iter().filter(is_wildcard).count()
        }
        Condition::QueryString(pairs) | Condition::Cookie(pairs) => of_pairs(pairs),
        Condition::Method(_) | Condition::SourceIp(_) | Condition::ResponseStatusCode(_) => 0,
    };
    conditions.iter().map(count).sum()
}
