//! From one revision to the next: groups that keep addresses, what cannot be changed or removed.

use super::*;
use crate::config::{check_changes, check_removal, stale_inventory_addresses};

const MEMBERS: &str = "servers: [{ecs: i-web1, port: 80}, {eni: eni-web1, address: 172.16.1.21, port: 80}, \
                       {eci: i-box1, port: 80}]";
/// Instance i-web1 at another address.
const MOVED: (&str, &str) = ("address: 172.16.1.20", "address: 172.16.1.99");

fn parsed(group: &str, edits: &[(&str, &str)]) -> Parsed<Resources> {
    let text = edit(NETWORK, edits) + "server_groups:\n  - " + group + "\n";
    parse_resources(&text, "r.yaml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn stale(old: &Parsed<Resources>, new: &Parsed<Resources>) -> Vec<String> {
    stale_inventory_addresses(&old.value, new).iter().map(ToString::to_string).collect()
}

// Holds SG-40
#[test]
fn names_the_servers_that_a_change_of_the_inventory_would_move() {
    let group = group_yaml("Instance", MEMBERS);
    let (old, new) = (parsed(&group, &[]), parsed(&group, &[MOVED]));
    assert_eq!(stale(&old, &old), [""; 0]);
    assert_eq!(
        stale(&old, &new),
        ["server group \"g1\" keeps ecs i-web1 at 172.16.1.20:80; the inventory has it at 172.16.1.99"]
    );
    let found = &stale_inventory_addresses(&old.value, &new)[0];
    assert_eq!(found.place.excerpt.trim(), format!("- {group}"), "where an address is to be written");
    assert!(found.place.excerpt[found.place.excerpt_column as usize - 1..].starts_with("ecs: i-web1"));
}

// Holds SG-40
#[test]
fn a_server_kept_at_its_address_stays_there_until_it_is_told_to_follow() {
    let group = group_yaml("Instance", MEMBERS);
    let pinned = group.replace("{ecs: i-web1, port", "{ecs: i-web1, address: 172.16.1.20, port");
    let (kept, followed) = (parsed(&pinned, &[MOVED]), parsed(&group, &[MOVED]));
    assert_eq!(stale(&kept, &kept), [""; 0], "what is written is the operator's will");
    assert_eq!(stale(&kept, &followed).len(), 1, "applying the file as it was does not move it either");
    assert_eq!(stale(&followed, &followed), [""; 0]);
    assert_eq!(stale(&followed, &kept), [""; 0]);
    let moved_itself = group.replace("{ecs: i-web1, port", "{ecs: i-web1, address: 172.16.1.99, port");
    assert_eq!(stale(&kept, &parsed(&moved_itself, &[MOVED])), [""; 0]);
}

#[test]
fn new_servers_and_new_ports_take_the_address_of_the_inventory() {
    let group = group_yaml("Instance", "servers: [{ecs: i-web1, port: 81}]");
    let old = parsed(&group_yaml("Instance", "servers: [{ecs: i-web1, port: 80}]"), &[]);
    assert_eq!(stale(&old, &parsed(&group, &[MOVED])), [""; 0]);
    assert_eq!(stale(&parsed(&group_yaml("Instance", ""), &[]), &parsed(&group, &[MOVED])), [""; 0]);
}

// Holds SG-3, SG-7
#[test]
fn refuses_to_make_another_group_of_a_group() {
    let old = parsed(&group_yaml("Ip", ""), &[]);
    for (new, reason, value) in [
        (group_yaml("Instance", ""), "ServerGroupTypeCreateOnly", "type Instance"),
        (group_yaml("Ip", "protocol: gRPC"), "ProtocolCreateOnly", "protocol gRPC"),
        (group_yaml("Ip", "").replace("vpc1", "vpc2"), "VpcIdCreateOnly", "vpc \"vpc2\""),
        (group_yaml("Ip", "ipv6_enabled: true"), "Ipv6EnabledCreateOnly", "ipv6_enabled true"),
    ] {
        let errors = check_changes(&old.value, &parsed(&new, &[])).unwrap_err();
        assert_eq!(told(&errors), [format!("OperationDenied.{reason} | server group \"g1\" | {value}")]);
    }
    let other_name = group_yaml("Instance", "").replace("name: g1,", "name: h1,");
    for fine in [group_yaml("Ip", "scheduler: Wlc, slow_start: {enabled: false}"), other_name] {
        check_changes(&old.value, &parsed(&fine, &[])).unwrap();
    }
}

// Holds SG-230, SG-231, SG-233
#[test]
fn a_group_in_use_cannot_be_removed() {
    let listener = "{name: l1, load_balancer: alb1, protocol: HTTP, port: 80, server_group: g1}";
    let used = network_with(&[&group_yaml("Ip", "")], &[listener]).unwrap().value;
    let name = ServerGroupName::new("g1");
    let refusal = check_removal(&used, &name).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "[ResourceInUse.ServerGroup] server group \"g1\" is in use by listeners \"l1\"; remove them first, \
         or name another group there"
    );
    let unused = network_with(&[&group_yaml("Ip", "")], &[]).unwrap().value;
    assert_eq!(check_removal(&unused, &name), Ok(()));
    let missing = check_removal(&unused, &ServerGroupName::new("nothing")).unwrap_err();
    assert_eq!(missing.code.to_string(), "ResourceNotFound.ServerGroup");
    // In a file: the listener names a group that is not there.
    assert_eq!(
        told(&network_with(&[], &[listener]).unwrap_err()),
        ["ResourceNotFound.ServerGroup | listener \"l1\" | server group \"g1\""]
    );
}
