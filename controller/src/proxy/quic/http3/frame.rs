//! Frames of a stream (RFC 9114 section 7), read without holding more than one piece as it came.

use super::code::Code;
use bytes::{Buf, Bytes};
use quinn::RecvStream;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, ready};

/// Bytes taken from QUIC at once, at most.
const PIECE: usize = 64 * 1024;

pub const DATA: u64 = 0x0;
pub const HEADERS: u64 = 0x1;
pub const CANCEL_PUSH: u64 = 0x3;
pub const SETTINGS: u64 = 0x4;
pub const GOAWAY: u64 = 0x7;
pub const MAX_PUSH_ID: u64 = 0xd;

/// Whether a frame of this type has a meaning in HTTP/3, or had one in HTTP/2 and is forbidden (section 7.2.8).
pub fn is_known(kind: u64) -> bool {
    matches!(kind, 0x0..=0x9 | MAX_PUSH_ID)
}

/// Why no more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client reset the stream, or the connection is gone.
    Gone,
    /// The stream or the connection is to end with this error.
    Error(Code),
}

/// A stream as frames.
pub struct Frames {
    stream: RecvStream,
    /// What was taken from QUIC and not passed on.
    unread: Bytes,
    ended: bool,
    /// Type of the frame whose length is being read.
    kind: Option<u64>,
    /// Beginning of a number, and how many bytes of it there are.
    number: ([u8; 8], usize),
    /// What is left of the current frame.
    left: u64,
    /// A frame whose beginning was looked at.
    peeked: Option<(u64, u64)>,
}

impl Frames {
    pub fn new(stream: RecvStream) -> Frames {
        Frames {
            stream,
            unread: Bytes::new(),
            ended: false,
            kind: None,
            number: ([0; 8], 0),
            left: 0,
            peeked: None,
        }
    }

