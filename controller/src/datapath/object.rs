//! The compiled programs, and the shapes of their maps.

use super::DatapathError;
use std::collections::BTreeMap;

/// The eBPF object that `cargo xtask build-ebpf` made, as one aligned block.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FORWARDER_EBPF_OBJECT"));

/// The log's map: its reader takes it, and nobody else wants it after a restart.
const NOT_PINNED: &[&str] = &["AYA_LOGS"];

/// What must agree before a pinned map is adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub kind: u32,
    pub key_bytes: u32,
    pub value_bytes: u32,
    pub entries: u32,
    pub flags: u32,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "type {}, {}-byte keys, {}-byte values, {} entries, flags {:#x}",
            self.kind, self.key_bytes, self.value_bytes, self.entries, self.flags
        )
    }
}

/// Name and shape of every map that is pinned.
pub(super) fn pinned_shapes() -> Result<BTreeMap<String, Shape>, DatapathError> {
    let object = aya_obj::Object::parse(OBJECT).map_err(DatapathError::load)?;
    let maps =
        object.maps.iter().filter(|(name, _)| !name.starts_with('.') && !NOT_PINNED.contains(&name.as_str()));
    Ok(maps
        .map(|(name, map)| {
            let shape = Shape {
                kind: map.map_type(),
                key_bytes: map.key_size(),
                value_bytes: map.value_size(),
                entries: map.max_entries(),
                flags: map.map_flags(),
            };
            (name.clone(), shape)
        })
        .collect())
}
