//! HTTP/1.0 and HTTP/1.1 as a codec without input or output: bytes in, heads and body steps out; heads in, bytes out.
//!
//! Strict on purpose: whatever two parsers could read differently is refused (RFC 9112 section 11.2, LR-47), because a
//! balancer that repairs a message lets a client talk to a server behind other clients' backs. Refused are: a length
//! beside a transfer coding, lengths that differ, any transfer coding but one `chunked`, folded lines, bare CR or LF,
//! space before a colon, bytes outside the grammar in names, values and targets, a missing, repeated or malformed
//! Host, and one that differs from the authority in the target. A refused head is answered and the connection closed; nothing after it is read.
//!
//! Feeding a message byte by byte or at once gives the same result. Header storage is reused from one message to the
//! next, and bodies are never copied: [`body::BodyDecoder`] only says how many bytes belong to the body.
//!
//! Absent here: sockets, clocks, allocation per message (after the first of a connection's buffers).

pub mod body;
pub mod field;
pub mod head;
pub mod rewrite;
#[cfg(test)]
mod tests;

/// Longest header line, longest header block and longest target, in bytes (LR-50).
pub const HEAD_LIMIT: usize = 32 * 1024;
/// Most header lines in one head. Others allow 100 (hyper, Apache httpd) or 101 (HAProxy); each costs work that is not
/// bounded by its length.
pub const FIELDS_MAX: usize = 256;
/// Most header fields that Connection may name. Each is compared with every field, and nobody names more than a few.
pub const NOMINATIONS_MAX: usize = 32;
/// A request head that is not refused for its size fits this: the target, the header block, and the rest of the
/// request line.
pub const HEAD_BYTES_MAX: usize = 2 * HEAD_LIMIT + 256;

/// Why a message is not accepted. For a request, [`Refusal::status`] is the answer; in a response any refusal is 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request line or status line is outside the grammar.
    #[error("malformed start line")]
    StartLine,
    /// A version other than 1.0 and 1.1.
    #[error("HTTP version is not 1.0 or 1.1")]
    Version,
    /// TRACE or CONNECT (LR-51).
    #[error("method is not allowed")]
    Method,
    /// The target is outside the grammar, or of a form the method may not have.
    #[error("malformed request target")]
    Target,
    /// The target is longer than [`HEAD_LIMIT`].
    #[error("request target is over {HEAD_LIMIT} bytes")]
    TargetTooLong,
    /// A header line or the header block is longer than [`HEAD_LIMIT`].
    #[error("header is over {HEAD_LIMIT} bytes")]
    TooLarge,
    /// More than [`FIELDS_MAX`] header lines.
    #[error("over {FIELDS_MAX} header lines")]
    Fields,
    /// A line that does not end in CR LF, or a CR inside one.
    #[error("bare CR or LF")]
    LineEnd,
    /// A header line that begins with a space (obsolete folding).
    #[error("folded header line")]
    Fold,
    /// A field name outside the grammar, or followed by a space.
    #[error("malformed header name")]
    Name,
    /// A field value outside the grammar.
    #[error("malformed header value")]
    Value,
    /// Connection names more than [`NOMINATIONS_MAX`] fields.
    #[error("Connection names over {NOMINATIONS_MAX} fields")]
    Nominations,
    /// No Host, several, or one outside the grammar.
    #[error("missing, repeated or malformed Host")]
    Host,
    /// The target's authority and Host differ.
    #[error("Host differs from the request target's authority")]
    Authority,
    /// Content-Length that is no number, or several that differ.
    #[error("malformed or conflicting Content-Length")]
    Length,
    /// A transfer coding other than one `chunked`, or in HTTP/1.0.
    #[error("unsupported Transfer-Encoding")]
    Coding,
    /// Content-Length and Transfer-Encoding in one message.
    #[error("both Content-Length and Transfer-Encoding")]
    Framing,
    /// In HTTP/2 or HTTP/3, a field that is for one HTTP/1.1 connection (RFC 9113 section 8.2.2).
    #[error("connection-specific header")]
    ConnectionField,
    /// In HTTP/3, the head was not there in time (LR-12).
    #[error("head incomplete within the request timeout")]
    Late,
    /// A chunk's size, extension, end, or a trailer is malformed.
    #[error("malformed chunk")]
    Chunk,
}

impl Refusal {
    /// The status a request refused for this reason is answered with.
    pub fn status(self) -> u16 {
        match self {
            Refusal::Method => 405,
            Refusal::Late => 408,
            Refusal::TargetTooLong => 414,
            Refusal::Version => 505,
            _ => 400,
        }
    }
}

/// The two versions spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Version {
    /// HTTP/1.0: one request per connection unless both ask for more; no chunked coding.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunked coding.
    Chunked,
    /// Everything until the server closes; responses only.
    UntilClose,
}
