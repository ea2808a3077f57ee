//! Whether PEM files of an operator make a certificate that can be served.

use super::facts::{self, Facts, KeyType, date};
use super::{Certificate, KeyText};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest chain: handshakes carry all of it, and clients take about as many.
const CHAIN_MAX: usize = 10;

const CERTIFICATE_REMEDY: &str = "name the PEM file that begins with `-----BEGIN CERTIFICATE-----`; `openssl x509 -inform \
                                  der -in FILE` makes one of a DER file";
const KEY_REMEDY: &str = "name the PEM file with `-----BEGIN PRIVATE KEY-----`; `openssl pkey -inform der -in FILE` makes \
                          one of a DER file";
const ORDER_REMEDY: &str =
    "put the server's certificate first, after it the one that issued it, and so on; leave others out";
const KEY_TYPES_REMEDY: &str =
    "use a key of type RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519";

/// Which of the two files something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate and those after it.
    Certificate,
    /// The private key.
    Key,
    /// Both are fine, but not together.
    Both,
}

/// One thing that stands against a certificate, or is doubtful in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is about.
    pub part: Part,
    /// What was found: `number 2 ("CN=R3")`. Empty where something is absent.
    pub value: String,
    /// The rule.
    pub rule: String,
    /// What to do.
    pub remedy: String,
}

impl Problem {
    fn new(
        part: Part,
        value: impl Into<String>,
        rule: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Problem {
        Problem { part, value: value.into(), rule: rule.into(), remedy: remedy.into() }
    }
}

/// What becomes of certificates that clients no longer accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// They are refused.
    Refused,
    /// They are warned of.
    Allowed,
}

/// A certificate that can be served, and what is doubtful in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// It.
    pub certificate: Certificate,
    /// What clients may take offence at.
    pub warnings: Vec<Problem>,
}

/// Whether a certificate can have this name: the rule of every resource's name, short enough for a file.
pub fn is_name(name: &str) -> bool {
    let is_fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ' ');
    (2..=128).contains(&name.chars().count())
        && name.len() <= 200
        && name.starts_with(char::is_alphanumeric)
        && name.chars().all(is_fine)
}

/// The certificate in the PEM text `chain`, with `key`, at `now` (seconds since 1970).
///
/// Only certificates are taken from `chain`, and one key from `key`; other text and PEM of other kinds is left out.
///
/// # Errors
/// Everything that stands against it, at least one thing.
pub fn check(chain: &str, key: &KeyText, now: i64, expired: Expired) -> Result<Checked, Vec<Problem>> {
    let mut problems = Vec::new();
    let ders = certificates_in(chain, &mut problems);
    let key_der = key_in(key, &mut problems);
    let signing = key_der.as_ref().and_then(|der| signing_key(der, &mut problems));
    let (Some(ders), Some(parsed)) = (&ders, ders.as_ref().and_then(|ders| parse_all(ders, &mut problems)))
    else {
        return Err(problems);
    };
    let mut warnings = Vec::new();
    let facts = facts_of(ders, &parsed, &mut problems);
    let is_leaf_first = signing.as_ref().is_none_or(|key| check_key(&parsed, ders, key, &mut problems));
    if is_leaf_first {
        check_order(&parsed, &mut problems);
    }
    check_validity(&parsed, now, expired, &mut problems, &mut warnings);
    match (facts, key_der) {
        (Some(facts), Some(key)) if problems.is_empty() => {
            doubt_names(&facts, &mut warnings);
            doubt_leaf(&parsed, &mut warnings);
            let certificate = Certificate { chain: chain_text(ders), key: key_text(&key), facts };
            Ok(Checked { certificate, warnings })
        }
        _ => Err(problems),
    }
}

