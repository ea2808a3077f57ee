//! Whole groups.

use super::remark::Remarks;
use super::yaml::{Map, Yaml};
use crate::config::ErrorFamily::{ResourceInUse, ResourceNotFound};
use crate::config::decode::nearest;
use crate::model::{Resources, ServerGroup, ServerGroupName};

/// The group named `name`, and its entry in the document.
pub(super) fn find<'a>(
    document: &'a mut Map,
    resources: &'a Resources,
    name: &str,
    denials: &mut Remarks,
) -> Option<(&'a ServerGroup, &'a mut Map)> {
    let Some(group) = resources.server_groups.get(&ServerGroupName::new(name)) else {
        let names = resources.server_groups.keys().map(ServerGroupName::as_str);
        not_found("server group", "ServerGroup", name, &names.collect::<Vec<_>>(), denials);
        return None;
    };
    let entry = document.maps_mut("server_groups").find(|entry| entry.has("name", name));
    Some((group, entry.expect("a group of the resources stands in their text")))
}

/// Says that nothing of that kind has this name, and which names there are.
pub(super) fn not_found(noun: &str, code: &'static str, name: &str, names: &[&str], denials: &mut Remarks) {
    let remedy = match (nearest(name, names), names) {
        (Some(near), _) => format!("did you mean \"{near}\"?"),
        (None, []) => format!("there is no {noun} at all"),
        (None, names) if names.len() <= 10 => {
            format!(
                "there are {}",
                names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
            )
        }
        (None, _) => format!("`causeway get {}s` shows what there is", noun.replace(' ', "-")),
    };
    denials.add((ResourceNotFound, code), &format!("{noun} \"{name}\""), "", "it does not exist", remedy);
}

/// SG-230, SG-233: a group goes if nothing uses it.
pub(super) fn delete(document: &mut Map, resources: &Resources, name: &str, denials: &mut Remarks) {
    let Some((group, _)) = find(document, resources, name, denials) else { return };
    let users = users(resources, group);
    if !users.is_empty() {
        denials.add(
            (ResourceInUse, "ServerGroup"),
            &format!("server group \"{name}\""),
            "",
            format!("it is used by {}", users.join(", ")),
            "remove these, or let them use another group, then delete it",
        );
        return;
    }
    document
        .list_mut("server_groups")
        .retain(|entry| !matches!(entry, Yaml::Map(entry) if entry.has("name", name)));
}

/// What sends traffic to a group, as messages name it.
pub fn users(resources: &Resources, group: &ServerGroup) -> Vec<String> {
    let mut users = Vec::new();
    for listener in resources.listeners.values() {
        if listener.server_group == group.name {
            users.push(format!("listener \"{}\"", listener.name));
        }
        let rules =
            listener.rules.iter().filter(|rule| rule.actions.groups().any(|used| *used == group.name));
        users.extend(rules.map(|rule| format!("rule \"{}\" of listener \"{}\"", rule.name, listener.name)));
    }
    users
}
