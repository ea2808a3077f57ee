//! Finding a compiler for the BPF target. Two kinds serve:
//!
//! - one whose distribution ships `core` for bpfel-unknown-none, such as Debian's rustc with libstd-rust-web-dev-bpf;
//! - rustup's nightly with the rust-src component, which builds `core` itself.
//!
//! Both need bpf-linker, linked against an LLVM at least as new as the compiler's.

use crate::command::{self, cargo_bin, find};
use anyhow::{Result, bail};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of every BPF program here.
pub const TARGET: &str = "bpfel-unknown-none";

/// A compiler that can build for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// Its sysroot has `core` for the target; the compiler and the cargo beside it.
    Precompiled {
        /// The compiler.
        rustc: PathBuf,
        /// Cargo of the same age.
        cargo: PathBuf,
    },
    /// rustup's nightly with rust-src.
    Nightly,
}

impl Toolchain {
    /// `cargo SUBCOMMAND` for the BPF crate, with everything this compiler needs but the crate's own options.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self {
            Toolchain::Precompiled { rustc, cargo } => {
                let mut command = Command::new(cargo);
                // aya-ebpf uses unstable features, which a stable compiler accepts only so.
                command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").arg(subcommand);
                command
            }
            Toolchain::Nightly => {
                let mut command = Command::new("cargo");
                command.args(["+nightly", subcommand, "-Z", "build-std=core"]);
                command
            }
        };
        // What the outer cargo said to us is about another compiler.
        for name in
            ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"]
        {
            command.env_remove(name);
        }
        command.env("PATH", path(self)).args(["--release", "--target", TARGET]);
        command.current_dir(command::root().join("forwarder-ebpf"));
        command
    }

    /// Whether clippy of this compiler is there.
    pub fn has_clippy(&self) -> bool {
        match self {
            Toolchain::Precompiled { cargo, .. } => cargo.with_file_name("clippy-driver").is_file(),
            Toolchain::Nightly => {
                command::output(Command::new("cargo").args(["+nightly", "clippy", "--version"])).is_ok()
            }
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Toolchain::Precompiled { rustc, .. } => {
                write!(out, "{}, which has `core` for {TARGET}", rustc.display())
            }
            Toolchain::Nightly => write!(out, "rustup's nightly with rust-src"),
        }
    }
}

/// PATH with the compiler's folder first, so that its cargo finds its own clippy, and bpf-linker's last.
fn path(toolchain: &Toolchain) -> std::ffi::OsString {
    let now = std::env::var_os("PATH").unwrap_or_default();
    let own = match toolchain {
        Toolchain::Precompiled { cargo, .. } => cargo.parent().map(Path::to_owned),
        Toolchain::Nightly => None,
    };
    let folders: Vec<_> = own.into_iter().chain(std::env::split_paths(&now)).chain(cargo_bin()).collect();
    std::env::join_paths(folders).unwrap_or(now)
}

/// The compiler to use, or what to type to have one.
pub fn find_toolchain() -> Result<Toolchain> {
    let debian = PathBuf::from("/usr/bin/rustc");
    for rustc in [Some(debian), find("rustc")].into_iter().flatten().filter(|file| file.is_file()) {
        if has_target(&rustc) {
            let beside = rustc.with_file_name("cargo");
            let cargo = if beside.is_file() { beside } else { PathBuf::from("cargo") };
            return Ok(Toolchain::Precompiled { rustc, cargo });
        }
    }
    if nightly_has_sources() {
        return Ok(Toolchain::Nightly);
    }
    bail!(
        "no compiler for {TARGET}; run `cargo xtask setup`, or \
         `rustup toolchain install nightly --component rust-src`"
    )
}

/// Where bpf-linker is, or what to type to have it.
pub fn find_linker() -> Result<PathBuf> {
    let Some(linker) = find("bpf-linker") else {
        bail!("bpf-linker is not installed; run `cargo xtask setup`, or `cargo binstall bpf-linker`");
    };
    Ok(linker)
}

fn has_target(rustc: &Path) -> bool {
    let mut command = Command::new(rustc);
    // Debian's compiler shall speak for itself, not for the toolchain that cargo runs us with.
    command.env_remove("RUSTUP_TOOLCHAIN").args(["--print", "sysroot"]);
    let Ok(sysroot) = command::output(&mut command) else { return false };
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib");
    let mut files = std::fs::read_dir(libraries).into_iter().flatten().flatten();
    files.any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
}

fn nightly_has_sources() -> bool {
    let Some(rustup) = find("rustup") else { return false };
    let Ok(sysroot) =
        command::output(Command::new(rustup).args(["run", "nightly", "rustc", "--print", "sysroot"]))
    else {
        return false;
    };
    Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
}
