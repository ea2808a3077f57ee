//! Bodies: where they end and what is data in them.

use crate::pieces::ways;
use controller::proxy::http1::body::BodyDecoder;
use controller::proxy::http1::{Framing, HEAD_LIMIT, Refusal};

/// The first byte chooses the framing, the others are the body and what follows it. Panics unless it ends and holds what
/// the naive reader below says, however it arrives and whether by steps or at once.
pub fn check(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else { return };
    let framing = match first {
        0 => Framing::None,
        1 => Framing::UntilClose,
        2..0x40 => Framing::Length(u64::from(first)),
        _ => Framing::Chunked,
    };
    let expected = naive(framing, input);
    for pieces in ways(input) {
        assert_eq!(by_steps(framing, &pieces), expected);
        let used = expected.as_ref().map(|outcome| (outcome.used, outcome.done));
        assert_eq!(by_consuming(framing, &pieces), used.map_err(|&refusal| refusal));
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    data: Vec<u8>,
    /// Their lines, once the body is whole.
    trailers: Vec<u8>,
    used: usize,
    done: bool,
}

fn by_steps(framing: Framing, pieces: &[&[u8]]) -> Result<Outcome, Refusal> {
    let mut decoder = BodyDecoder::keeping_trailers(framing);
    let mut outcome = Outcome { data: Vec::new(), trailers: Vec::new(), used: 0, done: false };
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() && !decoder.is_done() {
            let step = decoder.step(rest)?;
            assert!(step.consumed > 0 && step.consumed <= rest.len() && step.data.end <= step.consumed);
            outcome.data.extend_from_slice(&rest[step.data]);
            outcome.used += step.consumed;
            rest = &rest[step.consumed..];
        }
    }
    outcome.done = decoder.is_done();
    if outcome.done {
        outcome.trailers = decoder.trailers().to_vec();
    }
    assert_eq!(decoder.may_close(), outcome.done || framing == Framing::UntilClose);
    Ok(outcome)
}

fn by_consuming(framing: Framing, pieces: &[&[u8]]) -> Result<(usize, bool), Refusal> {
    let mut decoder = BodyDecoder::new(framing);
    let mut total = 0;
    for piece in pieces {
        let used = decoder.consume(piece)?;
        assert!(used == piece.len() || (used < piece.len() && decoder.is_done()));
        total += used;
    }
    Ok((total, decoder.is_done()))
}

/// Reads the body from a copy of all of it, looking ahead as it likes.
fn naive(framing: Framing, input: &[u8]) -> Result<Outcome, Refusal> {
    let plain =
        |used: usize, done| Ok(Outcome { data: input[..used].to_vec(), trailers: Vec::new(), used, done });
    match framing {
        Framing::None => plain(0, true),
        Framing::UntilClose => plain(input.len(), false),
        Framing::Length(length) => {
            let used = input.len().min(length as usize);
            plain(used, used as u64 == length)
        }
        Framing::Chunked => chunked(input),
    }
}

fn chunked(input: &[u8]) -> Result<Outcome, Refusal> {
    let mut data = Vec::new();
    let mut rest = input;
    let more = |data: Vec<u8>| Ok(Outcome { data, trailers: Vec::new(), used: input.len(), done: false });
    loop {
        let Some((line, after)) = line(rest, is_chunk_line)? else { return more(data) };
        let digits = line.iter().position(|&byte| byte == b';').unwrap_or(line.len());
        let text = std::str::from_utf8(&line[..digits]).map_err(|_| Refusal::Chunk)?;
        let size = usize::from_str_radix(text, 16).map_err(|_| Refusal::Chunk)?;
        rest = after;
        if size == 0 {
            break;
        }
        let taken = rest.len().min(size);
        data.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
        if taken < size {
            return more(data);
        }
        if !b"\r\n".starts_with(&rest[..rest.len().min(2)]) {
            return Err(Refusal::Chunk);
        }
        if rest.len() < 2 {
            return more(data);
        }
        rest = &rest[2..];
    }
    let start = rest;
    loop {
        let Some((line, after)) = line(rest, is_trailer)? else { return more(data) };
        if line.is_empty() {
            let trailers = start[..start.len() - rest.len()].to_vec();
            return Ok(Outcome { data, trailers, used: input.len() - after.len(), done: true });
        }
        rest = after;
    }
}

/// A line without its end, and what follows it.
type Line<'a> = (&'a [u8], &'a [u8]);

/// The next line; `None` if it is yet incomplete but may become one that `is_good` accepts.
fn line(input: &[u8], is_good: fn(&[u8], bool) -> bool) -> Result<Option<Line<'_>>, Refusal> {
    let refused = |good: bool| if good { Ok(()) } else { Err(Refusal::Chunk) };
    match input.iter().position(|&byte| byte == b'\r') {
        Some(end) => {
            refused(is_good(&input[..end], true))?;
            match input.get(end + 1) {
                Some(b'\n') => Ok(Some((&input[..end], &input[end + 2..]))),
                Some(_) => Err(Refusal::Chunk),
                None => Ok(None),
            }
        }
        None => refused(is_good(input, false)).map(|()| None),
    }
}

fn is_value(bytes: &[u8]) -> bool {
    bytes.len() <= HEAD_LIMIT && bytes.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// `1*15HEXDIG [ ";" value ]`, or the beginning of one.
fn is_chunk_line(text: &[u8], complete: bool) -> bool {
    let digits = text.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(text.len());
    let (size, extension) = text.split_at(digits);
    let has_size = (1..=15).contains(&size.len()) || (size.is_empty() && text.is_empty() && !complete);
    has_size && (extension.is_empty() || (extension[0] == b';' && is_value(&extension[1..])))
}

/// Empty, or `token ":" value` with a name that may be in a trailer, or the beginning of one.
fn is_trailer(text: &[u8], complete: bool) -> bool {
    if text.is_empty() {
        return true;
    }
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let name = text.iter().position(|byte| !is_token(byte)).unwrap_or(text.len());
    let (name, rest) = text.split_at(name);
    let forbidden = [&b"content-length"[..], b"transfer-encoding", b"host"];
    match rest.split_first() {
        None => !complete,
        Some((b':', value)) => {
            !name.is_empty()
                && !forbidden.iter().any(|known| name.eq_ignore_ascii_case(known))
                && is_value(value)
        }
        Some(_) => false,
    }
}
