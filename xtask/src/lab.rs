//! `lab`: the tutorial's two regions, left standing for playing.

use anyhow::{Context, Result};
use causeway_lab::{
    ECS01_ADDRESS, ECS02_ADDRESS, HOSTS, Lab, LabOptions, Layout, Offloads, VIP_A, VIP_B, Variant,
};
use clap::{Subcommand, ValueEnum};
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Command {
    /// Build it and leave it standing.
    Up {
        /// Which addresses the balancer uses towards servers.
        #[arg(long, value_enum, default_value_t = VariantName::Vswitch)]
        variant: VariantName,
        /// What interfaces leave to hardware they do not have.
        #[arg(long, value_enum, default_value_t = OffloadsName::RealChecksums)]
        offloads: OffloadsName,
        /// Label; labs with different ones stand side by side.
        #[arg(long, default_value = "")]
        id: String,
    },
    /// Remove it, also after a crash.
    Down {
        /// Label of the lab.
        #[arg(long, default_value = "")]
        id: String,
    },
    /// Run a command on one of its hosts.
    Exec {
        /// Label of the lab.
        #[arg(long, default_value = "")]
        id: String,
        /// The host: client, net, lb, sw1, sw2, ecs01, tr1, tr2, ecs02.
        host: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum VariantName {
    /// Local addresses from VSW1 and VSW2.
    Vswitch,
    /// Local addresses from 100.64.0.0/24, with back-to-origin routes.
    BackToOrigin,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum OffloadsName {
    /// Real checksums, as XDP needs them.
    RealChecksums,
    /// Everything; the L4 path then carries wrong checksums.
    All,
    /// Nothing.
    None,
}

/// Runs one of the lab's commands.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up { variant, offloads, id } => {
            let variant = match variant {
                VariantName::Vswitch => Variant::Vswitch,
                VariantName::BackToOrigin => Variant::BackToOrigin,
            };
            let offloads = match offloads {
                OffloadsName::RealChecksums => Offloads::RealChecksums,
                OffloadsName::All => Offloads::All,
                OffloadsName::None => Offloads::None,
            };
            eprintln!("building the lab: nine hosts, two tunnels, two web servers, a resolver");
            let lab = Lab::up(LabOptions { id: id.clone(), variant, offloads, ..LabOptions::default() })?;
            println!("{}", describe(lab.layout()));
            lab.leave_standing();
            Ok(ExitCode::SUCCESS)
        }
        Command::Down { id } => {
            let removed = causeway_lab::down(&id)?;
            println!("removed {} namespaces, ended {} processes", removed.namespaces, removed.processes);
            Ok(ExitCode::SUCCESS)
        }
        Command::Exec { id, host, command } => exec(&Layout::new(&id)?, &host, &command),
    }
}

fn exec(layout: &Layout, host: &str, words: &[String]) -> Result<ExitCode> {
    let program = &words[0];
    let mut command = causeway_lab::command(layout, host, program)?;
    let status = command.args(&words[1..]).status().with_context(|| format!("run `{program}` on {host}"))?;
    // Like a shell: a command that a signal ended has no code of its own.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn describe(layout: &Layout) -> String {
    let option = if layout.id().is_empty() { String::new() } else { format!(" --id {}", layout.id()) };
    let node = layout.node_file();
    let resources = layout.resources_file();
    format!(
        "the lab stands: {hosts}
  web servers      ecs01 {ECS01_ADDRESS}, ecs02 {ECS02_ADDRESS}; ports 80 and 8080
  the balancer's   VIPs {VIP_A} and {VIP_B}; www.example.test leads there; nothing answers until a balancer runs on lb
  settings         {node}
                   {resources}
  start one        cargo xtask build, then
                   cargo xtask lab exec{option} lb $PWD/target/debug/causeway run --node {node} --resources {resources}
  ask it           target/debug/causeway get servers --socket {socket}
  use it           cargo xtask lab exec{option} client curl -s http://www.example.test/
  run something    cargo xtask lab exec{option} lb curl -s {ECS01_ADDRESS}
                   cargo xtask lab exec{option} tr1 curl -s {ECS02_ADDRESS}
  remove it        cargo xtask lab down{option}",
        hosts = HOSTS.join(", "),
        socket = layout.api_socket().display(),
        node = node.display(),
        resources = resources.display(),
    )
}
