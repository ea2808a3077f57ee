//! Status codes of the balancer's own (LR section 6), retries (LR-124) and connections that end.

use crate::harness::{Balancer, Server, refusing, silent};
use std::io::{BufRead, Read};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

// Holds LR-120
#[test]
fn refuses_malformed_requests_and_closes() {
    let server = Server::named("a");
    let balancer = Balancer::new(&[server.address]);
    let long = "x".repeat(33_000);
    let rows = [
        ("GET / HTTP/1.1\r\n\r\n".to_string(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".into(), 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .into(),
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(), 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n".into(), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 400),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n".into(), 505),
    ];
    for (text, status) in &rows {
        let mut client = balancer.client();
        let response = client.request(text);
        assert_eq!(response.status, *status, "{text:.80}");
        assert_eq!(response.header("server"), Some("causeway"));
        assert_eq!(response.header("connection"), Some("close"));
        assert!(response.text().contains(&format!("<h1>{status} ")));
        client.expect_closed();
    }
    let log = balancer.into_log();
    let logged: Vec<u64> = log.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    let sent: Vec<u64> = rows.iter().map(|row| u64::from(row.1)).collect();
    assert_eq!(logged, sent);
    assert!(log.iter().all(|line| line["error_source"] == "client" && line["upstream_status"] == "-"));
    assert!(
        server.noted().iter().all(|head| !head.contains("Content-Length")),
        "nothing refused was forwarded"
    );
}

// Holds SG-94, LR-120
#[test]
fn answers_503_without_servers_and_keeps_the_connection() {
    let balancer = Balancer::new(&[]);
    let mut client = balancer.client();
    assert_eq!(client.request(GET).status, 503);
    let head = client.request("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.status, head.header("content-length").is_some()), (503, true));
    assert_eq!(client.request(GET).status, 503);
    drop(client);
    let log = balancer.into_log();
    assert_eq!((log.len(), &log[0]["error_source"]), (3, &"us".into()));
}

// Holds LR-120
#[test]
fn answers_502_when_every_server_refuses() {
    for servers in [vec![refusing()], vec![refusing(), refusing()]] {
        let balancer = Balancer::new(&servers);
        assert_eq!(balancer.get("/").status, 502);
        let log = balancer.into_log();
        assert_eq!(log[0]["error_source"], "server");
        assert_eq!(log[0]["retries"], servers.len() - 1);
    }
}

#[test]
fn blames_itself_when_a_local_address_is_missing_and_goes_on_with_the_next() {
    let server = Server::named("x");
    let balancer = Balancer::with(&[server.address], 1, |snapshot| {
        snapshot.listeners[0].local_addresses =
            vec!["192.0.2.1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
    });
    assert_eq!(balancer.get("/").text(), "x");
    let balancer = Balancer::with(&[server.address], 1, |snapshot| {
        snapshot.listeners[0].local_addresses = vec!["192.0.2.1".parse().unwrap()];
    });
    assert_eq!(balancer.get("/").status, 502);
    let stats = balancer.stats.clone();
    assert_eq!(balancer.into_log()[0]["error_source"], "us");
    assert_eq!(stats.servers()[&1].connect_failures, 0);
}

// Holds LR-124
#[test]
fn a_refusing_server_costs_no_request() {
    let good = Server::named("good");
    let balancer = Balancer::new(&[refusing(), good.address]);
    for number in 0..100 {
        let response = match number % 2 {
            0 => balancer.get("/"),
            _ => balancer.client().request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
        };
        assert_eq!((response.status, response.text().as_str()), (200, "good"));
    }
    let stats = balancer.stats.clone();
    balancer.into_log();
    assert_eq!(stats.servers()[&1].connect_failures, 50);
    assert_eq!(stats.servers()[&2].responses, [0, 100, 0, 0, 0]);
}

#[test]
fn second_attempts_do_not_fill_the_pool() {
    let (closed, closings) = channel();
    let good = Server::new(move |connection, _| {
        while connection.request().is_some() {
            connection.answer("good");
        }
        let _ = closed.send(connection.number);
    });
    let balancer = Balancer::new(&[refusing(), good.address]);
    for _ in 0..20 {
        assert_eq!(balancer.get("/").text(), "good");
    }
    // Ten second attempts, each on a connection of its own; the first is kept and serves the ten first attempts.
    let closed: Vec<usize> =
        (1..10).map(|_| closings.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    assert!(!closed.contains(&0), "{closed:?}");
    assert!(closings.try_recv().is_err());
}

#[test]
fn a_silent_server_costs_time_but_no_request() {
    let (address, _kept) = silent();
    let good = Server::named("good");
    let balancer = Balancer::with(&[address, good.address], 1, |snapshot| {
        snapshot.listeners[0].request_timeout_ms = 400;
    });
    assert_eq!(balancer.get("/").text(), "good");
    assert_eq!(balancer.get("/").text(), "good");
    let log = balancer.into_log();
    assert_eq!(log.iter().map(|line| line["retries"].as_u64().unwrap()).sum::<u64>(), 1);
}

// Holds LR-53, LR-120
#[test]
fn answers_504_when_no_server_answers_a_syn() {
    let (address, _kept) = silent();
    let balancer = Balancer::with(&[address], 1, |snapshot| snapshot.listeners[0].request_timeout_ms = 300);
    assert_eq!(balancer.get("/").status, 504);
}

// Holds LR-12, LR-120
#[test]
fn answers_504_when_a_server_takes_too_long() {
    let server = Server::new(|connection, _| {
        connection.request();
        // Until the balancer closes.
        connection.head();
    });
    let balancer =
        Balancer::with(&[server.address], 1, |snapshot| snapshot.listeners[0].request_timeout_ms = 300);
    let mut client = balancer.client();
    assert_eq!(client.request(GET).status, 504);
    // With the whole request read, the client's connection is still good.
    assert_eq!(client.request(GET).status, 504);
}

// Holds LR-12, LR-120
#[test]
fn answers_408_to_a_head_that_does_not_end_in_time_however_it_drips() {
    let server = Server::named("a");
    let balancer =
        Balancer::with(&[server.address], 1, |snapshot| snapshot.listeners[0].request_timeout_ms = 300);
    let mut client = balancer.client();
    let begin = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    client.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    // The read waits for the answer; each time it does not come, another byte is dripped.
    let mut byte = [0];
    while let Err(error) = client.stream.read(&mut byte) {
        assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(10), "the drip kept the connection open");
        client.send("y");
    }
    assert_eq!(byte, *b"H");
    assert!(client.head().starts_with("TTP/1.1 408 "));
}

#[test]
fn answers_408_to_a_body_that_stalls() {
    let server = Server::named("a");
    let balancer =
        Balancer::with(&[server.address], 1, |snapshot| snapshot.listeners[0].request_timeout_ms = 300);
    let mut client = balancer.client();
    let response = client.request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!((response.status, response.header("connection")), (408, Some("close")));
    client.expect_closed();
}

// Holds LR-11
#[test]
fn closes_idle_connections_without_a_word() {
    let server = Server::named("a");
    let balancer =
        Balancer::with(&[server.address], 1, |snapshot| snapshot.listeners[0].idle_timeout_ms = 200);
    let mut unused = balancer.client();
    unused.expect_closed();
    let mut used = balancer.client();
    assert_eq!(used.request(GET).status, 200);
    used.expect_closed();
    assert_eq!(balancer.into_log().len(), 1);
}

#[test]
fn answers_502_to_ambiguous_or_malformed_responses_and_never_reuses_the_connection() {
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "220 smtp\r\n",
    ] {
        let server = Server::new(move |connection, notes| {
            while connection.request().is_some() {
                notes.lock().unwrap().push(format!("connection {}", connection.number));
                connection.send(bad);
            }
        });
        let balancer = Balancer::new(&[server.address]);
        let mut client = balancer.client();
        assert_eq!(client.request(GET).status, 502, "{bad:?}");
        assert_eq!(client.request(GET).status, 502, "{bad:?}");
        assert_eq!(server.noted(), ["connection 0", "connection 1"], "{bad:?}");
    }
}

#[test]
fn does_not_reuse_a_connection_with_bytes_beyond_the_response() {
    let server = Server::new(|connection, _| {
        while connection.request().is_some() {
            let body = connection.number.to_string();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{body}HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nX"
            ));
        }
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    assert_eq!([client.request(GET).text(), client.request(GET).text()], ["0", "1"]);
}

// Holds SG-102, LR-124
#[test]
fn repeats_an_idempotent_request_when_a_kept_connection_died_but_never_another() {
    // Each connection answers once and closes on the second request without an answer.
    let server = Server::new(|connection, notes| {
        if connection.request().is_some() {
            connection.answer("first");
        }
        if let Some(request) = connection.request() {
            notes.lock().unwrap().push(request.head.lines().next().unwrap().to_string());
        }
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    assert_eq!(client.request(GET).text(), "first");
    assert_eq!(client.request(GET).text(), "first");
    assert_eq!(server.noted(), ["GET / HTTP/1.1"]);
    let response = client.request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(response.status, 502);
    assert_eq!(server.noted(), ["GET / HTTP/1.1", "POST / HTTP/1.1"]);
    drop(client);
    let log = balancer.into_log();
    let retries: Vec<u64> = log.iter().map(|line| line["retries"].as_u64().unwrap()).collect();
    assert_eq!(retries, [0, 1, 0]);
}

// Holds SG-102, LR-122
#[test]
fn a_new_connection_that_dies_is_502_and_not_repeated() {
    let server = Server::new(|connection, notes| {
        connection.request();
        notes.lock().unwrap().push("request".into());
    });
    let balancer = Balancer::new(&[server.address]);
    assert_eq!(balancer.get("/").status, 502);
    assert_eq!(server.noted().len(), 1);
}

// Holds LR-122
#[test]
fn a_response_cut_by_the_server_never_looks_complete() {
    for (head, chunked) in [("Content-Length: 10", false), ("Transfer-Encoding: chunked", true)] {
        let server = Server::new(move |connection, _| {
            connection.request();
            let body = if chunked { "5\r\nhello\r\n" } else { "hello" };
            connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"));
        });
        let balancer = Balancer::new(&[server.address]);
        let mut client = balancer.client();
        client.send(GET);
        assert!(client.head().starts_with("HTTP/1.1 200 OK"));
        let (rest, _) = client.rest();
        assert_eq!(rest, if chunked { b"5\r\nhello\r\n".as_slice() } else { b"hello" });
        let log = balancer.into_log();
        assert_eq!((&log[0]["status"], &log[0]["upstream_status"]), (&500.into(), &"200".into()));
    }
    // A body that ends by closing can only be told from a cut one by a reset.
    let server = Server::new(|connection, _| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\n\r\nhello");
        let socket = socket2::SockRef::from(&connection.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        connection.reader().read_line(&mut String::new()).unwrap_or_default();
    });
    let balancer = Balancer::with(&[server.address], 1, |snapshot| {
        snapshot.listeners[0].request_timeout_ms = 300;
    });
    let mut client = balancer.client();
    client.send(GET);
    client.head();
    assert!(!client.rest().1, "the connection ended as if the body were whole");
}

#[test]
fn a_client_that_leaves_is_noticed_by_the_server() {
    let (gone, noticed) = channel();
    let (arrived, started) = channel();
    let (gone, arrived) = (std::sync::Mutex::new(gone), std::sync::Mutex::new(arrived));
    let server = Server::new(move |connection, _| {
        connection.request();
        arrived.lock().unwrap().send(()).unwrap();
        assert_eq!(connection.head(), None);
        gone.lock().unwrap().send(()).unwrap();
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    client.send(GET);
    started.recv_timeout(crate::harness::PATIENCE).unwrap();
    drop(client);
    noticed.recv_timeout(crate::harness::PATIENCE).unwrap();
    let log = balancer.into_log();
    assert_eq!((&log[0]["status"], &log[0]["error_source"]), (&499.into(), &"client".into()));
}

// Holds LR-120
#[test]
fn a_client_that_leaves_within_its_request_is_logged_as_400() {
    let balancer = Balancer::new(&[refusing()]);
    let mut client = balancer.client();
    client.send("GET / HT");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    client.expect_closed();
    assert_eq!(balancer.into_log()[0]["status"], 400);
}
