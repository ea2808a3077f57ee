//! Format, lints on both targets, repository rules.

use crate::command::{cargo, run as run_command, target};
use crate::toolchain::find_toolchain;
use crate::{build, tidy};
use anyhow::{Result, bail};

type Check = fn() -> Result<()>;

/// Runs every check, the quickest first, all of them whatever the first ones find.
pub fn run() -> Result<()> {
    let checks: [(&str, Check); 4] =
        [("rules", tidy::run), ("format", format), ("eBPF crate", ebpf), ("workspace", workspace)];
    let mut failed = Vec::new();
    for (name, check) in checks {
        if let Err(error) = check() {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint: {} failed; see above", failed.join(", "));
    }
    eprintln!("lint: nothing found");
    Ok(())
}

fn format() -> Result<()> {
    let workspace = run_command(cargo().args(["fmt", "--all", "--check"]));
    run_command(cargo().args(["fmt", "--manifest-path", "forwarder-ebpf/Cargo.toml", "--check"]))?;
    workspace
}

fn workspace() -> Result<()> {
    // The controller embeds the object: without it, clippy could not even expand it.
    build::ebpf()?;
    run_command(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// The BPF crate by clippy of the compiler that builds it, or by that compiler alone where it came without.
fn ebpf() -> Result<()> {
    let toolchain = find_toolchain()?;
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
