//! Reads what is ours in the kernel's tables, and changes it.

use super::desired::{Address, HostState, Route, RouteTarget, Rule};
use super::difference::{Change, changes};
use super::{HostError, PROTOCOL, kernel};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use tokio::task::JoinHandle;

/// A netlink connection to the kernel's tables, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Host {
    pub(super) handle: Handle,
    connection: JoinHandle<()>,
}

/// Interfaces by index and by name.
pub(super) struct Interfaces {
    names: BTreeMap<u32, String>,
}

impl Host {
    /// Connects, on the current tokio runtime.
    pub fn open() -> Result<Host, HostError> {
        // Strict checks let the kernel filter dumps, so that a full internet table is not copied here to find our few.
        let (connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().map_err(HostError::Open)?;
        Ok(Host { handle, connection: tokio::spawn(connection) })
    }

    /// What of ours is in the kernel.
    pub async fn current(&self) -> Result<HostState, HostError> {
        let interfaces = self.interfaces().await?;
        let mut state = HostState::default();
        let addresses: Vec<AddressMessage> =
            self.handle.address().get().execute().try_collect().await.map_err(kernel("list addresses"))?;
        state.addresses.extend(addresses.iter().filter_map(|message| our_address(message, &interfaces)));
        for version in [IpVersion::V4, IpVersion::V6] {
            let rules: Vec<RuleMessage> = self
                .handle
                .rule()
                .get(version)
                .execute()
                .try_collect()
                .await
                .map_err(kernel("list rules"))?;
            state.rules.extend(rules.iter().filter_map(our_rule));
        }
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut ours = RouteMessage::default();
            ours.header.address_family = family;
            ours.header.protocol = RouteProtocol::Other(PROTOCOL);
            let routes: Vec<RouteMessage> =
                self.handle.route().get(ours).execute().try_collect().await.map_err(kernel("list routes"))?;
            state.routes.extend(routes.iter().filter_map(|message| our_route(message, &interfaces)));
        }
        Ok(state)
    }

    /// Turns what of ours is in the kernel into `wanted` and returns what it changed; nothing when nothing differs.
    ///
    /// Addresses and rules that someone else has already made count as wanted and stay theirs. After an error the
    /// changes made so far stay; the next call goes on from there.
    pub async fn apply(&self, wanted: &HostState) -> Result<Vec<Change>, HostError> {
        let interfaces = self.interfaces().await?;
        let wanted = self.resolve_gateways(wanted, &interfaces).await?;
        let mut made = Vec::new();
        for change in changes(&self.current().await?, &wanted) {
            if self.make(&change, &interfaces).await? {
                made.push(change);
            }
        }
        Ok(made)
    }

    /// Removes everything of ours.
    pub async fn remove_all(&self) -> Result<Vec<Change>, HostError> {
        let removed = self.apply(&HostState::default()).await?;
        self.release_neighbours().await?;
        Ok(removed)
    }

    pub(super) async fn interfaces(&self) -> Result<Interfaces, HostError> {
        let mut links = self.handle.link().get().execute();
        let mut names = BTreeMap::new();
        while let Some(link) = links.try_next().await.map_err(kernel("list interfaces"))? {
            let name = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            });
            names.extend(name.map(|name| (link.header.index, name)));
        }
        Ok(Interfaces { names })
    }

    /// `wanted` with every [`RouteTarget::Toward`] replaced by the gateway that leads there now.
    async fn resolve_gateways(
        &self,
        wanted: &HostState,
        interfaces: &Interfaces,
    ) -> Result<HostState, HostError> {
        let mut resolved = wanted.clone();
        resolved.routes.clear();
        for route in &wanted.routes {
            let mut route = route.clone();
            if let RouteTarget::Toward { endpoint, interface, mtu } = route.target {
                let index = interfaces.index(&interface)?;
                let query = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(endpoint, 32)
                    .output_interface(index)
                    .build();
                let found = self.route_for(query).await.map_err(|error| HostError::Unreachable {
                    endpoint,
                    reason: format!("no route by interface \"{interface}\": {error}"),
                })?;
                let gateway = gateway(&found).unwrap_or(endpoint);
                route.target = RouteTarget::Via { gateway, interface, mtu };
            }
            resolved.routes.insert(route);
        }
        Ok(resolved)
    }

    /// The kernel's answer to one route look-up.
    pub(super) async fn route_for(&self, mut query: RouteMessage) -> Result<RouteMessage, rtnetlink::Error> {
        // Strict checks refuse a look-up that carries what only makes sense in a route.
        query.header.protocol = RouteProtocol::Unspec;
        query.header.scope = RouteScope::Universe;
        query.header.kind = RouteType::Unspec;
        query.header.table = 0;
        let mut answers = Box::pin(self.handle.route().get(query).execute());
        answers.try_next().await?.ok_or(rtnetlink::Error::RequestFailed)
    }

    /// `false`: someone else's is already there.
    async fn make(&self, change: &Change, interfaces: &Interfaces) -> Result<bool, HostError> {
        let handle = &self.handle;
        let (what, result) = match change {
            Change::AddAddress(address) => {
                let index = interfaces.index(&address.interface)?;
                let mut request = handle.address().add(index, address.address, length(address.address));
                *request.message_mut() = address_message(address, index);
                (format!("add address {address:?}"), request.execute().await)
            }
            Change::RemoveAddress(address) => {
                let message = address_message(address, interfaces.index(&address.interface)?);
                (format!("remove address {address:?}"), handle.address().del(message).execute().await)
            }
            Change::AddRule(rule) => {
                let mut request = handle.rule().add();
                *request.message_mut() = rule_message(rule);
                (format!("add rule {rule:?}"), request.execute().await)
            }
            Change::RemoveRule(rule) => {
                (format!("remove rule {rule:?}"), handle.rule().del(rule_message(rule)).execute().await)
            }
            Change::AddRoute(route) => {
                let message = route_message(route, interfaces)?;
                (format!("add route {route:?}"), handle.route().add(message).execute().await)
            }
            Change::ReplaceRoute(route) => {
                let message = route_message(route, interfaces)?;
                (format!("replace route {route:?}"), handle.route().add(message).replace().execute().await)
            }
            Change::RemoveRoute(route) => {
                let message = route_message(route, interfaces)?;
                (format!("remove route {route:?}"), handle.route().del(message).execute().await)
            }
        };
        match result {
            Err(rtnetlink::Error::NetlinkError(error))
                if error.raw_code() == -libc::EEXIST
                    && matches!(change, Change::AddAddress(_) | Change::AddRule(_)) =>
            {
                Ok(false)
            }
            result => result.map(|()| true).map_err(kernel(what)),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Interfaces {
    pub(super) fn index(&self, name: &str) -> Result<u32, HostError> {
        let found = self.names.iter().find(|(_, other)| *other == name);
        found.map(|(index, _)| *index).ok_or_else(|| HostError::NoInterface(name.into()))
    }

    pub(super) fn name(&self, index: u32) -> Option<&str> {
        self.names.get(&index).map(String::as_str)
    }
}

/// The prefix length of an address alone, and its family.
fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn address_message(address: &Address, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.address);
    message.header.prefix_len = length(address.address);
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(address.address),
        AddressAttribute::Address(address.address),
        AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)),
    ];
    if address.address.is_ipv4() {
        message.header.scope = AddressScope::Host;
    } else {
        let mut lifetime = CacheInfo::default();
        // Deprecated from the start, and valid for ever.
        (lifetime.ifa_preferred, lifetime.ifa_valid) = (0, u32::MAX);
        message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute));
    }
    message
}

