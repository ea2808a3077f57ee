//! Responses on one server connection: interim ones, heads, bodies, and what goes to a client.

use crate::pieces::ways;
use crate::reading::{Line, check_line_ends, end_to_end, lenient_lines};
use controller::proxy::http1::body::BodyDecoder;
use controller::proxy::http1::head::ResponseHead;
use controller::proxy::http1::rewrite::{Shape, ToClient, write_response};
use controller::proxy::http1::{FIELDS_MAX, Framing, Refusal, Version};

/// The first byte says what was asked and by whom; the others are what the server sends. Panics unless that reads the
/// same however it arrives, and each response in it keeps its meaning on the way to the client.
pub fn check(input: &[u8]) {
    let Some((&flags, input)) = input.split_first() else { return };
    let asked = Asked {
        to_head: flags & 1 != 0,
        version: if flags & 2 != 0 { Version::Http10 } else { Version::Http11 },
        keep_alive: flags & 4 != 0,
        is_changed: flags & 8 != 0,
    };
    let [whole, single, cut] = ways(input).map(|pieces| read(&pieces, asked));
    assert_eq!(single, whole, "byte by byte differs from all at once");
    assert_eq!(cut, whole, "in pieces differs from all at once");
    for response in &whole.responses {
        check_response(response, asked);
    }
}

#[derive(Clone, Copy)]
struct Asked {
    to_head: bool,
    version: Version,
    keep_alive: bool,
    /// The body becomes another, of a length that nobody knows.
    is_changed: bool,
}

impl Asked {
    /// How a body so framed reaches the client.
    fn shape(self, framing: Framing) -> Shape {
        match (framing, self.version) {
            (Framing::None, _) => Shape::Verbatim,
            (_, Version::Http11) if self.is_changed => Shape::Chunked,
            (Framing::Chunked, Version::Http10) => Shape::Data,
            (_, Version::Http10) if self.is_changed => Shape::Data,
            _ => Shape::Verbatim,
        }
    }
}

/// What a server said to one request after the other, all of them the same.
#[derive(Debug, Default, PartialEq, Eq)]
struct Conversation {
    responses: Vec<Response>,
    refusal: Option<Refusal>,
    left: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Response {
    head: Vec<u8>,
    meaning: Meaning,
    body: Vec<u8>,
    may_close: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    status: u16,
    reason: Vec<u8>,
    version: Version,
    framing: Framing,
    keep_alive: bool,
    interim: bool,
    lines: Vec<Line>,
}

fn meaning(response: &ResponseHead, head: &[u8], to_head: bool) -> Meaning {
    let line = |field: &controller::proxy::http1::field::Field| {
        (field.name_span.of(head).to_ascii_lowercase(), field.value.of(head).to_vec())
    };
    Meaning {
        status: response.status,
        reason: response.reason.of(head).to_vec(),
        version: response.version,
        framing: response.body_framing(to_head),
        keep_alive: response.keep_alive,
        interim: response.is_interim(),
        lines: response.fields().iter().map(line).collect(),
    }
}

fn read(pieces: &[&[u8]], asked: Asked) -> Conversation {
    let mut said = Conversation::default();
    let mut head = ResponseHead::default();
    let mut body: Option<BodyDecoder> = None;
    for piece in pieces {
        said.left.extend_from_slice(piece);
        while !said.left.is_empty() {
            let step = match body.as_mut().zip(said.responses.last_mut()) {
                Some((decoder, response)) => decoder.step(&said.left).map(|step| {
                    assert!(step.consumed > 0 && step.consumed <= said.left.len());
                    response.body.extend_from_slice(&said.left[step.data]);
                    response.may_close = decoder.may_close();
                    step.consumed
                }),
                None => head.parse(&said.left).map(|length| {
                    let Some(length) = length else { return 0 };
                    let bytes = said.left[..length].to_vec();
                    let meaning = meaning(&head, &bytes, asked.to_head);
                    let decoder = BodyDecoder::new(meaning.framing);
                    let may_close = decoder.may_close();
                    body = Some(decoder);
                    said.responses.push(Response { head: bytes, meaning, body: Vec::new(), may_close });
                    length
                }),
            };
            match step {
                Ok(0) => break,
                Ok(used) => drop(said.left.drain(..used)),
                Err(refusal) => {
                    said.refusal = Some(refusal);
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

fn check_response(response: &Response, asked: Asked) {
    let here = &response.meaning;
    check_line_ends(&response.head);
    assert_eq!(here.lines, lenient_lines(&response.head), "a lenient parser reads other lines");
    assert!(here.lines.len() <= FIELDS_MAX && (100..=999).contains(&here.status));
    let bodiless = asked.to_head || here.status < 200 || here.status == 204 || here.status == 304;
    assert!(!bodiless || here.framing == Framing::None);

    let written = write(response, asked);
    let mut head = ResponseHead::default();
    let parsed = head.parse(&written).unwrap_or_else(|refusal| panic!("refused by ourselves: {refusal}"));
    assert_eq!(parsed, Some(written.len()), "not one head");
    let there = meaning(&head, &written, asked.to_head);
    assert_eq!(there.lines, lenient_lines(&written));
    assert_eq!((there.status, &there.reason, there.version), (here.status, &here.reason, Version::Http11));
    let expected = match asked.shape(here.framing) {
        Shape::Verbatim => here.framing,
        Shape::Chunked => Framing::Chunked,
        Shape::Data => Framing::UntilClose,
    };
    assert_eq!(there.framing, expected);
    if !here.interim {
        assert_eq!(there.keep_alive, asked.keep_alive);
    }
    let count = |name: &[u8]| there.lines.iter().filter(|(found, _)| found == name).count();
    assert!(count(b"content-length") + count(b"transfer-encoding") <= 1, "two lines of framing");
    // RFC 9112 section 6.1, RFC 9110 section 8.6.
    if here.interim || here.status == 204 {
        assert_eq!(count(b"content-length") + count(b"transfer-encoding"), 0);
    }
    let rest = |meaning: &Meaning| -> Vec<Line> {
        let passed = end_to_end(&meaning.lines);
        passed.into_iter().filter(|(name, _)| name != b"content-length").collect()
    };
    assert_eq!(rest(&there), rest(here), "lines were lost, made up or moved");
}

fn write(response: &Response, asked: Asked) -> Vec<u8> {
    let mut head = ResponseHead::default();
    assert_eq!(
        head.parse(&response.head),
        Ok(Some(response.head.len())),
        "a head by itself is read otherwise"
    );
    let shape = asked.shape(response.meaning.framing);
    let is_changed = asked.is_changed && shape != Shape::Verbatim;
    let to = ToClient { shape, is_changed, ..ToClient::new(asked.version, asked.keep_alive) };
    let mut out = Vec::new();
    write_response(&mut out, &head, &response.head, &to);
    out
}
