//! A client's connection, as the packets of both sides.

use forwarder_common::address::Be16;
use forwarder_common::flow::FlowKey;
use std::net::{Ipv4Addr, SocketAddrV4};
use tests::forwarder::{Forwarder, Outcome};
use tests::packet::{Packet, endpoints, inner_frame, tcp, vxlan};
use tests::scenario::{TUNNEL_ADDRESS, VIP, VNI};

/// A flow through the datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// As the client sees itself.
    pub client: SocketAddrV4,
    /// The listener.
    pub vip: SocketAddrV4,
    /// What the server sees as client.
    pub nat: SocketAddrV4,
    /// The server chosen.
    pub server: SocketAddrV4,
    /// The tunnel endpoint the SYN went to, for a remote server.
    pub hop: Option<Ipv4Addr>,
}

/// A client of the documentation range.
pub fn client(number: u32) -> SocketAddrV4 {
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number / 1000);
    SocketAddrV4::new(address, 20_000 + (number % 1000) as u16)
}

/// A client's SYN to port 9000 of the VIP.
pub fn syn(client: SocketAddrV4) -> Packet {
    tcp(&format!("{client} -> {VIP}:9000")).syn().mss(1460)
}

impl Connection {
    /// Sends the SYN of a new connection and reads from what leaves which server it has got.
    #[track_caller]
    pub fn open(forwarder: &Forwarder, client: SocketAddrV4) -> Connection {
        let outcome = forwarder.from_clients(&syn(client));
        outcome.is_redirected();
        Connection::of(client, &outcome)
    }

    /// Reads the connection from its first packet.
    pub fn of(client: SocketAddrV4, outcome: &Outcome) -> Connection {
        let is_tunnel = outcome.frame.len() > outcome.sent.len();
        let hop = is_tunnel.then(|| *endpoints(&outcome.frame).1.ip());
        let inner = if is_tunnel { inner_frame(&outcome.frame) } else { &outcome.frame };
        let (nat, server) = endpoints(inner);
        Connection { client, vip: SocketAddrV4::new(VIP, 9000), nat, server, hop }
    }

    /// Its key in the flow table.
    pub fn key(&self) -> FlowKey {
        FlowKey {
            client: (*self.client.ip()).into(),
            vip: (*self.vip.ip()).into(),
            client_port: Be16::new(self.client.port()),
            vip_port: Be16::new(self.vip.port()),
            protocol: 6,
            zero: [0; 3],
        }
    }

    /// A packet of the client.
    pub fn request(&self) -> Packet {
        tcp(&format!("{} -> {}", self.client, self.vip))
    }

    /// What the server should see of it.
    pub fn translated_request(&self) -> Packet {
        tcp(&format!("{} -> {}", self.nat, self.server)).ttl(63)
    }

    /// A packet of the server, before it is wrapped.
    pub fn reply(&self) -> Packet {
        tcp(&format!("{} -> {}", self.server, self.nat))
    }

    /// What the client should see of it.
    pub fn translated_reply(&self) -> Packet {
        tcp(&format!("{} -> {}", self.vip, self.client)).ttl(63)
    }

    /// A remote server's packet, wrapped by the hop it came from.
    pub fn tunnelled(&self, reply: &Packet) -> Packet {
        let hop = self.hop.expect("a remote server");
        vxlan(&format!("{hop} -> {TUNNEL_ADDRESS}"), VNI, reply)
    }
}
