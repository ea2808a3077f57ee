//! Transit routers, their attachments and next hops.

use super::{Declared, Places, Spot};
use crate::config::ErrorFamily::{DuplicatedParam, IllegalParam, MissingParam, QuotaExceeded};
use crate::config::decode::{Field, Report};
use crate::config::file::{AttachmentEntry, NextHopEntry, TransitRouterEntry, VxlanEntry};
use crate::model::{
    Attachment, AttachmentKind, Encapsulation, NextHop, NextHopName, RegionName, TransitRouter,
    TransitRouterName, VpcName, VswitchName, Weight, ZoneName,
};
use forwarder_common::limits::HOPS_PER_GROUP;

pub(super) fn resolve_transit_router(
    entry: &TransitRouterEntry,
    declared: &Declared,
    places: &mut Places,
    report: &mut Report<'_>,
) -> Option<TransitRouter> {
    let head = &entry.head;
    let name = report.name(head, &entry.name).map(TransitRouterName::new);
    let region = report.label(head, "region", &entry.region).map(RegionName::new);
    let mut attachments: Vec<Attachment> = Vec::new();
    for attachment in entry.attachments.items() {
        let Some(resolved) = resolve_attachment(attachment, name.as_ref(), declared, report) else {
            continue;
        };
        if attachments.iter().any(|earlier| joins_the_same(earlier, &resolved)) {
            report.error(
                DuplicatedParam.of("Attachment"),
                attachment.head.at,
                &attachment.head.subject,
                "",
                "attached twice",
                "keep one attachment for it, with all its vSwitches",
            );
        }
        if let (Some(name), AttachmentKind::Vpc { vpc, .. }) = (&name, &resolved.kind) {
            let spot = Spot::Attachment(name.clone(), vpc.clone());
            places.set(spot, report.place(attachment.head.at), &attachment.head.subject);
        }
        attachments.push(resolved);
    }
    let hops = entry.next_hops.items();
    if let Some(beyond) = hops.get(HOPS_PER_GROUP) {
        report.error(
            QuotaExceeded.of("NextHopsNum"),
            beyond.head.at,
            &head.subject,
            format!("{} next hops", hops.len()),
            format!("a transit router has at most {HOPS_PER_GROUP} next hops"),
            format!("keep {HOPS_PER_GROUP} of them"),
        );
    }
    let next_hops = hops.iter().filter_map(|hop| resolve_next_hop(hop, places, report)).collect();
    Some(TransitRouter { name: name?, region: region?, attachments, next_hops })
}

fn joins_the_same(a: &Attachment, b: &Attachment) -> bool {
    match (&a.kind, &b.kind) {
        (AttachmentKind::Vpc { vpc: a, .. }, AttachmentKind::Vpc { vpc: b, .. }) => a == b,
        (AttachmentKind::Peer(a), AttachmentKind::Peer(b)) => a == b,
        _ => false,
    }
}

fn resolve_attachment(
    entry: &AttachmentEntry,
    router: Option<&TransitRouterName>,
    declared: &Declared,
    report: &mut Report<'_>,
) -> Option<Attachment> {
    let head = &entry.head;
    match (&entry.vpc, &entry.peer) {
        (Field::Good(vpc), Field::Absent) => {
            let vpc = report.reference(head, "VPC", vpc, &declared.vpcs)?;
            let of_vpc = declared.vswitches.get(&vpc).cloned().unwrap_or_default();
            let vswitches: Vec<VswitchName> = entry
                .vswitches
                .items()
                .iter()
                .filter_map(|text| report.reference(head, "vSwitch", text, &of_vpc))
                .map(VswitchName::new)
                .collect();
            let is_empty = matches!(&entry.vswitches, Field::Good(list) if list.is_empty());
            if is_empty || matches!(entry.vswitches, Field::Absent) {
                report.error(
                    head.code(MissingParam, "vswitches"),
                    head.at,
                    &head.subject,
                    "vswitches",
                    "a VPC is entered through at least one vSwitch",
                    "name one vSwitch for each zone: `vswitches: [...]`",
                );
            }
            Some(Attachment { kind: AttachmentKind::Vpc { vpc: VpcName::new(vpc), vswitches } })
        }
        (Field::Absent, Field::Good(peer)) => {
            let name = report.reference(head, "transit router", peer, &declared.transit_routers)?;
            if router.is_some_and(|router| router.as_str() == name) {
                report.error(
                    head.code(IllegalParam, "peer"),
                    peer.at,
                    &head.subject,
                    format!("peer \"{name}\""),
                    "a transit router is no peer of itself",
                    "name the router of the other region",
                );
                return None;
            }
            Some(Attachment { kind: AttachmentKind::Peer(TransitRouterName::new(name)) })
        }
        (Field::Bad, _) | (_, Field::Bad) => None,
        (Field::Absent, Field::Absent) | (Field::Good(_), Field::Good(_)) => {
            report.error(
                IllegalParam.of("Attachment"),
                head.at,
                &head.subject,
                "",
                "an attachment joins either a VPC or a peer",
                "write `vpc: ...` with `vswitches: [...]`, or `peer: ...`",
            );
            None
        }
    }
}

