//! Requests on one connection: heads, bodies, pipelining, and what goes to a server.

use crate::pieces::ways;
use crate::reading::{Line, check_line_ends, end_to_end, lenient_lines, names};
use controller::model::XForwardedFor;
use controller::proxy::http1::body::BodyDecoder;
use controller::proxy::http1::head::RequestHead;
use controller::proxy::http1::rewrite::{ToServer, write_request};
use controller::proxy::http1::{FIELDS_MAX, Framing, Refusal, Version};

/// Panics unless `input`, a connection's bytes, reads the same however it arrives, and each request in it keeps its
/// meaning on the way to a server.
pub fn check(input: &[u8]) {
    let [whole, single, cut] = ways(input).map(|pieces| read(&pieces));
    assert_eq!(single, whole, "byte by byte differs from all at once");
    assert_eq!(cut, whole, "in pieces differs from all at once");
    for request in &whole.requests {
        check_request(request);
    }
}

/// What one connection said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Conversation {
    pub(crate) requests: Vec<Request>,
    pub(crate) refusal: Option<Refusal>,
    /// Bytes after the last complete request, unless that was refused or its body is still going on.
    left: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) head: Vec<u8>,
    pub(crate) meaning: Meaning,
    pub(crate) body: Vec<u8>,
    pub(crate) complete: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) method: Vec<u8>,
    path: Vec<u8>,
    pub(crate) target: Vec<u8>,
    authority: Option<Vec<u8>>,
    host: Vec<u8>,
    pub(crate) version: Version,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    expects_continue: bool,
    pub(crate) lines: Vec<Line>,
}

fn meaning(request: &RequestHead, head: &[u8]) -> Meaning {
    let line = |field: &controller::proxy::http1::field::Field| {
        (field.name_span.of(head).to_ascii_lowercase(), field.value.of(head).to_vec())
    };
    Meaning {
        method: request.method.of(head).to_vec(),
        path: request.path.of(head).to_vec(),
        target: request.target.of(head).to_vec(),
        authority: request.authority.map(|authority| authority.of(head).to_vec()),
        host: request.host.of(head).to_vec(),
        version: request.version,
        framing: request.framing,
        keep_alive: request.keep_alive,
        expects_continue: request.expects_continue,
        lines: request.fields().iter().map(line).collect(),
    }
}

/// Reads as the engine does: a head from a growing buffer, then its body, then what is left as the next head.
pub(crate) fn read(pieces: &[&[u8]]) -> Conversation {
    let mut said = Conversation::default();
    let mut head = RequestHead::default();
    let mut body: Option<BodyDecoder> = None;
    for piece in pieces {
        said.left.extend_from_slice(piece);
        while !said.left.is_empty() {
            let step = match body.as_mut().zip(said.requests.last_mut()) {
                Some((decoder, request)) => read_body(decoder, request, &said.left),
                None => read_head(&mut head, &mut said.requests, &mut body, &said.left),
            };
            match step {
                Ok(0) => break,
                Ok(used) => drop(said.left.drain(..used)),
                Err(refusal) => {
                    said.refusal = Some(refusal);
                    // What came after depends on how much arrived at once, and nobody reads it.
                    said.left.clear();
                    return said;
                }
            }
            if body.as_ref().is_some_and(BodyDecoder::is_done) {
                body = None;
                head.reset();
            }
        }
    }
    said
}

fn read_head(
    head: &mut RequestHead,
    requests: &mut Vec<Request>,
    body: &mut Option<BodyDecoder>,
    left: &[u8],
) -> Result<usize, Refusal> {
    let Some(length) = head.parse(left)? else { return Ok(0) };
    assert!(length <= left.len(), "the head ends after the input");
    let head_bytes = &left[..length];
    let decoder = BodyDecoder::new(head.framing);
    let complete = decoder.is_done();
    *body = Some(decoder);
    let meaning = meaning(head, head_bytes);
    requests.push(Request { head: head_bytes.to_vec(), meaning, body: Vec::new(), complete });
    Ok(length)
}

fn read_body(decoder: &mut BodyDecoder, request: &mut Request, left: &[u8]) -> Result<usize, Refusal> {
    let step = decoder.step(left)?;
    assert!(step.consumed > 0 && step.consumed <= left.len(), "a step of {} bytes", step.consumed);
    request.body.extend_from_slice(&left[step.data]);
    request.complete = decoder.is_done();
    Ok(step.consumed)
}

