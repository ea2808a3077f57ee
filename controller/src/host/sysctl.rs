//! Kernel switches of interfaces that would break the datapath.
//!
//! Only one can: strict reverse path filtering. Answers to a local address may come in by another interface than the
//! one traffic to their source leaves by (two vSwitches, two tunnel endpoints), and a strict filter drops them (XR-105).
//! The kernel's default is off and Debian leaves it; distributions that turn it on get the loose mode, on our
//! interfaces only. Whoever calls keeps what [`loosen`] returned, for [`restore`].

use super::HostError;
use crate::model::Node;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where the switches are.
const ROOT: &str = "/proc/sys";

const OFF: u8 = 0;
const STRICT: u8 = 1;
const LOOSE: u8 = 2;

/// A switch that was changed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Changed {
    /// Its file.
    pub path: PathBuf,
    /// Its value before.
    pub before: u8,
    /// Its value since.
    pub after: u8,
}

/// Interfaces of `node` on which answers from servers and tunnels arrive.
pub fn interfaces(node: &Node) -> BTreeSet<&str> {
    node.zones.iter().map(|zone| zone.interface.as_str()).collect()
}

/// The value an interface's `rp_filter` needs, given its own and that of `all`: `None` if it can stay. The kernel takes
/// the larger of the two.
fn required(all: u8, own: u8) -> Option<u8> {
    (all.max(own) == STRICT).then_some(LOOSE)
}

/// Makes the reverse path filter loose where it is strict; returns what changed.
pub fn loosen(node: &Node) -> Result<Vec<Changed>, HostError> {
    loosen_under(Path::new(ROOT), node)
}

/// Undoes [`loosen`]. Switches that someone has set to another value since, or whose interface is gone, are left alone.
pub fn restore(changed: &[Changed]) -> Result<(), HostError> {
    for Changed { path, before, after } in changed {
        if path.exists() && read(path)? == *after {
            write(path, *before)?;
        }
    }
    Ok(())
}

fn loosen_under(root: &Path, node: &Node) -> Result<Vec<Changed>, HostError> {
    let all = read(&rp_filter(root, "all"))?;
    let mut changed = Vec::new();
    for interface in interfaces(node) {
        let path = rp_filter(root, interface);
        let before = read(&path)?;
        if let Some(after) = required(all, before) {
            write(&path, after)?;
            changed.push(Changed { path, before, after });
        }
    }
    Ok(changed)
}

fn rp_filter(root: &Path, interface: &str) -> PathBuf {
    root.join("net/ipv4/conf").join(interface).join("rp_filter")
}

fn read(path: &Path) -> Result<u8, HostError> {
    let text = std::fs::read_to_string(path).map_err(failed(path))?;
    Ok(match text.trim() {
        "0" => OFF,
        "1" => STRICT,
        _ => LOOSE,
    })
}

fn write(path: &Path, value: u8) -> Result<(), HostError> {
    std::fs::write(path, value.to_string()).map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> HostError {
    let path = path.display().to_string();
    |source| HostError::Sysctl { path, source }
}

#[cfg(test)]
mod tests {
    use super::super::desired::tests::node;
    use super::*;

    // Holds XR-105
    #[test]
    fn only_a_strict_filter_has_to_change() {
        let table = [
            (0, 0, None),
            (0, 1, Some(2)),
            (0, 2, None),
            (1, 0, Some(2)),
            (1, 1, Some(2)),
            (1, 2, None),
            (2, 1, None),
        ];
        for (all, own, wanted) in table {
            assert_eq!(required(all, own), wanted, "all {all}, own {own}");
        }
    }

    // Holds XR-105
    #[test]
    fn changes_what_it_must_and_puts_it_back() {
        let root = std::env::temp_dir().join(format!("cw-health-sysctl-{}", std::process::id()));
        for (interface, value) in [("all", 0), ("eth0", 1), ("eth1", 1), ("eth2", 0)] {
            let path = rp_filter(&root, interface);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write(&path, value).unwrap();
        }
        let values = || ["eth0", "eth1", "eth2"].map(|interface| read(&rp_filter(&root, interface)).unwrap());
        let changed = loosen_under(&root, &node()).unwrap();
        assert_eq!(values(), [1, 2, 0]);
        assert_eq!(loosen_under(&root, &node()).unwrap(), []);
        restore(&changed).unwrap();
        assert_eq!(values(), [1, 1, 0]);
        write(&rp_filter(&root, "eth1"), OFF).unwrap();
        restore(&changed).unwrap();
        assert_eq!(values(), [1, 0, 0], "someone else's change stays");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
