//! Faults that the tutorial's verifications inject (XR-80, XR-82), and their end.

use crate::layout::{BACK_TO_ORIGIN_PREFIX, CROWD, ECS02, NAT_PREFIX, TR1, Variant};
use crate::topology::{self, Step};
use std::net::Ipv4Addr;

/// Something broken on purpose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The inter-region link is down: connects fail at once, and Chengdu's router forgets its route.
    LinkDown,
    /// The inter-region link loses every packet, and nobody is told.
    LinkSilentDrop,
    /// ECS02's firewall drops what the balancer sends, as a missing security group rule would.
    FirewallDropsBalancerAtEcs02,
    /// The named server drops every packet it receives.
    ServerSilentDrop(String),
    /// The crowd refuses connections to these of its addresses, and carries on with those it has. Injected again with
    /// others, it refuses those instead.
    CrowdRefuses(Vec<Ipv4Addr>),
}

impl Fault {
    /// What to run to break it.
    pub(crate) fn break_steps(&self, variant: Variant) -> Vec<Step> {
        let rules = match self {
            Fault::LinkDown => return vec![step(TR1, "ip link set w1 down")],
            Fault::LinkSilentDrop => "chain forward { type filter hook forward priority 0; \
                 iifname \"w1\" drop; oifname \"w1\" drop; }"
                .to_owned(),
            Fault::FirewallDropsBalancerAtEcs02 => {
                let local = variant.local_addresses_a().into_iter().chain(variant.local_addresses_b());
                let local: Vec<_> = local.map(|address| address.to_string()).collect();
                let own = match variant {
                    Variant::Vswitch => local.join(", "),
                    Variant::BackToOrigin => BACK_TO_ORIGIN_PREFIX.to_owned(),
                };
                format!(
                    "chain input {{ type filter hook input priority 0; ip saddr {{ {own}, {NAT_PREFIX} }} drop; }}"
                )
            }
            Fault::ServerSilentDrop(_) => {
                "chain input { type filter hook input priority 0; iifname != \"lo\" drop; }".to_owned()
            }
            Fault::CrowdRefuses(addresses) => {
                let refused: Vec<_> = addresses.iter().map(Ipv4Addr::to_string).collect();
                format!(
                    "chain input {{ type filter hook input priority 0; \
                     ip daddr {{ {} }} tcp flags syn / fin,syn,rst,ack reject with tcp reset; }}",
                    refused.join(", ")
                )
            }
        };
        // Replaces what an earlier injection left, so that injecting twice is the same as once.
        let table = self.table();
        let text =
            format!("table inet {table}; delete table inet {table}; table inet {table} {{\n{rules}\n}}");
        vec![Step { host: self.host().to_owned(), words: vec!["nft".into(), text] }]
    }

    /// What to run to mend it; harmless if it was never broken.
    pub(crate) fn mend_steps(&self) -> Vec<Step> {
        if *self == Fault::LinkDown {
            let mut steps = vec![step(TR1, "ip link set w1 up")];
            steps.extend(topology::link_routes());
            return steps;
        }
        let table = self.table();
        let text = format!("table inet {table}; delete table inet {table}");
        vec![Step { host: self.host().to_owned(), words: vec!["nft".into(), text] }]
    }

    fn host(&self) -> &str {
        match self {
            Fault::LinkDown | Fault::LinkSilentDrop => TR1,
            Fault::FirewallDropsBalancerAtEcs02 => ECS02,
            Fault::ServerSilentDrop(host) => host,
            Fault::CrowdRefuses(_) => CROWD,
        }
    }

    fn table(&self) -> &'static str {
        match self {
            Fault::LinkDown | Fault::LinkSilentDrop => "lab_link",
            Fault::FirewallDropsBalancerAtEcs02 => "lab_firewall",
            Fault::ServerSilentDrop(_) => "lab_silence",
            Fault::CrowdRefuses(_) => "lab_refusal",
        }
    }
}

fn step(host: &str, line: &str) -> Step {
    Step { host: host.to_owned(), words: line.split(' ').map(str::to_owned).collect() }
}
