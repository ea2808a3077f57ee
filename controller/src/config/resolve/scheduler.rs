//! How a group picks a server (SG section 4).

use crate::config::ErrorFamily::{IllegalParam, OperationDenied};
use crate::config::decode::{Field, Head, Report};
use crate::config::file::{ServerGroupEntry, UchEntry};
use crate::model::{GroupProtocol, HashFactor, Scheduler};

/// SG-85.
const PARAMETER_CHARS: std::ops::RangeInclusive<usize> = 1..=100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Wrr,
    Wlc,
    Sch,
}

/// SG-80, SG-85; at L4 as D-17 has it.
pub(super) fn resolve_scheduler(
    entry: &ServerGroupEntry,
    protocol: Option<GroupProtocol>,
    report: &mut Report<'_>,
) -> Option<Scheduler> {
    let head = &entry.head;
    let choices = [("Wrr", Kind::Wrr), ("Wlc", Kind::Wlc), ("Sch", Kind::Sch)];
    let kind = report.choice_or(head, "scheduler", &entry.scheduler, Kind::Wrr, &choices, &[]);
    let is_l4 = protocol == Some(GroupProtocol::Tcp);
    if let (Some(Kind::Wlc), true, Some(at)) = (kind, is_l4, entry.scheduler.at()) {
        report.error(
            OperationDenied.of("WlcWithTcp"),
            at,
            &head.subject,
            "scheduler Wlc",
            "groups of protocol TCP are balanced where connections are not counted",
            "write `scheduler: Wrr`, or `scheduler: Sch` to hash the client's address",
        );
    }
    let factor = match &entry.uch {
        Field::Absent => Some(HashFactor::SourceIp),
        Field::Bad => None,
        Field::Good(uch) => resolve_parameter(uch, report).map(HashFactor::UrlParameter),
    };
    if let (Some(kind), Some(at)) = (kind, entry.uch.at()) {
        if kind != Kind::Sch {
            report.error(
                head.code(IllegalParam, "uch"),
                at,
                &head.subject,
                "uch",
                "a setting of the scheduler Sch only",
                "write `scheduler: Sch`, or remove `uch`",
            );
        } else if is_l4 {
            report.error(
                OperationDenied.of("UchConfigWithTcp"),
                at,
                &head.subject,
                "uch",
                "groups of protocol TCP see no URL",
                "remove `uch`: the client's address is hashed",
            );
        }
    }
    Some(match kind? {
        Kind::Wrr => Scheduler::Wrr,
        Kind::Wlc => Scheduler::Wlc,
        Kind::Sch => Scheduler::Sch(factor?),
    })
}

fn resolve_parameter(entry: &UchEntry, report: &mut Report<'_>) -> Option<String> {
    let head: &Head = &entry.head;
    report.choice_or(head, "type", &entry.uch_type, (), &[("QueryString", ())], &[])?;
    let name = report.required(head, "value", &entry.value, "write `value: NAME`")?;
    let is_fine = |c: char| !c.is_whitespace() && !c.is_control() && !"#[]{}\\|<>&".contains(c);
    if PARAMETER_CHARS.contains(&name.value.chars().count()) && name.value.chars().all(is_fine) {
        return Some(name.value.clone());
    }
    report.error(
        head.code(IllegalParam, "value"),
        name.at,
        &head.subject,
        format!("value {:?}", name.value),
        "1 to 100 characters without spaces or #[]{}\\|<>&",
        "write the name of the parameter, without `?` and `=`",
    );
    None
}
