//! `bench rules`: what finding the rule of a request costs, with few rules and with many.

use crate::command::root;
use anyhow::{Context, Result, ensure};
use std::process::{Command, ExitCode, Stdio};

#[derive(clap::Args)]
#[command(after_help = "\
Prints nanoseconds for each kind and number of rules, for requests that some rule matches and for some that none does. \
One thread; takes about a minute, and a release build before.

Example:
  cargo xtask bench rules --check")]
pub struct Arguments {
    /// Exit code 1 if finding one of 10,000 rules, or none, takes more than a microsecond.
    #[arg(long)]
    check: bool,
}

const RULES_CHECKED: u32 = 10_000;
const NANOSECONDS_MAX: u32 = 1000;

/// Measures and prints. Exit code 1 if asked to check and the target is missed.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--release", "--package", "controller", "--example", "rules"])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "the example `rules` failed: {}", output.status);
    let text = String::from_utf8(output.stdout).context("what the example `rules` printed")?;
    println!("{:<14} {:>8} {:>10} {:>10}", "nanoseconds", "rules", "found", "none");
    let mut missed = 0;
    for line in text.lines() {
        let figures = parse(line).with_context(|| format!("the example `rules` printed {line:?}"))?;
        let is_over = figures.is_over();
        missed += u32::from(is_over);
        let Figures { kind, rules, hit, miss } = figures;
        println!("{kind:<14} {rules:>8} {hit:>10} {miss:>10}  {}", if is_over { "missed" } else { "" });
    }
    ensure!(
        !arguments.check || missed == 0,
        "with {RULES_CHECKED} rules, {missed} kinds take more than {NANOSECONDS_MAX} ns"
    );
    Ok(ExitCode::SUCCESS)
}

/// What was measured for so many rules of one kind, nanoseconds.
#[derive(Debug, PartialEq)]
struct Figures<'a> {
    kind: &'a str,
    rules: u32,
    hit: u32,
    miss: u32,
}

impl Figures<'_> {
    fn is_over(&self) -> bool {
        self.rules == RULES_CHECKED && self.hit.max(self.miss) > NANOSECONDS_MAX
    }
}

fn parse(line: &str) -> Option<Figures<'_>> {
    let mut parts = line.split('\t');
    let kind = parts.next()?;
    let mut number = || parts.next()?.parse().ok();
    Some(Figures { kind, rules: number()?, hit: number()?, miss: number()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_rules_may_take_a_microsecond() {
        let parsed = parse("host path*\t10000\t1000\t990").unwrap();
        assert_eq!(parsed, Figures { kind: "host path*", rules: 10_000, hit: 1000, miss: 990 });
        let is_over = |line| parse(line).unwrap().is_over();
        assert!(!is_over("a\t10000\t1000\t1000"));
        assert!(is_over("a\t10000\t1001\t10"));
        assert!(is_over("a\t10000\t10\t1001"));
        assert!(!is_over("a\t1000\t1001\t1001"));
        assert_eq!(parse("a\t10000\t10"), None);
    }
}