/// A certificate that was checked before, from the texts it was kept as.
///
/// # Errors
/// They are not what was kept.
pub fn read_back(chain: String, key: KeyText) -> Result<Certificate, String> {
    let mut problems = Vec::new();
    let ders = certificates_in(&chain, &mut problems);
    key_in(&key, &mut problems);
    let facts = ders.as_ref().and_then(|ders| {
        let parsed = parse_all(ders, &mut problems)?;
        facts_of(ders, &parsed, &mut problems)
    });
    match (facts, problems.into_iter().next()) {
        (Some(facts), None) => Ok(Certificate { chain, key, facts }),
        (_, Some(problem)) => Err(format!("{} {}", problem.value, problem.rule).trim().to_owned()),
        (None, None) => Err("nothing can be read from it".to_owned()),
    }
}

/// Kinds of PEM sections in a text, as far as they are known.
fn kinds(text: &str) -> Vec<SectionKind> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes())
        .map_while(Result::ok)
        .map(|(kind, _)| kind)
        .collect()
}

fn certificates_in(text: &str, problems: &mut Vec<Problem>) -> Option<Vec<CertificateDer<'static>>> {
    let ders: Vec<_> = match CertificateDer::pem_slice_iter(text.as_bytes()).collect() {
        Ok(ders) => ders,
        Err(error) => {
            let rule = format!("the certificate's file is no PEM: {}", pem_error(&error));
            problems.push(Problem::new(Part::Certificate, "", rule, CERTIFICATE_REMEDY));
            return None;
        }
    };
    if ders.is_empty() {
        let (rule, remedy) = match kinds(text).first() {
            Some(SectionKind::Csr) => (
                "the file holds the request for a certificate",
                "name the file with the certificate that the authority answered it with",
            ),
            Some(SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey) => {
                ("the certificate's file holds a private key", "name the certificate after --certificate")
            }
            _ => ("there is no certificate in its file", CERTIFICATE_REMEDY),
        };
        problems.push(Problem::new(Part::Certificate, "", rule, remedy));
        return None;
    }
    if ders.len() > CHAIN_MAX {
        let rule = format!("at most {CHAIN_MAX} are sent to clients");
        problems.push(Problem::new(
            Part::Certificate,
            format!("{} certificates", ders.len()),
            rule,
            ORDER_REMEDY,
        ));
        return None;
    }
    Some(ders)
}

fn key_in(text: &KeyText, problems: &mut Vec<Problem>) -> Option<PrivateKeyDer<'static>> {
    let text = text.secret();
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        let remedy = "take the passphrase off: `openssl pkey -in FILE -out NEWFILE`";
        problems.push(Problem::new(Part::Key, "", "the private key is encrypted", remedy));
        return None;
    }
    let keys: Vec<_> = match PrivateKeyDer::pem_slice_iter(text.as_bytes()).collect() {
        Ok(keys) => keys,
        // What the parser says may quote lines of the key.
        Err(_) => {
            problems.push(Problem::new(Part::Key, "", "the key's file is no PEM", KEY_REMEDY));
            return None;
        }
    };
    let count = keys.len();
    let problem = match (count, kinds(text).first()) {
        (1, _) => return keys.into_iter().next(),
        (0, Some(SectionKind::Certificate)) => {
            Problem::new(Part::Key, "", "the key's file holds a certificate", "name the key after --key")
        }
        (0, _) => Problem::new(Part::Key, "", "there is no private key in its file", KEY_REMEDY),
        _ => Problem::new(
            Part::Key,
            format!("{count} private keys"),
            "there can be one",
            "leave the others out",
        ),
    };
    problems.push(problem);
    None
}

fn pem_error(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section does not begin well",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    }
}

fn signing_key(der: &PrivateKeyDer<'static>, problems: &mut Vec<Problem>) -> Option<Arc<dyn SigningKey>> {
    let key = any_supported_type(der).ok();
    if key.is_none() {
        let rule = "the private key is damaged, or of a type or size that is not supported";
        problems.push(Problem::new(Part::Key, "", rule, KEY_TYPES_REMEDY));
    }
    key
}

