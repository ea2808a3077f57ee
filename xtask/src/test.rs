//! `test`: every kind of test by one command, with a summary that hides nothing.

use crate::command::cargo;
use crate::{build, requirements, vm};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    /// Which tests.
    #[arg(value_enum, default_value_t = Stage::All)]
    stage: Stage,
    /// Only tests whose name contains this; with `all`, leaves out the VM.
    name: Option<String>,
    #[command(flatten)]
    simulation: Simulation,
    /// Run nothing; print which tests hold each requirement, or why none does. Fails where neither is known. With
    /// numbers (SG-81, SG-81..SG-88, SG) or `open`: those alone, with every test.
    #[arg(long, num_args = 0.., value_name = "NUMBER", conflicts_with_all = ["stage", "name"])]
    requirements: Option<Vec<requirements::Selection>>,
}

/// Which histories the simulation runs.
#[derive(clap::Args)]
struct Simulation {
    /// Simulation: only the history of this seed, as a failing run names it.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Simulation: this many histories, instead of 1,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Simulation: this many steps in each, instead of 3,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
}

impl Simulation {
    /// What is asked for, as the test reads it.
    fn variables(&self) -> Vec<(&'static str, String)> {
        [("SIMULATION_SEED", self.seed), ("SIMULATION_SEEDS", self.seeds), ("SIMULATION_STEPS", self.steps)]
            .into_iter()
            .filter_map(|(variable, number)| Some((variable, number?.to_string())))
            .collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Tests inside the crates, and of the engine and the program from outside; no privileges.
    Unit,
    /// Random histories of server groups against a reference model; no privileges.
    Simulation,
    /// Packets through the loaded programs, by BPF_PROG_TEST_RUN. Root.
    Datapath,
    /// The lab by itself, then the tutorial in it. Root.
    EndToEnd,
    /// Every program loads and attaches on Debian's stock 6.1 kernel.
    Vm,
    /// All of them.
    All,
}

/// Runs the stages asked for, sums up, and ends with a line `N passed, N failed`. Exit code 1 on any failure; with
/// `REQUIRE_ALL=1` also on any skip.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(selections) = &arguments.requirements {
        return requirements::run(selections);
    }
    let simulation = arguments.simulation.variables();
    if !simulation.is_empty() && !matches!(arguments.stage, Stage::Simulation | Stage::All) {
        bail!("--seed, --seeds and --steps are for the stage `simulation`");
    }
    let require_all = std::env::var("REQUIRE_ALL").is_ok_and(|value| value == "1");
    // The controller embeds the object, so every stage needs it.
    let object = build::ebpf()?;
    let name = arguments.name.as_deref();
    let wanted = |stage| arguments.stage == stage || arguments.stage == Stage::All;
    let mut results = Vec::new();
    if wanted(Stage::Unit) {
        results.push(cargo_test("unit", &["--workspace", "--lib", "--bins"], &[], name, &[])?);
        // The engine over real sockets, the program by its command line.
        results.push(cargo_test("program", &["-p", "controller", "--test", "*"], &[], name, &[])?);
    }
    if wanted(Stage::Simulation) {
        let what = ["-p", "tests", "--test", "simulation"];
        // What it prints tells what the histories held.
        results.push(cargo_test("simulation", &what, &["--nocapture"], name, &simulation)?);
    }
    if wanted(Stage::Datapath) {
        results.push(cargo_test("datapath", &["-p", "tests", "--test", "datapath"], &[], name, &[])?);
    }
    if wanted(Stage::EndToEnd) {
        results.push(cargo_test("lab", &["-p", "causeway-lab", "--test", "standing"], &[], name, &[])?);
        // One at a time: they measure times and distributions.
        let alone = ["--test-threads=1"];
        results.push(cargo_test("end-to-end", &["-p", "tests", "--test", "end_to_end"], &alone, name, &[])?);
    }
    if arguments.stage == Stage::Vm || arguments.stage == Stage::All && name.is_none() {
        results.push(vm_load(&object));
    }
    if require_all {
        results.iter_mut().for_each(StageResult::count_skips_as_failures);
    }
    print!("{}", summary(&results));
    let ran = total(&results, StageResult::ran);
    if let (Some(name), 0) = (name, ran) {
        bail!("no test's name contains {name:?}");
    }
    let failed = total(&results, |result| result.failed.len());
    println!("{} passed, {failed} failed", total(&results, |result| result.passed));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of one stage.
#[derive(Debug, Default, PartialEq, Eq)]
struct StageResult {
    name: &'static str,
    passed: usize,
    /// Names, or for a stage that could not run, why.
    failed: Vec<String>,
    /// Names with reasons.
    skipped: Vec<String>,
    took: Duration,
}

impl StageResult {
    fn count_skips_as_failures(&mut self) {
        let skipped = self.skipped.drain(..);
        self.failed.extend(skipped.map(|skip| format!("{skip} (skipped, which REQUIRE_ALL=1 forbids)")));
    }

    fn ran(&self) -> usize {
        self.passed + self.failed.len() + self.skipped.len()
    }

