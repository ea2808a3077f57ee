//! `bench tunnel`: one TCP flow between the balancer and the other region, through our programs and through the
//! kernel's vxlan device in their place.
//!
//! Two labs stand side by side, alike but for the balancer's end of the tunnel, and are measured in turn; whoever
//! waits costs nothing. The far end of the flow is an address of the other region on the transit router itself:
//! what lies behind the router is the same for both and would only dilute the difference. Without a TCP listener
//! there is nothing for XDP to balance, so unwrapping falls to TC on these veth interfaces, as it is meant to.
//!
//! One flow keeps two CPUs busy, sender on one and receiver on the other, so iperf3's ends are pinned to one each.

use super::iperf::{self, Direction};
use super::ratio::{Pair, summary};
use crate::balancer::Balancer;
use crate::command::find;
use crate::{build, setup};
use anyhow::{Result, bail, ensure};
use causeway_lab::{LB, LB_VSW1, Lab, LabOptions, Offloads, TR1, Variant, resources_yaml};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
#[command(after_help = "\
Prints, for each direction, the median rate of either side, and median, least and greatest of the paired ratios. \
Ratios hold on a busy machine too; rates do not. Takes about 14 s a round. Needs root.

Example:
  cargo xtask bench tunnel --rounds 5 --check")]
pub struct Arguments {
    /// Pairs to measure for each direction and setting; ours first and theirs first in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds per measurement, after one to come up to speed.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Exit code 1 if a median ratio misses its target: up 0.8, down 0.9, 0.9 without offloads.
    #[arg(long)]
    check: bool,
}

/// The far end: an address of the other region's VPC, held by the near transit router.
const FAR_END: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
/// Inner Ethernet addresses that the lab's transit router uses and expects in zone A.
const ROUTER_MAC: &str = "02:00:00:00:01:01";
const BALANCER_MAC: &str = "02:00:00:00:00:0a";
const START_LIMIT: Duration = Duration::from_secs(30);

/// A way to run the lab's interfaces, and what is wanted of it.
struct Setting {
    name: &'static str,
    offloads: Offloads,
    /// Least median ratio up and down (performance targets of the cross-region path).
    targets: [f64; 2],
}

const SETTINGS: [Setting; 2] = [
    Setting { name: "offloads on", offloads: Offloads::All, targets: [0.8, 0.9] },
    Setting { name: "offloads off", offloads: Offloads::None, targets: [0.9, 0.9] },
];

/// Measures and prints. Exit code 1 if asked to check and a target is missed.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::run(setup::Scope::Demo)?;
    ensure!(find("iperf3").is_some(), "iperf3 is missing; `apt-get install iperf3`, or `cargo xtask setup`");
    let program = build::balancer()?;

    println!(
        "one TCP flow, {LB} to {TR1}, Gb/s: ours, and the kernel's vxlan device; {} rounds",
        arguments.rounds
    );
    println!(
        "{:<14} {:<5} {:>6} {:>7} {:>7} {:>6} {:>6} {:>7}",
        "", "", "ours", "kernel", "ratio", "min", "max", "target"
    );
    let mut missed = 0;
    for setting in &SETTINGS {
        let pairs = measure(setting, &program, arguments)?;
        for ((direction, pairs), target) in Direction::ALL.into_iter().zip(&pairs).zip(setting.targets) {
            let found = summary(pairs);
            let verdict = if found.ratio < target { "missed" } else { "ok" };
            missed += usize::from(found.ratio < target);
            println!(
                "{:<14} {:<5} {:>6.1} {:>7.1} {:>7.2} {:>6.2} {:>6.2} {target:>7.1}  {verdict}",
                setting.name,
                direction.name(),
                found.ours,
                found.theirs,
                found.ratio,
                found.ratio_min,
                found.ratio_max,
            );
        }
    }
    if arguments.check && missed > 0 {
        bail!("{missed} of the ratios are below their targets");
    }
    Ok(ExitCode::SUCCESS)
}

