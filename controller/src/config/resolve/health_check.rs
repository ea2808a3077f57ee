//! Health check settings (SG section 11).

mod codes;

use crate::config::ErrorFamily::{IllegalParam, MissingParam};
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::{HealthCheckEntry, HealthCheckTemplateEntry};
use crate::model::{
    GroupProtocol, GrpcMethod, HealthCheck, HealthCheckMethod, HealthCheckProtocol, HealthCheckTemplate,
    HealthCheckTemplateName, HttpVersion, ServerGroupType,
};
use codes::{resolve_classes, resolve_codes, resolve_statuses};
use std::num::NonZeroU16;
use std::time::Duration;

/// A silent server should be noticed within this, or the operator is warned.
const DETECTION_MAX: Duration = Duration::from_secs(30);
/// The method of gRPC's health checking protocol (SG-184).
const GRPC_PATH: &str = "/grpc.health.v1.Health/Check";
/// Stands for the server's own address (table of SG section 11).
const OWN_ADDRESS: &str = "$SERVER_IP";

/// The group that a check belongs to, as far as it could be made out.
#[derive(Clone, Copy)]
pub(super) struct OfGroup<'a> {
    pub(super) head: &'a Head,
    pub(super) group_type: Option<ServerGroupType>,
    pub(super) protocol: Option<GroupProtocol>,
}

/// The outer `None` is an error, the inner one "checks are off".
///
/// Unlike other sections this one and its `enabled` must be written (SG-8): without checks a failed server keeps its
/// share, which nobody should get by leaving something out. Groups of type Fc may leave it out, and are not checked
/// unless it says so (D-9, SG-72).
pub(super) fn resolve_health_check(
    section: &Field<HealthCheckEntry>,
    group: OfGroup<'_>,
    report: &mut Report<'_>,
) -> Option<Option<HealthCheck>> {
    let is_function = group.group_type == Some(ServerGroupType::Fc);
    let entry = match section {
        Field::Absent if is_function => return Some(None),
        _ => report.required(group.head, "health_check", section, "add `health_check: {enabled: true}`")?,
    };
    let is_on = match &entry.enabled {
        Field::Absent if is_function => Some(false),
        Field::Absent => {
            let remedy = "write `enabled: true`";
            let code = entry.head.code(MissingParam, "enabled");
            report.error(code, entry.head.at, &entry.head.subject, "", "`enabled` is missing", remedy);
            None
        }
        flag => report.flag(flag, true),
    };
    // The settings of a check that is off must be right all the same: it may be turned on.
    let check = resolve_check(entry, group.protocol, is_host, report);
    if is_on == Some(false) && !is_function {
        report.warning(
            entry.head.at,
            &entry.head.subject,
            "health checks are off",
            "a server that fails keeps its share of the traffic",
            "write `enabled: true`",
        );
    }
    let (is_on, check) = (is_on?, check?);
    if !is_on {
        return Some(None);
    }
    let slowest = check.detects_within();
    if slowest > DETECTION_MAX {
        report.warning(
            entry.head.at,
            &entry.head.subject,
            format!("up to {} s until a silent server is noticed", slowest.as_secs()),
            format!("longer than {} s", DETECTION_MAX.as_secs()),
            "lower `interval`, `timeout` or `unhealthy_threshold`",
        );
    }
    warn_of_other_language(entry, &check, group.protocol, report);
    Some(Some(check))
}

/// A check in plain HTTP/1.1 on a port where something else is spoken fails for every server.
fn warn_of_other_language(
    entry: &HealthCheckEntry,
    check: &HealthCheck,
    group_protocol: Option<GroupProtocol>,
    report: &mut Report<'_>,
) {
    let is_plain_http = matches!(check.protocol, HealthCheckProtocol::Http { tls: false, .. });
    let spoken = match group_protocol {
        Some(GroupProtocol::Https) => "HTTPS",
        Some(GroupProtocol::Grpc) => "gRPC",
        _ => return,
    };
    if is_plain_http && check.connect_port.is_none() {
        report.warning(
            entry.head.at,
            &entry.head.subject,
            "protocol HTTP",
            format!("servers of this group speak {spoken} on the port that is probed"),
            format!("write `protocol: {spoken}`, or name another port with `connect_port`"),
        );
    }
}

