//! Which interface, source MAC and destination MAC lead to an address; kept resolved by the kernel, and watched.
//!
//! `fib_lookup` in BPF does not resolve a missing neighbour, so the kernel is asked to keep each one resolved by itself
//! (NTF_MANAGED, Linux 5.16), also while the controller is dead. Entries an operator made permanent are used and left
//! alone.

use super::apply::{Host, gateway};
use super::interface::Mac;
use super::{HostError, PROTOCOL, kernel};
use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteProtocol, RouteType};
use rtnetlink::{MulticastGroup, RouteMessageBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How packets to an address leave this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The gateway, or the address itself if it is on the interface's network.
    pub neighbour: Ipv4Addr,
    /// Index of the interface.
    pub ifindex: u32,
    /// Name of the interface.
    pub interface: String,
    /// The interface's MAC.
    pub source_mac: Mac,
    /// The neighbour's MAC; `None` while it does not answer.
    pub destination_mac: Option<Mac>,
}

/// Per address how it is reached, or why it is not.
pub type Resolutions = BTreeMap<Ipv4Addr, Result<Resolved, String>>;

/// Changes often come in bursts; they are taken in together.
const SETTLE: Duration = Duration::from_millis(20);
/// Longest time a change stays unseen whose message the kernel could not deliver.
const POLL: Duration = Duration::from_secs(10);

/// Names of the interfaces that are up and have a carrier.
pub type Running = BTreeSet<String>;

/// The kernel's links and IPv4 neighbours at one moment.
struct Tables {
    /// Name and MAC by index.
    links: BTreeMap<u32, (String, Option<Mac>)>,
    running: Running,
    neighbours: BTreeMap<(u32, Ipv4Addr), Neighbour>,
}

struct Neighbour {
    message: NeighbourMessage,
    mac: Option<Mac>,
    is_permanent: bool,
    is_managed: bool,
    is_ours: bool,
}

impl Host {
    /// How each of `addresses` is reached now. Asks the kernel to resolve, and keep resolved, the neighbours involved; a
    /// MAC that is not known yet is `None`.
    pub async fn resolve(&self, addresses: &BTreeSet<Ipv4Addr>) -> Result<Resolutions, HostError> {
        Ok(self.resolve_with(addresses).await?.0)
    }

    async fn resolve_with(&self, addresses: &BTreeSet<Ipv4Addr>) -> Result<(Resolutions, Tables), HostError> {
        let tables = self.tables().await?;
        let mut resolutions = Resolutions::new();
        for address in addresses {
            let resolution = self.resolve_one(*address, &tables).await;
            if let Ok(resolved) = &resolution {
                self.keep_resolved(resolved, &tables).await?;
            }
            resolutions.insert(*address, resolution);
        }
        Ok((resolutions, tables))
    }

    async fn resolve_one(&self, address: Ipv4Addr, tables: &Tables) -> Result<Resolved, String> {
        let query = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build();
        let route = self.route_for(query).await.map_err(|error| format!("no route: {error}"))?;
        if route.header.kind != RouteType::Unicast {
            return Err(format!("its route is of kind {:?}", route.header.kind));
        }
        let oif = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
        let ifindex = oif.ok_or("its route has no interface")?;
        let (interface, mac) = tables.links.get(&ifindex).ok_or("its interface is gone")?;
        let source_mac = mac.ok_or_else(|| format!("interface \"{interface}\" has no Ethernet address"))?;
        let neighbour = gateway(&route).unwrap_or(address);
        let destination_mac = tables.neighbours.get(&(ifindex, neighbour)).and_then(|entry| entry.mac);
        Ok(Resolved { neighbour, ifindex, interface: interface.clone(), source_mac, destination_mac })
    }

