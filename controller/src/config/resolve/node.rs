//! `node.yaml` → [`Node`].

use super::quotas::resolve_quotas;
use super::{Places, Spot};
use crate::config::ErrorFamily::IllegalParam;
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::{NodeFile, NodeZoneEntry};
use crate::model::{AdmissionMode, Node, NodeZone, Tunnel, ZoneName};
use std::path::PathBuf;

/// IFNAMSIZ less the closing zero.
const INTERFACE_NAME_BYTES: usize = 15;
/// Size of `sun_path` less the closing zero.
const SOCKET_PATH_BYTES: usize = 107;
/// 2^16 NAT addresses with 2^16 ports each are more than any node's flows.
const NAT_PREFIX_LENGTHS: std::ops::RangeInclusive<u8> = 16..=32;
/// The least is what a small configuration and a few hundred connections take.
const MEMORY_LIMIT_MIB: std::ops::RangeInclusive<i128> = 64..=1 << 24;

/// The node, as far as it could be made out; whole if nothing was reported.
pub(in crate::config) fn resolve_node(
    file: &NodeFile,
    places: &mut Places,
    report: &mut Report<'_>,
) -> Option<Node> {
    let head = &file.head;
    let name = report.name(head, &file.name);
    let zones = resolve_zones(file, places, report);
    let client_interfaces =
        file.client_interfaces.items().iter().filter_map(|text| interface(head, text, report)).collect();
    let tunnel = resolve_tunnel(file, report);
    let nat_prefix = file.nat_prefix.good().and_then(|prefix| {
        places.set(Spot::NatPrefix, report.place(prefix.at), "");
        let network = report.private_cidr(head, "nat_prefix", prefix)?;
        if NAT_PREFIX_LENGTHS.contains(&network.prefix_len()) {
            return Some(network);
        }
        report.error(
            head.code(IllegalParam, "nat_prefix"),
            prefix.at,
            "",
            format!("nat_prefix {network}"),
            "larger than a /16",
            "write a prefix length from 16 to 32; a /32 carries 64512 flows, a /29 all that the table holds",
        );
        None
    });
    // Reading the number of CPUs makes the default, and only the default, depend on the machine.
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as i128);
    let workers = report.number(head, "workers", &file.workers, 1..=1024, cpus);
    let memory_limit = file.memory_limit_mib.good().and_then(|mib| {
        let mib = report.in_range(head, "memory_limit_mib", mib, MEMORY_LIMIT_MIB)?;
        Some(u64::try_from(mib).ok()? << 20)
    });
    let state_dir = path(head, "state_dir", &file.state_dir, Some("/var/lib/causeway"), report);
    let api_socket = path(head, "api_socket", &file.api_socket, Some("/run/causeway/api.sock"), report);
    if let (Some(socket), Some(text)) = (&api_socket, file.api_socket.good())
        && socket.as_os_str().len() > SOCKET_PATH_BYTES
    {
        report.error(
            head.code(IllegalParam, "api_socket"),
            text.at,
            "",
            format!("api_socket of {} bytes", socket.as_os_str().len()),
            format!("the path of a Unix socket has at most {SOCKET_PATH_BYTES} bytes"),
            "choose a shorter path",
        );
    }
    let bpf_dir = path(head, "bpf_dir", &file.bpf_dir, Some("/sys/fs/bpf/causeway"), report);
    let quotas = resolve_quotas(&file.quotas, report);
    let access_log = path(head, "access_log", &file.access_log, None, report);
    Some(Node {
        name: name?,
        zones,
        client_interfaces,
        tunnel: tunnel?,
        nat_prefix,
        workers: usize::try_from(workers?).ok()?,
        memory_limit,
        state_dir: state_dir?,
        api_socket: api_socket?,
        metrics_listen: file.metrics_listen.good().map(|address| address.value),
        bpf_dir: bpf_dir?,
        access_log,
        quotas: quotas?,
    })
}

fn resolve_zones(file: &NodeFile, places: &mut Places, report: &mut Report<'_>) -> Vec<NodeZone> {
    report.required(&file.head, "zones", &file.zones, "list the zones this node serves, at least one");
    if let Field::Good(zones) = &file.zones
        && zones.is_empty()
    {
        report.error(
            file.head.code(IllegalParam, "zones"),
            file.head.at,
            "",
            "zones",
            "a node serves at least one zone",
            "add a zone",
        );
    }
    let entries = file.zones.items();
    report.distinct(("zone", "zone"), entries.iter().map(|entry| (&entry.head, &entry.zone)));
    entries.iter().filter_map(|entry| resolve_zone(entry, places, report)).collect()
}

fn resolve_zone(entry: &NodeZoneEntry, places: &mut Places, report: &mut Report<'_>) -> Option<NodeZone> {
    let head = &entry.head;
    let zone = report.label(head, "zone", &entry.zone).map(ZoneName::new);
    let interface = report
        .required(head, "interface", &entry.interface, "name the interface in the zone's vSwitch")
        .and_then(|text| interface(head, text, report));
    let address = report.required(
        head,
        "tunnel_address",
        &entry.tunnel_address,
        "write an address of that interface; tunnel packets come from it",
    );
    let (zone, interface, address) = (zone?, interface?, address?);
    places.set(Spot::NodeZone(zone.clone()), report.place(head.at), &head.subject);
    places.set(Spot::TunnelAddress(zone.clone()), report.place(address.at), &head.subject);
    Some(NodeZone { zone, interface, tunnel_address: address.value })
}

fn resolve_tunnel(file: &NodeFile, report: &mut Report<'_>) -> Option<Tunnel> {
    let mut tunnel = Tunnel { vxlan_port: 4789, admission: AdmissionMode::Exclusive };
    let entry = match &file.tunnel {
        Field::Absent => return Some(tunnel),
        Field::Bad => return None,
        Field::Good(entry) => entry,
    };
    let port = report.number(&entry.head, "vxlan_port", &entry.vxlan_port, 1..=65535, 4789);
    if let Some(text) = entry.admission.good() {
        let modes = [("exclusive", AdmissionMode::Exclusive), ("shared", AdmissionMode::Shared)];
        tunnel.admission = report.choice(&entry.head, "admission", text, &modes, &[])?;
    }
    tunnel.vxlan_port = u16::try_from(port?).ok()?;
    Some(tunnel)
}

/// The name of a network interface, as the kernel's `dev_valid_name` has it.
fn interface(head: &Head, text: &At<String>, report: &mut Report<'_>) -> Option<String> {
    let name = text.value.as_str();
    let is_valid = (1..=INTERFACE_NAME_BYTES).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if is_valid {
        return Some(name.to_owned());
    }
    report.error(
        head.code(IllegalParam, "interface"),
        text.at,
        &head.subject,
        format!("interface {name:?}"),
        format!("a name of 1 to {INTERFACE_NAME_BYTES} bytes without `/`, `:` or space"),
        "write a name as `ip link` shows it",
    );
    None
}

/// An absolute path; `default` where absent.
fn path(
    head: &Head,
    key: &str,
    field: &Field<At<String>>,
    default: Option<&str>,
    report: &mut Report<'_>,
) -> Option<PathBuf> {
    match field {
        Field::Absent => default.map(PathBuf::from),
        Field::Bad => None,
        Field::Good(text) if text.value.starts_with('/') => Some(PathBuf::from(&text.value)),
        Field::Good(text) => {
            report.error(
                head.code(IllegalParam, key),
                text.at,
                &head.subject,
                format!("{key} {:?}", text.value),
                "not an absolute path",
                "begin it with `/`",
            );
            None
        }
    }
}
