//! Status codes that the balancer itself produces (LR section 6), as far as what produces them exists.

use crate::client::{Connection, at, get};
use crate::{WEB, fast_resources, lab, lab_with};
use causeway_lab::{CLIENT, ECS01, ECS01_ADDRESS, Fault, Lab, LabOptions, VIP_A, Variant};
use controller::api::HealthStatus;
use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};
use tests::balancer::{Balancer, PATIENCE, edited};

/// The tutorial's resources with ECS01 alone in the HTTP group and `listener` added to its listener.
fn ecs01_alone(listener: &str) -> String {
    edited(
        &fast_resources(Variant::Vswitch),
        &[
            ("      - {address: 192.168.1.20, port: 80, weight: 100, remote_ip: true}\n", ""),
            ("port: 80, server_group: web}", &format!("port: 80, server_group: web{listener}}}")),
        ],
    )
}

/// Sends `bytes` to the VIP and returns everything that comes back until the balancer closes.
fn exchange(lab: &Lab, bytes: &[u8]) -> String {
    let talk = || -> io::Result<Vec<u8>> {
        let mut connection = Connection::open(at(VIP_A, 80))?;
        connection.send(bytes)?;
        connection.rest()
    };
    String::from_utf8_lossy(&lab.within(CLIENT, talk).expect("enter the client").expect("an answer"))
        .into_owned()
}

/// Fields of the last line of the access log, once it has `lines` lines.
fn logged(balancer: &Balancer<'_>, lines: usize) -> (u64, String, String) {
    let log = balancer.wait_for_access_log(lines);
    assert_eq!(log.len(), lines, "{log:#?}");
    let last = log.last().expect("at least one line");
    let text = |name: &str| last[name].as_str().expect(name).to_owned();
    (last["status"].as_u64().expect("a number"), text("error_source"), text("error"))
}

#[test]
fn wrong_requests_get_the_code_of_their_fault() {
    let Some(lab) = lab("wrong_requests_get_the_code_of_their_fault", "e2ewrong") else { return };
    let balancer = Balancer::start_resources(&lab, &ecs01_alone(", request_timeout: 1"));
    balancer.wait_until_healthy();
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(33 * 1024));
    let large_head = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "x".repeat(33 * 1024));
    let cases: [(&str, u64); 8] = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (&large_head, 400),
        ("\u{16}\u{3}\u{1}\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (&long_target, 414),
        // Incomplete: the head never ends.
        ("GET / HTTP/1.1\r\nHost: a\r\n", 408),
    ];
    for (lines, (request, status)) in (1..).zip(cases) {
        let answer = exchange(&lab, request.as_bytes());
        let shown = &request[..request.len().min(60)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
        let (logged_status, source, _) = logged(&balancer, lines);
        assert_eq!((logged_status, source.as_str()), (status, "client"), "{shown:?}");
    }
    assert_eq!(balancer.server(WEB, ECS01_ADDRESS).counters.requests, 0, "no server saw any of it");
}

