//! Names and addresses of the lab: which namespace, which folder, which address belongs to what. Nothing here acts.

use anyhow::{Result, bail};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// Clients, with the addresses [`CLIENT_ADDRESSES`].
pub const CLIENT: &str = "client";
/// The switch between clients and balancer; also answers DNS at [`DNS_ADDRESS`].
pub const NET: &str = "net";
/// The balancer's host: `eth0` towards clients, `eth1` in VSW1, `eth2` in VSW2.
pub const LB: &str = "lb";
/// The switch of VSW1 (zone chengdu-a).
pub const SW1: &str = "sw1";
/// The switch of VSW2 (zone chengdu-b).
pub const SW2: &str = "sw2";
/// The tutorial's local server, in VSW1.
pub const ECS01: &str = "ecs01";
/// The transit router of Chengdu: `eth1` in VSW1, `eth2` in VSW2, `w1` towards Hangzhou.
pub const TR1: &str = "tr1";
/// The transit router of Hangzhou: `w2` towards Chengdu, `eth1` in VSW3, `eth2` in VSW4.
pub const TR2: &str = "tr2";
/// The tutorial's remote server, in VSW3.
pub const ECS02: &str = "ecs02";

/// The second balancer's host, of [`crate::Balancers::HostPerZone`]: `eth0` towards clients, `eth2` in VSW2.
pub const LB2: &str = "lb2";

/// The host of [`crate::ExtraServer::crowd`], which answers at all of [`CROWD_PREFIX`].
pub const CROWD: &str = "crowd";

/// Hosts that exist in every lab.
pub const HOSTS: [&str; 9] = [CLIENT, NET, LB, SW1, SW2, ECS01, TR1, TR2, ECS02];

/// The client's addresses; the first is the one the kernel picks by itself.
pub const CLIENT_ADDRESSES: [Ipv4Addr; 11] = {
    let mut addresses = [Ipv4Addr::UNSPECIFIED; 11];
    let mut i = 0;
    while i < addresses.len() {
        addresses[i] = Ipv4Addr::new(203, 0, 113, 50 + CLIENT_SUFFIXES[i]);
        i += 1;
    }
    addresses
};
/// .50, then .51, .52, then .54 to .61: .53 is the resolver's.
const CLIENT_SUFFIXES: [u8; 11] = [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11];
/// Where the lab's resolver answers.
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
/// The balancer host's own address towards clients.
pub const LB_CLIENT_SIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The second balancer host's own address towards clients.
pub const LB2_CLIENT_SIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);
/// The balancer host's own address in VSW1, its tunnel address there.
pub const LB_VSW1: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 10);
/// The own address in VSW2 of the balancer host that serves chengdu-b, its tunnel address there.
pub const LB_VSW2: Ipv4Addr = Ipv4Addr::new(172, 16, 2, 10);
/// The VIP of zone chengdu-a. The lab reserves it; the controller configures it.
pub const VIP_A: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The VIP of zone chengdu-b. The lab reserves it; the controller configures it.
pub const VIP_B: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// The local server's address.
pub const ECS01_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 20);
/// The remote server's address.
pub const ECS02_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 20);
/// The addresses of [`CROWD`]; in VPC1, zone chengdu-a, in no vSwitch that the tutorial's resources name.
pub const CROWD_PREFIX: &str = "172.16.64.0/20";
/// First three bytes of addresses in VSW1.
pub(crate) const VSW1_NETWORK: [u8; 3] = [172, 16, 1];
/// First three bytes of addresses in VSW2.
pub(crate) const VSW2_NETWORK: [u8; 3] = [172, 16, 2];
/// IPv6 addresses of VPC1, of which VSW1 has fd00:16:1::/64 and VSW2 fd00:16:2::/64.
pub const VPC1_V6: &str = "fd00:16::/32";
/// IPv6 addresses of VSW1.
pub const VSW1_V6: &str = "fd00:16:1::/64";
/// IPv6 addresses of VSW2.
pub const VSW2_V6: &str = "fd00:16:2::/64";
/// Sources of L4 flows, routed back to the balancer.
pub const NAT_PREFIX: &str = "172.16.100.0/24";
/// Sources of L4 flows of the second balancer host.
pub const LB2_NAT_PREFIX: &str = "172.16.101.0/24";
/// The back-to-origin prefix of [`Variant::BackToOrigin`].
pub const BACK_TO_ORIGIN_PREFIX: &str = "100.64.0.0/24";

