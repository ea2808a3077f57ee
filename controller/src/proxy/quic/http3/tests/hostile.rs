//! Clients that break HTTP/3: frames written by hand.

use super::super::frame::{DATA, GOAWAY, HEADERS, SETTINGS, push_frame, push_number};
use super::super::qpack::decode;
use super::client::Client;
use super::server::Server;
use super::{Limits, SECOND_NS, run};
use quinn::{Connection, ConnectionError, ReadToEndError, RecvStream, SendStream};

/// A GET of `/head` in a section: `:method`, `:scheme`, `:authority`, `:path`.
fn get() -> Vec<u8> {
    let mut section = vec![0, 0, 0xc0 | 17, 0xc0 | 23, 0x50, 9];
    section.extend_from_slice(b"localhost");
    section.extend_from_slice(&[0x51, 5]);
    section.extend_from_slice(b"/head");
    section
}

/// The same as POST to `/echo`, with a Content-Length.
fn post(length: &str) -> Vec<u8> {
    let mut section = vec![0, 0, 0xc0 | 20, 0xc0 | 23, 0x50, 9];
    section.extend_from_slice(b"localhost");
    section.extend_from_slice(&[0x51, 5]);
    section.extend_from_slice(b"/echo");
    section.extend_from_slice(&[0x54, length.len() as u8]);
    section.extend_from_slice(length.as_bytes());
    section
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    push_frame(&mut frame, kind, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// The beginning of a frame that says it is longer than what follows.
fn announced(kind: u64, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    push_number(&mut frame, kind);
    push_number(&mut frame, length);
    frame.extend_from_slice(payload);
    frame
}

async fn send(connection: &Connection, bytes: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, receive) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    (send, receive)
}

fn code(error: &ConnectionError) -> u64 {
    match error {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

// Holds LR-1
#[test]
fn what_breaks_a_request_stream_ends_the_connection_with_its_code() {
    let server = Server::start(1);
    run(async move {
        let head = frame(HEADERS, &get());
        let cases = [
            ("data first", frame(DATA, b"x"), 0x105),
            ("settings", frame(SETTINGS, &[]), 0x105),
            ("settings after the head", [frame(HEADERS, &post("1")), frame(SETTINGS, &[])].concat(), 0x105),
            ("push promise", [frame(HEADERS, &post("1")), frame(0x5, &[0])].concat(), 0x105),
            ("of HTTP/2", frame(0x2, &[0]), 0x105),
            (
                "data after trailers",
                [frame(HEADERS, &post("0")), frame(HEADERS, &[0, 0]), frame(DATA, b"x")].concat(),
                0x105,
            ),
            ("cut in a head", announced(HEADERS, 50, &get()), 0x106),
            ("cut in data", [frame(HEADERS, &post("9")), announced(DATA, 9, b"123")].concat(), 0x106),
            ("cut in a type", [head.clone(), vec![0x40]].concat(), 0x106),
            ("dynamic table", frame(HEADERS, &[1, 0, 0x80]), 0x200),
            (
                "trailers that cannot be read",
                [frame(HEADERS, &post("0")), frame(HEADERS, &[9])].concat(),
                0x200,
            ),
        ];
        for (name, bytes, expected) in cases {
            let client = Client::new(&server);
            let connection = client.try_connect().await.unwrap();
            let (mut sending, _receive) = send(&connection, &bytes).await;
            sending.finish().unwrap();
            assert_eq!(code(&connection.closed().await), expected, "{name}");
        }
    });
}

// Holds LR-1
#[test]
fn what_breaks_a_critical_stream_ends_the_connection_with_its_code() {
    let server = Server::start(1);
    run(async move {
        let control = |frames: &[Vec<u8>]| [vec![0], frames.concat()].concat();
        let settings = frame(SETTINGS, &[]);
        let cases = [
            ("no settings", control(&[frame(GOAWAY, &[0])]), false, 0x10a),
            ("settings twice", control(&[settings.clone(), settings.clone()]), false, 0x105),
            ("setting of HTTP/2", control(&[frame(SETTINGS, &[2, 0])]), false, 0x109),
            ("data on control", control(&[settings.clone(), frame(DATA, b"x")]), false, 0x105),
            ("long settings", control(&[announced(SETTINGS, 5000, &[])]), false, 0x107),
            (
                "goaway grows",
                control(&[settings.clone(), frame(GOAWAY, &[1]), frame(GOAWAY, &[2])]),
                false,
                0x108,
            ),
            (
                "push ids shrink",
                control(&[settings.clone(), frame(0xd, &[2]), frame(0xd, &[1])]),
                false,
                0x108,
            ),
            ("cancels a push", control(&[settings.clone(), frame(0x3, &[0])]), false, 0x108),
            ("goaway of no number", control(&[settings.clone(), frame(GOAWAY, &[1, 1])]), false, 0x106),
            ("control ends", control(&[settings]), true, 0x104),
            ("encoder ends", vec![2], true, 0x104),
            ("encoder inserts", vec![2, 0xc1, 0], false, 0x201),
            ("decoder acknowledges", vec![3, 0x80], false, 0x202),
            ("pushes", vec![1, 0], false, 0x103),
        ];
        for (name, bytes, ends, expected) in cases {
            let client = Client::new(&server);
            let connection = client.try_connect().await.unwrap();
            let mut sending = connection.open_uni().await.unwrap();
            sending.write_all(&bytes).await.unwrap();
            if ends {
                sending.finish().unwrap();
            }
            assert_eq!(code(&connection.closed().await), expected, "{name}");
        }
        let connection = Client::new(&server).try_connect().await.unwrap();
        let mut both = Vec::new();
        for _ in 0..2 {
            let mut stream = connection.open_uni().await.unwrap();
            stream.write_all(&[2]).await.unwrap();
            both.push(stream);
        }
        assert_eq!(code(&connection.closed().await), 0x103, "two encoders");
    });
}

// Holds LR-1, LR-50
#[test]
fn what_breaks_a_message_ends_its_stream_alone() {
    let server = Server::start(1);
    run(async move {
        let connection = Client::new(&server).try_connect().await.unwrap();
        let cases = [
            ("too little", [frame(HEADERS, &post("9")), frame(DATA, b"12345678")].concat(), Some(0x10e)),
            ("too much", [frame(HEADERS, &post("3")), frame(DATA, b"1234")].concat(), Some(0x10e)),
            (
                "trailers with a path",
                [frame(HEADERS, &post("0")), frame(HEADERS, &[0, 0, 0xc1])].concat(),
                Some(0x10e),
            ),
            ("nothing", vec![], Some(0x10d)),
            // Answered, and the rest not asked for.
            ("a head too long", announced(HEADERS, 1 << 40, &[0; 70_000]), None),
            ("a list too long", frame(HEADERS, &[&[0, 0][..], &[0xff, 22].repeat(20_000)].concat()), None),
            ("no path", frame(HEADERS, &[0, 0, 0xc0 | 17, 0xc0 | 23]), None),
        ];
        for (name, bytes, reset) in cases {
            let (mut sending, mut receive) = connection.open_bi().await.unwrap();
            // The server may stop the stream before it has all.
            let _ = sending.write_all(&bytes).await;
            let _ = sending.finish();
            let read = receive.read_to_end(1 << 20).await;
            match (reset, &read) {
                (Some(expected), Err(ReadToEndError::Read(quinn::ReadError::Reset(code)))) => {
                    assert_eq!(code.into_inner(), expected, "{name}");
                }
                (None, Ok(response)) => {
                    // HEADERS, a section without a dynamic table, and `:status` 400, which is in the static one.
                    assert_eq!(response[2..], [0, 0, 0xff, 67 - 63], "{name}");
                }
                _ => panic!("{name}: {read:?}"),
            }
        }
        assert!(connection.close_reason().is_none());
    });
}

// Holds LR-1
#[test]
fn what_means_nothing_is_skipped() {
    let server = Server::start(1);
    run(async move {
        let connection = Client::new(&server).try_connect().await.unwrap();
        let grease = frame(0x21 + 0x1f * 5, &[7; 100_000]);
        let mut unknown = connection.open_uni().await.unwrap();
        unknown.write_all(&[0x21, 1, 2, 3]).await.unwrap();
        let stopped = unknown.stopped().await.unwrap();
        assert_eq!(stopped.map(quinn::VarInt::into_inner), Some(0x103));
        let bytes = [&grease, &frame(HEADERS, &get()), &grease].map(|frame| &frame[..]).concat();
        let (mut sending, mut receive) = send(&connection, &bytes).await;
        sending.finish().unwrap();
        let response = receive.read_to_end(1 << 20).await.unwrap();
        let response = String::from_utf8_lossy(&response);
        // What follows the head is no body.
        assert!(response.contains("GET /head HTTP/1.1") && !response.contains("chunked"), "{response}");
        let bytes =
            [frame(HEADERS, &post("4")), grease.clone(), frame(DATA, b"12"), grease, frame(DATA, b"34")];
        let (mut sending, mut receive) = send(&connection, &bytes.concat()).await;
        sending.finish().unwrap();
        let response = receive.read_to_end(1 << 20).await.unwrap();
        assert!(response.ends_with(b"34"), "{response:?}");
    });
}

// Holds LR-12
#[test]
fn a_head_that_does_not_come_is_answered_408() {
    let limits = Limits { head_ns: SECOND_NS / 20, ..Limits::new(60 * SECOND_NS, 0, None) };
    let server = Server::with(1, limits, |_| {});
    run(async move {
        let connection = Client::new(&server).try_connect().await.unwrap();
        // In a frame, before any, and a GET whose end never comes.
        for bytes in [announced(HEADERS, 50, &get()), vec![0x40], frame(HEADERS, &get())] {
            let (_sending, mut receive) = send(&connection, &bytes).await;
            let answer = receive.read_to_end(1 << 20).await.unwrap();
            let mut status = Vec::new();
            // A frame of less than 64 bytes: its type, its length, the section.
            assert_eq!((u64::from(answer[0]), usize::from(answer[1])), (HEADERS, answer.len() - 2));
            decode(&answer[2..], 1000, |name, value| {
                if name == b":status" {
                    status = value.to_vec();
                }
            })
            .unwrap();
            assert_eq!(status, b"408");
        }
    });
}

// Holds LR-1
#[test]
fn heads_of_a_connection_are_bounded_together() {
    let server = Server::start(1);
    run(async move {
        let connection = Client::new(&server).try_connect().await.unwrap();
        // 60,000 bytes each and never whole.
        let mut open = Vec::new();
        let mut rejected = 0;
        for _ in 0..40 {
            let mut streams = send(&connection, &announced(HEADERS, 60_000, &[0])).await;
            // Accepted ones stay silent, so only what was rejected is awaited: those past a megabyte.
            if open.len() >= 17 {
                match streams.1.read_to_end(100).await {
                    Err(ReadToEndError::Read(quinn::ReadError::Reset(code))) => {
                        assert_eq!(code.into_inner(), 0x10b);
                        rejected += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            open.push(streams);
        }
        assert_eq!(rejected, 40 - 17);
        // What is given up makes room.
        for (mut sending, _) in open.drain(..5) {
            sending.reset(0x10cu32.into()).unwrap();
        }
        let (mut sending, mut receive) = send(&connection, &frame(HEADERS, &get())).await;
        sending.finish().unwrap();
        assert!(receive.read_to_end(1000).await.is_ok());
    });
}
