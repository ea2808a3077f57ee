//! `setup`: installs what is missing, and says what and how to undo it. Does nothing, fast, when all is there.

use crate::command::{cargo, cargo_bin, is_root, run as run_command};
use crate::kernel;
use crate::requirement::{EBPF_COMPILER, Finding, LINKER_LIBRARIES, Package, TOOLS, component};
use crate::toolchain::{Toolchain, find_linker, find_toolchain};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Makes the machine ready for every other command.
pub fn run() -> Result<ExitCode> {
    let mut undo = Vec::new();
    // Where rustup's nightly serves, Debian's compiler is not needed.
    let uses_debian = match find_toolchain() {
        Ok(Toolchain::Precompiled { rustc, .. }) => rustc == Path::new("/usr/bin/rustc"),
        Ok(Toolchain::Nightly) => false,
        Err(_) => true,
    };
    let has_linker = find_linker().is_ok();
    let mut wanted: Vec<&Package> = TOOLS.iter().collect();
    if uses_debian {
        wanted.extend(&EBPF_COMPILER);
    }
    if !has_linker {
        wanted.extend(&LINKER_LIBRARIES);
    }
    let missing: Vec<_> = wanted.into_iter().filter(|package| !package.is_there()).collect();
    if !missing.is_empty() {
        install(&missing)?;
        let names: Vec<_> = missing.iter().map(|package| package.name).collect();
        undo.push(format!("apt-get remove --autoremove {}", names.join(" ")));
        if names.contains(&"nginx") {
            println!(
                "nginx's own service was not started; `systemctl disable nginx` keeps it off after a reboot"
            );
        }
    }
    if !has_linker {
        println!("building bpf-linker 0.13.0: links eBPF programs; takes a minute or two");
        let mut install = cargo();
        // LLVM_PREFIX: without it the linker's own build does not find LLVM's library.
        install.env("LLVM_PREFIX", "/usr/lib/llvm-22").args(["install", "bpf-linker", "--version", "0.13.0"]);
        run_command(install.args(["--locked", "--no-default-features", "--features", "llvm-22"]))?;
        undo.push("cargo uninstall bpf-linker".to_owned());
        find_linker().with_context(|| format!("looked in PATH and {:?}", cargo_bin()))?;
    }
    for (subcommand, name) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if matches!(component(subcommand, name), Finding::Missing(..)) {
            println!("adding {name}: `cargo xtask lint` uses it");
            run_command(Command::new("rustup").args(["component", "add", name]))?;
            undo.push(format!("rustup component remove {name}"));
        }
    }
    if kernel::find().is_err() {
        println!(
            "fetching Debian's stock 6.1 kernel into target/vm: `cargo xtask vm load` boots it; not installed"
        );
        kernel::fetch()?;
        undo.push("rm -r target/vm".to_owned());
    }
    find_toolchain()?;
    if undo.is_empty() {
        println!("setup: everything is there");
    } else {
        println!("setup: done; to undo what it did now:");
        undo.iter().for_each(|line| println!("  {line}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn install(packages: &[&Package]) -> Result<()> {
    println!("installing by apt-get:");
    packages.iter().for_each(|package| println!("  {:<26} {}", package.name, package.purpose));
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
                use std::io::Write;
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