#[test]
fn a_server_that_refuses_is_a_502_and_one_that_is_silent_a_504() {
    let Some(lab) = lab("a_server_that_refuses_is_a_502_and_one_that_is_silent_a_504", "e2e502") else {
        return;
    };
    let balancer = Balancer::start_resources(&lab, &ecs01_alone(""));
    balancer.wait_until_healthy();
    let ask = || {
        let started = Instant::now();
        let reply = lab.within(CLIENT, || get(at(VIP_A, 80))).expect("enter the client").expect("an answer");
        (reply.status, started.elapsed())
    };
    lab.stop_server(ECS01).expect("nginx stops");
    assert_eq!(ask().0, 502);
    assert_eq!(logged(&balancer, 1), (502, "server".into(), "connection refused or unreachable".into()));
    lab.start_server(ECS01).expect("nginx starts");

    // Connecting may take five seconds (LR section 6), and there is no other server to try.
    lab.inject(&Fault::ServerSilentDrop(ECS01.into())).expect("the fault is injected");
    let (status, took) = ask();
    assert_eq!(status, 504);
    assert!((5.0..6.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(
        logged(&balancer, 2),
        (504, "server".into(), "no connection within the connect timeout".into())
    );
    lab.mend(&Fault::ServerSilentDrop(ECS01.into())).expect("the fault is mended");
    balancer.wait_for_health(WEB, ECS01_ADDRESS, HealthStatus::Normal, PATIENCE);
    assert_eq!(ask().0, 200);
}

#[test]
fn no_response_within_the_request_timeout_is_a_504() {
    let Some(lab) = lab("no_response_within_the_request_timeout_is_a_504", "e2e504") else { return };
    // A server that accepts and reads, and never answers; no checks, or it would not be sent to for long.
    let resources = edited(
        &ecs01_alone(", request_timeout: 1"),
        &[
            ("address: 172.16.1.20, port: 80,", "address: 172.16.1.20, port: 7777,"),
            (
                "health_check: {enabled: true, protocol: HTTP, path: /, interval: 1, timeout: 1, healthy_threshold: 2}",
                "health_check: {enabled: false}",
            ),
        ],
    );
    let mute = "import socket\ns=socket.create_server(('',7777))\nk=[]\nwhile True: k.append(s.accept())";
    let mut server = lab.spawn(ECS01, &["python3", "-c", mute]).expect("python starts");
    server.wait_until_listening(&[7777], PATIENCE).expect("it listens");
    let balancer = Balancer::start_resources(&lab, &resources);
    let started = Instant::now();
    let reply = lab.within(CLIENT, || get(at(VIP_A, 80))).expect("enter the client").expect("an answer");
    let took = started.elapsed();
    assert_eq!(reply.status, 504);
    assert!((1.0..2.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(logged(&balancer, 1), (504, "server".into(), "no response within the request timeout".into()));
}

// Holds SG-90, SG-91, SG-94
#[test]
fn a_group_of_weight_0_servers_is_a_503() {
    let Some(lab) = lab("a_group_of_weight_0_servers_is_a_503", "e2e503") else { return };
    let resources = edited(
        &fast_resources(Variant::Vswitch),
        &[
            ("address: 172.16.1.20, port: 80, weight: 100", "address: 172.16.1.20, port: 80, weight: 0"),
            ("address: 192.168.1.20, port: 80, weight: 100", "address: 192.168.1.20, port: 80, weight: 0"),
        ],
    );
    let balancer = Balancer::start_resources(&lab, &resources);
    let reply = lab.within(CLIENT, || get(at(VIP_A, 80))).expect("enter the client").expect("an answer");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(logged(&balancer, 1), (503, "us".into(), "no server to forward to".into()));
    for server in balancer.servers().iter().filter(|server| server.group == WEB) {
        assert_eq!((server.health, server.counters.requests), (HealthStatus::Unused, 0));
    }
}

#[test]
fn a_response_cut_short_ends_the_clients_connection_and_is_logged_as_500_or_499() {
    let test = "a_response_cut_short_ends_the_clients_connection_and_is_logged_as_500_or_499";
    let options = LabOptions { id: "e2ecut".into(), big_file_bytes: 50_000_000, ..LabOptions::default() };
    let Some(lab) = lab_with(test, options) else { return };
    let balancer = Balancer::start_resources(&lab, &ecs01_alone(""));
    balancer.wait_until_healthy();

    // The client leaves in the middle.
    let leave = || -> io::Result<()> {
        let mut connection = Connection::open(at(VIP_A, 80))?;
        connection.begin("/big")?;
        connection.body(&mut [0; 1_000_000])?;
        connection.shutdown(Shutdown::Both)
    };
    lab.within(CLIENT, leave).expect("enter the client").expect("a part of the body");
    let (status, source, _) = logged(&balancer, 1);
    assert_eq!((status, source.as_str()), (499, "client"));

    // The server leaves in the middle: more than all buffers on the way hold is still to come.
    let be_left = || -> io::Result<Result<(), io::Error>> {
        let mut connection = Connection::open(at(VIP_A, 80))?;
        let length = connection.begin("/big")?;
        lab.stop_server(ECS01).map_err(io::Error::other)?;
        Ok(connection.body(&mut vec![0; length]))
    };
    let outcome = lab.within(CLIENT, be_left).expect("enter the client").expect("the response begins");
    outcome.expect_err("a cut response must not look whole");
    let (status, source, _) = logged(&balancer, 2);
    assert_eq!((status, source.as_str()), (500, "server"));
}

#[test]
fn codes_of_the_server_pass_unchanged() {
    let Some(lab) = lab("codes_of_the_server_pass_unchanged", "e2epass") else { return };
    let balancer = Balancer::start_resources(&lab, &ecs01_alone(""));
    balancer.wait_until_healthy();
    let answer = exchange(&lab, b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("nginx"), "{answer}");
    let answer = exchange(&lab, b"DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("nginx"), "{answer}");
    assert_eq!(logged(&balancer, 2).1, "-");
    let deadline = Duration::from_secs(2);
    balancer.wait_until("both are counted", deadline, || {
        let responses = balancer.metric(
            "causeway_listener_responses_total",
            &[("load_balancer", "alb1"), ("listener", "http"), ("vip", "203.0.113.10:80"), ("class", "4xx")],
        );
        if responses == 2.0 { Ok(()) } else { Err(responses) }
    });
}
