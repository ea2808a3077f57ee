//! Names and addresses of the lab: which namespace, which folder, which address belongs to what. Nothing here acts.

use anyhow::{Result, bail};
use std::net::Ipv4Addr;
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
/// The balancer host's own address in VSW1, its tunnel address there.
pub const LB_VSW1: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 10);
/// The balancer host's own address in VSW2, its tunnel address there.
pub const LB_VSW2: Ipv4Addr = Ipv4Addr::new(172, 16, 2, 10);
/// The VIP of zone chengdu-a. The lab reserves it; the controller configures it.
pub const VIP_A: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The VIP of zone chengdu-b. The lab reserves it; the controller configures it.
pub const VIP_B: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// The local server's address.
pub const ECS01_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 20);
/// The remote server's address.
pub const ECS02_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 20);
/// Sources of L4 flows, routed back to the balancer.
pub const NAT_PREFIX: &str = "172.16.100.0/24";
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

    /// The controller's folder for pins, inside [`Self::bpffs`].
    pub fn bpf_dir(&self) -> PathBuf {
        self.bpffs().join("causeway")
    }

    /// The controller's store.
    pub fn state_dir(&self) -> PathBuf {
        self.run_dir().join("state")
    }

    /// The controller's Unix socket.
    pub fn api_socket(&self) -> PathBuf {
        self.run_dir().join("api.sock")
    }

    /// The balancer's access log.
    pub fn access_log(&self) -> PathBuf {
        self.run_dir().join("access.log")
    }

    /// The node settings that [`crate::Lab::up`] writes.
    pub fn node_file(&self) -> PathBuf {
        self.run_dir().join("node.yaml")
    }

    /// The resources that [`crate::Lab::up`] writes.
    pub fn resources_file(&self) -> PathBuf {
        self.run_dir().join("resources.yaml")
    }

    /// Where [`crate::Lab::spawn`] keeps what processes print.
    pub fn log_dir(&self) -> PathBuf {
        self.run_dir().join("logs")
    }

    /// The folder of the web server on `host`.
    pub fn server_dir(&self, host: &str) -> PathBuf {
        self.run_dir().join("servers").join(host)
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
    fn client_addresses_leave_out_the_resolver() {
        assert_eq!(CLIENT_ADDRESSES[0], Ipv4Addr::new(203, 0, 113, 50));
        assert!(!CLIENT_ADDRESSES.contains(&DNS_ADDRESS));
    }
}
