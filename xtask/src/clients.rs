//! The Python clients of the end-to-end tests (gRPC, HTTP/3, WebSocket), in an environment of their own under `target/`.

use crate::command::{root, run, target};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Where the environment is. `tests/end_to_end/python.rs` looks for it there.
fn folder() -> PathBuf {
    target().join("clients")
}

/// Every package of the environment, with its version.
fn list() -> Result<String> {
    let list = root().join("tests/end_to_end/clients/requirements.txt");
    fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))
}

/// The list that was installed, beside what was: written last, so that half an installation is none.
fn installed() -> PathBuf {
    folder().join("requirements.txt")
}

/// The environment's interpreter, if all that is listed is installed.
pub fn find() -> Result<PathBuf> {
    if fs::read_to_string(installed()).ok() != Some(list()?) {
        bail!("not what tests/end_to_end/clients/requirements.txt lists");
    }
    Ok(folder().join("bin/python"))
}

/// Makes the environment anew, with what is listed.
pub fn install() -> Result<()> {
    // Debian's interpreter, which the lab's servers use too: one elsewhere in the path may vanish.
    run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(folder()))?;
    let mut install = Command::new(folder().join("bin/pip"));
    // Nothing is compiled, and nothing comes along that is not listed.
    install.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "--no-deps",
    ]);
    let list_text = list()?;
    run(install.arg("--requirement").arg(root().join("tests/end_to_end/clients/requirements.txt")))?;
    fs::write(installed(), list_text).with_context(|| format!("write {}", installed().display()))
}
