//! Which groups fit which listeners: the table of SG-22, and what editions and networks allow (D-2).

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
        let words: Vec<String> = fitting.iter().map(GroupProtocol::to_string).collect();
        let of_edition = match edition {
            Some(Edition::Basic) if listener.protocol == ListenerProtocol::Https => " of edition Basic",
            _ => "",
        };
        found.push(Misfit {
            code: Mismatch.of("Protocol"),
            rule: format!(
                "its protocol is {}; a listener of protocol {}{of_edition} takes {}",
                group.protocol,
                listener.protocol,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AddressType, ConnectionDrain, FunctionTrigger, HealthCheck, HealthCheckMethod, HttpVersion,
        LoadBalancerName, Server, SlowStart, StatusClass, VpcName, Weight,
    };
    use std::time::Duration;

    const LISTENERS: [ListenerProtocol; 4] =
        [ListenerProtocol::Http, ListenerProtocol::Https, ListenerProtocol::Quic, ListenerProtocol::Tcp];
    const GROUPS: [GroupProtocol; 4] =
        [GroupProtocol::Http, GroupProtocol::Https, GroupProtocol::Grpc, GroupProtocol::Tcp];

    fn vpc() -> VpcName {
        VpcName::new("vpc1")
    }

    fn group(protocol: GroupProtocol) -> ServerGroup {
        ServerGroup { protocol, ..ServerGroup::new("g", &vpc()) }
    }

    fn balancer(edition: Edition) -> LoadBalancer {
        LoadBalancer {
            name: LoadBalancerName::new("alb"),
            edition,
            address_type: AddressType::Internet,
            address_ip_version: IpVersion::Ipv4,
            vpc: vpc(),
            dns_name: "alb.test".to_owned(),
            zone_mappings: Vec::new(),
            back_to_origin_prefix: None,
        }
    }

    fn codes(misfits: &[Misfit]) -> Vec<String> {
        misfits.iter().map(|misfit| misfit.code.to_string()).collect()
    }

    fn attach(protocol: ListenerProtocol, http2: bool, edition: Edition, group: &ServerGroup) -> Vec<String> {
        let mut found = misfits_of_listener(Listening { protocol, http2 }, Some(edition), group);
        found.extend(misfits_of_balancer(&balancer(edition), None, group));
        codes(&found)
    }

    // Holds SG-22, SG-24
    #[test]
    fn every_pair_of_protocols_fits_as_the_table_says() {
        use GroupProtocol as G;
        use ListenerProtocol as L;
        for edition in [Edition::Basic, Edition::Standard] {
            for listener in LISTENERS {
                for protocol in GROUPS {
                    let fits = match (listener, protocol) {
                        (L::Http, G::Http | G::Https) => true,
                        (L::Https, G::Http | G::Grpc) => true,
                        (L::Https, G::Https) => edition == Edition::Standard,
                        (L::Quic, G::Http) => true,
                        (L::Tcp, G::Tcp) => true,
                        _ => false,
                    };
                    let expected: &[&str] = if fits { &[] } else { &["Mismatch.Protocol"] };
                    for group_type in [ServerGroupType::Instance, ServerGroupType::Ip] {
                        let group = ServerGroup { group_type, ..group(protocol) };
                        assert_eq!(
                            attach(listener, true, edition, &group),
                            expected,
                            "{listener} {protocol} {edition:?}"
                        );
                    }
                }
            }
        }
    }

    // Holds SG-22
    #[test]
    fn functions_fit_every_listener_with_requests() {
        for edition in [Edition::Basic, Edition::Standard] {
            for listener in LISTENERS {
                let group =
                    ServerGroup { group_type: ServerGroupType::Fc, vpc: None, ..group(GroupProtocol::Http) };
                let expected: &[&str] = if listener.is_l4() { &["Mismatch.ServerGroupType"] } else { &[] };
                assert_eq!(attach(listener, true, edition, &group), expected, "{listener}");
            }
        }
    }

    // Holds SG-23
    #[test]
    fn grpc_needs_http2() {
        let (https, standard) = (ListenerProtocol::Https, Edition::Standard);
        assert_eq!(
            attach(https, false, standard, &group(GroupProtocol::Grpc)),
            ["OperationDenied.Http2RequiredByServerGroup"]
        );
        assert_eq!(attach(https, false, standard, &group(GroupProtocol::Https)), [""; 0]);
    }

    fn checked(protocol: HealthCheckProtocol) -> ServerGroup {
        let check = HealthCheck {
            protocol,
            connect_port: None,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            healthy_threshold: 3,
            unhealthy_threshold: 3,
        };
        ServerGroup { health_check: Some(check), ..group(GroupProtocol::Http) }
    }

    fn http(tls: bool) -> HealthCheckProtocol {
        HealthCheckProtocol::Http {
            tls,
            method: HealthCheckMethod::Head,
            path: "/".to_owned(),
            host: None,
            version: HttpVersion::Http11,
            codes: vec![StatusClass(2)],
        }
    }

    // Holds SG-22, SG-25, SG-26
    #[test]
    fn every_check_fits_every_listener_but_https_ones_of_edition_basic() {
        let grpc = HealthCheckProtocol::Grpc {
            tls: false,
            method: crate::model::GrpcMethod::Post,
            path: "/".to_owned(),
            host: None,
            codes: vec![0..=0],
        };
        for listener in [ListenerProtocol::Http, ListenerProtocol::Https, ListenerProtocol::Quic] {
            for (check, is_https) in [
                (http(false), false),
                (http(true), true),
                (HealthCheckProtocol::Tcp, false),
                (grpc.clone(), false),
            ] {
                let group = checked(check);
                assert_eq!(attach(listener, true, Edition::Standard, &group), [""; 0]);
                let expected: &[&str] =
                    if is_https { &["OperationDenied.HttpsHealthCheckWithBasicEdition"] } else { &[] };
                assert_eq!(attach(listener, true, Edition::Basic, &group), expected);
            }
        }
    }

    // Holds SG-132, SG-152, SG-172
    #[test]
    fn edition_basic_names_each_feature_it_has_not() {
        let group = ServerGroup {
            slow_start: Some(SlowStart { duration: Duration::from_secs(30) }),
            connection_drain: Some(ConnectionDrain { timeout: Duration::from_secs(30) }),
            cross_zone: false,
            ..checked(http(true))
        };
        assert_eq!(attach(ListenerProtocol::Http, true, Edition::Standard, &group), [""; 0]);
        assert_eq!(
            attach(ListenerProtocol::Http, true, Edition::Basic, &group),
            [
                "OperationDenied.SlowStartWithBasicEdition",
                "OperationDenied.ConnectionDrainWithBasicEdition",
                "OperationDenied.HttpsHealthCheckWithBasicEdition",
                "OperationDenied.CrossZoneDisabledWithBasicEdition",
            ]
        );
    }

    #[test]
    fn a_group_is_of_the_balancers_vpc() {
        let group = ServerGroup { vpc: Some(VpcName::new("vpc2")), ..group(GroupProtocol::Http) };
        assert_eq!(
            codes(&misfits_of_balancer(&balancer(Edition::Standard), None, &group)),
            ["Mismatch.VpcId"]
        );
    }

    // Holds SG-62
    #[test]
    fn an_ipv6_group_is_for_dual_stack_balancers() {
        let group = ServerGroup { ipv6: true, ..group(GroupProtocol::Http) };
        let mut balancer = balancer(Edition::Standard);
        assert_eq!(codes(&misfits_of_balancer(&balancer, None, &group)), ["Mismatch.AddressIpVersion"]);
        balancer.address_ip_version = IpVersion::DualStack;
        assert_eq!(misfits_of_balancer(&balancer, None, &group), []);
    }

    // Holds SG-70
    #[test]
    fn a_function_is_of_the_balancers_region() {
        let mut server = Server::new("10.0.0.1:80".parse().unwrap(), Weight::MAX);
        server.id = ServerId::Fc("acs:fc:chengdu:1:functions/f/LATEST".to_owned());
        server.trigger = Some(FunctionTrigger {
            tls: false,
            authority: "10.0.0.1".to_owned(),
            path_prefix: String::new(),
        });
        let group = ServerGroup {
            group_type: ServerGroupType::Fc,
            vpc: None,
            servers: vec![server],
            ..group(GroupProtocol::Http)
        };
        let in_region = |region: &str| {
            let region = RegionName::new(region);
            codes(&misfits_of_balancer(&balancer(Edition::Standard), Some(&region), &group))
        };
        assert_eq!(in_region("chengdu"), [""; 0]);
        assert_eq!(in_region("hangzhou"), ["Mismatch.RegionId"]);
    }
}
