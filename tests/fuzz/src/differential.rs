//! Our reading of requests against hyper's, on messages that are made up and then damaged.
//!
//! Where both accept, method, target, header list and body must be equal, request by request. We may refuse more. What we
//! accept and hyper does not is listed in [`Excuse`], each with the reason why it is right to; besides, hyper gives a body
//! up for trailers that it does not take, when all its data was read.

use crate::reading::Line;
use crate::request::{Request, read};
use controller::proxy::http1::{Framing, Version};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::rt::ReadBufCursor;
use hyper::service::service_fn;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

/// Why hyper may stop before a request that we accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Excuse {
    /// The crate `http` takes fewer characters in targets, of those that RFC 3986 wants encoded (`<`, `^`, `\\`). Browsers
    /// and other balancers take them, they cannot be mistaken for anything, and we pass them on unchanged (LR-83).
    Target,
    /// hyper stops at 100 header lines, we at 256 (LR-50).
    ManyLines,
    /// `Upgrade` or an HTTP/1.0 connection that is kept: hyper leaves the connection to its caller, or closes it.
    Connection,
}

fn excuse(request: &Request, before: Option<&Request>) -> Option<Excuse> {
    let meaning = &request.meaning;
    let hands_over = |request: &Request| {
        request.meaning.version == Version::Http10
            || request.meaning.lines.iter().any(|(name, _)| name == b"upgrade")
    };
    if http::Uri::try_from(meaning.target.as_slice()).is_err() {
        Some(Excuse::Target)
    } else if meaning.lines.len() > 100 {
        Some(Excuse::ManyLines)
    } else if before.is_some_and(hands_over) {
        Some(Excuse::Connection)
    } else {
        None
    }
}

/// A request as hyper's service sees it.
#[derive(Debug, Default)]
struct Theirs {
    method: Vec<u8>,
    target: String,
    lines: Vec<Line>,
    body: Vec<u8>,
    complete: bool,
}

// Holds LR-47, LR-51
#[test]
fn reads_requests_as_hyper_does() {
    let mut totals = Totals::default();
    for seed in 1..=SEEDS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let text = conversation(&mut random);
        totals.add(&text, seed);
    }
    println!("{totals:?}");
    // The comparison is about something: most of what is made up is accepted, most of what is damaged is not.
    assert!(
        totals.equal > SEEDS && totals.with_body > SEEDS / 4 && totals.refused_by_both > SEEDS / 20,
        "{totals:?}"
    );
    assert!(totals.refused_by_us_alone > 0 && !totals.excuses.is_empty(), "{totals:?}");
}

/// Enough for a second or two.
const SEEDS: u64 = 20_000;

#[derive(Debug, Default)]
struct Totals {
    equal: u64,
    with_body: u64,
    refused_by_both: u64,
    refused_by_us_alone: u64,
    excuses: BTreeMap<Excuse, u64>,
}

impl Totals {
    #[track_caller]
    fn add(&mut self, text: &[u8], seed: u64) {
        let what = || format!("seed {seed}: {}", text.escape_ascii());
        let mut said = read(&[text]);
        // Nothing after a request whose sender closes is read; what hyper makes of it is another matter.
        let last = said.requests.iter().position(|request| !request.meaning.keep_alive);
        if let Some(last) = last {
            said.requests.truncate(last + 1);
        }
        let (ours, (theirs, failed)) = (said.requests, hyper_reads(text));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_same(ours, theirs, said.refusal.is_some(), &what());
            self.equal += 1;
            self.with_body += u64::from(!ours.body.is_empty());
        }
        let before = theirs.len().checked_sub(1).and_then(|last| ours.get(last));
        if let Some(more) = ours.get(theirs.len()) {
            let excuse = excuse(more, before).unwrap_or_else(|| panic!("only we accept: {}", what()));
            *self.excuses.entry(excuse).or_default() += 1;
        } else if theirs.len() > ours.len() {
            assert!(said.refusal.is_some() || last.is_some(), "only hyper sees a request: {}", what());
            self.refused_by_us_alone += u64::from(last.is_none());
        } else if said.refusal.is_some() && failed {
            self.refused_by_both += 1;
        }
    }
}