/// Which addresses the balancer uses towards servers (XR-20, D-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// Local addresses from VSW1 and VSW2: the routers know them already (XR-54).
    #[default]
    Vswitch,
    /// Local addresses from 100.64.0.0/24, with the routes of XR-50 to XR-52 written by hand.
    BackToOrigin,
}

impl Variant {
    /// The balancer's local addresses in zone chengdu-a.
    pub fn local_addresses_a(self) -> [Ipv4Addr; 2] {
        match self {
            Variant::Vswitch => [Ipv4Addr::new(172, 16, 1, 11), Ipv4Addr::new(172, 16, 1, 12)],
            Variant::BackToOrigin => [Ipv4Addr::new(100, 64, 0, 11), Ipv4Addr::new(100, 64, 0, 12)],
        }
    }

    /// The balancer's local addresses in zone chengdu-b.
    pub fn local_addresses_b(self) -> [Ipv4Addr; 2] {
        match self {
            Variant::Vswitch => [Ipv4Addr::new(172, 16, 2, 11), Ipv4Addr::new(172, 16, 2, 12)],
            Variant::BackToOrigin => [Ipv4Addr::new(100, 64, 0, 21), Ipv4Addr::new(100, 64, 0, 22)],
        }
    }
}

/// The address of server `number` of the crowd, from 172.16.64.1 for 0.
///
/// # Panics
/// If `number` is above 4093.
pub fn crowd_address(number: u16) -> Ipv4Addr {
    assert!(number <= 4093, "the crowd has 4094 servers");
    Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 64, 1)) + u32::from(number))
}

/// The IPv6 address of whatever has `address` in VSW1, in VSW2 or on the client side: 203.0.113.10 has
/// 2001:db8:113::10, 172.16.2.41 has fd00:16:2::41. The last group reads like the last byte, in decimal digits.
///
/// # Panics
/// If `address` is of another network.
pub fn ipv6_of(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, suffix] = address.octets();
    let suffix = u16::from(suffix);
    // The decimal digits, read as hexadecimal.
    let suffix = suffix / 100 * 0x100 + suffix / 10 % 10 * 0x10 + suffix % 10;
    match [a, b, c] {
        VSW1_NETWORK | VSW2_NETWORK => Ipv6Addr::new(0xfd00, 0x16, u16::from(c), 0, 0, 0, 0, suffix),
        [203, 0, 113] => Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, suffix),
        _ => panic!("{address}: the lab has IPv6 in VSW1, VSW2 and 203.0.113.0/24 only"),
    }
}

/// The files of one controller. Nothing but the lab's settings makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its folder for pins, inside [`Layout::bpffs`].
    pub bpf_dir: PathBuf,
    /// Its store.
    pub state_dir: PathBuf,
    /// Its Unix socket.
    pub api_socket: PathBuf,
    /// Its access log.
    pub access_log: PathBuf,
    /// Its settings, which [`crate::Lab::up`] writes.
    pub node_file: PathBuf,
    /// Its resources, which [`crate::Lab::up`] writes.
    pub resources_file: PathBuf,
}

/// The names that belong to one lab, told from those of other labs by its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    id: String,
}

impl Layout {
    /// Names for the lab labelled `id`: up to 12 of `a-z0-9`, empty for the one people play with.
    pub fn new(id: &str) -> Result<Layout> {
        // No dash: it ends the label inside a namespace's name. "default" is the folder of the empty label.
        if id.len() > 12
            || !id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            || id == "default"
        {
            bail!("lab label {id:?}: use at most 12 of a-z and 0-9, and not \"default\"");
        }
        Ok(Layout { id: id.to_owned() })
    }

    /// The label.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The network namespace of `host`.
    pub fn namespace(&self, host: &str) -> String {
        format!("cw{}-{host}", self.id)
    }

    /// The folder that holds everything this lab writes.
    pub fn run_dir(&self) -> PathBuf {
        Path::new(ROOT).join(if self.id.is_empty() { "default" } else { &self.id })
    }

    /// Where the lab mounts its own bpffs; pins in it die with the lab.
    pub fn bpffs(&self) -> PathBuf {
        self.run_dir().join("bpf")
    }

    /// What the controller on `lb` has for itself.
    pub fn node(&self) -> Node {
        self.node_on(LB)
    }

