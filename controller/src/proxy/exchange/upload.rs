//! A request on its way to a server of HTTP/1.1.

use super::{Exchange, Loan, Waits, take_turns};
use crate::proxy::client::Side;
use crate::proxy::client_stream::ClientStream;
use crate::proxy::failure::Failure;
use crate::proxy::http1::body::BodyDecoder;
use crate::proxy::http1::{Framing, Refusal};
use crate::proxy::stream::{Stream, http1_trailers};
use http::HeaderMap;
use std::future::poll_fn;
use std::io::IoSlice;
use std::task::Poll;

impl Exchange<'_> {
    /// Sends a request without body. A failed write is left for the reader to find: the server may have answered.
    pub(super) async fn send_head(&self, head: &[u8]) {
        let _ = self.write_to_server(&mut [IoSlice::new(head)]).await;
        self.progress.uploaded.set(true);
    }

    /// Sends `head` and the body, leaving what follows the body in `surplus`.
    pub(super) async fn upload(&self, head: &[u8], surplus: &mut Vec<u8>) -> Result<(), Failure> {
        match &self.client.side {
            Side::Connection(client) => self.upload_from_connection(client, head, surplus).await,
            Side::Stream(stream) => self.upload_from_stream(&**stream, head).await,
        }
    }

    /// A body that passes as it is framed.
    async fn upload_from_connection(
        &self,
        client: &ClientStream,
        head: &[u8],
        surplus: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let progress = self.progress;
        let mut decoder = BodyDecoder::new(self.request.framing);
        let first = decoder.consume(self.body).map_err(Failure::RequestBody)?;
        progress.body_first.set(first as u64);
        progress.upload_waits.set(Waits::Server);
        surplus.clear();
        self.copy(&self.body[..first]);
        if self.write_to_server(&mut [IoSlice::new(head), IoSlice::new(&self.body[..first])]).await.is_err() {
            return Ok(());
        }
        let mut loan = Loan::new(&self.client.worker);
        let mut reads = 0;
        while !decoder.is_done() {
            take_turns(&mut reads).await;
            progress.upload_waits.set(Waits::Client);
            poll_fn(|cx| client.poll_readable(cx)).await;
            let bytes = loan.bytes();
            let read = poll_fn(|cx| client.poll_read(cx, bytes)).await.map_err(|_| Failure::ClientLeft)?;
            if read == 0 {
                return Err(Failure::ClientLeft);
            }
            let used = decoder.consume(&bytes[..read]).map_err(Failure::RequestBody)?;
            progress.body_received.set(progress.body_received.get() + used as u64);
            self.set_deadline();
            progress.upload_waits.set(Waits::Server);
            self.copy(&bytes[..used]);
            if self.write_to_server(&mut [IoSlice::new(&bytes[..used])]).await.is_err() {
                return Ok(());
            }
            self.set_deadline();
            surplus.extend_from_slice(&bytes[used..read]);
            loan.give_back();
        }
        progress.uploaded.set(true);
        // From here on the deadline is the response's.
        self.set_deadline();
        Ok(())
    }

    /// A body that is framed here: in chunks, unless its length is known.
    async fn upload_from_stream(&self, stream: &dyn Stream, head: &[u8]) -> Result<(), Failure> {
        let progress = self.progress;
        let mut left = match self.request.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        let mut head = head;
        let mut reads = 0;
        loop {
            take_turns(&mut reads).await;
            progress.upload_waits.set(Waits::Client);
            let mut waits = false;
            let data = poll_fn(|cx| {
                let polled = stream.poll_body(cx);
                // The head goes with the first of the body, but does not wait for it.
                if polled.is_pending() && !head.is_empty() {
                    waits = true;
                    return Poll::Ready(Ok(None));
                }
                polled
            })
            .await
            .map_err(|_| Failure::ClientLeft)?;
            progress.upload_waits.set(Waits::Server);
            if waits {
                if self.write_to_server(&mut [IoSlice::new(head)]).await.is_err() {
                    return Ok(());
                }
                head = b"";
                continue;
            }
            let Some(data) = data else { break };
            let length = data.len() as u64;
            progress.body_received.set(progress.body_received.get() + length);
            self.set_deadline();
            if let Some(left) = &mut left {
                *left = left.checked_sub(length).ok_or(Failure::RequestBody(Refusal::Length))?;
            }
            let (size, end) = self.chunk_around(&data);
            self.copy_data(&data);
            let mut parts =
                [IoSlice::new(head), IoSlice::new(size.as_bytes()), IoSlice::new(&data), IoSlice::new(end)];
            if self.write_to_server(&mut parts).await.is_err() {
                return Ok(());
            }
            head = b"";
            self.set_deadline();
        }
        let mut end = head.to_vec();
        match left {
            Some(0) => {}
            Some(_) => return Err(Failure::RequestBody(Refusal::Length)),
            None => {
                let trailers =
                    poll_fn(|cx| stream.poll_trailers(cx)).await.map_err(|_| Failure::ClientLeft)?;
                push_last_chunk(&mut end, trailers.as_ref())?;
            }
        }
        self.copy(&end[head.len()..]);
        if self.write_to_server(&mut [IoSlice::new(&end)]).await.is_ok() {
            progress.uploaded.set(true);
            self.set_deadline();
        }
        Ok(())
    }

    /// What HTTP/1.1 has before and after a part of a body that comes without framing.
    fn chunk_around(&self, data: &[u8]) -> (String, &'static [u8]) {
        match self.request.framing {
            Framing::Length(_) => (String::new(), b""),
            _ => (format!("{:x}\r\n", data.len()), b"\r\n"),
        }
    }

    /// As [`Exchange::copy`], for a part that comes without framing.
    pub(super) fn copy_data(&self, data: &[u8]) {
        if self.progress.copied.borrow().is_none() {
            return;
        }
        let (size, end) = self.chunk_around(data);
        [size.as_bytes(), data, end].into_iter().for_each(|part| self.copy(part));
    }

    /// As [`Exchange::copy`], for the end of a body that comes without framing.
    pub(super) fn copy_end(&self, trailers: Option<&HeaderMap>) -> Result<(), Failure> {
        if self.progress.copied.borrow().is_none() || matches!(self.request.framing, Framing::Length(_)) {
            return Ok(());
        }
        let mut end = Vec::new();
        push_last_chunk(&mut end, trailers)?;
        self.copy(&end);
        Ok(())
    }

    /// Notes a part of the body, framed as the request's head says, for the copy that a rule wants.
    pub(super) fn copy(&self, part: &[u8]) {
        if let Some(copied) = &mut *self.progress.copied.borrow_mut() {
            copied.push(part);
        }
    }
}

fn push_last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) -> Result<(), Failure> {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        http1_trailers(out, trailers).map_err(Failure::RequestBody)?;
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}