#[track_caller]
fn assert_same(ours: &Request, theirs: &Theirs, refused: bool, what: &str) {
    let meaning = &ours.meaning;
    assert_eq!(meaning.method, theirs.method, "{what}");
    let target = with_path(&meaning.target);
    // Theirs has scheme and host in lower case.
    assert!(target.eq_ignore_ascii_case(theirs.target.as_bytes()), "{} {what}", theirs.target);
    // Theirs is by name; the order within a name is what has a meaning.
    let mut lines = meaning.lines.clone();
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    // Equal lengths are one for hyper, as they are for us once the request is forwarded.
    lines.dedup_by(|one, other| one.0 == b"content-length" && one.0 == other.0);
    assert_eq!(lines, theirs.lines, "{what}");
    match (ours.complete, theirs.complete) {
        (true, true) => {
            assert_eq!(ours.body.escape_ascii().to_string(), theirs.body.escape_ascii().to_string())
        }
        // They may give the body up at its trailers, when all data was read.
        (true, false) => assert!(meaning.framing == Framing::Chunked && ours.body == theirs.body, "{what}"),
        (false, true) => assert!(refused, "we wait where hyper sees the body's end: {what}"),
        (false, false) => {}
    }
}

/// An absolute form has a path, if only `/`.
fn with_path(target: &[u8]) -> Vec<u8> {
    let Some(slashes) = target.windows(3).position(|window| window == b"://").filter(|_| target[0] != b'/')
    else {
        return target.to_vec();
    };
    let authority = slashes + 3;
    let end = target[authority..].iter().position(|byte| b"/?".contains(byte));
    let (before, after) = target.split_at(end.map_or(target.len(), |end| authority + end));
    let path = if after.starts_with(b"/") { &b""[..] } else { b"/" };
    [before, path, after].concat()
}

/// The requests of one connection, and whether hyper gave it up.
fn hyper_reads(text: &[u8]) -> (Vec<Theirs>, bool) {
    let requests: RefCell<Vec<Theirs>> = RefCell::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let requests = &requests;
        async move {
            let (head, mut body) = request.into_parts();
            let mut lines: Vec<Line> = head
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect();
            lines.sort_by(|one, other| one.0.cmp(&other.0));
            // Noted before the body, during which the connection may be given up.
            let number = requests.borrow().len();
            requests.borrow_mut().push(Theirs {
                method: head.method.as_str().as_bytes().to_vec(),
                target: head.uri.to_string(),
                lines,
                ..Theirs::default()
            });
            let ended = loop {
                match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    Some(Ok(frame)) => {
                        let data = frame.into_data().unwrap_or_default();
                        requests.borrow_mut()[number].body.extend_from_slice(&data);
                    }
                    Some(Err(_)) => break false,
                    None => break true,
                }
            };
            requests.borrow_mut()[number].complete = ended;
            Ok::<_, Infallible>(hyper::Response::new(NoBody))
        }
    });
    let wire = Wire { rest: text };
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .serve_connection(wire, service);
    let outcome = run(connection);
    let failed = outcome.is_err();
    (requests.into_inner(), failed)
}

/// Polls to the end: everything is always ready here, so it comes soon.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
    panic!("hyper waits for something that does not come");
}

/// A client that has sent everything, closed its side and does not care for answers.
struct Wire<'t> {
    rest: &'t [u8],
}

impl hyper::rt::Read for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let (piece, rest) = self.rest.split_at(self.rest.len().min(buffer.remaining()));
        buffer.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

/// xorshift64*: small, seeded, and the seed is in every failure.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn one_of<'a>(&mut self, texts: &[&'a [u8]]) -> &'a [u8] {
        texts[self.below(texts.len())]
    }
}

/// Up to three requests, valid as they are made up; every other conversation is then damaged.
fn conversation(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..=random.below(3) {
        request(&mut text, random);
    }
    if random.below(2) == 0 {
        for _ in 0..=random.below(3) {
            damage(&mut text, random);
        }
    }
    text
}

