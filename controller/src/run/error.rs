//! Why the program cannot run.

use crate::api::server::BindError as ApiError;
use crate::config::ConfigErrors;
use crate::datapath::DatapathError;
use crate::host::HostError;
use crate::store::{Revision, StoreError};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why `causeway run` or `causeway unload` gave up.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file of configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// What was applied last no longer fits the node's settings.
    #[error(
        "revision {revision}, applied last, no longer fits {node}: undo the change to the node settings, or start with \
         `--resources FILE` to replace it\n{errors}"
    )]
    StaleRevision {
        /// The revision.
        revision: Revision,
        /// The node file.
        node: PathBuf,
        /// What does not fit.
        errors: ConfigErrors,
    },
    /// A file cannot be read.
    #[error("read {path}: {source}; name another file with --node or --resources")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The store of revisions.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel's side.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// Addresses, routes, rules.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The API socket.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The metrics endpoint.
    #[error("listen on {address} for metrics: {source}; change `metrics_listen` in the node file")]
    Metrics {
        /// Its address.
        address: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The L7 engine.
    #[error("start the L7 engine: {0}")]
    Engine(io::Error),
    /// The event loop.
    #[error("start the event loop: {0}")]
    Runtime(io::Error),
    /// The resources to start with could not be taken into force.
    #[error("{what}: {reason}")]
    Start {
        /// The file or revision.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A running causeway would put back what `unload` removes.
    #[error("causeway is running (its API answers on {socket}): stop it first, then unload")]
    StillRunning {
        /// The API socket.
        socket: PathBuf,
    },
}
