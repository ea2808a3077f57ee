//! The kernel's side: loading the programs, pinning and adopting their maps, attaching, applying changes, counting.
//! The only module that names aya.
//!
//! Everything outlives the process. Maps and links are pinned; a new process adopts the maps after checking their
//! shape and replaces the programs by link update, so no packet is lost and no flow forgotten. `unload` removes what
//! is pinned here, and with it programs and maps, and nothing else.

mod apply;
mod attach;
mod error;
mod maps;
mod object;
mod pins;
mod stats;
mod test_run;

pub use attach::{Attachment, Hook, wanted_attachments};
pub use error::DatapathError;
pub use object::OBJECT;
pub use pins::{Unloaded, unload};
pub use stats::{Counters, FlowCounts};
pub use test_run::{Action, Arrival, Run};

use crate::plan::{Change, MapState};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use forwarder_common::hash::Key;
use forwarder_common::vip::MaglevEntry;
use maps::Maps;
use pins::PinDirectory;
use std::collections::BTreeMap;
use std::path::Path;

/// How to open the datapath.
pub struct Options<'a> {
    /// Directory on a bpffs; made if it is missing.
    pub bpf_dir: &'a Path,
    /// Key of the flow hash. Another key than last time moves new flows only: flows are found by their 5-tuple.
    pub flow_hash_key: Key,
    /// Level of the programs' log, 0 (none) to 5 (trace). At 0 the loaded programs hold no logging code.
    pub log_level: u8,
}

/// The loaded datapath.
pub struct Datapath {
    ebpf: Ebpf,
    pins: PinDirectory,
    maps: Maps,
    state: MapState,
    attached: BTreeMap<Attachment, attach::Handle>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Whether the maps were there before.
    adopted: bool,
}

impl Datapath {
    /// Loads the programs, creates or adopts the maps, and reads what they hold. Attaches nothing yet.
    ///
    /// # Errors
    /// Without privileges or kernel support, off a bpffs, or when pinned maps have another shape than this release's.
    pub fn open(options: &Options) -> Result<Datapath, DatapathError> {
        let pins = PinDirectory::open(options.bpf_dir)?;
        let adopted = pins.check_shapes()?;
        let mut loader = EbpfLoader::new();
        loader.override_global("FLOW_HASH_KEY", &options.flow_hash_key, true);
        loader.override_global("AYA_LOG_LEVEL", &options.log_level, false);
        for (name, path) in pins.map_paths() {
            loader.map_pin_path(name, path.clone());
        }
        let mut ebpf = loader.load(OBJECT).map_err(DatapathError::load)?;
        attach::load_programs(&mut ebpf)?;
        let logger = if options.log_level == 0 {
            None
        } else {
            Some(EbpfLogger::init(&mut ebpf).map_err(|error| DatapathError::Log(error.to_string()))?)
        };
        let maps = Maps::take(&mut ebpf)?;
        let state = maps.read_state()?;
        Ok(Datapath { ebpf, pins, maps, state, attached: BTreeMap::new(), logger, adopted })
    }

    /// Whether maps of an earlier process were adopted.
    pub fn has_adopted(&self) -> bool {
        self.adopted
    }

    /// What the maps hold.
    pub fn state(&self) -> &MapState {
        &self.state
    }

    /// The Maglev table in `slot`, as the programs read it.
    pub fn table(&self, slot: u32) -> Result<Vec<MaglevEntry>, DatapathError> {
        self.maps.maglev.table(slot)
    }

    /// Carries out a change: both phases.
    pub fn apply(&mut self, change: &Change) -> Result<(), DatapathError> {
        self.prepare(change)?;
        self.commit(change)
    }

    /// The first phase: everything that can fail, and nothing that a packet can see. When it fails, or when no
    /// [`Datapath::commit`] follows, another change may be planned from [`Datapath::state`], which says what was written
    /// by then.
    pub fn prepare(&mut self, change: &Change) -> Result<(), DatapathError> {
        self.maps.prepare(change, &mut self.state)
    }

    /// The second phase: from its first step on, packets see the whole change. An error is one of cleaning up only; the
    /// keys it left behind lead to free elements, and the next change removes them.
    pub fn commit(&mut self, change: &Change) -> Result<(), DatapathError> {
        self.maps.commit(change, &mut self.state)
    }

    /// Prints what the programs have logged.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }
}
