//! Two connections that speak whatever they agreed on (LR-130): bytes pass as they come, no faster than their reader.

use super::client_stream::ClientStream;
use super::exchange::{Loan, take_turns, write_all};
use super::upstream::{ServerStream, Sink};
use super::worker::Worker;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::{Context, Poll};

/// What bytes are read from.
trait Source: Sink {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
}

impl Source for ClientStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        ClientStream::poll_readable(self, cx)
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        ClientStream::poll_read(self, cx, buffer)
    }
}

impl Source for ServerStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        ServerStream::poll_readable(self, cx)
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        ServerStream::poll_read(self, cx, buffer)
    }
}

/// Passes bytes both ways until one side ends or breaks; what it sent before has then reached the other. `count` is told
/// of each step: whether the client sent, and how many bytes passed.
pub async fn join(client: &ClientStream, server: &ServerStream, worker: &Worker, count: impl Fn(bool, u64)) {
    let mut up = pin!(pass(client, server, worker, |bytes| count(true, bytes)));
    let mut down = pin!(pass(server, client, worker, |bytes| count(false, bytes)));
    poll_fn(|cx| if up.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { down.as_mut().poll(cx) })
        .await;
}

async fn pass(from: &impl Source, to: &impl Sink, worker: &Worker, count: impl Fn(u64)) {
    let mut loan = Loan::new(worker);
    let mut reads = 0;
    loop {
        take_turns(&mut reads).await;
        poll_fn(|cx| from.poll_readable(cx)).await;
        let bytes = loan.bytes();
        // What is readable may turn out to be no data (TLS): then the buffer is kept for the moment.
        let Ok(read @ 1..) = poll_fn(|cx| from.poll_read(cx, bytes)).await else { return };
        if write_all(to, &mut [IoSlice::new(&bytes[..read])], &count).await.is_err() {
            return;
        }
        loan.give_back();
    }
}
