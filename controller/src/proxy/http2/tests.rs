//! Clients of all kinds, on sockets of their own: h2's, and hostile ones that write frames by hand.

use super::*;
use crate::proxy::http1::head::RequestHead;
use crate::proxy::reactor::{self, TcpListener};
use crate::proxy::stream::{Reset, Stream, response_of};
use bytes::Bytes;
use http::{HeaderMap, Response};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;

mod bounds;

const IDLE_NS: u64 = 3_600_000_000_000;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Serves one connection of `client`, which runs on a thread of its own, until it is over.
fn serve_one<C: Send + 'static>(
    limits: Limits,
    is_closing: impl Fn() -> bool + 'static,
    on_request: impl Fn(Incoming) + 'static,
    client: impl FnOnce(TcpStream) -> C + Send + 'static,
) -> C {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let client = std::thread::spawn(move || client(TcpStream::connect(address).unwrap()));
    reactor::run(async move {
        let listener = TcpListener::new(listener).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, limits, is_closing, on_request).await;
    })
    .unwrap();
    client.join().unwrap()
}

fn with_raw<C: Send + 'static>(client: impl FnOnce(Raw) -> C + Send + 'static) -> C {
    let limits = Limits::new(IDLE_NS, None);
    serve_one(
        limits,
        || false,
        |incoming| reactor::spawn(answer(incoming)),
        |stream| client(Raw::new(stream)),
    )
}

/// Runs `client` with an h2 client's handle.
fn with_h2<C, F>(
    limits: Limits,
    is_closing: impl Fn() -> bool + 'static,
    on_request: impl Fn(Incoming) + 'static,
    client: C,
) where
    C: FnOnce(h2::client::SendRequest<Bytes>) -> F + Send + 'static,
    F: Future<Output = ()>,
{
    serve_one(limits, is_closing, on_request, |stream| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let (handle, connection) = h2::client::handshake(stream).await.unwrap();
            let driver = tokio::spawn(connection);
            client(handle).await;
            driver.abort();
        });
    });
}

async fn write_all(stream: &Rc<dyn Stream>, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, bytes)).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Answers with the status again, the request's head, its body and its trailers, or with the status it is refused with.
async fn answer(incoming: Incoming) {
    let Incoming { head, refusal, stream } = incoming;
    let mut request = RequestHead::default();
    let parsed = request.parse(&head);
    let status = match (refusal, parsed) {
        (Some(refusal), _) | (None, Err(refusal)) => refusal.status(),
        (None, Ok(Some(length))) if length == head.len() => 200,
        (None, Ok(_)) => unreachable!("the head is whole"),
    };
    let text = format!("HTTP/1.1 {status} X\r\nX-Test: yes\r\nConnection: close\r\n\r\n");
    let result: std::io::Result<()> = async {
        stream.send_head(response_of(text.as_bytes()).unwrap(), false)?;
        write_all(&stream, status.to_string().as_bytes()).await?;
        write_all(&stream, &head).await?;
        while let Some(bytes) = poll_fn(|cx| stream.poll_body(cx)).await? {
            write_all(&stream, &bytes).await?;
        }
        let mut trailers = poll_fn(|cx| stream.poll_trailers(cx)).await?;
        poll_fn(|cx| stream.poll_finish(cx, &mut trailers)).await
    }
    .await;
    // Clients that are gone need no answer.
    drop(result);
}

/// A client that writes frames by hand.
struct Raw {
    stream: TcpStream,
}

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    id: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// HPACK without compression (RFC 7541 section 6.2.3).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0x10);
        for text in [name, value] {
            if text.len() < 127 {
                out.push(text.len() as u8);
            } else {
                let rest = text.len() - 127;
                out.extend_from_slice(&[127, (rest % 128) as u8 | 128, (rest / 128 % 128) as u8 | 128]);
                out.push((rest / 128 / 128) as u8);
            }
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];

fn get(id: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&GET))
}

