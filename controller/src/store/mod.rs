//! What was applied, kept across restarts: numbered revisions of the resources, as they were written. Beside them keys and
//! certificates, which no revision holds.
//!
//! Behind a small trait, so that many nodes can share a store later. Absent here: what a revision means; that is
//! [`crate::config`]'s to say, each time it is read.

mod certificates;
mod cookie_keys;
mod file;
mod key;
mod write;

#[cfg(test)]
mod tests;

pub use certificates::CertificateStore;
pub use cookie_keys::CookieKeys;
pub use file::FileStore;
pub use key::datapath_key;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Number of a revision, from 1 on, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Keeps revisions of the resources as text.
pub trait Store {
    /// The newest revision, `None` before the first. A newest revision that is damaged is an error, never an older
    /// one instead.
    fn latest(&self) -> Result<Option<(Revision, String)>, StoreError>;

    /// Keeps `text` as the next revision; when this returns, it survives a crash and a power failure.
    fn append(&mut self, text: &str) -> Result<Revision, StoreError>;

    /// The revisions kept, oldest first.
    fn history(&self) -> Result<Vec<Revision>, StoreError>;

    /// The text of a revision.
    fn read(&self, revision: Revision) -> Result<String, StoreError>;

    /// When a revision was kept, by the clock of the day.
    fn kept_at(&self, revision: Revision) -> Result<SystemTime, StoreError>;
}

/// Why revisions cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{action} {path}: {source}{}", remedy(.source))]
    Io {
        /// What was tried: `write`, `rename`...
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// A file is not what was written to it.
    #[error("{path} is damaged: {why}; {remedy}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// How to go on.
        remedy: String,
    },
    /// Another process keeps its state there.
    #[error(
        "state directory {path} is in use by another causeway process; stop that one, or give this one another `state_dir`"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Nothing is kept under this number.
    #[error("there is no revision {revision}; kept are {}", ends(.kept))]
    NoSuchRevision {
        /// The number asked for.
        revision: Revision,
        /// The numbers there are, oldest first.
        kept: Vec<Revision>,
    },
}

impl StoreError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run as root, or choose a `state_dir` this user may write",
        io::ErrorKind::StorageFull => "; free some space",
        io::ErrorKind::ReadOnlyFilesystem => "; choose a `state_dir` on a writable filesystem",
        _ => "",
    }
}

fn ends(kept: &[Revision]) -> String {
    match kept {
        [] => "none".to_owned(),
        [only] => only.to_string(),
        [first, .., last] => format!("{first} to {last}"),
    }
}
