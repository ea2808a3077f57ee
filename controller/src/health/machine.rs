//! The state of one server of a group (server-groups requirements section 12).
//!
//! ```text
//! state      event                                     next        also
//! ---------  ----------------------------------------  ----------  ---------------------------------------------
//! (absent)   added, not in use                         Unused
//! (absent)   added, checks on                          Initial
//! (absent)   added, checks off                         Unchecked   ramp if others carry the traffic (SG-137)
//! Initial    healthy threshold of passes in a row      Healthy     ramp likewise (SG-136)
//! Initial    unhealthy threshold of failures in a row  Unhealthy
//! Healthy    unhealthy threshold of failures in a row  Unhealthy   ramp ends (SG-139)
//! Unhealthy  healthy threshold of passes in a row      Healthy     ramp likewise (SG-140); drains go on (SG-159)
//! Unhealthy  a failure                                 (same)      the latest reason is kept
//! member     out of use                                Unused      ramp and evidence end; drains go on
//! Unused     in use, checks on                         Initial     (then as a new server, SG-141)
//! Unused     in use, checks off                        Unchecked   ramp likewise
//! Initial, Unhealthy  checks disabled                  Unchecked   ramp likewise; evidence ends
//! Healthy    checks disabled                           Unchecked   ramp goes on; evidence ends
//! Unchecked  checks enabled                            Healthy     ramp goes on: the verdict stays until there is
//!                                                                  evidence (SG-195)
//! member     check settings changed                    (same)      counts restart (SG-195)
//! Unused, Unchecked  a result on its way               (same)      it is ignored
//! Healthy, Unchecked  slow start is over or off        (same)      ramp ends
//! Unhealthy  shut out (group: no fail-open)            (same)      drain begins, if draining is on (SG-153, SG-161)
//! Unhealthy  receives fail-open traffic                (same)      drains for failing are cancelled (D-13)
//! member     removed, draining on                      Leaving     ramp ends; drain begins
//! member     removed, draining off or timeout 0        Gone        ramp ends
//! Leaving    its last drain ends                       Gone
//! any        deadline of a drain                       (same)      that drain ends; what is left of it is cut (SG-155)
//! any        counted: nothing of a drain in flight     (same)      that drain ends (SG-156)
//! any        counted: something in flight              (same)      that drain remembers how much
//! ```
//!
//! A member is a server in any state but Leaving and Gone. In use: it has weight, and traffic of this node may reach its
//! zone (SG-90, SG-174). A failure resets the count of passes and the reverse (SG-186). A server that is added again is a
//! new machine: what drained goes on draining in the old one (SG-158).

use super::{Failure, Moment, Outcome};
use std::fmt;
use std::time::Duration;

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    state: State,
    since: Moment,
    evidence: Option<Evidence>,
    /// Since when it has been Healthy or Unchecked.
    usable_since: Option<Moment>,
    ramp: Option<Moment>,
    drains: Vec<Drain>,
}

/// Where a server stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not yet proven either way.
    Initial,
    /// Proven.
    Healthy,
    /// Disproven, with the latest failure.
    Unhealthy(Failure),
    /// Weight 0 (SG-91), or in a zone that traffic of this node does not reach (SG-174): not probed.
    Unused,
    /// Checks are off.
    Unchecked,
    /// Removed; requests in flight may finish.
    Leaving,
    /// Removed; nothing of it is left.
    Gone,
}

/// Status words of the API (SG-192); a server in [`Status::Normal`] is not listed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Healthy.
    Normal,
    /// Not yet proven.
    Initial,
    /// Disproven.
    Unhealthy,
    /// Weight 0, or in a zone out of reach (SG-174).
    Unused,
    /// Checks are off.
    Unavailable,
    /// Removed, draining (SG-202).
    Removing,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Normal => "Normal",
            Status::Initial => "Initial",
            Status::Unhealthy => "Unhealthy",
            Status::Unused => "Unused",
            Status::Unavailable => "Unavailable",
            Status::Removing => "Removing",
        })
    }
}

/// What the latest probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Its result.
    pub outcome: Outcome,
    /// When it ended.
    pub at: Moment,
    /// Results of this kind in a row, this one included; counted anew when check settings change (SG-195), so 0 until
    /// the first one after that.
    pub in_a_row: u32,
}