    async fn keep_resolved(&self, resolved: &Resolved, tables: &Tables) -> Result<(), HostError> {
        let known = tables.neighbours.get(&(resolved.ifindex, resolved.neighbour));
        if known.is_some_and(|entry| entry.is_permanent || entry.is_managed) {
            return Ok(());
        }
        let mut request = self.handle.neighbours().add(resolved.ifindex, resolved.neighbour.into()).replace();
        request = request.state(NeighbourState::None);
        request.message_mut().attributes.extend([
            NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed),
            NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
        ]);
        let (neighbour, interface) = (resolved.neighbour, &resolved.interface);
        request.execute().await.map_err(kernel(format!("keep {neighbour} resolved on \"{interface}\"")))
    }

    /// Lets go of every neighbour kept resolved.
    pub(super) async fn release_neighbours(&self) -> Result<(), HostError> {
        let tables = self.tables().await?;
        self.release_all_but(&BTreeSet::new(), tables).await
    }

    async fn release_all_but(
        &self,
        wanted: &BTreeSet<(u32, Ipv4Addr)>,
        tables: Tables,
    ) -> Result<(), HostError> {
        for (place, neighbour) in tables.neighbours {
            if neighbour.is_ours && neighbour.is_managed && !wanted.contains(&place) {
                let released = self.handle.neighbours().del(neighbour.message).execute().await;
                released.map_err(kernel(format!("release neighbour {}", place.1)))?;
            }
        }
        Ok(())
    }

    async fn tables(&self) -> Result<Tables, HostError> {
        let mut tables =
            Tables { links: BTreeMap::new(), running: Running::new(), neighbours: BTreeMap::new() };
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.map_err(kernel("list interfaces"))? {
            let (mut name, mut mac) = (String::new(), None);
            let is_running = link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(found) => name = found,
                    // Loopback has one of zeros, which leads nowhere.
                    LinkAttribute::Address(bytes) => {
                        mac = Mac::try_from(bytes).ok().filter(|mac| *mac != [0; 6])
                    }
                    _ => {}
                }
            }
            if is_running {
                tables.running.insert(name.clone());
            }
            tables.links.insert(link.header.index, (name, mac));
        }
        let mut neighbours = self.handle.neighbours().get().set_address_family(AddressFamily::Inet).execute();
        while let Some(message) = neighbours.try_next().await.map_err(kernel("list neighbours"))? {
            if let Some((address, neighbour)) = read_neighbour(message) {
                tables.neighbours.insert((neighbour.message.header.ifindex, address), neighbour);
            }
        }
        Ok(tables)
    }
}

fn read_neighbour(message: NeighbourMessage) -> Option<(Ipv4Addr, Neighbour)> {
    let (mut address, mut mac, mut is_managed, mut is_ours) = (None, None, false, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => address = Some(*found),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::try_from(bytes.as_slice()).ok(),
            NeighbourAttribute::ExtFlags(flags) => is_managed = flags.contains(NeighbourExtFlags::Managed),
            NeighbourAttribute::Protocol(protocol) => is_ours = u8::from(*protocol) == PROTOCOL,
            _ => {}
        }
    }
    // A failed entry may still hold the MAC that no longer answers.
    if matches!(
        message.header.state,
        NeighbourState::Failed | NeighbourState::Incomplete | NeighbourState::None
    ) {
        mac = None;
    }
    let is_permanent = message.header.state == NeighbourState::Permanent;
    Some((address?, Neighbour { message, mac, is_permanent, is_managed, is_ours }))
}

/// Keeps addresses resolved and reports every change. There is one per network namespace: it lets go of neighbours that
/// another one, or [`Host::resolve`] alone, asked the kernel to keep. Dropping it ends that, but the kernel's entries stay resolved.
#[derive(Debug)]
pub struct NeighbourWatch {
    addresses: watch::Sender<BTreeSet<Ipv4Addr>>,
    running: watch::Receiver<Option<Running>>,
    task: JoinHandle<()>,
}

impl NeighbourWatch {
    /// Starts with no addresses, on the current tokio runtime and in the thread's network namespace. The receiver holds
    /// the latest resolutions of the latest addresses.
    pub fn start() -> Result<(NeighbourWatch, watch::Receiver<Resolutions>), HostError> {
        let host = Host::open()?;
        let groups = [MulticastGroup::Neigh, MulticastGroup::Ipv4Route, MulticastGroup::Link];
        let (connection, _, events) =
            rtnetlink::new_multicast_connection(&groups).map_err(HostError::Open)?;
        let (addresses, wanted) = watch::channel(BTreeSet::new());
        let (report, reports) = watch::channel(Resolutions::new());
        let (report_running, running) = watch::channel(None);
        let task = tokio::spawn(async move {
            let events = events.map(drop);
            tokio::select! {
                () = connection => log::error!("the kernel's neighbour messages ended"),
                () = follow(&host, wanted, events, report, report_running) => {}
            }
        });
        Ok((NeighbourWatch { addresses, running, task }, reports))
    }

    /// Which interfaces run, followed likewise; `None` until that is known.
    pub fn running(&self) -> watch::Receiver<Option<Running>> {
        self.running.clone()
    }

    /// Replaces the addresses; neighbours no longer needed are let go.
    pub fn set_addresses(&self, addresses: BTreeSet<Ipv4Addr>) {
        self.addresses.send_if_modified(|current| replace(current, addresses));
    }
}

