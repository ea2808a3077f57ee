//! The servers of one group together: what a single machine cannot know.
//!
//! - Zones (SG-171 to SG-174): where traffic may not cross zones, the group is one group per zone that this node serves;
//!   servers elsewhere are not in use. What follows holds for each of these alone.
//! - Slow start (SG-134 to SG-141, D-11, D-12): a server that becomes usable ramps only if another one with weight is
//!   usable, is not ramping, and was so before this moment: two that recover at one moment do not wait for each other.
//! - Fail-open (SG-93): while no server with weight is usable, all with weight receive.
//! - Drains (SG-153 to SG-161, D-13): a failed server drains once it stops receiving, so not while fail-open sends to it.
//! - A server that returns while it drains is a new member beside the old one (SG-158).
//!
//! A drain never trusts a count from before it began: it ends early only when [`GroupHealth::counted`] says that nothing
//! was in flight afterwards. Whoever counts asks [`GroupHealth::draining`] which counts are wanted.
//!
//! A probe result that changes nothing costs a look-up, whatever the size of the group: what depends on all servers is
//! worked out when something changes ([`GroupHealth::settle`]) and kept.

use super::machine::{Drain, Event, Evidence, Machine, Notice, State, Status, Thresholds};
use super::{Failure, Moment, Outcome};
use crate::balance::slow_start::{self, Fixed};
use crate::model::{HealthCheck, Server, ServerAddress, ServerGroup, SlowStart, Weight, ZoneName};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// One stay of a server in its group; never used again within the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u32);

/// The health of one group's servers.
#[derive(Clone, Debug)]
pub struct GroupHealth {
    health_check: Option<HealthCheck>,
    slow_start: Option<SlowStart>,
    drain: Option<Duration>,
    /// In the group's order; then those that left and still drain, oldest first.
    servers: Vec<Entry>,
    /// Where each member is in `servers`.
    places: HashMap<ServerAddress, usize>,
    next_id: u32,
    /// Where the group's traffic goes, each part by itself.
    realms: Vec<Realm>,
    /// The next moment at which time changes something, as seen when something last changed.
    wake: Option<Moment>,
}

/// Servers that carry traffic for each other: those of a zone, or all where traffic crosses zones.
#[derive(Clone, Debug)]
struct Realm {
    /// `None`: all.
    zone: Option<ZoneName>,
    fail_open: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    id: MemberId,
    address: ServerAddress,
    weight: Weight,
    /// Place in [`GroupHealth::realms`]; `None`: traffic of this node does not reach it.
    realm: Option<usize>,
    machine: Machine,
    receives: bool,
    /// Failed, and not even fail-open sends to it.
    shut_out: bool,
}

/// Where one server stands, for plan, snapshot and API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which stay of the server this is.
    pub id: MemberId,
    /// The server.
    pub address: ServerAddress,
    /// Configured weight.
    pub weight: Weight,
    /// Whether new requests and flows go to it.
    pub receives_new: bool,
    /// Slow start in progress.
    pub ramp: Option<RampStanding>,
    /// The API's word (SG-192).
    pub status: Status,
    /// Why it is unhealthy (SG-193).
    pub failure: Option<Failure>,
    /// Since when the status holds.
    pub since: Moment,
    /// What its latest probe found.
    pub evidence: Option<Evidence>,
    /// Drains in progress, oldest first: requests and flows begun before `began` are cut at `deadline`, whatever the
    /// status by then. One that is no longer here ended as its notice says; only [`super::DrainEnd::Deadline`] cuts.
    pub drains: Vec<Drain>,
}

/// A slow start in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RampStanding {
    /// When it began.
    pub start: Moment,
    /// How long it takes.
    pub duration: Duration,
}