/// Requests begun before `began` may finish until `deadline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Why.
    pub cause: DrainCause,
    /// What began later is not concerned.
    pub began: Moment,
    /// What is left then is cut (SG-155).
    pub deadline: Moment,
    /// What was counted; `None` before the first count.
    pub in_flight: Option<InFlight>,
}

/// Requests, streams, tunnels and flows that a drain waits for. Each belongs to one drain of its server, the first that
/// began after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// At the first count after the drain began; more, if one that began before it was seen only later.
    pub first: u64,
    /// At the latest count.
    pub latest: u64,
}

/// What became of the requests that a drain waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Ended by themselves between the first count and the latest.
    pub finished: u64,
    /// Still open at the latest count, when the deadline came.
    pub cut: u64,
}

/// Why a server drains (SG-153).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainCause {
    /// Its health checks fail.
    Unhealthy,
    /// It was removed from the group.
    Removed,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainEnd {
    /// Nothing was in flight any more (SG-156).
    Idle,
    /// Time is up: what began before [`Drain::began`] is to be cut.
    Deadline,
    /// The server takes fail-open traffic again (D-13).
    Cancelled,
}

/// Something happened that logs, events and whoever cuts connections want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The state changed.
    State {
        /// Before.
        from: State,
        /// After.
        to: State,
    },
    /// Slow start began.
    RampBegan,
    /// Slow start ended, by time or because the server is no longer usable.
    RampEnded,
    /// A drain began.
    DrainBegan(Drain),
    /// A drain ended.
    DrainEnded {
        /// As it was last.
        drain: Drain,
        /// How.
        end: DrainEnd,
        /// `None`: nothing was counted while it lasted, as with a timeout of 0. Whoever carries the cut out can still
        /// count before doing so.
        tally: Option<Tally>,
    },
}

/// Results in a row that change a verdict (SG-186).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Passes until healthy.
    pub healthy: u8,
    /// Failures until unhealthy.
    pub unhealthy: u8,
}

/// What happens to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A probe ended.
    Probed(Outcome, Thresholds),
    /// The weight became 0, or its zone went out of reach.
    OutOfUse,
    /// The reverse; checks on or off.
    InUse {
        /// Whether checks are on.
        checked: bool,
    },
    /// Checks were turned off.
    ChecksDisabled,
    /// Checks were turned on.
    ChecksEnabled,
    /// Check settings changed.
    ChecksChanged,
    /// It has failed and receives nothing, not even by fail-open; the drain's length, if draining is on.
    ShutOut(Option<Duration>),
    /// It receives fail-open traffic: its drains for failing are cancelled (D-13).
    ReceivesFailOpen,
    /// It left the group; the drain's length, if draining is on.
    Removed(Option<Duration>),
    /// What was in flight to it was counted.
    Counted {
        /// In the order of [`Machine::drains`]: what was in flight that had begun before each.
        open: Vec<u64>,
        /// When.
        at: Moment,
    },
    /// Time passed; the length of slow start, if it is on.
    Tick(Option<Duration>),
}

impl Machine {
    /// A server that joins a group. `ramps` says whether a server that becomes usable now enters slow start.
    pub fn join(is_in_use: bool, checked: bool, ramps: bool, now: Moment) -> (Machine, Vec<Notice>) {
        let mut machine = Machine {
            state: State::Initial,
            since: now,
            evidence: None,
            usable_since: None,
            ramp: None,
            drains: Vec::new(),
        };
        let mut notices = Vec::new();
        if !is_in_use {
            machine.state = State::Unused;
        } else if !checked {
            machine.state = State::Unchecked;
            machine.enter_traffic(&|| ramps, now, &mut notices);
        }
        (machine, notices)
    }