    /// True when there are bytes to read, false at the stream's end.
    pub fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        if !self.unread.is_empty() {
            return Poll::Ready(Ok(true));
        }
        while !self.ended {
            // Dropped between polls: all that waiting leaves behind is in the connection.
            match ready!(pin!(self.stream.read_chunk(PIECE, true)).poll(cx)) {
                Ok(Some(chunk)) if chunk.bytes.is_empty() => {}
                Ok(Some(chunk)) => {
                    self.unread = chunk.bytes;
                    return Poll::Ready(Ok(true));
                }
                Ok(None) => self.ended = true,
                Err(_) => return Poll::Ready(Err(Fault::Gone)),
            }
        }
        Poll::Ready(Ok(false))
    }

    /// The next number (RFC 9000 section 16); `None` where the stream ends before it.
    pub fn poll_number(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<u64>, Fault>> {
        loop {
            let (bytes, count) = &mut self.number;
            if *count > 0 && *count == 1 << (bytes[0] >> 6) {
                let number = bytes[1..*count]
                    .iter()
                    .fold(u64::from(bytes[0] & 0x3f), |number, &byte| number << 8 | u64::from(byte));
                *count = 0;
                return Poll::Ready(Ok(Some(number)));
            }
            if !ready!(self.poll_more(cx))? {
                let is_cut = self.number.1 > 0;
                return Poll::Ready(if is_cut { Err(Fault::Error(Code::FRAME)) } else { Ok(None) });
            }
            let (bytes, count) = &mut self.number;
            bytes[*count] = self.unread.get_u8();
            *count += 1;
        }
    }

    /// Type and length of the next frame; `None` at the stream's end. What is left of the one before must have been taken.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<(u64, u64)>, Fault>> {
        if let Some(frame) = self.peeked.take() {
            return Poll::Ready(Ok(Some(frame)));
        }
        if self.kind.is_none() {
            self.kind = ready!(self.poll_number(cx))?;
        }
        let Some(kind) = self.kind else { return Poll::Ready(Ok(None)) };
        // Section 7.1: a stream that ends within a frame is an error.
        let length = ready!(self.poll_number(cx))?.ok_or(Fault::Error(Code::FRAME))?;
        self.kind = None;
        self.left = length;
        Poll::Ready(Ok(Some((kind, length))))
    }

    /// Whether the stream ends without another frame that means anything. What is left of the one before is dropped.
    pub fn poll_ends(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        loop {
            if self.peeked.is_some() {
                return Poll::Ready(Ok(false));
            }
            ready!(self.poll_skip(cx))?;
            match ready!(self.poll_frame(cx))? {
                None => return Poll::Ready(Ok(true)),
                Some(frame) if is_known(frame.0) => self.peeked = Some(frame),
                Some(_) => {}
            }
        }
    }

    /// Whether [`Self::poll_ends`] found a frame, which comes next.
    pub fn is_peeked(&self) -> bool {
        self.peeked.is_some()
    }

    /// The next bytes of the current frame, never empty; `None` at its end.
    pub fn poll_payload(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        if self.left == 0 {
            return Poll::Ready(Ok(None));
        }
        if !ready!(self.poll_more(cx))? {
            return Poll::Ready(Err(Fault::Error(Code::FRAME)));
        }
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.unread.len());
        self.left -= count as u64;
        Poll::Ready(Ok(Some(self.unread.split_to(count))))
    }

    /// Appends the rest of the current frame to `out`. The caller has looked at its length.
    pub fn poll_whole(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<(), Fault>> {
        while let Some(piece) = ready!(self.poll_payload(cx))? {
            out.extend_from_slice(&piece);
        }
        Poll::Ready(Ok(()))
    }

    /// Drops the rest of the current frame.
    pub fn poll_skip(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while ready!(self.poll_payload(cx))?.is_some() {}
        Poll::Ready(Ok(()))
    }

    /// The next bytes of a stream that has no frames; `None` at its end.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        let more = ready!(self.poll_more(cx))?;
        Poll::Ready(Ok(more.then(|| std::mem::take(&mut self.unread))))
    }

    /// True once the stream's end was seen and nothing is unread.
    pub fn is_at_end(&self) -> bool {
        self.ended && self.unread.is_empty()
    }

    /// Ready once the client reset the stream, or its connection is gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(pin!(self.stream.received_reset()).poll(cx)) {
            Ok(None) => Poll::Pending,
            Ok(Some(_)) | Err(_) => Poll::Ready(()),
        }
    }

    /// Asks the client to send no more.
    pub fn stop(&mut self, code: Code) {
        self.unread = Bytes::new();
        // It fails only where there is nothing to stop.
        let _ = self.stream.stop(code.into());
    }
}

/// Appends a number (RFC 9000 section 16). It must be below 2^62.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x40 => out.push(number as u8),
        0x40..0x4000 => out.extend_from_slice(&(number as u16 | 0x4000).to_be_bytes()),
        0x4000..0x4000_0000 => out.extend_from_slice(&(number as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(number | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Appends the beginning of a frame.
pub fn push_frame(out: &mut Vec<u8>, kind: u64, length: usize) {
    push_number(out, kind);
    push_number(out, length as u64);
}

/// The first number of `bytes`, taken off.
pub fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = rest;
    let rest = number[1..].iter();
    Some(rest.fold(u64::from(first & 0x3f), |number, &byte| number << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        let most = (1 << 62) - 1;
        for number in [0, 1, 63, 64, 16_383, 16_384, 1_073_741_823, 1_073_741_824, most] {
            let mut bytes = Vec::new();
            push_number(&mut bytes, number);
            assert_eq!(take_number(&mut &bytes[..bytes.len() - 1]), None);
            let mut rest = bytes.as_slice();
            assert_eq!(take_number(&mut rest), Some(number));
            assert!(rest.is_empty());
        }
        // RFC 9000 appendix A.1.
        let examples: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x40, 0x25], 37),
        ];
        for (mut bytes, number) in examples {
            assert_eq!(take_number(&mut bytes), Some(number));
        }
    }
}
