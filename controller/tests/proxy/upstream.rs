//! How servers are spoken to: kept connections or not, both address families, functions.

use crate::harness::{Balancer, Client, PATIENCE, Server, header};
use controller::proxy::bind_listeners;
use controller::snapshot::FunctionSnapshot;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::sync::mpsc::channel;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

// Holds SG-101, SG-102
#[test]
fn without_keepalive_every_request_has_a_connection_of_its_own_and_says_so() {
    let (closed, closings) = channel();
    let closed = Mutex::new(closed);
    // The server would keep its connections, so that it is the balancer who closes them.
    let server = Server::new(move |connection, notes| {
        while let Some(request) = connection.request() {
            notes.lock().unwrap().push(format!("{} {}", connection.number, request.head));
            connection.answer("x");
        }
        closed.lock().unwrap().send(connection.number).unwrap();
    });
    let balancer = Balancer::with(&[server.address], 1, |snapshot| snapshot.groups[0].keepalive = false);
    let mut client = balancer.client();
    for number in 0..3 {
        let response = client.request(GET);
        assert_eq!((response.text().as_str(), response.header("connection")), ("x", None));
        assert_eq!(closings.recv_timeout(PATIENCE), Ok(number));
    }
    let noted = server.noted();
    assert_eq!(noted.len(), 3);
    for (number, note) in noted.iter().enumerate() {
        assert!(note.starts_with(&format!("{number} ")), "{note}");
        assert_eq!(header(note, "connection"), Some("close"));
    }
}

// Holds SG-101, SG-102
#[test]
fn with_keepalive_a_connection_is_used_again_and_no_end_is_announced() {
    let server = Server::named("x");
    let balancer = Balancer::new(&[server.address]);
    for _ in 0..3 {
        assert_eq!(balancer.get("/").status, 200);
    }
    assert_eq!(balancer.stats.servers()[&1].connections, 1);
    assert!(server.noted().iter().all(|head| header(head, "connection").is_none()), "{:?}", server.noted());
}

// Holds SG-101
#[test]
fn turning_keepalive_off_closes_kept_connections() {
    let (closed, closings) = channel();
    let closed = Mutex::new(closed);
    let server = Server::new(move |connection, _| {
        while connection.request().is_some() {
            connection.answer("x");
        }
        closed.lock().unwrap().send(()).unwrap();
    });
    let mut balancer = Balancer::new(&[server.address]);
    assert_eq!(balancer.get("/").status, 200);
    balancer.snapshot.groups[0].keepalive = false;
    balancer.publish();
    closings.recv_timeout(PATIENCE).unwrap();
    assert_eq!(balancer.get("/").status, 200);
    assert_eq!(balancer.stats.servers()[&1].connections, 2);
}

#[test]
fn both_address_families_work_on_either_side() {
    let handle = |connection: &mut crate::harness::ServerConnection, notes: &Mutex<Vec<String>>| {
        while let Some(request) = connection.request() {
            notes.lock().unwrap().push(format!("{} {}", connection.peer.ip(), request.head));
            connection.answer("x");
        }
    };
    let servers = [Server::at("127.0.0.1:0", handle), Server::at("[::1]:0", handle)];
    for server in &servers {
        let sockets = bind_listeners(&["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()]).unwrap();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let mut balancer = Balancer::with(&[server.address], 1, |snapshot| {
            snapshot.listeners[0].local_addresses =
                vec![Ipv4Addr::new(127, 0, 0, 7).into(), Ipv6Addr::LOCALHOST.into()];
        });
        balancer.snapshot.listeners[0].addresses = addresses.clone();
        balancer.publish_with(sockets.into_iter().map(|socket| (1, socket.into())).collect()).unwrap();
        let source: IpAddr = if server.address.is_ipv4() {
            Ipv4Addr::new(127, 0, 0, 7).into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        };
        for (number, vip) in addresses.iter().enumerate() {
            // HTTP/1.0 without Host, so that the server's address stands in for it.
            let response = Client::connect(*vip).request("GET / HTTP/1.0\r\n\r\n");
            assert_eq!(response.text(), "x", "{vip} to {}", server.address);
            let note = server.noted().pop().unwrap();
            assert!(note.starts_with(&format!("{source} ")), "{note}");
            assert_eq!(header(&note, "host"), Some(server.address.to_string().as_str()));
            assert_eq!(header(&note, "x-forwarded-for"), Some(vip.ip().to_string().as_str()));
            // The second client's request goes over the first one's connection.
            assert_eq!(balancer.stats.servers()[&1].connections, 1, "request {number}");
        }
        let stats = balancer.stats.clone();
        for (line, vip) in balancer.into_log().iter().zip(&addresses) {
            assert_eq!(stats.listeners()[&(1, *vip)].requests, 1);
            assert_eq!(line["client_ip"], vip.ip().to_string());
            assert_eq!(line["vip_addr"], vip.ip().to_string());
            assert_eq!(line["upstream_addr"], server.address.to_string());
            assert_eq!(line["local_addr"], source.to_string());
        }
    }
}

// Holds SG-74
#[test]
fn a_function_is_called_under_its_own_name_and_path() {
    let server = Server::named("answer");
    let balancer = Balancer::with(&[server.address], 1, |snapshot| {
        snapshot.groups[0].function = Some(FunctionSnapshot {
            authority: "fc.example.net".into(),
            path_prefix: "/2023/web/LATEST".into(),
        });
    });
    let response = balancer.client().request("GET /a?b=c HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
    assert_eq!(response.text(), "answer");
    let head = server.noted().remove(0);
    assert!(head.starts_with("GET /2023/web/LATEST/a?b=c HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some("fc.example.net"));
    assert_eq!(header(&head, "x-forwarded-host"), Some("www.example.com"));
    // What the client asked for is what the log tells.
    let line = balancer.into_log().remove(0);
    assert_eq!((&line["request_uri"], &line["http_host"]), (&"/a?b=c".into(), &"www.example.com".into()));
}
