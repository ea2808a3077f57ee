//! A client's connection, plain or encrypted.

use super::reactor::TcpStream;
use super::tls::TlsStream;
use super::upstream::Sink;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection from a client; methods as those of [`TcpStream`].
///
/// Dropped as it is, an encrypted one ends without close_notify, so that the client never takes a cut response for a
/// whole one: [`ClientStream::poll_close_notify`] before dropping says that it is whole.
pub enum ClientStream {
    /// Without encryption.
    Plain(TcpStream),
    /// By TLS.
    Tls(Box<TlsStream>),
}

impl ClientStream {
    /// See [`TcpStream::poll_read`]. 0 only at the end of TLS, if there is TLS.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            ClientStream::Plain(stream) => stream.poll_read(cx, buffer),
            ClientStream::Tls(stream) => stream.poll_read(cx, buffer),
        }
    }

    /// See [`TcpStream::poll_readable`].
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            ClientStream::Plain(stream) => stream.poll_readable(cx),
            ClientStream::Tls(stream) => stream.poll_readable(cx),
        }
    }

    /// See [`TcpStream::poll_hung_up`]; with TLS also when it has ended and there is nothing before its end to read.
    pub fn poll_hung_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            ClientStream::Plain(stream) => stream.poll_hung_up(cx),
            ClientStream::Tls(stream) => stream.poll_hung_up(cx),
        }
    }

    /// Tells the client that what it has is whole and nothing follows, where TLS has a word for it. Ready once the
    /// socket has it; poll it only while no write is pending, and before closing after whatever was not cut.
    pub fn poll_close_notify(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            ClientStream::Plain(_) => Poll::Ready(Ok(())),
            ClientStream::Tls(stream) => stream.poll_close_notify(cx),
        }
    }

    /// Sends the end of our side, close_notify first. A socket too full to take that is not waited for.
    pub fn shutdown(&self) -> io::Result<()> {
        if let ClientStream::Tls(stream) = self
            && let Poll::Ready(Err(error)) = stream.poll_close_notify(&mut Context::from_waker(Waker::noop()))
        {
            return Err(error);
        }
        self.tcp().shutdown()
    }

    /// See [`TcpStream::reset_on_close`].
    pub fn reset_on_close(&self) -> io::Result<()> {
        self.tcp().reset_on_close()
    }

    /// The TCP connection, for what encryption does not change.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            ClientStream::Plain(stream) => stream,
            ClientStream::Tls(stream) => stream.tcp(),
        }
    }
}

impl Sink for ClientStream {
    fn poll_write_vectored(&self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            ClientStream::Plain(stream) => Sink::poll_write_vectored(stream, cx, buffers),
            ClientStream::Tls(stream) => stream.poll_write_vectored(cx, buffers),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(ClientStream::poll_read(&self, cx, buffer.initialize_unfilled()))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Sink::poll_write_vectored(&*self, cx, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Sink::poll_write_vectored(&*self, cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &*self {
            ClientStream::Plain(_) => Poll::Ready(Ok(())),
            ClientStream::Tls(stream) => stream.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_close_notify(cx))?;
        Poll::Ready(self.tcp().shutdown())
    }
}
