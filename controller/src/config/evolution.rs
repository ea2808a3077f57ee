//! What cannot become of things that are in force.

use super::ErrorFamily::OperationDenied;
use super::Parsed;
use super::error::ConfigErrors;
use super::resolve::{Checks, Spot};
use crate::model::{Resources, ServerGroup};

/// Refuses to change, under one name, what a group is: its type, protocol, VPC and IPv6 (SG-3, SG-7). Its servers
/// would be others, and what is known of their health would be of something else.
pub fn check_changes(old: &Resources, new: &Parsed<Resources>) -> Result<(), ConfigErrors> {
    let mut checks = Checks::new([&new.places]);
    for group in new.value.server_groups.values() {
        let Some(before) = old.server_groups.get(&group.name) else { continue };
        for (reason, value, was) in changed_for_good(before, group) {
            checks.error(
                OperationDenied.of(reason),
                &Spot::ServerGroup(group.name.clone()),
                value,
                format!("{was} now, which cannot be changed"),
                "write a group of another name, and remove this one",
            );
        }
    }
    match ConfigErrors::new(checks.errors) {
        Some(errors) => Err(errors),
        None => Ok(()),
    }
}

/// Reason, new value and old value of each difference.
fn changed_for_good(old: &ServerGroup, new: &ServerGroup) -> Vec<(&'static str, String, String)> {
    let vpc = |group: &ServerGroup| group.vpc.as_ref().map_or("none".to_owned(), |vpc| format!("\"{vpc}\""));
    let protocol = |group: &ServerGroup| group.protocol.to_string();
    let settings = [
        (
            "ServerGroupTypeCreateOnly",
            "type",
            format!("{:?}", new.group_type),
            format!("{:?}", old.group_type),
        ),
        ("ProtocolCreateOnly", "protocol", protocol(new), protocol(old)),
        ("VpcIdCreateOnly", "vpc", vpc(new), vpc(old)),
        ("Ipv6EnabledCreateOnly", "ipv6_enabled", new.ipv6.to_string(), old.ipv6.to_string()),
    ];
    settings
        .into_iter()
        .filter(|(_, _, new, old)| new != old)
        .map(|(reason, key, new, old)| (reason, format!("{key} {new}"), format!("it is {old}")))
        .collect()
}