impl Standing {
    /// Weight in an L4 table built at `now`, in units of 1 / [`slow_start::ONE`]; 0 when it receives nothing new.
    pub fn table_weight(&self, now: Moment) -> Fixed {
        if !self.receives_new {
            return 0;
        }
        let step = |ramp: RampStanding| slow_start::step_at(now.since(ramp.start), ramp.duration);
        slow_start::effective_weight(self.weight, self.ramp.map_or(slow_start::ONE, step))
    }
}

/// Something that happened in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupNotice {
    /// To one server.
    Server {
        /// Which stay.
        id: MemberId,
        /// Which server.
        address: ServerAddress,
        /// What.
        notice: Notice,
    },
    /// Fail-open began or ended.
    FailOpen {
        /// In which zone; `None`: in all, as traffic crosses zones.
        zone: Option<ZoneName>,
        /// Began.
        begins: bool,
    },
}

impl GroupHealth {
    /// A group at the start: no server has history, none ramps. `served_zones` are those of this node.
    pub fn new(
        group: &ServerGroup,
        served_zones: &BTreeSet<ZoneName>,
        now: Moment,
    ) -> (GroupHealth, Vec<GroupNotice>) {
        let mut health = GroupHealth {
            health_check: None,
            slow_start: None,
            drain: None,
            servers: Vec::new(),
            places: HashMap::new(),
            next_id: 0,
            realms: Vec::new(),
            wake: None,
        };
        let notices = health.update(group, served_zones, now);
        (health, notices)
    }

    /// Takes a new configuration of the same group, or of the node's zones: servers that stay keep their state, counters
    /// restart if check settings changed (SG-195), running drains keep their deadlines. A server whose zone comes into
    /// reach is new (SG-174).
    pub fn update(
        &mut self,
        group: &ServerGroup,
        served_zones: &BTreeSet<ZoneName>,
        now: Moment,
    ) -> Vec<GroupNotice> {
        let mut notices = Vec::new();
        self.tick_all(now, &mut notices);
        let checks_before = std::mem::replace(&mut self.health_check, group.health_check.clone());
        self.slow_start = group.slow_start;
        self.drain = group.connection_drain.map(|drain| drain.timeout);
        // Again, by the new settings: a ramp ends with the slow start that was turned off.
        self.tick_all(now, &mut notices);
        self.set_realms(group, served_zones, &mut notices);

        // Leave first: a server on its way out carries no traffic for those that join.
        let configured: HashMap<ServerAddress, &Server> =
            group.servers.iter().map(|server| (server.address, server)).collect();
        let mut stayed = std::mem::take(&mut self.servers);
        let mut left: Vec<Entry> = stayed.extract_if(.., |entry| !entry.machine.is_member()).collect();
        left.extend(stayed.extract_if(.., |entry| !configured.contains_key(&entry.address)));
        self.servers = left;
        for place in 0..self.servers.len() {
            self.servers[place].realm = None;
            self.handle(place, Event::Removed(self.drain), now, &mut notices);
        }
        self.servers.retain(|entry| *entry.machine.state() != State::Gone);
        let left = std::mem::replace(&mut self.servers, stayed);

        // All weights and zones first: who carries traffic is judged by the new ones, whatever the servers' order.
        let mut was_in_use = Vec::with_capacity(self.servers.len());
        for place in 0..self.servers.len() {
            let server = configured[&self.servers[place].address];
            let realm = self.realm_of(server);
            let entry = &mut self.servers[place];
            was_in_use.push(*entry.machine.state() != State::Unused);
            entry.weight = server.weight;
            entry.realm = realm;
        }
        let checked = self.health_check.is_some();
        let checks = match (&checks_before, &self.health_check) {
            (Some(_), None) => Some(Event::ChecksDisabled),
            (None, Some(_)) => Some(Event::ChecksEnabled),
            (before, after) if before != after => Some(Event::ChecksChanged),
            _ => None,
        };
        for (place, was_in_use) in was_in_use.into_iter().enumerate() {
            let used = match (was_in_use, self.servers[place].is_in_use()) {
                (true, false) => Some(Event::OutOfUse),
                (false, true) => Some(Event::InUse { checked }),
                _ => None,
            };
            for event in used.into_iter().chain(checks.clone()) {
                self.handle(place, event, now, &mut notices);
            }
        }

        let carried: Vec<bool> =
            (0..self.realms.len()).map(|realm| carries(&self.servers, Some(realm), now)).collect();
        let mut stayed: HashMap<ServerAddress, Entry> =
            self.servers.drain(..).map(|entry| (entry.address, entry)).collect();
        for server in &group.servers {
            let entry = match stayed.remove(&server.address) {
                Some(entry) => entry,
                None => self.join(server, &carried, now, &mut notices),
            };
            self.servers.push(entry);
        }
        self.servers.extend(left);
        self.settle(now, &mut notices);
        notices
    }

