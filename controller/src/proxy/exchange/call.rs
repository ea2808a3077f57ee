//! One request at a server of HTTP/2: as gRPC has it, each message when it comes, and trailers after the last (LR-133).

use super::{Buffers, Complete, Exchange, INTERIMS_MAX, Loan, Waits};
use crate::proxy::body_sink::BodySink;
use crate::proxy::client::Side;
use crate::proxy::client_stream::ClientStream;
use crate::proxy::failure::Failure;
use crate::proxy::http1::body::BodyDecoder;
use crate::proxy::http1::head::ResponseHead;
use crate::proxy::http1::rewrite::{Shape, ToClient};
use crate::proxy::http1::{Framing, Refusal};
use crate::proxy::http2::client::Call;
use crate::proxy::stream::{Stream, trailers_of};
use http::HeaderMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

impl Exchange<'_> {
    /// As [`Exchange::run`]; the head is sent already.
    pub(super) async fn run_call(&self, call: &Call, buffers: Buffers<'_>) -> Result<Complete, Failure> {
        let Buffers { out, upload, response } = buffers;
        self.progress.sent.set(true);
        let mut sending = pin!(self.upload_call(call, upload));
        let mut respond = pin!(self.respond_call(call, out, response));
        let mut sent = false;
        let result = self
            .guarded(|cx| {
                if !sent && let Poll::Ready(result) = sending.as_mut().poll(cx) {
                    sent = true;
                    if let Err(failure) = result {
                        return Poll::Ready(Err(failure));
                    }
                }
                respond.as_mut().poll(cx)
            })
            .await;
        if result.is_err() {
            call.cancel();
        }
        result
    }

    /// Sends the body as it comes, and what follows it.
    async fn upload_call(&self, call: &Call, surplus: &mut Vec<u8>) -> Result<(), Failure> {
        let trailers = match (&self.client.side, self.request.framing) {
            (_, Framing::None) => {
                // The head said that nothing follows.
                self.progress.uploaded.set(true);
                return Ok(());
            }
            (Side::Connection(client), _) => self.upload_data(client, call, surplus).await?,
            (Side::Stream(stream), _) => self.upload_messages(&**stream, call).await?,
        };
        // What became of a request that the server takes no more of is found by the response.
        if call.finish(trailers).is_ok() {
            self.progress.uploaded.set(true);
            self.set_deadline();
        }
        Ok(())
    }

    async fn upload_messages(&self, stream: &dyn Stream, call: &Call) -> Result<Option<HeaderMap>, Failure> {
        let progress = self.progress;
        loop {
            progress.upload_waits.set(Waits::Client);
            let data = poll_fn(|cx| stream.poll_body(cx)).await.map_err(|_| Failure::ClientLeft)?;
            let Some(data) = data else { break };
            progress.body_received.set(progress.body_received.get() + data.len() as u64);
            self.copy_data(&data);
            if !self.send_data(call, &data).await {
                return Ok(None);
            }
        }
        let trailers = poll_fn(|cx| stream.poll_trailers(cx)).await.map_err(|_| Failure::ClientLeft)?;
        self.copy_end(trailers.as_ref())?;
        Ok(trailers)
    }

    /// The data of a body that is framed as in HTTP/1.1.
    async fn upload_data(
        &self,
        client: &ClientStream,
        call: &Call,
        surplus: &mut Vec<u8>,
    ) -> Result<Option<HeaderMap>, Failure> {
        let progress = self.progress;
        let mut decoder = BodyDecoder::keeping_trailers(self.request.framing);
        surplus.clear();
        let mut pending = self.body.to_vec();
        let mut first = true;
        let mut loan = Loan::new(&self.client.worker);
        loop {
            let count = if first { &progress.body_first } else { &progress.body_received };
            first = false;
            let mut at = 0;
            while at < pending.len() && !decoder.is_done() {
                let step = decoder.step(&pending[at..]).map_err(Failure::RequestBody)?;
                let data = at + step.data.start..at + step.data.end;
                self.copy(&pending[at..at + step.consumed]);
                at += step.consumed;
                // Before it is sent: what was taken from the client is not there for another attempt.
                count.set(count.get() + step.consumed as u64);
                if !data.is_empty() && !self.send_data(call, &pending[data]).await {
                    return Ok(None);
                }
            }
            if decoder.is_done() {
                surplus.extend_from_slice(&pending[at..]);
                break;
            }
            progress.upload_waits.set(Waits::Client);
            poll_fn(|cx| client.poll_readable(cx)).await;
            let bytes = loan.bytes();
            let read = poll_fn(|cx| client.poll_read(cx, bytes)).await.map_err(|_| Failure::ClientLeft)?;
            if read == 0 {
                return Err(Failure::ClientLeft);
            }
            pending.clear();
            pending.extend_from_slice(&bytes[..read]);
            loan.give_back();
        }
        match decoder.trailers() {
            b"" => Ok(None),
            lines => trailers_of(lines).map(Some).map_err(Failure::RequestBody),
        }
    }

    /// False if the server takes no more.
    async fn send_data(&self, call: &Call, mut data: &[u8]) -> bool {
        let progress = self.progress;
        progress.upload_waits.set(Waits::Server);
        self.set_deadline();
        while !data.is_empty() {
            let Ok(sent) = poll_fn(|cx| call.poll_write(cx, data)).await else { return false };
            self.server.counters.bytes_sent.add(sent as u64);
            data = &data[sent..];
        }
        self.set_deadline();
        true
    }

    async fn respond_call(
        &self,
        call: &Call,
        head_out: &mut Vec<u8>,
        response: &mut ResponseHead,
    ) -> Result<Complete, Failure> {
        let progress = self.progress;
        let (mut head, mut interims) = (Vec::new(), 0);
        let ends = loop {
            head.clear();
            let ends = poll_fn(|cx| call.poll_head(cx, &mut head)).await?;
            if progress.first_byte.get() == 0 {
                progress.first_byte.set(self.client.timer.now());
            }
            self.server.counters.bytes_received.add(head.len() as u64);
            response.reset();
            match response.parse(&head).map_err(Failure::Response)? {
                Some(_) if response.is_interim() => {
                    interims += 1;
                    if interims > INTERIMS_MAX {
                        return Err(Failure::Response(Refusal::TooLarge));
                    }
                    self.pass_interim(response, &head, head_out).await?;
                }
                Some(_) => break ends,
                None => return Err(Failure::Response(Refusal::StartLine)),
            }
        };
        self.set_deadline();
        let framing = if ends { Framing::None } else { response.body_framing(self.to_head) };
        let mut changes = self.decision.on_response(response, &head, framing, self.may_compress());
        if ends && self.is_connection() && response.body_framing(self.to_head) == Framing::UntilClose {
            // HTTP/2 ends a response by its head alone; in HTTP/1.1 that needs to be said.
            changes.lines.extend_from_slice(b"Content-Length: 0\r\n");
        }
        progress.status.set(response.status);
        if changes.answer.is_some() {
            return self.replace(&changes).await;
        }
        let is_chunked = changes.gzip || framing == Framing::Chunked;
        let shape = if self.is_connection() && is_chunked { Shape::Chunked } else { Shape::Data };
        let mut to = ToClient::new(self.request.version, self.request.keep_alive);
        to.keep_alive &= progress.uploaded.get() && !self.client.is_closing();
        to.shape = shape;
        to.is_changed = changes.gzip;
        head_out.clear();
        self.write_head(head_out, response, &head, &to, &changes);
        progress.started.set(true);
        self.while_client_takes(self.client.send_head(head_out, ends, self.count_sent())).await?;
        if !ends {
            self.pass_messages(call, framing, shape, changes.gzip).await?;
        }
        Ok(Complete { reuse_server: false, keep_client: to.keep_alive })
    }

    async fn pass_messages(
        &self,
        call: &Call,
        framing: Framing,
        shape: Shape,
        gzip: bool,
    ) -> Result<(), Failure> {
        let progress = self.progress;
        let mut sink = BodySink::new(self.client, shape, gzip);
        // HTTP/2 has its own ends; what is announced must come all the same, or the client would wait for it.
        let mut left = match framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        while let Some(data) = poll_fn(|cx| call.poll_body(cx)).await? {
            let length = data.len() as u64;
            if let Some(left) = &mut left {
                *left = left.checked_sub(length).ok_or(Failure::Cut)?;
            }
            self.server.counters.bytes_received.add(length);
            progress.body_sent.set(progress.body_sent.get() + length);
            self.set_deadline();
            self.while_client_takes(sink.write(&data, false, self.count_sent())).await?;
            self.set_deadline();
        }
        if left.is_some_and(|left| left > 0 && !self.to_head) {
            return Err(Failure::Cut);
        }
        let trailers = poll_fn(|cx| call.poll_trailers(cx)).await?;
        let finishing = async { sink.finish(trailers, self.count_sent()).await as io::Result<()> };
        self.while_client_takes(finishing).await
    }
}
