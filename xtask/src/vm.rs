//! `vm load`: does every program load and attach on Debian 12's stock kernel? The 6.1 verifier refuses things that
//! newer ones accept, so it has the last word. Boots the kernel in qemu without hardware virtualisation, which works
//! everywhere, with an initramfs that holds the test program `load_all` and what it needs.

use crate::build;
use crate::command::{cargo, find, output, run as run_command, target};
use crate::initramfs::Archive;
use crate::kernel::{self, Kernel};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Subcommand)]
pub enum Command {
    /// Load and attach every program on Linux 6.1.
    Load,
}

/// How the programs fared.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Programs that loaded and attached.
    pub passed: Vec<String>,
    /// Those that did not, with the reason.
    pub failed: Vec<String>,
    /// Whether the run came to its end.
    pub complete: bool,
}

/// Runs one of the VM's commands.
pub fn run(command: &Command) -> Result<ExitCode> {
    let Command::Load = command;
    let object = build::ebpf()?;
    let report = load(&object)?;
    println!("{} programs load and attach on Linux 6.1, {} do not", report.passed.len(), report.failed.len());
    Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Boots the VM and loads every program of `object` there.
pub fn load(object: &Path) -> Result<Report> {
    let kernel = kernel::find()?;
    run_command(cargo().args(["build", "-p", "tests", "--bin", "load_all"]))?;
    let initramfs = target().join("vm/initramfs");
    fs::write(&initramfs, pack(&kernel, object)?)
        .with_context(|| format!("write {}", initramfs.display()))?;
    let lines = boot(&kernel, &initramfs)?;
    let report = read_report(&lines);
    if !report.complete || report.passed.is_empty() && report.failed.is_empty() {
        let tail = lines.iter().rev().take(40).rev().cloned().collect::<Vec<_>>().join("\n");
        bail!("the VM did not finish loading the programs; its console ended with:\n{tail}");
    }
    Ok(report)
}

/// In the order in which they depend on each other.
const MODULES: [&str; 6] = [
    "drivers/net/veth.ko",
    "net/ipv4/udp_tunnel.ko",
    "net/ipv6/ip6_udp_tunnel.ko",
    "drivers/net/vxlan/vxlan.ko",
    "net/sched/sch_ingress.ko",
    "net/sched/cls_bpf.ko",
];

const INIT: &str = "#!/bin/busybox sh
# Applets by full name: busybox would otherwise prefer its own `ip`.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
$b mount -t bpf bpf /sys/fs/bpf
echo \"vm: Linux $($b uname -r) after $($b cut -d. -f1 /proc/uptime) s\"
for module in MODULES; do $b insmod /modules/$module || echo \"vm: insmod $module failed\"; done
echo 1 > /proc/sys/net/core/bpf_jit_enable
/bin/ip link set lo up
/bin/ip link add veth0 type veth peer name veth1
/bin/ip link set veth0 up
/bin/ip link set veth1 up
/bin/load_all /forwarder veth0
$b poweroff -f
";

fn pack(kernel: &Kernel, object: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for folder in ["proc", "sys", "dev", "tmp", "bin"] {
        archive.folder(folder);
    }
    let stripped = target().join("vm/load_all");
    let built = target().join("debug/load_all");
    output(std::process::Command::new("strip").arg("-o").arg(&stripped).arg(&built))?;
    let ip = program("ip")?;
    let busybox = program("busybox")?;
    let programs = [("bin/busybox", &busybox), ("bin/ip", &ip), ("bin/load_all", &stripped)];
    let mut libraries = BTreeSet::new();
    for (path, from) in programs {
        archive.program(path, from)?;
        libraries.extend(libraries_of(from));
    }
    for library in libraries {
        archive.program(library.to_string_lossy().trim_start_matches('/'), &library)?;
    }
    let mut names = Vec::new();
    for module in MODULES {
        let name = module.rsplit('/').next().unwrap_or(module);
        archive.program(&format!("modules/{name}"), &kernel.modules.join(module))?;
        names.push(name);
    }
    archive.program("forwarder", object)?;
    archive.file("init", INIT.replace("MODULES", &names.join(" ")).as_bytes());
    Ok(archive.finish())
}

fn program(name: &str) -> Result<PathBuf> {
    find(name).with_context(|| format!("{name} is not installed; run `cargo xtask setup`"))
}

/// The shared libraries `program` needs and its loader, where the loader looks for them; none if it is static.
fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let list = output(std::process::Command::new("ldd").arg(program)).unwrap_or_default();
    parse_ldd(&list)
}

