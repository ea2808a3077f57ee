//! Maglev tables of L4 groups: one per group, or one per zone where traffic may not cross zones (SG-171).

use super::capacity::CapacityError;
use super::contents::Table;
use super::desired::{Draft, is_l4, vip_identity, vip_key};
use super::servers::l4_groups;
use crate::balance::maglev::Member;
use crate::health::Status;
use crate::model::{ServerGroup, ServerGroupName, ZoneMapping, ZoneName};
use forwarder_common::limits;
use forwarder_common::vip;
use std::collections::{BTreeMap, BTreeSet};

/// What a table is of: a group, as seen from a zone or from all.
pub(super) type TableOf<'a> = (&'a ServerGroupName, Option<&'a ZoneName>);
/// The slot of every table.
pub(super) type TableSlots<'a> = BTreeMap<TableOf<'a>, u32>;

/// The zone whose table of `group` a VIP of `mapping` uses.
pub(super) fn zone_of_table<'a>(group: &ServerGroup, mapping: &'a ZoneMapping) -> Option<&'a ZoneName> {
    (!group.cross_zone).then_some(&mapping.zone)
}

impl<'a> Draft<'a> {
    /// The tables of all L4 groups, and their servers' shares. A table whose members did not change keeps its slot;
    /// another one goes to a slot that nobody reads.
    pub fn tables(&mut self) -> Result<TableSlots<'a>, CapacityError> {
        let wanted = self.tables_needed();
        CapacityError::check("server groups of TCP listeners", wanted.len(), limits::MAGLEV_TABLES / 2)?;
        let mut slots = BTreeMap::new();
        let mut taken = self.slots_in_use();
        for of in wanted {
            let (group, zone) = of;
            let group = &self.inputs.resources.server_groups[group];
            let members = self.members(group, zone);
            let current = self.current_slot(of);
            let (slot, table) = match current.map(|slot| (slot, &self.current.tables[&slot])) {
                Some((slot, table)) if self.is_unproven(group, &members, table) => (slot, table.clone()),
                Some((slot, table)) if *table == Table::new(members.iter().copied()) => (slot, table.clone()),
                _ => {
                    let free = (0..limits::MAGLEV_TABLES).find(|slot| !taken.contains(slot));
                    let slot = free.ok_or(CapacityError {
                        what: "Maglev tables",
                        needed: taken.len() + 1,
                        capacity: limits::MAGLEV_TABLES,
                    })?;
                    (slot, Table::new(members))
                }
            };
            taken.insert(slot);
            for member in table.members() {
                let server = self.arrays.server.get_mut(&u32::from(member.index));
                let server = server.expect("members have elements");
                (server.weight, server.table) = (member.weight, slot);
            }
            self.tables.insert(slot, table);
            slots.insert(of, slot);
        }
        Ok(slots)
    }

    fn tables_needed(&self) -> BTreeSet<TableOf<'a>> {
        let (node, resources) = (self.inputs.node, self.inputs.resources);
        let mut needed = BTreeSet::new();
        for group in l4_groups(resources).into_iter().filter(|group| group.cross_zone) {
            needed.insert((&group.name, None));
        }
        for listener in resources.listeners.values().filter(|listener| is_l4(listener)) {
            let group = &resources.server_groups[&listener.server_group];
            let Some(balancer) = resources.load_balancers.get(&listener.load_balancer) else { continue };
            needed
                .extend(node.zones_of(balancer).map(|mapping| (&group.name, zone_of_table(group, mapping))));
        }
        needed
    }

    /// The servers of a group, those of `zone` only if there is one, with their weights now. Without weight: no share.
    fn members(&self, group: &ServerGroup, zone: Option<&ZoneName>) -> Vec<Member> {
        let standings = self.inputs.standings.get(&group.name).map_or(&[][..], Vec::as_slice);
        let zones: BTreeMap<_, _> =
            group.servers.iter().map(|server| (server.address, server.zone.as_ref())).collect();
        let mut members: BTreeMap<u32, Member> = BTreeMap::new();
        for standing in standings {
            if zone.is_some() && zones.get(&standing.address).copied().flatten() != zone {
                continue;
            }
            let index = self.serving[&(group.name.as_str(), standing.address)];
            let identity = self.arrays.server[&index].identity;
            // A server that left, drains and came back stands here twice; only one of the two receives.
            members.entry(index).or_insert(Member { index: index as u16, identity, weight: 0 }).weight +=
                standing.table_weight(self.inputs.now);
        }
        members.into_values().collect()
    }

    /// Whether nothing is known yet of any server of a group that has a table, as after a restart of this program: the
    /// table of before knows better than fail-open, as long as it holds nobody who has left.
    fn is_unproven(&self, group: &ServerGroup, members: &[Member], table: &Table) -> bool {
        let standings = self.inputs.standings.get(&group.name).map_or(&[][..], Vec::as_slice);
        let known: BTreeSet<u16> = members.iter().map(|member| member.index).collect();
        standings.iter().all(|standing| standing.status == Status::Initial)
            && !table.members().is_empty()
            && table.members().iter().all(|member| known.contains(&member.index))
    }

    /// Slots that packets may be reading now.
    fn slots_in_use(&self) -> BTreeSet<u32> {
        self.current.live().vip.values().filter(|vip| vip.kind == vip::KIND_L4).map(|vip| vip.table).collect()
    }

    /// The slot of a table now, found through the VIPs that use it.
    fn current_slot(&self, (name, zone): TableOf) -> Option<u32> {
        let resources = self.inputs.resources;
        let listeners =
            resources.listeners.values().filter(|listener| is_l4(listener) && listener.server_group == *name);
        let mut slots = listeners.flat_map(|listener| {
            let balancer = resources.load_balancers.get(&listener.load_balancer);
            let mappings = balancer.into_iter().flat_map(|balancer| self.inputs.node.zones_of(balancer));
            let mappings = mappings.filter(|mapping| zone.is_none_or(|zone| mapping.zone == *zone));
            mappings.filter_map(|mapping| {
                let index = self.current.keys.vips.get(&vip_key(mapping.vip, listener))?;
                let vip = self.current.live().vip.get(index)?;
                (vip.kind == vip::KIND_L4 && vip.identity == vip_identity(mapping.vip, listener))
                    .then_some(vip.table)
            })
        });
        slots.find(|slot| self.current.tables.contains_key(slot))
    }
}
