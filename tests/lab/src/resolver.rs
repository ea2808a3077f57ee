//! The lab's resolver: dnsmasq on the client network, with the domain whose CNAME is the balancer's name (D-3).

use crate::layout::{DNS_ADDRESS, Layout, NET, VIP_A, VIP_B, ipv6_of};
use crate::namespace;
use crate::process::Process;
use anyhow::{Context, Result};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// A domain of the lab: `alias` is a CNAME for `name`, and `name` has one A or AAAA record per address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// What clients ask for.
    pub alias: String,
    /// The load balancer's DNS name.
    pub name: String,
    /// Its VIPs.
    pub addresses: Vec<IpAddr>,
}

impl Domain {
    const VIPS: [Ipv4Addr; 2] = [VIP_A, VIP_B];

    /// The tutorial's: `www.example.test` for `alb1.causeway.test`, a VIP in each zone.
    pub fn tutorial() -> Domain {
        Domain {
            alias: "www.example.test".into(),
            name: "alb1.causeway.test".into(),
            addresses: Domain::VIPS.map(IpAddr::V4).into(),
        }
    }

    /// The tutorial's, of a load balancer with IPv6 VIPs as well.
    pub fn dual_stack() -> Domain {
        let mut domain = Domain::tutorial();
        domain.addresses.extend(Domain::VIPS.map(|vip| IpAddr::V6(ipv6_of(vip))));
        domain
    }
}

/// Starts the resolver and points the client at it.
pub(crate) fn start(layout: &Layout, domains: &[Domain]) -> Result<Process> {
    let dir = layout.run_dir();
    let write = |name: &str, text: String| {
        let file = dir.join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display())).map(|()| file)
    };
    write("hosts", hosts(domains))?;
    let settings = write("dnsmasq.conf", settings(&dir.join("hosts").display().to_string(), domains))?;
    // One second per try: the answer comes from the next namespace, and a lost packet should not cost five.
    write("resolv.conf", format!("nameserver {DNS_ADDRESS}\noptions timeout:1\n"))?;
    let mut command = namespace::command(layout, NET, "dnsmasq")?;
    command.arg("--keep-in-foreground").arg(format!("--conf-file={}", settings.display()));
    let mut server = Process::start(layout, NET, command, false)?;
    server.wait_until_listening(&[53], Duration::from_secs(5))?;
    Ok(server)
}

fn hosts(domains: &[Domain]) -> String {
    let line = |domain: &Domain, address: &IpAddr| format!("{address} {}\n", domain.name);
    domains
        .iter()
        .flat_map(|domain| domain.addresses.iter().map(move |address| line(domain, address)))
        .collect()
}

fn settings(hosts_file: &str, domains: &[Domain]) -> String {
    let fixed = format!(
        "no-resolv\nno-hosts\nno-poll\nbind-interfaces\nlisten-address={DNS_ADDRESS}\nexcept-interface=lo\n\
         pid-file=\nuser=root\ngroup=root\nlog-facility=-\naddn-hosts={hosts_file}\n"
    );
    let aliases = domains.iter().map(|domain| format!("cname={},{}\n", domain.alias, domain.name));
    fixed + &aliases.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_leads_to_both_vips_by_the_balancers_name() {
        let domains = [Domain::tutorial()];
        assert_eq!(hosts(&domains), "203.0.113.10 alb1.causeway.test\n203.0.113.11 alb1.causeway.test\n");
        assert!(settings("/x", &domains).contains("cname=www.example.test,alb1.causeway.test\n"));
    }
}
