//! One client connection: a request out, an answer in.

use super::Answer;
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// How much of a body is kept.
const KEPT_BYTES: usize = 1 << 16;

/// A connection on which one request at a time is under way.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    /// Whether anything of an answer to the last request has come.
    has_answered: bool,
    /// Whether both sides are ready for another request.
    is_reusable: bool,
}

impl Connection {
    pub(super) async fn open(source: Option<IpAddr>, to: SocketAddr) -> Result<Connection> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = source {
            choose_port_when_connecting(&socket)?;
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(stream), has_answered: false, is_reusable: false })
    }

    /// Whether the other side has neither closed it nor sent anything.
    pub(super) fn is_idle(&self) -> bool {
        let mut byte = [0];
        let nothing = self.stream.get_ref().try_read(&mut byte);
        self.stream.buffer().is_empty() && nothing.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    pub(super) fn is_reusable(&self) -> bool {
        self.is_reusable
    }

    /// Sends `head`, a whole request without a body, and reads the whole answer.
    pub(super) async fn exchange(&mut self, head: &[u8]) -> Result<Answer> {
        self.has_answered = false;
        self.is_reusable = false;
        self.stream.get_mut().write_all(head).await?;
        let mut answer = self.head().await?;
        while (100..200).contains(&answer.status) {
            answer = self.head().await?;
        }
        let length = answer.header("content-length").map(str::to_owned);
        let is_chunked =
            answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let mut knows_its_end = true;
        if [204, 304].contains(&answer.status) {
        } else if is_chunked {
            self.chunks(&mut answer).await?;
        } else if let Some(length) = length {
            let length = length.parse().map_err(|_| malformed(&format!("content-length {length:?}")))?;
            self.bytes(length, &mut answer).await?;
        } else {
            knows_its_end = false;
            self.stream.read_to_end(&mut answer.body).await?;
            answer.body_bytes = answer.body.len();
        }
        let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.is_reusable = knows_its_end && !closes;
        Ok(answer)
    }

    async fn head(&mut self) -> Result<Answer> {
        let status_line = self.line().await?;
        let status = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        let status = status.ok_or_else(|| malformed(&format!("status line {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(Answer { status, headers, body: Vec::new(), body_bytes: 0 });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&format!("line {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// A line without its end.
    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).await?;
        self.has_answered |= length > 0;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None if line.is_empty() => {
                Err(Error::new(ErrorKind::UnexpectedEof, "closed where a line should begin"))
            }
            None => Err(malformed(&format!("end of {line:?}"))),
        }
    }

    async fn chunks(&mut self, answer: &mut Answer) -> Result<()> {
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(digits, 16).map_err(|_| malformed(&format!("chunk {line:?}")))?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(());
            }
            self.bytes(size, answer).await?;
            if !self.line().await?.is_empty() {
                return Err(malformed("a chunk that is longer than it says"));
            }
        }
    }

    async fn bytes(&mut self, count: usize, answer: &mut Answer) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let found = self.stream.fill_buf().await?;
            if found.is_empty() {
                let message = format!("closed {left} bytes before the end of {count}");
                return Err(Error::new(ErrorKind::UnexpectedEof, message));
            }
            let taken = found.len().min(left);
            let kept = taken.min(KEPT_BYTES.saturating_sub(answer.body.len()));
            answer.body.extend_from_slice(&found[..kept]);
            self.stream.consume(taken);
            left -= taken;
        }
        answer.body_bytes += count;
        Ok(())
    }
}

/// Without this, bind(2) takes a port that no connection of the address uses, whatever its destination, and they run
/// out.
fn choose_port_when_connecting(socket: &TcpSocket) -> Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: a system call on an open descriptor and a number that outlives it, with that number's size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not HTTP/1.1: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    /// What a client makes of `bytes` as the answer.
    fn read(bytes: &'static [u8]) -> (Result<Answer>, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let to = listener.local_addr().expect("bound");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            stream.write_all(bytes).expect("send");
            stream.shutdown(std::net::Shutdown::Write).ok();
            std::io::copy(&mut stream, &mut std::io::sink()).ok();
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let outcome = runtime.block_on(async {
            let mut connection = Connection::open(None, to).await.expect("connect");
            let answer = connection.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            (answer, connection.is_reusable())
        });
        server.join().expect("it ends");
        outcome
    }

    #[test]
    fn reads_bodies_of_every_framing() {
        let cases: [(&[u8], &[u8], bool); 4] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", b"ab", true),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n",
                b"abc",
                true,
            ),
            (b"HTTP/1.1 200 OK\r\n\r\nall of it", b"all of it", false),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\nConnection: close\r\n\r\n", b"", false),
        ];
        for (bytes, body, reusable) in cases {
            let (answer, is_reusable) = read(bytes);
            let answer = answer.expect("an answer");
            assert_eq!((&answer.body[..], answer.body_bytes, is_reusable), (body, body.len(), reusable));
        }
    }

    #[test]
    fn an_answer_that_is_cut_short_is_none() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            b"HTTP/1.1 200 OK\r\nContent-",
            b"hello\r\n\r\n",
            b"",
        ] {
            assert!(read(bytes).0.is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
