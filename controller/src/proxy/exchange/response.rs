//! A response on its way from a server of HTTP/1.1.

use super::{Complete, Exchange, INTERIMS_MAX, Loan, Way, take_turns};
use crate::proxy::body_sink::BodySink;
use crate::proxy::client::Side;
use crate::proxy::client_stream::ClientStream;
use crate::proxy::failure::Failure;
use crate::proxy::http1::body::BodyDecoder;
use crate::proxy::http1::head::ResponseHead;
use crate::proxy::http1::rewrite::{Shape, ToClient, write_response};
use crate::proxy::http1::{Framing, HEAD_LIMIT, Refusal, Version};
use crate::proxy::stream::trailers_of;
use crate::proxy::tunnel;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::task::ready;

/// Room before a response, so that the head for the client, at most this much longer, can be put right before the body
/// bytes that came with the server's head, and both leave in one write. A sticky session's cookie takes 115 of them.
const HEADROOM: usize = 256;
impl Exchange<'_> {
    /// Reads the response and passes it on.
    pub(super) async fn respond(
        &self,
        head_out: &mut Vec<u8>,
        response: &mut ResponseHead,
    ) -> Result<Complete, Failure> {
        let progress = self.progress;
        let mut loan = Loan::for_response(&self.client.worker, &self.client.side);
        let (mut filled, mut interims) = (HEADROOM, 0);
        response.reset();
        let length = loop {
            let read = self.read_from_server(&mut loan, filled).await;
            let fresh = filled == HEADROOM;
            match read {
                Ok(read @ 1..) => filled += read,
                _ if fresh && progress.first_byte.get() == 0 => return Err(Failure::Died),
                _ => return Err(Failure::Response(Refusal::StartLine)),
            }
            let buffer = loan.bytes();
            if progress.first_byte.get() == 0 {
                progress.first_byte.set(self.client.timer.now());
            }
            let mut complete = response.parse(&buffer[HEADROOM..filled]).map_err(Failure::Response)?;
            while let Some(length) = complete
                && response.is_interim()
            {
                if response.status == 101 {
                    if !self.upgrade {
                        // Upgrade was not forwarded, so nobody asked for it.
                        return Err(Failure::Response(Refusal::StartLine));
                    }
                    let received = HEADROOM..HEADROOM + length;
                    return self.switch_protocols(loan, received, filled, head_out, response).await;
                }
                interims += 1;
                if interims > INTERIMS_MAX {
                    return Err(Failure::Response(Refusal::TooLarge));
                }
                self.pass_interim(response, &buffer[HEADROOM..filled], head_out).await?;
                buffer.copy_within(HEADROOM + length..filled, HEADROOM);
                filled -= length;
                response.reset();
                complete = response.parse(&buffer[HEADROOM..filled]).map_err(Failure::Response)?;
            }
            if let Some(length) = complete {
                break length;
            }
            if filled - HEADROOM > 2 * HEAD_LIMIT {
                return Err(Failure::Response(Refusal::TooLarge));
            }
            if filled == buffer.len() {
                loan.grow();
            }
        };
        self.pass_response(loan, filled, length, head_out, response).await
    }

    /// Passes 1xx on to clients that can expect it (RFC 9110 section 15.2).
    pub(super) async fn pass_interim(
        &self,
        response: &ResponseHead,
        head: &[u8],
        head_out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let version = self.request.version;
        if version == Version::Http10 || (response.status == 100 && !self.request.expects_continue) {
            return Ok(());
        }
        head_out.clear();
        write_response(head_out, response, head, &ToClient::new(version, true));
        self.while_client_takes(self.client.send_head(head_out, false, self.count_sent())).await?;
        self.set_deadline();
        Ok(())
    }

    /// Passes the response on whose head is `length` bytes of `loan`, which is filled up to `filled`.
    async fn pass_response(
        &self,
        mut loan: Loan<'_>,
        filled: usize,
        length: usize,
        head_out: &mut Vec<u8>,
        response: &mut ResponseHead,
    ) -> Result<Complete, Failure> {
        let progress = self.progress;
        let buffer = loan.bytes();
        let framing = response.body_framing(self.to_head);
        let head_end = HEADROOM + length;
        let changes =
            self.decision.on_response(response, &buffer[HEADROOM..head_end], framing, self.may_compress());
        progress.status.set(response.status);
        if changes.answer.is_some() {
            return self.replace(&changes).await;
        }
        let shape = self.shape(framing, &changes);
        // A client that is still sending cannot use the connection again: what it sends is no longer read.
        let version = self.request.version;
        let ends_by_close = self.is_connection()
            && match shape {
                Shape::Verbatim => framing == Framing::UntilClose,
                Shape::Data => framing == Framing::UntilClose || framing == Framing::Chunked,
                Shape::Chunked => false,
            };
        let mut to = ToClient::new(version, self.request.keep_alive);
        to.keep_alive &= !ends_by_close && progress.uploaded.get() && !self.client.is_closing();
        to.shape = shape;
        to.is_changed = changes.gzip;
        progress.ends_by_close.set(ends_by_close);
        head_out.clear();
        self.write_head(head_out, response, &buffer[HEADROOM..head_end], &to, &changes);
        let (decoder, surplus) = match &self.client.side {
            Side::Connection(client) if shape == Shape::Verbatim => {
                self.pass_verbatim(client, loan, head_end, filled, framing, head_out).await?
            }
            // Boxed: few responses need it, and every request's future would have room for it.
            _ => {
                let body = head_end..filled;
                Box::pin(self.pass_data(loan, body, framing, shape, changes.gzip, head_out)).await?
            }
        };
        let reuse_server = !surplus
            && decoder.is_done()
            && response.keep_alive
            && self.group.keep_alive
            && progress.uploaded.get();
        Ok(Complete { reuse_server, keep_client: to.keep_alive })
    }

    /// A body that passes as it is framed: the bytes from `head_end` on are the first of it. Its end, and whether
    /// something followed it.
    async fn pass_verbatim(
        &self,
        client: &ClientStream,
        mut loan: Loan<'_>,
        head_end: usize,
        filled: usize,
        framing: Framing,
        head: &[u8],
    ) -> Result<(BodyDecoder, bool), Failure> {
        let progress = self.progress;
        let mut decoder = BodyDecoder::new(framing);
        let buffer = loan.bytes();
        let used = decoder.consume(&buffer[head_end..filled]).map_err(Failure::Response)?;
        let mut surplus = used < filled - head_end;
        progress.started.set(true);
        progress.body_sent.set(used as u64);
        match head_end.checked_sub(head.len()) {
            Some(start) => {
                buffer[start..head_end].copy_from_slice(head);
                self.write_to_client(client, &buffer[start..head_end + used]).await?;
            }
            None => {
                self.write_to_client(client, head).await?;
                if used > 0 {
                    self.write_to_client(client, &buffer[head_end..head_end + used]).await?;
                }
            }
        }
        let mut reads = 0;
        while !decoder.is_done() {
            let Some(read) = self.read_body(&mut loan, &mut reads, &decoder).await? else { break };
            let buffer = loan.bytes();
            let used = decoder.consume(&buffer[..read]).map_err(Failure::Response)?;
            surplus |= used < read;
            progress.body_sent.set(progress.body_sent.get() + used as u64);
            self.write_to_client(client, &buffer[..used]).await?;
        }
        Ok((decoder, surplus))
    }

    /// A body that reaches the client otherwise: as its data, in chunks of ours, or compressed. `body` is the first of it.
    async fn pass_data(
        &self,
        mut loan: Loan<'_>,
        mut body: Range<usize>,
        framing: Framing,
        shape: Shape,
        gzip: bool,
        head: &[u8],
    ) -> Result<(BodyDecoder, bool), Failure> {
        let progress = self.progress;
        let mut decoder = BodyDecoder::keeping_trailers(framing);
        progress.started.set(true);
        let is_stream = !self.is_connection();
        let has_body = !decoder.is_done();
        self.while_client_takes(self.client.send_head(head, !has_body, self.count_sent())).await?;
        if !has_body {
            return Ok((decoder, !body.is_empty()));
        }
        let mut sink = BodySink::new(self.client, shape, gzip);
        let mut reads = 0;
        loop {
            while !body.is_empty() && !decoder.is_done() {
                let buffer = loan.bytes();
                let step = decoder.step(&buffer[body.clone()]).map_err(Failure::Response)?;
                let data = body.start + step.data.start..body.start + step.data.end;
                body.start += step.consumed;
                progress.body_sent.set(progress.body_sent.get() + data.len() as u64);
                let more = !body.is_empty() || decoder.is_done();
                self.while_client_takes(sink.write(&buffer[data], more, self.count_sent())).await?;
            }
            if decoder.is_done() {
                break;
            }
            match self.read_body(&mut loan, &mut reads, &decoder).await? {
                Some(read) => body = 0..read,
                None => break,
            }
        }
        let trailers = match decoder.trailers() {
            lines if lines.is_empty() || !(is_stream || shape == Shape::Chunked) => None,
            lines => Some(trailers_of(lines).map_err(Failure::Response)?),
        };
        self.while_client_takes(sink.finish(trailers, self.count_sent())).await?;
        Ok((decoder, !body.is_empty()))
    }

    /// The next bytes of a body, from the buffer's beginning on; `None` at a proper end.
    async fn read_body(
        &self,
        loan: &mut Loan<'_>,
        reads: &mut u32,
        decoder: &BodyDecoder,
    ) -> Result<Option<usize>, Failure> {
        self.set_deadline();
        loan.give_back();
        take_turns(reads).await;
        match self.read_from_server(loan, 0).await {
            Ok(read @ 1..) => Ok(Some(read)),
            Ok(0) if decoder.may_close() => Ok(None),
            _ => Err(Failure::Cut),
        }
    }

    /// Passes a 101 on and then whatever either side sends (RFC 9110 section 7.8, LR-130).
    async fn switch_protocols(
        &self,
        mut loan: Loan<'_>,
        received: Range<usize>,
        filled: usize,
        head_out: &mut Vec<u8>,
        response: &ResponseHead,
    ) -> Result<Complete, Failure> {
        let Side::Connection(client) = &self.client.side else {
            return Err(Failure::Response(Refusal::StartLine));
        };
        let Way::Connection(server) = self.way else { return Err(Failure::Response(Refusal::StartLine)) };
        let progress = self.progress;
        let head_end = received.end;
        let buffer = loan.bytes();
        head_out.clear();
        let to = ToClient { upgrade: true, ..ToClient::new(Version::Http11, true) };
        write_response(head_out, response, &buffer[received], &to);
        head_out.extend_from_slice(&buffer[head_end..filled]);
        loan.give_back();
        progress.status.set(101);
        progress.started.set(true);
        progress.tunnels.set(true);
        self.write_to_client(client, head_out).await?;
        progress.body_sent.set((filled - head_end) as u64);
        progress.body_first.set(self.body.len() as u64);
        if !self.body.is_empty() && self.write_to_server(&mut [IoSlice::new(self.body)]).await.is_err() {
            return Err(Failure::Cut);
        }
        let count = |from_client: bool, bytes: u64| {
            if from_client {
                progress.body_received.set(progress.body_received.get() + bytes);
                self.server.counters.bytes_sent.add(bytes);
            } else {
                progress.body_sent.set(progress.body_sent.get() + bytes);
                progress.bytes_sent.set(progress.bytes_sent.get() + bytes);
                self.server.counters.bytes_received.add(bytes);
            }
            self.set_deadline();
        };
        self.set_deadline();
        Box::pin(tunnel::join(client, server, &self.client.worker, count)).await;
        Ok(Complete { reuse_server: false, keep_client: false })
    }

    /// Reads into `loan` from `at` on, and holds no buffer while there is nothing to read and nothing to keep.
    async fn read_from_server(&self, loan: &mut Loan<'_>, at: usize) -> io::Result<usize> {
        let Way::Connection(stream) = self.way else { return Err(io::ErrorKind::Unsupported.into()) };
        let keeps = loan.is_taken();
        let read = poll_fn(|cx| {
            if !keeps {
                ready!(stream.poll_readable(cx));
            }
            let read = stream.poll_read(cx, &mut loan.bytes()[at..]);
            if !keeps && read.is_pending() {
                loan.give_back();
            }
            read
        })
        .await?;
        self.server.counters.bytes_received.add(read as u64);
        Ok(read)
    }
}
