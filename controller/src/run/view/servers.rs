//! Servers: weight, health and load.

use super::Readings;
use crate::api::{
    DrainView, EventView, EvidenceView, FailureView, HealthStatus, PathView, RampView, ServerCounters,
    ServerView,
};
use crate::balance::slow_start::{self, ONE};
use crate::health::{DrainCause, Evidence, Failure, Moment, Outcome, Standing, Status};
use crate::model::{Server, ServerGroup, ServerGroupName, ServerId};
use crate::plan;
use crate::probe::clock;
use crate::routing::{self, Path};
use crate::run::control::Control;
use std::net::SocketAddr;
use std::time::Duration;

impl Control {
    /// Servers of the groups in use, or of one of them.
    pub(super) fn servers(&mut self, only: Option<&ServerGroupName>, readings: &Readings) -> Vec<ServerView> {
        let mut views = Vec::new();
        let standings = self.latest_standings();
        for (name, standings) in standings.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
            let Some(group) = self.resources.server_groups.get(name) else { continue };
            for standing in standings {
                let id = self.ids.server(name, standing.address);
                let counters = self.server_counters(id, group, standing, readings);
                views.push(self.server(group, standing, counters, readings.now));
            }
        }
        views
    }

    /// What happened, to the servers of one group or of all.
    pub(super) fn events(&self, group: Option<&str>) -> Vec<EventView> {
        let now = clock::now();
        let events =
            self.events.iter().filter(|event| group.is_none_or(|group| event.group.as_str() == group));
        events
            .map(|event| EventView {
                ago_secs: now.since(event.at).as_secs(),
                group: event.group.to_string(),
                server: event.server.map(SocketAddr::from),
                what: event.what.to_string(),
                is_warning: event.is_warning(),
            })
            .collect()
    }

    /// Servers of groups that no listener uses: nothing is known of them but what is configured.
    pub(super) fn servers_not_in_use(&self, only: Option<&ServerGroupName>) -> Vec<ServerView> {
        let is_used =
            |name: &ServerGroupName| self.resources.listeners.values().any(|listener| listener.uses(name));
        let groups = self.resources.server_groups.values();
        groups
            .filter(|group| only.is_none_or(|only| *only == group.name) && !is_used(&group.name))
            .flat_map(|group| group.servers.iter().map(|server| self.idle_server(group, server)))
            .collect()
    }

    fn server(
        &self,
        group: &ServerGroup,
        standing: &Standing,
        counters: ServerCounters,
        now: Moment,
    ) -> ServerView {
        // One that has left may have come back as another member.
        let configured: Option<&Server> = group
            .servers
            .iter()
            .find(|server| server.address == standing.address && standing.status != Status::Removing);
        let blank = match configured {
            Some(server) => self.idle_server(group, server),
            None => self.idle_server(group, &Server::new(standing.address, standing.weight)),
        };
        let check = group
            .health_check
            .as_ref()
            .filter(|_| matches!(standing.status, Status::Initial | Status::Normal | Status::Unhealthy));
        let next_probe = |evidence: &Evidence| {
            let next = evidence.at + check?.interval;
            Some(milliseconds(next.since(now)))
        };
        ServerView {
            weight: standing.weight.get(),
            effective_weight: f64::from(weight_in_force(standing, group.is_l4(), now)) / f64::from(ONE),
            health: health(standing.status),
            failure: standing.failure.as_ref().map(failure),
            since_secs: now.since(standing.since).as_secs(),
            evidence: standing.evidence.as_ref().filter(|_| check.is_some()).map(|evidence| EvidenceView {
                failure: match &evidence.outcome {
                    Outcome::Passed => None,
                    Outcome::Failed(why) => Some(failure(why)),
                },
                ago_ms: milliseconds(now.since(evidence.at)),
                in_a_row: evidence.in_a_row,
            }),
            next_probe_ms: standing.evidence.as_ref().and_then(next_probe),
            in_slow_start: standing.ramp.is_some(),
            slow_start: standing.ramp.map(|ramp| RampView {
                elapsed_secs: now.since(ramp.start).as_secs(),
                duration_secs: ramp.duration.as_secs(),
            }),
            is_draining: !standing.drains.is_empty(),
            drains: standing
                .drains
                .iter()
                .map(|drain| DrainView {
                    cause: match drain.cause {
                        DrainCause::Unhealthy => "unhealthy",
                        DrainCause::Removed => "removed",
                    }
                    .into(),
                    elapsed_secs: now.since(drain.began).as_secs(),
                    remaining_secs: drain.deadline.since(now).as_secs(),
                    in_flight: drain.in_flight.map(|in_flight| (in_flight.first, in_flight.latest)),
                })
                .collect(),
            counters,
            ..blank
        }
    }

    /// A server as configured, doing nothing.
    fn idle_server(&self, group: &ServerGroup, server: &Server) -> ServerView {
        let ip = server.address.ip;
        ServerView {
            group: group.name.to_string(),
            id: match &server.id {
                ServerId::Ip => None,
                ServerId::Ecs(id) => Some(format!("ecs:{id}")),
                ServerId::Eni(id) => Some(format!("eni:{id}")),
                ServerId::Eci(id) => Some(format!("eci:{id}")),
                ServerId::Fc(arn) => Some(format!("fc:{arn}")),
            },
            address: server.address.into(),
            weight: server.weight.get(),
            effective_weight: 0.0,
            health: HealthStatus::Unused,
            failure: None,
            since_secs: 0,
            evidence: None,
            next_probe_ms: None,
            in_slow_start: false,
            slow_start: None,
            is_draining: false,
            drains: Vec::new(),
            counters: ServerCounters::default(),
            zone: group
                .vpc
                .as_ref()
                .and_then(|vpc| self.resources.vpcs.get(vpc)?.vswitch_of(ip))
                .map(|vswitch| vswitch.zone.to_string()),
            remote_ip: server.remote_ip,
            description: server.description.clone(),
            path: match routing::resolve(&self.resources, group.vpc.as_ref(), ip) {
                Path::Local => PathView::Local,
                Path::Via { transit_router, .. } => {
                    PathView::TransitRouter { name: transit_router.name.to_string() }
                }
                Path::None => PathView::None,
            },
        }
    }

    fn server_counters(
        &self,
        id: u32,
        group: &ServerGroup,
        standing: &Standing,
        readings: &Readings,
    ) -> ServerCounters {
        let totals = readings.servers.get(&id).copied().unwrap_or_default();
        let mut counters = ServerCounters {
            active: totals.active,
            requests: totals.requests,
            connections: totals.connections,
            connect_failures: totals.connect_failures,
            request_failures: totals
                .requests
                .saturating_sub(totals.responses.iter().sum::<u64>() + totals.active),
            ..ServerCounters::default()
        };
        let identity = plan::server_identity(&group.name, standing.address);
        for index in identity.and_then(|identity| readings.indices.get(&identity)).into_iter().flatten() {
            counters.active += readings.flows.get(index).copied().unwrap_or_default();
            if let Some(found) = readings.datapath.servers.get(index) {
                counters.flows += found.flows;
                counters.l4.packets += found.packets;
                counters.l4.bytes += found.bytes;
                counters.l4.reply_packets += found.reply_packets;
                counters.l4.reply_bytes += found.reply_bytes;
            }
        }
        counters
    }
}

fn failure(failure: &Failure) -> FailureView {
    FailureView {
        reason: failure.reason.to_string(),
        actual: failure.actual.clone(),
        expected: failure.expected.clone(),
        detail: failure.detail.clone(),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn health(status: Status) -> HealthStatus {
    match status {
        Status::Normal => HealthStatus::Normal,
        Status::Initial => HealthStatus::Initial,
        Status::Unhealthy => HealthStatus::Unhealthy,
        Status::Unused => HealthStatus::Unused,
        Status::Unavailable => HealthStatus::Unavailable,
        Status::Removing => HealthStatus::Removing,
    }
}

/// Weight in force, in units of 1 / [`ONE`]: L4 tables ramp in steps, L7 evaluates each pick.
fn weight_in_force(standing: &Standing, is_l4: bool, now: Moment) -> u32 {
    match standing.ramp {
        Some(ramp) if standing.receives_new && !is_l4 => slow_start::effective_weight(
            standing.weight,
            slow_start::fraction_at(now.since(ramp.start), ramp.duration),
        ),
        _ => standing.table_weight(now),
    }
}