fn request(text: &mut Vec<u8>, random: &mut Random) {
    let methods: &[&[u8]] = &[b"GET", b"POST", b"PUT", b"OPTIONS", b"M-SEARCH", b"a!z"];
    let targets: &[&[u8]] = &[
        b"/",
        b"/a/b?c=d&e",
        b"/%41;x=1/../y",
        b"/?",
        b"//x",
        b"/a{b}|c",
        b"/\"x\"",
        b"/a<b>^`",
        b"/a\\b",
        b"http://a.example",
        b"http://a.example:80/x?y",
        b"https://a.example/",
        b"HTTP://A.example?q",
    ];
    let method = random.one_of(methods);
    let target = random.one_of(targets);
    text.extend_from_slice(if random.below(20) == 0 { b"\r\n" } else { b"" });
    text.extend_from_slice(method);
    text.push(b' ');
    text.extend_from_slice(if method == b"OPTIONS" && random.below(2) == 0 { b"*" } else { target });
    let old = random.below(12) == 0;
    text.extend_from_slice(if old { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    let secure = target.starts_with(b"https");
    text.extend_from_slice(if secure { b"Host: a.example:443\r\n" } else { b"Host: a.example\r\n" });
    let lines: &[&[u8]] = &[
        b"Accept: */*\r\n",
        b"accept:text/html;q=0.5\r\n",
        b"X-Empty:\r\n",
        b"X-Space: \t a  b \t\r\n",
        b"X-Obs: \xe9\xff\r\n",
        b"X-Quoted: \"a, b: c\\\"\"\r\n",
        b"X-!#$%&'*+-.^_`|~: v\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: x-hop\r\n",
        b"Connection: close\r\n",
        b"Cookie: a=b; c=d\r\n",
        b"Expect: 100-continue\r\n",
        b"TE: trailers\r\n",
        b"Content_Length: 3\r\n",
        b"Upgrade: websocket\r\n",
    ];
    let count = if random.below(100) == 0 { 90 + random.below(30) } else { random.below(6) };
    for _ in 0..count {
        let line = random.one_of(lines);
        // Closing would end most conversations early.
        if !line.starts_with(b"Connection: close") || random.below(4) == 0 {
            text.extend_from_slice(line);
        }
    }
    body(text, old, random);
}

fn body(text: &mut Vec<u8>, old: bool, random: &mut Random) {
    let datas: &[&[u8]] =
        &[b"a", b"hello world", b"0\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: b\r\n\r\n", b"\xff\x00\r"];
    match random.below(4) {
        0 => text.extend_from_slice(b"\r\n"),
        1 => {
            let data = random.one_of(datas);
            let line = format!("Content-Length: {}\r\n", data.len());
            text.extend_from_slice(line.repeat(1 + random.below(8) / 7).as_bytes());
            text.extend_from_slice(b"\r\n");
            text.extend_from_slice(data);
        }
        2 if !old => {
            text.extend_from_slice(
                random
                    .one_of(&[b"Transfer-Encoding: chunked\r\n\r\n", b"transfer-encoding:Chunked\t\r\n\r\n"]),
            );
            for _ in 0..random.below(4) {
                let data = random.one_of(datas);
                let extension = random.one_of(&[b"", b"", b";a", b";a=\"b;c\";d"]);
                text.extend_from_slice(
                    format!("{:0width$X}", data.len(), width = 1 + random.below(4)).as_bytes(),
                );
                text.extend_from_slice(extension);
                text.extend_from_slice(b"\r\n");
                text.extend_from_slice(data);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(random.one_of(&[b"0\r\n", b"000\r\n", b"0;x=y\r\n"]));
            text.extend_from_slice(random.one_of(&[b"", b"X-Sum: 1\r\n", b"a:\r\nb: \xe9 \r\n"]));
            text.extend_from_slice(b"\r\n");
        }
        _ => text.extend_from_slice(b"Content-Length: 0\r\n\r\n"),
    }
}

fn damage(text: &mut Vec<u8>, random: &mut Random) {
    let bytes = b"\r\n :\0;,0aF\xff\t\x0b/@#\"";
    let at = random.below(text.len());
    match random.below(7) {
        0 => text[at] = bytes[random.below(bytes.len())],
        1 => drop(text.remove(at)),
        2 => text.insert(at, bytes[random.below(bytes.len())]),
        3 => text[at] = random.below(256) as u8,
        4 => text.truncate(at + 1),
        5 => {
            let end = text.len().min(at + 1 + random.below(20));
            let copy = text[at..end].to_vec();
            text.splice(at..at, copy);
        }
        _ => {
            let lines: &[&[u8]] = &[
                b"\r\nContent-Length: 3\r\n",
                b"\r\nTransfer-Encoding: chunked\r\n",
                b"\r\nTransfer-Encoding: gzip, chunked\r\n",
                b"\r\nHost: b\r\n",
                b"\r\n folded\r\n",
                b"\nX: y\n",
                b"\r\nX : y\r\n",
            ];
            // In place of a line's end, where there is one behind it.
            if let Some(end) = text[at..].windows(2).position(|pair| pair == b"\r\n") {
                let line = random.one_of(lines);
                text.splice(at + end..at + end + 2, line.iter().copied());
            }
        }
    }
    if text.is_empty() {
        text.push(b'\n');
    }
}
