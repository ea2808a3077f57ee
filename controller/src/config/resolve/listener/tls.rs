//! How an HTTPS or QUIC listener speaks TLS. Whether the certificates named exist is not known here.

use super::place_or;
use super::settings::repeated;
use crate::certificate::{self, NAME_RULE};
use crate::config::ErrorFamily::{IllegalParam, MissingParam, ResourceNotFound};
use crate::config::decode::{Field, Located, Report, nearest};
use crate::config::file::ListenerEntry;
use crate::config::resolve::Declared;
use crate::config::resolve::rules::list;
use crate::config::resolve::tls_verification::check_certificates;
use crate::model::{CertificateName, ListenerProtocol, ListenerTls, SecurityPolicyName};
use crate::tls_policy::SystemPolicy;
use std::collections::BTreeSet;

/// Certificates of one listener, as many as a load balancer can have at all.
const CERTIFICATES_MAX: usize = 301;

/// The outer `None` is an error, the inner one "no TLS".
pub(super) fn resolve_tls(
    entry: &ListenerEntry,
    protocol: Option<ListenerProtocol>,
    declared: &Declared,
    report: &mut Report<'_>,
) -> Option<Option<ListenerTls>> {
    let protocol = protocol?;
    if !protocol.is_tls() {
        return Some(None);
    }
    let certificates = resolve_certificates(entry, report);
    let is_https = protocol == ListenerProtocol::Https;
    let policy = if is_https { resolve_policy(entry, declared, report) } else { Some(default_policy()) };
    let client_authorities = if is_https { resolve_authorities(entry, report) } else { Some(None) };
    let http2 = if is_https { report.flag(&entry.http2, true) } else { Some(true) };
    Some(Some(ListenerTls {
        certificates: certificates?,
        policy: policy?,
        client_authorities: client_authorities?,
        http2: http2?,
    }))
}

fn default_policy() -> SecurityPolicyName {
    SecurityPolicyName::new(SystemPolicy::DEFAULT.id())
}

fn resolve_certificates(entry: &ListenerEntry, report: &mut Report<'_>) -> Option<Vec<CertificateName>> {
    let head = &entry.head;
    let remedy = "name certificates that `causeway certificate list` shows, the default one first";
    let names = report.required(head, "certificates", &entry.certificates, remedy)?;
    if names.is_empty() || names.len() > CERTIFICATES_MAX {
        report.error(
            head.code(IllegalParam, "certificates"),
            place_or(head, names.location()),
            &head.subject,
            format!("{} certificates", names.len()),
            format!("a listener has 1 to {CERTIFICATES_MAX}"),
            remedy,
        );
    }
    let mut known = BTreeSet::new();
    let mut certificates = Vec::new();
    for name in names {
        if !certificate::is_name(&name.value) {
            report.error(
                head.code(IllegalParam, "certificates"),
                name.at,
                &head.subject,
                format!("certificate {:?}", name.value),
                NAME_RULE,
                remedy,
            );
        } else if !known.insert(&name.value) {
            repeated(head, "certificates", name, report);
        }
        certificates.push(CertificateName::new(&name.value));
    }
    Some(certificates)
}

/// LR-20, LR-23: any policy of the system's or of the file's; without one ours.
fn resolve_policy(
    entry: &ListenerEntry,
    declared: &Declared,
    report: &mut Report<'_>,
) -> Option<SecurityPolicyName> {
    let head = &entry.head;
    let text = match &entry.security_policy {
        Field::Absent => return Some(default_policy()),
        Field::Bad => return None,
        Field::Good(text) => text,
    };
    if SystemPolicy::of(&text.value).is_some() || declared.security_policies.contains_key(&text.value) {
        return Some(SecurityPolicyName::new(&text.value));
    }
    let system = SystemPolicy::ALL.map(SystemPolicy::id);
    let known: Vec<&str> = declared.security_policies.keys().map(String::as_str).chain(system).collect();
    let hint = nearest(&text.value, &known).map(|near| format!("did you mean \"{near}\"? "));
    report.error(
        ResourceNotFound.of("SecurityPolicy"),
        text.at,
        &head.subject,
        format!("security_policy \"{}\"", text.value),
        "no security policy of that name is defined, and the system has none",
        format!("{}there are {}", hint.unwrap_or_default(), list(known.iter().copied())),
    );
    None
}

/// LR-26. The outer `None` is an error, the inner one "clients need no certificate".
fn resolve_authorities(entry: &ListenerEntry, report: &mut Report<'_>) -> Option<Option<String>> {
    let head = &entry.head;
    let remedy = "write the authority's certificate as PEM: `ca_certificates: |` and the text below";
    let pem = match &entry.ca_certificates {
        Field::Absent => None,
        Field::Bad => return None,
        Field::Good(text) => {
            if let Err(rule) = check_certificates(&text.value) {
                let code = head.code(IllegalParam, "ca_certificates");
                report.error(code, text.at, &head.subject, "ca_certificates", rule, remedy);
                return None;
            }
            Some(text.value.clone())
        }
    };
    let is_on = report.flag(&entry.ca_enabled, pem.is_some())?;
    if is_on && pem.is_none() {
        let at = entry.ca_enabled.at().unwrap_or(head.at);
        let code = head.code(MissingParam, "ca_certificates");
        report.error(code, at, &head.subject, "ca_enabled true", "`ca_certificates` is missing", remedy);
        return None;
    }
    Some(pem.filter(|_| is_on))
}
