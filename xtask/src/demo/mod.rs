//! `demo`: the tutorial's two regions at work, from an empty machine with one command.
//!
//! - [`steps`]: what is walked through, and what each step expects
//! - [`stage`]: lab, balancer and client together; waiting, and what is shown meanwhile
//! - [`client`]: what sends traffic; the balancer is the real program, known here by its interfaces only
//! - [`picture`], [`terminal`]: the live view as text, and a terminal to draw it on

mod client;
mod picture;
mod stage;
mod steps;
mod terminal;

use crate::command::is_root;
use crate::{build, setup};
use anyhow::{Result, bail};
use causeway_lab::{HOSTS, Lab, Layout};
use stage::{Quit, Stage};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use steps::{Findings, STEPS};

#[derive(clap::Args)]
#[command(after_help = "\
Needs root. Installs the compiler, linker and tools that are missing (Debian packages and bpf-linker) and says how to \
undo that; works in network namespaces of its own and ends with nothing left.

Keys: any key goes to the next step, q quits, Ctrl-C too; both clean up.

Examples:
  cargo xtask demo
  cargo xtask demo --script && echo all as expected")]
pub struct Arguments {
    /// Without keys: one line `ok STEP: FIGURES` or `FAIL STEP: EXPECTED, FOUND` per step on standard output,
    /// everything else on standard error; exit code 1 if any failed.
    #[arg(long)]
    script: bool,
}

/// What is shown of the balancer's log when a step fails.
const LOG_LINES: usize = 15;

/// Runs the demo. Exit code 1 if a step found something else than it expected.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !is_root() {
        bail!(
            "the demo makes network namespaces and loads eBPF programs, which takes root; \
             run `sudo -E env PATH=\"$PATH\" cargo xtask demo`"
        );
    }
    let started = Instant::now();
    eprintln!("demo: installs what is missing, builds, lays out two regions on this machine, sends traffic");
    setup::run(setup::Scope::Demo)?;
    let program = build::balancer()?;
    eprintln!("ready after {:.0} s", started.elapsed().as_secs_f64());

    let outcome = play(&program, arguments.script);
    farewell();
    Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether every step that was played found what it expected.
fn play(program: &Path, is_script: bool) -> Result<bool> {
    let mut beginning = Findings::default();
    let (mut stage, opening) = match Stage::open(program, is_script) {
        Ok(opened) => opened,
        Err(error) if error.is::<Quit>() => return Ok(true),
        Err(error) => {
            beginning.miss(format!("{error:#}"));
            println!("{}", beginning.line("start"));
            return Ok(false);
        }
    };
    beginning.figure(format!(
        "two regions laid out in {:.1} s, balancer running in {:.1} s, every server healthy {:.1} s later",
        opening.lab_took.as_secs_f64(),
        opening.balancer_took.as_secs_f64(),
        opening.healthy_took.as_secs_f64()
    ));
    let domain = client::DOMAIN;
    beginning.figure(format!("{domain} is {}, {}", opening.name, opening.addresses));
    stage.conclude(&beginning.line("start"));

    let played = play_steps(&mut stage);
    let (lab, balancer) = stage.close();
    let mut end = Findings::default();
    match balancer.stop(&lab) {
        Ok(said) => end.figure(said.replace('\n', "; ")),
        Err(error) => end.miss(format!("{error:#}")),
    }
    remove(lab, &mut end);
    println!("{}", end.line("clean up"));
    Ok(played? && end.are_good())
}

fn play_steps(stage: &mut Stage) -> Result<bool> {
    let mut all_good = true;
    for (number, step) in (1..).zip(&STEPS) {
        if let Err(error) = stage.pause(step.name) {
            return if error.is::<Quit>() { Ok(all_good) } else { Err(error) };
        }
        stage.announce(&format!("step {number} of {}, {}", STEPS.len(), step.name), step.explanation);
        let mut findings = Findings::default();
        match (step.act)(stage, &mut findings) {
            Ok(()) => {}
            Err(error) if error.is::<Quit>() => return Ok(all_good),
            Err(error) => {
                findings.miss(format!("{error:#}"));
                stage.client.resume();
            }
        }
        stage.conclude(&findings.line(step.name));
        if !findings.are_good() {
            all_good = false;
            let log = stage.balancer.log();
            let mut tail: Vec<_> =
                log.lines().rev().take(LOG_LINES).map(|line| format!("  {line}")).collect();
            tail.push("the balancer's log ends with:".to_owned());
            tail.reverse();
            stage.tell(&tail);
        }
    }
    if let Err(error) = stage.pause("the end, and clean up")
        && !error.is::<Quit>()
    {
        return Err(error);
    }
    Ok(all_good)
}

/// Removes the lab and looks whether anything of it is left.
fn remove(lab: Arc<Lab>, end: &mut Findings) {
    let layout = lab.layout().clone();
    match Arc::try_unwrap(lab) {
        Ok(lab) => drop(lab),
        Err(_) => end.miss("the lab is still in use".to_owned()),
    }
    let left = leftovers(&layout);
    end.expect(left.is_empty(), "nothing left", &left.join(", "));
    end.figure("nothing is left: no namespace, process, program, map or file of the lab".to_owned());
}

/// What still stands of a lab that should be gone. Its programs and maps were pinned in a file system of its own,
/// mounted in its folder, and go with that.
fn leftovers(layout: &Layout) -> Vec<String> {
    let namespaces = HOSTS.iter().map(|host| Path::new("/run/netns").join(layout.namespace(host)));
    let places = namespaces.chain([layout.run_dir()]);
    places.filter(|place| place.exists()).map(|place| place.display().to_string()).collect()
}

/// What the demo leaves, and how to get rid of it. On standard error: it is no result.
fn farewell() {
    eprintln!("\nwhat was built is in target/; `rm -r target forwarder-ebpf/target` removes it");
    match setup::undo().as_slice() {
        [] => eprintln!("setup has installed nothing from here: all was there"),
        lines => {
            eprintln!("to remove what setup has installed from here:");
            lines.iter().for_each(|line| eprintln!("  {line}"));
        }
    }
}