    /// Takes `event` into account. `ramps` as for [`Machine::join`]; asked only if the server becomes usable.
    pub fn handle(&mut self, event: Event, ramps: &dyn Fn() -> bool, now: Moment) -> Vec<Notice> {
        let mut notices = Vec::new();
        match event {
            Event::Tick(slow_start) => {
                let is_over = |start: Moment| slow_start.is_none_or(|duration| now.since(start) >= duration);
                if self.ramp.is_some_and(is_over) {
                    self.end_ramp(&mut notices);
                }
                self.end_drains(|drain| drain.deadline <= now, DrainEnd::Deadline, now, &mut notices);
            }
            Event::Counted { open, at } => self.counted(&open, at, now, &mut notices),
            Event::Removed(drain) if self.is_member() => {
                self.become_unusable(State::Leaving, now, &mut notices);
                self.begin_drain(DrainCause::Removed, drain, now, &mut notices);
                self.go_if_drained(now, &mut notices);
            }
            _ if !self.is_member() => {}
            Event::Removed(_) => {}
            Event::Probed(outcome, thresholds) => self.probed(outcome, thresholds, ramps, now, &mut notices),
            Event::OutOfUse => {
                if self.state != State::Unused {
                    self.become_unusable(State::Unused, now, &mut notices);
                    self.evidence = None;
                }
            }
            Event::InUse { checked } => match (&self.state, checked) {
                (State::Unused, true) => self.change(State::Initial, now, &mut notices),
                (State::Unused, false) => self.become_usable(State::Unchecked, ramps, now, &mut notices),
                _ => {}
            },
            Event::ChecksDisabled => {
                match self.state {
                    State::Initial | State::Unhealthy(_) => {
                        self.become_usable(State::Unchecked, ramps, now, &mut notices);
                    }
                    State::Healthy => self.change(State::Unchecked, now, &mut notices),
                    _ => {}
                }
                self.evidence = None;
            }
            Event::ChecksEnabled => {
                if self.state == State::Unchecked {
                    self.change(State::Healthy, now, &mut notices);
                }
            }
            Event::ChecksChanged => {
                if let Some(evidence) = &mut self.evidence {
                    evidence.in_a_row = 0;
                }
            }
            Event::ShutOut(drain) => {
                if matches!(self.state, State::Unhealthy(_)) {
                    self.begin_drain(DrainCause::Unhealthy, drain, now, &mut notices);
                }
            }
            Event::ReceivesFailOpen => {
                let is_for_failing = |drain: &Drain| drain.cause == DrainCause::Unhealthy;
                self.end_drains(is_for_failing, DrainEnd::Cancelled, now, &mut notices);
            }
        }
        notices
    }

