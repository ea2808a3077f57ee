//! `bench health`: what probing 1,000 servers in 100 groups costs, and how much memory the program then takes.
//!
//! The servers are the lab's crowd, which answers at an address of its own for each. Nothing else happens meanwhile: the
//! time is that of probes, of what their results mean, and of the program's own housekeeping.

use crate::balancer::Balancer;
use crate::{build, setup};
use anyhow::{Context, Result, ensure};
use causeway_lab::usage::{self, Usage};
use causeway_lab::{ExtraServer, Lab, LabOptions, Variant, crowd_address, resources_yaml};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
#[command(after_help = "\
Prints the share of one core (user and system time of our processes) and resident memory, with checks at their \
defaults: HTTP, then TCP. BPF maps are kernel memory and are listed apart. Takes about two minutes. Needs root.

Example:
  cargo xtask bench health --check")]
pub struct Arguments {
    /// Seconds to measure, after every server was found healthy.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Exit code 1 if more than 10 % of a core or 50 MB of memory is taken.
    #[arg(long)]
    check: bool,
}

const GROUPS: u16 = 100;
const SERVERS_PER_GROUP: u16 = 10;
const CORE_PERCENT_MAX: f64 = 10.0;
const RESIDENT_BYTES_MAX: u64 = 50_000_000;
const START_LIMIT: Duration = Duration::from_secs(120);

/// What was measured for one protocol.
struct Figures {
    core_percent: f64,
    resident_bytes: u64,
    map_bytes: u64,
}

/// Measures and prints. Exit code 1 if asked to check and a target is missed.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::run(setup::Scope::Demo)?;
    let program = build::balancer()?;
    println!("{} servers in {GROUPS} groups, checked every 2 s", GROUPS * SERVERS_PER_GROUP);
    println!("{:<8} {:>14} {:>12} {:>14}", "", "% of one core", "resident MB", "BPF maps MB");
    let mut missed = 0;
    for protocol in ["HTTP", "TCP"] {
        let options = LabOptions {
            id: "benchhealth".into(),
            big_file_bytes: 0,
            extra_servers: vec![ExtraServer::crowd()],
            ..LabOptions::default()
        };
        let lab = Lab::up(options)?;
        fs::write(lab.layout().resources_file(), resources(protocol)?)?;
        let mut balancer = Balancer::start(&lab, &program)?;
        balancer.wait_until_healthy(START_LIMIT)?;
        let found = measure(balancer.id(), Duration::from_secs(arguments.seconds))?;
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let is_fine = found.core_percent <= CORE_PERCENT_MAX && found.resident_bytes <= RESIDENT_BYTES_MAX;
        missed += u32::from(!is_fine);
        println!(
            "{protocol:<8} {:>14.1} {:>12.1} {:>14.1}  {}",
            found.core_percent,
            megabytes(found.resident_bytes),
            megabytes(found.map_bytes),
            if is_fine { "ok" } else { "missed" },
        );
    }
    ensure!(
        !arguments.check || missed == 0,
        "more than {CORE_PERCENT_MAX} % of a core, or more than {} MB",
        RESIDENT_BYTES_MAX / 1_000_000
    );
    Ok(ExitCode::SUCCESS)
}

fn measure(process: u32, length: Duration) -> Result<Figures> {
    let (before, began) = (usage::of(process), Instant::now());
    std::thread::sleep(length);
    let (Usage { cpu, resident_bytes }, took) = (usage::of(process), began.elapsed());
    let core_percent = (cpu - before.cpu).as_secs_f64() / took.as_secs_f64() * 100.0;
    Ok(Figures { core_percent, resident_bytes, map_bytes: map_bytes(process)? })
}

/// Kernel memory of the BPF maps that the process holds (`memlock` in proc(5) fdinfo), each map once.
fn map_bytes(process: u32) -> Result<u64> {
    let folder = format!("/proc/{process}/fdinfo");
    let mut maps: BTreeMap<u64, u64> = BTreeMap::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {folder}"))? {
        // One that closed since it was listed is no map.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let value =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(bytes)) = (value("map_id:"), value("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.into_values().sum())
}

/// The tutorial's networks with the crowd in 100 groups, each behind a listener of its own.
fn resources(protocol: &str) -> Result<String> {
    let tutorial = resources_yaml(Variant::default());
    let (networks, _) = tutorial.split_once("server_groups:").context("the tutorial has server groups")?;
    let mut text = format!("{networks}server_groups:\n");
    for group in 0..GROUPS {
        writeln!(text, "  - name: crowd-{group}\n    type: Ip\n    vpc: vpc1\n    protocol: {protocol}")?;
        writeln!(text, "    health_check: {{enabled: true, protocol: {protocol}}}\n    servers:")?;
        for server in 0..SERVERS_PER_GROUP {
            let address = crowd_address(group * SERVERS_PER_GROUP + server);
            writeln!(text, "      - {{address: {address}, port: 80, weight: 100}}")?;
        }
    }
    text.push_str("listeners:\n");
    for group in 0..GROUPS {
        let port = 10_000 + group;
        writeln!(
            text,
            "  - {{name: crowd-{group}, load_balancer: alb1, protocol: {protocol}, port: {port}, \
             server_group: crowd-{group}}}"
        )?;
    }
    Ok(text)
}