impl Raw {
    /// After the preface and empty settings.
    fn new(mut stream: TcpStream) -> Raw {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Raw { stream }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends `bytes` over and over, no more than the server drops after its end, and is sent away.
    fn flood(&mut self, bytes: &[u8]) {
        let bytes = bytes.repeat(LINGER_BYTES / 2 / bytes.len());
        let mut writer = self.stream.try_clone().unwrap();
        let flooding = std::thread::spawn(move || {
            writer.write_all(&bytes).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        assert_eq!(self.goodbye(), ENHANCE_YOUR_CALM);
        flooding.join().unwrap();
    }

    /// The next frame; `None` at the end.
    fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        Some(Frame { kind: head[3], flags: head[4], id, payload })
    }

    /// The next frame of one of `kinds`.
    fn wait_for(&mut self, kinds: &[u8]) -> Frame {
        loop {
            let frame = self.next().expect("the connection goes on");
            if kinds.contains(&frame.kind) {
                return frame;
            }
        }
    }

    /// How a stream ends: its reset's code, or the status that [`answer`] repeats in the body.
    fn outcome(&mut self, id: u32) -> Outcome {
        self.outcome_or(id, |reason| Some(Outcome::GoAway(reason)))
    }

    /// The same where a GOAWAY may come before.
    fn outcome_before_goodbye(&mut self, id: u32) -> Outcome {
        self.outcome_or(id, |_| None)
    }

    fn outcome_or(&mut self, id: u32, on_goodbye: impl Fn(u32) -> Option<Outcome>) -> Outcome {
        let mut body = Vec::new();
        loop {
            let Some(frame) = self.next() else { return Outcome::Closed };
            match frame.kind {
                GOAWAY => {
                    if let Some(outcome) = on_goodbye(code(&frame.payload[4..])) {
                        return outcome;
                    }
                }
                RST_STREAM if frame.id == id => return Outcome::Reset(code(&frame.payload)),
                DATA if frame.id == id => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            if frame.id == id && frame.flags & END_STREAM != 0 && matches!(frame.kind, DATA | HEADERS) {
                let status = body.get(..3).map(|digits| String::from_utf8_lossy(digits).parse());
                return Outcome::Status(status.map_or(0, |status| status.expect("a number")));
            }
        }
    }

    /// The code of the GOAWAY with which the connection ends.
    fn goodbye(&mut self) -> u32 {
        let mut last = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                last = Some(code(&frame.payload[4..]));
            }
        }
        last.expect("a GOAWAY before the end")
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Status(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

fn request(path: &str) -> http::Request<()> {
    http::Request::post(format!("https://a.example{path}")).body(()).unwrap()
}

async fn body_of(mut body: RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    (bytes, body.trailers().await.unwrap())
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let on_request = |incoming| reactor::spawn(answer(incoming));
    with_h2(
        Limits::new(IDLE_NS, None),
        || false,
        on_request,
        |mut handle| async move {
            let (response, mut body) = handle.send_request(request("/x?y"), false).unwrap();
            body.send_data(Bytes::from_static(b"hello, "), false).unwrap();
            body.send_data(Bytes::from_static(b"world"), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "7".parse().unwrap());
            body.send_trailers(trailers.clone()).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["x-test"], "yes");
            assert!(!response.headers().contains_key("connection"));
            let (bytes, received) = body_of(response.into_body()).await;
            let text =
                "200POST /x?y HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\nhello, world";
            assert_eq!(String::from_utf8(bytes).unwrap(), text);
            assert_eq!(received, Some(trailers));
        },
    );
}

#[test]
fn large_bodies_flow_on_many_streams_at_once() {
    let on_request = |incoming| reactor::spawn(answer(incoming));
    with_h2(
        Limits::new(IDLE_NS, None),
        || false,
        on_request,
        |handle| async move {
            let exchange = |number: u8, mut handle: h2::client::SendRequest<Bytes>| async move {
                let sent = vec![number; 3_000_000];
                let (response, mut body) = handle.send_request(request("/"), false).unwrap();
                let upload = async {
                    let mut left = Bytes::from(sent.clone());
                    while !left.is_empty() {
                        body.reserve_capacity(left.len());
                        let room = poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
                        let part = left.split_to(room.min(left.len()));
                        body.send_data(part, left.is_empty()).unwrap();
                    }
                };
                let download = async { body_of(response.await.unwrap().into_body()).await.0 };
                let ((), received) = tokio::join!(upload, download);
                assert!(received.ends_with(&sent), "{number}: {} bytes came back", received.len());
            };
            let all = (0..8).map(|number| exchange(number, handle.clone()));
            futures_util::future::join_all(all).await;
        },
    );
}

// Holds LR-51
#[test]
fn malformed_requests_are_refused_and_the_connection_goes_on() {
    let with = |extra: &[(&'static str, &'static str)]| {
        let mut fields = GET.to_vec();
        fields.extend_from_slice(extra);
        fields
    };
    let without = |name: &str| GET.into_iter().filter(|(field, _)| *field != name).collect::<Vec<_>>();
    let replaced = |name: &'static str, value: &'static str| {
        let mut fields = GET.to_vec();
        fields.iter_mut().filter(|(field, _)| *field == name).for_each(|field| field.1 = value);
        fields
    };
    let mut late = vec![("x-y", "z")];
    late.extend_from_slice(&GET);
    let reset = Outcome::Reset(PROTOCOL_ERROR);
    // h2 takes these for broken compression, which ends the connection.
    let broken = Outcome::GoAway(PROTOCOL_ERROR);
    let cases = [
        (with(&[("X-Upper", "x")]), &broken),
        (with(&[("x y", "x")]), &broken),
        (with(&[("", "x")]), &broken),
        (with(&[("x-y", "a\r\nb: c")]), &broken),
        (with(&[(":path", "/second")]), &reset),
        (with(&[(":method", "GET")]), &reset),
        (with(&[(":unknown", "x")]), &broken),
        (with(&[(":status", "200")]), &reset),
        (with(&[(":protocol", "websocket")]), &reset),
        (late, &reset),
        (without(":method"), &reset),
        (without(":scheme"), &reset),
        (replaced(":path", ""), &reset),
        (replaced(":path", "/a b"), &reset),
        (with(&[("connection", "close")]), &reset),
        (with(&[("transfer-encoding", "chunked")]), &reset),
        (with(&[("upgrade", "x")]), &reset),
        (with(&[("keep-alive", "x")]), &reset),
        (with(&[("proxy-connection", "x")]), &reset),
        (with(&[("te", "gzip")]), &reset),
        (with(&[("content-length", "3")]), &reset),
        (with(&[("content-length", "x")]), &reset),
        (without(":path"), &reset),
        (without(":authority"), &Outcome::Status(400)),
        (replaced(":path", "x"), &reset),
        (replaced(":path", "*"), &Outcome::Status(400)),
        (replaced(":scheme", "ftp"), &Outcome::Status(400)),
        (replaced(":authority", "user@a.example"), &Outcome::Status(400)),
        (with(&[("host", "b.example")]), &Outcome::Status(400)),
        (with(&[("host", "a.example"), ("host", "a.example")]), &Outcome::Status(400)),
        (with(&[("x-y", " z")]), &Outcome::Status(400)),
        (replaced(":method", "TRACE"), &Outcome::Status(405)),
        (with(&[("host", "A.example"), ("te", "trailers")]), &Outcome::Status(200)),
    ];
    let mut wrong = Vec::new();
    for (fields, expected) in cases {
        let text = format!("{fields:?}");
        let outcomes = with_raw(move |mut raw| {
            raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)));
            let first = raw.outcome(1);
            raw.send(&get(3));
            (first, raw.outcome(3))
        });
        let goes_on =
            if matches!(expected, Outcome::GoAway(_)) { Outcome::Closed } else { Outcome::Status(200) };
        if (&outcomes.0, &outcomes.1) != (expected, &goes_on) {
            wrong.push(format!("{outcomes:?}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

// Holds LR-11
#[test]
fn an_idle_connection_is_closed_and_told_so() {
    let limits = Limits::new(20_000_000, None);
    let on_request = |incoming| reactor::spawn(answer(incoming));
    let (outcome, goodbye) = serve_one(
        limits,
        || false,
        on_request,
        |stream| {
            let mut raw = Raw::new(stream);
            raw.send(&get(1));
            (raw.outcome(1), raw.goodbye())
        },
    );
    assert_eq!((outcome, goodbye), (Outcome::Status(200), NO_ERROR));
    // Neither half a preface nor pings are requests.
    serve_one(
        limits,
        || false,
        |_| {},
        |mut stream| {
            stream.write_all(b"PRI * HTTP").unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        },
    );
    let goodbye = serve_one(
        limits,
        || false,
        |_| {},
        |stream| {
            let mut raw = Raw::new(stream);
            let mut writer = raw.stream.try_clone().unwrap();
            let pinging = std::thread::spawn(move || {
                while writer.write_all(&frame(PING, 0, 0, &[7; 8])).is_ok() {
                    std::thread::yield_now();
                }
            });
            let goodbye = raw.goodbye();
            raw.stream.shutdown(std::net::Shutdown::Both).unwrap();
            pinging.join().unwrap();
            goodbye
        },
    );
    assert!(matches!(goodbye, NO_ERROR | ENHANCE_YOUR_CALM));
}

// Holds LR-52
#[test]
fn a_connection_ends_after_its_requests_and_all_are_answered() {
    let limits = Limits { requests: 10, ..Limits::new(IDLE_NS, None) };
    let on_request = |incoming| reactor::spawn(answer(incoming));
    with_h2(
        limits,
        || false,
        on_request,
        |mut handle| async move {
            let mut responses = Vec::new();
            while responses.len() < 10 {
                handle = handle.ready().await.unwrap();
                let (response, mut body) = handle.send_request(request("/"), false).unwrap();
                body.send_data(Bytes::from_static(b"x"), true).unwrap();
                responses.push(response);
            }
            for response in responses {
                let (bytes, _) = body_of(response.await.unwrap().into_body()).await;
                assert!(bytes.ends_with(b"x"));
            }
            // The GOAWAY has come with the responses or comes now.
            assert!(
                poll_fn(|cx| match handle.poll_ready(cx) {
                    Poll::Ready(Ok(())) => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    other => other,
                })
                .await
                .unwrap_err()
                .is_go_away()
            );
        },
    );
    // One that takes no notice is refused, and then sent away.
    let begun = Rc::new(Cell::new(0));
    let count = begun.clone();
    let on_request = move |incoming| {
        count.set(count.get() + 1);
        reactor::spawn(answer(incoming));
    };
    let limits = Limits { requests: 10, streams: 10, ..Limits::new(IDLE_NS, None) };
    serve_one(
        limits,
        || false,
        on_request,
        |stream| {
            let mut raw = Raw::new(stream);
            for number in 0..20 {
                raw.send(&get(number * 2 + 1));
                assert_eq!(raw.outcome_before_goodbye(number * 2 + 1), Outcome::Status(200));
            }
            raw.send(&get(41));
            assert_eq!(raw.outcome_before_goodbye(41), Outcome::Reset(REFUSED_STREAM));
        },
    );
    assert_eq!(begun.get(), 20);
}

#[test]
fn a_closing_listener_loses_no_request() {
    let closing = Rc::new(Cell::new(false));
    let close = closing.clone();
    let on_request = move |incoming: Incoming| {
        if incoming.head.starts_with(b"POST /last") {
            close.set(true);
            reactor::wake_all();
        }
        reactor::spawn(answer(incoming));
    };
    with_h2(
        Limits::new(IDLE_NS, None),
        move || closing.get(),
        on_request,
        |mut handle| async move {
            let (early, mut early_body) = handle.send_request(request("/early"), false).unwrap();
            let (last, mut last_body) = handle.send_request(request("/last"), false).unwrap();
            let response = last.await.unwrap();
            // The listener is closing, and both bodies are still to come.
            for body in [&mut early_body, &mut last_body] {
                body.send_data(Bytes::from_static(b"body"), true).unwrap();
            }
            assert!(body_of(response.into_body()).await.0.ends_with(b"body"));
            assert!(body_of(early.await.unwrap().into_body()).await.0.ends_with(b"body"));
        },
    );
}

/// An answer before the request's body came whole, which the client is then told to keep.
#[test]
fn an_early_answer_is_whole_before_the_rest_of_the_request_is_refused() {
    let on_request = |incoming: Incoming| {
        reactor::spawn(async move {
            let stream = incoming.stream;
            stream.send_head(Response::new(()), false).unwrap();
            write_all(&stream, b"200 early").await.unwrap();
            poll_fn(|cx| stream.poll_finish(cx, &mut None)).await.unwrap();
            stream.reset(Reset::NoError);
        });
    };
    serve_one(
        Limits::new(IDLE_NS, None),
        || false,
        on_request,
        |stream| {
            let mut raw = Raw::new(stream);
            raw.send(&frame(HEADERS, END_HEADERS, 1, &block(&GET)));
            let data = raw.wait_for(&[DATA, RST_STREAM]);
            assert_eq!((data.kind, data.flags, &*data.payload), (DATA, END_STREAM, &b"200 early"[..]));
            assert_eq!(code(&raw.wait_for(&[DATA, RST_STREAM]).payload), NO_ERROR);
            // The whole request came: nothing is to be refused.
            raw.send(&get(3));
            assert_eq!(raw.outcome(3), Outcome::Status(200));
            raw.send(&get(5));
            assert_eq!(raw.wait_for(&[DATA, RST_STREAM]).kind, DATA);
        },
    );
}
