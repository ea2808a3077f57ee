//! `causeway run`: one loop that owns all state and turns every event into the same step.
//!
//! ```text
//!  API request · probe result · neighbour change · deadline ──► Control ──reconcile──► maps · snapshot · host · probes
//! ```
//!
//! Nobody else changes anything. What is in force outlives this process: flows in the kernel go on without it.

mod apply;
mod certificates;
mod control;
mod drains;
mod edit;
mod error;
pub mod events;
mod reconcile;
mod view;

pub use error::RunError;

use crate::api::metrics_server;
use crate::api::server::ApiServer;
use crate::config::{self, Parsed};
use crate::datapath::{self, Datapath};
use crate::health::Moment;
use crate::host::apply::Host;
use crate::host::neighbour::NeighbourWatch;
use crate::host::sysctl;
use crate::model::Node;
use crate::probe::{self, schedule::Prober};
use crate::proxy::memory::{Memory, default_limit};
use crate::proxy::{self, AccessLog, Engine, Stats};
use crate::store::{CertificateStore, CookieKeys, FileStore, Store, datapath_key};
use control::Control;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// What `causeway run` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Node settings.
    pub node: PathBuf,
    /// Resources to apply at start.
    pub resources: Option<PathBuf>,
    /// Level of the programs' log, 0 to 5.
    pub bpf_log: u8,
}

/// The programs' log is read this often.
const LOG_EVERY: Duration = Duration::from_millis(100);
/// Requests get this long to finish when the program is told to stop.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(30);
/// Where `rp_filter` values are kept that are to be restored.
const SYSCTL_FILE: &str = "sysctl.json";

/// Runs until SIGTERM or SIGINT.
pub fn run(options: &RunOptions) -> Result<(), RunError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)?;
    runtime.block_on(run_until_stopped(options))
}

async fn run_until_stopped(options: &RunOptions) -> Result<(), RunError> {
    let node = read_node(&options.node)?;
    let settings = node.value.clone();
    match proxy::raise_limit() {
        Ok(limit) => log::debug!("up to {limit} file descriptors"),
        Err(error) => log::warn!("raise the limit of file descriptors: {error}; the limit stays as it is"),
    }
    let store = FileStore::open(&settings.state_dir)?;
    let cookie_keys = CookieKeys::open(&settings.state_dir)?;
    let (certificates, damaged) = CertificateStore::open(&settings.state_dir)?;
    for error in damaged {
        log::error!("{error}; until then it is missing");
    }
    let key = datapath_key(&settings.state_dir)?;
    let (first, second) = key.split_at(8);
    let half = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("half of a 16-byte key"));
    let datapath = Datapath::open(&datapath::Options {
        bpf_dir: &settings.bpf_dir,
        flow_hash_key: [half(first), half(second)],
        log_level: options.bpf_log,
    })?;
    if datapath.has_adopted() {
        log::info!("adopted the pinned maps of an earlier process");
    }
    let host = Host::open()?;
    for interface in settings.zones.iter().map(|zone| &zone.interface).chain(&settings.client_interfaces) {
        host.interface(interface).await?;
    }
    loosen_filters(&settings)?;

    let (requests, mut incoming) = mpsc::channel(16);
    let api = ApiServer::bind(&settings.api_socket)?;
    tokio::spawn(api.serve(requests));
    let (scrapes, mut scraped) = mpsc::channel(8);
    if let Some(address) = settings.metrics_listen {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .map_err(|source| RunError::Metrics { address, source })?;
        tokio::spawn(metrics_server::serve(listener, scrapes));
    }
    let (results, mut probed) = mpsc::channel(1024);
    let prober = Prober::start(results, probe::clock::now, half(second) ^ u64::from(std::process::id()));
    let (watch, mut resolutions) = NeighbourWatch::start()?;
    let mut running = watch.running();
    let stats = Arc::new(Stats::default());
    let log = settings.access_log.clone().map_or(AccessLog::Off, AccessLog::File);
    let memory = match settings.memory_limit {
        Some(limit) => limit,
        None => default_limit().map_err(RunError::Engine)?,
    };
    log::debug!("memory: limit of {} MiB", memory >> 20);
    let engine = Engine::start(settings.workers, &log, &stats, Memory::of_process(memory));
    let engine = engine.map_err(RunError::Engine)?;
    let mut control = Control::new(
        node,
        (store, cookie_keys, certificates),
        datapath,
        host,
        prober,
        (watch, resolutions.clone()),
        engine,
        stats,
    );
    start_resources(&mut control, options).await?;

    let mut logging = tokio::time::interval(LOG_EVERY);
    logging.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watching = tokio::time::interval(certificates::WATCH_EVERY);
    watching.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut terminate, mut interrupt) = (signal(SIGTERM)?, signal(SIGINT)?);
    let mut hangup = signal(SIGHUP)?;
    log::info!("node \"{}\" is running; API on {}", settings.name, settings.api_socket.display());
    loop {
        let until = |moment: Option<Moment>| moment.map(|moment| moment.since(probe::clock::now()));
        let (deadline, count) = (until(control.deadline), until(control.next_count));
        tokio::select! {
            Some((request, answer)) = incoming.recv() => {
                let response = control.answer(request).await;
                // A client that left has its answer in the log.
                let _ = answer.send(response);
            }
            Some(answer) = scraped.recv() => {
                let _ = answer.send(control.metrics());
            }
            Some(result) = probed.recv() => {
                let mut changed = control.probed(result);
                // Results come in bursts; one step serves them all.
                while let Ok(result) = probed.try_recv() {
                    changed |= control.probed(result);
                }
                if changed {
                    control.reconcile_or_log().await;
                }
            }
            Ok(()) = resolutions.changed() => {
                let latest = resolutions.borrow_and_update().clone();
                control.resolved(latest).await;
            }
            Ok(()) = running.changed() => {
                let latest = running.borrow_and_update().clone();
                control.interfaces_changed(latest).await;
            }
            () = tokio::time::sleep(deadline.unwrap_or(Duration::MAX)), if deadline.is_some() => {
                control.tick();
                control.reconcile_or_log().await;
            }
            () = tokio::time::sleep(count.unwrap_or(Duration::MAX)), if count.is_some() => {
                if control.count_in_flight().await {
                    control.reconcile_or_log().await;
                }
            }
            _ = watching.tick() => control.watch_certificates(),
            _ = logging.tick(), if options.bpf_log > 0 => control.flush_log(),
            _ = hangup.recv() => control.engine.reopen_log(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    log::info!("stopping: no new connections; requests have {} s to finish", SHUTDOWN_DEADLINE.as_secs());
    control.shutdown(SHUTDOWN_DEADLINE);
    log::info!("stopped; L4 flows go on in the kernel until `causeway unload`");
    Ok(())
}

use libc::{SIGHUP, SIGINT, SIGTERM};

fn signal(number: i32) -> Result<tokio::signal::unix::Signal, RunError> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(number)).map_err(RunError::Runtime)
}

