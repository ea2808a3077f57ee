//! Access control lists (LR-30 to LR-34).

use super::AclName;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Sources by address, for listeners to serve or to refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Its name.
    pub name: AclName,
    /// At most 500, distinct (LR-32).
    pub entries: Vec<AclEntry>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// The addresses.
    pub cidr: IpNet,
    /// Free text.
    pub description: Option<String>,
}

/// Lists a listener goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerAcl {
    /// What the lists are of.
    pub kind: AclKind,
    /// 1 to 3, distinct (LR-32). Without any entry in them everything is served (LR-31).
    pub acls: Vec<AclName>,
}

/// What the lists are of (LR-30).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AclKind {
    /// The sources that are served.
    White,
    /// The sources that are refused.
    Black,
}
