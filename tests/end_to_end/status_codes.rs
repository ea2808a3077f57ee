//! Each row of the table of status codes that the balancer produces (LR section 6), provoked: what the client sees, and
//! what the access log says of it. What takes a silent server or connect timeout is in [`crate::http_errors`].

use crate::client::{Connection, at};
use crate::clients::start;
use crate::groups::{FAST_CHECK, Group, ecs1, listener, resources};
use crate::lab_with;
use causeway_lab::{Behaviour, CLIENT, Lab, LabOptions, VIP_A, web_servers};
use serde_json::Value;
use std::io;
use std::net::{Ipv4Addr, Shutdown};

use tests::balancer::{Balancer, PATIENCE, edited};

/// Sees that nginx listens, whatever the port of the server.
const PORT_CHECK: &str = "health_check: {enabled: true, protocol: TCP, connect_port: 80, interval: 1, timeout: 1, healthy_threshold: 2}";

/// Listeners by port: 80 to a server that misbehaves by path, with rules; 81 to one that drains; 82 to none; 83 to one
/// of another zone; 84 to a port where nobody listens; 85 by TLS to one that speaks none; 443 for TLS.
fn table() -> String {
    let other_zone = (Ipv4Addr::new(172, 16, 2, 41), 80, 100);
    let group =
        |name, protocol, listens, settings, servers| Group { name, protocol, listens, settings, servers };
    let text = resources(&[
        Group::web(&[FAST_CHECK], &[(ecs1(1), 100)]),
        group(
            "drained",
            "HTTP",
            81,
            &[FAST_CHECK, "connection_drain: {enabled: true, timeout: 1}"],
            vec![(ecs1(1), 80, 100), (ecs1(2), 80, 0)],
        ),
        group("empty", "HTTP", 82, &[FAST_CHECK], vec![]),
        group("elsewhere", "HTTP", 83, &[FAST_CHECK, "cross_zone_enabled: false"], vec![other_zone]),
        group("closed", "HTTP", 84, &[PORT_CHECK], vec![(ecs1(1), 7777, 100)]),
        group("plain", "HTTPS", 85, &[PORT_CHECK], vec![(ecs1(1), 80, 100)]),
    ]);
    let rules = ", request_timeout: 1, rules: [
      {name: limited, priority: 1, conditions: [{path: [/limited]}], actions: [{traffic_limit: {qps: 1}}, {forward: web}]},
      {name: weightless, priority: 2, conditions: [{path: [/weightless]}],
       actions: [{forward: {groups: [{group: web, weight: 0}, {group: plain, weight: 0}]}}]}]}";
    let tls = edited(&listener("tls", "HTTPS", 443, "web"), &[("}", ", certificates: [www]}")]);
    // To servers of HTTPS from clients of HTTP.
    let plain = listener("plain", "HTTPS", 85, "plain");
    let web = listener("web", "HTTP", 80, "web");
    edited(
        &text,
        &[(&plain, &listener("plain", "HTTP", 85, "plain")), (&web, &edited(&web, &[("}", rules)]))],
    ) + &tls
}

/// How the client ends a conversation.
#[derive(Clone, Copy)]
enum End {
    /// Reads until the balancer closes.
    Reads,
    /// Closes its sending side first.
    Leaves,
}

/// Port, request and how the client ends; the status of each answer; what is logged of the last request.
type Row = (u16, String, End, &'static [u64], (u64, &'static str, &'static str));

/// What the client sees of `request` at `port`: the status of each answer, and all bytes. Whoever does not ask for the
/// end must provoke it.
fn exchange(lab: &Lab, port: u16, request: &str, end: End) -> (Vec<u64>, String) {
    let talk = || -> io::Result<Vec<u8>> {
        let mut connection = Connection::open(at(VIP_A, port))?;
        connection.send(request.as_bytes())?;
        if let End::Leaves = end {
            connection.shutdown(Shutdown::Write)?;
        }
        connection.rest()
    };
    let bytes = lab.within(CLIENT, talk).expect("enter the client").expect("an answer, or the end");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let statuses = text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().expect("a status"));
    (statuses.collect(), text)
}

/// Asserts of the last of `lines` lines of the access log.
#[track_caller]
fn assert_logged(
    balancer: &Balancer<'_>,
    lines: usize,
    what: &str,
    (status, source, error): (u64, &str, &str),
) {
    let log = balancer.wait_for_access_log(lines);
    assert_eq!(log.len(), lines, "{what}: {log:#?}");
    let last: &Value = &log[lines - 1];
    assert_eq!(
        (&last["status"], &last["error_source"], &last["error"]),
        (&status.into(), &source.into(), &error.into()),
        "{what}: {last}"
    );
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: www.example.test\r\nConnection: close\r\n\r\n")
}

fn post(lines: &str, body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: www.example.test\r\n{lines}\r\n\r\n{body}")
}

