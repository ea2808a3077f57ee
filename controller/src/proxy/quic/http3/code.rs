//! Error codes.

use quinn::VarInt;

/// An error code of HTTP/3 (RFC 9114 section 8.1) or QPACK (RFC 9204 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(u32);

impl Code {
    pub const NO_ERROR: Code = Code(0x100);
    pub const INTERNAL: Code = Code(0x102);
    pub const STREAM_CREATION: Code = Code(0x103);
    pub const CLOSED_CRITICAL_STREAM: Code = Code(0x104);
    pub const FRAME_UNEXPECTED: Code = Code(0x105);
    pub const FRAME: Code = Code(0x106);
    pub const EXCESSIVE_LOAD: Code = Code(0x107);
    pub const ID: Code = Code(0x108);
    pub const SETTINGS: Code = Code(0x109);
    pub const MISSING_SETTINGS: Code = Code(0x10a);
    pub const REQUEST_REJECTED: Code = Code(0x10b);
    pub const REQUEST_CANCELLED: Code = Code(0x10c);
    pub const REQUEST_INCOMPLETE: Code = Code(0x10d);
    pub const MESSAGE: Code = Code(0x10e);
    pub const DECOMPRESSION: Code = Code(0x200);
    pub const ENCODER_STREAM: Code = Code(0x201);
    pub const DECODER_STREAM: Code = Code(0x202);

    /// Whether it ends one stream and not the connection.
    pub fn is_of_stream(self) -> bool {
        matches!(
            self,
            Code::REQUEST_REJECTED | Code::REQUEST_CANCELLED | Code::REQUEST_INCOMPLETE | Code::MESSAGE
        )
    }

    /// As the RFCs name it.
    pub fn name(self) -> &'static str {
        match self {
            Code::NO_ERROR => "H3_NO_ERROR",
            Code::STREAM_CREATION => "H3_STREAM_CREATION_ERROR",
            Code::CLOSED_CRITICAL_STREAM => "H3_CLOSED_CRITICAL_STREAM",
            Code::FRAME_UNEXPECTED => "H3_FRAME_UNEXPECTED",
            Code::FRAME => "H3_FRAME_ERROR",
            Code::EXCESSIVE_LOAD => "H3_EXCESSIVE_LOAD",
            Code::ID => "H3_ID_ERROR",
            Code::SETTINGS => "H3_SETTINGS_ERROR",
            Code::MISSING_SETTINGS => "H3_MISSING_SETTINGS",
            Code::REQUEST_REJECTED => "H3_REQUEST_REJECTED",
            Code::REQUEST_CANCELLED => "H3_REQUEST_CANCELLED",
            Code::REQUEST_INCOMPLETE => "H3_REQUEST_INCOMPLETE",
            Code::MESSAGE => "H3_MESSAGE_ERROR",
            Code::DECOMPRESSION => "QPACK_DECOMPRESSION_FAILED",
            Code::ENCODER_STREAM => "QPACK_ENCODER_STREAM_ERROR",
            Code::DECODER_STREAM => "QPACK_DECODER_STREAM_ERROR",
            _ => "H3_INTERNAL_ERROR",
        }
    }
}

impl From<Code> for VarInt {
    fn from(code: Code) -> VarInt {
        VarInt::from_u32(code.0)
    }
}
