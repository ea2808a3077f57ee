//! What building, testing and playing need, in one table for `setup` and `doctor`.

use crate::clients;
use crate::command::{self, find, is_root};
use crate::kernel;
use crate::toolchain::{find_linker, find_toolchain};
use std::path::Path;
use std::process::Command;

/// A program or folder that a Debian package brings.
pub struct Package {
    /// Its name for apt-get.
    pub name: &'static str,
    /// What is there when it is installed: a program's name, or the path of a file.
    pub sign: &'static str,
    /// What it is for; begins with its [`area`](Package::area) and a colon.
    pub purpose: &'static str,
}

/// What the lab, the tests and the VM call.
pub const TOOLS: [Package; 26] = [
    package("iproute2", "ip", "lab: namespaces, links, routes"),
    package("procps", "sysctl", "lab: kernel settings inside namespaces"),
    package("ethtool", "ethtool", "lab: offloads of its interfaces"),
    package("nftables", "nft", "lab: silent drops and firewalls"),
    package("nginx", "nginx", "lab: the tutorial's web servers (its own service is not started)"),
    package("dnsmasq-base", "dnsmasq", "lab: the domain that leads to the balancer (no service)"),
    package("curl", "curl", "tests: an independent HTTP client"),
    package(
        "libnginx-mod-http-lua",
        "/usr/lib/nginx/modules/ngx_http_lua_module.so",
        "tests: web servers that misbehave when told to",
    ),
    package("openssl", "openssl", "tests: certificates of the lab's servers"),
    package("python3", "/usr/bin/python3", "tests: the HTTP function and the gRPC server"),
    package(
        "python3-venv",
        "/var/lib/dpkg/info/python3-venv.list",
        "tests: a place of their own for Python clients",
    ),
    package("python3-grpcio", "/usr/lib/python3/dist-packages/grpc", "tests: a real gRPC server"),
    package("tcpdump", "tcpdump", "lab: looking at packets"),
    package("bpftool", "bpftool", "lab: looking at programs and maps"),
    package("iperf3", "iperf3", "bench: throughput through the tunnel"),
    package("wrk", "wrk", "bench: requests per second"),
    package(
        "nghttp2-client",
        "h2load",
        "tests: an independent HTTP/2 client; bench: requests per second by it",
    ),
    package("haproxy", "haproxy", "bench: to compare with (its own service is not started)"),
    package("qemu-system-x86", "qemu-system-x86_64", "vm: Debian's stock kernel without rebooting"),
    package("busybox-static", "busybox", "vm: its shell"),
    package("binutils", "strip", "vm: a smaller initramfs"),
    package("g++", "c++", "fuzz: compiler of libFuzzer, which comes as source in a crate"),
    package("util-linux", "unshare", "doctor: trying kernel features where nobody sees them"),
    package("gcc", "cc", "building: linker and C compiler of Rust crates"),
    package("libc6-dev", "/usr/include/stdlib.h", "building: headers of the C library"),
    package("ca-certificates", "/etc/ssl/certs/ca-certificates.crt", "building: fetching crates"),
];

/// A compiler for the BPF target; not needed where rustup's nightly has rust-src.
pub const EBPF_COMPILER: [Package; 4] = [
    package("rustc-web", "/usr/bin/rustc", "eBPF: compiler"),
    package("cargo-web", "/usr/bin/cargo", "eBPF: cargo of the same age"),
    package(
        "libstd-rust-web-dev-bpf",
        "/var/lib/dpkg/info/libstd-rust-web-dev-bpf.list",
        "eBPF: `core` for the BPF target",
    ),
    package("rust-web-clippy", "/usr/bin/clippy-driver", "lint: clippy for the BPF crate"),
];

