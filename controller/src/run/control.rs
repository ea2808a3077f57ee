//! The state of a running node, and what each event does to it.

use crate::api::{Request, Response};
use crate::config::Parsed;
use crate::datapath::Datapath;
use crate::health::machine::State;
use crate::health::{DrainEnd, GroupHealth, GroupNotice, Moment, Notice, Standing, Tally};
use crate::host::apply::Host;
use crate::host::desired::HostState;
use crate::host::neighbour::{NeighbourWatch, Resolutions};
use crate::model::{Node, Resources, ServerAddress, ServerGroupName};
use crate::plan::{self, Ids, Neighbour};
use crate::probe::schedule::Prober;
use crate::probe::{ProbeResult, TargetId, clock};
use crate::proxy::{Engine, Stats};
use crate::snapshot::Snapshot;
use crate::store::{FileStore, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Longest time an apply waits for the MAC addresses of new next hops and servers.
const RESOLVE_FIRST: Duration = Duration::from_millis(500);

/// Everything a running node knows. Only the loop in [`super::run`] changes it.
pub(super) struct Control {
    pub node: Parsed<Node>,
    pub resources: Resources,
    pub revision: Option<Revision>,
    pub store: FileStore,
    pub datapath: Datapath,
    pub host: Host,
    pub prober: Prober,
    pub watch: NeighbourWatch,
    /// What `watch` last found.
    pub resolutions: watch::Receiver<Resolutions>,
    pub engine: Engine,
    pub stats: Arc<Stats>,
    /// Health of every group that a listener uses.
    pub health: BTreeMap<ServerGroupName, GroupHealth>,
    /// Where servers stood when something last changed in their group: what plans are made from. Evidence that changes
    /// no plan (the latest probe) may be older here than in `health`.
    pub standings: BTreeMap<ServerGroupName, Vec<Standing>>,
    /// The next moment at which time alone changes something.
    pub deadline: Option<Moment>,
    /// Whether some server drains, or has left and may still have flows.
    pub is_counting: bool,
    pub neighbours: BTreeMap<Ipv4Addr, Neighbour>,
    pub ids: Ids,
    /// What the host's tables were last made to hold; `None` where something may have changed them since.
    pub host_in_force: Option<HostState>,
    /// What each probe target stands for.
    pub targets: BTreeMap<TargetId, (ServerGroupName, ServerAddress)>,
    /// What the engine was told last, and under which number.
    pub snapshot: Option<Snapshot>,
    pub sequence: u64,
    pub started: Moment,
}

impl Control {
    #[expect(clippy::too_many_arguments, reason = "each is a part that the loop made and hands over once")]
    pub fn new(
        node: Parsed<Node>,
        store: FileStore,
        datapath: Datapath,
        host: Host,
        prober: Prober,
        (watch, resolutions): (NeighbourWatch, watch::Receiver<Resolutions>),
        engine: Engine,
        stats: Arc<Stats>,
    ) -> Control {
        Control {
            node,
            resources: Resources::default(),
            revision: None,
            store,
            datapath,
            host,
            prober,
            watch,
            resolutions,
            engine,
            stats,
            health: BTreeMap::new(),
            standings: BTreeMap::new(),
            deadline: None,
            is_counting: false,
            neighbours: BTreeMap::new(),
            ids: Ids::default(),
            host_in_force: None,
            targets: BTreeMap::new(),
            snapshot: None,
            sequence: 0,
            started: clock::now(),
        }
    }

    pub fn store(&self) -> &FileStore {
        &self.store
    }

    /// Answers a request of the API.
    pub async fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::Apply { file_name, text } => self.apply(&file_name, &text).await,
            Request::Diff { file_name, text } => self.diff(&file_name, &text),
            Request::Edit { operation } => self.edit(&operation).await,
            Request::Get { kind, name } => self.view(kind, name.as_deref()),
            Request::Status => Response::Status { status: self.status() },
        }
    }

    /// Takes in a probe's result; whether anything changed.
    pub fn probed(&mut self, result: ProbeResult) -> bool {
        let Some((name, address)) = self.targets.get(&result.id) else { return false };
        let Some(group) = self.health.get_mut(name) else { return false };
        let notices = group.probed(*address, result.outcome, result.at);
        if notices.is_empty() {
            return false;
        }
        let name = name.clone();
        self.changed(&name, &notices);
        self.look_ahead();
        true
    }

    /// Time passed for every group.
    pub fn tick(&mut self) {
        let now = clock::now();
        let mut changed = Vec::new();
        for (name, group) in &mut self.health {
            let notices = group.tick(now);
            if !notices.is_empty() {
                changed.push((name.clone(), notices));
            }
        }
        for (name, notices) in changed {
            self.changed(&name, &notices);
        }
        self.look_ahead();
    }

    /// Takes in what happened in a group.
    pub fn changed(&mut self, name: &ServerGroupName, notices: &[GroupNotice]) {
        self.report(name, notices);
        if let Some(group) = self.health.get(name) {
            self.standings.insert(name.clone(), group.standings().collect());
        }
    }

    /// Finds out when time alone changes something next. Only what changes a group, or the clock, can change that.
    pub fn look_ahead(&mut self) {
        let now = clock::now();
        self.deadline = self.health.values().filter_map(|group| group.next_deadline(now)).min();
    }

    /// Finds out whether somebody has to count what is in flight.
    pub fn consider_counting(&mut self) {
        let drains = self.standings.values().flatten().any(|standing| !standing.drains.is_empty());
        self.is_counting = drains || self.has_departed_servers();
    }

    fn has_departed_servers(&self) -> bool {
        !plan::departed(&self.resources, &self.standings, self.datapath.state()).is_empty()
    }

    /// Counts what is in flight to draining servers, and ends the drains of those with nothing; whether a new plan is
    /// due.
    pub fn count_in_flight(&mut self) -> bool {
        let counted_at = clock::now();
        let requests = self.stats.servers();
        let flows = match self.datapath.flows(seconds(counted_at)) {
            Ok(flows) => flows.by_server,
            Err(error) => {
                log::error!("count the flows of draining servers: {error}");
                return false;
            }
        };
        let indices = self.server_indices();
        let mut counts = Vec::new();
        for (name, group) in &self.health {
            for (member, address, _) in group.draining() {
                let id = self.ids.server(name, address);
                let active = requests.get(&id).map_or(0, |totals| totals.active);
                let elements = plan::server_identity(name, address)
                    .and_then(|identity| indices.get(&identity))
                    .map_or(&[][..], Vec::as_slice);
                let flows: u64 = elements.iter().filter_map(|index| flows.get(index)).sum();
                counts.push((name.clone(), member, active + flows));
            }
        }
        let now = clock::now();
        let mut changed = self.has_departed_servers();
        for (name, member, open) in counts {
            if let Some(group) = self.health.get_mut(&name) {
                let notices = group.counted(member, |_| open, counted_at, now);
                changed |= !notices.is_empty();
                self.changed(&name, &notices);
            }
        }
        self.look_ahead();
        changed
    }

    /// Indices of the elements of every L4 server in the datapath, by identity.
    pub fn server_indices(&self) -> BTreeMap<u64, Vec<u32>> {
        let mut indices: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (index, server) in &self.datapath.state().live().server {
            indices.entry(server.identity).or_default().push(*index);
        }
        indices
    }

    /// Takes in how addresses are reached now.
    pub async fn resolved(&mut self, resolutions: Resolutions) {
        let neighbours = self.neighbours_of(resolutions).await;
        // An interface that went down has taken its routes with it.
        self.host_in_force = None;
        if neighbours != self.neighbours {
            self.neighbours = neighbours;
            self.reconcile_or_log().await;
        }
    }

    /// Finds out how `wanted` are reached, for a short time where that is not known yet: a hop whose MAC address comes
    /// after the commit drops what is sent to it until then, after a restart also packets of established flows.
    pub async fn resolve_first(&mut self, wanted: BTreeSet<Ipv4Addr>) {
        let news: BTreeSet<Ipv4Addr> =
            wanted.iter().filter(|address| !self.neighbours.contains_key(address)).copied().collect();
        if news.is_empty() {
            return;
        }
        self.watch.set_addresses(wanted);
        let are_known = |resolutions: &Resolutions| {
            news.iter().all(|address| match resolutions.get(address) {
                Some(Ok(resolved)) => resolved.destination_mac.is_some(),
                Some(Err(_)) => true,
                None => false,
            })
        };
        // Those that do not answer are no reason to wait longer, or not to begin.
        let _ = tokio::time::timeout(RESOLVE_FIRST, self.resolutions.wait_for(are_known)).await;
        let latest = self.resolutions.borrow().clone();
        self.neighbours = self.neighbours_of(latest).await;
    }

    async fn neighbours_of(&self, resolutions: Resolutions) -> BTreeMap<Ipv4Addr, Neighbour> {
        let mut neighbours = BTreeMap::new();
        let mut mtus: BTreeMap<String, u16> = BTreeMap::new();
        for (address, resolution) in resolutions {
            match resolution {
                Ok(resolved) => {
                    if !mtus.contains_key(&resolved.interface) {
                        let mtu =
                            self.host.interface(&resolved.interface).await.map(|interface| interface.mtu);
                        mtus.insert(
                            resolved.interface.clone(),
                            mtu.map_or(0, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX)),
                        );
                    }
                    let neighbour = Neighbour {
                        ifindex: resolved.ifindex,
                        gateway: resolved.neighbour,
                        mtu: mtus[&resolved.interface],
                        source_mac: resolved.source_mac,
                        destination_mac: resolved.destination_mac,
                    };
                    neighbours.insert(address, neighbour);
                }
                Err(reason) => log::warn!("{address} cannot be reached: {reason}"),
            }
        }
        neighbours
    }

    /// Prints what happened in a group.
    pub fn report(&self, group: &ServerGroupName, notices: &[GroupNotice]) {
        for notice in notices {
            match notice {
                GroupNotice::FailOpen { zone, begins } => {
                    let place = zone.as_ref().map_or_else(String::new, |zone| format!(" in zone \"{zone}\""));
                    if *begins {
                        log::warn!(
                            "group \"{group}\": no server{place} is healthy; traffic goes to all of them (fail-open)"
                        );
                    } else {
                        log::info!("group \"{group}\": fail-open{place} ended");
                    }
                }
                GroupNotice::Server { address, notice, .. } => report_server(group, *address, notice),
            }
        }
    }

    pub fn flush_log(&mut self) {
        self.datapath.flush_log();
    }

    /// Where the servers of every group stand, to the latest probe.
    pub fn latest_standings(&self) -> BTreeMap<ServerGroupName, Vec<Standing>> {
        self.health.iter().map(|(name, group)| (name.clone(), group.standings().collect())).collect()
    }

    /// Ends the engine; the kernel's side stays.
    pub fn shutdown(self, deadline: Duration) {
        self.engine.shutdown(deadline);
    }
}