    /// What the controller on `host`, [`LB`] or [`LB2`], has for itself.
    pub fn node_on(&self, host: &str) -> Node {
        // The paths of the first are not told from those of a lab with one.
        let part = if host == LB { String::new() } else { format!("-{host}") };
        let file = |name: &str, end: &str| self.run_dir().join(format!("{name}{part}{end}"));
        Node {
            bpf_dir: self.bpffs().join(format!("causeway{part}")),
            state_dir: file("state", ""),
            api_socket: file("api", ".sock"),
            access_log: file("access", ".log"),
            node_file: file("node", ".yaml"),
            resources_file: file("resources", ".yaml"),
        }
    }

    /// The controller's folder for pins on `lb`, inside [`Self::bpffs`].
    pub fn bpf_dir(&self) -> PathBuf {
        self.node().bpf_dir
    }

    /// The controller's store on `lb`.
    pub fn state_dir(&self) -> PathBuf {
        self.node().state_dir
    }

    /// The controller's Unix socket on `lb`.
    pub fn api_socket(&self) -> PathBuf {
        self.node().api_socket
    }

    /// The access log of the balancer on `lb`.
    pub fn access_log(&self) -> PathBuf {
        self.node().access_log
    }

    /// The node settings for `lb` that [`crate::Lab::up`] writes.
    pub fn node_file(&self) -> PathBuf {
        self.node().node_file
    }

    /// The resources for `lb` that [`crate::Lab::up`] writes.
    pub fn resources_file(&self) -> PathBuf {
        self.node().resources_file
    }

    /// Where [`crate::Lab::spawn`] keeps what processes print.
    pub fn log_dir(&self) -> PathBuf {
        self.run_dir().join("logs")
    }

    /// The folder of the web server on `host`.
    pub fn server_dir(&self, host: &str) -> PathBuf {
        self.run_dir().join("servers").join(host)
    }

    /// What tells the server on `host` how to behave.
    pub(crate) fn behaviour_file(&self, host: &str) -> PathBuf {
        self.server_dir(host).join("behaviour")
    }

    /// Certificate and key of the lab's servers, self-signed, in PEM.
    pub fn certificate(&self) -> [PathBuf; 2] {
        ["certificate.pem", "key.pem"].map(|name| self.run_dir().join(name))
    }

    /// The file that servers offer as `/big`.
    pub fn big_file(&self) -> PathBuf {
        self.run_dir().join("big")
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.run_dir().join("resolv.conf")
    }

    pub(crate) fn marker_dir(&self) -> PathBuf {
        self.run_dir().join("namespaces")
    }

    pub(crate) fn process_dir(&self) -> PathBuf {
        self.run_dir().join("processes")
    }

    pub(crate) fn boot_file(&self) -> PathBuf {
        self.run_dir().join("boot-id")
    }

    /// Beside the run folder, not in it: it must outlive the folder's removal.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.run_dir().with_extension("lock")
    }
}

/// Parent of all labs' folders.
const ROOT: &str = "/run/causeway-lab";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_namespaces_and_folders_apart() {
        let plain = Layout::new("").expect("empty is a label");
        let other = Layout::new("t1").expect("valid label");
        assert_eq!(plain.namespace(LB), "cw-lb");
        assert_eq!(other.namespace(LB), "cwt1-lb");
        assert_eq!(plain.run_dir(), Path::new("/run/causeway-lab/default"));
        assert_eq!(other.run_dir(), Path::new("/run/causeway-lab/t1"));
    }

    #[test]
    fn refuses_labels_that_could_name_something_else() {
        for label in ["a-b", "../x", "default", "A", "thirteenchars"] {
            let error = Layout::new(label).expect_err(label).to_string();
            assert!(error.contains(label), "{error}");
        }
    }

    #[test]
    fn ipv6_addresses_read_like_ipv4_ones() {
        assert_eq!(ipv6_of(VIP_A).to_string(), "2001:db8:113::10");
        assert_eq!(ipv6_of(Ipv4Addr::new(172, 16, 2, 254)).to_string(), "fd00:16:2::254");
        assert_eq!(ipv6_of(Ipv4Addr::new(172, 16, 1, 7)).to_string(), "fd00:16:1::7");
    }

    #[test]
    fn client_addresses_leave_out_the_resolver() {
        assert_eq!(CLIENT_ADDRESSES[0], Ipv4Addr::new(203, 0, 113, 50));
        assert!(!CLIENT_ADDRESSES.contains(&DNS_ADDRESS));
    }
}
