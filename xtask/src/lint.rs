//! Format, lints on both targets, repository rules.

use crate::command::{cargo, run as run_command, target};
use crate::toolchain::{Toolchain, find_toolchain};
use crate::{build, tidy};
use anyhow::Result;

/// Runs every check, the quickest first; fails at the first that finds something.
pub fn run() -> Result<()> {
    tidy::run()?;
    run_command(cargo().args(["fmt", "--all", "--check"]))?;
    run_command(cargo().args(["fmt", "--manifest-path", "forwarder-ebpf/Cargo.toml", "--check"]))?;
    ebpf(&find_toolchain()?)?;
    // The controller embeds the object: without it, clippy could not even expand it.
    build::ebpf()?;
    run_command(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// The BPF crate by clippy of the compiler that builds it, or by that compiler alone where it came without.
fn ebpf(toolchain: &Toolchain) -> Result<()> {
    let has_clippy = toolchain.has_clippy();
    let mut check = toolchain.cargo(if has_clippy { "clippy" } else { "check" });
    check.arg("--target-dir").arg(target().join("ebpf/lint"));
    if has_clippy {
        check.args(["--", "-D", "warnings"]);
    } else {
        eprintln!("no clippy for the eBPF compiler (`cargo xtask setup` installs it); its own warnings only");
        check.env("RUSTFLAGS", "-D warnings");
    }
    run_command(&mut check)
}
