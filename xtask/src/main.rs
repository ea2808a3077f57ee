//! The only door for people and CI: `cargo xtask COMMAND`. One variant and one module each.

mod balancer;
mod bench;
mod build;
mod clients;
mod command;
mod demo;
mod doctor;
mod fuzz;
mod initramfs;
mod kernel;
mod lab;
mod lint;
mod requirement;
mod requirements;
mod screen;
mod setup;
mod test;
mod tidy;
mod toolchain;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build, check, test and play with Causeway.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// See it work: two regions on this machine, failures and recoveries, live. Installs and builds what it needs.
    Demo(demo::Arguments),
    /// Install what is missing: compiler and linker for eBPF, tools and clients of lab and tests, the VM's kernel.
    Setup,
    /// Say of each requirement whether it is met, and how to meet it.
    Doctor,
    /// Build the BPF object into target/ebpf/forwarder.
    BuildEbpf,
    /// Build the BPF object, then everything for this host.
    Build {
        /// Optimised.
        #[arg(long)]
        release: bool,
    },
    /// Format, clippy on both targets with warnings denied, repository rules.
    Lint,
    /// The repository's own rules alone.
    Tidy,
    /// Run tests and sum up what ran, failed and was skipped.
    Test(test::Arguments),
    /// Search for inputs that break a promise of the HTTP codec, rules or cookies.
    Fuzz(fuzz::Arguments),
    /// Things done in a virtual machine with Debian's stock kernel.
    Vm {
        #[command(subcommand)]
        command: vm::Command,
    },
    /// The tutorial's two regions in network namespaces.
    Lab {
        #[command(subcommand)]
        command: lab::Command,
    },
    /// Measure.
    Bench {
        #[command(subcommand)]
        command: bench::Command,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup => setup::run(setup::Scope::Everything).map(|()| ExitCode::SUCCESS),
        Command::Doctor => doctor::run(),
        Command::BuildEbpf => build::ebpf().map(|_| ExitCode::SUCCESS),
        Command::Build { release } => build::all(release).map(|()| ExitCode::SUCCESS),
        Command::Lint => lint::run().map(|()| ExitCode::SUCCESS),
        Command::Tidy => tidy::run().map(|()| ExitCode::SUCCESS),
        Command::Test(arguments) => test::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Vm { command } => vm::run(&command),
        Command::Lab { command } => lab::run(command),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench { command } => bench::run(&command),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
