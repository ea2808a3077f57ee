//! Applying resources: one transaction, all or nothing, answered when it is in force.

use super::RunError;
use super::control::Control;
use super::reconcile::publish_error;
use crate::api::{KeptAddress, Response};
use crate::certificate::Certificate;
use crate::config::{self, ConfigErrors, Held, Parsed, StaleAddress, Warnings, edit};
use crate::health::GroupHealth;
use crate::model::{CertificateName, Listener, Node, Resources, ServerGroupName};
use crate::plan::{self, Cuts, Ids};
use crate::probe::clock;
use crate::proxy::{self, BindError, ListenerSocket, bind_listeners, bind_quic};
use crate::store::{Revision, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

impl Control {
    /// Answers an apply.
    pub async fn apply(&mut self, file_name: &str, text: &str, follow: bool) -> Response {
        let Wanted { parsed, text, kept } = match self.wanted(file_name, text, follow, Some(self.held())) {
            Ok(wanted) => wanted,
            Err(errors) => return Response::Refused { errors },
        };
        let changes = config::changes(&self.resources, &parsed.value);
        match self.take_into_force(parsed.value, Some(&text)).await {
            Ok(revision) => {
                log::info!("revision {revision} is in force");
                log_kept(&kept);
                Response::Applied { revision, changes, warnings: parsed.warnings, kept: views(&kept) }
            }
            Err(error) => {
                log::error!("apply {file_name}: {error}; nothing was applied");
                Response::Failed { message: format!("{error}; nothing was applied") }
            }
        }
    }

    /// Answers a diff.
    pub fn diff(&self, file_name: &str, text: &str, follow: bool) -> Response {
        match self.wanted(file_name, text, follow, Some(self.held())) {
            Ok(Wanted { parsed, kept, .. }) => Response::Difference {
                changes: config::changes(&self.resources, &parsed.value),
                warnings: parsed.warnings,
                kept: views(&kept),
            },
            Err(errors) => Response::Refused { errors },
        }
    }

    /// What `text` asks for, after what is in force. Unless it is to `follow`, servers keep the addresses that they
    /// have, whatever the inventory says now (D-5, SG-40). `held`: the certificates that listeners may name.
    fn wanted(
        &self,
        file_name: &str,
        text: &str,
        follow: bool,
        held: Option<Held<'_>>,
    ) -> Result<Wanted, ConfigErrors> {
        let parsed = match held {
            Some(held) => config::parse_resources_with(&self.node, held, text, file_name)?,
            None => config::parse_resources_for(&self.node, text, file_name)?,
        };
        config::check_changes(&self.resources, &parsed)?;
        let kept =
            if follow { Vec::new() } else { config::stale_inventory_addresses(&self.resources, &parsed) };
        if kept.is_empty() {
            return Ok(Wanted { parsed, text: text.to_owned(), kept });
        }
        let pinned = edit::pin_addresses(text, &kept);
        // Warnings as the operator's text has them: nobody has seen the other, and `kept` says what it adds.
        let warnings = parsed.warnings;
        let mut parsed = config::parse_resources_for(&self.node, &pinned, file_name)?;
        parsed.warnings = warnings;
        Ok(Wanted { parsed, text: pinned, kept })
    }

    /// Takes the newest revision into force again after a restart.
    pub async fn restore(&mut self, revision: Revision, text: &str) -> Result<(), RunError> {
        let parsed = config::parse_resources_for(&self.node, text, &format!("revision {revision}"))?;
        self.revision = Some(revision);
        self.take_into_force(parsed.value, None).await?;
        Ok(())
    }

    /// Applies the file named on the command line, unless it says what is in force already. A certificate that is missing
    /// keeps its listener waiting, and nothing else: it can only be added to a program that runs.
    pub async fn apply_at_start(&mut self, file_name: &str, text: &str) -> Result<(), RunError> {
        let Wanted { parsed, text, kept } = self.wanted(file_name, text, false, None)?;
        warn(&parsed.warnings);
        log_kept(&kept);
        if self.revision.is_some() && parsed.value == self.resources {
            return Ok(());
        }
        let revision = self.take_into_force(parsed.value, Some(&text)).await?;
        log::info!("{file_name} is in force as revision {revision}");
        Ok(())
    }

    /// The transaction. Everything that can fail comes first, and is undone when a later part of it fails; then the
    /// revision is on disk; then one epoch and one snapshot put it into force.
    pub(super) async fn take_into_force(
        &mut self,
        resources: Resources,
        text: Option<&str>,
    ) -> Result<Revision, RunError> {
        let before = Before {
            resources: std::mem::replace(&mut self.resources, resources),
            health: self.health.clone(),
            cuts: self.cuts.clone(),
        };
        self.held_events = Some(Vec::new());
        let result = self.prepare_and_commit(&before.resources, text).await;
        let events = self.held_events.take().unwrap_or_default();
        match result {
            Ok(revision) => {
                events.into_iter().for_each(|event| self.record(event));
                Ok(revision)
            }
            Err(error) => {
                self.resources = before.resources;
                self.health = before.health;
                self.standings = self.latest_standings();
                self.uncounted.clear();
                self.cuts = before.cuts;
                self.look_ahead();
                // The host may hold some of the new; what was in force before was accepted by it before.
                if let Err(undo) = self.reconcile_host().await {
                    log::error!("undo the addresses and routes of a failed apply: {undo}");
                }
                if let Err(undo) = self.attach().await {
                    log::error!("undo the attachments of a failed apply: {undo}");
                }
                Err(error)
            }
        }
    }

    async fn prepare_and_commit(
        &mut self,
        old: &Resources,
        text: Option<&str>,
    ) -> Result<Revision, RunError> {
        let now = clock::now();
        self.update_health(now);
        let sockets = self.bind_missing()?;
        // What is in force needs its neighbours until the commit.
        let mut neighbours = self.neighbours_wanted(old);
        neighbours.extend(self.neighbours_wanted(&self.resources));
        self.resolve_first(neighbours).await;
        let change = self.plan_maps(now)?;
        proxy::check(&self.planned_snapshot()).map_err(publish_error)?;
        // What goes stays until it is no longer in use.
        let both = self.wanted_host(&self.resources).and(self.wanted_host(old));
        self.apply_host(&both).await?;
        self.attach().await?;
        if let Some(change) = &change {
            self.datapath.prepare(change)?;
        }
        let revision = match (text, self.revision) {
            (None, Some(revision)) => revision,
            (text, _) => self.store.append(text.unwrap_or_default())?,
        };

        // From here on nothing is refused any more: the revision is kept, and the parts follow.
        self.count_uncounted().await;
        if let Some(change) = &change
            && let Err(error) = self.datapath.commit(change)
        {
            log::error!("clean up after a change of the maps: {error}");
        }
        self.revision = Some(revision);
        if let Err(error) = self.publish(sockets).await.map_err(publish_error) {
            log::error!("{error}");
        }
        if let Err(error) = self.reconcile_host().await {
            log::error!("take out addresses and routes that are no longer needed: {error}");
        }
        self.set_targets();
        self.watch.set_addresses(self.neighbours_wanted(&self.resources));
        self.consider_counting();
        Ok(revision)
    }

    /// Sockets for the addresses of L7 listeners that the engine has none for: those that are new, and those whose sockets
    /// it could not take before.
    pub fn bind_missing(&mut self) -> Result<Vec<(u32, ListenerSocket)>, RunError> {
        let listeners = self.snapshot.iter().flat_map(|snapshot| &snapshot.listeners);
        let had: BTreeSet<(u32, SocketAddr)> = listeners
            .flat_map(|listener| listener.addresses.iter().map(|address| (listener.id, *address)))
            .collect();
        let certificates = self.certificate_store.all();
        let wanted = addresses(&self.node.value, &self.resources, certificates, &mut self.ids);
        let mut sockets = Vec::new();
        for (key, is_udp) in wanted {
            if had.contains(&key) {
                continue;
            }
            let (id, address) = key;
            let bound = self.bind(address, is_udp).map_err(|error| RunError::Start {
                what: "bind a listener".into(),
                reason: error.to_string(),
            })?;
            sockets.extend(bound.into_iter().map(|socket| (id, socket)));
        }
        Ok(sockets)
    }

    fn bind(&self, address: SocketAddr, is_udp: bool) -> Result<Vec<ListenerSocket>, BindError> {
        if is_udp {
            let bound = bind_quic(&[address], self.engine.workers())?;
            return Ok(bound.into_iter().map(ListenerSocket::Quic).collect());
        }
        Ok(bind_listeners(&[address])?.into_iter().map(ListenerSocket::Tcp).collect())
    }
}

/// Resources that are to be applied.
struct Wanted {
    parsed: Parsed<Resources>,
    /// What to keep of them.
    text: String,
    /// Servers that keep their address in it, against the inventory.
    kept: Vec<StaleAddress>,
}

fn log_kept(kept: &[StaleAddress]) {
    for stale in kept {
        log::warn!("{stale}; apply with --follow to move it");
    }
}

fn views(kept: &[StaleAddress]) -> Vec<KeptAddress> {
    let view = |stale: &StaleAddress| KeptAddress {
        group: stale.group.to_string(),
        server: stale.server.to_string(),
        address: SocketAddr::new(stale.held, stale.port.get()),
        inventory: stale.inventory,
    };
    kept.iter().map(view).collect()
}

/// What a failed apply puts back.
struct Before {
    resources: Resources,
    health: BTreeMap<ServerGroupName, GroupHealth>,
    cuts: Cuts,
}

/// Number and address of every L7 listener that accepts on this node, and whether that is one of UDP: the engine knows of
/// no others.
fn addresses(
    node: &Node,
    resources: &Resources,
    certificates: &BTreeMap<CertificateName, Certificate>,
    ids: &mut Ids,
) -> BTreeMap<(u32, SocketAddr), bool> {
    let mut found = BTreeMap::new();
    let has_sockets = |listener: &&Listener| {
        listener.enabled
            && !listener.protocol.is_l4()
            && plan::can_handshake(listener, resources, certificates)
    };
    for listener in resources.listeners.values().filter(has_sockets) {
        let Some(balancer) = resources.load_balancers.get(&listener.load_balancer) else { continue };
        for mapping in node.zones_of(balancer) {
            let id = ids.listener(listener, &mapping.zone);
            let is_udp = listener.protocol.is_udp();
            let address = |vip| SocketAddr::new(vip, listener.port.get());
            found.extend(mapping.vips().map(|vip| ((id, address(vip)), is_udp)));
        }
    }
    found
}

fn warn(warnings: &Warnings) {
    if !warnings.findings().is_empty() {
        log::warn!("{}", warnings.render());
    }
}