impl Drop for NeighbourWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    host: &Host,
    mut wanted: watch::Receiver<BTreeSet<Ipv4Addr>>,
    mut events: impl futures_util::Stream<Item = ()> + Unpin,
    report: watch::Sender<Resolutions>,
    report_running: watch::Sender<Option<Running>>,
) {
    loop {
        let addresses = wanted.borrow_and_update().clone();
        match resolve_and_release(host, &addresses).await {
            Ok((resolutions, running)) => {
                report.send_if_modified(|current| replace(current, resolutions));
                report_running.send_if_modified(|current| replace(current, Some(running)));
            }
            Err(error) => log::warn!("neighbours: {error}; next attempt within {} s", POLL.as_secs()),
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            _ = events.next() => {
                tokio::time::sleep(SETTLE).await;
                // What has come in meanwhile is seen by the next look at the tables.
                while futures_util::FutureExt::now_or_never(events.next()).flatten().is_some() {}
            }
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Whether `new` differs from what it replaces.
fn replace<T: PartialEq>(current: &mut T, new: T) -> bool {
    let is_new = *current != new;
    *current = new;
    is_new
}

async fn resolve_and_release(
    host: &Host,
    addresses: &BTreeSet<Ipv4Addr>,
) -> Result<(Resolutions, Running), HostError> {
    let (resolutions, mut tables) = host.resolve_with(addresses).await?;
    let running = std::mem::take(&mut tables.running);
    let used =
        resolutions.values().flatten().map(|resolved| (resolved.ifindex, resolved.neighbour)).collect();
    host.release_all_but(&used, tables).await?;
    Ok((resolutions, running))
}

#[cfg(test)]
mod tests {
    use super::super::test_namespace::{Namespace, in_namespace, root_or_skip};
    use super::*;

    /// A namespace with veth `eth1` 172.16.1.10/24 to a peer namespace with `peer` 172.16.1.254/24.
    fn pair() -> (Namespace, Namespace) {
        let (ours, peer) = (Namespace::new(), Namespace::new());
        ours.ip(&format!(
            "link add eth1 address 02:00:00:00:01:10 type veth peer name peer netns {}",
            peer.name()
        ));
        ours.ip("link set eth1 up");
        ours.ip("addr add 172.16.1.10/24 dev eth1");
        peer.ip("link set peer address 02:00:00:00:02:54 up");
        peer.ip("addr add 172.16.1.254/24 dev peer");
        (ours, peer)
    }

    const OUR_MAC: Mac = [2, 0, 0, 0, 1, 0x10];
    const PEER_MAC: Mac = [2, 0, 0, 0, 2, 0x54];

    fn address(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    /// Waits until the watch reports `wanted` as the MAC on the way to `address`.
    async fn expect_mac(
        reports: &mut watch::Receiver<Resolutions>,
        of: Ipv4Addr,
        wanted: Option<Mac>,
    ) -> Resolved {
        let is_there = |resolutions: &Resolutions| matches!(resolutions.get(&of), Some(Ok(resolved)) if resolved.destination_mac == wanted);
        let found = tokio::time::timeout(Duration::from_secs(20), reports.wait_for(is_there)).await;
        let found = found.unwrap_or_else(|_| panic!("{of} not reported with {wanted:02x?}"));
        found.unwrap()[&of].clone().unwrap()
    }

    #[test]
    fn finds_the_way_to_an_address_and_keeps_it_resolved() {
        if root_or_skip("finds_the_way_to_an_address_and_keeps_it_resolved") {
            return;
        }
        let (ours, peer) = pair();
        ours.ip("route add 192.168.0.0/16 via 172.16.1.254");
        in_namespace(&ours, async {
            let (watch, mut reports) = NeighbourWatch::start().unwrap();
            watch.set_addresses([address("172.16.1.254"), address("192.168.3.20")].into());
            let direct = expect_mac(&mut reports, address("172.16.1.254"), Some(PEER_MAC)).await;
            let routed = expect_mac(&mut reports, address("192.168.3.20"), Some(PEER_MAC)).await;
            assert_eq!(direct, routed);
            assert_eq!((direct.interface.as_str(), direct.source_mac), ("eth1", OUR_MAC));
            assert_eq!(direct.neighbour, address("172.16.1.254"));
            assert!(ours.output("neigh show").contains("managed"), "{}", ours.output("neigh show"));

            // The gateway is replaced by another machine: the kernel notices as it keeps probing, or is told at once.
            peer.ip("link set peer address 02:00:00:00:02:55");
            ours.ip("neigh flush dev eth1");
            let moved = [2, 0, 0, 0, 2, 0x55];
            expect_mac(&mut reports, address("192.168.3.20"), Some(moved)).await;

            watch.set_addresses(BTreeSet::new());
            reports.wait_for(BTreeMap::is_empty).await.unwrap();
            assert!(!ours.output("neigh show").contains("managed"), "{}", ours.output("neigh show"));
        });
    }

    #[test]
    fn follows_a_changed_route() {
        if root_or_skip("follows_a_changed_route") {
            return;
        }
        let (ours, peer) = pair();
        peer.ip("addr add 172.16.1.253/24 dev peer");
        ours.ip("route add 192.168.0.0/16 via 172.16.1.254");
        in_namespace(&ours, async {
            let far = address("192.168.3.20");
            let (watch, mut reports) = NeighbourWatch::start().unwrap();
            watch.set_addresses([far].into());
            expect_mac(&mut reports, far, Some(PEER_MAC)).await;
            ours.ip("route replace 192.168.0.0/16 via 172.16.1.253");
            let by_other = |found: &Resolutions| matches!(found.get(&far), Some(Ok(resolved)) if resolved.neighbour == address("172.16.1.253"));
            let timeout = Duration::from_secs(20);
            tokio::time::timeout(timeout, reports.wait_for(by_other)).await.unwrap().unwrap();
            ours.ip("route del 192.168.0.0/16");
            let is_gone = |found: &Resolutions| matches!(found.get(&far), Some(Err(_)));
            tokio::time::timeout(timeout, reports.wait_for(is_gone)).await.unwrap().unwrap();
        });
    }

    #[test]
    fn says_why_an_address_cannot_be_reached() {
        if root_or_skip("says_why_an_address_cannot_be_reached") {
            return;
        }
        let (ours, _peer) = pair();
        ours.ip("link set lo up");
        in_namespace(&ours, async {
            let host = Host::open().unwrap();
            let of = |text| {
                let host = &host;
                async move {
                    let found = host.resolve(&[address(text)].into()).await.unwrap();
                    found.into_values().next().unwrap()
                }
            };
            assert!(of("198.51.100.1").await.unwrap_err().starts_with("no route"));
            assert!(of("172.16.1.10").await.unwrap_err().contains("Local"));
            assert_eq!(of("172.16.1.77").await.unwrap().destination_mac, None);
        });
    }

    #[test]
    fn tells_interfaces_that_run_from_those_that_do_not() {
        if root_or_skip("tells_interfaces_that_run_from_those_that_do_not") {
            return;
        }
        let (ours, peer) = pair();
        in_namespace(&ours, async {
            let (watch, _reports) = NeighbourWatch::start().unwrap();
            let mut running = watch.running();
            let runs = |running: &Option<Running>, wanted: bool| {
                running.as_ref().is_some_and(|running| running.contains("eth1") == wanted)
            };
            for (wanted, change) in [
                (true, None),
                (false, Some((&peer, "link set peer down"))),
                (true, Some((&peer, "link set peer up"))),
                (false, Some((&ours, "link set eth1 down"))),
            ] {
                if let Some((namespace, command)) = change {
                    namespace.ip(command);
                }
                let found =
                    tokio::time::timeout(Duration::from_secs(5), running.wait_for(|r| runs(r, wanted)));
                found.await.unwrap_or_else(|_| panic!("{wanted} not reported")).unwrap();
            }
        });
    }

    #[test]
    fn leaves_permanent_entries_alone() {
        if root_or_skip("leaves_permanent_entries_alone") {
            return;
        }
        let (ours, _peer) = pair();
        ours.ip("neigh add 172.16.1.20 lladdr 02:00:00:00:00:20 dev eth1 nud permanent");
        in_namespace(&ours, async {
            let host = Host::open().unwrap();
            let found = host.resolve(&[address("172.16.1.20")].into()).await.unwrap();
            let mac = found[&address("172.16.1.20")].as_ref().unwrap().destination_mac;
            assert_eq!(mac, Some([2, 0, 0, 0, 0, 0x20]));
            host.remove_all().await.unwrap();
            assert!(ours.output("neigh show").contains("PERMANENT"));
        });
    }

    #[test]
    fn unloading_lets_go_of_what_was_kept_resolved() {
        if root_or_skip("unloading_lets_go_of_what_was_kept_resolved") {
            return;
        }
        let (ours, _peer) = pair();
        in_namespace(&ours, async {
            let host = Host::open().unwrap();
            host.resolve(&[address("172.16.1.254")].into()).await.unwrap();
            assert!(ours.output("neigh show").contains("managed"));
            host.remove_all().await.unwrap();
            assert!(!ours.output("neigh show").contains("managed"));
        });
    }
}
