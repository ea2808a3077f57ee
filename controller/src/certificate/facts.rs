//! What a certificate says of itself.

use super::WARNING_DAYS;
use std::fmt;
use std::net::IpAddr;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::asn1_rs::oid;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

const DAY_SECS: i64 = 86_400;

/// What a certificate says of itself. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Names and addresses it is for, as it lists them; names in lower case.
    pub names: Vec<String>,
    /// Whose it is.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Its number with that issuer, hexadecimal.
    pub serial: String,
    /// SHA-256 of it, hexadecimal.
    pub fingerprint: String,
    /// First second at which all of the chain is valid.
    pub not_before: i64,
    /// Last second at which all of the chain is valid: clients refuse it when a part is not.
    pub not_after: i64,
    /// Type of its key.
    pub key_type: KeyType,
    /// Certificates in the chain, itself included.
    pub chain_length: usize,
}

impl Facts {
    /// Whole days until it ends, rounded down: 0 on its last day, negative from its end on.
    pub fn days_left(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(DAY_SECS)
    }

    /// Whether it has ended.
    pub fn is_expired(&self, now: i64) -> bool {
        self.not_after < now
    }

    /// What is to be told of its validity at `now`: that it is over, ends within [`WARNING_DAYS`], or has not begun.
    pub fn doubt(&self, now: i64) -> Option<String> {
        let days = self.days_left(now);
        if self.is_expired(now) {
            let ago = match -days - 1 {
                ..=0 => String::new(),
                1 => ", 1 day ago".to_owned(),
                days => format!(", {days} days ago"),
            };
            Some(format!("expired on {}{ago}", date(self.not_after)))
        } else if self.not_before > now {
            Some(format!("not valid before {}", date(self.not_before)))
        } else if days < WARNING_DAYS {
            let within = match days {
                0 => "within a day".to_owned(),
                1 => "in 1 day".to_owned(),
                days => format!("in {days} days"),
            };
            Some(format!("expires on {}, {within}", date(self.not_after)))
        } else {
            None
        }
    }
}

/// Type of a certificate's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// RSA with a modulus of so many bits.
    Rsa(usize),
    /// ECDSA on this curve: `P-256`, `P-384`, `P-521`.
    Ecdsa(&'static str),
    /// Ed25519.
    Ed25519,
}

impl KeyType {
    /// The type of a public key; `None` where the engine cannot sign with such a key.
    pub(super) fn of(key: &SubjectPublicKeyInfo<'_>) -> Option<KeyType> {
        if key.algorithm.algorithm == oid!(1.3.101.112) {
            return Some(KeyType::Ed25519);
        }
        match key.parsed().ok()? {
            PublicKey::RSA(rsa) => Some(KeyType::Rsa(rsa.key_size())),
            PublicKey::EC(_) => {
                let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
                let curves = [
                    (oid!(1.2.840.10045.3.1.7), "P-256"),
                    (oid!(1.3.132.0.34), "P-384"),
                    (oid!(1.3.132.0.35), "P-521"),
                ];
                let found = curves.into_iter().find(|(known, _)| *known == curve)?;
                Some(KeyType::Ecdsa(found.1))
            }
            _ => None,
        }
    }

    /// Whether a handshake with this suite, named as rustls does, can use such a key (RFC 8446 section 4.2.3, RFC 8422
    /// section 2 with section 5.10 for Ed25519).
    pub fn fits(self, suite: &str) -> bool {
        let is_rsa = matches!(self, KeyType::Rsa(_));
        suite.starts_with("TLS13_") || suite.contains(if is_rsa { "_RSA_" } else { "_ECDSA_" })
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyType::Rsa(bits) => write!(f, "RSA {bits}"),
            KeyType::Ecdsa(curve) => write!(f, "ECDSA {curve}"),
            KeyType::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// The names and addresses in a certificate; an error if they cannot be read.
pub(super) fn names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    let extension = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let mut names = Vec::new();
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push(printable(name).to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => names.push(address(bytes)?.to_string()),
            GeneralName::Invalid(..) => return Err("one is not text".into()),
            _ => {}
        }
    }
    Ok(names)
}

fn address(bytes: &[u8]) -> Result<IpAddr, String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(v4.into());
    }
    let v6 = <[u8; 16]>::try_from(bytes).map_err(|_| format!("an address of {} bytes", bytes.len()))?;
    Ok(v6.into())
}

/// Text from a certificate, harmless to a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Bytes as `01ab`.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The day of a moment, UTC: `2027-01-31`. `secs` counts from 1970.
pub fn date(secs: i64) -> String {
    // Days in eras of 400 years that begin on 1 March, so that the leap day comes last; 719,468 days lie between 1 March
    // of year 0 and 1970.
    let days = secs.div_euclid(DAY_SECS) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
