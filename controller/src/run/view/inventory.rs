//! What servers refer to by id.

use crate::api::InventoryView;
use crate::config::edit::unqualified_arn;
use crate::model::{InstanceKind, NetworkInterface, Resources, ServerId};
use crate::run::control::Control;

impl Control {
    pub(super) fn inventory(&self) -> Vec<InventoryView> {
        let resources = &self.resources;
        let inventory = &resources.inventory;
        let instances = inventory.instances.values().map(|instance| {
            let interfaces: Vec<&NetworkInterface> =
                instance.interfaces.iter().filter_map(|id| inventory.interfaces.get(id)).collect();
            let kind = match instance.kind {
                InstanceKind::Ecs => "Ecs",
                InstanceKind::Eci => "Eci",
            };
            let of_interfaces = view(resources, kind, &instance.id, &interfaces);
            InventoryView { instance: None, ..of_interfaces }
        });
        let interfaces = inventory
            .interfaces
            .values()
            .map(|interface| view(resources, "Eni", &interface.id, &[interface]));
        let functions = inventory.functions.values().map(|function| {
            let url = |trigger: &crate::model::FunctionTrigger| {
                let scheme = if trigger.tls { "https" } else { "http" };
                format!("{scheme}://{}{}", trigger.authority, trigger.path_prefix)
            };
            let of_interfaces = view(resources, "Fc", &function.arn, &[]);
            InventoryView {
                triggers: function
                    .triggers
                    .iter()
                    .map(|(name, trigger)| (name.clone(), url(trigger)))
                    .collect(),
                ..of_interfaces
            }
        });
        instances.chain(interfaces).chain(functions).collect()
    }
}

fn view(resources: &Resources, kind: &str, id: &str, interfaces: &[&NetworkInterface]) -> InventoryView {
    let primary = interfaces.first();
    let vswitch =
        primary.and_then(|primary| resources.vpcs.get(&primary.vpc)?.vswitches.get(&primary.vswitch));
    let holds = |of_server: &ServerId| match of_server {
        ServerId::Ecs(of_server) => kind == "Ecs" && of_server == id,
        ServerId::Eci(of_server) => kind == "Eci" && of_server == id,
        ServerId::Eni(of_server) => kind == "Eni" && of_server == id,
        ServerId::Fc(of_server) => kind == "Fc" && unqualified_arn(of_server) == id,
        ServerId::Ip => false,
    };
    let groups = resources.server_groups.values();
    InventoryView {
        kind: kind.to_owned(),
        id: id.to_owned(),
        instance: primary.and_then(|primary| primary.instance.clone()),
        vpc: primary.map(|primary| primary.vpc.to_string()),
        vswitch: primary.map(|primary| primary.vswitch.to_string()),
        zone: vswitch.map(|vswitch| vswitch.zone.to_string()),
        addresses: interfaces
            .iter()
            .flat_map(|interface| interface.addresses.iter().chain(&interface.ipv6_addresses).copied())
            .collect(),
        triggers: Vec::new(),
        groups: groups
            .filter(|group| group.servers.iter().any(|server| holds(&server.id)))
            .map(|group| group.name.to_string())
            .collect(),
    }
}
