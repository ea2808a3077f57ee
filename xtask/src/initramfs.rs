//! Writing an initramfs: the kernel's "newc" cpio format, uncompressed
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// An archive under construction.
pub struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    /// An empty one.
    pub fn new() -> Archive {
        Archive { bytes: Vec::new(), inodes: 0, folders: BTreeSet::new() }
    }

    /// Adds an empty folder, and its parents. `path` has no leading slash.
    pub fn folder(&mut self, path: &str) {
        if path.is_empty() || !self.folders.insert(path.to_owned()) {
            return;
        }
        self.parent(path);
        self.entry(path, FOLDER | 0o755, &[]);
    }

    /// Adds an executable file with the content of `from`.
    pub fn program(&mut self, path: &str, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.file(path, &content);
        Ok(())
    }

    /// Adds an executable file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.parent(path);
        self.entry(path, FILE | 0o755, content);
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.inodes += 1;
        let size = u32::try_from(content.len()).expect("a file of an initramfs is below 4 GB");
        let name_size = u32::try_from(path.len() + 1).expect("a path is short");
        // inode, mode, uid, gid, links, mtime, size, device major and minor, rdev major and minor, name size, checksum
        let fields = [self.inodes, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Header with name, and content, each end at a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_what_is_in_them_and_once() {
        let mut archive = Archive::new();
        archive.file("a/b/one", b"1");
        archive.file("a/b/two", b"22");
        let bytes = archive.finish();
        let names: Vec<_> = String::from_utf8_lossy(&bytes)
            .split("070701")
            .skip(1)
            .map(|entry| entry[104..].split('\0').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/one", "a/b/two", "TRAILER!!!"]);
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn an_entry_states_the_size_of_name_and_content() {
        let mut archive = Archive::new();
        archive.file("init", b"#!/bin/sh\n");
        let bytes = archive.finish();
        // Fields of eight digits after the six of the magic: mode is the second, size the seventh, name the twelfth.
        let field = |number: usize| {
            std::str::from_utf8(&bytes[6 + 8 * (number - 1)..6 + 8 * number]).expect("digits")
        };
        assert_eq!((field(2), field(7), field(12)), ("000081ed", "0000000a", "00000005"));
        assert_eq!(&bytes[110..114], b"init");
        assert_eq!(&bytes[116..126], b"#!/bin/sh\n");
    }
}
