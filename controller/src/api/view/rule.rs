//! Rules, access control lists and security policies.

use serde::{Deserialize, Serialize};

/// A rule of a listener, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Its listener.
    pub listener: String,
    /// Its name.
    pub name: String,
    /// `Request` or `Response`.
    pub direction: String,
    /// The smallest is asked first.
    pub priority: u16,
    /// All of them must hold.
    pub conditions: Vec<String>,
    /// What is done, in this order.
    pub actions: Vec<String>,
}

/// An access control list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclView {
    /// Its name.
    pub name: String,
    /// Its networks, each with its description.
    pub entries: Vec<(String, Option<String>)>,
    /// Listeners that go by it: `http (White)`.
    pub listeners: Vec<String>,
}

/// A TLS security policy, and what is served of it (LR-23).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityPolicyView {
    /// Its name, or id.
    pub name: String,
    /// Whether it is one of the system's.
    pub is_system: bool,
    /// Versions that clients may speak.
    pub versions: Vec<String>,
    /// Suites served, as rustls names them.
    pub suites: Vec<String>,
    /// What is not served of it, and why.
    pub left_out: Vec<String>,
    /// Listeners that name it.
    pub listeners: Vec<String>,
}
