//! What a lab is made of, and whether it can be.

use crate::layout::{CROWD, ECS01, ECS01_ADDRESS, HOSTS, LB2, Layout, VSW1_NETWORK, VSW2_NETWORK, Variant};
use crate::resolver::Domain;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What a lab is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabOptions {
    /// Label: labs with different ones stand side by side. See [`Layout::new`].
    pub id: String,
    /// Which addresses the balancer uses towards servers.
    pub variant: Variant,
    /// What veths leave to hardware they do not have.
    pub offloads: Offloads,
    /// How many hosts balance.
    pub balancers: Balancers,
    /// Whether clients, balancers and the servers of VSW1 and VSW2 have IPv6 addresses too.
    pub ipv6: bool,
    /// Servers beside ECS01 and ECS02. See [`web_servers`].
    pub extra_servers: Vec<ExtraServer>,
    /// Domains the resolver knows.
    pub domains: Vec<Domain>,
    /// Size of the file served as `/big`; 0 for none.
    pub big_file_bytes: u64,
}

impl Default for LabOptions {
    fn default() -> LabOptions {
        LabOptions {
            id: String::new(),
            variant: Variant::default(),
            offloads: Offloads::default(),
            balancers: Balancers::default(),
            ipv6: false,
            extra_servers: Vec::new(),
            domains: vec![Domain::tutorial()],
            big_file_bytes: 100_000_000,
        }
    }
}

/// What the lab's interfaces leave to hardware they do not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offloads {
    /// Everybody but the balancer computes checksums, as packets off a real wire have them. What XDP needs.
    #[default]
    RealChecksums,
    /// Everything, the kernel's default. For throughput of the L7 path; the L4 path then carries wrong checksums.
    All,
    /// Nothing: no segmentation offload, no GRO. Shows a packet that is too long, which offloads hide.
    None,
}

/// Which hosts balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balancers {
    /// `lb` serves both zones, with an interface in each.
    #[default]
    OneHost,
    /// `lb` serves chengdu-a and `lb2` chengdu-b; each reaches the other zone through the VPC's router, `tr1`.
    HostPerZone,
}

/// A server in VSW1 or VSW2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraServer {
    /// Host name, `a-z0-9`, at most 12.
    pub name: String,
    /// An address of 172.16.1.0/24 or 172.16.2.0/24 that nobody else has.
    pub address: Ipv4Addr,
    /// What runs there.
    pub kind: ServerKind,
}

/// What runs on an [`ExtraServer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// nginx, on the ports of the tutorial's servers and on [`crate::TLS_PORT`]. Obeys [`crate::Lab::set_behaviour`].
    Web,
    /// A gRPC server on [`crate::GRPC_PORT`]: `grpc.health.v1.Health/Check`, which obeys
    /// [`crate::Lab::set_grpc_health`], and `lab.Shop/Echo`, which answers with the message it got.
    Grpc,
    /// Thousands of web servers by their addresses, all of [`crate::CROWD_PREFIX`]: one nginx that answers at each with
    /// that address. A probe cannot tell it from as many servers: each address accepts, answers and refuses by itself.
    Crowd,
    /// An HTTP function on [`crate::FUNCTION_PORT`], at and below [`crate::FUNCTION_PREFIX`]. It answers with what
    /// arrived, as JSON, after `?s=` seconds, with the status of `?status=`.
    Function,
}

impl ExtraServer {
    /// A web server at `address`.
    pub fn web(name: &str, address: Ipv4Addr) -> ExtraServer {
        ExtraServer { name: name.to_owned(), address, kind: ServerKind::Web }
    }

    /// The lab's gRPC server: `grpc` at 172.16.1.25.
    pub fn grpc() -> ExtraServer {
        let address = Ipv4Addr::new(172, 16, 1, 25);
        ExtraServer { name: "grpc".to_owned(), address, kind: ServerKind::Grpc }
    }

    /// The lab's HTTP function: `fc` at 172.16.1.30.
    pub fn function() -> ExtraServer {
        let address = Ipv4Addr::new(172, 16, 1, 30);
        ExtraServer { name: "fc".to_owned(), address, kind: ServerKind::Function }
    }

    /// The lab's crowd of web servers, [`crate::CROWD`]: at 172.16.1.60, and at each [`crate::crowd_address`]. One of
    /// them may be in a lab.
    pub fn crowd() -> ExtraServer {
        let address = Ipv4Addr::new(172, 16, 1, 60);
        ExtraServer { name: CROWD.to_owned(), address, kind: ServerKind::Crowd }
    }

