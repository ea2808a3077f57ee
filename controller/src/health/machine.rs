//! The state of one server of a group (server-groups requirements section 12).
//!
//! ```text
//! state      event                                     next        also
//! ---------  ----------------------------------------  ----------  ---------------------------------------------
//! (absent)   added, weight 0                           Unused
//! (absent)   added, checks on                          Initial
//! (absent)   added, checks off                         Unchecked   ramp if others carry the traffic (SG-137)
//! Initial    healthy threshold of passes in a row      Healthy     ramp likewise (SG-136)
//! Initial    unhealthy threshold of failures in a row  Unhealthy
//! Healthy    unhealthy threshold of failures in a row  Unhealthy   ramp ends (SG-139)
//! Unhealthy  healthy threshold of passes in a row      Healthy     ramp likewise (SG-140); drains go on (SG-159)
//! Unhealthy  a failure                                 Unhealthy   the latest reason is kept
//! member     weight set to 0                           Unused      ramp ends
//! Unused     weight raised, checks on                  Initial     (then as a new server, SG-141)
//! Unused     weight raised, checks off                 Unchecked   ramp likewise
//! Initial, Unhealthy  checks disabled                  Unchecked   ramp likewise
//! Healthy    checks disabled                           Unchecked   ramp goes on
//! Unchecked  checks enabled                            Healthy     ramp goes on: the verdict stays until there is
//!                                                                  evidence (SG-195)
//! any        check settings changed                    (same)      counts restart (SG-195)
//! Unhealthy  shut out (group: no fail-open)            (same)      drain begins, if draining is on (SG-153, SG-161)
//! member     removed, draining on                      Leaving     drain begins
//! member     removed, draining off or timeout 0        Gone
//! Leaving    deadline, or nothing in flight            Gone
//! any        deadline of a drain, nothing in flight    (same)      that drain ends
//! ```
//!
//! A member is a server in any state but Leaving and Gone. A failure resets the count of passes and the reverse (SG-186).
//! A server that is added again is a new machine: what drained goes on draining in the old one (SG-158).

use super::{Failure, Moment, Outcome};
use std::fmt;
use std::time::Duration;

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    state: State,
    since: Moment,
    /// Consecutive results of the same kind.
    passes: u8,
    failures: u8,
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
    /// Weight 0: not probed (SG-91).
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
    /// Weight 0.
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

/// Requests begun before `began` may finish until `deadline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Why.
    pub cause: DrainCause,
    /// What began later is not concerned.
    pub began: Moment,
    /// What is left then is cut (SG-155).
    pub deadline: Moment,
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
    DrainEnded(Drain, DrainEnd),
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
    /// The weight became 0.
    WeightZero,
    /// The weight was 0 and is not any more; checks on or off.
    WeightRaised {
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
    /// Nothing was in flight to it at that moment.
    Idle(Moment),
    /// Time passed; the length of slow start, if it is on.
    Tick(Option<Duration>),
}

impl Machine {
    /// A server that joins a group. `ramps` says whether a server that becomes usable now enters slow start.
    pub fn join(has_weight: bool, checked: bool, ramps: bool, now: Moment) -> (Machine, Vec<Notice>) {
        let mut machine = Machine {
            state: State::Initial,
            since: now,
            passes: 0,
            failures: 0,
            usable_since: None,
            ramp: None,
            drains: Vec::new(),
        };
        let mut notices = Vec::new();
        if !has_weight {
            machine.state = State::Unused;
        } else if !checked {
            machine.state = State::Unchecked;
            machine.enter_traffic(ramps, now, &mut notices);
        }
        (machine, notices)
    }