fn resolve_next_hop(entry: &NextHopEntry, places: &mut Places, report: &mut Report<'_>) -> Option<NextHop> {
    let head = &entry.head;
    let name = report.name(head, &entry.name).map(NextHopName::new);
    let zone = report.label(head, "zone", &entry.zone).map(ZoneName::new);
    let address =
        report.required(head, "address", &entry.address, "write the address of the tunnel endpoint");
    if let (Some(name), Some(address)) = (&name, address) {
        places.set(Spot::NextHop(name.clone()), report.place(head.at), &head.subject);
        places.set(Spot::HopAddress(name.clone()), report.place(address.at), &head.subject);
    }
    let vxlan = report.required(head, "vxlan", &entry.vxlan, "write `vxlan: {vni: ..., mac: ...}`");
    let encapsulation = vxlan.and_then(|vxlan| resolve_vxlan(vxlan, report));
    // RFC 791: every network carries 68 bytes; below 576 no host need take a packet, and TCP in a tunnel starves.
    let mtu = report.number(head, "mtu", &entry.mtu, 576..=65535, 1500);
    let weight = report.number(head, "weight", &entry.weight, 0..=100, 100);
    Some(NextHop {
        name: name?,
        zone: zone?,
        address: address?.value,
        encapsulation: encapsulation?,
        mtu: u16::try_from(mtu?).ok()?,
        weight: Weight::new(u32::try_from(weight?).ok()?)?,
    })
}

fn resolve_vxlan(entry: &VxlanEntry, report: &mut Report<'_>) -> Option<Encapsulation> {
    let head = &entry.head;
    let vni = report
        .required(head, "vni", &entry.vni, "write a VNI from 1 to 16777215")
        .and_then(|vni| report.in_range(head, "vni", vni, 1..=0xff_ffff))
        .and_then(|vni| u32::try_from(vni).ok());
    let remedy = "write the address of the router's VXLAN device, as `ip link show` prints it";
    let mac = report.required(head, "mac", &entry.mac, remedy).and_then(|text| {
        let mac = parse_mac(&text.value);
        if mac.is_none() {
            let value = format!("mac {:?}", text.value);
            report.error(
                head.code(IllegalParam, "mac"),
                text.at,
                &head.subject,
                value,
                "not the Ethernet address of one device",
                remedy,
            );
        }
        mac
    });
    Some(Encapsulation::Vxlan { vni: vni?, mac: mac? })
}

/// Six bytes in hexadecimal between colons; neither a group address (a router takes no frames for one to forward) nor
/// zero.
fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part =
            parts.next().filter(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (parts.next().is_none() && bytes[0] & 1 == 0 && bytes != [0; 6]).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::parse_mac;

    #[test]
    fn takes_the_address_of_one_device() {
        assert_eq!(parse_mac("02:00:00:00:01:aF"), Some([2, 0, 0, 0, 1, 0xaf]));
        for text in [
            "",
            "02:00:00:00:01",
            "02:00:00:00:01:01:01",
            "2:0:0:0:1:1",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "02:00:00:00:01:+1",
        ] {
            assert_eq!(parse_mac(text), None, "{text}");
        }
    }
}
