//! Loads every program of a BPF object and attaches each to an interface, one after the other.
//!
//! `load_all OBJECT INTERFACE` prints `ok NAME` or `FAIL NAME: reason` per program, and at the end `LOAD-ALL ok` or
//! `LOAD-ALL FAIL`. Runs as the only program of a virtual machine with an older kernel: see `cargo xtask vm load`.

use anyhow::{Context, Result, bail};
use aya::programs::tc::qdisc_add_clsact;
use aya::programs::{Program, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [object, interface] = &arguments[..] else {
        eprintln!("usage: load_all OBJECT INTERFACE");
        return ExitCode::FAILURE;
    };
    let ok = match load(object) {
        Ok(mut ebpf) => try_all(&mut ebpf, interface),
        Err(error) => {
            println!("FAIL {object}: {}", one_line(&format!("{error:#}")));
            false
        }
    };
    println!("LOAD-ALL {}", if ok { "ok" } else { "FAIL" });
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn load(object: &str) -> Result<Ebpf> {
    let bytes = std::fs::read(object).with_context(|| format!("read {object}"))?;
    // Creates the maps; programs are loaded one by one below.
    EbpfLoader::new().load(&bytes).with_context(|| format!("create the maps of {object}"))
}

fn try_all(ebpf: &mut Ebpf, interface: &str) -> bool {
    let mut names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    names.sort();
    if names.is_empty() {
        println!("FAIL object: it holds no program");
        return false;
    }
    let mut all_ok = true;
    for name in names {
        let program = ebpf.program_mut(&name).expect("the object named this program");
        match load_and_attach(&name, program, interface) {
            Ok(()) => println!("ok {name}"),
            Err(error) => {
                all_ok = false;
                println!("FAIL {name}: {}", reason(&error));
            }
        }
    }
    all_ok
}

fn load_and_attach(name: &str, program: &mut Program, interface: &str) -> Result<()> {
    match program {
        Program::Xdp(program) => xdp(program, interface),
        Program::SchedClassifier(program) => classifier(name, program, interface),
        other => bail!("a program of type {:?}; teach load_all where to attach it", other.prog_type()),
    }
}

fn xdp(program: &mut Xdp, interface: &str) -> Result<()> {
    program.load()?;
    // Detached at once: one XDP program per interface.
    let link =
        program.attach(interface, XdpMode::Driver).with_context(|| format!("attach to {interface}"))?;
    program.detach(link).with_context(|| format!("detach from {interface}"))
}

fn classifier(name: &str, program: &mut SchedClassifier, interface: &str) -> Result<()> {
    program.load()?;
    // Kernels before 6.6 have no tcx: aya then makes a filter, which needs this qdisc. That it exists is fine, and any
    // other reason makes the attach fail, with a better message.
    let _ = qdisc_add_clsact(interface);
    let direction = if name.contains("egress") { TcAttachType::Egress } else { TcAttachType::Ingress };
    program.attach(interface, direction).with_context(|| format!("attach to {interface}"))?;
    Ok(())
}

/// The verifier's last words, which say what it refused; its whole log may be megabytes.
fn reason(error: &anyhow::Error) -> String {
    if let Some(ProgramError::LoadError { io_error, verifier_log }) = error.downcast_ref() {
        let log = verifier_log.to_string();
        let useful = log.lines().filter(|line| !line.starts_with("processed ") && !line.trim().is_empty());
        let last: Vec<_> = useful.collect::<Vec<_>>().into_iter().rev().take(12).rev().collect();
        return one_line(&format!("{io_error}; the verifier: {}", last.join(" | ")));
    }
    one_line(&format!("{error:#}"))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
