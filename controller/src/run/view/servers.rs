//! Servers: weight, health and load.

use super::Readings;
use crate::api::{FailureView, HealthStatus, PathView, ServerCounters, ServerView};
use crate::balance::slow_start::{self, ONE};
use crate::health::{Moment, Standing, Status};
use crate::model::{Server, ServerGroup};
use crate::plan;
use crate::routing::{self, Path};
use crate::run::control::Control;

impl Control {
    pub(super) fn servers(&mut self, readings: &Readings) -> Vec<ServerView> {
        let mut views = Vec::new();
        let standings = self.latest_standings();
        for (name, standings) in &standings {
            let Some(group) = self.resources.server_groups.get(name) else { continue };
            for standing in standings {
                let id = self.ids.server(name, standing.address);
                let counters = self.server_counters(id, group, standing, readings);
                views.push(self.server(group, standing, counters, readings.now));
            }
        }
        views
    }

    fn server(
        &self,
        group: &ServerGroup,
        standing: &Standing,
        counters: ServerCounters,
        now: Moment,
    ) -> ServerView {
        let configured: Option<&Server> =
            group.servers.iter().find(|server| server.address == standing.address);
        let is_l4 = group.protocol == crate::model::GroupProtocol::Tcp;
        ServerView {
            group: group.name.to_string(),
            address: standing.address.into(),
            weight: standing.weight.get(),
            effective_weight: f64::from(weight_in_force(standing, is_l4, now)) / f64::from(ONE),
            health: health(standing.status),
            failure: standing.failure.as_ref().map(|failure| FailureView {
                reason: failure.reason.to_string(),
                actual: failure.actual.clone(),
                expected: failure.expected.clone(),
                detail: failure.detail.clone(),
            }),
            since_secs: now.since(standing.since).as_secs(),
            in_slow_start: standing.ramp.is_some(),
            is_draining: !standing.drains.is_empty(),
            counters,
            zone: group
                .vpc
                .as_ref()
                .and_then(|vpc| self.resources.vpcs.get(vpc)?.vswitch_of(standing.address.ip))
                .map(|vswitch| vswitch.zone.to_string()),
            remote_ip: configured.is_some_and(|server| server.remote_ip),
            path: match routing::resolve(&self.resources, group.vpc.as_ref(), standing.address.ip) {
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
