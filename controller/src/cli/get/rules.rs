//! Tables of rules, access control lists and security policies.

use crate::api::{AclView, RuleView, SecurityPolicyView};
use crate::cli::table::{Align, Table};

pub(super) fn rules(rules: &[RuleView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("LISTENER", Align::Left),
        ("PRIORITY", Align::Right),
        ("RULE", Align::Left),
        ("IF", Align::Left),
        ("THEN", Align::Left),
    ]);
    for rule in rules {
        let is_of_response = rule.direction == "Response";
        table.row([
            rule.listener.clone(),
            rule.priority.to_string(),
            if is_of_response { format!("{} (response)", rule.name) } else { rule.name.clone() },
            rule.conditions.join(" and "),
            rule.actions.join(", then "),
        ]);
    }
    table.render(width)
}

pub(super) fn acls(acls: &[AclView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("COUNT", Align::Right),
        ("ENTRIES", Align::Left),
        ("LISTENERS", Align::Left),
    ]);
    for acl in acls {
        let entries: Vec<&str> = acl.entries.iter().map(|(network, _)| network.as_str()).collect();
        let count = entries.len().to_string();
        table.row([acl.name.clone(), count, entries.join(", "), acl.listeners.join(", ")]);
    }
    table.render(width)
}

pub(super) fn security_policies(policies: &[SecurityPolicyView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("SERVED", Align::Left),
        ("SUITES", Align::Right),
        ("NOT SERVED", Align::Left),
        ("LISTENERS", Align::Left),
    ]);
    for policy in policies {
        table.row([
            policy.name.clone(),
            policy.versions.join(", "),
            policy.suites.len().to_string(),
            policy.left_out.join("; "),
            policy.listeners.join(", "),
        ]);
    }
    table.render(width)
}
