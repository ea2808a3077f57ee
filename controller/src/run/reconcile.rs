//! From what is configured and observed to what is in force: the one step that every event ends in.

use super::RunError;
use super::control::{Control, seconds};
use crate::datapath::wanted_attachments;
use crate::health::{GroupHealth, Moment};
use crate::host;
use crate::host::desired::HostState;
use crate::model::{NextHopName, Node, Resources, ServerGroupName, ZoneName};
use crate::plan::{self, CapacityError, Change, Inputs, SnapshotInputs};
use crate::probe::{Target, TargetId, clock};
use crate::proxy::{ListenerSocket, PublishError};
use crate::snapshot::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

impl Control {
    /// Brings maps, engine, host and probes in line with what is known; what fails is logged, and tried again with the
    /// next event. Resources do not change here: an apply has its own, transactional way.
    pub async fn reconcile_or_log(&mut self) {
        if let Err(error) = self.reconcile().await {
            log::error!("{error}; what was in force stays, until the next change is tried");
        }
    }

    async fn reconcile(&mut self) -> Result<(), RunError> {
        self.count_uncounted().await;
        if let Some(change) = self.plan_maps(clock::now())? {
            self.datapath.apply(&change)?;
        }
        // A route that cannot be (its interface is down) must not keep the engine from hearing which servers are left.
        let host = self.reconcile_host().await;
        let sockets = self.bind_missing()?;
        self.publish(sockets).await.map_err(publish_error)?;
        self.watch.set_addresses(self.neighbours_wanted(&self.resources));
        self.consider_counting();
        host
    }

    /// Addresses whose neighbours the plan for `resources` needs.
    pub fn neighbours_wanted(&self, resources: &Resources) -> BTreeSet<Ipv4Addr> {
        plan::neighbours_wanted(&self.node.value, resources, &self.standings)
    }

    /// The change of the maps that is due now.
    pub fn plan_maps(&self, now: Moment) -> Result<Option<Change>, RunError> {
        let state = self.datapath.state();
        // Counting looks at every slot, and only servers that left can need it.
        let in_use = if plan::departed(&self.resources, &self.standings, state).is_empty() {
            BTreeSet::new()
        } else {
            self.datapath.flows(seconds(now))?.by_server.into_keys().collect()
        };
        let inputs = Inputs {
            node: &self.node.value,
            resources: &self.resources,
            standings: &self.standings,
            neighbours: &self.neighbours,
            in_use: &in_use,
            known_since: self.started,
            now,
        };
        let wanted = plan::desired(&inputs, state).map_err(start_error)?;
        Ok(plan::diff(state, &wanted))
    }

    /// Addresses, rules and routes as the resources need them.
    pub async fn reconcile_host(&mut self) -> Result<(), RunError> {
        let wanted = self.wanted_host(&self.resources);
        if self.host_in_force.as_ref() == Some(&wanted) {
            return Ok(());
        }
        self.apply_host(&wanted).await
    }

    /// What the host needs for `resources`.
    pub fn wanted_host(&self, resources: &Resources) -> HostState {
        host::desired::desired(&self.node.value, resources, &self.silent_hops(resources))
    }

    pub async fn apply_host(&mut self, wanted: &HostState) -> Result<(), RunError> {
        self.host_in_force = None;
        for change in self.host.apply(wanted).await? {
            log::info!("{change}");
        }
        self.host_in_force = Some(wanted.clone());
        Ok(())
    }

    /// Attaches the programs where the resources need them.
    pub async fn attach(&mut self) -> Result<(), RunError> {
        let node = &self.node.value;
        let mut drivers = BTreeMap::new();
        for name in node.zones.iter().map(|zone| &zone.interface).chain(&node.client_interfaces) {
            drivers.insert(name.clone(), self.host.interface(name).await?.driver);
        }
        let wanted = wanted_attachments(node, &self.resources, |name| drivers.get(name).cloned().flatten());
        self.datapath.attach(&wanted)?;
        Ok(())
    }

    /// Next hops whose gateway does not answer.
    fn silent_hops(&self, resources: &Resources) -> BTreeSet<NextHopName> {
        let hops = resources.transit_routers.values().flat_map(|router| &router.next_hops);
        hops.filter(|hop| {
            self.neighbours.get(&hop.address).is_some_and(|found| found.destination_mac.is_none())
        })
        .map(|hop| hop.name.clone())
        .collect()
    }

    /// What the engine is to be told, without keys and cuts.
    pub fn planned_snapshot(&mut self) -> Snapshot {
        let dead = self.dead_zones();
        let inputs = SnapshotInputs {
            node: &self.node.value,
            resources: &self.resources,
            standings: &self.standings,
            dead: &dead,
            certificates: self.certificate_store.all(),
        };
        plan::snapshot(&inputs, &mut self.ids)
    }

