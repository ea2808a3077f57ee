//! What servers are told of a client's certificate (LR-41).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::fmt::Write;
use x509_parser::asn1_rs::{Oid, ToDer, oid};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate, X509Name};

/// The certificate that a client identified itself with, which an authority of the listener's vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject as RFC 4514 writes names, the most specific part first: `CN=alice,O=Example`. ASCII without control
    /// characters, whatever the certificate holds.
    pub subject: String,
    /// Its issuer, likewise.
    pub issuer: String,
    /// SHA-1 of the certificate, in lower-case hexadecimal.
    pub fingerprint: String,
}

impl ClientCertificate {
    /// What verification found: a client with any other result has no connection (LR-26).
    pub const VERIFY: &'static str = "SUCCESS";

    /// `None` for a certificate that the parser does not understand.
    pub(super) fn parse(der: &[u8]) -> Option<ClientCertificate> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut fingerprint = String::with_capacity(40);
        push_hex(&mut fingerprint, digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref());
        Some(ClientCertificate {
            subject: name_text(certificate.subject()),
            issuer: name_text(certificate.issuer()),
            fingerprint,
        })
    }
}

/// Short names of RFC 4514 section 3, and two that are in use besides.
static ATTRIBUTES: [(Oid<'static>, &str); 11] = [
    (oid!(2.5.4.3), "CN"),
    (oid!(2.5.4.7), "L"),
    (oid!(2.5.4.8), "ST"),
    (oid!(2.5.4.10), "O"),
    (oid!(2.5.4.11), "OU"),
    (oid!(2.5.4.6), "C"),
    (oid!(2.5.4.9), "STREET"),
    (oid!(0.9.2342.19200300.100.1.25), "DC"),
    (oid!(0.9.2342.19200300.100.1.1), "UID"),
    (oid!(2.5.4.5), "serialNumber"),
    (oid!(1.2.840.113549.1.9.1), "emailAddress"),
];

fn name_text(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        for (number, attribute) in part.iter().enumerate() {
            if number > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let known = ATTRIBUTES.iter().find(|(oid, _)| oid == attribute.attr_type());
    match (known, attribute.as_str()) {
        (Some((_, name)), Ok(value)) => {
            text.push_str(name);
            text.push('=');
            push_escaped(text, value.as_bytes());
        }
        // RFC 4514 section 2.4: the encoding in hexadecimal, for what has no other form.
        _ => {
            text.push_str(&attribute.attr_type().to_id_string());
            text.push_str("=#");
            push_hex(text, &attribute.attr_value().to_der_vec().unwrap_or_default());
        }
    }
}

/// RFC 4514 section 2.4. Everything outside printable ASCII is written in hexadecimal: these go into headers.
fn push_escaped(text: &mut String, value: &[u8]) {
    for (at, &byte) in value.iter().enumerate() {
        let is_outer = at == 0 || at + 1 == value.len();
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' ' if is_outer => text.push_str("\\ "),
            b'#' if at == 0 => text.push_str("\\#"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                text.push('\\');
                push_hex(text, &[byte]);
            }
        }
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String grows");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn subject(parts: &[(DnType, &str)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientCertificate::parse(der.der()).unwrap().subject
    }

    // Holds LR-41
    #[test]
    fn names_are_written_the_most_specific_part_first() {
        use DnType::{CommonName, CountryName, CustomDnType, OrganizationName, OrganizationalUnitName};
        let parts = [
            (CountryName, "DE"),
            (OrganizationName, "Example, \"Inc\""),
            (OrganizationalUnitName, "#1"),
            (CommonName, " alice "),
        ];
        assert_eq!(subject(&parts), "CN=\\ alice\\ ,OU=\\#1,O=Example\\, \\\"Inc\\\",C=DE");
        assert_eq!(subject(&[(CustomDnType(vec![1, 2, 3, 4]), "x")]), "1.2.3.4=#0c0178");
        assert_eq!(subject(&[]), "");
    }

    // Holds LR-41
    #[test]
    fn a_name_cannot_break_out_of_a_header() {
        let text = subject(&[(DnType::CommonName, "a\r\nX-Admin: 1\0é\u{7f}")]);
        assert_eq!(text, "CN=a\\0d\\0aX-Admin: 1\\00\\c3\\a9\\7f");
    }

    // Holds LR-41
    #[test]
    fn the_fingerprint_is_sha_1_in_hexadecimal() {
        let der = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        let found = ClientCertificate::parse(der.der()).unwrap().fingerprint;
        let expected = digest(&SHA1_FOR_LEGACY_USE_ONLY, der.der());
        let expected: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected);
        assert_eq!(found.len(), 40);
        assert_eq!(ClientCertificate::parse(b"junk"), None);
    }
}
