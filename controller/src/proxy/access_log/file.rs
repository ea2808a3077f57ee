//! The writer's thread, and the file it writes to.

use super::AccessLog;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Batches waiting for the writer, some 8 MB.
const QUEUE: usize = 128;

/// The writer's thread, and what workers send their batches to.
pub type Writer = (JoinHandle<()>, SyncSender<Vec<u8>>);

/// Where lines go.
enum Sink {
    Stdout,
    File(LogFile),
}

/// A file that may be moved away from its name at any time, by who rotates logs.
struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and inode of `file`.
    identity: (u64, u64),
    /// A new file could not be made under the name, which was said.
    warned: bool,
}

/// Starts the writer: its thread, and what workers send to. The thread ends when every sender is gone.
///
/// Errors: the file cannot be opened for appending.
pub fn start_writer(log: &AccessLog) -> io::Result<Option<Writer>> {
    let sink = match log {
        AccessLog::Off => return Ok(None),
        AccessLog::Stdout => Sink::Stdout,
        AccessLog::File(path) => Sink::File(LogFile::open(path)?),
    };
    let (sender, receiver) = sync_channel(QUEUE);
    let thread =
        std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(sink, &receiver))?;
    Ok(Some((thread, sender)))
}

fn write_all(mut sink: Sink, batches: &Receiver<Vec<u8>>) {
    for batch in batches {
        if let Err(error) = sink.write(&batch) {
            log::warn!("access log: {} bytes lost: {error}", batch.len());
        }
    }
}

impl Sink {
    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(batch)?;
                out.flush()
            }
            Sink::File(log) => {
                log.follow_name();
                log.file.write_all(batch)
            }
        }
    }
}

impl LogFile {
    fn open(path: &Path) -> io::Result<LogFile> {
        let open = || {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            let identity = identity_of(&file.metadata()?);
            Ok(LogFile { path: path.to_owned(), file, identity, warned: false })
        };
        open().map_err(|error: io::Error| {
            let remedy = "create its directory, or change `access_log` in the node settings";
            io::Error::new(error.kind(), format!("open access log {}: {error}; {remedy}", path.display()))
        })
    }

    /// Makes a new file where the name no longer leads to this one. Asked before every batch, which costs less than a
    /// microsecond: so rotation needs no signal, and one that comes needs no answer.
    fn follow_name(&mut self) {
        if std::fs::metadata(&self.path).is_ok_and(|found| identity_of(&found) == self.identity) {
            return;
        }
        match LogFile::open(&self.path) {
            Ok(fresh) => *self = fresh,
            Err(error) if !self.warned => {
                self.warned = true;
                log::warn!("{error}; until then lines go on into the file that had the name");
            }
            Err(_) => {}
        }
    }
}

fn identity_of(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    // Holds LR-142
    #[test]
    fn lines_go_where_the_name_leads() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
        let mut sink = Sink::File(LogFile::open(&path).unwrap());
        sink.write(b"one\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        sink.write(b"two\n").unwrap();
        sink.write(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\nthree\n");
        // Another program may have made the new file already.
        fs::rename(&path, &moved).unwrap();
        fs::write(&path, "theirs\n").unwrap();
        sink.write(b"four\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs\nfour\n");
    }

    #[test]
    fn lines_are_kept_where_no_new_file_can_be_made() {
        let directory = tempfile::tempdir().unwrap();
        let (inner, moved) = (directory.path().join("logs"), directory.path().join("moved"));
        fs::create_dir(&inner).unwrap();
        let mut sink = Sink::File(LogFile::open(&inner.join("access.log")).unwrap());
        fs::rename(&inner, &moved).unwrap();
        sink.write(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(moved.join("access.log")).unwrap(), "one\n");
        fs::create_dir(&inner).unwrap();
        sink.write(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(inner.join("access.log")).unwrap(), "two\n");
    }
}
