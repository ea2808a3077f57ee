//! Plans as text: for golden tests, and for people who want to see what an apply did.

use super::contents::{MapContents, Table};
use super::diff::{Change, MapOp};
use forwarder_common::next_hop::{self, HopGroup, NextHop};
use forwarder_common::server::{self, Server};
use forwarder_common::tunnel::{ANY_VNI, PAIR_ONLY, RouteKey, TunnelKey};
use forwarder_common::vip::{self, ADDRESS_ONLY, NO_SERVER, Vip, VipKey};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One line per operation, in order.
pub fn dump_change(change: &Change) -> String {
    let mut text = String::from("prepare\n");
    for op in &change.prepare {
        let _ = writeln!(text, "  {}", op_line(op));
    }
    let _ = writeln!(text, "commit epoch {}", change.epoch);
    if !change.cleanup.is_empty() {
        text.push_str("cleanup\n");
    }
    for op in &change.cleanup {
        let _ = writeln!(text, "  {}", op_line(op));
    }
    text
}

/// One line per element and key.
pub fn dump_contents(contents: &MapContents) -> String {
    let mut text = String::new();
    let arrays = &contents.arrays;
    let mut line = |entry: String| {
        let _ = writeln!(text, "{entry}");
    };
    for (key, index) in &contents.keys.vips {
        line(format!("vip key {} -> {}", vip_key(key), vip_index(*index)));
    }
    for (index, vip) in &arrays.vip {
        line(format!("vip {index}: {}", vip_value(vip)));
    }
    for (slot, table) in &contents.tables {
        line(format!("table {slot}: {}", shares(table)));
    }
    for (index, server) in &arrays.server {
        line(format!("server {index}: {}", server_value(server)));
    }
    for ((prefix, key), index) in &contents.keys.routes {
        line(format!("route {} -> hop group {index}", route(*prefix, key)));
    }
    for (index, group) in &arrays.hop_group {
        line(format!("hop group {index}: {}", hop_group(group)));
    }
    for (index, hop) in &arrays.next_hop {
        line(format!("next hop {index}: {}", hop_value(hop)));
    }
    for (key, index) in &contents.keys.tunnels {
        line(format!("tunnel {}", tunnel(key, *index)));
    }
    for address in &contents.keys.local_addresses {
        line(format!("local address {}", address.address()));
    }
    text
}

fn op_line(op: &MapOp) -> String {
    match op {
        MapOp::SetSettings { copy, value } => format!(
            "set settings[{copy}] nat {}/{} vxlan {} {}",
            value.nat_base.address(),
            value.nat_mask.get().count_ones(),
            value.vxlan_port.get(),
            if value.shared_port == 0 { "exclusive" } else { "shared" }
        ),
        MapOp::SetVip { copy, index, value } => format!("set vip {index}[{copy}] {}", vip_value(value)),
        MapOp::SetServer { copy, index, value } => {
            format!("set server {index}[{copy}] {}", server_value(value))
        }
        MapOp::SetNextHop { copy, index, value } => {
            format!("set next hop {index}[{copy}] {}", hop_value(value))
        }
        MapOp::SetHopGroup { copy, index, value } => {
            format!("set hop group {index}[{copy}] {}", hop_group(value))
        }
        MapOp::WriteTable { slot, table } => format!("write table {slot}: {}", shares(table)),
        MapOp::InsertVip { key, index } => {
            format!("insert vip key {} -> {}", vip_key(key), vip_index(*index))
        }
        MapOp::RemoveVip { key } => format!("remove vip key {}", vip_key(key)),
        MapOp::InsertRoute { prefix, key, index } => {
            format!("insert route {} -> hop group {index}", route(*prefix, key))
        }
        MapOp::RemoveRoute { prefix, key } => format!("remove route {}", route(*prefix, key)),
        MapOp::InsertTunnel { key, index } => format!("insert tunnel {}", tunnel(key, *index)),
        MapOp::RemoveTunnel { key } => format!("remove tunnel {}", tunnel_key(key)),
        MapOp::InsertLocalAddress { address } => format!("insert local address {}", address.address()),
        MapOp::RemoveLocalAddress { address } => format!("remove local address {}", address.address()),
    }
}

fn vip_key(key: &VipKey) -> String {
    format!("{}:{}/{}", key.address.address(), key.port.get(), key.protocol)
}

fn vip_index(index: u32) -> String {
    if index == ADDRESS_ONLY { "address only".into() } else { format!("vip {index}") }
}

fn vip_value(vip: &Vip) -> String {
    match vip.kind {
        vip::KIND_L4 if vip.choice == vip::BY_SOURCE => format!("L4 table {} by source", vip.table),
        vip::KIND_L4 => format!("L4 table {}", vip.table),
        vip::KIND_L7 => "L7".into(),
        _ => "free".into(),
    }
}

fn server_value(server: &Server) -> String {
    let via = match server.reach {
        server::REACH_DIRECT => format!("via next hop {}", server.via),
        server::REACH_ROUTED => format!("via hop group {}", server.via),
        _ => "unreachable".into(),
    };
    match server.state {
        server::STATE_FREE => format!("free, generation {}", server.generation),
        state => format!(
            "{}:{} {via}, generation {}{}{}",
            server.address.address(),
            server.port.get(),
            server.generation,
            if server.drain_deadline == 0 { "" } else { ", draining" },
            if state == server::STATE_GONE { ", gone" } else { "" }
        ),
    }
}

fn hop_value(hop: &NextHop) -> String {
    let resolved = if hop.resolved == 0 { ", unresolved" } else { "" };
    match hop.kind {
        next_hop::KIND_DIRECT => {
            format!("direct {} if {} mtu {}{resolved}", hop.gateway.address(), hop.ifindex, hop.mtu)
        }
        next_hop::KIND_VXLAN => format!(
            "vxlan {} -> {} vni {} if {} mtu {}{resolved}",
            hop.outer_source.address(),
            hop.outer_destination.address(),
            hop.vni,
            hop.ifindex,
            hop.mtu
        ),
        _ => "free".into(),
    }
}

fn hop_group(group: &HopGroup) -> String {
    if group.identity == 0 {
        return "free".into();
    }
    let members = group.hops.iter().take(group.count as usize).enumerate().map(|(position, hop)| {
        let buckets = group.buckets.iter().filter(|bucket| usize::from(**bucket) == position).count();
        format!("hop {hop} x{buckets}")
    });
    members.collect::<Vec<_>>().join(", ")
}

fn route(prefix: u32, key: &RouteKey) -> String {
    format!("from {} to {}/{}", key.local.address(), key.destination.address(), prefix - 32)
}

fn tunnel(key: &TunnelKey, index: u32) -> String {
    let value = if index == PAIR_ONLY { "known".into() } else { format!("next hop {index}") };
    format!("{} -> {value}", tunnel_key(key))
}

fn tunnel_key(key: &TunnelKey) -> String {
    let vni = if key.vni == ANY_VNI { "any".into() } else { key.vni.to_string() };
    format!("{} -> {} vni {vni}", key.outer_source.address(), key.outer_destination.address())
}

/// How many slots each server has: the part of a table that people can check.
fn shares(table: &Table) -> String {
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for owner in table.owners() {
        *counts.entry(owner).or_default() += 1;
    }
    let shares = counts.iter().map(|(server, count)| match *server {
        NO_SERVER => format!("none x{count}"),
        server => format!("server {server} x{count}"),
    });
    shares.collect::<Vec<_>>().join(", ")
}