fn check_request(request: &Request) {
    let Meaning { lines, host, authority, framing, version, .. } = &request.meaning;
    check_line_ends(&request.head);
    let text = request.head.strip_prefix(b"\r\n").unwrap_or(&request.head);
    assert_eq!(*lines, lenient_lines(text), "a lenient parser reads other lines");
    assert!(lines.len() <= FIELDS_MAX);
    let count = |name: &[u8]| lines.iter().filter(|(found, _)| found == name).count();
    assert!(count(b"host") <= 1 && (count(b"host") == 1 || *version == Version::Http10));
    assert!(count(b"transfer-encoding") == 0 || count(b"content-length") == 0);
    assert_eq!(*framing == Framing::Chunked, count(b"transfer-encoding") == 1);
    assert_ne!(*framing, Framing::UntilClose);
    if let (Some(authority), false) = (authority, host.is_empty()) {
        let name = |text: &[u8]| text.split(|&byte| byte == b':').next().map(<[u8]>::to_ascii_lowercase);
        assert_eq!(name(authority), name(host), "target and Host name two hosts");
    }
    for keep_alive in [true, false] {
        for x_forwarded_for in [XForwardedFor::Append, XForwardedFor::Remove, XForwardedFor::Pass] {
            check_forwarded(request, keep_alive, x_forwarded_for);
        }
    }
}

/// Host of a request without one.
const DEFAULT_HOST: &[u8] = b"198.51.100.1:80";

/// The request as a server gets it is read with the same meaning.
fn check_forwarded(request: &Request, keep_alive: bool, x_forwarded_for: XForwardedFor) {
    let written = forward(&request.head, keep_alive, x_forwarded_for);
    let mut head = RequestHead::default();
    let parsed = head.parse(&written).unwrap_or_else(|refusal| panic!("refused by ourselves: {refusal}"));
    assert_eq!(parsed, Some(written.len()), "not one head");
    let there = meaning(&head, &written);
    assert_eq!(there.lines, lenient_lines(&written));

    let here = &request.meaning;
    assert_eq!(there.method, here.method);
    let path = match here.path.as_slice() {
        b"" if here.method == b"OPTIONS" => b"*".to_vec(),
        path if path.starts_with(b"/") || path == b"*" => path.to_vec(),
        query => [b"/", query].concat(),
    };
    assert_eq!(there.path, path);
    let host = here.authority.clone().unwrap_or_else(|| here.host.clone());
    assert_eq!(there.host, if host.is_empty() { DEFAULT_HOST.to_vec() } else { host });
    assert_eq!(there.authority, None);
    assert_eq!(there.version, Version::Http11);
    assert_eq!(there.keep_alive, keep_alive);
    let has_length = |meaning: &Meaning| meaning.lines.iter().any(|(name, _)| name == b"content-length");
    assert_eq!((there.framing, has_length(&there)), (here.framing, has_length(here)));
    assert!(there.lines.iter().filter(|(name, _)| is_framing(name)).count() <= 1, "two lines of framing");

    let trailers = here.lines.iter().any(|(name, value)| name == b"te" && names(value, b"trailers"));
    let te: Vec<Line> = trailers.then(|| (b"te".to_vec(), b"trailers".to_vec())).into_iter().collect();
    let named = |lines: &[Line], name: &[u8]| -> Vec<Line> {
        lines.iter().filter(|(found, _)| found == name).cloned().collect()
    };
    assert_eq!(named(&there.lines, b"te"), te);
    let forwarded_for = named(&here.lines, b"x-forwarded-for");
    let expected = match x_forwarded_for {
        XForwardedFor::Append => {
            let mut hops: Vec<Vec<u8>> = forwarded_for.into_iter().map(|(_, value)| value).collect();
            hops.retain(|value| !value.is_empty());
            hops.push(CLIENT.to_vec());
            vec![(b"x-forwarded-for".to_vec(), hops.join(&b", "[..]))]
        }
        XForwardedFor::Remove => Vec::new(),
        XForwardedFor::Pass => forwarded_for,
    };
    assert_eq!(named(&there.lines, b"x-forwarded-for"), expected);
    let rest = |meaning: &Meaning| -> Vec<Line> {
        let apart = |name: &[u8]| is_framing(name) || name == b"host" || name == b"x-forwarded-for";
        let passed = end_to_end(&meaning.lines);
        passed.into_iter().filter(|(name, _)| !apart(name)).collect()
    };
    assert_eq!(rest(&there), rest(here), "lines were lost, made up or moved");

    let again = forward(&written, keep_alive, XForwardedFor::Pass);
    assert_eq!(again, written, "a second balancer would send something else");
}

fn is_framing(name: &[u8]) -> bool {
    name == b"content-length" || name == b"transfer-encoding"
}

const CLIENT: &[u8] = b"192.0.2.9";

fn forward(head: &[u8], keep_alive: bool, x_forwarded_for: XForwardedFor) -> Vec<u8> {
    let mut request = RequestHead::default();
    assert_eq!(request.parse(head), Ok(Some(head.len())), "a head by itself is read otherwise");
    let to = ToServer { x_forwarded_for, keep_alive, ..ToServer::new(CLIENT, DEFAULT_HOST) };
    let mut out = Vec::new();
    write_request(&mut out, &request, head, &to);
    out
}
