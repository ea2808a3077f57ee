//! Debian 12's stock kernel for the VM: fetched and unpacked under `target/`, never installed.

use crate::command::{self, target};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A kernel and its modules.
#[derive(Debug)]
pub struct Kernel {
    /// The bootable image.
    pub image: PathBuf,
    /// The folder with its modules, `lib/modules/RELEASE/kernel`.
    pub modules: PathBuf,
}

/// The series whose verifier decides what the programs may do.
const SERIES: &str = "6.1.";

fn folder() -> PathBuf {
    target().join("vm/kernel")
}

/// The kernel fetched earlier.
pub fn find() -> Result<Kernel> {
    let modules = folder().join("lib/modules");
    let mut releases = fs::read_dir(&modules).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let Some(release) = releases.find(|name| name.to_string_lossy().starts_with(SERIES)) else {
        bail!("no Linux {SERIES}x in {}; run `cargo xtask setup`", folder().display());
    };
    let image = folder().join("boot").join(format!("vmlinuz-{}", release.to_string_lossy()));
    if !image.is_file() {
        bail!("no {}; remove {} and run `cargo xtask setup`", image.display(), folder().display());
    }
    Ok(Kernel { image, modules: modules.join(release).join("kernel") })
}

/// Fetches the kernel that Debian's metapackage names, and unpacks it.
pub fn fetch() -> Result<()> {
    let list = command::output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let Some(package) = package_name(&list) else {
        bail!(
            "apt knows no linux-image-{SERIES}*-cloud-amd64; on systems other than Debian 12, unpack that package \
             of bookworm into {} (dpkg-deb -x FILE.deb FOLDER)",
            folder().display()
        );
    };
    let downloads = target().join("vm/download");
    fs::create_dir_all(&downloads).with_context(|| format!("make {}", downloads.display()))?;
    command::run(Command::new("apt-get").args(["-q", "download", package]).current_dir(&downloads))?;
    let files = fs::read_dir(&downloads)?.flatten().map(|entry| entry.path());
    let newest = files.filter(|path| path.extension().is_some_and(|end| end == "deb")).max();
    let file = newest.with_context(|| format!("apt-get left nothing in {}", downloads.display()))?;
    fs::create_dir_all(folder())?;
    command::run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(folder()))?;
    fs::remove_dir_all(&downloads)?;
    find().map(|_| ())
}

fn package_name(depends: &str) -> Option<&str> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.map(str::trim).find(|name| name.starts_with(&format!("linux-image-{SERIES}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_kernel_that_the_metapackage_depends_on() {
        let list = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(package_name(list), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(package_name("x\n  Depends: linux-image-6.12.1-cloud-amd64\n"), None);
    }
}
