//! Shares of servers, kept connections, local addresses and what servers see.

use crate::harness::{Balancer, Server, header, without_trace};
use std::collections::BTreeMap;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

// Holds SG-81, XR-77
#[test]
fn splits_100_requests_on_new_connections_exactly_in_half() {
    let (one, two) = (Server::named("one"), Server::named("two"));
    let balancer = Balancer::new(&[one.address, two.address]);
    let mut counts = BTreeMap::new();
    for _ in 0..100 {
        *counts.entry(balancer.get("/").text()).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([("one".into(), 50), ("two".into(), 50)]));
    let (stats, vip) = (balancer.stats.clone(), balancer.address);
    assert_eq!(balancer.into_log().len(), 100);
    let servers = stats.servers();
    assert_eq!((servers[&1].requests, servers[&2].requests), (50, 50));
    let listener = stats.listeners()[&(1, vip)];
    assert_eq!((listener.requests, listener.connections, listener.responses), (100, 100, [0, 100, 0, 0, 0]));
}

// Holds SG-81, SG-82
#[test]
fn serves_weights_2_1_1_in_smooth_order() {
    let servers = [Server::named("a"), Server::named("b"), Server::named("c")];
    let balancer = Balancer::with(&servers.each_ref().map(|server| server.address), 1, |snapshot| {
        snapshot.groups[0].servers[1].weight = 50;
        snapshot.groups[0].servers[2].weight = 50;
    });
    let mut client = balancer.client();
    let order: String = (0..8).map(|_| client.request(GET).text()).collect();
    assert_eq!(order, "abcaabca");
}

// Holds SG-101
#[test]
fn keeps_connections_on_both_sides() {
    let server = Server::new(|connection, notes| {
        notes.lock().unwrap().push(connection.number.to_string());
        while connection.request().is_some() {
            connection.answer("x");
        }
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    for _ in 0..20 {
        assert_eq!(client.request(GET).status, 200);
    }
    for _ in 0..20 {
        assert_eq!(balancer.get("/").status, 200);
    }
    assert_eq!(server.noted(), ["0"]);
}

// Holds SG-101, SG-102
#[test]
fn asks_servers_to_close_when_keepalive_is_off() {
    let server = Server::named("x");
    let balancer = Balancer::with(&[server.address], 1, |snapshot| snapshot.groups[0].keepalive = false);
    let mut client = balancer.client();
    assert_eq!([client.request(GET).status, client.request(GET).status], [200, 200]);
    assert!(server.noted().iter().all(|head| header(head, "connection") == Some("close")));
    assert_eq!(balancer.stats.servers()[&1].connections, 2);
}

#[test]
fn serves_pipelined_requests_in_order() {
    let server = Server::new(|connection, _| {
        while let Some(request) = connection.request() {
            let path = request.head.split(' ').nth(1).unwrap().to_string();
            connection.answer(&format!("{path} {}", String::from_utf8(request.body).unwrap()));
        }
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
         GET /3 HTTP/1.1\r\nHost: a\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    let texts: Vec<String> = (0..4).map(|_| client.response(false).text()).collect();
    assert_eq!(texts, ["/1 ", "/2 abc", "/3 ", "/4 "]);
    client.expect_closed();
}

#[test]
fn serves_http_1_0_clients() {
    let server = Server::new(|connection, notes| {
        while let Some(head) = connection.head() {
            notes.lock().unwrap().push(head);
            connection.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n",
            );
        }
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    let response = client.request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.text(), "abcde");
    let head = &server.noted()[0];
    assert!(head.starts_with("GET / HTTP/1.1\r\n"));
    assert_eq!(header(head, "host"), Some(server.address.to_string().as_str()));
    // A length needs no close.
    let plain = Server::named("plain");
    let balancer = Balancer::new(&[plain.address]);
    let mut client = balancer.client();
    for _ in 0..2 {
        let response = client.request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!((response.text().as_str(), response.header("connection")), ("plain", Some("keep-alive")));
    }
}

#[test]
fn passes_responses_without_body_on() {
    let server = Server::new(|connection, _| {
        while let Some(request) = connection.request() {
            connection.send(match request.head.split(' ').nth(1).unwrap() {
                "/204" => "HTTP/1.1 204 No Content\r\nServer: s\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
            });
        }
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    for (request, status) in [("GET /204", 204), ("GET /304", 304), ("HEAD /", 200), ("GET /204", 204)] {
        let response = client.request(&format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(response.status, status);
    }
    assert_eq!(balancer.stats.servers()[&1].connections, 1);
}

// Holds XR-83
#[test]
fn connects_from_each_local_address_in_turn_and_names_the_client() {
    let server = Server::new(|connection, notes| {
        let head = connection.request().unwrap().head;
        let forwarded = header(&head, "x-forwarded-for").unwrap().to_string();
        notes.lock().unwrap().push(format!("{} for {forwarded}", connection.peer.ip()));
        connection.answer("x");
    });
    let balancer = Balancer::with(&[server.address], 1, |snapshot| {
        snapshot.groups[0].keepalive = false;
        snapshot.listeners[0].local_addresses =
            ["127.0.0.2", "127.0.0.3"].map(|local| local.parse().unwrap()).to_vec();
    });
    for _ in 0..4 {
        balancer.get("/");
    }
    let (two, three) = ("127.0.0.2 for 127.0.0.1", "127.0.0.3 for 127.0.0.1");
    assert_eq!(server.noted(), [two, three, two, three]);
    let log = balancer.into_log();
    assert_eq!((&log[0]["local_addr"], &log[1]["local_addr"]), (&"127.0.0.2".into(), &"127.0.0.3".into()));
    assert_eq!(log[0]["upstream_addr"], server.address.to_string());
    assert_eq!((&log[0]["listener"], &log[0]["server_group"]), (&"web".into(), &"web".into()));
    assert_eq!((&log[0]["request_uri"], &log[0]["status"]), (&"/".into(), &200.into()));
}

#[test]
fn keeps_the_servers_own_server_header_and_drops_hop_by_hop_ones() {
    let server = Server::new(|connection, notes| {
        notes.lock().unwrap().push(connection.request().unwrap().head);
        connection.send(
            "HTTP/1.1 200 OK\r\nServer: theirs\r\nKeep-Alive: timeout=5\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
             Content-Length: 0\r\n\r\n",
        );
        connection.head();
    });
    let balancer = Balancer::new(&[server.address]);
    let response = balancer.client().request(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\nCookie: c\r\n\r\n",
    );
    assert_eq!(response.head, "HTTP/1.1 200 OK\r\nServer: theirs\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        without_trace(&server.noted()[0]),
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: c\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n"
    );
}
