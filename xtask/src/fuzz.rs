//! `fuzz`: libFuzzer on the targets of `tests/fuzz`, with the stable compiler.

use crate::build;
use crate::command::{cargo, output, root, run as run_command, target};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

#[derive(clap::Args)]
pub struct Arguments {
    /// Which one; all of them, one after the other, if none is named.
    target: Option<String>,
    /// How long each runs.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only this input, as a run that found something names it.
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "keep")]
    input: Option<PathBuf>,
    /// Afterwards, keep the fewest and shortest inputs that reach everything reached so far in tests/fuzz/corpus.
    #[arg(long)]
    keep: bool,
}

/// Longest input, in bytes: longer ones say little new, and slow the search. Limits in kilobytes have tests of their own.
const INPUT_MAX: usize = 1024;
/// An input that takes longer, in seconds, is a finding.
const INPUT_SECONDS_MAX: usize = 10;

/// Runs the targets asked for. What is found lies in target/fuzz/found/TARGET afterwards, and the command that repeats it
/// is printed; inputs that reached something new stay in target/fuzz/reached/TARGET for the next run.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let known = targets()?;
    let wanted = match &arguments.target {
        None => known,
        Some(name) if known.contains(name) => vec![name.clone()],
        Some(name) => bail!("no target {name:?}; there are {}", known.join(", ")),
    };
    let engine = build_engine()?;
    if let (Some(name), Some(input)) = (&arguments.target, &arguments.input) {
        run_command(call(&engine, name).arg(input))?;
        eprintln!("fuzz: {name} keeps its promise for this input");
        return Ok(ExitCode::SUCCESS);
    }
    let mut broken = 0;
    for name in &wanted {
        if !search(&engine, name, arguments.seconds)? {
            broken += 1;
        } else if arguments.keep {
            keep(&engine, name)?;
        }
    }
    println!("fuzz: {} targets kept their promises, {broken} broke them", wanted.len() - broken);
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Folders of the corpus; a test of that crate holds that they are its targets.
fn targets() -> Result<Vec<String>> {
    let folder = corpus();
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn corpus() -> PathBuf {
    root().join("tests/fuzz/corpus")
}

/// Builds the program that holds all targets, and returns a copy of it that the next ordinary build leaves alone.
fn build_engine() -> Result<PathBuf> {
    build::ebpf()?;
    let mut build = cargo();
    build.env("RUSTC_WORKSPACE_WRAPPER", root().join("tests/fuzz/rustc-with-coverage.sh"));
    run_command(build.args(["build", "-p", "causeway-fuzz", "--features", "engine", "--bin", "fuzz"]))?;
    let folder = target().join("fuzz");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let engine = folder.join("engine");
    // Removed first: a run of the copy before may still be going on.
    let _ = fs::remove_file(&engine);
    let built = target().join("debug/fuzz");
    fs::copy(&built, &engine).with_context(|| format!("copy {}", built.display()))?;
    Ok(engine)
}

fn call(engine: &Path, name: &str) -> Command {
    let mut command = Command::new(engine);
    command.current_dir(root()).env("FUZZ_TARGET", name);
    command
}

fn folder(kind: &str, name: &str) -> Result<PathBuf> {
    let folder = target().join("fuzz").join(kind).join(name);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// Searches for so many seconds; false if something was found.
fn search(engine: &Path, name: &str, seconds: u64) -> Result<bool> {
    let found = folder("found", name)?;
    let mut command = call(engine, name);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg("-print_final_stats=1")
        .args([folder("reached", name)?, corpus().join(name)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {}", engine.display()))?;
    let mut progress = Progress::default();
    let stderr = child.stderr.take().expect("standard error is piped above");
    // Inputs are shown in it, which need not be text.
    for line in BufReader::new(stderr).split(b'\n') {
        progress.read_line(String::from_utf8_lossy(&line.context("read what libFuzzer says")?).into_owned());
    }
    let status = child.wait().context("wait for libFuzzer")?;
    if status.success() {
        let Progress { inputs, reached, .. } = progress;
        println!("{name}: {inputs} inputs in {seconds} s, {reached} edges reached, nothing found");
        return Ok(true);
    }
    progress.last.iter().for_each(|line| eprintln!("  {line}"));
    println!("{name}: broke its promise ({status})");
    if let Some(artifact) = progress.artifact {
        let artifact =
            artifact.strip_prefix(&format!("{}/", root().display())).unwrap_or(&artifact).to_owned();
        println!("  the input: {artifact}");
        println!("  to repeat: cargo xtask fuzz {name} --input {artifact}");
        println!("  once mended, move it to tests/fuzz/corpus/{name}, where tests run it for ever");
    }
    Ok(false)
}

/// What libFuzzer told so far.
#[derive(Default)]
struct Progress {
    inputs: u64,
    reached: u64,
    artifact: Option<String>,
    /// The last lines, for a failure.
    last: Vec<String>,
}

impl Progress {
    fn read_line(&mut self, line: String) {
        let number = |text: &str| text.split_whitespace().next().and_then(|number| number.parse().ok());
        if let Some(inputs) = line.strip_prefix("stat::number_of_executed_units:").and_then(number) {
            self.inputs = inputs;
        }
        if let Some(reached) = line.split_once(" cov: ").and_then(|(_, rest)| number(rest)) {
            self.reached = reached;
        } else {
            self.last.push(line.clone());
            let surplus = self.last.len().saturating_sub(LINES_SHOWN);
            self.last.drain(..surplus);
        }
        if let Some((_, artifact)) = line.split_once("Test unit written to ") {
            self.artifact = Some(artifact.trim().to_owned());
        }
    }
}

/// Enough for a panic's message and where it came from.
const LINES_SHOWN: usize = 80;

/// Makes the corpus as small as it can be without losing what it or earlier runs reached.
fn keep(engine: &Path, name: &str) -> Result<()> {
    let kept = folder("kept", name)?;
    fs::remove_dir_all(&kept).with_context(|| format!("remove {}", kept.display()))?;
    fs::create_dir_all(&kept).with_context(|| format!("create {}", kept.display()))?;
    let mut merge = call(engine, name);
    merge.args(["-merge=1", &format!("-max_len={INPUT_MAX}")]);
    output(merge.args([&kept, &corpus().join(name), &folder("reached", name)?]))?;
    let corpus = corpus().join(name);
    let mut count = 0;
    for entry in fs::read_dir(&kept).with_context(|| format!("read {}", kept.display()))? {
        let from = entry?.path();
        let to = corpus.join(from.file_name().unwrap_or_default());
        fs::copy(&from, &to).with_context(|| format!("copy to {}", to.display()))?;
        count += 1;
    }
    println!(
        "{name}: {count} inputs reach everything; those of {} that are not among them may go",
        corpus.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_libfuzzer_says() {
        let mut progress = Progress::default();
        for line in [
            "#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0 rss: 40Mb",
            "#12\tNEW    cov: 715 ft: 2013 corp: 9/90b exec/s: 12 rss: 41Mb",
            "thread '<unnamed>' panicked at tests/fuzz/src/body.rs:1:1:",
            "artifact_prefix='x/'; Test unit written to /r/target/fuzz/found/body/crash-12",
            "stat::number_of_executed_units: 4711",
        ] {
            progress.read_line(line.to_owned());
        }
        assert_eq!((progress.inputs, progress.reached), (4711, 715));
        assert_eq!(progress.artifact.as_deref(), Some("/r/target/fuzz/found/body/crash-12"));
        assert_eq!(progress.last.len(), 3);
        (0..2 * LINES_SHOWN).for_each(|number| progress.read_line(number.to_string()));
        assert_eq!(progress.last.len(), LINES_SHOWN);
        assert_eq!(progress.last.last().map(String::as_str), Some("159"));
    }
}
