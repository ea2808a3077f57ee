//! What is in flight to draining servers: when it is counted, and what the counts say.

use super::control::{Control, seconds};
use super::events::{Event, What};
use crate::health::{Drain, DrainEnd, GroupNotice, MemberId, Moment, Notice, Tally};
use crate::model::{ServerAddress, ServerGroupName};
use crate::plan;
use crate::probe::clock;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is in flight to draining servers is counted this often.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// And this long before a drain's deadline.
const COUNT_BEFORE_DEADLINE: Duration = Duration::from_millis(50);

/// A drain whose time was up before anything could be counted.
pub(super) struct Uncounted {
    group: ServerGroupName,
    server: ServerAddress,
    drain: Drain,
}

/// Open L4 flows by element, and the elements of every server.
struct OpenFlows {
    by_element: BTreeMap<u32, u64>,
    elements: BTreeMap<u64, Vec<u32>>,
}

impl Control {
    /// Takes in what happened in a group.
    pub fn changed(&mut self, name: &ServerGroupName, notices: &[GroupNotice]) {
        let now = clock::now();
        for notice in notices {
            self.note_drain(name, notice);
            let is_uncounted = matches!(
                notice,
                GroupNotice::Server {
                    notice: Notice::DrainEnded { end: DrainEnd::Deadline, tally: None, .. },
                    ..
                }
            );
            // Its event follows with the count, which is still possible.
            if !is_uncounted {
                self.record(Event::of(now, name, notice));
            }
        }
        if let Some(group) = self.health.get(name) {
            self.standings.insert(name.clone(), group.standings().collect());
        }
    }

    fn note_drain(&mut self, name: &ServerGroupName, notice: &GroupNotice) {
        let GroupNotice::Server { address, notice, .. } = notice else { return };
        match notice {
            Notice::DrainBegan(_) => self.drain_began = true,
            Notice::DrainEnded { drain, end, tally } => {
                let id = self.ids.server(name, *address);
                self.cuts.ended(id, drain, *end);
                if *end == DrainEnd::Deadline && tally.is_none() {
                    let (group, server, drain) = (name.clone(), *address, *drain);
                    self.uncounted.push(Uncounted { group, server, drain });
                }
            }
            _ => {}
        }
    }

    /// Prints an event and keeps it, once it is known to have happened.
    pub fn record(&mut self, event: Event) {
        if let Some(held) = &mut self.held_events {
            held.push(event);
            return;
        }
        if event.is_warning() {
            log::warn!("{event}");
        } else {
            log::info!("{event}");
        }
        self.events.push(event);
    }

    /// Finds out when somebody has to count what is in flight: at once when a drain began, shortly before each deadline,
    /// and every now and then while a server drains, or has left and may still have flows.
    pub fn consider_counting(&mut self) {
        let drains = || self.standings.values().flatten().flat_map(|standing| &standing.drains);
        let has_departed =
            || !plan::departed(&self.resources, &self.standings, self.datapath.state()).is_empty();
        if drains().next().is_none() && !has_departed() {
            self.next_count = None;
            self.drain_began = false;
            return;
        }
        let last = self.counted_at;
        let before_deadlines = drains()
            .map(|drain| {
                let early = drain.deadline.as_nanos().saturating_sub(COUNT_BEFORE_DEADLINE.as_nanos() as u64);
                Moment::from_nanos(early)
            })
            .filter(|moment| *moment > last);
        let regular = if self.drain_began { clock::now() } else { last + COUNT_EVERY };
        self.next_count = before_deadlines.chain([regular]).min();
        self.drain_began = false;
    }

    /// Counts what is in flight to draining servers, and ends the drains of those with nothing; whether a new plan is
    /// due.
    pub async fn count_in_flight(&mut self) -> bool {
        self.counted_at = clock::now();
        let counted_at = self.counted_at;
        let mut drains: Vec<(ServerGroupName, MemberId, ServerAddress, Drain)> = Vec::new();
        for (name, group) in &self.health {
            for (member, address, of_member) in group.draining() {
                drains.extend(of_member.iter().map(|drain| (name.clone(), member, address, *drain)));
            }
        }
        let asked: Vec<_> = drains.iter().map(|(name, _, address, drain)| (name, *address, *drain)).collect();
        let counts = match self.open(&asked).await {
            Ok(counts) => counts,
            Err(error) => {
                log::error!("count what is in flight to draining servers: {error}");
                self.consider_counting();
                return false;
            }
        };
        let mut changed = false;
        let now = clock::now();
        let mut by_member: BTreeMap<(ServerGroupName, MemberId), Vec<(Moment, u64)>> = BTreeMap::new();
        for ((name, member, _, drain), count) in drains.into_iter().zip(counts) {
            by_member.entry((name, member)).or_default().push((drain.began, count));
        }
        for ((name, member), counts) in by_member {
            let Some(group) = self.health.get_mut(&name) else { continue };
            let of = |drain: &Drain| {
                let found = counts.iter().find(|(began, _)| *began == drain.began);
                found.map_or(0, |(_, count)| *count)
            };
            let notices = group.counted(member, of, counted_at, now);
            changed |= !notices.is_empty();
            self.changed(&name, &notices);
        }
        changed |= !plan::departed(&self.resources, &self.standings, self.datapath.state()).is_empty();
        self.look_ahead();
        self.consider_counting();
        changed
    }

    /// Counts what drains without time cut, before it is cut, and tells.
    pub async fn count_uncounted(&mut self) {
        if self.uncounted.is_empty() {
            return;
        }
        let uncounted = std::mem::take(&mut self.uncounted);
        let asked: Vec<_> = uncounted.iter().map(|ended| (&ended.group, ended.server, ended.drain)).collect();
        let counts = self.open(&asked).await;
        if let Err(error) = &counts {
            log::error!("count what is cut: {error}");
        }
        for (number, ended) in uncounted.into_iter().enumerate() {
            let cut = counts.as_ref().ok().map(|counts| counts[number]);
            let what = What::DrainEnded {
                end: DrainEnd::Deadline,
                tally: cut.map(|cut| Tally { finished: 0, cut }),
            };
            let (at, group, server) = (clock::now(), ended.group, Some(ended.server));
            self.record(Event { at, group, server, what });
        }
    }

    /// How many requests and flows that began before each drain are open.
    async fn open(
        &mut self,
        drains: &[(&ServerGroupName, ServerAddress, Drain)],
    ) -> Result<Vec<u64>, crate::datapath::DatapathError> {
        let asked: Vec<(u32, u64)> = drains
            .iter()
            .map(|(name, address, drain)| (self.ids.server(name, *address), drain.began.as_nanos()))
            .collect();
        let requests = self.engine.in_flight(asked.into()).await;
        let flows = self.open_flows()?;
        let servers = &self.datapath.state().live().server;
        let of_server = |name: &ServerGroupName, address, drain: &Drain| -> u64 {
            let identity = plan::server_identity(name, address);
            let elements = identity.and_then(|identity| flows.elements.get(&identity)).into_iter().flatten();
            // What began in an element that came after the drain is none of its.
            elements
                .filter(|index| servers[*index].since <= drain.began.as_nanos())
                .filter_map(|index| flows.by_element.get(index))
                .sum()
        };
        let counts = drains.iter().zip(requests);
        Ok(counts
            .map(|((name, address, drain), requests)| requests + of_server(name, *address, drain))
            .collect())
    }

    fn open_flows(&self) -> Result<OpenFlows, crate::datapath::DatapathError> {
        let by_element = self.datapath.flows(seconds(clock::now()))?.by_server;
        Ok(OpenFlows { by_element, elements: self.server_indices() })
    }
}
