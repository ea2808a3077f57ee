//! `setup`: installs what is missing, and says what and how to undo it. Does nothing, fast, when all is there.

use crate::clients;
use crate::command::{cargo, cargo_bin, is_root, run as run_command, target};
use crate::kernel;
use crate::requirement::{EBPF_COMPILER, Finding, LINKER_LIBRARIES, Package, TOOLS, component};
use crate::toolchain::{Toolchain, find_linker, find_toolchain};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// For what a machine is made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every command of ours.
    Everything,
    /// `cargo xtask demo`: neither lint nor VM.
    Demo,
}

/// Makes the machine ready. What was done, and how to undo it, is told and kept for [`undo`].
pub fn run(scope: Scope) -> Result<()> {
    let all = scope == Scope::Everything;
    let mut done = Vec::new();
    let has_linker = find_linker().is_ok();
    install_and_keep(&missing_packages(scope, has_linker), &mut done)?;
    if !has_linker {
        eprintln!("building bpf-linker 0.13.0: links eBPF programs; takes a minute or two");
        let mut install = cargo();
        // LLVM_PREFIX: without it the linker's own build does not find LLVM's library.
        install.env("LLVM_PREFIX", "/usr/lib/llvm-22").args(["install", "bpf-linker", "--version", "0.13.0"]);
        run_command(install.args(["--locked", "--no-default-features", "--features", "llvm-22"]))?;
        keep(&mut done, "cargo uninstall bpf-linker".to_owned())?;
        find_linker().with_context(|| format!("looked in PATH and {:?}", cargo_bin()))?;
    }
    let components = [("fmt", "rustfmt"), ("clippy", "clippy")];
    for (subcommand, name) in components.into_iter().filter(|_| all) {
        if matches!(component(subcommand, name), Finding::Missing(..)) {
            eprintln!("adding {name}: `cargo xtask lint` uses it");
            run_command(Command::new("rustup").args(["component", "add", name]))?;
            keep(&mut done, format!("rustup component remove {name}"))?;
        }
    }
    if all && kernel::find().is_err() {
        eprintln!(
            "fetching Debian's stock 6.1 kernel into target/vm: `cargo xtask vm load` boots it; not installed"
        );
        kernel::fetch()?;
        keep(&mut done, "rm -r target/vm".to_owned())?;
    }
    if all && clients::find().is_err() {
        eprintln!("installing gRPC, HTTP/3 and WebSocket clients for tests into target/clients, by pip");
        clients::install()?;
        keep(&mut done, "rm -r target/clients".to_owned())?;
    }
    find_toolchain()?;
    if done.is_empty() {
        eprintln!("setup: everything is there");
    } else {
        eprintln!("setup: done; to undo what it did now:");
        done.iter().for_each(|line| eprintln!("  {line}"));
    }
    Ok(())
}

/// Installs those of [`TOOLS`] that are named and missing: for a command that needs few of them.
pub fn tools(names: &[&str]) -> Result<()> {
    let missing: Vec<_> =
        TOOLS.iter().filter(|package| names.contains(&package.name) && !package.is_there()).collect();
    install_and_keep(&missing, &mut Vec::new())
}

fn install_and_keep(missing: &[&Package], done: &mut Vec<String>) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    install(missing)?;
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    keep(done, format!("apt-get remove --autoremove {}", names.join(" ")))?;
    for service in names.iter().filter(|name| ["nginx", "haproxy"].contains(name)) {
        eprintln!(
            "{service}'s own service was not started; `systemctl disable {service}` keeps it off after a reboot"
        );
    }
    Ok(())
}

/// What undoes everything that setup has done here so far, the latest first. Empty if it found all in place.
pub fn undo() -> Vec<String> {
    let text = fs::read_to_string(undo_file()).unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().rev() {
        if !lines.iter().any(|known| known == line) {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// Remembers what undoes a thing just done, at once: what comes next may fail.
fn keep(done: &mut Vec<String>, line: String) -> Result<()> {
    let path = undo_file();
    let place = || format!("write {}", path.display());
    fs::create_dir_all(target()).with_context(place)?;
    let mut file = fs::File::options().create(true).append(true).open(&path).with_context(place)?;
    writeln!(file, "{line}").with_context(place)?;
    done.push(line);
    Ok(())
}

fn undo_file() -> PathBuf {
    target().join("undo-setup")
}

fn missing_packages(scope: Scope, has_linker: bool) -> Vec<&'static Package> {
    // Where rustup's nightly serves, Debian's compiler is not needed.
    let uses_debian = match find_toolchain() {
        Ok(Toolchain::Precompiled { rustc, .. }) => rustc == Path::new("/usr/bin/rustc"),
        Ok(Toolchain::Nightly) => false,
        Err(_) => true,
    };
    let compiler = EBPF_COMPILER.iter().filter(|_| uses_debian);
    let libraries = LINKER_LIBRARIES.iter().filter(|_| !has_linker);
    let wanted = TOOLS.iter().chain(compiler).chain(libraries);
    let in_scope = |package: &&Package| scope == Scope::Everything || package.is_for_demo();
    wanted.filter(in_scope).filter(|package| !package.is_there()).collect()
}

fn install(packages: &[&Package]) -> Result<()> {
    eprintln!("installing by apt-get:");
    packages.iter().for_each(|package| eprintln!("  {:<26} {}", package.name, package.purpose));
    let names = packages.iter().map(|package| package.name);
    if !is_root() {
        let names: Vec<_> = names.collect();
        bail!("installing takes root; run `sudo apt-get install {}`, then this again", names.join(" "));
    }
    let _quiet = NoServices::begin()?;
    run_command(Command::new("apt-get").args(["-q", "update"]))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y", "--no-install-recommends", "install"]);
    run_command(install.args(names))
}

/// While it lives, packages do not start their services when they are installed: nginx would take port 80 of this
/// host. The way is Debian's own, the file policy-rc.d; one that exists is left as it is.
struct NoServices {
    made: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Result<NoServices> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = fs::File::options().write(true).create_new(true).mode(0o755).open(POLICY);
        match file {
            Ok(mut file) => {
                // 101: action forbidden by policy.
                file.write_all(b"#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
                Ok(NoServices { made: true })
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(NoServices { made: false }),
            Err(error) => Err(error).with_context(|| format!("write {POLICY}")),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.made
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!(
                "remove {POLICY}: {error}; remove it yourself, or services will not start when installed"
            );
        }
    }
}