fn report_server(group: &ServerGroupName, address: ServerAddress, notice: &Notice) {
    match notice {
        Notice::State { to: State::Unhealthy(failure), .. } => {
            log::warn!(
                "group \"{group}\": server {address} is unhealthy: {} ({})",
                failure.reason,
                failure.detail
            );
        }
        Notice::State { to, .. } => log::info!("group \"{group}\": server {address} is {to:?}"),
        Notice::RampBegan => log::info!("group \"{group}\": server {address} begins its slow start"),
        Notice::RampEnded => log::info!("group \"{group}\": server {address} has ended its slow start"),
        Notice::DrainBegan(_) => log::info!("group \"{group}\": server {address} drains"),
        Notice::DrainEnded { end, tally, .. } => {
            let how = match end {
                DrainEnd::Idle => "nothing was in flight any more",
                DrainEnd::Deadline => "time was up",
                DrainEnd::Cancelled => "it takes fail-open traffic again",
            };
            let counts = tally.map_or_else(String::new, |Tally { finished, cut }| {
                format!("; {finished} requests and flows finished, {cut} were cut")
            });
            log::info!("group \"{group}\": server {address} has ended its drain: {how}{counts}");
        }
    }
}

/// A moment in the programs' clock.
pub(super) fn seconds(moment: Moment) -> u32 {
    (moment.as_nanos() / 1_000_000_000) as u32
}