    /// Nothing sends to the group any more: its members are forgotten, drains in progress go on to their end. Should it
    /// come into use again, [`GroupHealth::update`] finds every server new.
    pub fn retire(&mut self, now: Moment) -> Vec<GroupNotice> {
        let mut notices = Vec::new();
        self.tick_all(now, &mut notices);
        // Members did not leave their group, so nobody is told that they did.
        let mut unsaid = Vec::new();
        for place in 0..self.servers.len() {
            let entry = &mut self.servers[place];
            (entry.realm, entry.receives, entry.shut_out) = (None, false, false);
            self.handle(place, Event::Removed(None), now, &mut unsaid);
        }
        self.realms.clear();
        self.index(now);
        notices
    }

    /// Whether there is nothing to know any more: no members, no drains.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// The outcome of a probe of the member at `address`. Unknown servers are ignored: the result was on its way when
    /// the server left.
    pub fn probed(&mut self, address: ServerAddress, outcome: Outcome, now: Moment) -> Vec<GroupNotice> {
        let mut notices = self.tick(now);
        if let (Some(&place), Some(check)) = (self.places.get(&address), &self.health_check) {
            let thresholds =
                Thresholds { healthy: check.healthy_threshold, unhealthy: check.unhealthy_threshold };
            let before = notices.len();
            self.handle(place, Event::Probed(outcome, thresholds), now, &mut notices);
            if notices.len() > before {
                self.settle(now, &mut notices);
            }
        }
        notices
    }

    /// What was in flight to `id` was counted: `open` says for each of its drains how many requests, streams, tunnels
    /// and flows that began before [`Drain::began`] were open at `counted_at`, those of older drains included.
    ///
    /// A drain with none ends. The others remember the figure, for the notice of their end; so count every second or
    /// so, and once more shortly before a deadline.
    pub fn counted(
        &mut self,
        id: MemberId,
        open: impl Fn(&Drain) -> u64,
        counted_at: Moment,
        now: Moment,
    ) -> Vec<GroupNotice> {
        let mut notices = self.tick(now);
        if let Some(place) = self.servers.iter().position(|entry| entry.id == id) {
            let open = self.servers[place].machine.drains().iter().map(open).collect();
            let before = notices.len();
            self.handle(place, Event::Counted { open, at: counted_at }, now, &mut notices);
            if notices.len() > before {
                self.settle(now, &mut notices);
            }
        }
        notices
    }

    /// Members, and servers that left, whose drains wait for requests in flight; with these drains, oldest first.
    pub fn draining(&self) -> impl Iterator<Item = (MemberId, ServerAddress, &[Drain])> {
        self.servers
            .iter()
            .filter(|entry| !entry.machine.drains().is_empty())
            .map(|entry| (entry.id, entry.address, entry.machine.drains()))
    }

    /// Time passed. Due at [`GroupHealth::next_deadline`]; harmless at any other moment.
    pub fn tick(&mut self, now: Moment) -> Vec<GroupNotice> {
        let mut notices = Vec::new();
        if self.wake.is_some_and(|wake| wake <= now) {
            self.tick_all(now, &mut notices);
            self.index(now);
        }
        notices
    }

