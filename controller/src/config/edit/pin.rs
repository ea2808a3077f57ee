//! Servers that keep their address when the inventory gives them another (D-5).

use super::read;
use super::yaml::{Map, Yaml};
use crate::config::StaleAddress;
use crate::model::ServerId;

/// `text` with the address that each of `stale` holds written into its entry, so that it no longer is the inventory's
/// to say. `stale` is what [`crate::config::stale_inventory_addresses`] found in `text`.
pub fn pin_addresses(text: &str, stale: &[StaleAddress]) -> String {
    let mut document = read(text);
    for group in document.maps_mut("server_groups") {
        let of_group: Vec<&StaleAddress> =
            stale.iter().filter(|stale| group.has("name", stale.group.as_str())).collect();
        if of_group.is_empty() {
            continue;
        }
        for entry in group.maps_mut("servers") {
            if let Some(stale) = of_group.iter().find(|stale| is_follower(entry, stale)) {
                entry.set("address", Yaml::text(stale.held.to_string()));
            }
        }
    }
    document.to_text()
}

/// Whether `entry` names the server by its id, and leaves its address to the inventory.
fn is_follower(entry: &Map, stale: &StaleAddress) -> bool {
    let (key, id) = match &stale.server {
        ServerId::Ecs(id) => ("ecs", id),
        ServerId::Eni(id) => ("eni", id),
        ServerId::Eci(id) => ("eci", id),
        ServerId::Ip | ServerId::Fc(_) => return false,
    };
    let port = Yaml::Integer(stale.port.get().into());
    entry.has(key, id)
        && entry.get("port") == Some(&port)
        && matches!(entry.get("address"), None | Some(Yaml::Null))
}
