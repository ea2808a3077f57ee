//! Servers of a group.

use super::group;
use super::name::{ARN_PREFIX, FORMS, InventoryKind, ServerName, server_name};
use super::remark::Remarks;
use super::yaml::{Map, Yaml};
use super::{NewServer, ServerSettings};
use crate::config::ErrorFamily::{
    DuplicatedParam, IllegalParam, MissingParam, OperationDenied, ResourceAlreadyExist, ResourceNotFound,
};
use crate::model::{Resources, Server, ServerGroup, ServerGroupType, ServerId};
use std::collections::{BTreeMap, BTreeSet};

/// Servers that join or leave in one call (SG-220).
const SERVERS_MAX: usize = 200;
/// Servers that are changed in one call (SG-221).
const SETTINGS_MAX: usize = 40;

/// A list of a call: what the API calls it, and how many it holds at most.
#[derive(Clone, Copy)]
struct List {
    code: &'static str,
    verb: &'static str,
    max: usize,
}

const ADD: List = List { code: "Servers", verb: "added", max: SERVERS_MAX };
const REMOVE: List = List { code: "Servers", verb: "removed", max: SERVERS_MAX };
const SET: List = List { code: "Servers", verb: "changed", max: SETTINGS_MAX };

pub(super) fn add(
    document: &mut Map,
    resources: &Resources,
    group: &str,
    servers: &[NewServer],
    denials: &mut Remarks,
) {
    let is_sized = check_length(ADD, group, servers.len(), denials);
    let Some((group, entry)) = group::find(document, resources, group, denials) else { return };
    if is_sized {
        join(entry, resources, group, servers, denials);
    }
}

pub(super) fn remove(
    document: &mut Map,
    resources: &Resources,
    group: &str,
    servers: &[String],
    denials: &mut Remarks,
) {
    let is_sized = check_length(REMOVE, group, servers.len(), denials);
    let Some((group, entry)) = group::find(document, resources, group, denials) else { return };
    if is_sized {
        let leaving = members(group, servers.iter().map(String::as_str), denials);
        leave(entry, group, leaving.into_keys().collect());
    }
}

/// SG-223, SG-224. Both happen in one transaction, so that the group is never smaller than before or after.
pub(super) fn replace(
    document: &mut Map,
    resources: &Resources,
    group: &str,
    (added, removed): (&[NewServer], &[String]),
    denials: &mut Remarks,
) {
    let are_sized = [
        check_length(List { code: "AddedServers", ..ADD }, group, added.len(), denials),
        check_length(List { code: "RemovedServers", ..REMOVE }, group, removed.len(), denials),
    ];
    let Some((group, entry)) = group::find(document, resources, group, denials) else { return };
    if group.group_type == ServerGroupType::Fc {
        denials.add(
            (OperationDenied, "ServerGroupTypeFc"),
            &subject(group),
            "type Fc",
            "servers of a group of this type are not replaced",
            "remove its function, then add another",
        );
        return;
    }
    for server in added.iter().filter(|server| server.remote_ip) {
        denials.add(
            (IllegalParam, "RemoteIpEnabled"),
            &server_subject(group, &server.server),
            "remote_ip true",
            "a remote server does not join by replacing",
            "add it, then remove the others",
        );
    }
    if are_sized == [true, true] {
        let leaving = members(group, removed.iter().map(String::as_str), denials);
        join(entry, resources, group, added, denials);
        leave(entry, group, leaving.into_keys().collect());
    }
}

/// SG-221: weight and description only.
pub(super) fn set(
    document: &mut Map,
    resources: &Resources,
    group: &str,
    servers: &[ServerSettings],
    denials: &mut Remarks,
) {
    let is_sized = check_length(SET, group, servers.len(), denials);
    let Some((group, entry)) = group::find(document, resources, group, denials) else { return };
    if !is_sized {
        return;
    }
    for wanted in servers.iter().filter(|wanted| wanted.weight.is_none() && wanted.description.is_none()) {
        denials.add(
            (MissingParam, "Weight"),
            &server_subject(group, &wanted.server),
            "",
            "nothing of it is to change",
            "give a weight, a description, or both",
        );
    }
    let found = members(group, servers.iter().map(|wanted| wanted.server.as_str()), denials);
    let entries = entry.list_mut("servers");
    for (place, number) in found {
        let (Some(Yaml::Map(entry)), wanted) = (entries.get_mut(place), &servers[number]) else { continue };
        if let Some(weight) = wanted.weight {
            entry.set("weight", Yaml::Integer(weight.into()));
        }
        match wanted.description.as_deref() {
            Some("") => entry.remove("description"),
            Some(text) => entry.set("description", Yaml::text(text)),
            None => {}
        }
    }
}