/// What bpf-linker is built from; not needed where a bpf-linker is installed.
pub const LINKER_LIBRARIES: [Package; 6] = [
    package("g++", "c++", "bpf-linker: the C++ library that LLVM needs"),
    package("llvm-22-dev", "/usr/lib/llvm-22/include/llvm-c", "bpf-linker: LLVM as new as the compiler's"),
    package("libpolly-22-dev", "/usr/lib/llvm-22/lib/libPolly.a", "bpf-linker: part of LLVM"),
    package("libzstd-dev", "/usr/include/zstd.h", "bpf-linker: library of LLVM"),
    package("zlib1g-dev", "/usr/include/zlib.h", "bpf-linker: library of LLVM"),
    package("libxml2-dev", "/usr/include/libxml2", "bpf-linker: library of LLVM"),
];

const fn package(name: &'static str, sign: &'static str, purpose: &'static str) -> Package {
    Package { name, sign, purpose }
}

/// Areas of purpose that `cargo xtask demo` needs.
const DEMO_AREAS: [&str; 4] = ["lab", "building", "eBPF", "bpf-linker"];

impl Package {
    /// The part of the work that calls it: `lab`, `tests`, `bench`...
    fn area(&self) -> &'static str {
        self.purpose.split(':').next().unwrap_or_default()
    }

    /// Whether `cargo xtask demo` needs it.
    pub fn is_for_demo(&self) -> bool {
        DEMO_AREAS.contains(&self.area())
    }

    /// Whether its sign is there, whoever installed it.
    pub fn is_there(&self) -> bool {
        if self.sign.starts_with('/') { Path::new(self.sign).exists() } else { find(self.sign).is_some() }
    }
}

/// What was found out about one requirement.
pub enum Finding {
    /// Met; what was found.
    Met(String),
    /// Not met; what was found, and the command that repairs it.
    Missing(String, String),
    /// Could not be looked at; why.
    Unknown(String),
}

/// One thing that `doctor` looks at.
pub struct Requirement {
    /// What it is called.
    pub name: String,
    /// Whether `cargo xtask demo` needs it.
    pub for_demo: bool,
    /// What was found out.
    pub finding: Finding,
}

/// Everything `doctor` looks at.
pub fn examine() -> Vec<Requirement> {
    let requirement =
        |name: &str, for_demo, finding| Requirement { name: name.to_owned(), for_demo, finding };
    let mut all = vec![
        requirement("root", true, root()),
        requirement("kernel", true, kernel_version()),
        requirement(
            "kernel BTF",
            true,
            file("/sys/kernel/btf/vmlinux", "use a kernel built with CONFIG_DEBUG_INFO_BTF"),
        ),
        requirement("bpffs", true, bpffs()),
    ];
    let tries = [
        (
            "veth and bridge",
            "ip link add t0 type veth peer name t1 && ip link add t2 type bridge",
            "veth bridge",
        ),
        ("VXLAN", "ip link add t0 type vxlan id 1 dstport 4789", "vxlan"),
        (
            "nftables in the kernel",
            "nft 'table inet t { chain c { type filter hook input priority 0; }; }'",
            "nf_tables",
        ),
    ];
    all.extend(
        tries.map(|(name, script, modules)| requirement(name, true, try_in_own_network(script, modules))),
    );
    let toolchain = find_toolchain().map(|toolchain| toolchain.to_string());
    let linker = find_linker().map(|path| path.display().to_string());
    let kernel = kernel::find().map(|kernel| kernel.image.display().to_string());
    let clients = clients::find().map(|path| path.display().to_string());
    all.extend([
        requirement("rustfmt", false, component("fmt", "rustfmt")),
        requirement("clippy", false, component("clippy", "clippy")),
        requirement("eBPF compiler", true, found(toolchain)),
        requirement("bpf-linker", true, found(linker)),
        requirement("VM kernel", false, found(kernel)),
        requirement("Python clients", false, found(clients)),
    ]);
    all.extend(TOOLS.iter().map(|package| {
        let finding = if package.is_there() {
            Finding::Met(package.purpose.to_owned())
        } else {
            Finding::Missing(package.purpose.to_owned(), format!("apt-get install {}", package.name))
        };
        requirement(package.sign.rsplit('/').next().unwrap_or(package.sign), package.is_for_demo(), finding)
    }));
    all
}

