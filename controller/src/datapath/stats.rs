//! Reading what the programs counted.

use super::maps::{Plain, map_error};
use super::{Datapath, DatapathError};
use aya::maps::{MapData, PerCpuArray};
use bytemuck::Pod;
use forwarder_common::counters::{HopCounters, ServerCounters, VipCounters};
use forwarder_common::limits;
use forwarder_common::nat::Claim;
use forwarder_common::verdict::DropReason;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// Counters of everything that has an element, summed over CPUs, by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By reason; zero ones too.
    pub drops: BTreeMap<DropReason, u64>,
    /// By VIP.
    pub vips: BTreeMap<u32, VipCounters>,
    /// By server.
    pub servers: BTreeMap<u32, ServerCounters>,
    /// By next hop.
    pub next_hops: BTreeMap<u32, HopCounters>,
}

/// Flows in progress, counted by looking at every slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// By server index; servers without flows are absent.
    pub by_server: BTreeMap<u32, u64>,
}

macro_rules! sum {
    ($type:ident { $($field:ident),* }) => {
        |total: &mut $type, cpu: &$type| { $(total.$field += cpu.$field;)* }
    };
}

impl Datapath {
    /// All counters.
    pub fn counters(&self) -> Result<Counters, DatapathError> {
        let (live, maps) = (self.state.live(), &self.maps);
        let mut drops = BTreeMap::new();
        for reason in DropReason::ALL {
            let values = maps.drops.get(&(*reason as u32), 0).map_err(map_error("DROPS"))?;
            drops.insert(*reason, values.iter().sum());
        }
        Ok(Counters {
            drops,
            vips: read(
                &maps.vip_counters,
                "VIP_COUNTERS",
                live.vip.keys(),
                sum!(VipCounters { packets, bytes, flows, drops }),
            )?,
            servers: read(
                &maps.server_counters,
                "SERVER_COUNTERS",
                live.server.iter().filter(|(_, server)| server.identity != 0).map(|(index, _)| index),
                sum!(ServerCounters { flows, flows_ended, packets, bytes, reply_packets, reply_bytes }),
            )?,
            next_hops: read(
                &maps.hop_counters,
                "HOP_COUNTERS",
                live.next_hop.keys(),
                sum!(HopCounters { packets, bytes, reply_packets, reply_bytes }),
            )?,
        })
    }

    /// Counts flows in progress, at `now_secs` of the programs' clock (CLOCK_MONOTONIC). Reads 16 MB: some milliseconds.
    pub fn flows(&self, now_secs: u32) -> Result<FlowCounts, DatapathError> {
        let mut counts = FlowCounts::default();
        let servers = &self.state.live().server;
        if servers.is_empty() {
            return Ok(counts);
        }
        let slots = self.maps.nat_slots.all_slots()?;
        for index in 0..limits::NAT_SLOTS {
            let claim = Claim::from_bits(slots.claim(index).load(Ordering::Relaxed));
            if claim.is_live() && !claim.is_closed() && !claim.is_free(now_secs) {
                let slot = slots.slot(index);
                // A flow of whoever held the server's index before is not the present holder's.
                if servers.get(&slot.server).is_some_and(|server| server.generation == slot.server_generation)
                {
                    *counts.by_server.entry(slot.server).or_default() += 1;
                }
            }
        }
        Ok(counts)
    }
}

fn read<'a, T: Pod + Default>(
    array: &PerCpuArray<MapData, Plain<T>>,
    name: &'static str,
    indices: impl Iterator<Item = &'a u32>,
    add: impl Fn(&mut T, &T),
) -> Result<BTreeMap<u32, T>, DatapathError> {
    let mut found = BTreeMap::new();
    for index in indices {
        let values = array.get(index, 0).map_err(map_error(name))?;
        let mut total = T::default();
        for value in values.iter() {
            add(&mut total, &value.0);
        }
        found.insert(*index, total);
    }
    Ok(found)
}
