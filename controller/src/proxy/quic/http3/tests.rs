//! A server of [`super::serve`] on its own threads, clients of quinn and h3 on the test's.

mod client;
mod hostile;
mod server;

use super::super::endpoint::Settings;
use super::super::identity::Secrets;
use super::connection::Limits;
use crate::proxy::reactor;
use bytes::{Buf, Bytes};
use client::Client;
use http::{HeaderMap, Request};
use server::Server;
use std::cell::Cell;
use std::future::Future;
use std::net::UdpSocket;
use std::rc::Rc;

const SECOND_NS: u64 = 1_000_000_000;

/// Runs a test's task. A panic in it ends the task and not the reactor, so that it must come to its end counts.
fn run(test: impl Future<Output = ()> + 'static) {
    let ended = Rc::new(Cell::new(false));
    let end = ended.clone();
    reactor::run(async move {
        test.await;
        end.set(true);
    })
    .unwrap();
    assert!(ended.get(), "the test's task panicked");
}

fn body(length: usize) -> Bytes {
    (0..length).map(|n| (n % 251) as u8).collect::<Vec<_>>().into()
}

// Holds LR-1
#[test]
fn serves_requests_with_bodies_and_trailers_both_ways() {
    let server = Server::start(2);
    run(async move {
        let client = Client::new(&server);
        let mut requests = client.connect().await.requests().await;
        let plain = requests.get("/head").await;
        assert_eq!((plain.status, plain.trailers.len()), (200, 0));
        let head = String::from_utf8(plain.body.to_vec()).unwrap();
        assert!(head.starts_with("GET /head HTTP/1.1\r\nHost: localhost\r\n"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        for length in [0, 1, 70_000, 3_000_000] {
            let sent = body(length);
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checked", "yes".parse().unwrap());
            let echo = requests.post("/echo", &sent, Some(trailers.clone())).await;
            assert_eq!((echo.status, echo.trailers), (200, trailers));
            assert!(echo.body == sent, "{length}");
        }
    });
}

// Holds LR-1
#[test]
fn serves_many_streams_of_one_connection_at_once() {
    let server = Server::start(1);
    run(async move {
        let client = Client::new(&server);
        let connection = client.connect().await;
        let requests = connection.requests().await;
        let all = (0..300).map(|n| {
            let mut requests = requests.clone();
            async move {
                let sent = body(n * 100);
                assert!(requests.post("/echo", &sent, None).await.body == sent);
            }
        });
        client::all(all).await;
    });
}

// Holds LR-1
#[test]
fn a_client_whose_address_changes_stays_on_its_worker() {
    let server = Server::start(2);
    run(async move {
        let mut workers = [0, 0];
        for _ in 0..12 {
            let client = Client::new(&server);
            let connection = client.connect().await;
            let mut requests = connection.requests().await;
            let worker = |body: Bytes| usize::from(body[0] - b'0');
            let first = worker(requests.get("/worker").await.body);
            workers[first] += 1;
            for _ in 0..4 {
                client.move_to(UdpSocket::bind("127.0.0.1:0").unwrap());
                assert_eq!(worker(requests.get("/worker").await.body), first);
            }
        }
        assert!(workers.iter().all(|&count| count > 0), "{workers:?}");
    });
}

// Holds LR-1
#[test]
fn tells_the_engine_of_a_request_that_the_client_gave_up() {
    let server = Server::start(1);
    run(async move {
        let client = Client::new(&server);
        let connection = client.connect().await;
        let mut requests = connection.requests().await;
        // While the response is awaited, by asking for no more of it; while the body is sent, by a reset.
        let mut waiting = requests.open(Request::get("https://localhost/wait")).await;
        waiting.finish().await.unwrap();
        assert_eq!(server.told().await, "waiting");
        waiting.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
        assert_eq!(server.told().await, "gone");
        let mut sending = requests.open(Request::post("https://localhost/wait")).await;
        sending.send_data(body(1000)).await.unwrap();
        assert_eq!(server.told().await, "waiting");
        sending.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
        assert_eq!(server.told().await, "gone");
        let mut reading = requests.open(Request::post("https://localhost/echo")).await;
        reading.send_data(body(1000)).await.unwrap();
        assert_eq!(reading.recv_response().await.unwrap().status(), 200);
        reading.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
        assert_eq!(server.told().await, "body broken off");
        // And by leaving altogether.
        let mut waiting = requests.open(Request::get("https://localhost/wait")).await;
        waiting.finish().await.unwrap();
        assert_eq!(server.told().await, "waiting");
        connection.quic.close(0u32.into(), b"");
        assert_eq!(server.told().await, "gone");
    });
}

// Holds LR-1
#[test]
fn a_response_that_breaks_off_is_reset() {
    let server = Server::start(1);
    run(async move {
        let client = Client::new(&server);
        let mut requests = client.connect().await.requests().await;
        for path in ["/abandoned", "/internal"] {
            let mut stream = requests.open(Request::get(format!("https://localhost{path}"))).await;
            stream.finish().await.unwrap();
            // What was not sent yet goes with the stream, the head too.
            let head = stream.recv_response().await.map(|_| ());
            let error = match head {
                Err(error) => error.to_string(),
                Ok(()) => loop {
                    match stream.recv_data().await {
                        Ok(Some(_)) => {}
                        Ok(None) => panic!("{path}: taken for whole"),
                        Err(error) => break error.to_string(),
                    }
                },
            };
            assert!(error.contains("H3_INTERNAL_ERROR"), "{error}");
        }
    });
}

// Holds LR-11
#[test]
fn closes_a_connection_without_requests_and_not_one_with_them() {
    let limits = Limits { idle_ns: SECOND_NS / 20, ..Limits::new(0, 10 * SECOND_NS, None) };
    let server = Server::with(1, limits, |_| {});
    run(async move {
        let client = Client::new(&server);
        let connection = client.connect().await;
        let mut requests = connection.requests().await;
        let mut waiting = requests.open(Request::get("https://localhost/slow")).await;
        waiting.finish().await.unwrap();
        assert_eq!(waiting.recv_response().await.unwrap().status(), 200);
        assert!(connection.quic.close_reason().is_none(), "closed under a request");
        while waiting.recv_data().await.unwrap().is_some() {}
        let closed = connection.quic.closed().await.to_string();
        assert!(closed.contains("H3_NO_ERROR"), "{closed}");
    });
}

// Holds LR-52
#[test]
fn asks_a_client_to_leave_after_its_requests() {
    let limits = Limits { requests: 3, ..Limits::new(60 * SECOND_NS, 10 * SECOND_NS, None) };
    let server = Server::with(1, limits, |_| {});
    run(async move {
        let client = Client::new(&server);
        let connection = client.connect().await;
        let mut requests = connection.requests().await;
        for _ in 0..3 {
            assert_eq!(requests.post("/echo", &body(200_000), None).await.body, body(200_000));
        }
        let closed = connection.quic.closed().await.to_string();
        assert!(closed.contains("H3_NO_ERROR"), "{closed}");
        assert!(connection.driver_saw_goaway().await);
    });
}

#[test]
fn a_listener_that_closes_finishes_its_requests() {
    let server = Server::start(2);
    run(async move {
        let client = Client::new(&server);
        let connection = client.connect().await;
        let mut requests = connection.requests().await;
        let mut stream = requests.open(Request::post("https://localhost/echo")).await;
        stream.send_data(body(1000)).await.unwrap();
        assert_eq!(stream.recv_response().await.unwrap().status(), 200);
        server.close();
        // Until the client knows that it is to open no more.
        while requests.is_served("/head").await {}
        stream.send_data(body(500_000)).await.unwrap();
        stream.finish().await.unwrap();
        let mut got = 0;
        while let Some(piece) = stream.recv_data().await.unwrap() {
            got += piece.remaining();
        }
        assert_eq!(got, 501_000);
        assert!(connection.quic.closed().await.to_string().contains("H3_NO_ERROR"));
        assert!(connection.driver_saw_goaway().await);
        server.ended();
    });
}

// Holds LR-1
#[test]
fn what_a_client_does_not_take_is_not_kept() {
    let server = Server::start(1);
    run(async move {
        let client = Client::new(&server);
        let connection = client.connect().await;
        let mut requests = connection.requests().await;
        let mut stream = requests.open(Request::get("https://localhost/endless")).await;
        stream.finish().await.unwrap();
        assert_eq!(stream.recv_response().await.unwrap().status(), 200);
        // The engine's writes wait for the client, who takes nothing and has not let more than its windows be sent.
        let written: usize = server.told().await.parse().unwrap();
        assert!((1..=4 * 1024 * 1024).contains(&written), "{written}");
    });
}

// Holds LR-1
#[test]
fn under_load_clients_show_their_address_first() {
    let server = Server::with(2, Limits::new(60 * SECOND_NS, 10 * SECOND_NS, None), |endpoint| {
        endpoint.set_trusted(0)
    });
    run(async move {
        for _ in 0..6 {
            let client = Client::new(&server);
            let mut requests = client.connect().await.requests().await;
            assert_eq!(requests.get("/retried").await.status, 200);
        }
    });
}

// Holds LR-1
#[test]
fn refuses_another_protocol_than_http_3() {
    let server = Server::start(1);
    run(async move {
        let error = Client::speaking(&server, b"hq-interop").try_connect().await.unwrap_err();
        assert!(
            error.to_string().contains("no application protocol") || error.to_string().contains("120"),
            "{error}"
        );
    });
}

#[test]
fn tls_that_quic_cannot_do_is_refused_and_early_data_never_taken() {
    let secrets = Secrets::random();
    let (tls, _) = server::certificate(&[&rustls::version::TLS12]);
    assert!(Settings::new(&tls, &secrets).is_err_and(|error| error.to_string().contains("TLS 1.3")));
    let (mut tls, _) = server::certificate(&[&rustls::version::TLS13]);
    tls.max_early_data_size = u32::MAX;
    assert!(Settings::new(&tls, &secrets).is_ok());
}

#[test]
fn names_the_versions_it_speaks() {
    let server = Server::start(2);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    // RFC 9000 section 6: a version reserved to be unknown.
    let mut hello = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 9, 9, 9];
    hello.resize(1200, 0);
    client.send_to(&hello, server.address).unwrap();
    let mut answer = [0; 1500];
    let (length, from) = client.recv_from(&mut answer).unwrap();
    let answer = &answer[..length];
    assert_eq!(from, server.address);
    assert!(answer[0] & 0x80 != 0 && answer[1..5] == [0; 4], "{answer:?}");
    assert_eq!(answer[5..19], [4, 9, 9, 9, 9, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(answer[19..].chunks(4).any(|version| version == [0, 0, 0, 1]), "{answer:?}");
}

// Holds LR-28
#[test]
fn garbage_and_short_first_datagrams_leave_nothing_behind() {
    let server = Server::start(1);
    run(async move {
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut random = 7u32;
        for length in (1..1500).step_by(7) {
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8 & 0x7f
            })
            .take(length)
            .collect();
            stranger.send_to(&noise, server.address).unwrap();
        }
        // A first datagram as clients send it, but for its length; from a socket of its own, since the noise may be answered
        // by a stateless reset.
        let short = UdpSocket::bind("127.0.0.1:0").unwrap();
        short.set_nonblocking(true).unwrap();
        let mut hello = vec![0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0];
        hello.resize(1199, 0);
        short.send_to(&hello, server.address).unwrap();
        // One socket, so that this comes after all of it.
        let client = Client::new(&server);
        let mut requests = client.connect().await.requests().await;
        assert_eq!(&requests.get("/connections").await.body[..], b"1");
        let error = short.recv_from(&mut [0; 1500]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    });
}

#[test]
fn an_endpoint_takes_other_certificates_without_disturbing_connections() {
    let server = Server::start(1);
    run(async move {
        let before = Client::new(&server);
        let connection = before.connect().await;
        let mut requests = connection.requests().await;
        assert_eq!(requests.get("/head").await.status, 200);
        let after = server.replace_certificate().await;
        assert!(before.try_connect().await.is_err(), "the certificate known is no longer shown");
        assert_eq!(requests.get("/head").await.status, 200);
        let client = Client::trusting(&server, &after);
        assert_eq!(client.connect().await.requests().await.get("/head").await.status, 200);
    });
}
