//! Certificates with their keys: `STATE_DIR/certificates/NAME.pem`.
//!
//! Each file is the chain and the key as PEM, so that one rename replaces both, and one line of our own at its end, as
//! for revisions. Files are the owner's alone, and nothing of them gets into revisions, logs or answers.

use super::StoreError;
use super::write::{Step, never_stop, remove_leftovers, write_whole};
use crate::certificate::{Certificate, KeyText, read_back};
use crate::model::CertificateName;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const ENDING: &str = ".pem";
const KEY_BEGIN: &str = "-----BEGIN";

/// The certificates in a state directory, as they are on disk.
#[derive(Debug)]
pub struct CertificateStore {
    directory: PathBuf,
    held: BTreeMap<CertificateName, Certificate>,
}

impl CertificateStore {
    /// Reads the certificates in `state_dir`, creating both if need be, and removes what a crash left behind. Those that
    /// cannot be read are no reason not to serve the others: each is an error of its own, and counts as absent.
    pub fn open(state_dir: &Path) -> Result<(CertificateStore, Vec<StoreError>), StoreError> {
        let directory = state_dir.join("certificates");
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(StoreError::io("create", &directory))?;
        // The directory's own name must be on the disk before a certificate in it counts as kept.
        File::open(state_dir)
            .and_then(|handle| handle.sync_all())
            .map_err(StoreError::io("sync", state_dir))?;
        remove_leftovers(&directory)?;
        let (mut held, mut damaged) = (BTreeMap::new(), Vec::new());
        for entry in fs::read_dir(&directory).map_err(StoreError::io("list", &directory))? {
            let path = entry.map_err(StoreError::io("list", &directory))?.path();
            let name =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING));
            let Some(name) = name.map(CertificateName::new) else { continue };
            match read(&path, &name) {
                Ok(certificate) => {
                    held.insert(name, certificate);
                }
                Err(error) => damaged.push(error),
            }
        }
        Ok((CertificateStore { directory, held }, damaged))
    }

    /// The certificates, by name.
    pub fn all(&self) -> &BTreeMap<CertificateName, Certificate> {
        &self.held
    }

    /// Keeps `certificate` under `name`, in place of one there may be. When this returns, it survives a crash and a power
    /// failure; on failure nothing changes.
    pub fn put(&mut self, name: &CertificateName, certificate: Certificate) -> Result<(), StoreError> {
        self.put_until(name, certificate, never_stop).map(|_| ())
    }

    /// [`CertificateStore::put`], stopped as by a crash where `reached` breaks; then `None`.
    pub(super) fn put_until(
        &mut self,
        name: &CertificateName,
        certificate: Certificate,
        reached: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Option<()>, StoreError> {
        let written = write_whole(&self.directory, &file_name(name), &seal(name, &certificate), reached)?;
        if written.is_some() {
            self.held.insert(name.clone(), certificate);
        }
        Ok(written)
    }

    /// Removes a certificate, if it is there. On failure it stays, or may be there again after a crash.
    pub fn remove(&mut self, name: &CertificateName) -> Result<(), StoreError> {
        let path = self.directory.join(file_name(name));
        match fs::remove_file(&path) {
            // Somebody was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => result.map_err(StoreError::io("remove", &path))?,
        }
        self.held.remove(name);
        File::open(&self.directory)
            .and_then(|handle| handle.sync_all())
            .map_err(StoreError::io("sync", &self.directory))
    }
}

fn file_name(name: &CertificateName) -> String {
    format!("{name}{ENDING}")
}

fn seal(name: &CertificateName, certificate: &Certificate) -> Vec<u8> {
    let text = format!("{}{}", certificate.chain, certificate.key.secret());
    let trailer = trailer(name, &text);
    (text + &trailer).into_bytes()
}

fn trailer(name: &CertificateName, text: &str) -> String {
    format!(
        "# causeway certificate {name}: {} bytes, crc32 {:08x}\n",
        text.len(),
        crc32fast::hash(text.as_bytes())
    )
}

fn read(path: &Path, name: &CertificateName) -> Result<Certificate, StoreError> {
    let bytes = fs::read(path).map_err(StoreError::io("read", path))?;
    unseal(bytes, name).map_err(|why| StoreError::Corrupt {
        path: path.to_owned(),
        why,
        remedy: format!("`causeway certificate add \"{name}\"` replaces it"),
    })
}

