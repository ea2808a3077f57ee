//! What may become of things that are in force: what cannot be changed, and what cannot be removed.

use super::ErrorFamily::{OperationDenied, ResourceInUse, ResourceNotFound};
use super::Parsed;
use super::code::ErrorCode;
use super::error::ConfigErrors;
use super::resolve::{Checks, Spot};
use crate::model::{Resources, ServerGroup, ServerGroupName};
use std::fmt;

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

/// Why a group cannot be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovalRefused {
    /// [`ResourceInUse`], or [`ResourceNotFound`].
    pub code: ErrorCode,
    /// The sentence for people, with the remedy.
    pub message: String,
}

impl fmt::Display for RemovalRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.message)
    }
}

impl std::error::Error for RemovalRefused {}

/// Whether `group` may be removed: nothing sends to it (SG-230, SG-233).
pub fn check_removal(resources: &Resources, group: &ServerGroupName) -> Result<(), RemovalRefused> {
    if !resources.server_groups.contains_key(group) {
        let names = super::resolve::list(resources.server_groups.keys().map(ServerGroupName::as_str));
        return Err(RemovalRefused {
            code: ResourceNotFound.of("ServerGroup"),
            message: format!("server group \"{group}\" is not defined; defined server groups: {names}"),
        });
    }
    let users: Vec<&str> = resources
        .listeners
        .values()
        .filter(|listener| listener.server_group == *group)
        .map(|listener| listener.name.as_str())
        .collect();
    if users.is_empty() {
        return Ok(());
    }
    Err(RemovalRefused {
        code: ResourceInUse.of("ServerGroup"),
        message: format!(
            "server group \"{group}\" is in use by listeners {}; remove them first, or name another group there",
            super::resolve::list(users)
        ),
    })
}
