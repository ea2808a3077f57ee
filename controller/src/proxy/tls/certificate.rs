//! Certificates of listeners, and which of them a client is shown (LR-24, LR-25).

use super::shared::{Fingerprinter, Shared};
use crate::snapshot::CertificateSnapshot;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Parsed ones in use: a snapshot comes with every change of a server's health, certificates change in months.
static CERTIFICATES: Shared<Certificate> = Shared::new();

/// What is wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain's text is no PEM.
    #[error("chain: {0}")]
    Chain(String),
    /// There is no certificate in the chain's text.
    #[error("chain: no certificate in the PEM text; `-----BEGIN CERTIFICATE-----` begins one")]
    NoCertificate,
    /// The first certificate of the chain cannot be understood.
    #[error("chain: the first certificate is malformed: {0}")]
    Malformed(String),
    /// There is no private key in the key's text.
    #[error("key: {0}; `-----BEGIN PRIVATE KEY-----` begins one, which must not be encrypted")]
    Key(String),
    /// The key is of a kind that is not served, or that of another certificate.
    #[error("key: {0}")]
    Unusable(rustls::Error),
}

/// A certificate with its key, ready to be shown.
pub(super) struct Certificate {
    key: Arc<CertifiedKey>,
    /// Host names that it is for, in lower case, wildcards among them.
    names: Vec<String>,
}

impl Certificate {
    pub(super) fn of(
        snapshot: &CertificateSnapshot,
        provider: &CryptoProvider,
    ) -> Result<Arc<Certificate>, CertificateError> {
        let mut content = Fingerprinter::new();
        content.part(snapshot.chain.as_bytes());
        content.part(snapshot.key.as_bytes());
        CERTIFICATES.get(content.finish(), || Certificate::parse(snapshot, provider))
    }

    fn parse(
        snapshot: &CertificateSnapshot,
        provider: &CryptoProvider,
    ) -> Result<Certificate, CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(snapshot.chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| CertificateError::Chain(error.to_string()))?;
        let first = chain.first().ok_or(CertificateError::NoCertificate)?;
        let names = names(first)?;
        let key = PrivateKeyDer::from_pem_slice(snapshot.key.as_bytes())
            .map_err(|error| CertificateError::Key(error.to_string()))?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(CertificateError::Unusable)?;
        Ok(Certificate { key: Arc::new(key), names })
    }
}

/// The host names that a certificate is for: its alternative names, or, as before there were these, its common name.
fn names(certificate: &[u8]) -> Result<Vec<String>, CertificateError> {
    let malformed = |error: &dyn std::fmt::Display| CertificateError::Malformed(error.to_string());
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| malformed(&error))?;
    let alternative = certificate.subject_alternative_name().map_err(|error| malformed(&error))?;
    let lower = |name: &str| name.to_ascii_lowercase();
    Ok(match alternative {
        Some(alternative) => alternative
            .value
            .general_names
            .iter()
            .filter_map(|name| if let GeneralName::DNSName(name) = name { Some(lower(name)) } else { None })
            .collect(),
        None => certificate
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok().map(lower))
            .collect(),
    })
}

/// The certificates of a listener.
#[derive(Debug)]
pub(super) struct BySni {
    certificates: Vec<Arc<CertifiedKey>>,
    /// Positions in `certificates`: several may be for one name, with keys of different kinds.
    exact: HashMap<String, Vec<usize>>,
    /// The same for wildcards, without their `*.`.
    wildcard: HashMap<String, Vec<usize>>,
}