fn our_address(message: &AddressMessage, interfaces: &Interfaces) -> Option<Address> {
    let is_ours = message.attributes.contains(&AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    // IPv6 addresses have no peer, so the kernel gives them as Address alone.
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address @ IpAddr::V4(_)) => Some(*address),
        AddressAttribute::Address(address @ IpAddr::V6(_)) => Some(*address),
        _ => None,
    })?;
    let interface = interfaces.name(message.header.index)?.to_owned();
    is_ours.then_some(Address { interface, address })
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.source);
    message.header.src_len = length(rule.source);
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(rule.source),
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    message
}

fn our_rule(message: &RuleMessage) -> Option<Rule> {
    let (mut ours, mut source, mut priority, mut table) = (false, None, 0, u32::from(message.header.table));
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Protocol(protocol) => ours = u8::from(*protocol) == PROTOCOL,
            RuleAttribute::Source(address) => source = Some(*address),
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    ours.then_some(Rule { priority, source: source?, table })
}

fn route_message(route: &Route, interfaces: &Interfaces) -> Result<RouteMessage, HostError> {
    let (address, length) = (route.destination.addr(), route.destination.prefix_len());
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(address, length)
        .map_err(|error| HostError::Route { destination: route.destination, reason: error.to_string() })?
        .table_id(route.table)
        .protocol(RouteProtocol::Other(PROTOCOL));
    if route.metric != 0 {
        builder = builder.priority(route.metric);
    }
    let message = match &route.target {
        RouteTarget::OnLink { interface } => {
            // IPv6 routes have no scope.
            let scope = if address.is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
            builder.scope(scope).output_interface(interfaces.index(interface)?).build()
        }
        RouteTarget::Via { gateway, interface, mtu } => {
            let mut message = builder.output_interface(interfaces.index(interface)?).build();
            message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(*gateway)));
            message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(*mtu)]));
            message
        }
        RouteTarget::Toward { endpoint, .. } => {
            let reason = "its gateway was not looked up".into();
            return Err(HostError::Unreachable { endpoint: *endpoint, reason });
        }
        RouteTarget::Unreachable => builder.kind(RouteType::Unreachable).build(),
        RouteTarget::Blackhole => builder.kind(RouteType::BlackHole).build(),
    };
    Ok(message)
}

fn our_route(message: &RouteMessage, interfaces: &Interfaces) -> Option<Route> {
    if u8::from(message.header.protocol) != PROTOCOL {
        return None;
    }
    let (mut destination, mut oif, mut metric, mut mtu) = (None, None, 0, 0);
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some((*address).into()),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                destination = Some((*address).into())
            }
            RouteAttribute::Oif(index) => oif = interfaces.name(*index).map(str::to_owned),
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics
                    .iter()
                    .find_map(|m| if let RouteMetric::Mtu(mtu) = m { Some(*mtu) } else { None })?;
            }
            _ => {}
        }
    }
    let target = match (message.header.kind, gateway(message), oif) {
        (RouteType::BlackHole, ..) => RouteTarget::Blackhole,
        (RouteType::Unreachable, ..) => RouteTarget::Unreachable,
        (_, Some(gateway), Some(interface)) => RouteTarget::Via { gateway, interface, mtu },
        (_, None, Some(interface)) => RouteTarget::OnLink { interface },
        _ => return None,
    };
    // A default route has no destination, and none of ours is one.
    let destination = IpNet::new(destination?, message.header.destination_prefix_length).ok()?;
    Some(Route { table, destination, metric, target })
}

/// The IPv4 gateway of a route.
pub(super) fn gateway(message: &RouteMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
