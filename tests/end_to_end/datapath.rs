//! Which programs are attached where, and what they refuse (XR-106, datapath design: tunnels).

use crate::client::{assert_alternate, at, servers_of};
use crate::{fast_resources, lab};
use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType};
use causeway_lab::{ECS01, ECS02, LB, LB_VSW1, Lab, TR1, VIP_A, Variant};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;
use tests::balancer::{Balancer, edited};

/// The programs attached in the balancer's host: lines of interface, hook and program.
pub fn attached(lab: &Lab) -> Vec<String> {
    let output = lab.run(LB, &["bpftool", "-j", "net", "show"]).expect("bpftool runs");
    let json: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    let xdp = json[0]["xdp"].as_array().expect("a list");
    let mut lines: Vec<String> = xdp
        .iter()
        .map(|entry| format!("{} xdp, {}", entry["devname"], entry["mode"]).replace('"', ""))
        .collect();
    // Debian's bpftool is older than tcx.
    let query = || {
        let mut lines = Vec::new();
        for interface in ["eth0", "eth1", "eth2"] {
            for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
                let (_, programs) = SchedClassifier::query_tcx(interface, direction).expect("a query");
                let names = programs.iter().filter_map(ProgramInfo::name_as_str);
                lines.extend(names.map(|name| format!("{interface} {name}")));
            }
        }
        lines
    };
    lines.extend(lab.within(LB, query).expect("enter lb"));
    lines.sort();
    lines
}

#[test]
fn veth_unwraps_in_tc_until_a_tcp_listener_needs_xdp() {
    let Some(lab) = lab("veth_unwraps_in_tc_until_a_tcp_listener_needs_xdp", "e2ehooks") else { return };
    let with = fast_resources(Variant::Vswitch);
    let without = edited(
        &with,
        &[("  - {name: tcp, load_balancer: alb1, protocol: TCP, port: 9000, server_group: tcp-web}\n", "")],
    );
    let balancer = Balancer::start_resources(&lab, &without);
    balancer.wait_until_healthy();
    let in_tc = ["eth1 tc_egress", "eth1 tc_ingress", "eth2 tc_egress", "eth2 tc_ingress"];
    let in_xdp =
        ["eth0 xdp, driver", "eth1 tc_egress", "eth1 xdp, driver", "eth2 tc_egress", "eth2 xdp, driver"];
    let unwrapped = || balancer.next_hops().values().map(|hop| hop.counters.reply_packets).sum::<u64>();
    for (resources, hooks) in [(&without, &in_tc[..]), (&with, &in_xdp), (&without, &in_tc)] {
        balancer.apply(resources);
        assert_eq!(attached(&lab), hooks);
        let before = unwrapped();
        assert_alternate(&servers_of(&lab, at(VIP_A, 80), 20));
        assert!(unwrapped() >= before + 10, "answers come through the tunnel and are counted");
    }
    balancer.stop();
}

/// VXLAN header and inner Ethernet, IPv4 and UDP headers with a small body.
fn vxlan(vni: u32, source: Ipv4Addr, destination: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut packet = vec![0x08, 0, 0, 0];
    packet.extend_from_slice(&(vni << 8).to_be_bytes());
    packet.extend_from_slice(&[0x02, 0, 0, 0, 0, 0x0a, 0x02, 0, 0, 0, 1, 1, 0x08, 0x00]);
    let mut ip = vec![0x45, 0, 0, 33, 0, 0, 0x40, 0, 64, 17, 0, 0];
    ip.extend_from_slice(&source.octets());
    ip.extend_from_slice(&destination.octets());
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = !(((sum & 0xffff) + (sum >> 16)) as u16);
    ip[10..12].copy_from_slice(&folded.to_be_bytes());
    packet.extend_from_slice(&ip);
    // Without checksum, which UDP over IPv4 may be.
    packet.extend_from_slice(&[0x30, 0x39]);
    packet.extend_from_slice(&port.to_be_bytes());
    packet.extend_from_slice(&[0, 13, 0, 0]);
    packet.extend_from_slice(b"spoof");
    packet
}

