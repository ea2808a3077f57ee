//! The directory of pins: what is in it, and taking it out again.

use super::DatapathError;
use super::error::is_root;
use super::object::{Shape, pinned_shapes};
use aya::maps::MapInfo;
use aya::programs::links::{FdLink, PinnedLink};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Version of the configuration maps: raised when their meaning changes. Their contents are planned anew anyway.
const CONFIGURATION: &str = "configuration_v1";
/// Version of the maps that hold flows: raised as rarely as possible, since it costs every flow.
const TRAFFIC: &str = "traffic_v1";
/// Maps that hold flows.
const TRAFFIC_MAPS: &[&str] = &["FLOWS", "NAT_SLOTS"];
const LINKS: &str = "links";
/// How the names of map directories begin, in every release.
const KINDS: &[&str] = &["configuration_v", "traffic_v"];
/// `f_type` of a bpf filesystem (linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// The directory, open.
pub(super) struct PinDirectory {
    root: PathBuf,
    maps: BTreeMap<String, (PathBuf, Shape)>,
}

impl PinDirectory {
    pub fn open(root: &Path) -> Result<PinDirectory, DatapathError> {
        if !is_root() {
            return Err(DatapathError::NotPermitted);
        }
        let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        if !is_bpffs(existing)? {
            return Err(DatapathError::NotBpffs { path: root.to_owned() });
        }
        for directory in [CONFIGURATION, TRAFFIC, LINKS] {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(|source| DatapathError::Pin { path, source })?;
        }
        let maps = pinned_shapes()?
            .into_iter()
            .map(|(name, shape)| {
                let kind = if TRAFFIC_MAPS.contains(&name.as_str()) { TRAFFIC } else { CONFIGURATION };
                let path = root.join(kind).join(&name);
                (name, (path, shape))
            })
            .collect();
        Ok(PinDirectory { root: root.to_owned(), maps })
    }

    /// Name and pin of every map.
    pub fn map_paths(&self) -> impl Iterator<Item = (&str, &PathBuf)> {
        self.maps.iter().map(|(name, (path, _))| (name.as_str(), path))
    }

    /// Compares pinned maps with this release's; aya adopts them unseen. Whether there were any.
    pub fn check_shapes(&self) -> Result<bool, DatapathError> {
        let mut adopted = false;
        for (path, wanted) in self.maps.values() {
            if !path.exists() {
                continue;
            }
            let info = MapInfo::from_pin(path).map_err(DatapathError::load)?;
            let found = Shape {
                kind: info.map_type().map_err(DatapathError::load)? as u32,
                key_bytes: info.key_size(),
                value_bytes: info.value_size(),
                entries: info.max_entries(),
                flags: info.map_flags(),
            };
            if found != *wanted {
                return Err(DatapathError::Shape {
                    path: path.clone(),
                    found: found.to_string(),
                    wanted: wanted.to_string(),
                });
            }
            adopted = true;
        }
        Ok(adopted)
    }

    /// The pin of a link. Named by interface index: names of interfaces may hold dots, which bpffs reserves.
    pub fn link(&self, program: &str, ifindex: u32) -> PathBuf {
        self.root.join(LINKS).join(format!("{program}_{ifindex}"))
    }

    /// All pinned links.
    pub fn links(&self) -> Result<Vec<PathBuf>, DatapathError> {
        list(&self.root.join(LINKS))
    }
}

/// What [`unload`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unloaded {
    /// Programs detached.
    pub links: usize,
    /// Maps removed.
    pub maps: usize,
}

/// Detaches every program and removes every map that a Causeway of any release pinned below `root`; then the directories
/// if they are empty. What others keep in `root` stays. Without a process that holds them, the kernel frees programs and
/// maps.
pub fn unload(root: &Path) -> Result<Unloaded, DatapathError> {
    if !is_root() {
        return Err(DatapathError::NotPermitted);
    }
    let mut removed = Unloaded::default();
    super::attach::detach_filters()?;
    for directory in list(root)? {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_links = name == LINKS;
        let is_maps = KINDS.iter().any(|kind| name.starts_with(kind)) && directory.is_dir();
        if !is_links && !is_maps {
            continue;
        }
        for pin in list(&directory)? {
            if is_links {
                remove_link(&pin)?;
                removed.links += 1;
            } else {
                fs::remove_file(&pin).map_err(|source| DatapathError::Pin { path: pin, source })?;
                removed.maps += 1;
            }
        }
        remove_directory(&directory)?;
    }
    remove_directory(root)?;
    Ok(removed)
}

/// Removes the pin of a link; when this returns, its program is detached. The kernel frees what was only pinned some time
/// later, but what a process closes at once.
pub(super) fn remove_link(pin: &Path) -> Result<(), DatapathError> {
    let link = PinnedLink::from_pin(pin).ok().map(FdLink::from);
    fs::remove_file(pin).map_err(|source| DatapathError::Pin { path: pin.to_owned(), source })?;
    drop(link);
    Ok(())
}

/// Removes a directory unless somebody keeps something in it, or it is the mount point.
fn remove_directory(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_dir(path) {
        Err(source)
            if !matches!(
                source.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy
            ) =>
        {
            Err(DatapathError::Pin { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// The entries of a directory; none if it does not exist.
fn list(path: &Path) -> Result<Vec<PathBuf>, DatapathError> {
    let error = |source| DatapathError::Pin { path: path.to_owned(), source };
    match fs::read_dir(path) {
        Ok(entries) => {
            let mut paths = entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<Vec<_>, _>>()
                .map_err(error)?;
            paths.sort();
            Ok(paths)
        }
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(error(source)),
    }
}

fn is_bpffs(path: &Path) -> Result<bool, DatapathError> {
    use std::os::unix::ffi::OsStrExt;
    let c_path = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|source| DatapathError::Pin { path: path.to_owned(), source: source.into() })?;
    // SAFETY: plain data, for which zero is valid; filled by the call below.
    let mut status: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    if unsafe { libc::statfs(c_path.as_ptr(), &raw mut status) } != 0 {
        return Err(DatapathError::Pin { path: path.to_owned(), source: io::Error::last_os_error() });
    }
    Ok(status.f_type == BPF_FS_MAGIC)
}
