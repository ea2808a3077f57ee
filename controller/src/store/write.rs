//! Writing a file so that it is there whole or not at all, whenever the process or the machine stops.

use super::StoreError;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Prefix of files that are being written; a leftover is of no use to anyone.
const TEMPORARY: &str = ".new-";

/// The points between which a crash makes a difference, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The temporary file exists, empty.
    Created,
    /// Half of it is written.
    HalfWritten,
    /// All of it is written.
    Written,
    /// Its bytes are on the disk.
    FileSynced,
    /// It has its final name.
    Renamed,
    /// The name is on the disk.
    DirectorySynced,
}

/// Goes on after every step.
pub(super) fn never_stop(_: Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Makes `directory/name` hold `bytes`, readable by the owner only. `reached` is asked after every step; a break
/// leaves everything as a crash there would, and is returned as `None`.
pub(super) fn write_whole(
    directory: &Path,
    name: &str,
    bytes: &[u8],
    mut reached: impl FnMut(Step) -> ControlFlow<()>,
) -> Result<Option<()>, StoreError> {
    macro_rules! step {
        ($step:expr) => {
            if reached($step).is_break() {
                return Ok(None);
            }
        };
    }
    let temporary = directory.join(format!("{TEMPORARY}{name}"));
    let path = directory.join(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(StoreError::io("create", &temporary))?;
    step!(Step::Created);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    file.write_all(first).map_err(StoreError::io("write", &temporary))?;
    step!(Step::HalfWritten);
    file.write_all(second).map_err(StoreError::io("write", &temporary))?;
    step!(Step::Written);
    // Without this the rename may reach the disk before the bytes do.
    file.sync_all().map_err(StoreError::io("sync", &temporary))?;
    step!(Step::FileSynced);
    fs::rename(&temporary, &path).map_err(StoreError::io("rename", &temporary))?;
    step!(Step::Renamed);
    let directory_handle = File::open(directory).map_err(StoreError::io("open", directory))?;
    directory_handle.sync_all().map_err(StoreError::io("sync", directory))?;
    step!(Step::DirectorySynced);
    Ok(Some(()))
}

/// Removes what crashes left behind.
pub(super) fn remove_leftovers(directory: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(directory).map_err(StoreError::io("list", directory))? {
        let entry = entry.map_err(StoreError::io("list", directory))?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            fs::remove_file(entry.path()).map_err(StoreError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}
