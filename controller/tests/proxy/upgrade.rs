//! Connections that go on in another protocol (LR-130, LR-131).

use crate::harness::*;
use std::io::{Read, Write};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: k\r\n\r\n";
const AGREE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: y\r\n\r\nhello";

/// Agrees, greets at once, echoes what comes in upper case, and notes the request.
fn chatting() -> Server {
    Server::new(|connection, notes| {
        notes.lock().unwrap().push(connection.request().unwrap().head);
        connection.send(AGREE);
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = connection.reader().read(&mut piece) {
            connection.stream.write_all(&piece[..read].to_ascii_uppercase()).unwrap();
        }
    })
}

fn taken(client: &mut Client, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    client.reader().read_exact(&mut bytes).unwrap();
    bytes
}

// Holds LR-130, LR-131
#[test]
fn both_sides_go_on_in_another_protocol_until_one_ends() {
    let server = chatting();
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    // What follows the request is of the new protocol already.
    client.send(&format!("{ASK}early"));
    let head = client.head();
    assert_eq!(
        head,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX: y\r\nConnection: Upgrade\r\n\r\n"
    );
    assert_eq!(taken(&mut client, 10), b"helloEARLY");
    for text in ["one", "two"] {
        client.send(text);
        assert_eq!(taken(&mut client, 3), text.to_ascii_uppercase().as_bytes());
        assert_eq!(balancer.stats.servers()[&1].active, 1, "a tunnel is a request under way");
    }
    drop(client);
    assert_eq!(
        without_trace(&server.noted()[0]),
        "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\
         X-Forwarded-For: 127.0.0.1\r\nConnection: Upgrade\r\n\r\n"
    );
    let stats = balancer.stats.clone();
    let log = balancer.into_log();
    assert_eq!(log[0]["status"], 101);
    assert_eq!(log[0]["body_bytes_sent"], 16);
    let server = stats.servers()[&1];
    let told = (server.requests, server.active, server.responses);
    assert_eq!(told, (1, 0, [1, 0, 0, 0, 0]), "a tunnel that ended is no request without a response");
}

#[test]
fn a_tunnel_without_data_ends_with_the_request_timeout() {
    let server = chatting();
    let balancer = Balancer::with(&[server.address], 1, |snapshot| {
        snapshot.listeners[0].request_timeout_ms = 300;
    });
    let mut client = balancer.client();
    client.send(ASK);
    client.head();
    taken(&mut client, 5);
    client.expect_closed();
}

#[test]
fn a_server_that_does_not_agree_answers_as_ever() {
    let server = Server::new(|connection, _| {
        while let Some(request) = connection.request() {
            assert!(request.head.contains("Connection: Upgrade\r\n"));
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    for _ in 0..2 {
        assert_eq!(client.request(ASK).body, b"no");
    }
}

#[test]
fn nobody_switches_who_did_not_ask() {
    let server = chatting();
    let balancer = Balancer::new(&[server.address]);
    let response = balancer.client().request("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(response.status, 502, "Upgrade without Connection asks for nothing");
    let response = balancer
        .client()
        .request("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n");
    assert_eq!(response.status, 502, "a server that speaks HTTP/2 would take requests that no rule has seen");
    for hidden in ["websocket\r\nUpgrade: h2c", "\r\nUpgrade: h2c", "websocket, H2C"] {
        let response = balancer.client().request(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {hidden}\r\n\r\n"
        ));
        assert_eq!(response.status, 502, "{hidden:?}");
    }
    for request in server.noted() {
        assert_eq!(header(&request, "upgrade"), None, "{request}");
    }
}