#[test]
fn spoofed_tunnel_packets_are_dropped_by_name_logged_and_never_passed_up() {
    let test = "spoofed_tunnel_packets_are_dropped_by_name_logged_and_never_passed_up";
    let Some(lab) = lab(test, "e2espoof") else { return };
    let resources = lab.layout().resources_file();
    std::fs::write(&resources, fast_resources(Variant::Vswitch)).expect("the lab's folder is writable");
    let balancer =
        Balancer::start_with(&lab, &["--resources", &resources.display().to_string(), "--bpf-log", "warn"]);
    let (local, remote) = (Variant::Vswitch.local_addresses_a()[0], causeway_lab::ECS02_ADDRESS);
    // Would hear whatever is passed up: the packets themselves, and what is inside them.
    let listen = |address, port| {
        let socket = lab.within(LB, || UdpSocket::bind((address, port))).expect("enter lb").expect("bind");
        socket.set_nonblocking(true).expect("a socket option");
        socket
    };
    let (outer, inner) = (listen(Ipv4Addr::UNSPECIFIED, 4789), listen(local, 7000));
    let send = |from: &str, bytes: &[u8]| {
        let sent = lab.within(from, || UdpSocket::bind("0.0.0.0:0")?.send_to(bytes, (LB_VSW1, 4789)));
        assert_eq!(sent.expect("enter the sender").expect("send"), bytes.len());
    };

    let good = vxlan(101, remote, local, 7000);
    let mut flags = good.clone();
    flags[0] = 0;
    let cases: [(&str, Vec<u8>, &str); 8] = [
        (ECS01, good.clone(), "tunnel_unknown_source"),
        (TR1, vxlan(102, remote, local, 7000), "tunnel_wrong_vni"),
        (TR1, vxlan(0x00ff_ffff, remote, local, 7000), "tunnel_wrong_vni"),
        (TR1, vxlan(101, remote, LB_VSW1, 7000), "tunnel_inner_destination"),
        (TR1, vxlan(101, remote, Ipv4Addr::new(203, 0, 113, 10), 80), "tunnel_inner_destination"),
        (TR1, vxlan(101, Ipv4Addr::new(172, 16, 1, 20), local, 7000), "tunnel_inner_source"),
        (TR1, flags, "tunnel_malformed"),
        (TR1, good[..30].to_vec(), "truncated"),
    ];
    for (from, packet, reason) in &cases {
        let (drops, lines) = (balancer.drops(reason), balancer.output().matches("refused").count());
        send(from, packet);
        let wanted = drops + 1;
        balancer.wait_until(reason, Duration::from_secs(5), || {
            let now = balancer.drops(reason);
            if now == wanted { Ok(()) } else { Err(now) }
        });
        balancer.wait_until("a line in the log", Duration::from_secs(5), || {
            let output = balancer.output();
            if output.matches("refused").count() == lines + 1 { Ok(()) } else { Err(output) }
        });
    }
    let last = balancer.output().lines().rfind(|line| line.contains("refused")).map(str::to_owned);
    let last = last.expect("eight of them");
    assert!(last.contains("172.16.1.254 -> 172.16.1.10"), "{last}");

    let mut bytes = [0; 200];
    for (socket, what) in [(&outer, "a tunnel packet"), (&inner, "what a refused packet held")] {
        let heard = socket.recv(&mut bytes);
        assert!(heard.is_err(), "{what} was passed up: {:?}", &bytes[..heard.unwrap_or(0)]);
    }
    // The same sockets do hear what is right, so that their silence means something.
    send(TR1, &good);
    balancer.wait_until("the good packet arrives", Duration::from_secs(5), || inner.recv(&mut bytes));
    assert_eq!(&bytes[..5], b"spoof");
    lab.within(ECS02, || UdpSocket::bind("0.0.0.0:0")?.send_to(b"right", (local, 7000)))
        .expect("enter ecs02")
        .expect("send");
    balancer.wait_until("ECS02's packet arrives", Duration::from_secs(5), || inner.recv(&mut bytes));
    assert_eq!(&bytes[..5], b"right");
}
