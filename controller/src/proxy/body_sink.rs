//! How a response's body reaches a client when it does not pass as the server framed it.

use super::client::{Client, Side, write_to_stream};
use super::exchange::write_all;
use super::http1::rewrite::Shape;
use super::stream::http1_trailers;
use flate2::{Compression, write::GzEncoder};
use http::HeaderMap;
use std::future::poll_fn;
use std::io::{self, IoSlice, Write};

/// A compressed piece is sent once it is so long, and when the server has nothing more at the moment.
const PIECE_BYTES: usize = 16 * 1024;

/// Takes a body's data and brings it to the client in the shape agreed on.
pub struct BodySink<'a> {
    client: &'a Client,
    shape: Shape,
    encoder: Option<Box<GzEncoder<Vec<u8>>>>,
}

impl<'a> BodySink<'a> {
    /// For a body whose head says so. `gzip`: it is compressed on the way.
    pub fn new(client: &'a Client, shape: Shape, gzip: bool) -> BodySink<'a> {
        // As nginx and HAProxy do by default: the first level gives most of what there is to gain.
        let encoder = gzip.then(|| Box::new(GzEncoder::new(Vec::new(), Compression::fast())));
        BodySink { client, shape, encoder }
    }

    /// Sends `data`; `more` says that further data is at hand, so that little need not go out at once.
    pub async fn write(&mut self, data: &[u8], more: bool, count: impl FnMut(u64)) -> io::Result<()> {
        let Some(encoder) = &mut self.encoder else { return self.send(data, count).await };
        encoder.write_all(data)?;
        if !more || encoder.get_ref().len() >= PIECE_BYTES {
            // What the server sent must not wait for what it sends later.
            encoder.flush()?;
            let piece = std::mem::take(encoder.get_mut());
            self.send(&piece, count).await?;
        }
        Ok(())
    }

    async fn send(&self, data: &[u8], count: impl FnMut(u64)) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        match (&self.client.side, self.shape) {
            (Side::Stream(stream), _) => write_to_stream(&**stream, data, count).await,
            (Side::Connection(connection), Shape::Chunked) => {
                let size = format!("{:x}\r\n", data.len());
                let mut parts = [IoSlice::new(size.as_bytes()), IoSlice::new(data), IoSlice::new(b"\r\n")];
                write_all(connection, &mut parts, count).await
            }
            (Side::Connection(connection), Shape::Data | Shape::Verbatim) => {
                write_all(connection, &mut [IoSlice::new(data)], count).await
            }
        }
    }

    /// Ends the body, with trailers where the client's protocol has a place for them.
    pub async fn finish(
        mut self,
        mut trailers: Option<HeaderMap>,
        mut count: impl FnMut(u64),
    ) -> io::Result<()> {
        if let Some(encoder) = self.encoder.take() {
            let rest = encoder.finish()?;
            self.send(&rest, &mut count).await?;
        }
        match &self.client.side {
            Side::Stream(stream) => poll_fn(|cx| stream.poll_finish(cx, &mut trailers)).await,
            Side::Connection(connection) if self.shape == Shape::Chunked => {
                let mut end = b"0\r\n".to_vec();
                if let Some(trailers) = &trailers {
                    http1_trailers(&mut end, trailers)
                        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                }
                end.extend_from_slice(b"\r\n");
                write_all(connection, &mut [IoSlice::new(&end)], count).await
            }
            Side::Connection(_) => Ok(()),
        }
    }
}
