//! How things stand, for `causeway get` and for metrics.

mod groups;
mod history;
mod inventory;
mod metrics;
mod network;
mod rules;
mod servers;

use super::control::{Control, seconds};
use crate::api::{Kind, Response, StatusView, View};
use crate::config::ErrorFamily::ResourceNotFound;
use crate::config::edit::Remark;
use crate::datapath::Counters;
use crate::health::Moment;
use crate::model::ServerGroupName;
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
    /// The things of a kind, or the one named.
    pub fn view(&mut self, kind: Kind, name: Option<&str>) -> Response {
        match self.try_view(kind, name) {
            Ok(view) => Response::View { view },
            Err(NoView::Unknown(denial)) => Response::Denied { denials: vec![*denial] },
            Err(NoView::Failed(message)) => Response::Failed { message },
        }
    }

    fn try_view(&mut self, kind: Kind, name: Option<&str>) -> Result<View, NoView> {
        Ok(match kind {
            Kind::LoadBalancers => {
                let items = named(self.load_balancers(), name, kind, |balancer| &balancer.name)?;
                View::LoadBalancers(items)
            }
            Kind::Listeners => {
                View::Listeners(named(self.listeners(), name, kind, |listener| &listener.name)?)
            }
            Kind::Rules => {
                if let Some(name) = name {
                    named(self.listeners(), Some(name), Kind::Listeners, |listener| &listener.name)?;
                }
                let mut rules = self.rules();
                rules.retain(|rule| name.is_none_or(|name| rule.listener == name));
                View::Rules(rules)
            }
            Kind::Acls => View::Acls(named(self.acls(), name, kind, |acl| &acl.name)?),
            Kind::SecurityPolicies => {
                let items = named(self.security_policies(), name, kind, |policy| &policy.name)?;
                View::SecurityPolicies(items)
            }
            Kind::ServerGroups => {
                View::ServerGroups(named(self.server_groups(), name, kind, |group| &group.name)?)
            }
            Kind::Servers => {
                let group = self.known_group(name)?;
                let readings = self.readings()?;
                let mut servers = self.servers(group.as_ref(), &readings);
                servers.append(&mut self.servers_not_in_use(group.as_ref()));
                servers.sort_by(|a, b| a.group.cmp(&b.group));
                View::Servers(servers)
            }
            Kind::Routes => View::Routes(named(self.routes(), name, kind, |route| &route.vpc)?),
            Kind::NextHops => {
                let readings = self.readings()?;
                View::NextHops(named(self.next_hops(&readings), name, kind, |hop| &hop.name)?)
            }
            Kind::HealthCheckTemplates => {
                View::HealthCheckTemplates(named(self.health_check_templates(), name, kind, |template| {
                    &template.name
                })?)
            }
            Kind::Certificates => {
                let views = self.certificate_views();
                View::Certificates(named(views, name, kind, |certificate| &certificate.name)?)
            }
            Kind::Inventory => View::Inventory(named(self.inventory(), name, kind, |item| &item.id)?),
            Kind::Events => {
                self.known_group(name)?;
                View::Events(self.events(name))
            }
            Kind::Resources => View::Resources(self.text_of(name)?),
            Kind::History => View::History(self.history(name)?),
        })
    }

    /// The group named, if one is.
    fn known_group(&self, name: Option<&str>) -> Result<Option<ServerGroupName>, NoView> {
        let Some(name) = name else { return Ok(None) };
        let group = ServerGroupName::new(name);
        if self.resources.server_groups.contains_key(&group) {
            Ok(Some(group))
        } else {
            Err(not_found(Kind::ServerGroups, name))
        }
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

/// Why there is nothing to show.
enum NoView {
    /// There is no such thing.
    Unknown(Box<Remark>),
    /// It cannot be read.
    Failed(String),
}

impl From<String> for NoView {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// The items called `name`, if one is given.
fn named<T>(
    mut items: Vec<T>,
    name: Option<&str>,
    kind: Kind,
    name_of: impl Fn(&T) -> &str,
) -> Result<Vec<T>, NoView> {
    let Some(name) = name else { return Ok(items) };
    items.retain(|item| name_of(item) == name);
    if items.is_empty() { Err(not_found(kind, name)) } else { Ok(items) }
}

fn not_found(kind: Kind, name: &str) -> NoView {
    let (noun, code, command) = match kind {
        Kind::LoadBalancers => ("load balancer", "LoadBalancer", "get load-balancers"),
        Kind::Listeners => ("listener", "Listener", "get listeners"),
        Kind::Rules => ("rule", "Rule", "get rules"),
        Kind::Acls => ("ACL", "Acl", "get acls"),
        Kind::SecurityPolicies => ("security policy", "SecurityPolicy", "get security-policies"),
        Kind::ServerGroups => ("server group", "ServerGroup", "get server-groups"),
        Kind::Servers | Kind::Events => ("server", "Server", "get servers"),
        Kind::Routes => ("route of VPC", "Vpc", "get routes"),
        Kind::NextHops => ("next hop", "NextHop", "get next-hops"),
        Kind::HealthCheckTemplates => {
            ("health check template", "HealthCheckTemplate", "get health-check-templates")
        }
        Kind::Certificates => ("certificate", "Certificate", "certificate list"),
        Kind::Inventory => ("inventory entry", "Inventory", "get inventory"),
        Kind::Resources | Kind::History => ("revision", "Revision", "history"),
    };
    NoView::Unknown(Box::new(Remark {
        code: Some(ResourceNotFound.of(code)),
        subject: format!("{noun} \"{name}\""),
        value: String::new(),
        rule: "it does not exist".into(),
        remedy: format!("`causeway {command}` shows what there is"),
    }))
}
