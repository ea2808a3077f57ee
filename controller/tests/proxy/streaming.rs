//! Bodies that are larger than any buffer, in both directions, and servers that answer before the end.

use crate::harness::{Balancer, PATIENCE, Server, header};
use std::io::{BufRead, Read, Write};
use std::sync::mpsc::channel;

const LARGE: usize = 100 << 20;

/// Byte `at` of the test body: no period that buffers have.
fn pattern(at: usize) -> u8 {
    ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Writes the body in pieces of odd sizes, as chunks if asked.
fn write_body(mut sink: impl Write, chunked: bool) -> std::io::Result<()> {
    let (mut at, mut piece) = (0, 1);
    let mut bytes = Vec::new();
    while at < LARGE {
        let size = piece.min(LARGE - at);
        bytes.clear();
        if chunked {
            write!(bytes, "{size:x}\r\n")?;
        }
        bytes.extend((at..at + size).map(pattern));
        if chunked {
            bytes.extend_from_slice(b"\r\n");
        }
        sink.write_all(&bytes)?;
        at += size;
        piece = piece * 3 % 1_000_003;
    }
    sink.write_all(if chunked { b"0\r\nX-Sum: 1\r\n\r\n" } else { b"" })
}

/// Reads the body and tells whether every byte is right and none is missing.
fn is_whole(mut source: impl BufRead, chunked: bool) -> bool {
    let mut at = 0;
    let mut buffer = vec![0; 1 << 16];
    let mut left = if chunked { 0 } else { LARGE };
    loop {
        if chunked && left == 0 {
            let mut line = String::new();
            source.read_line(&mut line).unwrap();
            left = usize::from_str_radix(line.trim(), 16).unwrap();
            if left == 0 {
                line.clear();
                source.read_line(&mut line).unwrap();
                assert_eq!(line, "X-Sum: 1\r\n", "the trailer passed");
                return at == LARGE;
            }
        }
        let size = left.min(buffer.len());
        source.read_exact(&mut buffer[..size]).unwrap();
        if !buffer[..size].iter().enumerate().all(|(offset, &byte)| byte == pattern(at + offset)) {
            return false;
        }
        at += size;
        left -= size;
        if chunked && left == 0 {
            source.read_exact(&mut buffer[..2]).unwrap();
        }
        if !chunked && left == 0 {
            return true;
        }
    }
}

fn streams_unchanged(chunked: bool) {
    let framing =
        if chunked { "Transfer-Encoding: chunked".to_string() } else { format!("Content-Length: {LARGE}") };
    let down = framing.clone();
    let server = Server::new(move |connection, _| {
        while let Some(head) = connection.head() {
            if head.starts_with("GET") {
                connection.send(format!("HTTP/1.1 200 OK\r\n{down}\r\n\r\n"));
                write_body(&connection.stream, chunked).unwrap();
            } else {
                let whole = is_whole(connection.reader(), chunked);
                if chunked {
                    connection.reader().read_line(&mut String::new()).unwrap();
                }
                connection.answer(if whole { "whole" } else { "damaged" });
            }
        }
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    assert!(is_whole(client.reader(), chunked), "download");
    let mut client = balancer.client();
    client.send(&format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
    write_body(&client.stream, chunked).unwrap();
    assert_eq!(client.response(false).text(), "whole", "upload");
    // The connection is good for another request on both sides.
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 OK"));
    assert_eq!(balancer.stats.servers()[&1].connect_failures, 0);
}

#[test]
fn streams_100_mb_both_ways_unchanged() {
    streams_unchanged(false);
}

#[test]
fn streams_100_mb_in_chunks_both_ways_unchanged() {
    streams_unchanged(true);
}

#[test]
fn a_slow_reader_holds_the_server_back() {
    let (sent, total) = channel();
    let sent = std::sync::Mutex::new(sent);
    let server = Server::new(move |connection, _| {
        connection.request();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        // Blocked for a second means that everything between here and the client's window is full.
        connection.stream.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        let mut written = 0;
        while let Ok(count @ 1..) = connection.stream.write(&[0; 65536]) {
            written += count;
        }
        sent.lock().unwrap().send(written).unwrap();
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    let written = total.recv_timeout(PATIENCE).unwrap();
    assert!(written < LARGE / 2, "{written} bytes were taken off a server whose client reads nothing");
}

#[test]
fn passes_an_early_answer_on_and_closes() {
    let server = Server::new(|connection, _| {
        connection.head();
        connection.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
        connection.head();
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    client.send(&format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\nsome of it"));
    let response = client.response(false);
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
    assert_eq!(response.header("connection"), Some("close"));
    client.expect_closed();
}

#[test]
fn passes_bytes_on_while_the_request_is_still_being_sent() {
    // An echo: each answer byte comes before the next request byte is sent.
    let server = Server::new(|connection, _| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
        for _ in 0..3 {
            let mut byte = [0];
            connection.reader().read_exact(&mut byte).unwrap();
            connection.send(byte);
        }
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    client.head();
    for byte in ["a", "b", "c"] {
        client.send(byte);
        let mut echo = [0];
        client.reader().read_exact(&mut echo).unwrap();
        assert_eq!(echo, byte.as_bytes());
    }
}

#[test]
fn passes_100_continue_on_to_a_client_that_waits_for_it() {
    let server = Server::new(|connection, _| {
        let head = connection.head().unwrap();
        assert_eq!(header(&head, "expect"), Some("100-continue"));
        connection.send("HTTP/1.1 100 Continue\r\n\r\n");
        let mut body = [0; 3];
        connection.reader().read_exact(&mut body).unwrap();
        connection.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
        connection.answer(std::str::from_utf8(&body).unwrap());
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    assert_eq!(client.head(), "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    assert_eq!(client.response(false).text(), "abc");
}

#[test]
fn skips_100_continue_for_a_client_that_did_not_ask() {
    let server = Server::new(|connection, _| {
        connection.request();
        connection.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
    });
    let balancer = Balancer::new(&[server.address]);
    assert_eq!(balancer.get("/").text(), "x");
}

#[test]
fn passes_a_body_that_ends_by_closing_on() {
    let server = Server::new(|connection, _| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    });
    let balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(header(&client.head(), "connection"), Some("close"));
    assert_eq!(client.rest(), (b"until the end".to_vec(), true));
    drop(client);
    assert_eq!(balancer.into_log()[0]["status"], 200);
}

#[test]
fn a_server_that_sends_interim_responses_without_end_keeps_the_worker_from_nothing() {
    let server = Server::new(|connection, _| {
        while let Some(request) = connection.request() {
            if request.head.starts_with("GET /flood ") {
                // Nobody expects them, so that nothing is sent to the client, which could slow them down.
                let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000);
                while connection.stream.write_all(many.as_bytes()).is_ok() {}
                return;
            }
            connection.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(1000));
            connection.answer("after all");
        }
    });
    let balancer = Balancer::new(&[server.address]);
    assert_eq!(balancer.get("/flood").status, 502);
    let mut client = balancer.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..1000 {
        assert_eq!(client.head(), "HTTP/1.1 102 Processing\r\n\r\n");
    }
    assert_eq!(client.response(false).text(), "after all");
}