fn subject(group: &ServerGroup) -> String {
    format!("server group \"{}\"", group.name)
}

fn server_subject(group: &ServerGroup, server: &str) -> String {
    format!("{}, server {server}", subject(group))
}

fn check_length(list: List, group: &str, length: usize, denials: &mut Remarks) -> bool {
    let is_right = (1..=list.max).contains(&length);
    if !is_right {
        let family = if length == 0 { MissingParam } else { IllegalParam };
        denials.add(
            (family, list.code),
            &format!("server group \"{group}\""),
            format!("{length} servers"),
            format!("1 to {} servers are {} at a time", list.max, list.verb),
            if length == 0 { "name some" } else { "name the others in another call" },
        );
    }
    is_right
}

fn parse(group: &ServerGroup, text: &str, denials: &mut Remarks) -> Option<ServerName> {
    let name = ServerName::parse(text);
    if name.is_none() {
        denials.add(
            (IllegalParam, "ServerId"),
            &server_subject(group, text),
            "",
            "that names no server",
            format!("write {FORMS}"),
        );
    }
    name
}

/// Places of members in the group's list, each with the number of its name in `names`.
fn members<'a>(
    group: &ServerGroup,
    names: impl Iterator<Item = &'a str>,
    denials: &mut Remarks,
) -> BTreeMap<usize, usize> {
    let mut found = BTreeMap::new();
    for (number, text) in names.enumerate() {
        let Some(name) = parse(group, text, denials) else { continue };
        let fitting: Vec<usize> =
            (0..group.servers.len()).filter(|place| name.fits(&group.servers[*place])).collect();
        match fitting.as_slice() {
            [] => denials.add(
                (ResourceNotFound, "Server"),
                &server_subject(group, text),
                "",
                "the group has no such server",
                format!("`causeway get servers {}` shows which it has", quoted(group.name.as_str())),
            ),
            [place] => {
                if found.insert(*place, number).is_some() {
                    duplicate(group, text, denials);
                }
            }
            several => denials.add(
                (IllegalParam, "ServerId"),
                &server_subject(group, text),
                "",
                format!("{} servers of the group fit", several.len()),
                format!(
                    "name one: {}",
                    several
                        .iter()
                        .take(5)
                        .map(|place| server_name(&group.servers[*place]))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            ),
        }
    }
    found
}

fn duplicate(group: &ServerGroup, text: &str, denials: &mut Remarks) {
    denials.add(
        (DuplicatedParam, "Server"),
        &server_subject(group, text),
        "",
        "it is named twice",
        "name it once",
    );
}

/// A name as a shell takes it for one word.
fn quoted(name: &str) -> String {
    if name.contains(' ') { format!("'{name}'") } else { name.to_owned() }
}

fn leave(entry: &mut Map, group: &ServerGroup, leaving: BTreeSet<usize>) {
    let mut places = 0..group.servers.len();
    entry.list_mut("servers").retain(|_| places.next().is_none_or(|place| !leaving.contains(&place)));
}

fn join(
    entry: &mut Map,
    resources: &Resources,
    group: &ServerGroup,
    servers: &[NewServer],
    denials: &mut Remarks,
) {
    let mut seen: Vec<ServerName> = Vec::new();
    for wanted in servers {
        let Some(name) = parse(group, &wanted.server, denials) else { continue };
        let name = name.with_port(wanted.port);
        let member = group.servers.iter().find(|server| is_member(&name, server, resources));
        if member.is_some() {
            denials.add(
                (ResourceAlreadyExist, "Server"),
                &server_subject(group, &name.to_string()),
                "",
                "the group has it already",
                "change its weight with `causeway server set`",
            );
        } else if seen.contains(&name) {
            duplicate(group, &name.to_string(), denials);
        } else if fits_type(&name, group, denials) {
            entry.list_mut("servers").push(Yaml::Map(entry_of(&name, wanted)));
            seen.push(name);
        }
    }
}

/// Whether `name`, of a server that is to join, is that of `server`: an instance without an address has its primary one.
fn is_member(name: &ServerName, server: &Server, resources: &Resources) -> bool {
    let is_primary = || match &server.id {
        ServerId::Ecs(id) | ServerId::Eci(id) => {
            let instance = resources.inventory.instances.get(id);
            let interface = instance.and_then(|instance| instance.interfaces.first());
            interface.is_none_or(|id| is_first_address(resources, id, server))
        }
        ServerId::Eni(id) => is_first_address(resources, id, server),
        ServerId::Ip | ServerId::Fc(_) => true,
    };
    let has_address = !matches!(name, ServerName::Inventory { ip: None, .. });
    let has_port = name.port().is_some() || matches!(name, ServerName::Function { .. });
    has_port && name.fits(server) && (has_address || is_primary())
}

fn is_first_address(resources: &Resources, interface: &str, server: &Server) -> bool {
    let first = resources.inventory.interfaces.get(interface).and_then(|found| found.addresses.first());
    first.is_none_or(|first| *first == server.address.ip)
}

/// SG-32.
fn fits_type(name: &ServerName, group: &ServerGroup, denials: &mut Remarks) -> bool {
    let (of_server, fitting) = match name {
        ServerName::Address { .. } => ("Ip", ServerGroupType::Ip),
        ServerName::Inventory { kind: InventoryKind::Ecs, .. } => ("Ecs", ServerGroupType::Instance),
        ServerName::Inventory { kind: InventoryKind::Eni, .. } => ("Eni", ServerGroupType::Instance),
        ServerName::Inventory { kind: InventoryKind::Eci, .. } => ("Eci", ServerGroupType::Instance),
        ServerName::Function { .. } => ("Fc", ServerGroupType::Fc),
    };
    let (of_group, example) = match group.group_type {
        ServerGroupType::Instance => ("Instance", "ecs:ID:PORT, eni:ID:PORT or eci:ID:PORT"),
        ServerGroupType::Ip => ("Ip", "ADDRESS:PORT"),
        ServerGroupType::Fc => ("Fc", "fc:ARN or fc:NAME/VERSION"),
    };
    if fitting != group.group_type {
        denials.add(
            (crate::config::ErrorFamily::Mismatch, "ServerType"),
            &server_subject(group, &name.to_string()),
            format!("type {of_server}"),
            format!("the group is of type {of_group}"),
            format!("write {example}"),
        );
    }
    fitting == group.group_type
}

/// As it stands in the file.
fn entry_of(name: &ServerName, wanted: &NewServer) -> Map {
    let mut entry = Map::default();
    match name {
        ServerName::Address { ip, .. } => entry.set("address", Yaml::text(ip.to_string())),
        ServerName::Inventory { kind, id, ip, .. } => {
            entry.set(kind.as_str(), Yaml::text(id));
            if let Some(ip) = ip {
                entry.set("address", Yaml::text(ip.to_string()));
            }
        }
        ServerName::Function { arn } if arn.starts_with(ARN_PREFIX) => entry.set("fc", Yaml::text(arn)),
        ServerName::Function { arn: name } => match name.split_once('/') {
            Some((name, qualifier)) => {
                entry.set("function", Yaml::text(name));
                entry.set("qualifier", Yaml::text(qualifier));
            }
            None => entry.set("function", Yaml::text(name)),
        },
    }
    if let Some(port) = name.port() {
        entry.set("port", Yaml::Integer(port.into()));
    }
    if let Some(weight) = wanted.weight {
        entry.set("weight", Yaml::Integer(weight.into()));
    }
    if wanted.remote_ip {
        entry.set("remote_ip", Yaml::Bool(true));
    }
    if let Some(description) = &wanted.description {
        entry.set("description", Yaml::text(description));
    }
    entry
}
