//! Streams of the client's that carry no request (RFC 9114 section 6.2, RFC 9204 section 4.2).

use super::Code;
use super::connection::Shared;
use super::frame::{CANCEL_PUSH, Fault, Frames, GOAWAY, MAX_PUSH_ID, SETTINGS, is_known, take_number};
use crate::proxy::reactor;
use std::collections::HashSet;
use std::future::poll_fn;
use std::rc::Rc;

/// Types of streams.
pub const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;
const ENCODER: u64 = 0x2;
const DECODER: u64 = 0x3;

/// Longest frame of the control stream that means anything: no client has more than a few settings.
const FRAME_MAX: u64 = 4096;

/// Takes the client's streams until the connection ends.
pub async fn receive(shared: Rc<Shared>) {
    while let Ok(stream) = shared.connection.accept_uni().await {
        let shared = shared.clone();
        reactor::spawn(async move {
            let fault = read(&shared, Frames::new(stream)).await;
            if let Err(Fault::Error(code)) = fault {
                shared.fail(code);
            }
        });
    }
}

/// Reads a stream. What ends a critical one is an error; others may end as they like.
async fn read(shared: &Shared, mut frames: Frames) -> Result<(), Fault> {
    let kind = poll_fn(|cx| frames.poll_number(cx)).await;
    // One that ends before its type meant nothing.
    let Ok(Some(kind)) = kind else { return Ok(()) };
    if kind == PUSH {
        return Err(Fault::Error(Code::STREAM_CREATION));
    }
    if ![CONTROL, ENCODER, DECODER].contains(&kind) {
        frames.stop(Code::STREAM_CREATION);
        return Ok(());
    }
    if !shared.note_stream(kind) {
        return Err(Fault::Error(Code::STREAM_CREATION));
    }
    let result = match kind {
        CONTROL => control(&mut frames).await,
        ENCODER => instructions(&mut frames, encoder_instruction, Code::ENCODER_STREAM).await,
        _ => instructions(&mut frames, decoder_instruction, Code::DECODER_STREAM).await,
    };
    match result {
        Err(Fault::Error(code)) => Err(Fault::Error(code)),
        Err(Fault::Gone) | Ok(()) => Err(Fault::Error(Code::CLOSED_CRITICAL_STREAM)),
    }
}

async fn control(frames: &mut Frames) -> Result<(), Fault> {
    let mut first = true;
    let (mut goaway, mut pushes) = (u64::MAX, 0);
    while let Some((kind, length)) = poll_fn(|cx| frames.poll_frame(cx)).await? {
        if std::mem::take(&mut first) != (kind == SETTINGS) {
            let code = if kind == SETTINGS { Code::FRAME_UNEXPECTED } else { Code::MISSING_SETTINGS };
            return Err(Fault::Error(code));
        }
        if !is_known(kind) {
            poll_fn(|cx| frames.poll_skip(cx)).await?;
            continue;
        }
        if !matches!(kind, SETTINGS | CANCEL_PUSH | GOAWAY | MAX_PUSH_ID) {
            return Err(Fault::Error(Code::FRAME_UNEXPECTED));
        }
        if length > FRAME_MAX {
            return Err(Fault::Error(Code::EXCESSIVE_LOAD));
        }
        let mut payload = Vec::new();
        poll_fn(|cx| frames.poll_whole(cx, &mut payload)).await?;
        let result = match kind {
            SETTINGS => check_settings(&payload),
            GOAWAY => whole_number(&payload).and_then(|id| {
                let grows = id > goaway;
                goaway = id;
                if grows { Err(Code::ID) } else { Ok(()) }
            }),
            MAX_PUSH_ID => whole_number(&payload).and_then(|id| {
                let shrinks = id < pushes;
                pushes = id;
                if shrinks { Err(Code::ID) } else { Ok(()) }
            }),
            // We have promised nothing that could be cancelled.
            _ => Err(Code::ID),
        };
        result.map_err(Fault::Error)?;
    }
    Ok(())
}

fn whole_number(mut payload: &[u8]) -> Result<u64, Code> {
    take_number(&mut payload).filter(|_| payload.is_empty()).ok_or(Code::FRAME)
}

/// None of the client's settings changes what we do: we push nothing, use no dynamic table, and send heads as they are.
fn check_settings(mut payload: &[u8]) -> Result<(), Code> {
    let mut seen = HashSet::new();
    while !payload.is_empty() {
        let (Some(id), Some(_)) = (take_number(&mut payload), take_number(&mut payload)) else {
            return Err(Code::FRAME);
        };
        // Section 7.2.4.1: what HTTP/2 used is forbidden.
        if matches!(id, 0x0 | 0x2..=0x5) || !seen.insert(id) {
            return Err(Code::SETTINGS);
        }
    }
    Ok(())
}

/// Where a QPACK instruction is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Instruction {
    /// Before one.
    None,
    /// In a number that goes on.
    Number,
}

/// Of an encoder without a dynamic table the only instruction is to set its capacity to 0.
fn encoder_instruction(at: Instruction, byte: u8) -> Option<Instruction> {
    (at == Instruction::None && byte == 0x20).then_some(Instruction::None)
}

/// A decoder that never saw a dynamic table can only cancel streams.
fn decoder_instruction(at: Instruction, byte: u8) -> Option<Instruction> {
    match at {
        Instruction::None if byte & 0xc0 != 0x40 => None,
        Instruction::None if byte & 0x3f == 0x3f => Some(Instruction::Number),
        Instruction::Number if byte & 0x80 != 0 => Some(Instruction::Number),
        Instruction::None | Instruction::Number => Some(Instruction::None),
    }
}

async fn instructions(
    frames: &mut Frames,
    next: fn(Instruction, u8) -> Option<Instruction>,
    code: Code,
) -> Result<(), Fault> {
    let mut at = Instruction::None;
    while let Some(bytes) = poll_fn(|cx| frames.poll_bytes(cx)).await? {
        for &byte in &bytes {
            at = next(at, byte).ok_or(Fault::Error(code))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_once_each_and_none_of_http_2() {
        assert_eq!(check_settings(&[]), Ok(()));
        assert_eq!(check_settings(&[0x06, 0x44, 0x00, 0x01, 0x00, 0x21, 0x05]), Ok(()));
        assert_eq!(check_settings(&[0x06, 0x01, 0x06, 0x01]), Err(Code::SETTINGS));
        for forbidden in [0, 2, 3, 4, 5] {
            assert_eq!(check_settings(&[forbidden, 0x00]), Err(Code::SETTINGS));
        }
        assert_eq!(check_settings(&[0x06]), Err(Code::FRAME));
        assert_eq!(check_settings(&[0x06, 0x44]), Err(Code::FRAME));
    }

    #[test]
    fn only_instructions_without_a_dynamic_table_are_taken() {
        let run = |next: fn(Instruction, u8) -> Option<Instruction>, bytes: &[u8]| {
            bytes.iter().try_fold(Instruction::None, |at, &byte| next(at, byte)).is_some()
        };
        assert!(run(encoder_instruction, &[0x20, 0x20]));
        assert!(!run(encoder_instruction, &[0x3f, 0x01]));
        assert!(!run(encoder_instruction, &[0xc1]));
        assert!(run(decoder_instruction, &[0x40, 0x44, 0x7f, 0x80, 0x01, 0x41]));
        assert!(!run(decoder_instruction, &[0x80]));
        assert!(!run(decoder_instruction, &[0x01]));
    }
}