    /// Takes in one line of what the tests print.
    fn read_line(&mut self, line: &str) {
        if let Some(skip) = line.strip_prefix("SKIP ") {
            // Its own harness counts it as passed.
            self.skipped.push(skip.to_owned());
            self.passed = self.passed.saturating_sub(1);
            return;
        }
        // `test NAME ... VERDICT`; what a test prints by itself may stand before the verdict on the same line.
        let Some((name, rest)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) else {
            return;
        };
        match rest.rsplit(' ').next().unwrap_or_default() {
            "ok" => self.passed += 1,
            "FAILED" => self.failed.push(name.to_owned()),
            _ if rest.starts_with("ignored") => self.skipped.push(format!("{name}: {rest}")),
            _ => {}
        }
    }
}

fn cargo_test(
    stage: &'static str,
    what: &[&str],
    harness: &[&str],
    name: Option<&str>,
    variables: &[(&str, String)],
) -> Result<StageResult> {
    eprintln!("\n=== {stage}");
    let mut command = cargo();
    command.arg("test").arg("--no-fail-fast").args(what).arg("--").args(harness).args(name);
    command.envs(variables.iter().map(|(variable, value)| (variable, value)));
    let started = Instant::now();
    let mut result = StageResult { name: stage, ..StageResult::default() };
    let (status, skips) = watch(&mut command, &mut |line| result.read_line(line))?;
    for skip in skips {
        result.read_line(&skip);
    }
    if !status && result.failed.is_empty() {
        result.failed.push("did not build, or ended before its tests did; see above".to_owned());
    }
    result.took = started.elapsed();
    Ok(result)
}

/// Runs the command, shows what it prints as it comes, and hands each line of its standard output to `see`. Returns
/// whether it succeeded and the lines of its standard error that tell of a skip.
fn watch(command: &mut Command, see: &mut dyn FnMut(&str)) -> Result<(bool, Vec<String>)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {:?}", command.get_program()))?;
    let (sender, errors) = mpsc::channel();
    let output = child.stdout.take().expect("piped above");
    let error_output = child.stderr.take().expect("piped above");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            lines(error_output, |line| {
                eprintln!("{line}");
                if line.starts_with("SKIP ") {
                    // The receiver waits until this thread is done.
                    let _ = sender.send(line.to_owned());
                }
            });
        });
        lines(output, |line| {
            println!("{line}");
            see(line);
        });
    });
    let status = child.wait()?;
    Ok((status.success(), errors.try_iter().collect()))
}

fn lines(from: impl Read, mut each: impl FnMut(&str)) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        each(&String::from_utf8_lossy(&line));
    }
}

fn vm_load(object: &std::path::Path) -> StageResult {
    eprintln!("\n=== vm");
    let started = Instant::now();
    let mut result = StageResult { name: "vm", ..StageResult::default() };
    match vm::load(object) {
        Ok(report) => {
            result.passed = report.passed.len();
            result.failed = report.failed;
        }
        Err(error) => result.failed.push(format!("{error:#}")),
    }
    result.took = started.elapsed();
    result
}

fn total(results: &[StageResult], count: impl Fn(&StageResult) -> usize) -> usize {
    results.iter().map(count).sum()
}

fn summary(results: &[StageResult]) -> String {
    let mut text = String::from("\nstage        passed  failed  skipped    time\n");
    for result in results {
        text += &format!(
            "{:<12} {:>6}  {:>6}  {:>7}  {:>4.0} s\n",
            result.name,
            result.passed,
            result.failed.len(),
            result.skipped.len(),
            result.took.as_secs_f32()
        );
    }
    for result in results {
        for failure in &result.failed {
            text += &format!("FAILED  {}: {failure}\n", result.name);
        }
        for skip in &result.skipped {
            text += &format!("SKIPPED {}: {skip}\n", result.name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> StageResult {
        let mut result = StageResult { name: "unit", ..StageResult::default() };
        text.lines().for_each(|line| result.read_line(line));
        result
    }

    #[test]
    fn counts_what_the_harness_reports() {
        let result =
            read("running 3 tests\ntest a::b ... ok\ntest c ... FAILED\ntest d ... ignored, too slow\n");
        assert_eq!(
            (result.passed, result.failed, result.skipped),
            (1, vec!["c".to_owned()], vec!["d: ignored, too slow".to_owned()])
        );
    }

    #[test]
    fn a_skip_is_not_a_pass() {
        let result = read("test a ... ok\ntest b ... ok\nSKIP a: needs root\n");
        assert_eq!((result.passed, result.skipped), (1, vec!["a: needs root".to_owned()]));
    }

    #[test]
    fn a_skip_is_a_failure_where_everything_is_required() {
        let mut result = read("test a ... ok\nSKIP a: needs root\n");
        result.count_skips_as_failures();
        assert_eq!((result.passed, result.failed.len(), result.skipped.len()), (0, 1, 0));
    }

    #[test]
    fn the_summary_names_every_failure_and_skip() {
        let result = read("test c ... FAILED\ntest d ... ok\nSKIP d: needs root\n");
        let text = summary(&[result]);
        assert!(
            text.contains("FAILED  unit: c\n") && text.contains("SKIPPED unit: d: needs root\n"),
            "{text}"
        );
    }
}
