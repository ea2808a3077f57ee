//! The Unix socket side of the native API.

use super::{LINE_BYTES_MAX, Request, Response};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Where requests go: each with the place for its answer.
pub type Control = mpsc::Sender<(Request, oneshot::Sender<Response>)>;

/// Clients served at a time; one more waits in the socket's backlog.
const CLIENTS_MAX: usize = 32;
/// A client must finish a line it has begun, begin the next, and take an answer, each within this.
const CLIENT_DEADLINE: Duration = Duration::from_secs(10);
/// The control loop answers within this, or the client is told that it did not.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// A bound API socket. Removed from the file system when dropped, unless another took its place meanwhile.
#[derive(Debug)]
pub struct ApiServer {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our socket file.
    identity: (u64, u64),
}

/// Why the API socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A controller is running.
    #[error("{path}: another causeway answers there; stop it, or give this one another `api_socket`")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{action} {path}: {source}; run as root, or choose an `api_socket` this user may create")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl BindError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl ApiServer {
    /// Binds `path`, replacing what a dead controller left there; only the owner may connect. Call it inside a tokio
    /// runtime.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(BindError::InUse { path: path.to_owned() });
        }
        if let Some(directory) = path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o755)
                .create(directory)
                .map_err(BindError::io("create", directory))?;
        }
        // Bound under another name until only the owner may connect; the rename then also replaces a dead one.
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BindError::io("remove", &new)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&new).map_err(BindError::io("bind", &new))?;
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&new, owner_only).map_err(BindError::io("change the mode of", &new))?;
        std::fs::rename(&new, path).map_err(BindError::io("rename", &new))?;
        let metadata = std::fs::metadata(path).map_err(BindError::io("look at", path))?;
        Ok(Self { listener, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
    }

    /// Serves clients until dropped. Each has its own task; none can hold up the others, or the control loop.
    pub async fn serve(self, control: Control) {
        let places = Arc::new(Semaphore::new(CLIENTS_MAX));
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let control = control.clone();
                    tokio::spawn(async move {
                        if let Err(error) = serve_client(stream, control).await {
                            log::debug!("API client: {error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: waiting gives others time to close theirs.
                    log::warn!("accept on {}: {error}", self.path.display());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let is_ours = std::fs::metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            log::debug!("remove {}: {error}", self.path.display());
        }
    }
}

async fn serve_client(stream: UnixStream, control: Control) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(LINE_BYTES_MAX as u64 + 1);
        timeout(CLIENT_DEADLINE, limited.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let (response, is_last) = if line.len() > LINE_BYTES_MAX {
            (failed(format!("request longer than {LINE_BYTES_MAX} bytes")), true)
        } else {
            match serde_json::from_slice(&line) {
                Ok(request) => (ask(request, &control).await, false),
                // What follows a line that cannot be read cannot be trusted either.
                Err(error) => (failed(format!("request is not understood: {error}")), true),
            }
        };
        let mut answer = serde_json::to_vec(&response).map_err(io::Error::other)?;
        if answer.len() >= LINE_BYTES_MAX {
            answer = serde_json::to_vec(&too_long(&response)).map_err(io::Error::other)?;
        }
        answer.push(b'\n');
        timeout(CLIENT_DEADLINE, writer.write_all(&answer)).await??;
        if is_last {
            return Ok(());
        }
    }
}

async fn ask(request: Request, control: &Control) -> Response {
    let (answer, answered) = oneshot::channel();
    let exchange = async {
        control.send((request, answer)).await.ok()?;
        answered.await.ok()
    };
    match timeout(ANSWER_DEADLINE, exchange).await {
        Ok(Some(response)) => response,
        Ok(None) => failed("the controller is stopping"),
        Err(_) => failed(format!(
            "the controller gave no answer within {} s; `causeway status` shows what is in force",
            ANSWER_DEADLINE.as_secs()
        )),
    }
}

/// In place of an answer that no client takes whole.
fn too_long(response: &Response) -> Response {
    let (what, remedy) = match response {
        Response::Refused { errors } => {
            let count = errors.findings().len();
            (format!("{count} errors, nothing was changed;"), "`causeway check` tells all of them")
        }
        Response::Applied { revision, .. } | Response::Edited { revision, .. } => {
            (format!("revision {revision} is in force;"), "`causeway check` tells all warnings")
        }
        _ => (String::new(), "ask for one thing by its name"),
    };
    failed(format!("{what} the answer is longer than {LINE_BYTES_MAX} bytes: {remedy}").trim_start())
}

fn failed(message: impl Into<String>) -> Response {
    Response::Failed { message: message.into() }
}
