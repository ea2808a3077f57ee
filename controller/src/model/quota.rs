//! Quotas (SG section 16, D-16): each has a default, and a ceiling up to which a node may raise it.

/// How many of what resources may hold. Counted per association (SG-241).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Servers per load balancer of edition Basic; 200, at most 400.
    pub servers_per_basic_load_balancer: u32,
    /// Servers per load balancer of edition Standard; 1,000, at most 1,500.
    pub servers_per_standard_load_balancer: u32,
    /// Groups that one server, by address, may be in; 200, at most 300.
    pub groups_per_server: u32,
    /// Listeners and rules that one group may be attached to; 50, at most 100.
    pub attachments_per_server_group: u32,
    /// Largest weight of a group among several of one rule; 100, at most 10,000.
    pub server_group_weight: u32,
}

impl Quotas {
    /// Ceilings.
    pub const MAX: Quotas = Quotas {
        servers_per_basic_load_balancer: 400,
        servers_per_standard_load_balancer: 1500,
        groups_per_server: 300,
        attachments_per_server_group: 100,
        server_group_weight: 10_000,
    };
}

impl Default for Quotas {
    fn default() -> Self {
        Quotas {
            servers_per_basic_load_balancer: 200,
            servers_per_standard_load_balancer: 1000,
            groups_per_server: 200,
            attachments_per_server_group: 50,
            server_group_weight: 100,
        }
    }
}
