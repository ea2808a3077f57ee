//! `doctor`: each requirement, found or not, and what repairs it.

use crate::requirement::{Finding, examine};
use anyhow::Result;
use std::process::ExitCode;

/// Prints one line per requirement; exit code 1 if any is missing.
pub fn run() -> Result<ExitCode> {
    let mut missing = 0;
    for (name, finding) in examine() {
        match finding {
            Finding::Met(what) => println!("ok       {name:<24} {what}"),
            Finding::Unknown(why) => println!("unknown  {name:<24} {why}"),
            Finding::Missing(what, repair) => {
                missing += 1;
                println!("missing  {name:<24} {what}\n         {:<24} -> {repair}", "");
            }
        }
    }
    if missing == 0 {
        println!("everything is there");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{missing} missing; `cargo xtask setup` installs what can be installed");
    Ok(ExitCode::FAILURE)
}
