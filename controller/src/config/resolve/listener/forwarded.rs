//! What servers are told about the client (LR-40 to LR-43).

use super::settings::check_header_name;
use crate::config::ErrorFamily::IllegalParam;
use crate::config::decode::{At, Field, Head, HeaderSwitch, Report};
use crate::config::file::ForwardedHeadersEntry;
use crate::model::{ForwardedHeaders, ListenerProtocol, LoopDetection, XForwardedFor};
use std::collections::BTreeMap;

/// Headers that say something else already, or that no server must be told by a client's certificate.
const TAKEN: [&str; 12] = [
    "host",
    "cookie",
    "connection",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-host",
    "x-forwarded-client-srcport",
    "slb-id",
];

/// `None` after reporting what is wrong.
pub(super) fn resolve_forwarded(
    section: &Field<ForwardedHeadersEntry>,
    protocol: Option<ListenerProtocol>,
    loops: &LoopDetection,
    report: &mut Report<'_>,
) -> Option<ForwardedHeaders> {
    let entry = match section {
        Field::Absent => return Some(ForwardedHeaders::default()),
        Field::Bad => return None,
        Field::Good(entry) => entry,
    };
    let head = &entry.head;
    let modes =
        [("append", XForwardedFor::Append), ("remove", XForwardedFor::Remove), ("off", XForwardedFor::Pass)];
    let x_forwarded_for =
        report.choice_or(head, "x_forwarded_for", &entry.x_forwarded_for, XForwardedFor::Append, &modes, &[]);
    let flags = [&entry.proto, &entry.slb_id, &entry.port, &entry.host, &entry.client_port]
        .map(|field| report.flag(field, false));
    if let (Some(ListenerProtocol::Quic), Some(at)) = (protocol, entry.client_port.at()) {
        refuse(head, "client_port", at, "HTTP and HTTPS listeners", report);
    }
    let certificates = [
        ("certificate_subject", &entry.certificate_subject, "X-Forwarded-Clientcert-subjectdn"),
        ("certificate_issuer", &entry.certificate_issuer, "X-Forwarded-Clientcert-issuerdn"),
        ("certificate_fingerprint", &entry.certificate_fingerprint, "X-Forwarded-Clientcert-fingerprint"),
        ("certificate_verify", &entry.certificate_verify, "X-Forwarded-Clientcert-clientverify"),
    ];
    let mut names = BTreeMap::new();
    let certificates = certificates.map(|(key, field, usual)| {
        if let (Some(ListenerProtocol::Http | ListenerProtocol::Quic), Some(at)) = (protocol, field.at()) {
            refuse(head, key, at, "HTTPS listeners", report);
        }
        let name = resolve_switch(head, key, field, (usual, loops), report)?;
        if let (Some(name), Some(at)) = (&name, field.at())
            && let Some(other) = names.insert(name.to_ascii_lowercase(), key)
        {
            let rule = format!("`{other}` is written under this name");
            illegal_name(head, key, name, at, rule, report);
        }
        Some(name)
    });
    let [proto, slb_id, port, host, client_port] = flags;
    let [subject, issuer, fingerprint, verify] = certificates;
    Some(ForwardedHeaders {
        x_forwarded_for: x_forwarded_for?,
        proto: proto?,
        slb_id: slb_id?,
        port: port?,
        host: host?,
        client_port: client_port?,
        certificate_subject: subject?,
        certificate_issuer: issuer?,
        certificate_fingerprint: fingerprint?,
        certificate_verify: verify?,
    })
}

fn refuse(head: &Head, key: &str, at: serde_saphyr::Location, whose: &str, report: &mut Report<'_>) {
    let rule = format!("a setting of {whose} only");
    report.error(head.code(IllegalParam, key), at, &head.subject, key, rule, "remove it");
}

/// LR-42; the outer `None` is an error, the inner one "off".
fn resolve_switch(
    head: &Head,
    key: &str,
    field: &Field<At<HeaderSwitch>>,
    (usual, loops): (&str, &LoopDetection),
    report: &mut Report<'_>,
) -> Option<Option<String>> {
    let switch = match field {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(switch) => switch,
    };
    let name = match &switch.value {
        HeaderSwitch::Flag(false) => return Some(None),
        HeaderSwitch::Flag(true) => return Some(Some(usual.to_owned())),
        HeaderSwitch::Name(name) => name,
    };
    let rule = match check_header_name(name) {
        Err(rule) => rule,
        Ok(()) if name.contains(|c: char| c.is_ascii_uppercase()) => {
            "an alias has lower-case letters, digits, `-` and `_`".to_owned()
        }
        Ok(()) if TAKEN.contains(&name.as_str()) || loops.protects(name) => {
            "a header of this name says something else".to_owned()
        }
        Ok(()) => return Some(Some(name.clone())),
    };
    illegal_name(head, key, name, switch.at, rule, report);
    None
}

fn illegal_name(
    head: &Head,
    key: &str,
    name: &str,
    at: serde_saphyr::Location,
    rule: String,
    report: &mut Report<'_>,
) {
    report.error(
        head.code(IllegalParam, key),
        at,
        &head.subject,
        format!("{key} {name:?}"),
        rule,
        "choose another name, or write `true` for the usual one",
    );
}