impl BySni {
    /// The first is the default; there must be one.
    pub(super) fn new(certificates: &[Arc<Certificate>]) -> BySni {
        let mut by_sni = BySni {
            certificates: certificates.iter().map(|certificate| certificate.key.clone()).collect(),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        };
        for (position, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut by_sni.wildcard, parent),
                    None => (&mut by_sni.exact, &name[..]),
                };
                // A name with a `*` elsewhere is for nobody (LR-25): no client can ask for it.
                map.entry(name.to_owned()).or_default().push(position);
            }
        }
        by_sni
    }

    /// Positions of the certificates for `name`, which is in lower case; none: the default is shown.
    fn find(&self, name: &str) -> &[usize] {
        if let Some(exact) = self.exact.get(name) {
            return exact;
        }
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        match name.split_once('.') {
            Some((label, parent)) if !label.is_empty() && label.bytes().all(is_letter) => {
                self.wildcard.get(parent).map(Vec::as_slice).unwrap_or_default()
            }
            _ => &[],
        }
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().map(|name| self.find(name)).unwrap_or_default();
        // Of several the first that the client can verify.
        let is_usable = |position: &&usize| {
            let key = &self.certificates[**position].key;
            key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let position = found.iter().find(is_usable).or(found.first()).copied().unwrap_or(0);
        self.certificates.get(position).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(names: &[&str]) -> Arc<Certificate> {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let chain = CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
        let snapshot = CertificateSnapshot { name: "test".into(), chain, key: key.serialize_pem() };
        Certificate::of(&snapshot, &rustls::crypto::aws_lc_rs::default_provider()).unwrap()
    }

    // Holds LR-24, LR-25
    #[test]
    fn finds_the_exact_name_before_the_wildcard_and_a_wildcard_for_one_label_only() {
        let certificates = [
            certificate(&["default.example"]),
            certificate(&["*.example.com"]),
            certificate(&["a.example.com", "Upper.Example.NET"]),
            certificate(&["*.b.example.com", "w*.example.org", "x.*.example.org", "*.*.example.org"]),
            certificate(&["a.example.com"]),
        ];
        let by_sni = BySni::new(&certificates);
        for (name, expected) in [
            ("default.example", &[0][..]),
            ("a.example.com", &[2, 4]),
            ("b.example.com", &[1]),
            ("x-1.example.com", &[1]),
            ("a.b.example.com", &[3]),
            ("a.a.example.com", &[]),
            ("example.com", &[]),
            ("under_score.example.com", &[]),
            (".example.com", &[]),
            ("*.example.com", &[]),
            ("upper.example.net", &[2]),
            ("www.example.org", &[]),
            ("x.y.example.org", &[]),
            ("com", &[]),
            ("", &[]),
        ] {
            assert_eq!(by_sni.find(name), expected, "{name}");
        }
    }

    #[test]
    fn a_common_name_counts_only_without_alternative_names() {
        for (names, expected) in [(&[][..], "cn.example"), (&["alt.example"], "alt.example")] {
            let key = KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, "CN.example");
            let der = params.self_signed(&key).unwrap();
            assert_eq!(super::names(der.der()).unwrap(), [expected]);
        }
    }

    #[test]
    fn unchanged_certificates_are_parsed_once() {
        let key = KeyPair::generate().unwrap();
        let chain = CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem();
        let mut snapshot = CertificateSnapshot { name: "a".into(), chain, key: key.serialize_pem() };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let first = Certificate::of(&snapshot, &provider).unwrap();
        snapshot.name = "b".into();
        assert!(Arc::ptr_eq(&first, &Certificate::of(&snapshot, &provider).unwrap()));
        let renewed = CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem();
        snapshot.chain = format!("{renewed}{}", snapshot.chain);
        assert!(!Arc::ptr_eq(&first, &Certificate::of(&snapshot, &provider).unwrap()));
    }

    #[test]
    fn says_what_is_wrong_with_a_certificate() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let chain = CertificateParams::new(vec![]).unwrap().self_signed(&one).unwrap().pem();
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (chain, key, expected) in [
            ("", &one.serialize_pem(), "no certificate in the PEM text"),
            ("-----BEGIN CERTIFICATE-----\n!", &one.serialize_pem(), "chain: "),
            (junk, &one.serialize_pem(), "the first certificate is malformed"),
            (&chain, &String::new(), "key: "),
            (&chain, &chain, "key: "),
            (&chain, &other.serialize_pem(), "KeyMismatch"),
        ] {
            let snapshot = CertificateSnapshot { name: "a".into(), chain: chain.into(), key: key.clone() };
            let result = Certificate::of(&snapshot, &rustls::crypto::aws_lc_rs::default_provider());
            let error = result.err().expect(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
