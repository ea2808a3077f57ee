//! Quotas (SG section 16, D-16, LR-13, LR-67): each has a default, and a ceiling up to which a node may raise it.

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
    /// Listeners per load balancer of edition Basic; 50, at most 80 (LR-67).
    pub listeners_per_basic_load_balancer: u32,
    /// Listeners per load balancer of edition Standard; 50, at most 100.
    pub listeners_per_standard_load_balancer: u32,
    /// Rules per load balancer of edition Basic; 40, at most 100.
    pub rules_per_basic_load_balancer: u32,
    /// Rules per load balancer of edition Standard; 100, at most 10,000, which is ours: the API ends at 200.
    pub rules_per_standard_load_balancer: u32,
    /// Certificates beyond the default ones per load balancer of edition Basic; 10, at most 150.
    pub additional_certificates_per_basic_load_balancer: u32,
    /// Certificates beyond the default ones per load balancer of edition Standard; 25, at most 300.
    pub additional_certificates_per_standard_load_balancer: u32,
    /// Longest idle timeout of a listener, seconds; 600, at most 3,600 (LR-13).
    pub idle_timeout: u32,
    /// Longest request timeout of a listener, seconds; 600, at most 3,600.
    pub request_timeout: u32,
}

impl Quotas {
    /// Ceilings.
    pub const MAX: Quotas = Quotas {
        servers_per_basic_load_balancer: 400,
        servers_per_standard_load_balancer: 1500,
        groups_per_server: 300,
        attachments_per_server_group: 100,
        server_group_weight: 10_000,
        listeners_per_basic_load_balancer: 80,
        listeners_per_standard_load_balancer: 100,
        rules_per_basic_load_balancer: 100,
        rules_per_standard_load_balancer: 10_000,
        additional_certificates_per_basic_load_balancer: 150,
        additional_certificates_per_standard_load_balancer: 300,
        idle_timeout: 3600,
        request_timeout: 3600,
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
            listeners_per_basic_load_balancer: 50,
            listeners_per_standard_load_balancer: 50,
            rules_per_basic_load_balancer: 40,
            rules_per_standard_load_balancer: 100,
            additional_certificates_per_basic_load_balancer: 10,
            additional_certificates_per_standard_load_balancer: 25,
            idle_timeout: 600,
            request_timeout: 600,
        }
    }
}
