//! Listeners that are started and stopped.

use super::group::not_found;
use super::remark::Remarks;
use super::yaml::{Map, Yaml};
use crate::model::{ListenerName, Resources};

/// LR-5: one that is stopped keeps everything but its connections.
pub(super) fn enable(
    document: &mut Map,
    resources: &Resources,
    name: &str,
    enabled: bool,
    denials: &mut Remarks,
) {
    if !resources.listeners.contains_key(&ListenerName::new(name)) {
        let names: Vec<&str> = resources.listeners.keys().map(ListenerName::as_str).collect();
        not_found("listener", "Listener", name, &names, denials);
        return;
    }
    let entry = document.maps_mut("listeners").find(|entry| entry.has("name", name));
    let entry = entry.expect("a listener of the resources stands in their text");
    if enabled {
        entry.remove("enabled");
    } else {
        entry.set("enabled", Yaml::Bool(false));
    }
}
