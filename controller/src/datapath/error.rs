//! What can go wrong between us and the kernel.

use std::io;
use std::path::PathBuf;

/// An error of the datapath.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// No privileges.
    #[error("loading the datapath needs root (CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON): run causeway as root")]
    NotPermitted,
    /// No BPF.
    #[error(
        "this kernel has no BPF ({0}): use a kernel 6.1 or newer built with CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT and CONFIG_DEBUG_INFO_BTF"
    )]
    NoBpf(String),
    /// The pin directory is not on a bpffs.
    #[error(
        "{path} is not on a bpf filesystem: mount one with `mount -t bpf bpf /sys/fs/bpf`, or set \"bpf_dir\" to a directory on one"
    )]
    NotBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// A pinned map of another release.
    #[error(
        "pinned map {path} has {found}, this release needs {wanted}: run `causeway unload` to remove the old maps (flows in progress end)"
    )]
    Shape {
        /// The pin.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// The kernel refused the object or a program.
    #[error("load the datapath: {0}")]
    Load(String),
    /// A program could not be attached.
    #[error("attach {program} to interface {interface}: {reason}")]
    Attach {
        /// The program.
        program: &'static str,
        /// The interface.
        interface: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// A map could not be read or written.
    #[error("map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why not.
        source: aya::maps::MapError,
    },
    /// A file operation in the pin directory failed.
    #[error("{path}: {source}")]
    Pin {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A system call failed.
    #[error("{call}: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A program could not be run on a packet.
    #[error(
        "run {program} on {bytes} bytes from interface {ifindex}: {reason}; the interface must exist in this network namespace and, for XDP, have the program attached"
    )]
    Run {
        /// The program.
        program: &'static str,
        /// The interface's index.
        ifindex: u32,
        /// Length of the packet.
        bytes: usize,
        /// Why not.
        reason: String,
    },
    /// The programs' log could not be opened.
    #[error("open the programs' log: {0}")]
    Log(String),
}

impl DatapathError {
    /// An error of loading, told apart by cause where the cause has a remedy.
    pub(super) fn load(error: impl std::error::Error + 'static) -> DatapathError {
        let mut text = String::new();
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                match io.raw_os_error() {
                    Some(libc::EPERM | libc::EACCES) if !is_root() => return DatapathError::NotPermitted,
                    Some(libc::ENOSYS) => return DatapathError::NoBpf(io.to_string()),
                    _ => {}
                }
            }
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            cause = error.source();
        }
        DatapathError::Load(text)
    }
}

/// The reasons of a failure, outermost first.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Whether this process has root's user id.
pub(super) fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}
