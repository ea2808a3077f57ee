//! Certificates: those that listeners show, and trust in those of servers.
//!
//! - `check`: PEM files of an operator → a [`Certificate`] fit to serve, every error at once
//! - `facts`: what a certificate says of itself, and how it stands in time
//! - `trust`: servers' certificates, where none is asked for
//!
//! Absent here: where certificates are kept ([`crate::store`]), which listeners show them, and clocks.

mod check;
mod facts;
mod trust;

#[cfg(test)]
pub(crate) mod tests;

pub use check::{Checked, Expired, Part, Problem, check, is_name, read_back};
pub use facts::{Facts, KeyType, date};
pub use trust::AnyCertificate;

use serde::{Deserialize, Serialize};
use std::fmt;

/// Days before its end from which a certificate is warned of.
pub const WARNING_DAYS: i64 = 30;

/// What a name of a certificate has to be, for messages.
pub const NAME_RULE: &str = "a name has 2 to 128 characters (200 bytes at most): letters, digits, `.`, `_`, `-` and \
                             space, the first a letter or digit";

/// A certificate that can be served, with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, then each that issued the one before: PEM and nothing else.
    pub chain: String,
    /// Its private key.
    pub key: KeyText,
    /// What it says of itself.
    pub facts: Facts,
}

/// A private key as PEM. It is never shown, nor logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyText(String);

impl KeyText {
    /// The key in `text`, of which nothing is known yet.
    pub fn new(text: impl Into<String>) -> KeyText {
        KeyText(text.into())
    }

    /// The PEM, for the store and the engine.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(..)")
    }
}
