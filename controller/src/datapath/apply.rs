//! Carrying out a change.

use super::DatapathError;
use super::maps::{Maps, Plain, map_error, trie_key};
use crate::plan::{Change, MapOp, MapState};
use aya::maps::MapError;
use forwarder_common::epoch::position;
use forwarder_common::settings::CONTROL_EPOCH;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Value of keys whose presence is all that counts.
const PRESENT: u32 = 1;

impl Maps {
    /// Writes what no packet can see yet. `state` follows step by step, so that it is right also when a step fails: the
    /// next change is made from it.
    pub fn prepare(&mut self, change: &Change, state: &mut MapState) -> Result<(), DatapathError> {
        self.carry_out_all(&change.prepare, state)
    }

    /// Puts what was prepared into force with one store, waits until no packet reads the old copy, and cleans up.
    pub fn commit(&mut self, change: &Change, state: &mut MapState) -> Result<(), DatapathError> {
        // Release: all writes before are visible to whoever reads the new epoch. (Only tables are not written by
        // system calls.)
        self.control.word(CONTROL_EPOCH).store(change.epoch, Ordering::Release);
        state.epoch = change.epoch;
        wait_for_readers();
        self.carry_out_all(&change.cleanup, state)
    }

    fn carry_out_all(&mut self, ops: &[MapOp], state: &mut MapState) -> Result<(), DatapathError> {
        ops.iter().try_for_each(|op| {
            self.carry_out(op)?;
            state.apply_op(op);
            Ok(())
        })
    }

    fn carry_out(&mut self, op: &MapOp) -> Result<(), DatapathError> {
        match op {
            MapOp::SetSettings { copy, value } => {
                self.settings.set(position(0, *copy), Plain(*value), 0).map_err(map_error("SETTINGS"))
            }
            MapOp::SetVip { copy, index, value } => {
                self.vip.set(position(*index, *copy), Plain(*value), 0).map_err(map_error("VIP"))
            }
            MapOp::SetServer { copy, index, value } => {
                self.server.set(position(*index, *copy), Plain(*value), 0).map_err(map_error("SERVER"))
            }
            MapOp::SetNextHop { copy, index, value } => {
                self.next_hop.set(position(*index, *copy), Plain(*value), 0).map_err(map_error("NEXT_HOP"))
            }
            MapOp::SetHopGroup { copy, index, value } => {
                self.hop_group.set(position(*index, *copy), Plain(**value), 0).map_err(map_error("HOP_GROUP"))
            }
            MapOp::WriteTable { slot, table } => self.maglev.write_table(*slot, &table.owners()),
            MapOp::InsertVip { key, index } => {
                self.vips.insert(Plain(*key), index, 0).map_err(map_error("VIPS"))
            }
            MapOp::RemoveVip { key } => {
                absent_is_fine(self.vips.remove(&Plain(*key))).map_err(map_error("VIPS"))
            }
            MapOp::InsertRoute { prefix, key, index } => {
                self.routes.insert(&trie_key(*prefix, *key), index, 0).map_err(map_error("ROUTES"))
            }
            MapOp::RemoveRoute { prefix, key } => {
                absent_is_fine(self.routes.remove(&trie_key(*prefix, *key))).map_err(map_error("ROUTES"))
            }
            MapOp::InsertTunnel { key, index } => {
                self.tunnels.insert(Plain(*key), index, 0).map_err(map_error("TUNNELS"))
            }
            MapOp::RemoveTunnel { key } => {
                absent_is_fine(self.tunnels.remove(&Plain(*key))).map_err(map_error("TUNNELS"))
            }
            MapOp::InsertLocalAddress { address } => {
                self.local_addresses.insert(Plain(*address), PRESENT, 0).map_err(map_error("LOCAL_ADDRESSES"))
            }
            MapOp::RemoveLocalAddress { address } => {
                absent_is_fine(self.local_addresses.remove(&Plain(*address)))
                    .map_err(map_error("LOCAL_ADDRESSES"))
            }
        }
    }
}

/// A removal repeated after a failure finds nothing to remove.
fn absent_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Returns once every program that began before has ended. MEMBARRIER_CMD_GLOBAL waits for an RCU grace period, which
/// is what protects running programs; where it is not offered (nohz_full), ample time does.
fn wait_for_readers() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: no pointers.
    if unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } != 0 {
        std::thread::sleep(Duration::from_millis(100));
    }
}
