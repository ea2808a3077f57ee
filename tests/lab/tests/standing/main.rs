//! The lab by itself, without a balancer: what stands, what breaks on purpose, what remains.

mod network;
mod program;
mod web;

use causeway_lab::{
    CLIENT, Domain, ECS01, ECS01_ADDRESS, ECS02, ECS02_ADDRESS, ExtraServer, Fault, LB, Lab, LabOptions,
    Layout, Offloads, SW1, TR1, Variant, down, index_page, requirement,
};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Long enough for any answer inside one machine, short enough to wait for silence.
const PATIENCE: Duration = Duration::from_millis(700);

fn small(id: &str) -> LabOptions {
    LabOptions { id: id.into(), big_file_bytes: 100_000, ..LabOptions::default() }
}

fn request(lab: &Lab, host: &str, to: Ipv4Addr, head: &str, body: &[u8]) -> io::Result<String> {
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(IpAddr::V4(to), 80), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        stream.shutdown(Shutdown::Both).ok();
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    lab.within(host, exchange).expect("enter the host's namespace")
}

fn get(lab: &Lab, host: &str, to: Ipv4Addr) -> io::Result<String> {
    let answer = request(lab, host, to, "GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n", b"")?;
    Ok(answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
}

fn namespaces_of(id: &str) -> Vec<String> {
    let prefix = format!("cw{id}-");
    let names = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

/// What tr1's tunnel brings to the balancer's `outer` address when ECS02 sends to `local`: VNI and inner bytes.
fn tunnelled(lab: &Lab, outer: Ipv4Addr, local: Ipv4Addr) -> (u32, Vec<u8>) {
    tunnelled_at(lab, LB, outer, local)
}

/// As [`tunnelled`], with the balancer on `host`.
fn tunnelled_at(lab: &Lab, host: &str, outer: Ipv4Addr, local: Ipv4Addr) -> (u32, Vec<u8>) {
    let socket =
        lab.within(host, || UdpSocket::bind((outer, 4789))).expect("enter it").expect("bind VXLAN's port");
    socket.set_read_timeout(Some(PATIENCE)).expect("set a time limit");
    let send = || UdpSocket::bind("0.0.0.0:0")?.send_to(b"hello", (local, 9));
    lab.within(ECS02, send).expect("enter ecs02").expect("send");
    let mut packet = [0; 200];
    let length = socket.recv(&mut packet).expect("a tunnel packet arrives");
    assert_eq!(packet[0], 0x08, "VXLAN's flag for a valid VNI");
    (u32::from_be_bytes([0, packet[4], packet[5], packet[6]]), packet[8..length].to_vec())
}

// Holds XR-70, XR-111
#[test]
fn regions_reach_each_other_and_answers_to_the_balancer_enter_its_tunnels() {
    if !requirement::root("regions_reach_each_other_and_answers_to_the_balancer_enter_its_tunnels") {
        return;
    }
    let lab = Lab::up(small("labtopo")).expect("lab up");
    assert_eq!(get(&lab, TR1, ECS02_ADDRESS).expect("tr1 reaches ecs02"), index_page(ECS02));
    assert_eq!(get(&lab, ECS01, ECS02_ADDRESS).expect("ecs01 reaches ecs02"), index_page(ECS02));
    assert_eq!(get(&lab, LB, ECS01_ADDRESS).expect("lb reaches ecs01"), index_page(ECS01));
    assert!(get(&lab, LB, ECS02_ADDRESS).is_err(), "only the controller makes lb reach ecs02");

    let zones = [
        (Ipv4Addr::new(172, 16, 1, 10), Ipv4Addr::new(172, 16, 1, 12), 101),
        (Ipv4Addr::new(172, 16, 2, 10), Ipv4Addr::new(172, 16, 2, 11), 102),
        (Ipv4Addr::new(172, 16, 1, 10), Ipv4Addr::new(172, 16, 100, 7), 101),
    ];
    for (outer, local, vni) in zones {
        let (seen, inner) = tunnelled(&lab, outer, local);
        assert_eq!(seen, vni);
        // Ethernet 14, IPv4 source at 12, destination at 16.
        assert_eq!(inner[26..30], ECS02_ADDRESS.octets());
        assert_eq!(inner[30..34], local.octets());
    }
    let log = lab.server_log(ECS02).expect("ecs02 has a log");
    assert_eq!(
        (log[0].peer.as_str(), log[0].forwarded_for.as_str(), log[0].status),
        ("172.16.1.254", "-", 200)
    );
}

// Holds XR-52
#[test]
fn back_to_origin_addresses_return_by_the_tunnel_of_their_zone() {
    if !requirement::root("back_to_origin_addresses_return_by_the_tunnel_of_their_zone") {
        return;
    }
    let lab = Lab::up(LabOptions { variant: Variant::BackToOrigin, ..small("labbto") }).expect("lab up");
    let (vni, _) = tunnelled(&lab, Ipv4Addr::new(172, 16, 1, 10), Ipv4Addr::new(100, 64, 0, 11));
    assert_eq!(vni, 101);
    let (vni, _) = tunnelled(&lab, Ipv4Addr::new(172, 16, 2, 10), Ipv4Addr::new(100, 64, 0, 22));
    assert_eq!(vni, 102);
}

// Holds XR-70
#[test]
fn clients_resolve_the_domain_to_the_vips() {
    if !requirement::root("clients_resolve_the_domain_to_the_vips") {
        return;
    }
    let shop = Domain {
        alias: "shop.example.test".into(),
        name: "alb2.causeway.test".into(),
        addresses: vec![Ipv4Addr::new(203, 0, 113, 12).into()],
    };
    let lab =
        Lab::up(LabOptions { domains: vec![Domain::dual_stack(), shop], ipv6: true, ..small("labdns") })
            .expect("lab up");
    let lookup = |database, name| {
        let text = lab.run(CLIENT, &["getent", database, name]).expect("the name resolves");
        let mut addresses: Vec<_> =
            text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    };
    assert_eq!(lookup("ahostsv4", "www.example.test"), ["203.0.113.10", "203.0.113.11"]);
    assert_eq!(lookup("ahostsv6", "www.example.test"), ["2001:db8:113::10", "2001:db8:113::11"]);
    assert_eq!(lookup("ahostsv4", "shop.example.test"), ["203.0.113.12"]);
}

#[test]
fn a_server_refuses_while_stopped_and_keeps_what_it_was_sent() {
    if !requirement::root("a_server_refuses_while_stopped_and_keeps_what_it_was_sent") {
        return;
    }
    let extra = ExtraServer::web("ecs03", Ipv4Addr::new(172, 16, 1, 21));
    let lab = Lab::up(LabOptions { extra_servers: vec![extra], ..small("labsrv") }).expect("lab up");
    let third = Ipv4Addr::new(172, 16, 1, 21);
    assert_eq!(get(&lab, LB, third).expect("ecs03 answers"), "Hello World! This is ECS03 in Chengdu.");

    lab.stop_server(ECS01).expect("stop");
    let refused = get(&lab, LB, ECS01_ADDRESS).expect_err("a stopped server does not answer");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    lab.start_server(ECS01).expect("start");
    assert_eq!(get(&lab, LB, ECS01_ADDRESS).expect("answers again"), index_page(ECS01));
    assert!(lab.stop_server(TR1).expect_err("tr1 has none").to_string().contains("ecs01, ecs02, ecs03"));

    let body = b"some bytes to keep";
    let head = format!(
        "PUT /up/kept HTTP/1.1\r\nHost: lab\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = request(&lab, LB, ECS01_ADDRESS, &head, body).expect("upload");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let kept = lab.layout().server_dir(ECS01).join("upload/up/kept");
    assert_eq!(std::fs::read(kept).expect("the upload is a file"), body);

    let head = "GET /big HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";
    let answer = request(&lab, LB, ECS01_ADDRESS, head, b"").expect("download");
    assert!(answer.contains("Content-Length: 100000\r\n"), "{}", &answer[..300]);
}

#[test]
fn faults_break_what_they_name_until_mended() {
    if !requirement::root("faults_break_what_they_name_until_mended") {
        return;
    }
    let lab = Lab::up(small("labfault")).expect("lab up");
    let reach = |from, to| get(&lab, from, to).map(|_| ()).map_err(|error| error.kind());
    let remote_from_tr1 = || reach(TR1, ECS02_ADDRESS);

    lab.inject(&Fault::LinkDown).expect("inject");
    assert_eq!(remote_from_tr1(), Err(io::ErrorKind::NetworkUnreachable));
    lab.mend(&Fault::LinkDown).expect("mend");
    assert_eq!(remote_from_tr1(), Ok(()));

    // Seen from ecs01: the filter is where tr1 forwards, and tr1's own packets are not forwarded.
    lab.inject(&Fault::LinkSilentDrop).expect("inject");
    lab.inject(&Fault::LinkSilentDrop).expect("inject again");
    assert_eq!(reach(ECS01, ECS02_ADDRESS), Err(io::ErrorKind::TimedOut));
    lab.mend(&Fault::LinkSilentDrop).expect("mend");
    lab.mend(&Fault::LinkSilentDrop).expect("mend again");
    assert_eq!(reach(ECS01, ECS02_ADDRESS), Ok(()));

    lab.inject(&Fault::ServerSilentDrop(ECS01.into())).expect("inject");
    assert_eq!(reach(LB, ECS01_ADDRESS), Err(io::ErrorKind::TimedOut));
    lab.mend(&Fault::ServerSilentDrop(ECS01.into())).expect("mend");
    assert_eq!(reach(LB, ECS01_ADDRESS), Ok(()));

    // tr1 borrows an address of the balancer's to be taken for it.
    lab.run(TR1, &["ip", "addr", "add", "172.16.100.9/32", "dev", "lo"]).expect("add the address");
    lab.run(TR1, &["ip", "route", "replace", "192.168.1.20/32", "via", "10.255.0.2", "src", "172.16.100.9"])
        .expect("use it as source");
    assert_eq!(remote_from_tr1(), Ok(()));
    lab.inject(&Fault::FirewallDropsBalancerAtEcs02).expect("inject");
    assert_eq!(remote_from_tr1(), Err(io::ErrorKind::TimedOut));
    assert_eq!(reach(ECS01, ECS02_ADDRESS), Ok(()), "others still pass");
    lab.mend(&Fault::FirewallDropsBalancerAtEcs02).expect("mend");
    assert_eq!(remote_from_tr1(), Ok(()));
}

#[test]
fn interfaces_leave_to_hardware_what_was_asked_for() {
    if !requirement::root("interfaces_leave_to_hardware_what_was_asked_for") {
        return;
    }
    // Checksums by the client, segmentation by the balancer, GRO at the switch port where XDP's redirects arrive.
    let settings = [
        (Offloads::RealChecksums, "off", "on", "on"),
        (Offloads::All, "on", "on", "on"),
        (Offloads::None, "off", "off", "on"),
    ];
    for (offloads, client_checksums, balancer_segmentation, switch_gro) in settings {
        let lab = Lab::up(LabOptions { offloads, ..small("laboff") }).expect("lab up");
        let feature = |host, port, name: &str| {
            let text = lab.run(host, &["ethtool", "-k", port]).expect("ethtool tells");
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
            line.expect("a feature of veth").trim_start_matches(": ").to_owned()
        };
        assert_eq!(feature(CLIENT, "eth0", "tx-checksumming"), client_checksums, "{offloads:?}");
        assert_eq!(feature(LB, "eth1", "tcp-segmentation-offload"), balancer_segmentation, "{offloads:?}");
        assert_eq!(feature(SW1, "p-lb", "generic-receive-offload"), switch_gro, "{offloads:?}");
    }
}

#[test]
fn a_process_ends_with_its_children_when_dropped() {
    if !requirement::root("a_process_ends_with_its_children_when_dropped") {
        return;
    }
    let lab = Lab::up(small("labproc")).expect("lab up");
    let mut process = lab.spawn(CLIENT, &["sh", "-c", "sleep 1000 & echo child $!; wait"]).expect("spawn");
    let log = lab.layout().log_dir().join("client-sh.log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    process.wait_until("telling its child", PATIENCE, || said().ends_with('\n')).expect("it speaks");
    let child = said().trim().trim_start_matches("child ").to_owned();
    assert!(Path::new("/proc").join(&child).exists());
    drop(process);
    let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "still there: {state}");
}

// Holds XR-111
#[test]
fn nothing_of_the_lab_remains_and_nothing_else_is_touched() {
    if !requirement::root("nothing_of_the_lab_remains_and_nothing_else_is_touched") {
        return;
    }
    let ip = |words: &[&str]| assert!(Command::new("ip").args(words).status().expect("run ip").success());
    ip(&["netns", "add", "cwlabrest-foreign"]);
    let lab = Lab::up(small("labrest")).expect("lab up");
    assert_eq!(namespaces_of("labrest").len(), 10);
    let run_dir = lab.layout().run_dir();
    assert!(run_dir.join("bpf").exists());
    drop(lab);
    assert_eq!(namespaces_of("labrest"), ["cwlabrest-foreign"]);
    assert!(!run_dir.exists());
    assert_eq!(down("labrest").expect("down again").namespaces, 0);

    // One of a name that the lab needs, but not the lab's.
    ip(&["netns", "add", "cwlabrest-tr2"]);
    let error = format!("{:#}", Lab::up(small("labrest")).expect_err("the name is taken"));
    assert!(error.contains("cwlabrest-tr2 exists and was not made by this lab"), "{error}");
    assert_eq!(namespaces_of("labrest").len(), 2, "both foreign ones, and only they, remain");
    ip(&["netns", "del", "cwlabrest-foreign"]);
    ip(&["netns", "del", "cwlabrest-tr2"]);
}

/// Runs the test named `test` of this file in a process of its own, with `ROLE` set, until it prints "standing".
fn in_another_process(test: &str) -> std::process::Child {
    let this = std::env::current_exe().expect("this test program has a path");
    let mut child = Command::new(this)
        .args(["--exact", test, "--nocapture"])
        .env("ROLE", "builder")
        .stdout(Stdio::piped())
        .spawn()
        .expect("run this test program again");
    let output = BufReader::new(child.stdout.take().expect("piped above"));
    assert!(output.lines().any(|line| line.is_ok_and(|line| line.contains("standing"))), "it never stood");
    child
}

/// The part of the other process: builds a lab and waits to be ended.
fn build_and_wait(id: &str) -> ! {
    let _lab = Lab::up(small(id)).expect("lab up");
    println!("standing");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_lab_is_cleared_by_down_and_by_the_next_up() {
    const NAME: &str = "a_killed_lab_is_cleared_by_down_and_by_the_next_up";
    if !requirement::root(NAME) {
        return;
    }
    if std::env::var_os("ROLE").is_some() {
        build_and_wait("labcrash");
    }
    let kill = || {
        let mut builder = in_another_process(NAME);
        let error = Lab::up(small("labcrash")).expect_err("the label is in use").to_string();
        assert!(error.contains(&format!("in use by process {}", builder.id())), "{error}");
        builder.kill().expect("kill -9");
        builder.wait().expect("it ends");
        assert_eq!(namespaces_of("labcrash").len(), 9);
    };
    kill();
    let removed = down("labcrash").expect("down");
    assert_eq!((removed.namespaces, removed.processes), (9, 3), "two web servers and the resolver");
    assert!(namespaces_of("labcrash").is_empty());
    assert!(!Layout::new("labcrash").expect("valid label").run_dir().exists());

    kill();
    let lab = Lab::up(small("labcrash")).expect("up clears what is left first");
    assert_eq!(get(&lab, LB, ECS01_ADDRESS).expect("and stands"), index_page(ECS01));
}

#[test]
fn ctrl_c_removes_the_lab() {
    const NAME: &str = "ctrl_c_removes_the_lab";
    if !requirement::root(NAME) {
        return;
    }
    if std::env::var_os("ROLE").is_some() {
        build_and_wait("labint");
    }
    let mut builder = in_another_process(NAME);
    assert_eq!(namespaces_of("labint").len(), 9);
    // SAFETY: a signal to a child that was not yet waited for.
    assert_eq!(unsafe { libc::kill(builder.id() as i32, libc::SIGINT) }, 0);
    assert_eq!(builder.wait().expect("it ends").code(), Some(130));
    assert!(namespaces_of("labint").is_empty());
}
