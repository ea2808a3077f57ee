//! `doctor`: each requirement, found or not, and what repairs it.

use crate::requirement::{Finding, Requirement, examine};
use anyhow::Result;
use std::process::ExitCode;

/// Prints one line per requirement, then whether the demo could run; exit code 1 if any is missing.
pub fn run() -> Result<ExitCode> {
    let mut missing = 0;
    let mut missing_for_demo = Vec::new();
    for Requirement { name, for_demo, finding } in examine() {
        match finding {
            Finding::Met(what) => println!("ok       {name:<24} {what}"),
            Finding::Unknown(why) => println!("unknown  {name:<24} {why}"),
            Finding::Missing(what, repair) => {
                missing += 1;
                println!("missing  {name:<24} {what}\n         {:<24} -> {repair}", "");
                if for_demo {
                    missing_for_demo.push(name);
                }
            }
        }
    }
    match missing_for_demo.as_slice() {
        [] => println!("`cargo xtask demo` has all it needs"),
        names => println!("`cargo xtask demo` lacks {}; it installs what can be installed", names.join(", ")),
    }
    if missing == 0 {
        println!("everything is there");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{missing} missing; `cargo xtask setup` installs what can be installed");
    Ok(ExitCode::FAILURE)
}