    /// Tells the engine what changed; returns when every worker has taken it into force.
    pub async fn publish(&mut self, sockets: Vec<(u32, ListenerSocket)>) -> Result<(), PublishError> {
        let mut snapshot = self.planned_snapshot();
        snapshot.cookie_keys = self.cookie_keys.keys().to_vec();
        let mut running = Vec::new();
        for (name, standings) in &self.standings {
            for standing in standings.iter().filter(|standing| !standing.drains.is_empty()) {
                let id = self.ids.server(name, standing.address);
                running.extend(standing.drains.iter().map(|drain| (id, drain)));
            }
        }
        snapshot.cuts = self.cuts.listed(running);
        if self.snapshot.as_ref() == Some(&snapshot) && sockets.is_empty() {
            return Ok(());
        }
        let sequence = self.sequence + 1;
        let bytes: Arc<[u8]> = snapshot.encode(sequence).into();
        let sent = clock::now();
        self.engine.publish(bytes, sockets).await?;
        self.cuts.acknowledged(&snapshot.cuts, sent);
        self.sequence = sequence;
        self.snapshot = Some(snapshot);
        Ok(())
    }

    /// Health for every group that a listener or one of its rules uses, also while it is stopped, so that it can start on
    /// servers that are known: what is there is updated, so that servers that stay keep theirs. Of
    /// other groups only drains are left.
    pub fn update_health(&mut self, now: Moment) {
        let used: BTreeSet<&ServerGroupName> =
            self.resources.listeners.values().flat_map(|listener| listener.groups()).collect();
        self.standings.clear();
        let mut reports = Vec::new();
        for (name, health) in self.health.iter_mut().filter(|(name, _)| !used.contains(name)) {
            reports.push((name.clone(), health.retire(now)));
        }
        self.health.retain(|name, health| used.contains(name) || !health.is_empty());
        for name in used {
            let group = &self.resources.server_groups[name];
            let zones = served_zones(&self.node.value, &self.resources, name);
            let notices = match self.health.get_mut(name) {
                Some(health) => health.update(group, &zones, now),
                None => {
                    let (health, notices) = GroupHealth::new(group, &zones, now);
                    self.health.insert(name.clone(), health);
                    notices
                }
            };
            reports.push((name.clone(), notices));
        }
        for (name, notices) in reports {
            self.changed(&name, &notices);
        }
        self.look_ahead();
    }

    /// Probes whom health asks for, from the address that traffic comes from (SG-191).
    pub fn set_targets(&mut self) {
        let dead = self.dead_zones();
        let mut targets = Vec::new();
        let mut known = BTreeMap::new();
        for (name, health) in &self.health {
            let Some(group) = self.resources.server_groups.get(name) else { continue };
            let Some(check) = &group.health_check else { continue };
            let sources = probe_sources(&self.node.value, &self.resources, name, &dead);
            for address in health.probed_servers() {
                let is_family = |source: &&IpAddr| source.is_ipv4() == address.ip.is_ipv4();
                let Some(source) = sources.iter().find(is_family).copied() else { continue };
                let id = TargetId(u64::from(self.ids.server(name, address)));
                targets.push(Target { id, server: address, source, check: check.clone() });
                known.insert(id, (name.clone(), address));
            }
        }
        self.targets = known;
        self.prober.set_targets(targets);
    }
}

/// The zones of this node from which traffic may reach a group: those of the load balancers whose listeners use it.
fn served_zones(node: &Node, resources: &Resources, group: &ServerGroupName) -> BTreeSet<ZoneName> {
    let listeners = resources.listeners.values().filter(|listener| listener.uses(group));
    let balancers = listeners.filter_map(|listener| resources.load_balancers.get(&listener.load_balancer));
    balancers.flat_map(|balancer| node.zones_of(balancer)).map(|mapping| mapping.zone.clone()).collect()
}

/// The addresses that probes of a group may come from, those of its first load balancer.
fn probe_sources(
    node: &Node,
    resources: &Resources,
    group: &ServerGroupName,
    dead: &BTreeSet<ZoneName>,
) -> Vec<IpAddr> {
    let listener = resources.listeners.values().find(|listener| listener.uses(group));
    let balancer = listener.and_then(|listener| resources.load_balancers.get(&listener.load_balancer));
    balancer.map_or_else(Vec::new, |balancer| plan::sources(node, balancer, dead))
}

fn start_error(error: CapacityError) -> RunError {
    RunError::Start { what: "plan the datapath's tables".into(), reason: error.to_string() }
}

pub(super) fn publish_error(error: PublishError) -> RunError {
    RunError::Start { what: "tell the L7 engine".into(), reason: error.to_string() }
}