fn parse_ldd(list: &str) -> Vec<PathBuf> {
    let words = list.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    words.map(PathBuf::from).collect()
}

/// Booting and loading takes 5 s, 30 s on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Boots and returns what the console showed, echoing it as it comes.
fn boot(kernel: &Kernel, initramfs: &Path) -> Result<Vec<String>> {
    let mut qemu = std::process::Command::new("qemu-system-x86_64");
    // -accel tcg, -cpu max: the same everywhere, with or without /dev/kvm. panic=-1 and -no-reboot: a panic ends it.
    qemu.args(["-accel", "tcg", "-cpu", "max", "-m", "1024", "-no-reboot"]);
    // No screen and no firmware text: the serial line carries our init's output only.
    qemu.args(["-display", "none", "-vga", "none", "-monitor", "none", "-serial", "stdio"]);
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs);
    qemu.args(["-append", "console=ttyS0 quiet panic=-1"]);
    eprintln!("$ qemu-system-x86_64 ... -kernel {}", kernel.image.display());
    let started = Instant::now();
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run qemu-system-x86_64; run `cargo xtask setup`")?;
    let console = BufReader::new(child.stdout.take().expect("piped above"));
    let ended = AtomicBool::new(false);
    let mut lines = Vec::new();
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !ended.load(Ordering::Acquire) && started.elapsed() < LIMIT {
                std::thread::park_timeout(LIMIT.saturating_sub(started.elapsed()));
            }
            if !ended.load(Ordering::Acquire) {
                eprintln!("vm: not done within {LIMIT:?}; ending it");
                // Ends the loop below, which waits for the console. Already gone is fine.
                let _ = child.kill();
            }
        });
        for line in console.split(b'\n').map_while(Result::ok) {
            // Without control characters, which would clear the user's terminal.
            let line: String = String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).collect();
            eprintln!("  | {line}");
            lines.push(line);
        }
        ended.store(true, Ordering::Release);
        watch.thread().unpark();
    });
    child.wait()?;
    eprintln!("vm: {:.0} s", started.elapsed().as_secs_f32());
    Ok(lines)
}

fn read_report(lines: &[String]) -> Report {
    let mut report = Report::default();
    for line in lines {
        if let Some(name) = line.strip_prefix("ok ") {
            report.passed.push(name.to_owned());
        } else if let Some(reason) = line.strip_prefix("FAIL ") {
            report.failed.push(reason.to_owned());
        } else if line.starts_with("LOAD-ALL ") {
            report.complete = true;
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        read_report(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn reads_each_programs_fate_from_the_console() {
        let found =
            report("vm: Linux 6.1\nok xdp_ingress\nFAIL tc_egress: verifier: too big\nLOAD-ALL FAIL\n");
        assert_eq!(found.passed, ["xdp_ingress"]);
        assert_eq!(found.failed, ["tc_egress: verifier: too big"]);
        assert!(found.complete);
        assert!(!report("ok xdp_ingress\nKernel panic").complete);
    }

    #[test]
    fn libraries_are_those_with_a_path() {
        let list = "\tlinux-vdso.so.1 (0x0)\n\tlibc.so.6 => /lib/libc.so.6 (0x0)\n\t/lib64/ld.so.2 (0x0)\n";
        assert_eq!(parse_ldd(list), [PathBuf::from("/lib/libc.so.6"), PathBuf::from("/lib64/ld.so.2")]);
        assert_eq!(parse_ldd("\tstatically linked\n"), Vec::<PathBuf>::new());
    }
}
