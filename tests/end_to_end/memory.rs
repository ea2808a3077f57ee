//! Clients that take all the memory they can: others do not pay for it.

use crate::client::{Connection, at, get};
use crate::{fast_resources, lab};
use causeway_lab::{CLIENT, VIP_A, Variant, node_yaml};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use tests::balancer::{Balancer, PATIENCE, edited, wait_until};

/// A small limit, which is reached before the kernel's buffers or this process's descriptors run out.
const LIMIT_MIB: u32 = 96;
/// Connections opened before their effect is looked at: so few that no rung is jumped over.
const BATCH: usize = 50;

#[test]
fn clients_that_hoard_memory_cost_new_clients_first_and_nobody_for_long() {
    let test = "clients_that_hoard_memory_cost_new_clients_first_and_nobody_for_long";
    let Some(lab) = lab(test, "e2emem") else { return };
    let limit = format!("workers: 1\nmemory_limit_mib: {LIMIT_MIB}\n");
    let node = edited(&node_yaml(lab.layout()), &[("workers: 1\n", &limit)]);
    fs::write(lab.layout().node_file(), node).expect("the lab's folder is writable");
    let balancer = Balancer::start_resources(&lab, &fast_resources(Variant::Vswitch));
    balancer.wait_until_healthy();
    controller::proxy::raise_limit().expect("descriptors for the hoard");
    let refused = |what| balancer.metric("causeway_memory_refused_total", &[("what", what)]) as u64;
    let used = || balancer.metric("causeway_memory_used_bytes", &[]) as u64;
    let web = at(VIP_A, 80);

    let mut kept = lab.within(CLIENT, || Connection::open(web)).expect("a host").expect("a connection");
    assert_eq!(kept.get("/").expect("an answer").status, 200);
    let before = used();

    // Heads that are never complete: of those that may be refused, what costs most.
    let part = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(30_000));
    let mut hoard: Vec<TcpStream> = Vec::new();
    while refused("connection") == 0 {
        assert!(hoard.len() < 10_000, "{} of {LIMIT_MIB} MiB after {} heads", used() >> 20, hoard.len());
        let batch = lab.within(CLIENT, || (0..BATCH).map(|_| open(web.into(), part.as_bytes())).collect());
        hoard.extend::<Vec<_>>(batch.expect("a host"));
        let accepted = || {
            let open: f64 = balancer.metric(
                "causeway_listener_connections_total",
                &[("load_balancer", "alb1"), ("listener", "http"), ("vip", &web.to_string())],
            );
            let all = open as u64 + refused("connection");
            if all > hoard.len() as u64 { Ok(()) } else { Err(all) }
        };
        wait_until("the balancer has taken the connections or not", PATIENCE, accepted);
        assert_eq!(kept.get("/").expect("an answer").status, 200, "a client that was there before");
    }
    assert!(hoard.len() > 500, "the limit was reached by {} heads", hoard.len());
    assert_eq!(refused("request"), 0);
    assert!(used() <= u64::from(LIMIT_MIB) << 20, "{} MiB", used() >> 20);
    let turned_away = lab.within(CLIENT, || open(web.into(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(matches!(turned_away.expect("a host").read(&mut [0]), Ok(0) | Err(_)));
    assert!(balancer.output().contains("new connections are closed"), "{}", balancer.output());

    drop(hoard);
    wait_until("memory was given back", PATIENCE, || match used() {
        used if used < before * 3 / 2 => Ok(()),
        used => Err((before, used)),
    });
    wait_until("new clients are served", PATIENCE, || {
        match lab.within(CLIENT, || get(web)).expect("a host") {
            Ok(reply) if reply.status == 200 => Ok(()),
            other => Err(other),
        }
    });
    assert_eq!(kept.get("/").expect("an answer").status, 200);
}

/// A connection on which `bytes` were sent, as far as they were taken.
fn open(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("the kernel accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // A connection that is refused already takes nothing.
    let _ = stream.write_all(bytes);
    stream
}
