//! One request of a multiplexed connection: what HTTP/2 and HTTP/3 have in common.
//!
//! The request's head reaches the engine as the HTTP/1.1 head that says the same, so that one parser, one set of rules
//! and one writer serve all versions; body, trailers and response go through [`Stream`].

use bytes::Bytes;
use http::{HeaderMap, Response};
use std::io;
use std::task::{Context, Poll};

/// A client's stream, from the request's head on. One task polls it; body and response may be polled in turn. Flow
/// control is the implementation's: what is taken from the body opens the client's window again, and a write takes no
/// more than the client's window lets it.
pub trait Stream {
    /// The next bytes of the request's body, never empty; `None` at its end. An error means that the client broke off.
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;

    /// What follows the body, after its end.
    fn poll_trailers(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<HeaderMap>>>;

    /// Sends the head of a response, or of an interim one (1xx). `ends`: nothing follows it. It is on its way with the
    /// next write or the end.
    fn send_head(&self, head: Response<()>, ends: bool) -> io::Result<()>;

    /// Sends some of `bytes`, which are not empty: how many.
    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Ends a response whose head did not, with trailers if there are any, which are taken. Polled until it is ready.
    fn poll_finish(&self, cx: &mut Context<'_>, trailers: &mut Option<HeaderMap>) -> Poll<io::Result<()>>;

    /// Breaks the stream off, so that the client cannot take what it has for the whole response.
    fn reset(&self, reason: Reset);

    /// Ready once the client gave the request up: it reset the stream, or its connection is gone.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Why a stream is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// An error on our side or the server's (INTERNAL_ERROR, H3_INTERNAL_ERROR).
    Internal,
    /// The rest of the request is of no interest; the response is whole (NO_ERROR, H3_NO_ERROR).
    NoError,
    /// What the client sent breaks the protocol (PROTOCOL_ERROR, H3_MESSAGE_ERROR).
    Protocol,
}
