//! Which groups fit which listeners: the table of SG-22, and what editions and networks allow (D-2).
//!
//! The rules know HTTPS and QUIC listeners, which configuration does not accept yet.

use super::functions::FunctionArn;
use crate::config::ErrorFamily::{Mismatch, OperationDenied};
use crate::config::code::ErrorCode;
use crate::model::{
    Edition, GroupProtocol, HealthCheckProtocol, IpVersion, ListenerProtocol, LoadBalancer, RegionName,
    ServerGroup, ServerGroupType, ServerId,
};

/// Why a group cannot be attached to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) code: ErrorCode,
    pub(super) rule: String,
    pub(super) remedy: String,
}

/// What of a listener matters to groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listening {
    pub(super) protocol: ListenerProtocol,
    /// Whether HTTP/2 is on; of no meaning but for HTTPS.
    pub(super) http2: bool,
}

/// Everything that keeps `group` from `listener`.
pub(super) fn misfits_of_listener(
    listener: Listening,
    edition: Option<Edition>,
    group: &ServerGroup,
) -> Vec<Misfit> {
    let fitting = fitting_protocols(listener.protocol, edition);
    let is_function = group.group_type == ServerGroupType::Fc;
    let mut found = Vec::new();
    if is_function && listener.protocol.is_l4() {
        found.push(Misfit {
            code: Mismatch.of("ServerGroupType"),
            rule: "it is of type Fc; TCP listeners have no requests to call a function with".to_owned(),
            remedy: "name a group of type Instance or Ip with `protocol: TCP`".to_owned(),
        });
    } else if !is_function && !fitting.contains(&group.protocol) {
        let words: Vec<&str> = fitting.iter().map(|protocol| name_of_group_protocol(*protocol)).collect();
        let of_edition = match edition {
            Some(Edition::Basic) if listener.protocol == ListenerProtocol::Https => " of edition Basic",
            _ => "",
        };
        found.push(Misfit {
            code: Mismatch.of("Protocol"),
            rule: format!(
                "its protocol is {}; a listener of protocol {}{of_edition} takes {}",
                name_of_group_protocol(group.protocol),
                name_of_listener_protocol(listener.protocol),
                words.join(", "),
            ),
            remedy: format!("name a group with `protocol: {}`", words.join("` or `protocol: ")),
        });
    } else if group.protocol == GroupProtocol::Grpc && !listener.http2 {
        found.push(Misfit {
            code: OperationDenied.of("Http2RequiredByServerGroup"),
            rule: "its protocol is gRPC, which needs HTTP/2, and the listener has it off".to_owned(),
            remedy: "turn HTTP/2 on, or name a group of another protocol".to_owned(),
        });
    }
    found
}

/// SG-22, SG-24 with D-4; TCP as D-17 has it.
fn fitting_protocols(listener: ListenerProtocol, edition: Option<Edition>) -> &'static [GroupProtocol] {
    use GroupProtocol::{Grpc, Http, Https, Tcp};
    match listener {
        ListenerProtocol::Http => &[Http, Https],
        ListenerProtocol::Https if edition == Some(Edition::Basic) => &[Http, Grpc],
        ListenerProtocol::Https => &[Http, Https, Grpc],
        ListenerProtocol::Quic => &[Http],
        ListenerProtocol::Tcp => &[Tcp],
    }
}

fn name_of_group_protocol(protocol: GroupProtocol) -> &'static str {
    match protocol {
        GroupProtocol::Http => "HTTP",
        GroupProtocol::Https => "HTTPS",
        GroupProtocol::Grpc => "gRPC",
        GroupProtocol::Tcp => "TCP",
    }
}

fn name_of_listener_protocol(protocol: ListenerProtocol) -> &'static str {
    match protocol {
        ListenerProtocol::Http => "HTTP",
        ListenerProtocol::Https => "HTTPS",
        ListenerProtocol::Quic => "QUIC",
        ListenerProtocol::Tcp => "TCP",
    }
}

/// Everything that keeps `group` from a load balancer; `region` is the balancer's, where it is known.
pub(super) fn misfits_of_balancer(
    balancer: &LoadBalancer,
    region: Option<&RegionName>,
    group: &ServerGroup,
) -> Vec<Misfit> {
    let name = &balancer.name;
    let mut found = Vec::new();
    if let Some(vpc) = group.vpc.as_ref().filter(|vpc| **vpc != balancer.vpc) {
        found.push(Misfit {
            code: Mismatch.of("VpcId"),
            rule: format!(
                "it belongs to VPC \"{vpc}\", load balancer \"{name}\" to VPC \"{}\"",
                balancer.vpc
            ),
            remedy:
                "use a group of the load balancer's VPC; servers elsewhere join it with `remote_ip: true`"
                    .to_owned(),
        });
    }
    if group.ipv6 && balancer.address_ip_version != IpVersion::DualStack {
        found.push(Misfit {
            code: Mismatch.of("AddressIpVersion"),
            rule: format!("it is an IPv6 group, and load balancer \"{name}\" has IPv4 addresses only"),
            remedy: "write `address_ip_version: DualStack`, or use a group without `ipv6_enabled`".to_owned(),
        });
    }
    for function in &group.servers {
        let ServerId::Fc(arn) = &function.id else { continue };
        let Ok(arn) = arn.parse::<FunctionArn>() else { continue };
        if let Some(region) = region.filter(|region| region.as_str() != arn.region) {
            found.push(Misfit {
                code: Mismatch.of("RegionId"),
                rule: format!(
                    "its function is in region {}, load balancer \"{name}\" in {region}",
                    arn.region
                ),
                remedy: format!("use a function of region {region}"),
            });
        }
    }
    if balancer.edition == Edition::Basic {
        found.extend(misfits_of_basic_edition(balancer, group));
    }
    found
}

/// SG-25, SG-132, SG-152, SG-172; HTTPS groups are [`misfits_of_listener`]'s to refuse (SG-24).
fn misfits_of_basic_edition(balancer: &LoadBalancer, group: &ServerGroup) -> Vec<Misfit> {
    let has_https_check = group
        .health_check
        .as_ref()
        .is_some_and(|check| matches!(check.protocol, HealthCheckProtocol::Http { tls: true, .. }));
    let features = [
        ("SlowStartWithBasicEdition", group.slow_start.is_some(), "slow start is on", "turn slow start off"),
        (
            "ConnectionDrainWithBasicEdition",
            group.connection_drain.is_some(),
            "connection draining is on",
            "turn connection draining off",
        ),
        (
            "HttpsHealthCheckWithBasicEdition",
            has_https_check,
            "its health checks are HTTPS",
            "choose another protocol for them",
        ),
        (
            "CrossZoneDisabledWithBasicEdition",
            !group.cross_zone,
            "cross-zone balancing is off",
            "turn cross-zone balancing on",
        ),
    ];
    features
        .into_iter()
        .filter(|(_, is_there, ..)| *is_there)
        .map(|(reason, _, what, way_out)| Misfit {
            code: OperationDenied.of(reason),
            rule: format!("{what}, and load balancer \"{}\" is of edition Basic", balancer.name),
            remedy: format!("{way_out}, or write `edition: Standard`"),
        })
        .collect()
}