/// What was sealed, or what is wrong with it.
fn unseal(bytes: Vec<u8>, name: &CertificateName) -> Result<Certificate, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is no text")?;
    let end = text.rfind("# causeway certificate ").ok_or("the line with its checksum is missing")?;
    let (body, found) = text.split_at(end);
    if found != trailer(name, body) {
        return Err("its checksum does not fit: it was changed, renamed or cut".to_owned());
    }
    // The key is the last section.
    let key = body.rfind(KEY_BEGIN).ok_or("it holds no key")?;
    let (chain, key) = body.split_at(key);
    read_back(chain.to_owned(), KeyText::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::tests::certificate;
    use std::os::unix::fs::PermissionsExt;

    fn open(state: &Path) -> CertificateStore {
        let (store, damaged) = CertificateStore::open(state).unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        store
    }

    fn www() -> CertificateName {
        CertificateName::new("www")
    }

    fn path(state: &Path, name: &str) -> PathBuf {
        state.join("certificates").join(name)
    }

    #[test]
    fn keeps_certificates_across_restarts_until_they_are_removed() {
        let state = tempfile::tempdir().unwrap();
        let mut store = open(state.path());
        assert!(store.all().is_empty());
        let names = ["www", "a b.c", "证书"].map(CertificateName::new);
        for name in &names {
            store.put(name, certificate(&[&format!("{}.example", name.as_str().len())])).unwrap();
        }
        let kept = store.all().clone();
        assert_eq!(kept.len(), 3);
        assert_eq!(open(state.path()).all(), &kept);

        store.remove(&names[1]).unwrap();
        assert_eq!(store.all().keys().collect::<Vec<_>>(), [&names[0], &names[2]]);
        assert_eq!(open(state.path()).all(), store.all());
        store.remove(&names[1]).unwrap();
    }

    #[test]
    fn keeps_keys_to_the_owner() {
        let state = tempfile::tempdir().unwrap();
        open(state.path()).put(&www(), certificate(&["a.example"])).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path(state.path(), "www.pem")), 0o600);
        assert_eq!(mode(&state.path().join("certificates")), 0o700);
    }

    #[test]
    fn holds_the_old_or_the_new_certificate_whole_after_a_crash_at_any_step() {
        let (old, new) = (certificate(&["old.example"]), certificate(&["new.example"]));
        let steps = [
            (Step::Created, &old),
            (Step::HalfWritten, &old),
            (Step::Written, &old),
            (Step::FileSynced, &old),
            (Step::Renamed, &new),
            (Step::DirectorySynced, &new),
        ];
        for (crash, expected) in steps {
            let state = tempfile::tempdir().unwrap();
            let mut store = open(state.path());
            store.put(&www(), old.clone()).unwrap();
            let stopped = store.put_until(&www(), new.clone(), |step| {
                if step == crash { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert_eq!(stopped.unwrap(), None);
            drop(store);

            let mut store = open(state.path());
            assert_eq!(
                store.all(),
                &BTreeMap::from([(www(), expected.clone())]),
                "after a crash at {crash:?}"
            );
            let files = fs::read_dir(state.path().join("certificates")).unwrap().count();
            assert_eq!(files, 1, "leftovers go");
            store.put(&www(), new.clone()).unwrap();
            assert_eq!(open(state.path()).all()[&www()], new);
        }
    }

    #[test]
    fn changes_nothing_when_it_cannot_write() {
        let state = tempfile::tempdir().unwrap();
        let mut store = open(state.path());
        store.put(&www(), certificate(&["old.example"])).unwrap();
        let before = store.all().clone();
        // The file that would be renamed cannot be made: its name is taken by a directory.
        fs::create_dir(path(state.path(), ".new-www.pem")).unwrap();
        assert!(store.put(&www(), certificate(&["new.example"])).is_err());
        assert_eq!(store.all(), &before);
    }

    #[test]
    fn reports_each_damaged_certificate_and_keeps_the_others() {
        let state = tempfile::tempdir().unwrap();
        let mut store = open(state.path());
        for name in ["bits", "cut", "good", "moved", "bytes"] {
            store.put(&CertificateName::new(name), certificate(&["a.example"])).unwrap();
        }
        let change = |name: &str, change: fn(&mut Vec<u8>)| {
            let path = path(state.path(), name);
            let mut bytes = fs::read(&path).unwrap();
            change(&mut bytes);
            fs::write(&path, bytes).unwrap();
        };
        change("bits.pem", |bytes| bytes[100] ^= 1);
        change("cut.pem", |bytes| bytes.truncate(bytes.len() / 2));
        change("bytes.pem", |bytes| bytes[100] = 0xff);
        fs::rename(path(state.path(), "moved.pem"), path(state.path(), "other.pem")).unwrap();
        fs::write(path(state.path(), "notes.txt"), "no certificate").unwrap();

        let (store, damaged) = CertificateStore::open(state.path()).unwrap();
        assert_eq!(store.all().keys().map(CertificateName::as_str).collect::<Vec<_>>(), ["good"]);
        let mut told: Vec<String> = damaged.iter().map(ToString::to_string).collect();
        told.sort();
        let line = |name: &str, why: &str| {
            format!(
                "{} is damaged: {why}; `causeway certificate add \"{name}\"` replaces it",
                path(state.path(), &format!("{name}.pem")).display()
            )
        };
        let checksum = "its checksum does not fit: it was changed, renamed or cut";
        assert_eq!(
            told,
            [
                line("bits", checksum),
                line("bytes", "it is no text"),
                line("cut", "the line with its checksum is missing"),
                line("other", checksum),
            ]
        );
    }
}