fn parse_all<'a>(
    ders: &'a [CertificateDer<'static>],
    problems: &mut Vec<Problem>,
) -> Option<Vec<X509Certificate<'a>>> {
    let before = problems.len();
    let mut parsed = Vec::new();
    for (number, der) in (1..).zip(ders) {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => parsed.push(certificate),
            Ok(_) | Err(_) => problems.push(Problem::new(
                Part::Certificate,
                format!("number {number}"),
                "it is no X.509 certificate, or damaged",
                "get the file anew from the authority",
            )),
        }
    }
    (problems.len() == before).then_some(parsed)
}

fn facts_of(
    ders: &[CertificateDer<'static>],
    parsed: &[X509Certificate<'_>],
    problems: &mut Vec<Problem>,
) -> Option<Facts> {
    let (der, leaf) = (ders.first()?, parsed.first()?);
    let names = facts::names(leaf);
    if let Err(error) = &names {
        let rule = format!("its names cannot be read: {error}");
        problems.push(Problem::new(Part::Certificate, "", rule, "get a certificate with well-formed names"));
    }
    let key_type = KeyType::of(leaf.public_key());
    if key_type.is_none() {
        let rule = "its key is of a type that is not supported";
        problems.push(Problem::new(Part::Certificate, "", rule, KEY_TYPES_REMEDY));
    }
    let validity = || parsed.iter().map(|certificate| certificate.validity());
    Some(Facts {
        names: names.ok()?,
        subject: facts::printable(&leaf.subject().to_string()),
        issuer: facts::printable(&leaf.issuer().to_string()),
        serial: facts::hexadecimal(leaf.raw_serial()),
        fingerprint: facts::hexadecimal(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref()),
        not_before: validity().map(|validity| validity.not_before.timestamp()).max()?,
        not_after: validity().map(|validity| validity.not_after.timestamp()).min()?,
        key_type: key_type?,
        chain_length: parsed.len(),
    })
}

/// Whether the key is the first certificate's.
fn check_key(
    parsed: &[X509Certificate<'_>],
    ders: &[CertificateDer<'static>],
    key: &Arc<dyn SigningKey>,
    problems: &mut Vec<Problem>,
) -> bool {
    let Some(public) = key.public_key() else { return true };
    let problem = match parsed.iter().position(|one| one.public_key().raw == public.as_ref()) {
        // What rustls thinks of it at every handshake, asked once.
        Some(0) => match CertifiedKey::new(ders.to_vec(), key.clone()).keys_match() {
            Ok(()) => return true,
            Err(error) => Problem::new(
                Part::Certificate,
                "",
                format!("it cannot be served: {error}"),
                "get a certificate of X.509 version 3 from the authority",
            ),
        },
        Some(place) => Problem::new(
            Part::Certificate,
            format!("number {} ({})", place + 1, subject(&parsed[place])),
            "this one is the key's, and has to be the first",
            ORDER_REMEDY,
        ),
        None => Problem::new(
            Part::Both,
            parsed.first().map(subject).unwrap_or_default(),
            "the private key does not belong to this certificate",
            "name the key that the certificate was requested with",
        ),
    };
    problems.push(problem);
    false
}

/// Each certificate is issued by the one after it.
fn check_order(parsed: &[X509Certificate<'_>], problems: &mut Vec<Problem>) {
    for (number, pair) in (2..).zip(parsed.windows(2)) {
        let [issued, issuer] = pair else { continue };
        let value = format!("number {number} ({})", subject(issuer));
        if !is_issuer(issuer, issued) {
            let rule = format!(
                "it did not issue number {} ({}), whose issuer is {}",
                number - 1,
                subject(issued),
                facts::printable(&issued.issuer().to_string())
            );
            problems.push(Problem::new(Part::Certificate, value, rule, ORDER_REMEDY));
        } else if !issuer.is_ca() {
            let rule = format!("it is no authority's, and cannot have issued number {}", number - 1);
            problems.push(Problem::new(Part::Certificate, value, rule, ORDER_REMEDY));
        }
    }
}

/// By name, and by key identifier where both have one (RFC 5280 sections 4.2.1.1 and 4.2.1.2): authorities keep their
/// name when they change their key.
fn is_issuer(issuer: &X509Certificate<'_>, issued: &X509Certificate<'_>) -> bool {
    use x509_parser::extensions::ParsedExtension::{AuthorityKeyIdentifier, SubjectKeyIdentifier};
    let named = issued.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    let own = issuer.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    let is_key = named.zip(own).is_none_or(|(named, own)| named == own);
    issuer.subject().as_raw() == issued.issuer().as_raw() && is_key
}

fn check_validity(
    parsed: &[X509Certificate<'_>],
    now: i64,
    expired: Expired,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    for (number, certificate) in (1..).zip(parsed) {
        let value = format!("number {number} ({})", subject(certificate));
        let value = if parsed.len() == 1 { String::new() } else { value };
        let validity = certificate.validity();
        if validity.not_after.timestamp() < now {
            let rule = format!("it expired on {}", date(validity.not_after.timestamp()));
            match expired {
                Expired::Allowed => {
                    warnings.push(Problem::new(
                        Part::Certificate,
                        value,
                        rule,
                        "renew it: clients refuse it",
                    ));
                }
                Expired::Refused => problems.push(Problem::new(
                    Part::Certificate,
                    value,
                    rule,
                    "get a new one from the authority, or take it with --allow-expired",
                )),
            }
        } else if validity.not_before.timestamp() > now {
            let rule = format!("it is not valid before {}", date(validity.not_before.timestamp()));
            let remedy = "clients refuse it until then; is this host's clock right?";
            warnings.push(Problem::new(Part::Certificate, value, rule, remedy));
        }
    }
}

/// Names by which no client would get it (LR-24, LR-25).
fn doubt_names(facts: &Facts, warnings: &mut Vec<Problem>) {
    if facts.names.is_empty() {
        let rule = "it has no names (subjectAltName)";
        let remedy = "clients refuse it, and it is shown as a listener's default only; get one with names";
        warnings.push(Problem::new(Part::Certificate, "", rule, remedy));
    }
    for name in facts.names.iter().filter(|name| !can_be_asked_for(name)) {
        warnings.push(Problem::new(
            Part::Certificate,
            format!("name {name:?}"),
            "no host name is like it: `*` stands for the whole first label",
            "its other names are served",
        ));
    }
}

/// Whether a client can ask for a host that this name of a certificate stands for.
fn can_be_asked_for(name: &str) -> bool {
    if name.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let rest = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253 && rest.split('.').all(is_label)
}

/// What clients refuse in the server's certificate, or cannot make out.
fn doubt_leaf(parsed: &[X509Certificate<'_>], warnings: &mut Vec<Problem>) {
    let Some(leaf) = parsed.first() else { return };
    if let Ok(Some(usage)) = leaf.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        let rule = "it is not meant for servers (extendedKeyUsage)";
        warnings.push(Problem::new(Part::Certificate, "", rule, "clients refuse it; get one for servers"));
    }
    if parsed.len() == 1 && !is_issuer(leaf, leaf) {
        warnings.push(Problem::new(
            Part::Certificate,
            "",
            format!(
                "its issuer's certificate ({}) is not in the file",
                facts::printable(&leaf.issuer().to_string())
            ),
            "unless clients know that authority, put its certificate after this one",
        ));
    }
}

fn subject(certificate: &X509Certificate<'_>) -> String {
    facts::printable(&certificate.subject().to_string())
}

/// The certificates as PEM and nothing else: what else an operator's file holds is none of ours to keep.
fn chain_text(ders: &[CertificateDer<'static>]) -> String {
    ders.iter().map(|der| pem_text("CERTIFICATE", der)).collect()
}

fn key_text(key: &PrivateKeyDer<'_>) -> KeyText {
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    KeyText::new(pem_text(label, key.secret_der()))
}

/// RFC 7468 section 2.
fn pem_text(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
