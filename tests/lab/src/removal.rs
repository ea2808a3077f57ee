//! Taking a lab down: everything written down in its folder, and nothing else. Works from the folder alone, so that it
//! also works after a crash.

use crate::layout::Layout;
use crate::namespace;
use crate::process::Record;
use anyhow::{Context, Result, bail};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What [`down`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Process groups that were still running.
    pub processes: usize,
    /// Network namespaces.
    pub namespaces: usize,
}

/// Removes the lab labelled `id`, if there is one, also while the program that built it still runs.
pub fn down(id: &str) -> Result<Removed> {
    let layout = Layout::new(id)?;
    let removed = remove(&layout)?;
    if layout.lock_file().exists()
        && let Ok(lock) = lock(&layout)
    {
        unlock(&layout, lock);
    }
    Ok(removed)
}

/// Makes the run folder and mounts the lab's bpffs.
pub(crate) fn prepare(layout: &Layout) -> Result<()> {
    for folder in [layout.marker_dir(), layout.process_dir(), layout.log_dir(), layout.bpffs()] {
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(layout.boot_file(), boot_id()?)?;
    let target = CString::new(layout.bpffs().as_os_str().as_bytes())?;
    // SAFETY: a system call on strings that end in NUL.
    let result =
        unsafe { libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        return Err(error).with_context(|| format!("mount a bpffs at {}", layout.bpffs().display()));
    }
    Ok(())
}

/// Holds the label for this process, until the file is closed.
pub(crate) fn lock(layout: &Layout) -> Result<File> {
    // SAFETY: a system call without arguments.
    if unsafe { libc::geteuid() } != 0 {
        bail!(
            "the lab makes network namespaces, which takes root; run it as root (`sudo -E cargo xtask ...`)"
        );
    }
    let path = layout.lock_file();
    let place = || format!("open {}", path.display());
    loop {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).with_context(place)?;
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .with_context(place)?;
        // SAFETY: a system call on an open descriptor.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let owner = fs::read_to_string(&path).unwrap_or_default();
            bail!(
                "lab {:?} is in use by process {}; end that or choose another label",
                layout.id(),
                owner.trim()
            );
        }
        // Its last owner may have removed the file between our open and our lock; then the lock holds nothing.
        if fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|ours| now.ino() == ours.ino())) {
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())?;
            return Ok(file);
        }
    }
}

/// Lets go of the label and leaves no file behind.
pub(crate) fn unlock(layout: &Layout, lock: File) {
    // In this order, see `lock`. A file that stays does no harm.
    let _ = fs::remove_file(layout.lock_file());
    drop(lock);
    if let Some(parent) = layout.lock_file().parent() {
        // Fails while another lab has something there, as it should.
        let _ = fs::remove_dir(parent);
    }
}

/// Removes what the lab's folder speaks of, then the folder. Goes on past failures and reports the first.
pub(crate) fn remove(layout: &Layout) -> Result<Removed> {
    let mut removed = Removed::default();
    if !layout.run_dir().exists() {
        return Ok(removed);
    }
    let mut problems = Vec::new();
    // Since the machine was started anew, the numbers in the records mean nothing, and what they meant is gone.
    let same_boot =
        boot_id().is_ok_and(|now| fs::read_to_string(layout.boot_file()).is_ok_and(|then| then == now));
    if same_boot {
        let groups = read_folder(&layout.process_dir());
        let records = groups.iter().filter_map(|(_, text)| Record::from_text(text));
        // First ask all, then insist: one after the other, each slow one would add its own delay.
        let threads: Vec<_> =
            records.map(|r| std::thread::spawn(move || r.end(Duration::from_secs(3), reap))).collect();
        removed.processes =
            threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|found| *found).count();
        for (name, identity) in read_folder(&layout.marker_dir()) {
            match namespace::remove(&name, &identity) {
                Ok(existed) => removed.namespaces += usize::from(existed),
                Err(error) => problems.push(error),
            }
        }
    }
    if let Err(error) = unmount(&layout.bpffs()) {
        problems.push(error);
    }
    if let Some(error) = problems.into_iter().next() {
        return Err(error);
    }
    // Only now: the folder is what a second try needs.
    let folder = layout.run_dir();
    fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    Ok(removed)
}

/// Nothing: children of ours are reaped by their [`crate::Process`], others by their own parent.
fn reap() {}

/// Copies logs of processes and servers to `lab-logs/` in the repository, for a test that failed.
pub(crate) fn save_logs(layout: &Layout) {
    let name = layout.run_dir().file_name().map(PathBuf::from).unwrap_or_default();
    let target = Path::new(LOGS).join(name);
    if fs::create_dir_all(&target).is_err() {
        return;
    }
    let mut folders = vec![layout.run_dir(), layout.log_dir()];
    folders.extend(
        fs::read_dir(layout.run_dir().join("servers")).into_iter().flatten().flatten().map(|e| e.path()),
    );
    for folder in folders {
        let prefix = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".log") {
                // Best effort: the test's own failure is what must be seen.
                let _ = fs::copy(entry.path(), target.join(format!("{prefix}-{name}")));
            }
        }
    }
    eprintln!("lab {:?}: logs kept in {}", layout.id(), target.display());
}

/// A fixed place: tests of different crates have different working folders.
const LOGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../lab-logs");

fn read_folder(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|e| Some((e.file_name().into_string().ok()?, fs::read_to_string(e.path()).ok()?)))
        .collect();
    files.sort();
    files
}

/// Unmounts `folder` if something is mounted there; /proc/self/mountinfo names the place in its fifth field.
fn unmount(folder: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let place = folder.to_string_lossy();
    for _ in table.lines().filter(|line| line.split(' ').nth(4) == Some(&*place)) {
        let target = CString::new(folder.as_os_str().as_bytes())?;
        // Detach: a killed controller may still hold pins open for a moment.
        // SAFETY: a system call on a string that ends in NUL.
        if unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) } != 0 {
            let error = std::io::Error::last_os_error();
            return Err(error).with_context(|| format!("unmount {}", folder.display()));
        }
    }
    Ok(())
}

fn boot_id() -> Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the kernel's boot id")
}
