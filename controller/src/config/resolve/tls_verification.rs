//! Verification of servers' certificates, an extension that is off by default (SG-27).

use super::rules::is_host_name;
use crate::config::ErrorFamily::IllegalParam;
use crate::config::decode::{Field, Report};
use crate::config::file::TlsVerificationEntry;
use crate::model::TlsVerification;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

/// The outer `None` is an error, the inner one "not verified".
pub(super) fn resolve_tls_verification(
    section: &Field<TlsVerificationEntry>,
    report: &mut Report<'_>,
) -> Option<Option<TlsVerification>> {
    let entry = match section {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(entry) => entry,
    };
    let head = &entry.head;
    let remedy = "write the authorities' certificates as PEM: `ca_certificates: |` and the text below";
    let ca_certificates = report.required(head, "ca_certificates", &entry.ca_certificates, remedy);
    let ca_certificates = ca_certificates.filter(|text| match check_certificates(&text.value) {
        Ok(()) => true,
        Err(rule) => {
            let code = head.code(IllegalParam, "ca_certificates");
            report.error(code, text.at, &head.subject, "ca_certificates", rule, remedy);
            false
        }
    });
    let server_name = match &entry.server_name {
        Field::Absent => Some(None),
        Field::Bad => None,
        Field::Good(name) if can_be_verified(&name.value) => Some(Some(name.value.clone())),
        Field::Good(name) => {
            report.error(
                head.code(IllegalParam, "server_name"),
                name.at,
                &head.subject,
                format!("server_name {:?}", name.value),
                "not a host name: labels of letters, digits and inner hyphens, joined by dots, the last one not a number",
                "write the name in the servers' certificates, or leave it out if that is their address",
            );
            None
        }
    };
    Some(Some(TlsVerification { ca_certificates: ca_certificates?.value.clone(), server_name: server_name? }))
}

/// A host name, or an address; by the engine's measure too, which has rules of its own about numbers.
fn can_be_verified(name: &str) -> bool {
    is_host_name(name) && ServerName::try_from(name).is_ok()
}

/// At least one certificate, each of which the engine can trust: there one that it cannot would keep everything else
/// from coming into force.
pub(super) fn check_certificates(pem: &str) -> Result<(), String> {
    let mut authorities = RootCertStore::empty();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem.as_bytes())) {
        let certificate = certificate.map_err(|error| format!("not PEM: {error}"))?;
        authorities
            .add(certificate)
            .map_err(|error| format!("certificate number {number} is none that can be trusted: {error}"))?;
    }
    if authorities.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(()) }
}
