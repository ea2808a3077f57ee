//! What servers refer to by id.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// An instance, interface or function of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryView {
    /// `Ecs`, `Eci`, `Eni` or `Fc`.
    pub kind: String,
    /// Its id; a function's ARN.
    pub id: String,
    /// The instance an interface is bound to.
    pub instance: Option<String>,
    /// Its network, the primary interface's for an instance.
    pub vpc: Option<String>,
    /// Its subnet, likewise.
    pub vswitch: Option<String>,
    /// The zone of that.
    pub zone: Option<String>,
    /// Its addresses, the primary one first; an instance's are those of all its interfaces.
    pub addresses: Vec<IpAddr>,
    /// Versions and aliases of a function, each with its URL.
    pub triggers: Vec<(String, String)>,
    /// Groups that hold it.
    pub groups: Vec<String>,
}
