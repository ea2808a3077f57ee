//! Tables of certificates.

use crate::api::CertificateView;
use crate::certificate::date;
use crate::cli::table::{Align, Table};

pub(super) fn certificates(certificates: &[CertificateView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("NOT AFTER", Align::Left),
        ("DAYS", Align::Right),
        ("KEY", Align::Left),
        ("LISTENERS", Align::Left),
        ("NAMES", Align::Left),
    ]);
    for certificate in certificates {
        table.row([
            certificate.name.clone(),
            date(certificate.not_after),
            certificate.days_left.to_string(),
            certificate.key_type.clone(),
            list(&certificate.listeners),
            list(&certificate.names),
        ]);
    }
    table.render(width)
}

pub(super) fn certificates_wide(certificates: &[CertificateView]) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("NOT BEFORE", Align::Left),
        ("NOT AFTER", Align::Left),
        ("DAYS", Align::Right),
        ("KEY", Align::Left),
        ("LISTENERS", Align::Left),
        ("NAMES", Align::Left),
        ("PROBLEM", Align::Left),
        ("CHAIN", Align::Right),
        ("ISSUER", Align::Left),
        ("SERIAL", Align::Left),
        ("SHA-256", Align::Left),
    ]);
    for certificate in certificates {
        table.row([
            certificate.name.clone(),
            date(certificate.not_before),
            date(certificate.not_after),
            certificate.days_left.to_string(),
            certificate.key_type.clone(),
            list(&certificate.listeners),
            list(&certificate.names),
            certificate.problem.clone().unwrap_or_else(|| "-".to_owned()),
            certificate.chain_length.to_string(),
            certificate.issuer.clone(),
            certificate.serial.clone(),
            certificate.fingerprint.clone(),
        ]);
    }
    table.render(None)
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "-".to_owned() } else { items.join(", ") }
}