    /// Where it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Since when it stands there.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// What its latest probe found; `None` where none has ended since it is in use and checked.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_ref()
    }

    /// The API's word for the state.
    pub fn status(&self) -> Status {
        match self.state {
            State::Initial => Status::Initial,
            State::Healthy => Status::Normal,
            State::Unhealthy(_) => Status::Unhealthy,
            State::Unused => Status::Unused,
            State::Unchecked => Status::Unavailable,
            State::Leaving | State::Gone => Status::Removing,
        }
    }

    /// Since when it may receive by its own merit: it is healthy, or unchecked because checks are off.
    pub fn usable_since(&self) -> Option<Moment> {
        self.usable_since
    }

    /// Start of a slow start in progress.
    pub fn ramp(&self) -> Option<Moment> {
        self.ramp
    }

    /// Drains in progress, oldest first.
    pub fn drains(&self) -> &[Drain] {
        &self.drains
    }

    /// Whether it has not left.
    pub fn is_member(&self) -> bool {
        !matches!(self.state, State::Leaving | State::Gone)
    }

    fn probed(
        &mut self,
        outcome: Outcome,
        thresholds: Thresholds,
        ramps: &dyn Fn() -> bool,
        now: Moment,
        notices: &mut Vec<Notice>,
    ) {
        // A late result of a probe that began before the weight or the checks changed.
        if matches!(self.state, State::Unused | State::Unchecked) {
            return;
        }
        let before = self.evidence.as_ref().filter(|before| before.outcome.passed() == outcome.passed());
        let in_a_row = before.map_or(0, |before| before.in_a_row).saturating_add(1);
        let is_decided = match outcome {
            Outcome::Passed => in_a_row >= u32::from(thresholds.healthy),
            Outcome::Failed(_) => in_a_row >= u32::from(thresholds.unhealthy),
        };
        match (&outcome, &mut self.state) {
            (Outcome::Passed, State::Healthy) => {}
            (Outcome::Passed, _) if is_decided => self.become_usable(State::Healthy, ramps, now, notices),
            (Outcome::Failed(failure), State::Unhealthy(latest)) => latest.clone_from(failure),
            (Outcome::Failed(failure), _) if is_decided => {
                self.become_unusable(State::Unhealthy(failure.clone()), now, notices);
            }
            _ => {}
        }
        self.evidence = Some(Evidence { outcome, at: now, in_a_row });
    }

    fn counted(&mut self, open: &[u64], at: Moment, now: Moment, notices: &mut Vec<Notice>) {
        // A count from before the drain says nothing: requests may have begun between count and drain. Nor does one from
        // its deadline on: what is not open any more may have been cut.
        let is_about = |drain: &Drain| drain.began <= at && at < drain.deadline;
        let mut of_older = 0;
        for (drain, open) in self.drains.iter_mut().zip(open) {
            let own = open.saturating_sub(of_older);
            of_older = *open;
            if is_about(drain) {
                let first = drain.in_flight.map_or(own, |before| before.first.max(own));
                drain.in_flight = Some(InFlight { first, latest: own });
            }
        }
        // By all that it would cut, not by its own: an older drain may end later, and a count may be of the server as a
        // whole, which tells nothing of what began between the two.
        let mut open = open.iter();
        let is_idle = |drain: &Drain| open.next() == Some(&0) && is_about(drain);
        self.end_drains(is_idle, DrainEnd::Idle, now, notices);
    }

    fn become_usable(
        &mut self,
        state: State,
        ramps: &dyn Fn() -> bool,
        now: Moment,
        notices: &mut Vec<Notice>,
    ) {
        self.change(state, now, notices);
        self.enter_traffic(ramps, now, notices);
    }

    fn enter_traffic(&mut self, ramps: &dyn Fn() -> bool, now: Moment, notices: &mut Vec<Notice>) {
        self.usable_since = Some(now);
        if ramps() {
            self.ramp = Some(now);
            notices.push(Notice::RampBegan);
        }
    }

    fn become_unusable(&mut self, state: State, now: Moment, notices: &mut Vec<Notice>) {
        self.change(state, now, notices);
        self.usable_since = None;
        self.end_ramp(notices);
    }

    fn change(&mut self, to: State, now: Moment, notices: &mut Vec<Notice>) {
        let from = std::mem::replace(&mut self.state, to.clone());
        self.since = now;
        notices.push(Notice::State { from, to });
    }

    fn end_ramp(&mut self, notices: &mut Vec<Notice>) {
        if self.ramp.take().is_some() {
            notices.push(Notice::RampEnded);
        }
    }

    fn begin_drain(
        &mut self,
        cause: DrainCause,
        timeout: Option<Duration>,
        now: Moment,
        notices: &mut Vec<Notice>,
    ) {
        let Some(timeout) = timeout else { return };
        let drain = Drain { cause, began: now, deadline: now + timeout, in_flight: None };
        self.drains.push(drain);
        notices.push(Notice::DrainBegan(drain));
        self.end_drains(|drain| drain.deadline <= now, DrainEnd::Deadline, now, notices);
    }

    fn end_drains(
        &mut self,
        mut ends: impl FnMut(&Drain) -> bool,
        end: DrainEnd,
        now: Moment,
        notices: &mut Vec<Notice>,
    ) {
        for drain in self.drains.extract_if(.., |drain| ends(drain)) {
            notices.push(Notice::DrainEnded { drain, end, tally: drain.tally(end) });
        }
        self.go_if_drained(now, notices);
    }

    fn go_if_drained(&mut self, now: Moment, notices: &mut Vec<Notice>) {
        if self.state == State::Leaving && self.drains.is_empty() {
            self.change(State::Gone, now, notices);
        }
    }
}

impl Drain {
    fn tally(&self, end: DrainEnd) -> Option<Tally> {
        let InFlight { first, latest } = self.in_flight?;
        let cut = if end == DrainEnd::Deadline { latest } else { 0 };
        Some(Tally { finished: first - latest, cut })
    }
}

#[cfg(test)]
mod tests;