    /// Whether it stands in VSW2, zone chengdu-b; else it stands in VSW1, zone chengdu-a.
    pub fn is_in_vsw2(&self) -> bool {
        self.address.octets()[..3] == VSW2_NETWORK
    }
}

/// `vsw1` web servers ecs11, ecs12... at 172.16.1.41, .42..., then `vsw2` ones ecs21, ecs22... at 172.16.2.41, .42...;
/// at most nine of each.
///
/// # Panics
/// If there are more.
pub fn web_servers(vsw1: u8, vsw2: u8) -> Vec<ExtraServer> {
    assert!(vsw1 <= 9 && vsw2 <= 9, "at most nine servers in each vSwitch");
    let server = |zone: u8, number: u8| {
        ExtraServer::web(&format!("ecs{zone}{number}"), Ipv4Addr::new(172, 16, zone, 40 + number))
    };
    (1..=vsw1).map(|number| server(1, number)).chain((1..=vsw2).map(|number| server(2, number))).collect()
}

/// Addresses from .13 to .39 hold servers of the lab's own choice, from .40 those of [`web_servers`].
const SERVER_SUFFIXES: std::ops::RangeInclusive<u8> = 13..=199;

/// Refuses what cannot be built.
pub(crate) fn check(options: &LabOptions) -> Result<()> {
    if options.balancers == Balancers::HostPerZone && options.variant != Variant::Vswitch {
        bail!(
            "a balancer host per zone: the lab has routes for it with local addresses from the vSwitches only"
        );
    }
    let mut names: BTreeSet<&str> = HOSTS.into_iter().chain([LB2]).collect();
    let mut addresses = BTreeSet::from([ECS01_ADDRESS]);
    for server in &options.extra_servers {
        let ExtraServer { name, address, .. } = server;
        // The length keeps "p-NAME" a valid interface name.
        Layout::new(name).with_context(|| format!("extra server {name:?}"))?;
        if name.is_empty() || !names.insert(name) {
            bail!("extra server {name:?}: choose a name other than {}", Vec::from_iter(names).join(", "));
        }
        let [a, b, c, suffix] = address.octets();
        if ![VSW1_NETWORK, VSW2_NETWORK].contains(&[a, b, c]) || !SERVER_SUFFIXES.contains(&suffix) {
            bail!("extra server {name:?}: {address} is not of 172.16.1.13-199 or 172.16.2.13-199");
        }
        if (server.kind == ServerKind::Crowd) != (*server == ExtraServer::crowd()) {
            bail!("extra server {name:?}: a crowd is what `ExtraServer::crowd()` gives, and nothing else is");
        }
        if !addresses.insert(*address) {
            bail!("extra server {name:?}: {address} is another's, as {ECS01} has {ECS01_ADDRESS}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(extra_servers: Vec<ExtraServer>) -> String {
        let options = LabOptions { extra_servers, ..LabOptions::default() };
        check(&options).expect_err("cannot be built").to_string()
    }

    #[test]
    fn servers_are_named_for_their_vswitch_and_number() {
        let servers = web_servers(2, 1);
        let names: Vec<_> =
            servers.iter().map(|server| (server.name.as_str(), server.is_in_vsw2())).collect();
        assert_eq!(names, [("ecs11", false), ("ecs12", false), ("ecs21", true)]);
        assert_eq!(servers[2].address, Ipv4Addr::new(172, 16, 2, 41));
        check(&LabOptions { extra_servers: web_servers(9, 9), ..LabOptions::default() }).expect("possible");
    }

    #[test]
    fn a_server_takes_nobodys_name_or_address() {
        let free = Ipv4Addr::new(172, 16, 1, 21);
        assert!(refusal(vec![ExtraServer::web("lb2", free)]).contains("choose a name other than"));
        assert!(refusal(vec![ExtraServer::web("a", free), ExtraServer::web("a", free)]).contains("name"));
        assert!(
            refusal(vec![ExtraServer::web("a", free), ExtraServer::web("b", free)]).contains("another's")
        );
        assert!(refusal(vec![ExtraServer::web("a", ECS01_ADDRESS)]).contains("another's"));
        for reserved in [[172, 16, 1, 10], [172, 16, 2, 254], [172, 16, 3, 20]] {
            assert!(refusal(vec![ExtraServer::web("a", reserved.into())]).contains("172.16.1.13-199"));
        }
    }

    #[test]
    fn a_host_per_zone_needs_addresses_of_the_zones() {
        let options = LabOptions {
            balancers: Balancers::HostPerZone,
            variant: Variant::BackToOrigin,
            ..LabOptions::default()
        };
        assert!(check(&options).is_err());
    }
}
