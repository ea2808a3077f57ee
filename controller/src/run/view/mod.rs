//! How things stand, for `causeway get` and for metrics.

mod metrics;
mod network;
mod servers;

use super::control::{Control, seconds};
use crate::api::{Kind, Response, StatusView, View};
use crate::datapath::Counters;
use crate::health::Moment;
use crate::probe::clock;
use crate::proxy::stats::ServerTotals;
use std::collections::BTreeMap;

/// Every counter, read at one moment.
struct Readings {
    datapath: Counters,
    servers: BTreeMap<u32, ServerTotals>,
    /// Open L4 flows by server index.
    flows: BTreeMap<u32, u64>,
    /// Indices of a server's elements, by identity.
    indices: BTreeMap<u64, Vec<u32>>,
    now: Moment,
}

impl Control {
    /// The things of a kind.
    pub fn view(&mut self, kind: Kind) -> Response {
        let readings = match self.readings() {
            Ok(readings) => readings,
            Err(message) => return Response::Failed { message },
        };
        let view = match kind {
            Kind::LoadBalancers => View::LoadBalancers(self.load_balancers()),
            Kind::Servers => View::Servers(self.servers(&readings)),
            Kind::Routes => View::Routes(self.routes()),
            Kind::NextHops => View::NextHops(self.next_hops(&readings)),
        };
        Response::View { view }
    }

    /// How the program stands.
    pub fn status(&self) -> StatusView {
        StatusView {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.node.value.name.clone(),
            pid: std::process::id(),
            uptime_secs: clock::now().since(self.started).as_secs(),
            revision: self.revision,
            snapshot_sequence: self.sequence,
            workers: self.node.value.workers,
        }
    }

    fn readings(&self) -> Result<Readings, String> {
        let now = clock::now();
        Ok(Readings {
            datapath: self.datapath.counters().map_err(|error| error.to_string())?,
            servers: self.stats.servers(),
            flows: self.datapath.flows(seconds(now)).map_err(|error| error.to_string())?.by_server,
            indices: self.server_indices(),
            now,
        })
    }
}
