//! HTTP/3 from clients (RFC 9114), over quinn.
//!
//! - [`connection`]: a client's connection, from settings to GOAWAY · [`control`]: the streams that carry no request
//! - [`head`]: field sections to heads · [`stream`]: one request as the engine's `Stream`
//! - [`code`]: error codes · [`frame`]: frames of a stream · [`qpack`], [`huffman`]: field sections
//!
//! Why not the h3 crate: as of 0.0.8 it keeps a HEADERS frame, or one of unknown type, of any length a client announces,
//! decodes into lists without a bound on what a short section becomes, does not tell of a request that the client gave up
//! while its response is awaited, and boxes a future for each read. These files are about as long as the code around it
//! would be. The price: they are ours to keep right; tests use it, and aioquic, as clients.
//!
//! What a client can make a connection hold, whatever it does: what QUIC's windows let it send, which is a megabyte of
//! bodies and as much of responses not acknowledged ([`super::endpoint`]), and a megabyte of heads ([`connection`]).
//! Absent here: push, the dynamic table, datagrams, extended CONNECT.

mod code;
mod connection;
mod control;
mod frame;
mod head;
mod huffman;
mod qpack;
mod stream;
#[cfg(test)]
mod tests;

pub use connection::{Limits, serve};

use code::Code;
