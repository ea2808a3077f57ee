//! Revisions as files: `STATE_DIR/revisions/00000007.yaml`.
//!
//! Each is the text as it was applied, comments and all, and one line of our own at its end, which to YAML is a
//! comment: number, length and checksum. So a person can read, compare and apply these files with ordinary tools.

use super::write::{Step, never_stop, remove_leftovers, write_whole};
use super::{Revision, Store, StoreError};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Revisions kept; the oldest goes when one more comes.
const REVISIONS_KEPT: usize = 1000;

/// A store in a directory of this host. While it is open no other process can open it.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
    /// Held, not used: the lock goes with the process, however it ends.
    _lock: File,
}

impl FileStore {
    /// Opens the store in `state_dir`, creating both if need be, and removes what a crash left behind.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let directory = state_dir.join("revisions");
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(StoreError::io("create", &directory))?;
        let lock_path = state_dir.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(StoreError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: state_dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &lock_path)(error)),
        }
        // The directory's own name must be on the disk before a revision in it counts as kept.
        File::open(state_dir)
            .and_then(|handle| handle.sync_all())
            .map_err(StoreError::io("sync", state_dir))?;
        remove_leftovers(&directory)?;
        remove_leftovers(state_dir)?;
        Ok(Self { directory, _lock: lock })
    }

    fn path(&self, revision: Revision) -> PathBuf {
        self.directory.join(file_name(revision))
    }

    /// [`Store::append`], stopped as by a crash where `reached` breaks; then `None`.
    pub(super) fn append_until(
        &mut self,
        text: &str,
        reached: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Option<Revision>, StoreError> {
        let kept = self.history()?;
        let revision = Revision(kept.last().map_or(1, |last| last.0 + 1));
        let bytes = seal(revision, text);
        let written = write_whole(&self.directory, &file_name(revision), bytes.as_bytes(), reached)?;
        if written.is_none() {
            return Ok(None);
        }
        // The new one is safe, whatever becomes of the old ones: one that cannot be removed is tried again next time.
        for old in kept.iter().take((kept.len() + 1).saturating_sub(REVISIONS_KEPT)) {
            if let Err(error) = fs::remove_file(self.path(*old)) {
                log::warn!("remove old revision {}: {error}", self.path(*old).display());
            }
        }
        Ok(Some(revision))
    }
}

impl Store for FileStore {
    fn latest(&self) -> Result<Option<(Revision, String)>, StoreError> {
        match self.history()?.last() {
            Some(revision) => Ok(Some((*revision, self.read(*revision)?))),
            None => Ok(None),
        }
    }

    fn append(&mut self, text: &str) -> Result<Revision, StoreError> {
        Ok(self.append_until(text, never_stop)?.expect("nothing stops it"))
    }

    fn history(&self) -> Result<Vec<Revision>, StoreError> {
        let mut revisions = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(StoreError::io("list", &self.directory))? {
            let entry = entry.map_err(StoreError::io("list", &self.directory))?;
            revisions.extend(revision_of(&entry.file_name().to_string_lossy()));
        }
        revisions.sort();
        Ok(revisions)
    }

    fn read(&self, revision: Revision) -> Result<String, StoreError> {
        let path = self.path(revision);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::NoSuchRevision { revision, kept: self.history()? });
            }
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        unseal(revision, bytes).map_err(|why| StoreError::Corrupt {
            path,
            why,
            remedy:
                "move it away to go on with the revision before it, or apply the resources anew after that"
                    .into(),
        })
    }

    fn kept_at(&self, revision: Revision) -> Result<SystemTime, StoreError> {
        let path = self.path(revision);
        match fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            Ok(time) => Ok(time),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(StoreError::NoSuchRevision { revision, kept: self.history()? })
            }
            Err(error) => Err(StoreError::io("look at", &path)(error)),
        }
    }
}

fn file_name(revision: Revision) -> String {
    format!("{:08}.yaml", revision.0)
}

fn revision_of(file_name: &str) -> Option<Revision> {
    let digits = file_name.strip_suffix(".yaml")?;
    let is_number = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok().map(Revision)).flatten()
}

/// Number, length and checksum of `text`. The line begins with a newline, so that it stands alone whatever the
/// text ends with.
fn trailer(revision: Revision, text: &[u8]) -> String {
    format!("\n# causeway revision {revision}: {} bytes, crc32 {:08x}\n", text.len(), crc32fast::hash(text))
}

fn seal(revision: Revision, text: &str) -> String {
    format!("{text}{}", trailer(revision, text.as_bytes()))
}

/// The text of a sealed file, or what is wrong with it.
fn unseal(revision: Revision, bytes: Vec<u8>) -> Result<String, String> {
    let without_last_newline = bytes.strip_suffix(b"\n").ok_or("its last line is cut off")?;
    let end = without_last_newline
        .iter()
        .rposition(|byte| *byte == b'\n')
        .ok_or("the line with its checksum is missing")?;
    let (text, found) = bytes.split_at(end);
    let expected = trailer(revision, text);
    if found != expected.as_bytes() {
        let found = String::from_utf8_lossy(found);
        return Err(format!("its last line is `{}`, expected `{}`", found.trim(), expected.trim()));
    }
    String::from_utf8(text.to_vec()).map_err(|_| "it is not UTF-8".to_owned())
}