fn root() -> Finding {
    if is_root() {
        return Finding::Met("for namespaces and BPF".to_owned());
    }
    let what = "an ordinary user: enough for build, lint and `test unit`".to_owned();
    Finding::Missing(what, "sudo -E cargo xtask ...".to_owned())
}

/// The oldest kernel on which the programs are loaded by `cargo xtask vm load`.
const OLDEST: (u32, u32) = (6, 1);

fn kernel_version() -> Finding {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_owned();
    match parse_release(&release) {
        Some(version) if version >= OLDEST => Finding::Met(release),
        _ => Finding::Missing(release, "use Linux 6.1 or newer (Debian 12 or newer)".to_owned()),
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn file(path: &str, repair: &str) -> Finding {
    if Path::new(path).exists() {
        return Finding::Met(path.to_owned());
    }
    Finding::Missing(format!("no {path}"), repair.to_owned())
}

fn bpffs() -> Finding {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.trim_start_matches("nodev").trim() == "bpf") {
        return Finding::Met("the kernel has it; the lab mounts one of its own".to_owned());
    }
    Finding::Missing("unknown to the kernel".to_owned(), "use a kernel with CONFIG_BPF_SYSCALL".to_owned())
}

/// Runs `script` in a network namespace without a name, which is gone when the script ends.
fn try_in_own_network(script: &str, modules: &str) -> Finding {
    if !is_root() {
        return Finding::Unknown("can only be tried as root".to_owned());
    }
    let program = script.split(' ').next().unwrap_or_default();
    if find(program).is_none() {
        return Finding::Unknown(format!("cannot be tried without {program}"));
    }
    match command::output(Command::new("unshare").args(["--net", "sh", "-c", script])) {
        Ok(_) => Finding::Met("tried, works".to_owned()),
        Err(error) => Finding::Missing(format!("{error:#}"), format!("modprobe -a {modules}")),
    }
}

/// Whether `cargo SUBCOMMAND` works, which rustup's `component` brings.
pub fn component(subcommand: &str, component: &str) -> Finding {
    match command::output(command::cargo().args([subcommand, "--version"])) {
        Ok(version) => Finding::Met(version.trim().to_owned()),
        Err(_) => Finding::Missing("not installed".to_owned(), format!("rustup component add {component}")),
    }
}

fn found(outcome: anyhow::Result<String>) -> Finding {
    outcome.map_or_else(
        |error| Finding::Missing(error.to_string(), "cargo xtask setup".to_owned()),
        Finding::Met,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_says_which_work_calls_it() {
        let areas =
            ["lab", "tests", "bench", "fuzz", "vm", "doctor", "building", "eBPF", "lint", "bpf-linker"];
        for package in TOOLS.iter().chain(&EBPF_COMPILER).chain(&LINKER_LIBRARIES) {
            assert!(areas.contains(&package.area()), "{}: {}", package.name, package.purpose);
        }
    }

    #[test]
    fn the_demo_needs_servers_and_no_virtual_machine() {
        let is_for_demo =
            |name| TOOLS.iter().find(|package| package.name == name).is_some_and(Package::is_for_demo);
        assert!(is_for_demo("nginx") && is_for_demo("iproute2") && is_for_demo("gcc"));
        assert!(!is_for_demo("qemu-system-x86") && !is_for_demo("wrk"));
    }

    #[test]
    fn reads_versions_as_distributions_write_them() {
        assert_eq!(parse_release("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(parse_release("6.18.44"), Some((6, 18)));
        assert_eq!(parse_release("5.15+"), Some((5, 15)));
        assert!(parse_release("5.15.1") < Some(OLDEST));
        assert_eq!(parse_release(""), None);
    }
}
