//! Server groups and health check templates.

use crate::api::{
    HashView, HealthCheckTemplateView, HealthCheckView, ServerGroupView, StickySessionView,
    TlsVerificationView,
};
use crate::health::Status;
use crate::model::{
    GroupProtocol, GrpcMethod, HashFactor, HealthCheck, HealthCheckMethod, HealthCheckProtocol, HttpVersion,
    Listener, Scheduler, ServerGroup, ServerGroupType, StatusClass, StickySession,
};
use crate::run::control::Control;
use std::collections::BTreeSet;
use std::num::NonZeroU16;

impl Control {
    pub(super) fn server_groups(&self) -> Vec<ServerGroupView> {
        self.resources.server_groups.values().map(|group| self.server_group(group)).collect()
    }

    fn server_group(&self, group: &ServerGroup) -> ServerGroupView {
        let health = self.health.get(&group.name);
        let statuses =
            health.into_iter().flat_map(|health| health.standings()).map(|standing| standing.status);
        let listeners: Vec<&Listener> =
            self.resources.listeners.values().filter(|listener| listener.uses(&group.name)).collect();
        let balancers: BTreeSet<String> =
            listeners.iter().map(|listener| listener.load_balancer.to_string()).collect();
        let (scheduler, hash) = match &group.scheduler {
            Scheduler::Wrr => ("Wrr", None),
            Scheduler::Wlc => ("Wlc", None),
            Scheduler::Sch(HashFactor::SourceIp) => ("Sch", Some(HashView::SourceIp)),
            Scheduler::Sch(HashFactor::UrlParameter(name)) => {
                ("Sch", Some(HashView::UrlParameter { name: name.clone() }))
            }
        };
        ServerGroupView {
            name: group.name.to_string(),
            group_type: match group.group_type {
                ServerGroupType::Instance => "Instance",
                ServerGroupType::Ip => "Ip",
                ServerGroupType::Fc => "Fc",
            }
            .into(),
            vpc: group.vpc.as_ref().map(ToString::to_string),
            protocol: match group.protocol {
                GroupProtocol::Http => "HTTP",
                GroupProtocol::Https => "HTTPS",
                GroupProtocol::Grpc => "gRPC",
                GroupProtocol::Tcp => "TCP",
            }
            .into(),
            scheduler: scheduler.into(),
            hash,
            health_check: group.health_check.as_ref().map(health_check),
            sticky_session: group.sticky_session.as_ref().map(|sticky| match sticky {
                StickySession::Insert { timeout } => {
                    StickySessionView::Insert { timeout_secs: timeout.as_secs() }
                }
                StickySession::Server { cookie } => StickySessionView::Server { cookie: cookie.clone() },
            }),
            slow_start_secs: group.slow_start.map(|slow_start| slow_start.duration.as_secs()),
            connection_drain_secs: group.connection_drain.map(|drain| drain.timeout.as_secs()),
            upstream_keepalive: group.upstream_keepalive,
            cross_zone: group.cross_zone,
            ipv6: group.ipv6,
            tls_verification: group.tls_verification.as_ref().map(|verification| TlsVerificationView {
                ca_certificates: verification.ca_certificates.clone(),
                server_name: verification.server_name.clone(),
            }),
            service_name: group.service_name.clone(),
            ip_version_affinity_mode: group.ip_version_affinity_mode.clone(),
            resource_group: group.resource_group.clone(),
            tags: group.tags.clone(),
            server_count: group.servers.len(),
            healthy_count: statuses
                .filter(|status| matches!(status, Status::Normal | Status::Unavailable))
                .count(),
            is_fail_open: health.is_some_and(|health| health.is_fail_open()),
            listeners: listeners.iter().map(|listener| listener.name.to_string()).collect(),
            load_balancers: balancers.into_iter().collect(),
        }
    }

    pub(super) fn health_check_templates(&self) -> Vec<HealthCheckTemplateView> {
        let templates = self.resources.health_check_templates.values();
        templates
            .map(|template| HealthCheckTemplateView {
                name: template.name.to_string(),
                health_check: health_check(&template.check),
            })
            .collect()
    }
}

fn health_check(check: &HealthCheck) -> HealthCheckView {
    let mut view = HealthCheckView {
        protocol: "TCP".into(),
        method: None,
        path: None,
        host: None,
        http_version: None,
        codes: Vec::new(),
        connect_port: check.connect_port.map(NonZeroU16::get),
        interval_secs: check.interval.as_secs(),
        timeout_secs: check.timeout.as_secs(),
        healthy_threshold: check.healthy_threshold,
        unhealthy_threshold: check.unhealthy_threshold,
        detects_within_secs: check.detects_within().as_secs(),
    };
    match &check.protocol {
        HealthCheckProtocol::Tcp => {}
        HealthCheckProtocol::Http { tls, method, path, host, version, codes } => {
            view.protocol = if *tls { "HTTPS" } else { "HTTP" }.into();
            let method = match method {
                HealthCheckMethod::Head => "HEAD",
                HealthCheckMethod::Get => "GET",
            };
            let version = match version {
                HttpVersion::Http10 => "HTTP1.0",
                HttpVersion::Http11 => "HTTP1.1",
            };
            view.method = Some(method.into());
            view.path = Some(path.clone());
            view.host = host.clone();
            view.http_version = Some(version.into());
            view.codes = codes.iter().map(|StatusClass(class)| format!("http_{class}xx")).collect();
        }
        HealthCheckProtocol::Grpc { method, path, host, codes, .. } => {
            view.protocol = "gRPC".into();
            let method = match method {
                GrpcMethod::Post => "POST",
                GrpcMethod::Get => "GET",
            };
            view.method = Some(method.into());
            view.path = Some(path.clone());
            view.host = host.clone();
            view.codes = codes
                .iter()
                .map(|range| match (range.start(), range.end()) {
                    (first, last) if first == last => first.to_string(),
                    (first, last) => format!("{first}-{last}"),
                })
                .collect();
        }
    }
    view
}
