//! The servers of one group together: what a single machine cannot know.
//!
//! - Slow start (SG-134 to SG-141, D-11, D-12): a server that becomes usable ramps only if another one with weight is
//!   usable, is not ramping, and was so before this moment: two that recover at one moment do not wait for each other.
//! - Fail-open (SG-93): while no server with weight is usable, all with weight receive.
//! - Drains (SG-153 to SG-161, D-13): a failed server drains once it stops receiving, so not while fail-open sends to it.
//! - A server that returns while it drains is a new member beside the old one (SG-158).
//!
//! A drain never trusts a count from before it began: it ends early only when [`GroupHealth::idle`] says that nothing
//! was in flight afterwards. Whoever counts asks [`Standing::drains`] which counts are wanted.

use super::machine::{Drain, Event, Machine, Notice, State, Status, Thresholds};
use super::{Failure, Moment, Outcome};
use crate::balance::slow_start::{self, Fixed};
use crate::model::{HealthCheck, ServerAddress, ServerGroup, SlowStart, Weight};
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
    next_id: u32,
    fail_open: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    id: MemberId,
    address: ServerAddress,
    weight: Weight,
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
    /// Drains in progress, oldest first: requests begun before `began` are cut at `deadline`.
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
    /// Fail-open began (`true`) or ended.
    FailOpen(bool),
}

impl GroupHealth {
    /// A group at the start: no server has history, none ramps.
    pub fn new(group: &ServerGroup, now: Moment) -> (GroupHealth, Vec<GroupNotice>) {
        let mut health = GroupHealth {
            health_check: None,
            slow_start: None,
            drain: None,
            servers: Vec::new(),
            next_id: 0,
            fail_open: false,
        };
        let notices = health.update(group, now);
        (health, notices)
    }

    /// Takes a new configuration of the same group: servers that stay keep their state, counters restart if check
    /// settings changed (SG-195), running drains keep their deadlines.
    pub fn update(&mut self, group: &ServerGroup, now: Moment) -> Vec<GroupNotice> {
        let mut notices = Vec::new();
        self.tick_into(now, &mut notices);
        let checks_before = std::mem::replace(&mut self.health_check, group.health_check.clone());
        self.slow_start = group.slow_start;
        self.drain = group.connection_drain.map(|drain| drain.timeout);
        // Again, by the new settings: a ramp ends with the slow start that was turned off.
        self.tick_into(now, &mut notices);

        // Leave first: a server on its way out carries no traffic for those that join.
        let mut stayed = std::mem::take(&mut self.servers);
        let mut left: Vec<Entry> = stayed.extract_if(.., |entry| !entry.is_member()).collect();
        left.extend(stayed.extract_if(.., |entry| !has_address(group, entry.address)));
        for entry in &mut left {
            let events = entry.machine.handle(Event::Removed(self.drain), false, now);
            record(&mut notices, entry, events);
        }
        left.retain(|entry| *entry.machine.state() != State::Gone);

        self.servers = stayed;
        let checked = self.health_check.is_some();
        // All weights first: who carries traffic is judged by the new ones, whatever the order of the servers.
        let weights_before: Vec<Weight> = self
            .servers
            .iter_mut()
            .map(|entry| {
                let configured = group.servers.iter().find(|server| server.address == entry.address);
                let weight = configured.expect("servers that stay are in the new configuration").weight;
                std::mem::replace(&mut entry.weight, weight)
            })
            .collect();
        for (place, before) in weights_before.into_iter().enumerate() {
            let weight = self.servers[place].weight;
            let changed = match (before, weight) {
                (Weight::ZERO, Weight::ZERO) => None,
                (_, Weight::ZERO) => Some(Event::WeightZero),
                (Weight::ZERO, _) => Some(Event::WeightRaised { checked }),
                _ => None,
            };
            let checks = match (&checks_before, &self.health_check) {
                (Some(_), None) => Some(Event::ChecksDisabled),
                (None, Some(_)) => Some(Event::ChecksEnabled),
                (before, after) if before != after => Some(Event::ChecksChanged),
                _ => None,
            };
            for event in checks.into_iter().chain(changed) {
                self.handle(place, event, now, &mut notices);
            }
        }
        let stayed = std::mem::take(&mut self.servers);
        let mut stayed: Vec<Option<Entry>> = stayed.into_iter().map(Some).collect();
        // Joining servers are judged against those that stayed, so they are put in place only afterwards.
        let others: Vec<Entry> = stayed.iter().flatten().cloned().collect();
        for server in &group.servers {
            let known =
                stayed.iter_mut().find(|entry| entry.as_ref().is_some_and(|e| e.address == server.address));
            if let Some(entry) = known.and_then(Option::take) {
                self.servers.push(entry);
                continue;
            }
            let ramps = self.slow_start.is_some() && others.iter().any(|other| other.is_normal_before(now));
            let (machine, events) = Machine::join(server.weight > Weight::ZERO, checked, ramps, now);
            let id = MemberId(self.next_id);
            self.next_id += 1;
            let (address, weight) = (server.address, server.weight);
            let entry = Entry { id, address, weight, machine, receives: false, shut_out: false };
            record(&mut notices, &entry, events);
            self.servers.push(entry);
        }
        self.servers.append(&mut left);
        self.settle(now, &mut notices);
        notices
    }