// Holds LR-27, LR-120
#[test]
fn every_row_of_the_table_is_answered_and_logged_as_it_says() {
    let test = "every_row_of_the_table_is_answered_and_logged_as_it_says";
    let options = LabOptions {
        id: "e2etable".into(),
        extra_servers: web_servers(2, 1),
        big_file_bytes: 0,
        ..LabOptions::default()
    };
    let Some(lab) = lab_with(test, options) else { return };
    let balancer = start(&lab, &table());
    for (path, behaviour) in [
        ("/close", Behaviour::CloseEarly),
        ("/garbage", Behaviour::Garbage),
        ("/cut", Behaviour::CutShort),
        ("/hang", Behaviour::Hang),
        ("/502", Behaviour::Status(502)),
        ("/504", Behaviour::Status(504)),
    ] {
        lab.set_behaviour_at("ecs11", path, behaviour).expect("it is a web server");
    }
    // What a pass leaves behind, which a second one brings.
    let (_, seen) = exchange(&lab, 80, &get("/echo"), End::Reads);
    let mark = seen.split("\"causeway-trace\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let mark = mark.expect("the server sees the mark");
    let with = |line: &str| get("/").replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1);
    let looped = with(&format!("Causeway-Trace: {mark}"));
    let too_often = with(&format!("Causeway-Trace: {}", ["0123456789abcdef"; 17].join(",")));
    let long = "x".repeat(33 * 1024);

    let (client, server, us) = ("client", "server", "us");
    let cases: &[Row] = &[
        (80, get("/\u{1}"), End::Reads, &[400], (400, client, "malformed request target")),
        (
            80,
            post("Content-Length: 5\r\nContent-Length: 6", ""),
            End::Reads,
            &[400],
            (400, client, "malformed or conflicting Content-Length"),
        ),
        (
            80,
            post("Transfer-Encoding: chunked", "x\r\n"),
            End::Reads,
            &[400],
            (400, client, "malformed chunk"),
        ),
        (
            80,
            "GET / HTTP/1.1\r\nHost: a\r\n".into(),
            End::Leaves,
            &[],
            (400, client, "client closed before the request was complete"),
        ),
        (80, with(&format!("X: {long}")), End::Reads, &[400], (400, client, "request header over 32 KB")),
        (443, get("/"), End::Reads, &[400], (400, client, "plain HTTP on the TLS port")),
        (80, get("/").replacen("GET", "TRACE", 1), End::Reads, &[405], (405, client, "method not allowed")),
        (
            80,
            "GET / HTTP/1.1\r\nHost: a\r\n".into(),
            End::Reads,
            &[408],
            (408, client, "request head incomplete within the request timeout"),
        ),
        (
            80,
            post("Content-Length: 9", "short"),
            End::Reads,
            &[408],
            (408, client, "request body incomplete within the request timeout"),
        ),
        (80, get(&format!("/{long}")), End::Reads, &[414], (414, client, "request target over 32 KB")),
        (80, looped, End::Reads, &[463], (463, client, "the request has passed here before")),
        (80, too_often, End::Reads, &[463], (463, client, "the request has passed here before")),
        (80, get("/hang"), End::Leaves, &[], (499, client, "client closed before the response was complete")),
        (80, get("/cut"), End::Reads, &[200], (500, server, "connection lost within the response")),
        (84, get("/"), End::Reads, &[502], (502, server, "connection refused or unreachable")),
        (80, get("/close"), End::Reads, &[502], (502, server, "connection lost before the response")),
        (80, get("/garbage"), End::Reads, &[502], (502, server, "malformed or incomplete response")),
        (85, get("/"), End::Reads, &[502], (502, server, "TLS handshake failed")),
        (82, get("/"), End::Reads, &[503], (503, us, "no server to forward to")),
        (83, get("/"), End::Reads, &[503], (503, us, "no server to forward to")),
        (
            80,
            get("/weightless"),
            End::Reads,
            &[503],
            (503, us, "every server group of the rule has weight 0"),
        ),
        // Whichever way it comes, the second of two within the hundredth part of a second.
        (
            80,
            get("/limited").replace("Connection: close\r\n", "") + &get("/limited"),
            End::Reads,
            &[404, 503],
            (503, us, "traffic limit of the rule reached"),
        ),
        (80, get("/hang"), End::Reads, &[504], (504, server, "no response within the request timeout")),
        // Those of servers pass.
        (80, get("/502"), End::Reads, &[502], (502, "-", "-")),
        (80, get("/504"), End::Reads, &[504], (504, "-", "-")),
    ];
    let mut lines = 1;
    for (port, request, end, answered, logged) in cases {
        let what = format!("{port} {:?}", &request[..request.len().min(70)]);
        let (statuses, text) = exchange(&lab, *port, request, *end);
        assert_eq!(statuses, *answered, "{what}: {text}");
        lines += answered.len().max(1);
        assert_logged(&balancer, lines, &what, *logged);
        match logged.0 {
            463 => assert!(text.ends_with("\r\n\r\n"), "without a body: {text}"),
            503 if logged.2.contains("limit") => {
                assert!(text.contains("\r\nALB-QPS-Limited: Limited\r\n"), "{text}")
            }
            _ => {}
        }
    }

    // The end of a drain: the server is removed while it has a request, which would last much longer than the drain.
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| exchange(&lab, 81, &get("/slow?s=20"), End::Reads));
        balancer.wait_until("the request is with the server", PATIENCE, || {
            match balancer.server("drained", ecs1(1)).counters.requests {
                0 => Err("no request yet"),
                _ => Ok(()),
            }
        });
        balancer.command(&["server", "remove", "drained", &format!("{}:80", ecs1(1))]);
        asking.join().expect("it is answered")
    });
    assert_eq!(answer.0, [500], "{}", answer.1);
    assert_logged(&balancer, lines + 1, "drained", (500, us, "cut at the end of its server's drain"));
    balancer.stop();
}
