//! What happened to servers lately, as an operator reads it in the log and by `causeway get events`. Pure.

use crate::health::machine::State;
use crate::health::{DrainEnd, GroupNotice, Moment, Notice, Tally};
use crate::model::{ServerAddress, ServerGroupName, ZoneName};
use std::collections::VecDeque;
use std::fmt;

/// Events kept; the oldest goes when one more comes.
const EVENTS_KEPT: usize = 256;

/// Something that happened in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was taken in.
    pub at: Moment,
    /// In which group.
    pub group: ServerGroupName,
    /// To which server; `None`: to all.
    pub server: Option<ServerAddress>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Another state.
    State(State),
    /// A slow start began.
    SlowStartBegan,
    /// A slow start ended.
    SlowStartEnded,
    /// A drain began.
    DrainBegan,
    /// A drain ended.
    DrainEnded {
        /// How.
        end: DrainEnd,
        /// What became of what was in flight, where it was counted.
        tally: Option<Tally>,
    },
    /// Traffic goes to all servers, as none is healthy.
    FailOpenBegan(Option<ZoneName>),
    /// Some server is healthy again.
    FailOpenEnded(Option<ZoneName>),
}

impl Event {
    /// What a notice says.
    pub fn of(at: Moment, group: &ServerGroupName, notice: &GroupNotice) -> Event {
        let (server, what) = match notice {
            GroupNotice::FailOpen { zone, begins: true } => (None, What::FailOpenBegan(zone.clone())),
            GroupNotice::FailOpen { zone, begins: false } => (None, What::FailOpenEnded(zone.clone())),
            GroupNotice::Server { address, notice, .. } => {
                let what = match notice {
                    Notice::State { to, .. } => What::State(to.clone()),
                    Notice::RampBegan => What::SlowStartBegan,
                    Notice::RampEnded => What::SlowStartEnded,
                    Notice::DrainBegan(_) => What::DrainBegan,
                    Notice::DrainEnded { end, tally, .. } => What::DrainEnded { end: *end, tally: *tally },
                };
                (Some(*address), what)
            }
        };
        Event { at, group: group.clone(), server, what }
    }

    /// Whether an operator may have to do something.
    pub fn is_warning(&self) -> bool {
        matches!(self.what, What::State(State::Unhealthy(_)) | What::FailOpenBegan(_))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group \"{}\": ", self.group)?;
        if let Some(server) = self.server {
            write!(f, "server {server} ")?;
        }
        self.what.fmt(f)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |zone: &Option<ZoneName>| {
            zone.as_ref().map_or_else(String::new, |zone| format!(" in zone \"{zone}\""))
        };
        match self {
            What::State(State::Unhealthy(failure)) => write!(f, "is unhealthy: {failure}"),
            What::State(state) => f.write_str(match state {
                State::Initial => "is to prove itself",
                State::Healthy => "is healthy",
                State::Unhealthy(_) => "is unhealthy",
                State::Unused => "is not in use",
                State::Unchecked => "is in use without checks",
                State::Leaving => "leaves",
                State::Gone => "is gone",
            }),
            What::SlowStartBegan => f.write_str("begins its slow start"),
            What::SlowStartEnded => f.write_str("has ended its slow start"),
            What::DrainBegan => f.write_str("drains"),
            What::DrainEnded { end: DrainEnd::Cancelled, .. } => {
                f.write_str("ended its drain: it takes fail-open traffic again")
            }
            What::DrainEnded { end, tally: Some(Tally { finished, cut }) } => {
                write!(f, "ended its drain: {finished} finished, {cut} cut")?;
                if *end == DrainEnd::Deadline { f.write_str(" at the deadline") } else { Ok(()) }
            }
            What::DrainEnded { end: DrainEnd::Idle, tally: None } => {
                f.write_str("ended its drain: nothing was in flight")
            }
            What::DrainEnded { end: DrainEnd::Deadline, tally: None } => {
                f.write_str("ended its drain: time was up before anything was counted")
            }
            What::FailOpenBegan(zone) => {
                write!(f, "no server{} is healthy; traffic goes to all of them (fail-open)", place(zone))
            }
            What::FailOpenEnded(zone) => write!(f, "fail-open{} ended", place(zone)),
        }
    }
}

/// The latest events.
#[derive(Clone, Debug, Default)]
pub struct Events(VecDeque<Event>);

impl Events {
    /// Keeps an event.
    pub fn push(&mut self, event: Event) {
        if self.0.len() == EVENTS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    /// Those kept, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Event> + ExactSizeIterator {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Drain, DrainCause, Failure, FailureReason, MemberId};

    fn ended(end: DrainEnd, tally: Option<Tally>) -> String {
        let now = Moment::from_nanos(7);
        let drain = Drain { cause: DrainCause::Removed, began: now, deadline: now, in_flight: None };
        let notice = Notice::DrainEnded { drain, end, tally };
        let notice = GroupNotice::Server { id: MemberId(3), address: "10.0.0.1:80".parse().unwrap(), notice };
        Event::of(now, &ServerGroupName::new("web"), &notice).to_string()
    }

    // Holds SG-155, SG-156
    #[test]
    fn the_end_of_a_drain_says_how_many_finished_and_how_many_were_cut() {
        assert_eq!(
            ended(DrainEnd::Deadline, Some(Tally { finished: 37, cut: 2 })),
            "group \"web\": server 10.0.0.1:80 ended its drain: 37 finished, 2 cut at the deadline"
        );
        assert_eq!(
            ended(DrainEnd::Idle, Some(Tally { finished: 4, cut: 0 })),
            "group \"web\": server 10.0.0.1:80 ended its drain: 4 finished, 0 cut"
        );
    }

    // Holds SG-193
    #[test]
    fn an_unhealthy_server_comes_with_the_reason_and_what_there_is_to_say_of_it() {
        let said = |reason, answer: Option<(&str, &str)>, detail: &str| {
            let failure = Failure {
                reason,
                actual: answer.map(|(actual, _)| actual.into()),
                expected: answer.map(|(_, expected)| expected.into()),
                detail: detail.into(),
            };
            What::State(State::Unhealthy(failure)).to_string()
        };
        assert_eq!(
            said(FailureReason::ResponseMismatch, Some(("404", "HTTP_2xx")), ""),
            "is unhealthy: RESPONSE_MISMATCH: got 404, expected HTTP_2xx"
        );
        assert_eq!(
            said(FailureReason::ConnectFailed, None, "Connection refused"),
            "is unhealthy: CONNECT_FAILED (Connection refused)"
        );
    }

    #[test]
    fn the_oldest_event_goes_first() {
        let mut events = Events::default();
        let event = |nanoseconds| Event {
            at: Moment::from_nanos(nanoseconds),
            group: ServerGroupName::new("web"),
            server: None,
            what: What::FailOpenBegan(None),
        };
        (0..300).for_each(|number| events.push(event(number)));
        assert_eq!(events.iter().len(), 256);
        assert_eq!(events.iter().next().map(|event| event.at.as_nanos()), Some(44));
        assert_eq!(events.iter().next_back().map(|event| event.at.as_nanos()), Some(299));
    }
}
