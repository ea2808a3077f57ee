//! Copies of requests, and peers that would keep a worker to themselves.

use crate::harness::{PATIENCE, Server, header};
use crate::rules::{balancer, fixed, forward, get, insert, path, rule, text};
use controller::model::{Extension, Final};
use std::io::{Read, Write};
use std::sync::mpsc::channel;

// Holds LR-106
#[test]
fn a_mirror_gets_a_copy_that_nobody_waits_for() {
    let server = Server::named("main");
    let (copies, copied) = channel();
    let copies = std::sync::Mutex::new(copies);
    // It reads the copy and never answers.
    let mirror = Server::new(move |connection, _| {
        if let Some(request) = connection.request() {
            copies.lock().unwrap().send(request).unwrap();
            let _ = connection.reader().read(&mut [0]);
        }
    });
    let balancer = balancer(&[&server, &mirror], |snapshot| {
        let extensions = vec![Extension::TrafficMirror { group: 1 }, insert("X-A", text("b"), true)];
        snapshot.listeners[0].rules = vec![rule("m", vec![path(&["/*"])], extensions, forward(&[(0, 100)]))];
    });
    let response = balancer.client().request("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(response.text(), "main");
    let copy = copied.recv_timeout(PATIENCE).unwrap();
    assert_eq!((copy.body.as_slice(), header(&copy.head, "x-a")), (&b"hello"[..], Some("b")));
    assert_eq!(header(&copy.head, "connection"), Some("close"));
    assert_eq!(balancer.stats.mirrors_dropped(), 0);
    // Too long to be copied: the request itself goes through.
    let long = "x".repeat(70_000);
    let request = format!("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{long}", long.len());
    assert_eq!(balancer.client().request(&request).text(), "main");
    assert_eq!(get(&balancer, "/after", "").text(), "main");
    assert_eq!(copied.recv_timeout(PATIENCE).unwrap().head.lines().next(), Some("GET /after HTTP/1.1"));
    assert_eq!(balancer.stats.mirrors_dropped(), 1);
}

#[test]
fn a_client_that_asks_without_end_keeps_the_worker_from_nothing() {
    let server = Server::named("main");
    let balancer = balancer(&[&server], |snapshot| {
        let answer = Final::FixedResponse(fixed(200, "here"));
        snapshot.listeners[0].rules = vec![rule("f", vec![path(&["/f"])], vec![], answer)];
    });
    let asking = std::net::TcpStream::connect(balancer.address).unwrap();
    let (mut requests, mut answers) = (asking.try_clone().unwrap(), asking.try_clone().unwrap());
    let sender = std::thread::spawn(move || {
        let many = "GET /f HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000);
        while requests.write_all(many.as_bytes()).is_ok() {}
    });
    let (first, is_asking) = channel();
    let reader = std::thread::spawn(move || {
        let mut piece = vec![0; 1 << 20];
        while matches!(answers.read(&mut piece), Ok(1..)) {
            // Nobody waits for more than the first.
            let _ = first.send(());
        }
    });
    is_asking.recv_timeout(PATIENCE).unwrap();
    for _ in 0..10 {
        assert_eq!(get(&balancer, "/other", "").text(), "main");
    }
    asking.shutdown(std::net::Shutdown::Both).unwrap();
    sender.join().unwrap();
    reader.join().unwrap();
}

// Holds LR-106
#[test]
fn a_mirror_that_answers_without_end_keeps_the_worker_from_nothing() {
    let server = Server::named("main");
    let mirror = Server::new(|connection, _| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\n\r\n");
        let piece = vec![b'x'; 1 << 20];
        while connection.stream.write_all(&piece).is_ok() {}
    });
    let balancer = balancer(&[&server, &mirror], |snapshot| {
        let extensions = vec![Extension::TrafficMirror { group: 1 }];
        snapshot.listeners[0].rules = vec![rule("m", vec![path(&["/m"])], extensions, forward(&[(0, 100)]))];
    });
    for _ in 0..4 {
        assert_eq!(get(&balancer, "/m", "").text(), "main");
    }
    for _ in 0..50 {
        assert_eq!(get(&balancer, "/other", "").text(), "main");
    }
}
