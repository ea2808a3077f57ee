//! The keys that sticky cookies are sealed with (D-15).

use super::StoreError;
use super::key::random;
use super::write::{never_stop, write_whole};
use crate::snapshot::CookieKey;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const NAME: &str = "cookie.keys";
/// Keys kept: the current one, and those that clients may still hold cookies of.
const KEYS_KEPT: usize = 3;

/// The keys in a state directory. They outlive restarts, or every client would lose its server at one.
#[derive(Debug)]
pub struct CookieKeys {
    directory: PathBuf,
    keys: Vec<CookieKey>,
}

impl CookieKeys {
    /// Reads the keys, or makes the first one.
    pub fn open(state_dir: &Path) -> Result<CookieKeys, StoreError> {
        let path = state_dir.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => {
                let keys = decode(&bytes).ok_or_else(|| StoreError::Corrupt {
                    path,
                    why: "its checksum does not fit".into(),
                    remedy: "remove it, and a new key is made; sticky clients may then change servers".into(),
                })?;
                Ok(CookieKeys { directory: state_dir.to_owned(), keys })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut keys = CookieKeys { directory: state_dir.to_owned(), keys: Vec::new() };
                keys.rotate()?;
                Ok(keys)
            }
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }

    /// The keys, the current one first; not empty.
    pub fn keys(&self) -> &[CookieKey] {
        &self.keys
    }

    /// Puts a new key first; cookies of the two before it still open. When this returns, all of them survive a crash.
    /// On failure nothing changes.
    pub fn rotate(&mut self) -> Result<(), StoreError> {
        let id = self.keys.first().map_or(0, |newest| newest.id.wrapping_add(1));
        let mut keys = vec![CookieKey { id, key: random()? }];
        keys.extend(self.keys.iter().take(KEYS_KEPT - 1).cloned());
        write_whole(&self.directory, NAME, &encode(&keys), never_stop)?;
        self.keys = keys;
        Ok(())
    }
}

fn encode(keys: &[CookieKey]) -> Vec<u8> {
    let mut bytes = postcard::to_extend(keys, Vec::new()).expect("a Vec grows, and every field serializes");
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<CookieKey>> {
    let (body, checksum) = bytes.split_last_chunk()?;
    let keys: Vec<CookieKey> =
        postcard::from_bytes(body).ok().filter(|_| u32::from_le_bytes(*checksum) == crc32fast::hash(body))?;
    Some(keys).filter(|keys| !keys.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn ids(keys: &CookieKeys) -> Vec<u8> {
        keys.keys().iter().map(|key| key.id).collect()
    }

    #[test]
    fn the_first_key_is_made_once_and_kept_to_the_owner() {
        let state = tempfile::tempdir().unwrap();
        let first = CookieKeys::open(state.path()).unwrap().keys().to_vec();
        assert_eq!(first.len(), 1);
        assert_ne!(first[0].key, [0; 32]);
        assert_eq!(CookieKeys::open(state.path()).unwrap().keys(), first);
        let mode = fs::metadata(state.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(CookieKeys::open(other.path()).unwrap().keys(), first);
    }

    #[test]
    fn rotation_keeps_the_two_keys_before_the_new_one_across_restarts() {
        let state = tempfile::tempdir().unwrap();
        let mut keys = CookieKeys::open(state.path()).unwrap();
        let first = keys.keys()[0].clone();
        keys.rotate().unwrap();
        assert_eq!(keys.keys()[1], first);
        assert_ne!(keys.keys()[0].key, first.key);
        keys.rotate().unwrap();
        keys.rotate().unwrap();
        assert_eq!(ids(&keys), [3, 2, 1]);
        assert_eq!(CookieKeys::open(state.path()).unwrap().keys(), keys.keys());
    }

    #[test]
    fn a_rotation_that_fails_changes_nothing() {
        let state = tempfile::tempdir().unwrap();
        let mut keys = CookieKeys::open(state.path()).unwrap();
        let before = keys.keys().to_vec();
        // The file that would be renamed cannot be made: its name is taken by a directory.
        fs::create_dir(state.path().join(format!(".new-{NAME}"))).unwrap();
        assert!(keys.rotate().is_err());
        assert_eq!(keys.keys(), before);
    }

    #[test]
    fn damage_is_reported() {
        let state = tempfile::tempdir().unwrap();
        CookieKeys::open(state.path()).unwrap();
        let path = state.path().join(NAME);
        let good = fs::read(&path).unwrap();
        for damaged in [&good[..good.len() - 1], &[], &[0; 40]] {
            fs::write(&path, damaged).unwrap();
            let error = CookieKeys::open(state.path()).unwrap_err().to_string();
            assert!(error.contains("is damaged"), "{error}");
        }
    }
}
