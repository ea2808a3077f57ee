//! The access log: one JSON object per request and line (LR-140 to LR-142).
//!
//! Workers format lines into a buffer of their own and hand full buffers, or any after 100 ms, to one writer thread
//! through a bounded queue. A writer that cannot keep up costs lines, which are counted, and never a request's time.
//! [`file`]: the writer, which follows its file's name through rotation · [`line`]: the text.

mod file;
mod line;

pub use file::start_writer;
pub use line::{push_address, push_socket_address};

use super::stats::Stats;
use line::{WallClock, write_line};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Where access log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To the end of a file.
    File(PathBuf),
}

/// Bytes a worker gathers before it hands them over.
const BATCH_BYTES: usize = 64 * 1024;
/// Longest value of a recorded header, and longest of all of a line together, in bytes (LR-54).
pub const HEADER_BYTES_MAX: usize = 1024;
/// See [`HEADER_BYTES_MAX`].
pub const HEADERS_BYTES_MAX: usize = 4096;

/// Why a request got the answer it got: who is to blame for an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorSource {
    /// No error of ours to explain.
    #[default]
    None,
    /// The client: malformed, too slow, or gone.
    Client,
    /// A server: unreachable, too slow, malformed, or gone.
    Server,
    /// The balancer: nothing to forward to, or a limit of its own.
    Us,
}

impl ErrorSource {
    /// Which of [`super::stats::ListenerColumn::errors`] counts it.
    pub fn place(self) -> Option<usize> {
        match self {
            ErrorSource::None => None,
            ErrorSource::Client => Some(0),
            ErrorSource::Server => Some(1),
            ErrorSource::Us => Some(2),
        }
    }
}

/// The decision record of one request, which becomes its log line. Times are nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Status sent, or that stands for how the request ended (499).
    pub status: u16,
    /// The chosen server's status; 0 when none answered.
    pub upstream_status: u16,
    /// The server tried last.
    pub upstream: Option<SocketAddr>,
    /// Source address used towards it.
    pub local: Option<IpAddr>,
    /// Attempts after the first.
    pub retries: u8,
    /// How the server was chosen.
    pub reason: &'static str,
    /// Whether it was asked on a connection that had served requests before.
    pub reused: bool,
    /// Who is to blame for an error.
    pub error: ErrorSource,
    /// What went wrong, empty if nothing.
    pub cause: &'static str,
    /// CLOCK_MONOTONIC when the first byte came.
    pub start: u64,
    /// When the request's head was complete.
    pub head_read: u64,
    /// When the last attempt began.
    pub upstream_start: u64,
    /// When its connection stood; 0 if none did.
    pub upstream_connected: u64,
    /// When the response's head came; 0 when it did not.
    pub upstream_first_byte: u64,
    /// Bytes of the request, head and body.
    pub request_bytes: u64,
    /// Bytes of the response's body sent.
    pub body_bytes_sent: u64,
}

/// What a line says about the request and where it came in; text as received, empty for `-`.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields are named as in the line")]
pub struct Subject<'a> {
    pub load_balancer: &'a str,
    pub listener: &'a str,
    pub rule: &'a str,
    pub action: &'static str,
    pub group: &'a str,
    pub scheme: &'static str,
    pub ssl_protocol: &'static str,
    pub ssl_cipher: &'static str,
    /// Of the client's connection, microseconds.
    pub tcpinfo_rtt: Option<u32>,
    pub client: SocketAddr,
    pub client_text: &'a [u8],
    pub vip: SocketAddr,
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub protocol: &'static str,
    pub host: &'a [u8],
    pub referer: &'a [u8],
    pub user_agent: &'a [u8],
    pub x_forwarded_for: &'a [u8],
    pub x_real_ip: &'a [u8],
    /// Further headers by name, each cut at [`HEADER_BYTES_MAX`] and all at [`HEADERS_BYTES_MAX`] (LR-54).
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// One worker's end of the log.
pub struct LogBatch {
    buffer: Vec<u8>,
    lines: u64,
    sender: Option<SyncSender<Vec<u8>>>,
    stats: Arc<Stats>,
    clock: WallClock,
}

impl LogBatch {
    /// An empty batch; without `sender` every line is left out.
    pub fn new(sender: Option<SyncSender<Vec<u8>>>, stats: Arc<Stats>) -> LogBatch {
        LogBatch { buffer: Vec::new(), lines: 0, sender, stats, clock: WallClock::default() }
    }

    /// Adds a line; true if it is the first of a batch, which then must be flushed within 100 ms.
    pub fn push(&mut self, subject: &Subject<'_>, record: &Record, now: u64) -> bool {
        if self.sender.is_none() {
            return false;
        }
        let first = self.buffer.is_empty();
        if first {
            self.buffer.reserve(BATCH_BYTES + BATCH_BYTES / 4);
        }
        self.clock.advance(now);
        write_line(&mut self.buffer, &self.clock, subject, record, now);
        self.lines += 1;
        if self.buffer.len() >= BATCH_BYTES {
            self.flush();
        }
        first
    }

    /// Hands the lines to the writer, or counts them as dropped.
    pub fn flush(&mut self) {
        let Some(sender) = &self.sender else { return };
        if self.buffer.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        if sender.try_send(std::mem::take(&mut self.buffer)).is_err() {
            self.stats.add_log_lines_dropped(lines);
        }
    }
}

impl Drop for LogBatch {
    fn drop(&mut self) {
        self.flush();
    }
}
