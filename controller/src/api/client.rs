//! The client side of the native API: blocking, for a command that asks once and ends.

use super::{LINE_BYTES_MAX, Request, Response};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Somewhat longer than the server waits for the control loop, so that its explanation arrives.
const ANSWER_DEADLINE: Duration = Duration::from_secs(70);

/// A connection to a running controller.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "causeway is not running: nobody answers on {path}; start it with `causeway run`, or name its socket with --socket"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// This user may not connect.
    #[error("no permission to use {path}; run this as root (sudo)")]
    NotPermitted {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke, or the answer took too long.
    #[error("talk to causeway on {path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The answer is not one this release knows.
    #[error(
        "the answer of causeway on {path} is not understood: {source}; use the `causeway` of the release that runs"
    )]
    NotUnderstood {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Client {
    /// Connects to the controller on `path`.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NotRunning { path }
                }
                io::ErrorKind::PermissionDenied => ClientError::NotPermitted { path },
                _ => ClientError::Io { path, source },
            }
        })?;
        let deadline = Some(ANSWER_DEADLINE);
        let client = Self { stream: BufReader::new(stream), path: path.to_owned() };
        let socket = client.stream.get_ref();
        socket
            .set_read_timeout(deadline)
            .and_then(|()| socket.set_write_timeout(deadline))
            .map_err(|source| client.io(source))?;
        Ok(client)
    }

    /// Asks once; may be called again.
    pub fn call(&mut self, request: &Request) -> Result<Response, ClientError> {
        let mut line = serde_json::to_vec(request).expect("a request is plain data");
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(|source| self.io(source))?;
        let mut answer = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_BYTES_MAX as u64);
        limited.read_until(b'\n', &mut answer).map_err(|source| self.io(source))?;
        if answer.is_empty() {
            return Err(self.io(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&answer)
            .map_err(|source| ClientError::NotUnderstood { path: self.path.clone(), source })
    }

    fn io(&self, source: io::Error) -> ClientError {
        ClientError::Io { path: self.path.clone(), source }
    }
}
