//! The two files as written: every setting there is, none of them checked beyond its type. Defaults and
//! rules are in [`super::resolve`].

use super::decode::{
    ApiNames, At, Decode, Entry, Field, Fields, Head, HeaderSwitch, Labels, Located, Report, Short, Slot,
    Word, decode_entry,
};
use super::tree::Tree;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_saphyr::Location;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

type Text = At<String>;
type Number = At<i128>;
type Flag = At<bool>;
type Address = At<Ipv4Addr>;
type Address6 = At<Ipv6Addr>;
type Cidr = At<Ipv4Net>;
type Cidr6 = At<Ipv6Net>;

/// Declares the mappings of a file: noun and naming keys for messages, then each setting, with the API's name of it
/// where that is not the key in camel case.
macro_rules! entries {
    ($($name:ident, $noun:literal, [$($label:literal),*] {
        $($field:ident $key:literal $([$api:literal])?: $type:ty,)*
    })*) => {$(
        #[derive(Clone, Debug)]
        pub(super) struct $name {
            pub(super) head: Head,
            $(pub(super) $field: Field<$type>,)*
        }

        impl Entry for $name {
            const NOUN: &'static str = $noun;
            const LABEL: &'static [&'static str] = &[$($label),*];
            const KEYS: &'static [&'static str] = &[$($key),*];
            const API_NAMES: ApiNames = &[$(($key, &[$($api)?])),*];

            fn from_fields(fields: &Fields<'_>, report: &mut Report<'_>) -> Self {
                Self {
                    head: fields.head.clone(),
                    $($field: fields.field($key, report),)*
                }
            }
        }

        impl Located for $name {
            fn location(&self) -> Location {
                self.head.at
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
        memory_limit_mib "memory_limit_mib": Number,
        state_dir "state_dir": Text,
        api_socket "api_socket": Text,
        metrics_listen "metrics_listen": At<SocketAddr>,
        bpf_dir "bpf_dir": Text,
        access_log "access_log": Text,
        quotas "quotas": QuotasEntry,
    }
    QuotasEntry, "quotas", [] {
        servers_per_basic_load_balancer "servers_per_basic_load_balancer": Number,
        servers_per_standard_load_balancer "servers_per_standard_load_balancer": Number,
        groups_per_server "groups_per_server": Number,
        attachments_per_server_group "attachments_per_server_group": Number,
        server_group_weight "server_group_weight": Number,
        listeners_per_basic_load_balancer "listeners_per_basic_load_balancer": Number,
        listeners_per_standard_load_balancer "listeners_per_standard_load_balancer": Number,
        rules_per_basic_load_balancer "rules_per_basic_load_balancer": Number,
        rules_per_standard_load_balancer "rules_per_standard_load_balancer": Number,
        additional_certificates_per_basic_load_balancer "additional_certificates_per_basic_load_balancer": Number,
        additional_certificates_per_standard_load_balancer
            "additional_certificates_per_standard_load_balancer": Number,
        idle_timeout "idle_timeout": Number,
        request_timeout "request_timeout": Number,
    }
    NodeZoneEntry, "zone", ["zone"] {
        zone "zone" ["ZoneId"]: Text,
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
        acls "acls": Vec<AclEntry>,
        security_policies "security_policies": Vec<SecurityPolicyEntry>,
        instances "instances": Vec<InstanceEntry>,
        network_interfaces "network_interfaces": Vec<InterfaceEntry>,
        functions "functions": Vec<FunctionEntry>,
        health_check_templates "health_check_templates": Vec<HealthCheckTemplateEntry>,
    }
    VpcEntry, "VPC", ["name"] {
        name "name" ["VpcName"]: Text,
        region "region" ["RegionId"]: Text,
        cidr "cidr" ["CidrBlock"]: Cidr,
        ipv6_cidr "ipv6_cidr" ["Ipv6CidrBlock"]: Cidr6,
        vswitches "vswitches": Vec<VswitchEntry>,
        routes "routes": Vec<RouteEntry>,
    }
    VswitchEntry, "vSwitch", ["name"] {
        name "name" ["VSwitchName"]: Text,
        zone "zone" ["ZoneId"]: Text,
        cidr "cidr" ["CidrBlock"]: Cidr,
        ipv6_cidr "ipv6_cidr" ["Ipv6CidrBlock"]: Cidr6,
    }
    RouteEntry, "route", ["destination"] {
        destination "destination" ["DestinationCidrBlock"]: Cidr,
        transit_router "transit_router" ["TransitRouterId"]: Text,
    }
    TransitRouterEntry, "transit router", ["name"] {
        name "name" ["TransitRouterName"]: Text,
        region "region" ["RegionId"]: Text,
        attachments "attachments": Vec<AttachmentEntry>,
        next_hops "next_hops": Vec<NextHopEntry>,
    }
    AttachmentEntry, "attachment", ["vpc", "peer"] {
        vpc "vpc" ["VpcId"]: Text,
        vswitches "vswitches" ["VSwitchIds"]: Vec<Text>,
        peer "peer" ["PeerTransitRouterId"]: Text,
    }
    NextHopEntry, "next hop", ["name"] {
        name "name" ["NextHopName"]: Text,
        zone "zone" ["ZoneId"]: Text,
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
        name "name" ["LoadBalancerName"]: Text,
        edition "edition" ["LoadBalancerEdition"]: Text,
        address_type "address_type": Text,
        address_ip_version "address_ip_version": Text,
        vpc "vpc" ["VpcId"]: Text,
        dns_name "dns_name" ["DNSName"]: Text,
        zone_mappings "zone_mappings": Vec<ZoneMappingEntry>,
        back_to_origin_prefix "back_to_origin_prefix": Cidr,
    }
    ZoneMappingEntry, "zone", ["zone"] {
        zone "zone" ["ZoneId"]: Text,
        vswitch "vswitch" ["VSwitchId"]: Text,
        vip "vip" ["Address"]: Address,
        local_addresses "local_addresses" ["Ipv4LocalAddresses"]: Vec<Address>,
        ipv6_vip "ipv6_vip" ["Ipv6Address"]: Address6,
        ipv6_local_addresses "ipv6_local_addresses" ["Ipv6LocalAddresses"]: Vec<Address6>,
    }
    ServerGroupEntry, "server group", ["name"] {
        name "name" ["ServerGroupName"]: Text,
        group_type "type" ["ServerGroupType"]: Text,
        vpc "vpc" ["VpcId"]: Text,
        protocol "protocol": Text,
        scheduler "scheduler": Text,
        uch "uch" ["UchConfig"]: UchEntry,
        sticky_session "sticky_session" ["StickySessionConfig"]: StickySessionEntry,
        cross_zone_enabled "cross_zone_enabled": Flag,
        ipv6_enabled "ipv6_enabled": Flag,
        upstream_keepalive "upstream_keepalive" ["UpstreamKeepaliveEnabled"]: Flag,
        health_check "health_check" ["HealthCheckConfig"]: HealthCheckEntry,
        slow_start "slow_start" ["SlowStartConfig"]: SlowStartEntry,
        connection_drain "connection_drain" ["ConnectionDrainConfig"]: ConnectionDrainEntry,
        tls_verification "tls_verification": TlsVerificationEntry,
        service_name "service_name": Text,
        resource_group "resource_group" ["ResourceGroupId"]: Text,
        ip_version_affinity_mode "ip_version_affinity_mode": Text,
        tags "tags" ["Tag"]: Labels,
        servers "servers": Vec<ServerEntry>,
    }
    UchEntry, "uch", [] {
        uch_type "type" ["UchConfig"]: Text,
        value "value" ["UchConfig"]: Text,
    }
    StickySessionEntry, "sticky session", [] {
        enabled "enabled" ["StickySessionEnabled"]: Flag,
        session_type "type" ["StickySessionType"]: Text,
        cookie_timeout "cookie_timeout": Number,
        cookie "cookie": Text,
    }
    TlsVerificationEntry, "TLS verification", [] {
        ca_certificates "ca_certificates": Text,
        server_name "server_name": Text,
    }
    HealthCheckEntry, "health check", [] {
        enabled "enabled" ["HealthCheckEnabled"]: Flag,
        protocol "protocol" ["HealthCheckProtocol"]: Text,
        path "path" ["HealthCheckPath"]: Text,
        method "method" ["HealthCheckMethod"]: Text,
        codes "codes" ["HealthCheckCodes"]: Vec<At<Word>>,
        connect_port "connect_port" ["HealthCheckConnectPort"]: Number,
        interval "interval" ["HealthCheckInterval"]: Number,
        timeout "timeout" ["HealthCheckTimeout"]: Number,
        healthy_threshold "healthy_threshold": Number,
        unhealthy_threshold "unhealthy_threshold": Number,
        host "host" ["HealthCheckHost"]: Text,
        http_version "http_version" ["HealthCheckHttpVersion"]: Text,
    }
    SlowStartEntry, "slow start", [] {
        enabled "enabled" ["SlowStartEnabled"]: Flag,
        duration "duration" ["SlowStartDuration"]: Number,
    }
    ConnectionDrainEntry, "connection drain", [] {
        enabled "enabled" ["ConnectionDrainEnabled"]: Flag,
        timeout "timeout" ["ConnectionDrainTimeout"]: Number,
    }
    HealthCheckTemplateEntry, "health check template", ["name"] {
        name "name" ["HealthCheckTemplateName"]: Text,
        protocol "protocol" ["HealthCheckProtocol"]: Text,
        path "path" ["HealthCheckPath"]: Text,
        method "method" ["HealthCheckMethod"]: Text,
        codes "codes" ["HealthCheckCodes"]: Vec<At<Word>>,
        connect_port "connect_port" ["HealthCheckConnectPort"]: Number,
        interval "interval" ["HealthCheckInterval"]: Number,
        timeout "timeout" ["HealthCheckTimeout"]: Number,
        healthy_threshold "healthy_threshold": Number,
        unhealthy_threshold "unhealthy_threshold": Number,
        host "host" ["HealthCheckHost"]: Text,
        http_version "http_version" ["HealthCheckHttpVersion"]: Text,
    }
    ServerEntry, "server", ["ecs", "eni", "eci", "fc", "function", "qualifier", "address", "port"] {
        address "address" ["ServerIp"]: At<IpAddr>,
        ecs "ecs" ["ServerId"]: Text,
        eni "eni" ["ServerId"]: Text,
        eci "eci" ["ServerId"]: Text,
        fc "fc" ["ServerId"]: Text,
        function "function" ["FunctionName"]: Text,
        qualifier "qualifier": At<Word>,
        port "port": Number,
        weight "weight": Number,
        remote_ip "remote_ip" ["RemoteIpEnabled"]: Flag,
        description "description": Text,
    }
    ListenerEntry, "listener", ["name"] {
        name "name" ["ListenerName"]: Text,
        load_balancer "load_balancer" ["LoadBalancerId"]: Text,
        protocol "protocol" ["ListenerProtocol"]: Text,
        port "port" ["ListenerPort"]: Number,
        server_group "server_group" ["ServerGroupId"]: Text,
        description "description" ["ListenerDescription"]: Text,
        enabled "enabled" ["ListenerStatus"]: Flag,
        idle_timeout "idle_timeout": Number,
        request_timeout "request_timeout": Number,
        gzip "gzip" ["GzipEnabled"]: Flag,
        http2 "http2" ["Http2Enabled"]: Flag,
        security_policy "security_policy" ["SecurityPolicyId"]: Text,
        certificates "certificates": Vec<Text>,
        ca_enabled "ca_enabled": Flag,
        ca_certificates "ca_certificates": Text,
        quic_upgrade "quic_upgrade" ["QuicListenerId"]: Text,
        acl "acl" ["AclConfig"]: ListenerAclEntry,
        forwarded_headers "forwarded_headers" ["XForwardedForConfig"]: ForwardedHeadersEntry,
        trusted_proxies "trusted_proxies" ["XForwardedForClientSourceIpsTrusted"]: Vec<At<IpNet>>,
        logged_headers "logged_headers" ["AccessLogRecordCustomizedHeadersEnabled"]: Vec<Text>,
        tracing "tracing" ["AccessLogTracingConfig"]: TracingEntry,
        requests_per_connection "requests_per_connection": Number,
        loop_detection "loop_detection": LoopDetectionEntry,
        rules "rules": Vec<RuleEntry>,
    }
    ListenerAclEntry, "", [] {
        acl_type "type" ["AclType"]: Text,
        lists "lists" ["AclRelations"]: Vec<Text>,
    }
    ForwardedHeadersEntry, "", [] {
        x_forwarded_for "x_forwarded_for" ["XForwardedForProcessingMode"]: Text,
        proto "proto" ["XForwardedForProtoEnabled"]: Flag,
        slb_id "slb_id" ["XForwardedForSLBIdEnabled"]: Flag,
        port "port" ["XForwardedForSLBPortEnabled"]: Flag,
        host "host" ["XForwardedForHostEnabled"]: Flag,
        client_port "client_port" ["XForwardedForClientSrcPortEnabled"]: Flag,
        certificate_subject "certificate_subject" ["XForwardedForClientCertSubjectDNAlias"]: At<HeaderSwitch>,
        certificate_issuer "certificate_issuer" ["XForwardedForClientCertIssuerDNAlias"]: At<HeaderSwitch>,
        certificate_fingerprint
            "certificate_fingerprint" ["XForwardedForClientCertFingerprintAlias"]: At<HeaderSwitch>,
        certificate_verify "certificate_verify" ["XForwardedForClientCertClientVerifyAlias"]: At<HeaderSwitch>,
    }
    LoopDetectionEntry, "", [] {
        header "header" ["LoopDetectionHeader"]: Text,
        alicloud_alb_trace "alicloud_alb_trace": Flag,
    }
    TracingEntry, "", [] {
        enabled "enabled" ["TracingEnabled"]: Flag,
        tracing_type "type" ["TracingType"]: Text,
        sample "sample" ["TracingSample"]: Number,
    }
    RuleEntry, "rule", ["name"] {
        name "name" ["RuleName"]: Text,
        direction "direction": Text,
        priority "priority": Number,
        conditions "conditions" ["RuleConditions"]: Vec<ConditionEntry>,
        actions "actions" ["RuleActions"]: Vec<ActionEntry>,
    }
    ConditionEntry, "condition", [] {
        host "host" ["RuleConditions"]: Vec<Text>,
        path "path" ["RuleConditions"]: Vec<Text>,
        header "header" ["RuleConditions"]: FieldEntry,
        query "query" ["RuleConditions"]: Vec<PairEntry>,
        method "method" ["RuleConditions"]: Vec<Text>,
        cookie "cookie" ["RuleConditions"]: Vec<PairEntry>,
        source_ip "source_ip" ["RuleConditions"]: Vec<Text>,
        response_header "response_header" ["RuleConditions"]: FieldEntry,
        response_status_code "response_status_code" ["RuleConditions"]: Vec<At<Word>>,
    }
    FieldEntry, "", [] {
        key "key" ["RuleConditions"]: Text,
        values "values" ["RuleConditions"]: Vec<At<Word>>,
    }
    PairEntry, "", [] {
        key "key" ["RuleConditions"]: At<Word>,
        value "value" ["RuleConditions"]: At<Word>,
    }
    ActionEntry, "action", [] {
        order "order": Number,
        forward "forward" ["ForwardGroupConfig"]: Short<ForwardEntry>,
        redirect "redirect" ["RedirectConfig"]: RedirectEntry,
        fixed_response "fixed_response" ["FixedResponseConfig"]: FixedResponseEntry,
        rewrite "rewrite" ["RewriteConfig"]: RewriteEntry,
        insert_header "insert_header" ["InsertHeaderConfig"]: InsertHeaderEntry,
        remove_header "remove_header" ["RemoveHeaderConfig"]: Text,
        traffic_limit "traffic_limit" ["TrafficLimitConfig"]: TrafficLimitEntry,
        traffic_mirror "traffic_mirror" ["TrafficMirrorConfig"]: Text,
        cors "cors" ["CorsConfig"]: CorsEntry,
    }
    ForwardEntry, "", [] {
        groups "groups" ["ServerGroupTuples"]: Vec<GroupShareEntry>,
        sticky "sticky" ["ServerGroupStickySession"]: GroupStickyEntry,
    }
    GroupShareEntry, "", [] {
        group "group" ["ServerGroupId"]: Text,
        weight "weight": Number,
    }
    GroupStickyEntry, "", [] {
        enabled "enabled": Flag,
        timeout "timeout": Number,
    }
    RedirectEntry, "", [] {
        status "status" ["HttpCode"]: Number,
        protocol "protocol": Text,
        host "host": Text,
        port "port": At<Word>,
        path "path": Text,
        query "query": Text,
    }
    RewriteEntry, "", [] {
        host "host": Text,
        path "path": Text,
        query "query": Text,
    }
    FixedResponseEntry, "", [] {
        status "status" ["HttpCode"]: Number,
        content_type "content_type": Text,
        content "content": Text,
    }
    InsertHeaderEntry, "", [] {
        key "key": Text,
        value "value": At<Word>,
        reference "reference" ["Value"]: Text,
        system "system" ["Value"]: Text,
        cover "cover" ["CoverEnabled"]: Flag,
    }
    TrafficLimitEntry, "", [] {
        qps "qps" ["QPS"]: Number,
        per_ip_qps "per_ip_qps" ["PerIpQps"]: Number,
    }
    CorsEntry, "", [] {
        allow_origin "allow_origin": Vec<Text>,
        allow_methods "allow_methods": Vec<Text>,
        allow_headers "allow_headers": Vec<Text>,
        expose_headers "expose_headers": Vec<Text>,
        allow_credentials "allow_credentials": Flag,
        max_age "max_age": Number,
    }
    AclEntry, "ACL", ["name"] {
        name "name" ["AclName"]: Text,
        entries "entries" ["AclEntries"]: Vec<AclSourceEntry>,
    }
    AclSourceEntry, "entry", ["cidr"] {
        cidr "cidr" ["Entry"]: At<IpNet>,
        description "description" ["Description"]: Text,
    }
    SecurityPolicyEntry, "security policy", ["name"] {
        name "name" ["SecurityPolicyName"]: Text,
        tls_versions "tls_versions" ["TLSVersions"]: Vec<Text>,
        ciphers "ciphers": Vec<Text>,
    }
    InstanceEntry, "instance", ["id"] {
        id "id" ["InstanceId"]: Text,
        instance_type "type" ["InstanceType"]: Text,
        vpc "vpc" ["VpcId"]: Text,
        interfaces "interfaces" ["NetworkInterfaces"]: Vec<InterfaceEntry>,
    }
    InterfaceEntry, "interface", ["id"] {
        id "id" ["NetworkInterfaceId"]: Text,
        vpc "vpc" ["VpcId"]: Text,
        vswitch "vswitch" ["VSwitchId"]: Text,
        address "address" ["PrimaryIpAddress"]: Address,
        secondary_addresses "secondary_addresses" ["PrivateIpAddresses"]: Vec<Address>,
        ipv6_addresses "ipv6_addresses": Vec<Address6>,
    }
    FunctionEntry, "function", ["name"] {
        name "name" ["FunctionName"]: Text,
        arn "arn" ["FunctionArn"]: Text,
        region "region" ["RegionId"]: Text,
        account "account" ["AccountId"]: At<Word>,
        service "service" ["ServiceName"]: Text,
        platform "platform" ["FunctionPlatform"]: At<Word>,
        handler "handler" ["FunctionHandler"]: Text,
        versions "versions" ["FunctionVersions"]: Vec<QualifierEntry>,
        aliases "aliases" ["FunctionAliases"]: Vec<QualifierEntry>,
    }
    QualifierEntry, "version", ["name"] {
        name "name" ["Qualifier"]: At<Word>,
        trigger "trigger" ["TriggerUrl"]: Text,
    }
}
