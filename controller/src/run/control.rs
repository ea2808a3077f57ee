//! The state of a running node, and what each event does to it.

use super::drains::Uncounted;
use super::events::{Event, Events};
use crate::api::{Request, Response};
use crate::config::Parsed;
use crate::datapath::Datapath;
use crate::health::{GroupHealth, Moment, Standing};
use crate::host::apply::Host;
use crate::host::desired::HostState;
use crate::host::neighbour::{NeighbourWatch, Resolutions, Running};
use crate::model::{Node, Resources, ServerAddress, ServerGroupName, ZoneName};
use crate::plan::{Cuts, Ids, Neighbour};
use crate::probe::schedule::Prober;
use crate::probe::{ProbeResult, TargetId, clock};
use crate::proxy::{Engine, Stats};
use crate::snapshot::Snapshot;
use crate::store::{CertificateStore, CookieKeys, FileStore, Revision, StoreError};
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
    /// Health of every group that a listener uses, and of those whose drains outlast their use.
    pub health: BTreeMap<ServerGroupName, GroupHealth>,
    /// Where servers stood when something last changed in their group: what plans are made from. Evidence that changes
    /// no plan (the latest probe) may be older here than in `health`.
    pub standings: BTreeMap<ServerGroupName, Vec<Standing>>,
    /// The next moment at which time alone changes something.
    pub deadline: Option<Moment>,
    /// When what is in flight to draining servers is to be counted next, and when it last was.
    pub next_count: Option<Moment>,
    pub counted_at: Moment,
    /// Whether a drain began since then.
    pub drain_began: bool,
    /// Drains whose time was up before anything could be counted.
    pub uncounted: Vec<Uncounted>,
    /// Cuts that have come due and may not have been carried out.
    pub cuts: Cuts,
    pub events: Events,
    /// What happened by an apply that is not in force yet: if it fails, nothing of it did. `None`: none is under way.
    pub held_events: Option<Vec<Event>>,
    pub cookie_keys: CookieKeys,
    pub certificate_store: CertificateStore,
    /// Which interfaces run, as far as that is known.
    pub running: Option<Running>,
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
        (store, cookie_keys, certificate_store): (FileStore, CookieKeys, CertificateStore),
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
            next_count: None,
            counted_at: Moment::default(),
            drain_began: false,
            uncounted: Vec::new(),
            cuts: Cuts::default(),
            events: Events::default(),
            held_events: None,
            cookie_keys,
            certificate_store,
            running: None,
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
            Request::Apply { file_name, text, follow } => self.apply(&file_name, &text, follow).await,
            Request::Diff { file_name, text, follow } => self.diff(&file_name, &text, follow),
            Request::Edit { operation } => self.edit(&operation).await,
            Request::Certificate { change } => self.change_certificate(&change).await,
            Request::RotateCookieKey => match self.rotate_cookie_key().await {
                Ok(()) => {
                    log::info!("sticky cookies are sealed with a new key");
                    Response::CookieKeyRotated
                }
                Err(error) => Response::Failed { message: format!("{error}; sticky cookies keep their key") },
            },
            Request::Get { kind, name } => self.view(kind, name.as_deref()),
            Request::Status => Response::Status { status: self.status() },
            Request::Explain { question } => match self.engine.explain(question).await {
                Ok(explanation) => Response::Explained { explanation },
                Err(message) => Response::Failed { message },
            },
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

    /// Finds out when time alone changes something next. Only what changes a group, or the clock, can change that.
    pub fn look_ahead(&mut self) {
        let now = clock::now();
        self.deadline = self.health.values().filter_map(|group| group.next_deadline(now)).min();
    }

    /// Indices of the elements of every L4 server in the datapath, by identity.
    pub fn server_indices(&self) -> BTreeMap<u64, Vec<u32>> {
        let mut indices: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (index, server) in &self.datapath.state().live().server {
            indices.entry(server.identity).or_default().push(*index);
        }
        indices
    }

    /// Takes in which interfaces run now.
    pub async fn interfaces_changed(&mut self, running: Option<Running>) {
        let before = self.dead_zones();
        self.running = running;
        // An interface that went down has taken its routes with it.
        self.host_in_force = None;
        let dead = self.dead_zones();
        for zone in dead.difference(&before) {
            log::warn!(
                "zone \"{zone}\": its interface is down; its local addresses rest while another zone is alive"
            );
        }
        for zone in before.difference(&dead) {
            log::info!("zone \"{zone}\": its interface is up again");
        }
        if dead != before {
            self.set_targets();
        }
        self.reconcile_or_log().await;
    }

    /// Zones of this node whose interface is down or has no carrier.
    pub fn dead_zones(&self) -> BTreeSet<ZoneName> {
        let Some(running) = &self.running else { return BTreeSet::new() };
        let zones = self.node.value.zones.iter();
        zones.filter(|zone| !running.contains(&zone.interface)).map(|zone| zone.zone.clone()).collect()
    }

    /// Seals sticky cookies with a new key from now on; those sealed with the one before still open.
    pub async fn rotate_cookie_key(&mut self) -> Result<(), StoreError> {
        self.cookie_keys.rotate()?;
        self.reconcile_or_log().await;
        Ok(())
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

/// A moment in the programs' clock.
pub(super) fn seconds(moment: Moment) -> u32 {
    (moment.as_nanos() / 1_000_000_000) as u32
}