    /// The outcome of a probe of the member at `address`. Unknown servers are ignored: the result was on its way when
    /// the server left.
    pub fn probed(&mut self, address: ServerAddress, outcome: Outcome, now: Moment) -> Vec<GroupNotice> {
        let mut notices = Vec::new();
        self.tick_into(now, &mut notices);
        let place = self.servers.iter().position(|entry| entry.is_member() && entry.address == address);
        if let (Some(place), Some(check)) = (place, &self.health_check) {
            let thresholds =
                Thresholds { healthy: check.healthy_threshold, unhealthy: check.unhealthy_threshold };
            self.handle(place, Event::Probed(outcome, thresholds), now, &mut notices);
            self.settle(now, &mut notices);
        }
        notices
    }

    /// Nothing was in flight to `id` at `counted_at`.
    pub fn idle(&mut self, id: MemberId, counted_at: Moment, now: Moment) -> Vec<GroupNotice> {
        let mut notices = Vec::new();
        self.tick_into(now, &mut notices);
        if let Some(place) = self.servers.iter().position(|entry| entry.id == id) {
            self.handle(place, Event::Idle(counted_at), now, &mut notices);
            self.settle(now, &mut notices);
        }
        notices
    }

    /// Time passed. Due at [`GroupHealth::next_deadline`]; harmless at any other moment.
    pub fn tick(&mut self, now: Moment) -> Vec<GroupNotice> {
        let mut notices = Vec::new();
        self.tick_into(now, &mut notices);
        notices
    }

    /// The next moment after `now` at which time alone changes something: a step of a slow start or a drain's end.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let steps = self.servers.iter().filter_map(|entry| {
            let (start, duration) = (entry.machine.ramp()?, self.slow_start?.duration);
            Some(start + slow_start::next_step_after(now.since(start), duration)?)
        });
        let drains = self.servers.iter().flat_map(|entry| entry.machine.drains()).map(|drain| drain.deadline);
        steps.chain(drains).min()
    }

    /// Whether all servers receive because none is usable (SG-93).
    pub fn is_fail_open(&self) -> bool {
        self.fail_open
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
            drains: entry.machine.drains().to_vec(),
        })
    }

    /// Members to probe: those with weight, while checks are on (SG-91, SG-190).
    pub fn probed_servers(&self) -> impl Iterator<Item = ServerAddress> + '_ {
        let checked = self.health_check.is_some();
        self.servers
            .iter()
            .filter(move |entry| checked && entry.is_member() && entry.weight > Weight::ZERO)
            .map(|entry| entry.address)
    }

    fn handle(&mut self, place: usize, event: Event, now: Moment, notices: &mut Vec<GroupNotice>) {
        let others_carry = self
            .servers
            .iter()
            .enumerate()
            .any(|(other, entry)| other != place && entry.is_normal_before(now));
        let ramps = self.slow_start.is_some() && others_carry;
        let entry = &mut self.servers[place];
        let events = entry.machine.handle(event, ramps, now);
        record(notices, entry, events);
    }

    fn tick_into(&mut self, now: Moment, notices: &mut Vec<GroupNotice>) {
        let slow_start = self.slow_start.map(|slow_start| slow_start.duration);
        for place in 0..self.servers.len() {
            self.handle(place, Event::Tick(slow_start), now, notices);
        }
        self.servers.retain(|entry| *entry.machine.state() != State::Gone);
    }

    /// Brings what depends on the whole group up to date: fail-open, who receives, whose drain begins or is cancelled.
    fn settle(&mut self, now: Moment, notices: &mut Vec<GroupNotice>) {
        let candidates =
            || self.servers.iter().filter(|entry| entry.is_member() && entry.weight > Weight::ZERO);
        let fail_open = candidates().next().is_some()
            && !candidates().any(|entry| entry.machine.usable_since().is_some());
        if fail_open != self.fail_open {
            self.fail_open = fail_open;
            notices.push(GroupNotice::FailOpen(fail_open));
        }
        for place in 0..self.servers.len() {
            let entry = &mut self.servers[place];
            let usable = entry.machine.usable_since().is_some();
            entry.receives = entry.is_member() && entry.weight > Weight::ZERO && (usable || fail_open);
            let shut_out = !entry.receives && matches!(entry.machine.state(), State::Unhealthy(_));
            let was_shut_out = std::mem::replace(&mut entry.shut_out, shut_out);
            if entry.receives && !usable {
                self.handle(place, Event::ReceivesFailOpen, now, notices);
            } else if shut_out && !was_shut_out {
                self.handle(place, Event::ShutOut(self.drain), now, notices);
            }
        }
        self.servers.retain(|entry| *entry.machine.state() != State::Gone);
    }
}

impl Entry {
    fn is_member(&self) -> bool {
        !matches!(self.machine.state(), State::Leaving | State::Gone)
    }

    /// Usable, with weight, not ramping, and all that before `now` (SG-136, D-11).
    fn is_normal_before(&self, now: Moment) -> bool {
        self.weight > Weight::ZERO
            && self.machine.usable_since().is_some_and(|since| since < now)
            && self.machine.ramp().is_none()
    }
}

fn has_address(group: &ServerGroup, address: ServerAddress) -> bool {
    group.servers.iter().any(|server| server.address == address)
}

fn record(notices: &mut Vec<GroupNotice>, entry: &Entry, events: Vec<Notice>) {
    let server = |notice| GroupNotice::Server { id: entry.id, address: entry.address, notice };
    notices.extend(events.into_iter().map(server));
}

#[cfg(test)]
mod tests;
