//! Certificates, without their keys.

use crate::certificate::Certificate;
use crate::model::CertificateName;
use serde::{Deserialize, Serialize};

/// A certificate of the store. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// Its name.
    pub name: String,
    /// Names and addresses it is for.
    pub names: Vec<String>,
    /// `RSA 2048`, `ECDSA P-256`, `Ed25519`.
    pub key_type: String,
    /// First moment at which it and those after it are valid.
    pub not_before: i64,
    /// Last moment at which they are.
    pub not_after: i64,
    /// Whole days until then; negative once it is past.
    pub days_left: i64,
    /// What is to be told of that: it ends soon, has ended, or has not begun.
    pub problem: Option<String>,
    /// Listeners that name it.
    pub listeners: Vec<String>,
    /// Whose it is.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Its number with that issuer, hexadecimal.
    pub serial: String,
    /// SHA-256 of it, hexadecimal.
    pub fingerprint: String,
    /// Certificates sent to clients, itself included.
    pub chain_length: usize,
}

impl CertificateView {
    /// A certificate at `now`, seconds since 1970, which `listeners` name.
    pub fn new(
        name: &CertificateName,
        certificate: &Certificate,
        listeners: Vec<String>,
        now: i64,
    ) -> CertificateView {
        let facts = &certificate.facts;
        CertificateView {
            name: name.to_string(),
            names: facts.names.clone(),
            key_type: facts.key_type.to_string(),
            not_before: facts.not_before,
            not_after: facts.not_after,
            days_left: facts.days_left(now),
            problem: facts.doubt(now),
            listeners,
            subject: facts.subject.clone(),
            issuer: facts.issuer.clone(),
            serial: facts.serial.clone(),
            fingerprint: facts.fingerprint.clone(),
            chain_length: facts.chain_length,
        }
    }
}
