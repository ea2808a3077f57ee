//! Building: the BPF object first, because the controller embeds it.

use crate::command::{cargo, root, run, target};
use crate::toolchain::{TARGET, find_linker, find_toolchain};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Builds the BPF object and returns where it is: always `target/ebpf/forwarder`.
pub fn ebpf() -> Result<PathBuf> {
    let toolchain = find_toolchain()?;
    find_linker()?;
    let build = target().join("ebpf/build");
    run(toolchain.cargo("build").arg("--target-dir").arg(&build))?;
    let built = build.join(TARGET).join("release/forwarder");
    let object = object();
    copy_if_different(&built, &object)?;
    Ok(object)
}

/// Where the BPF object is, once built.
pub fn object() -> PathBuf {
    target().join("ebpf/forwarder")
}

/// Builds the BPF object, then, optimised, the controller that embeds it. Returns where the program is.
pub fn balancer() -> Result<PathBuf> {
    ebpf()?;
    run(cargo().args(["build", "--release", "-p", "controller"]))?;
    Ok(target().join("release/causeway"))
}

/// Builds the BPF object, then the workspace.
pub fn all(release: bool) -> Result<()> {
    ebpf()?;
    let mut build = cargo();
    build.args(["build", "--workspace"]);
    if release {
        build.arg("--release");
    }
    run(&mut build)?;
    let folder = if release { "release" } else { "debug" };
    eprintln!("built: {}", root().join("target").join(folder).join("causeway").display());
    Ok(())
}

/// An unchanged object keeps its time, so that cargo does not rebuild what embeds it.
fn copy_if_different(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(to, new).with_context(|| format!("write {}", to.display()))
}
