//! Bodies: which of the next bytes belong to this one.
//!
//! A body is passed on as it came, chunk framing included, so a chunked body costs no copy; the framing is checked byte
//! for byte on the way (RFC 9112 section 7.1: sizes of at most 15 digits, extensions and trailers within the grammar
//! and [`HEAD_LIMIT`], CR LF everywhere), and a receiver without chunked coding is given the data ranges alone.

use super::field::{is_token_byte, is_value_byte};
use super::{Framing, HEAD_LIMIT, Refusal};
use std::ops::Range;

/// One step through a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input this step used up, framing and data.
    pub consumed: usize,
    /// The payload among them.
    pub data: Range<usize>,
}

/// Follows one body through its bytes.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of this chunk's extension, or of the trailers, so far.
    overhead: usize,
    /// The current trailer's name, lower case, as far as it matters.
    trailer: [u8; TRAILER_BYTES],
    trailer_length: usize,
    /// The trailers' lines, where they are asked for.
    kept: Option<Vec<u8>>,
}

const TRAILER_BYTES: usize = 18;
/// Fields that would change a message already on its way (RFC 9110 section 6.5.1).
const FORBIDDEN_TRAILERS: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    Size { value: u64, digits: u8 },
    Extension { value: u64 },
    SizeEnd { value: u64 },
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

impl State {
    /// Whether the byte that led here belongs to a trailer's line.
    fn is_of_trailers(self) -> bool {
        matches!(self, State::TrailerName | State::TrailerValue | State::TrailerLf)
    }
}

impl BodyDecoder {
    /// At the start of a body so framed.
    pub fn new(framing: Framing) -> BodyDecoder {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { value: 0, digits: 0 },
            Framing::UntilClose => State::UntilClose,
        };
        BodyDecoder { state, overhead: 0, trailer: [0; TRAILER_BYTES], trailer_length: 0, kept: None }
    }

    /// As [`BodyDecoder::new`], for who wants [`BodyDecoder::trailers`].
    pub fn keeping_trailers(framing: Framing) -> BodyDecoder {
        BodyDecoder { kept: Some(Vec::new()), ..BodyDecoder::new(framing) }
    }

    /// The lines of the trailers so far, each with its CR LF. Nothing unless they are kept.
    pub fn trailers(&self) -> &[u8] {
        self.kept.as_deref().unwrap_or_default()
    }

    /// True once the body's last byte was consumed. Never for a body that ends by closing.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// True if the sender closing now ends the body properly.
    pub fn may_close(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// How many of `bytes` belong to the body: all, unless it ends among them.
    pub fn consume(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut consumed = 0;
        while consumed < bytes.len() && !self.is_done() {
            consumed += self.step(&bytes[consumed..])?.consumed;
        }
        Ok(consumed)
    }

    /// Consumes framing up to and including the next run of data. At least one byte, unless `bytes` is empty or the
    /// body is done.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        let mut at = 0;
        loop {
            match &mut self.state {
                State::Done => return Ok(Step { consumed: at, data: at..at }),
                State::UntilClose => return Ok(Step { consumed: bytes.len(), data: at..bytes.len() }),
                State::Length(left) => {
                    let taken = clamp(*left, bytes.len());
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    return Ok(Step { consumed: taken, data: 0..taken });
                }
                State::Data(left) => {
                    let taken = clamp(*left, bytes.len() - at);
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Step { consumed: at + taken, data: at..at + taken });
                }
                _ => {
                    let Some(&byte) = bytes.get(at) else { return Ok(Step { consumed: at, data: at..at }) };
                    at += 1;
                    let ends_line = self.state == State::TrailerLf;
                    self.state = self.after(byte)?;
                    if let Some(kept) = &mut self.kept
                        && (ends_line || self.state.is_of_trailers())
                    {
                        kept.push(byte);
                    }
                }
            }
        }
    }

    /// The state after one byte of chunk framing.
    fn after(&mut self, byte: u8) -> Result<State, Refusal> {
        Ok(match (self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                // 15 digits: sizes then never overflow when added.
                if digits >= 15 {
                    return Err(Refusal::Chunk);
                }
                State::Size { value: value << 4 | digit, digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Refusal::Chunk),
            (State::Size { value, .. }, b'\r') => State::SizeEnd { value },
            (State::Size { value, .. }, b';') => State::Extension { value },
            (State::Extension { value }, b'\r') => State::SizeEnd { value },
            (State::Extension { .. }, _) if is_value_byte(byte) => {
                self.spend_overhead()?;
                self.state
            }
            (State::SizeEnd { value: 0 }, b'\n') => State::TrailerStart,
            (State::SizeEnd { value }, b'\n') => {
                self.overhead = 0;
                State::Data(value)
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart, _) if is_token_byte(byte) => {
                self.trailer_length = 0;
                self.note_trailer(byte)?;
                State::TrailerName
            }
            (State::TrailerName, b':') => {
                let name = &self.trailer[..self.trailer_length.min(TRAILER_BYTES)];
                if FORBIDDEN_TRAILERS.contains(&name) {
                    return Err(Refusal::Chunk);
                }
                State::TrailerValue
            }
            (State::TrailerName, _) if is_token_byte(byte) => {
                self.note_trailer(byte)?;
                State::TrailerName
            }
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) if is_value_byte(byte) => {
                self.spend_overhead()?;
                State::TrailerValue
            }
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(Refusal::Chunk),
        })
    }

    fn note_trailer(&mut self, byte: u8) -> Result<(), Refusal> {
        if let Some(place) = self.trailer.get_mut(self.trailer_length) {
            *place = byte.to_ascii_lowercase();
        }
        self.trailer_length += 1;
        self.spend_overhead()
    }

    fn spend_overhead(&mut self) -> Result<(), Refusal> {
        self.overhead += 1;
        if self.overhead > HEAD_LIMIT { Err(Refusal::Chunk) } else { Ok(()) }
    }
}

fn clamp(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}