    /// The next moment after `now` at which time alone changes something: a step of a slow start or a drain's end.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        match self.wake {
            Some(wake) if wake <= now => self.find_deadline(now),
            wake => wake,
        }
    }

    /// Whether all servers, in some zone at least, receive because none is usable (SG-93).
    pub fn is_fail_open(&self) -> bool {
        self.realms.iter().any(|realm| realm.fail_open)
    }

    /// Where every server stands: members in the group's order, then those that left and still drain.
    pub fn standings(&self) -> impl Iterator<Item = Standing> + '_ {
        self.servers.iter().map(|entry| Standing {
            id: entry.id,
            address: entry.address,
            weight: entry.weight,
            receives_new: entry.receives,
            ramp: entry
                .machine
                .ramp()
                .zip(self.slow_start)
                .map(|(start, slow_start)| RampStanding { start, duration: slow_start.duration }),
            status: entry.machine.status(),
            failure: match entry.machine.state() {
                State::Unhealthy(failure) => Some(failure.clone()),
                _ => None,
            },
            since: entry.machine.since(),
            evidence: entry.machine.evidence().cloned(),
            drains: entry.machine.drains().to_vec(),
        })
    }

    /// Members to probe: those in use, while checks are on (SG-91, SG-174, SG-190).
    pub fn probed_servers(&self) -> impl Iterator<Item = ServerAddress> + '_ {
        let checked = self.health_check.is_some();
        self.servers.iter().filter(move |entry| checked && entry.is_in_use()).map(|entry| entry.address)
    }

    /// The realms of a new configuration; those that stay keep what they know.
    fn set_realms(
        &mut self,
        group: &ServerGroup,
        served_zones: &BTreeSet<ZoneName>,
        notices: &mut Vec<GroupNotice>,
    ) {
        let zones: Vec<Option<ZoneName>> =
            if group.cross_zone { vec![None] } else { served_zones.iter().cloned().map(Some).collect() };
        let mut before = std::mem::take(&mut self.realms);
        for zone in zones {
            let known = before.iter().position(|realm| realm.zone == zone);
            let realm = known.map(|place| before.swap_remove(place));
            self.realms.push(realm.unwrap_or(Realm { zone, fail_open: false }));
        }
        let ended = before.into_iter().filter(|realm| realm.fail_open);
        notices.extend(ended.map(|realm| GroupNotice::FailOpen { zone: realm.zone, begins: false }));
    }

    fn realm_of(&self, server: &Server) -> Option<usize> {
        self.realms.iter().position(|realm| realm.zone.is_none() || realm.zone == server.zone)
    }

    fn join(
        &mut self,
        server: &Server,
        carried: &[bool],
        now: Moment,
        notices: &mut Vec<GroupNotice>,
    ) -> Entry {
        let realm = self.realm_of(server);
        let is_in_use = server.weight > Weight::ZERO && realm.is_some();
        let ramps = self.slow_start.is_some() && realm.is_some_and(|realm| carried[realm]);
        let (machine, events) = Machine::join(is_in_use, self.health_check.is_some(), ramps, now);
        let id = MemberId(self.next_id);
        self.next_id += 1;
        let (address, weight) = (server.address, server.weight);
        let entry = Entry { id, address, weight, realm, machine, receives: false, shut_out: false };
        record(notices, &entry, events);
        entry
    }

    fn handle(&mut self, place: usize, event: Event, now: Moment, notices: &mut Vec<GroupNotice>) {
        let slow_start = self.slow_start.is_some();
        let (before, rest) = self.servers.split_at_mut(place);
        let (entry, after) = rest.split_first_mut().expect("places are below the number of servers");
        let realm = entry.realm;
        let ramps = || slow_start && (carries(before, realm, now) || carries(after, realm, now));
        let events = entry.machine.handle(event, &ramps, now);
        record(notices, entry, events);
    }

    fn tick_all(&mut self, now: Moment, notices: &mut Vec<GroupNotice>) {
        let slow_start = self.slow_start.map(|slow_start| slow_start.duration);
        for place in 0..self.servers.len() {
            self.handle(place, Event::Tick(slow_start), now, notices);
        }
        self.servers.retain(|entry| *entry.machine.state() != State::Gone);
    }

    /// Brings what depends on the whole group up to date: fail-open, who receives, whose drain begins or is cancelled.
    fn settle(&mut self, now: Moment, notices: &mut Vec<GroupNotice>) {
        let mut candidates = vec![false; self.realms.len()];
        let mut usable = vec![false; self.realms.len()];
        for entry in &self.servers {
            if let Some(realm) = entry.realm.filter(|_| entry.is_in_use()) {
                candidates[realm] = true;
                usable[realm] |= entry.machine.usable_since().is_some();
            }
        }
        for (place, realm) in self.realms.iter_mut().enumerate() {
            let fail_open = candidates[place] && !usable[place];
            if fail_open != realm.fail_open {
                realm.fail_open = fail_open;
                notices.push(GroupNotice::FailOpen { zone: realm.zone.clone(), begins: fail_open });
            }
        }
        for place in 0..self.servers.len() {
            let entry = &mut self.servers[place];
            let usable = entry.machine.usable_since().is_some();
            let fail_open = entry.realm.is_some_and(|realm| self.realms[realm].fail_open);
            entry.receives = entry.is_in_use() && (usable || fail_open);
            let shut_out = !entry.receives && matches!(entry.machine.state(), State::Unhealthy(_));
            let was_shut_out = std::mem::replace(&mut entry.shut_out, shut_out);
            if entry.receives && !usable {
                self.handle(place, Event::ReceivesFailOpen, now, notices);
            } else if shut_out && !was_shut_out {
                self.handle(place, Event::ShutOut(self.drain), now, notices);
            }
        }
        self.index(now);
    }

    /// Takes out who is gone, and notes what is looked up for every result.
    fn index(&mut self, now: Moment) {
        self.servers.retain(|entry| *entry.machine.state() != State::Gone);
        let members = self.servers.iter().enumerate().filter(|(_, entry)| entry.machine.is_member());
        self.places = members.map(|(place, entry)| (entry.address, place)).collect();
        self.wake = self.find_deadline(now);
    }

    fn find_deadline(&self, now: Moment) -> Option<Moment> {
        let steps = self.servers.iter().filter_map(|entry| {
            let (start, duration) = (entry.machine.ramp()?, self.slow_start?.duration);
            Some(start + slow_start::next_step_after(now.since(start), duration)?)
        });
        let drains = self.servers.iter().flat_map(|entry| entry.machine.drains()).map(|drain| drain.deadline);
        steps.chain(drains).min()
    }
}

impl Entry {
    /// Has weight, in reach of this node's traffic, and has not left.
    fn is_in_use(&self) -> bool {
        self.weight > Weight::ZERO && self.realm.is_some() && self.machine.is_member()
    }
}

/// Whether one of `servers` carries the traffic of `realm`: in use, usable, not ramping, and all that before `now`
/// (SG-136, D-11).
fn carries(servers: &[Entry], realm: Option<usize>, now: Moment) -> bool {
    servers.iter().any(|entry| {
        entry.realm == realm
            && entry.is_in_use()
            && entry.machine.usable_since().is_some_and(|since| since < now)
            && entry.machine.ramp().is_none()
    })
}

fn record(notices: &mut Vec<GroupNotice>, entry: &Entry, events: Vec<Notice>) {
    let server = |notice| GroupNotice::Server { id: entry.id, address: entry.address, notice };
    notices.extend(events.into_iter().map(server));
}

#[cfg(test)]
mod tests;