    /// Takes `event` into account. `ramps` as for [`Machine::join`].
    pub fn handle(&mut self, event: Event, ramps: bool, now: Moment) -> Vec<Notice> {
        let mut notices = Vec::new();
        match event {
            Event::Tick(slow_start) => {
                let is_over = |start: Moment| slow_start.is_none_or(|duration| now.since(start) >= duration);
                if self.ramp.is_some_and(is_over) {
                    self.end_ramp(&mut notices);
                }
                self.end_drains(|drain| drain.deadline <= now, DrainEnd::Deadline, now, &mut notices);
            }
            Event::Idle(counted_at) => {
                // A count from before the drain says nothing: requests may have begun between count and drain.
                self.end_drains(|drain| drain.began <= counted_at, DrainEnd::Idle, now, &mut notices);
            }
            Event::Removed(drain) if self.is_member() => {
                self.become_unusable(State::Leaving, now, &mut notices);
                self.begin_drain(DrainCause::Removed, drain, now, &mut notices);
                self.go_if_drained(now, &mut notices);
            }
            _ if !self.is_member() => {}
            Event::Removed(_) => {}
            Event::Probed(outcome, thresholds) => self.probed(outcome, thresholds, ramps, now, &mut notices),
            Event::WeightZero => {
                if self.state != State::Unused {
                    self.become_unusable(State::Unused, now, &mut notices);
                }
            }
            Event::WeightRaised { checked } => match (&self.state, checked) {
                (State::Unused, true) => self.change(State::Initial, now, &mut notices),
                (State::Unused, false) => self.become_usable(State::Unchecked, ramps, now, &mut notices),
                _ => {}
            },
            Event::ChecksDisabled => match self.state {
                State::Initial | State::Unhealthy(_) => {
                    self.become_usable(State::Unchecked, ramps, now, &mut notices);
                }
                State::Healthy => self.change(State::Unchecked, now, &mut notices),
                _ => {}
            },
            Event::ChecksEnabled => {
                if self.state == State::Unchecked {
                    self.change(State::Healthy, now, &mut notices);
                }
            }
            Event::ChecksChanged => self.restart_counts(),
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

    fn is_member(&self) -> bool {
        !matches!(self.state, State::Leaving | State::Gone)
    }

    fn probed(
        &mut self,
        outcome: Outcome,
        thresholds: Thresholds,
        ramps: bool,
        now: Moment,
        notices: &mut Vec<Notice>,
    ) {
        match outcome {
            // A late result of a probe that began before the weight or the checks changed.
            _ if matches!(self.state, State::Unused | State::Unchecked) => {}
            Outcome::Passed => {
                self.failures = 0;
                self.passes = self.passes.saturating_add(1);
                if self.state != State::Healthy && self.passes >= thresholds.healthy {
                    self.become_usable(State::Healthy, ramps, now, notices);
                }
            }
            Outcome::Failed(failure) => {
                self.passes = 0;
                self.failures = self.failures.saturating_add(1);
                if let State::Unhealthy(latest) = &mut self.state {
                    *latest = failure;
                } else if self.failures >= thresholds.unhealthy {
                    self.become_unusable(State::Unhealthy(failure), now, notices);
                }
            }
        }
    }

    fn become_usable(&mut self, state: State, ramps: bool, now: Moment, notices: &mut Vec<Notice>) {
        self.change(state, now, notices);
        self.enter_traffic(ramps, now, notices);
    }

    fn enter_traffic(&mut self, ramps: bool, now: Moment, notices: &mut Vec<Notice>) {
        self.usable_since = Some(now);
        if ramps {
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
        self.restart_counts();
        notices.push(Notice::State { from, to });
    }

    fn restart_counts(&mut self) {
        self.passes = 0;
        self.failures = 0;
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
        let drain = Drain { cause, began: now, deadline: now + timeout };
        self.drains.push(drain);
        notices.push(Notice::DrainBegan(drain));
        self.end_drains(|drain| drain.deadline <= now, DrainEnd::Deadline, now, notices);
    }

    fn end_drains(
        &mut self,
        ends: impl Fn(&Drain) -> bool,
        how: DrainEnd,
        now: Moment,
        notices: &mut Vec<Notice>,
    ) {
        for drain in self.drains.extract_if(.., |drain| ends(drain)) {
            notices.push(Notice::DrainEnded(drain, how));
        }
        self.go_if_drained(now, notices);
    }

    fn go_if_drained(&mut self, now: Moment, notices: &mut Vec<Notice>) {
        if self.state == State::Leaving && self.drains.is_empty() {
            self.change(State::Gone, now, notices);
        }
    }
}

#[cfg(test)]
mod tests;