/// A template (SG-194), which need not be attached to anything.
pub(super) fn resolve_template(
    entry: &HealthCheckTemplateEntry,
    report: &mut Report<'_>,
) -> Option<HealthCheckTemplate> {
    let name = report.name(&entry.head, &entry.name).map(HealthCheckTemplateName::new);
    let check = resolve_check(&entry.check(), None, is_template_host, report);
    Some(HealthCheckTemplate { name: name?, check: check? })
}

fn resolve_check(
    entry: &HealthCheckEntry,
    group_protocol: Option<GroupProtocol>,
    is_host: fn(&str) -> bool,
    report: &mut Report<'_>,
) -> Option<HealthCheck> {
    let head = &entry.head;
    let connect_port = report.number(head, "connect_port", &entry.connect_port, 0..=65535, 0);
    let interval = report.seconds(head, "interval", &entry.interval, 1..=50, 2);
    let timeout = report.seconds(head, "timeout", &entry.timeout, 1..=300, 5);
    let healthy = report.number(head, "healthy_threshold", &entry.healthy_threshold, 2..=10, 3);
    let unhealthy = report.number(head, "unhealthy_threshold", &entry.unhealthy_threshold, 2..=10, 3);
    let protocol = resolve_protocol(entry, group_protocol, is_host, report);
    Some(HealthCheck {
        protocol: protocol?,
        connect_port: NonZeroU16::new(u16::try_from(connect_port?).ok()?),
        interval: interval?,
        timeout: timeout?,
        healthy_threshold: u8::try_from(healthy?).ok()?,
        unhealthy_threshold: u8::try_from(unhealthy?).ok()?,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
    Https,
    Grpc,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Head,
    Get,
    Post,
}

/// What applies to other protocols than the chosen one must be right too, and is ignored (SG-180).
fn resolve_protocol(
    entry: &HealthCheckEntry,
    group_protocol: Option<GroupProtocol>,
    is_host: fn(&str) -> bool,
    report: &mut Report<'_>,
) -> Option<HealthCheckProtocol> {
    let head = &entry.head;
    let default = if group_protocol == Some(GroupProtocol::Tcp) { Kind::Tcp } else { Kind::Http };
    let kinds = [("HTTP", Kind::Http), ("HTTPS", Kind::Https), ("TCP", Kind::Tcp), ("gRPC", Kind::Grpc)];
    let kind = report.choice_or(head, "protocol", &entry.protocol, default, &kinds, &[]);
    let method = resolve_method(entry, kind, report);
    let version = report.choice_or(
        head,
        "http_version",
        &entry.http_version,
        HttpVersion::Http11,
        &[("HTTP1.1", HttpVersion::Http11), ("HTTP1.0", HttpVersion::Http10)],
        &[],
    );
    let path = checked_text(
        head,
        ("path", &entry.path),
        is_path,
        "1 to 80 characters beginning with `/`: letters, digits and -/.%?#&=_;~!()*[]@$^:',+",
        "write a path such as /healthz",
        report,
    );
    let host = checked_text(
        head,
        ("host", &entry.host),
        is_host,
        "1 to 80 characters: lower-case labels of letters, digits and inner hyphens joined by dots, the last of letters only",
        "write a name such as www.example.com, or leave `host` out to send the server's address",
        report,
    );
    let (kind, method) = (kind?, method);
    let (path, host) = (path, host.map(|host| host.filter(|host| host != OWN_ADDRESS)));
    let path_or = |path: Option<String>, default: &str| path.unwrap_or_else(|| default.to_owned());
    match kind {
        Kind::Tcp => {
            resolve_codes(entry, report)?;
            let _ignored = (method?, version?, path?, host?);
            Some(HealthCheckProtocol::Tcp)
        }
        Kind::Http | Kind::Https => {
            let codes = resolve_classes(entry, report);
            Some(HealthCheckProtocol::Http {
                tls: kind == Kind::Https,
                method: match method? {
                    Some(Method::Get) => HealthCheckMethod::Get,
                    _ => HealthCheckMethod::Head,
                },
                path: path_or(path?, "/"),
                host: host?,
                version: version?,
                codes: codes?,
            })
        }
        Kind::Grpc => {
            let codes = resolve_statuses(entry, report);
            version?;
            Some(HealthCheckProtocol::Grpc {
                tls: group_protocol == Some(GroupProtocol::Https),
                method: match method? {
                    Some(Method::Get) => GrpcMethod::Get,
                    _ => GrpcMethod::Post,
                },
                path: path_or(path?, GRPC_PATH),
                host: host?,
                codes: codes?,
            })
        }
    }
}

/// HEAD or GET for HTTP and HTTPS, POST or GET for gRPC; the inner `None` is the default.
fn resolve_method(
    entry: &HealthCheckEntry,
    kind: Option<Kind>,
    report: &mut Report<'_>,
) -> Option<Option<Method>> {
    let text = match &entry.method {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(text) => text,
    };
    let (head, get, post) = (("HEAD", Method::Head), ("GET", Method::Get), ("POST", Method::Post));
    let of_grpc = ("POST", "probes of this protocol are not POST, which gRPC probes are");
    let of_http = ("HEAD", "gRPC probes are not HEAD");
    match kind {
        Some(Kind::Http | Kind::Https) => {
            report.choice(&entry.head, "method", text, &[head, get], &[of_grpc])
        }
        Some(Kind::Grpc) => report.choice(&entry.head, "method", text, &[post, get], &[of_http]),
        Some(Kind::Tcp) | None => report.choice(&entry.head, "method", text, &[head, get, post], &[]),
    }
    .map(Some)
}

/// The outer `None` is an error, the inner one absence.
fn checked_text(
    head: &Head,
    (key, field): (&str, &Field<At<String>>),
    is_good: fn(&str) -> bool,
    rule: &str,
    remedy: &str,
    report: &mut Report<'_>,
) -> Option<Option<String>> {
    match field {
        Field::Absent => Some(None),
        Field::Bad => None,
        Field::Good(text) if is_good(&text.value) => Some(Some(text.value.clone())),
        Field::Good(text) => {
            report.error(
                head.code(IllegalParam, key),
                text.at,
                &head.subject,
                format!("{key} {:?}", text.value),
                rule,
                remedy,
            );
            None
        }
    }
}

fn is_path(path: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "-/.%?#&=_;~!()*[]@$^:',+".contains(c);
    path.len() <= 80 && path.starts_with('/') && path.chars().all(is_fine)
}

/// A host as groups may name it.
fn is_host(host: &str) -> bool {
    if host == OWN_ADDRESS {
        return true;
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let Some((_, last)) = host.rsplit_once('.') else { return false };
    host.len() <= 80 && host.split('.').all(is_label) && last.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// A host as templates may name it: also in upper case, and without dots (section 17, item 12).
fn is_template_host(host: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    host == OWN_ADDRESS || ((1..=80).contains(&host.len()) && host.bytes().all(is_fine))
}

impl HealthCheckTemplateEntry {
    /// Its settings, as a group has them.
    fn check(&self) -> HealthCheckEntry {
        HealthCheckEntry {
            head: self.head.clone(),
            enabled: Field::Absent,
            protocol: self.protocol.clone(),
            path: self.path.clone(),
            method: self.method.clone(),
            codes: self.codes.clone(),
            connect_port: self.connect_port.clone(),
            interval: self.interval.clone(),
            timeout: self.timeout.clone(),
            healthy_threshold: self.healthy_threshold.clone(),
            unhealthy_threshold: self.unhealthy_threshold.clone(),
            host: self.host.clone(),
            http_version: self.http_version.clone(),
        }
    }
}
