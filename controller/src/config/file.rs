//! The two files as written: every setting there is, none of them checked beyond its type. Defaults and
//! rules are in [`super::resolve`].

use super::decode::{At, Decode, Entry, Field, Fields, Head, Report, Slot, decode_entry};
use super::tree::Tree;
use ipnet::Ipv4Net;
use std::net::{Ipv4Addr, SocketAddr};

type Text = At<String>;
type Number = At<i128>;
type Flag = At<bool>;
type Address = At<Ipv4Addr>;
type Cidr = At<Ipv4Net>;

/// Declares the mappings of a file: noun and naming keys for messages, then each setting.
macro_rules! entries {
    ($($name:ident, $noun:literal, [$($label:literal),*] { $($field:ident $key:literal: $type:ty,)* })*) => {$(
        #[derive(Clone, Debug)]
        pub(super) struct $name {
            pub(super) head: Head,
            $(pub(super) $field: Field<$type>,)*
        }

        impl Entry for $name {
            const NOUN: &'static str = $noun;
            const LABEL: &'static [&'static str] = &[$($label),*];
            const KEYS: &'static [&'static str] = &[$($key),*];

            fn from_fields(fields: &Fields<'_>, report: &mut Report<'_>) -> Self {
                Self {
                    head: fields.head.clone(),
                    $($field: fields.field($key, report),)*
                }
            }
        }

        impl Decode for $name {
            fn decode(tree: &Tree, slot: Slot<'_>, report: &mut Report<'_>) -> Option<Self> {
                decode_entry(tree, slot, report)
            }
        }
    )*};
}

entries! {
    NodeFile, "", [] {
        name "name": Text,
        zones "zones": Vec<NodeZoneEntry>,
        client_interfaces "client_interfaces": Vec<Text>,
        tunnel "tunnel": TunnelEntry,
        nat_prefix "nat_prefix": Cidr,
        workers "workers": Number,
        state_dir "state_dir": Text,
        api_socket "api_socket": Text,
        metrics_listen "metrics_listen": At<SocketAddr>,
        bpf_dir "bpf_dir": Text,
        access_log "access_log": Text,
    }
    NodeZoneEntry, "zone", ["zone"] {
        zone "zone": Text,
        interface "interface": Text,
        tunnel_address "tunnel_address": Address,
    }
    TunnelEntry, "tunnel", [] {
        vxlan_port "vxlan_port": Number,
        admission "admission": Text,
    }

    ResourcesFile, "", [] {
        vpcs "vpcs": Vec<VpcEntry>,
        transit_routers "transit_routers": Vec<TransitRouterEntry>,
        load_balancers "load_balancers": Vec<LoadBalancerEntry>,
        server_groups "server_groups": Vec<ServerGroupEntry>,
        listeners "listeners": Vec<ListenerEntry>,
    }
    VpcEntry, "VPC", ["name"] {
        name "name": Text,
        region "region": Text,
        cidr "cidr": Cidr,
        vswitches "vswitches": Vec<VswitchEntry>,
        routes "routes": Vec<RouteEntry>,
    }
    VswitchEntry, "vSwitch", ["name"] {
        name "name": Text,
        zone "zone": Text,
        cidr "cidr": Cidr,
    }
    RouteEntry, "route", ["destination"] {
        destination "destination": Cidr,
        transit_router "transit_router": Text,
    }
    TransitRouterEntry, "transit router", ["name"] {
        name "name": Text,
        region "region": Text,
        attachments "attachments": Vec<AttachmentEntry>,
        next_hops "next_hops": Vec<NextHopEntry>,
    }
    AttachmentEntry, "attachment", ["vpc", "peer"] {
        vpc "vpc": Text,
        vswitches "vswitches": Vec<Text>,
        peer "peer": Text,
    }
    NextHopEntry, "next hop", ["name"] {
        name "name": Text,
        zone "zone": Text,
        address "address": Address,
        vxlan "vxlan": VxlanEntry,
        mtu "mtu": Number,
        weight "weight": Number,
    }
    VxlanEntry, "vxlan", [] {
        vni "vni": Number,
        mac "mac": Text,
    }
    LoadBalancerEntry, "load balancer", ["name"] {
        name "name": Text,
        edition "edition": Text,
        address_type "address_type": Text,
        address_ip_version "address_ip_version": Text,
        vpc "vpc": Text,
        dns_name "dns_name": Text,
        zone_mappings "zone_mappings": Vec<ZoneMappingEntry>,
        back_to_origin_prefix "back_to_origin_prefix": Cidr,
    }
    ZoneMappingEntry, "zone", ["zone"] {
        zone "zone": Text,
        vswitch "vswitch": Text,
        vip "vip": Address,
        local_addresses "local_addresses": Vec<Address>,
    }
    ServerGroupEntry, "server group", ["name"] {
        name "name": Text,
        group_type "type": Text,
        vpc "vpc": Text,
        protocol "protocol": Text,
        scheduler "scheduler": Text,
        upstream_keepalive "upstream_keepalive": Flag,
        health_check "health_check": HealthCheckEntry,
        slow_start "slow_start": SlowStartEntry,
        connection_drain "connection_drain": ConnectionDrainEntry,
        servers "servers": Vec<ServerEntry>,
    }
    HealthCheckEntry, "health check", [] {
        enabled "enabled": Flag,
        protocol "protocol": Text,
        path "path": Text,
        method "method": Text,
        codes "codes": Vec<Text>,
        connect_port "connect_port": Number,
        interval "interval": Number,
        timeout "timeout": Number,
        healthy_threshold "healthy_threshold": Number,
        unhealthy_threshold "unhealthy_threshold": Number,
        host "host": Text,
        http_version "http_version": Text,
    }
    SlowStartEntry, "slow start", [] {
        enabled "enabled": Flag,
        duration "duration": Number,
    }
    ConnectionDrainEntry, "connection drain", [] {
        enabled "enabled": Flag,
        timeout "timeout": Number,
    }
    ServerEntry, "server", ["address", "port"] {
        address "address": Address,
        port "port": Number,
        weight "weight": Number,
        remote_ip "remote_ip": Flag,
        description "description": Text,
    }
    ListenerEntry, "listener", ["name"] {
        name "name": Text,
        load_balancer "load_balancer": Text,
        protocol "protocol": Text,
        port "port": Number,
        server_group "server_group": Text,
        idle_timeout "idle_timeout": Number,
        request_timeout "request_timeout": Number,
        x_forwarded_for "x_forwarded_for": Flag,
    }
}