/// Pairs of each direction, in the order of [`Direction::ALL`].
fn measure(setting: &Setting, program: &Path, arguments: &Arguments) -> Result<[Vec<Pair>; 2]> {
    let ours = lay_out("benchours", setting.offloads)?;
    let _balancer = run_balancer(&ours, program)?;
    let theirs = lay_out("benchkernel", setting.offloads)?;
    add_kernel_device(&theirs)?;
    let local = Variant::default().local_addresses_a()[0];
    let _servers = [iperf::serve(&ours, TR1, FAR_END)?, iperf::serve(&theirs, TR1, FAR_END)?];
    let rate = |lab, direction| iperf::measure(lab, LB, (local, FAR_END), direction, arguments.seconds);
    let mut pairs = [Vec::new(), Vec::new()];
    for round in 0..arguments.rounds {
        for (direction, pairs) in Direction::ALL.into_iter().zip(&mut pairs) {
            let pair = if round % 2 == 0 {
                let ours = rate(&ours, direction)?;
                Pair { ours, theirs: rate(&theirs, direction)? }
            } else {
                let theirs = rate(&theirs, direction)?;
                Pair { ours: rate(&ours, direction)?, theirs }
            };
            eprintln!(
                "{} {:<4} round {}: ours {:.1}, kernel {:.1}",
                setting.name,
                direction.name(),
                round + 1,
                pair.ours,
                pair.theirs
            );
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

fn lay_out(id: &str, offloads: Offloads) -> Result<Lab> {
    let lab = Lab::up(LabOptions { id: id.into(), offloads, big_file_bytes: 0, ..LabOptions::default() })?;
    lab.run(TR1, &["ip", "addr", "add", &format!("{FAR_END}/32"), "dev", "lo"])?;
    Ok(lab)
}

/// Runs `program` with the lab's settings, but without its TCP listener, and waits until the tunnel carries.
fn run_balancer(lab: &Lab, program: &Path) -> Result<Balancer> {
    let layout = lab.layout();
    let all = resources_yaml(lab.options().variant);
    let http: String = all
        .lines()
        .filter(|line| !line.contains("protocol: TCP, port:"))
        .flat_map(|line| [line, "\n"])
        .collect();
    ensure!(http.len() < all.len(), "the lab's resources have no TCP listener to leave out");
    fs::write(layout.resources_file(), http)?;
    let mut balancer = Balancer::start(lab, program)?;
    balancer.wait_until_healthy(START_LIMIT)?;
    // The remote server is healthy, so something unwraps; where it is not XDP, it is TC.
    let links = lab.run(LB, &["ip", "link", "show"])?;
    ensure!(
        !links.contains("xdp"),
        "without a TCP listener TC is to unwrap on veth, but XDP is attached:\n{links}"
    );
    Ok(balancer)
}

/// The kernel's device in the place of our programs: same outer addresses, VNI, MTU and inner Ethernet addresses, no
/// outer checksum either. Where offloads are off it keeps its own, which makes it faster: it then hands large packets
/// to `eth1`, which cuts them, as it does for ours.
fn add_kernel_device(lab: &Lab) -> Result<()> {
    let local = Variant::default().local_addresses_a()[0];
    let lines = [
        format!("ip addr add {local}/32 dev lo"),
        format!(
            "ip link add vx0 address {BALANCER_MAC} mtu 1450 type vxlan id 101 local {LB_VSW1} remote 172.16.1.254 \
             dstport 4789 dev eth1 nolearning noudpcsum"
        ),
        "ip addr add 169.254.101.2/30 dev vx0".to_owned(),
        "ip link set vx0 up".to_owned(),
        format!("ip neigh add 169.254.101.1 lladdr {ROUTER_MAC} dev vx0 nud permanent"),
        format!("ip route add 192.168.0.0/16 via 169.254.101.1 dev vx0 src {local}"),
    ];
    for line in &lines {
        lab.run(LB, &line.split_whitespace().collect::<Vec<_>>())?;
    }
    Ok(())
}
