//! Health check settings (SG section 11).

use crate::config::ErrorFamily::IllegalParam;
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::HealthCheckEntry;
use crate::model::{
    GroupProtocol, HealthCheck, HealthCheckMethod, HealthCheckProtocol, HttpVersion, StatusClass,
};
use std::num::NonZeroU16;
use std::time::Duration;

/// A silent server should be noticed within this, or the operator is warned.
const DETECTION_MAX: Duration = Duration::from_secs(30);

/// The outer `None` is an error, the inner one "checks are off". A section that is there is on unless it says
/// otherwise; without one, checks are off.
pub(super) fn resolve_health_check(
    section: &Field<HealthCheckEntry>,
    group_protocol: Option<GroupProtocol>,
    group: &Head,
    report: &mut Report<'_>,
) -> Option<Option<HealthCheck>> {
    let entry = match section {
        Field::Bad => return None,
        Field::Absent => {
            warn_off(group, report);
            return Some(None);
        }
        Field::Good(entry) => entry,
    };
    let check = resolve_enabled(entry, group_protocol, report);
    if entry.enabled.good().is_some_and(|flag| !flag.value) {
        warn_off(&entry.head, report);
        // The settings of a check that is off must be right all the same: it may be turned on.
        return check.map(|_| None);
    }
    let check = check?;
    let slowest = detection_time(&check);
    if slowest > DETECTION_MAX {
        report.warning(
            entry.head.at,
            &entry.head.subject,
            format!("up to {} s until a silent server is noticed", slowest.as_secs()),
            format!("longer than {} s", DETECTION_MAX.as_secs()),
            "lower `interval`, `timeout` or `unhealthy_threshold`",
        );
    }
    Some(Some(check))
}

fn warn_off(head: &Head, report: &mut Report<'_>) {
    report.warning(
        head.at,
        &head.subject,
        "health checks are off",
        "a server that fails keeps its share of the traffic",
        "add `health_check: {enabled: true}`",
    );
}

/// The longest time from a server's falling silent to its being unhealthy (SG-188): one interval to the next probe,
/// then every probe runs into its timeout, none starting before the interval is over.
fn detection_time(check: &HealthCheck) -> Duration {
    check.interval + check.timeout.max(check.interval) * u32::from(check.unhealthy_threshold)
}

fn resolve_enabled(
    entry: &HealthCheckEntry,
    group_protocol: Option<GroupProtocol>,
    report: &mut Report<'_>,
) -> Option<HealthCheck> {
    let head = &entry.head;
    let connect_port = report.number(head, "connect_port", &entry.connect_port, 0..=65535, 0);
    let interval = report.seconds(head, "interval", &entry.interval, 1..=50, 2);
    let timeout = report.seconds(head, "timeout", &entry.timeout, 1..=300, 5);
    let healthy = report.number(head, "healthy_threshold", &entry.healthy_threshold, 2..=10, 3);
    let unhealthy = report.number(head, "unhealthy_threshold", &entry.unhealthy_threshold, 2..=10, 3);
    let protocol = resolve_protocol(entry, group_protocol, report);
    Some(HealthCheck {
        protocol: protocol?,
        connect_port: NonZeroU16::new(u16::try_from(connect_port?).ok()?),
        interval: interval?,
        timeout: timeout?,
        healthy_threshold: u8::try_from(healthy?).ok()?,
        unhealthy_threshold: u8::try_from(unhealthy?).ok()?,
    })
}

/// HTTP settings are checked whatever the protocol is (SG-180: stored and ignored where they do not apply).
fn resolve_protocol(
    entry: &HealthCheckEntry,
    group_protocol: Option<GroupProtocol>,
    report: &mut Report<'_>,
) -> Option<HealthCheckProtocol> {
    let head = &entry.head;
    let is_http = report.choice_or(
        head,
        "protocol",
        &entry.protocol,
        group_protocol != Some(GroupProtocol::Tcp),
        &[("HTTP", true), ("TCP", false)],
        &[
            ("HTTPS", "HTTPS health checks are not supported yet"),
            ("gRPC", "gRPC health checks are not supported yet"),
        ],
    );
    let method = report.choice_or(
        head,
        "method",
        &entry.method,
        HealthCheckMethod::Head,
        &[("HEAD", HealthCheckMethod::Head), ("GET", HealthCheckMethod::Get)],
        &[("POST", "POST belongs to gRPC health checks, which are not supported yet")],
    );
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
    let codes = resolve_codes(entry, report);
    let (method, version, path, host, codes) = (method?, version?, path?, host?, codes?);
    let path = path.unwrap_or_else(|| "/".to_owned());
    Some(match is_http? {
        true => HealthCheckProtocol::Http { tls: false, method, path, host, version, codes },
        false => HealthCheckProtocol::Tcp,
    })
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

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let Some((_, last)) = host.rsplit_once('.') else { return false };
    host.len() <= 80 && host.split('.').all(is_label) && last.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn resolve_codes(entry: &HealthCheckEntry, report: &mut Report<'_>) -> Option<Vec<StatusClass>> {
    let classes = [
        ("http_2xx", StatusClass(2)),
        ("http_3xx", StatusClass(3)),
        ("http_4xx", StatusClass(4)),
        ("http_5xx", StatusClass(5)),
    ];
    let texts = match &entry.codes {
        Field::Absent => return Some(vec![StatusClass(2)]),
        Field::Bad => return None,
        Field::Good(texts) => texts,
    };
    if texts.is_empty() {
        let remedy = "write `codes: [http_2xx]`, or leave `codes` out";
        report.error(
            entry.head.code(IllegalParam, "codes"),
            entry.head.at,
            &entry.head.subject,
            "codes",
            "no status could ever pass",
            remedy,
        );
    }
    let mut codes: Vec<StatusClass> =
        texts.iter().filter_map(|text| report.choice(&entry.head, "code", text, &classes, &[])).collect();
    codes.sort();
    codes.dedup();
    Some(codes)
}
