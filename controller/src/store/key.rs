//! The key of the datapath's flow hash.

use super::StoreError;
use super::write::{never_stop, write_whole};
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

const NAME: &str = "datapath.key";
const RANDOM: &str = "/dev/urandom";

/// The hash key in `state_dir`: random, made once, readable by the owner only. It must outlive restarts, or flows
/// that the table does not hold would hash to other servers after one.
pub fn datapath_key(state_dir: &Path) -> Result<[u8; 16], StoreError> {
    let path = state_dir.join(NAME);
    match fs::read(&path) {
        Ok(bytes) => bytes.try_into().map_err(|bytes: Vec<u8>| StoreError::Corrupt {
            path,
            why: format!("{} bytes, a key has 16", bytes.len()),
            remedy: "remove it, and a new key is made; open flows may then change servers".into(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = random()?;
            let mut builder = DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(state_dir)
                .map_err(StoreError::io("create", state_dir))?;
            write_whole(state_dir, NAME, &key, never_stop)?;
            Ok(key)
        }
        Err(error) => Err(StoreError::io("read", &path)(error)),
    }
}

/// Random bytes, good for keys.
pub(super) fn random<const BYTES: usize>() -> Result<[u8; BYTES], StoreError> {
    let mut key = [0; BYTES];
    File::open(RANDOM)
        .and_then(|mut source| source.read_exact(&mut key))
        .map_err(StoreError::io("read", Path::new(RANDOM)))?;
    Ok(key)
}