/// What was applied last, then what the command line names.
async fn start_resources(control: &mut Control, options: &RunOptions) -> Result<(), RunError> {
    if let Some((revision, text)) = control.store().latest()? {
        match (control.restore(revision, &text).await, &options.resources) {
            (Ok(()), _) => log::info!("revision {revision} is in force again"),
            // The file replaces it anyway.
            (Err(RunError::Config(errors)), Some(path)) => {
                log::warn!(
                    "revision {revision} no longer fits and gives way to {}:\n{errors}",
                    path.display()
                );
            }
            (Err(RunError::Config(errors)), None) => {
                let node = options.node.clone();
                return Err(RunError::StaleRevision { revision, node, errors });
            }
            (Err(error), _) => return Err(error),
        }
    }
    if let Some(path) = &options.resources {
        let text = read(path)?;
        control.apply_at_start(&path.display().to_string(), &text).await?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, RunError> {
    fs::read_to_string(path).map_err(|source| RunError::Read { path: path.to_owned(), source })
}

fn read_node(path: &Path) -> Result<Parsed<Node>, RunError> {
    let text = read(path)?;
    let node = config::parse_node(&text, &path.display().to_string())?;
    if !node.warnings.findings().is_empty() {
        log::warn!("{}", node.warnings.render());
    }
    Ok(node)
}

/// Loosens reverse path filters, keeping on disk what they were, so that `unload` can restore them.
fn loosen_filters(node: &Node) -> Result<(), RunError> {
    let path = node.state_dir.join(SYSCTL_FILE);
    let mut changed = read_changed(&path)?;
    let new = sysctl::loosen(node)?;
    if !new.is_empty() {
        changed.extend(new);
        let text = serde_json::to_string(&changed).expect("paths and numbers serialize");
        fs::write(&path, text).map_err(|source| RunError::Write { path, source })?;
    }
    Ok(())
}

fn read_changed(path: &Path) -> Result<Vec<sysctl::Changed>, RunError> {
    match fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| RunError::Read {
            path: path.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(RunError::Read { path: path.to_owned(), source }),
    }
}

/// What [`unload`] took out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unloaded {
    /// Programs and maps.
    pub datapath: datapath::Unloaded,
    /// Addresses, rules, routes and neighbours.
    pub host: usize,
}

/// Takes everything of ours out of the kernel: programs, maps, addresses, rules, routes, switches. Nothing else is
/// touched, and nothing on disk but the note of the switches.
///
/// # Errors
/// While `causeway run` runs with these settings, and when the kernel refuses.
pub fn unload(node: &Path) -> Result<Unloaded, RunError> {
    let node = read_node(node)?.value;
    if std::os::unix::net::UnixStream::connect(&node.api_socket).is_ok() {
        return Err(RunError::StillRunning { socket: node.api_socket });
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)?;
    let datapath = datapath::unload(&node.bpf_dir)?;
    let host = runtime.block_on(async { Host::open()?.remove_all().await })?.len();
    let path = node.state_dir.join(SYSCTL_FILE);
    sysctl::restore(&read_changed(&path)?)?;
    if path.exists() {
        fs::remove_file(&path).map_err(|source| RunError::Write { path, source })?;
    }
    Ok(Unloaded { datapath, host })
}
