//! The access log: one JSON object per request and line (LR-140 to LR-142).
//!
//! Workers format lines into a buffer of their own and hand full buffers, or any after 100 ms, to one writer thread
//! through a bounded queue. A writer that cannot keep up costs lines, which are counted, and never a request's time.

use super::http1::rewrite::push_number;
use super::stats::Stats;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

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
const BATCH_BYTES: usize = 32 * 1024;
/// Batches waiting for the writer, at most 8 MB.
const QUEUE: usize = 256;

/// The writer's thread, and what workers send their batches to.
pub type Writer = (JoinHandle<()>, SyncSender<Vec<u8>>);

fn open(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
        let remedy = "create its directory, or change `access_log` in the node settings";
        io::Error::new(error.kind(), format!("open access log {}: {error}; {remedy}", path.display()))
    })
}

/// Starts the writer: its thread, and what workers send to. The thread ends when every sender is gone.
///
/// Errors: the file cannot be opened for appending.
pub fn start_writer(log: &AccessLog) -> io::Result<Option<Writer>> {
    let sink: Box<dyn Write + Send> = match log {
        AccessLog::Off => return Ok(None),
        AccessLog::Stdout => Box::new(io::stdout()),
        AccessLog::File(path) => Box::new(open(path)?),
    };
    let (sender, receiver) = sync_channel(QUEUE);
    let thread =
        std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(sink, &receiver))?;
    Ok(Some((thread, sender)))
}

fn write_all(mut sink: Box<dyn Write + Send>, batches: &Receiver<Vec<u8>>) {
    for batch in batches {
        if let Err(error) = sink.write_all(&batch).and_then(|()| sink.flush()) {
            log::warn!("access log: {} bytes lost: {error}", batch.len());
        }
    }
}

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
    pub listener: &'a str,
    pub group: &'a str,
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

/// Wall time from the monotonic one, with the second's text kept.
#[derive(Default)]
struct WallClock {
    /// Monotonic nanoseconds at which the current second began, and its text.
    second_start: u64,
    text: [u8; 19],
    millisecond: u64,
}

impl WallClock {
    fn advance(&mut self, now: u64) {
        if self.second_start == 0 || now.wrapping_sub(self.second_start) >= 1_000_000_000 {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.second_start = now.saturating_sub(u64::from(wall.subsec_nanos())).max(1);
            self.text = date_text(wall.as_secs());
        }
        self.millisecond = (now - self.second_start) / 1_000_000;
    }
}

/// `2026-11-21T07:30:46` of seconds since 1970, UTC.
fn date_text(seconds: u64) -> [u8; 19] {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to civil date by 400-year eras that begin in March, so that the leap day is last.
    let day = days + 719_468;
    let era_day = day % 146_097;
    let era_year = (era_day - era_day / 1_460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    let march_month = (5 * year_day + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = day / 146_097 * 400 + era_year + u64::from(month <= 2);
    let month_day = year_day - (153 * march_month + 2) / 5 + 1;
    let mut text = *b"0000-00-00T00:00:00";
    let mut put = |at: usize, digits: usize, mut number: u64| {
        for place in (at..at + digits).rev() {
            text[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, month_day);
    put(11, 2, second / 3600);
    put(14, 2, second / 60 % 60);
    put(17, 2, second % 60);
    text
}

fn write_line(out: &mut Vec<u8>, clock: &WallClock, subject: &Subject<'_>, record: &Record, now: u64) {
    out.extend_from_slice(b"{\"__topic__\":\"alb_layer7_access_log\",\"time\":\"");
    out.extend_from_slice(&clock.text);
    out.push(b'.');
    let ms = clock.millisecond;
    out.extend_from_slice(&[
        b'0' + (ms / 100 % 10) as u8,
        b'0' + (ms / 10 % 10) as u8,
        b'0' + (ms % 10) as u8,
    ]);
    out.extend_from_slice(b"Z\",\"listener\":\"");
    escape(out, subject.listener.as_bytes());
    out.extend_from_slice(b"\",\"server_group\":\"");
    escape(out, subject.group.as_bytes());
    out.extend_from_slice(b"\",\"client_ip\":\"");
    out.extend_from_slice(subject.client_text);
    out.extend_from_slice(b"\",\"client_port\":");
    push_number(out, u64::from(subject.client.port()));
    out.extend_from_slice(b",\"vip_addr\":\"");
    push_address(out, subject.vip.ip());
    out.extend_from_slice(b"\",\"slb_vport\":");
    push_number(out, u64::from(subject.vip.port()));
    out.extend_from_slice(b",\"scheme\":\"http\",\"server_protocol\":\"");
    out.extend_from_slice(subject.protocol.as_bytes());
    for (name, value) in [
        (&b"\",\"request_method\":\""[..], subject.method),
        (b"\",\"request_uri\":\"", subject.target),
        (b"\",\"http_host\":\"", subject.host),
        (b"\",\"http_referer\":\"", subject.referer),
        (b"\",\"http_user_agent\":\"", subject.user_agent),
        (b"\",\"http_x_forwarded_for\":\"", subject.x_forwarded_for),
        (b"\",\"http_x_real_ip\":\"", subject.x_real_ip),
    ] {
        out.extend_from_slice(name);
        if value.is_empty() {
            out.push(b'-');
        } else {
            escape(out, value);
        }
    }
    out.extend_from_slice(b"\",\"status\":");
    push_number(out, u64::from(record.status));
    out.extend_from_slice(b",\"upstream_status\":\"");
    match record.upstream_status {
        0 => out.push(b'-'),
        status => push_number(out, u64::from(status)),
    }
    out.extend_from_slice(b"\",\"upstream_addr\":\"");
    match record.upstream {
        None => out.push(b'-'),
        Some(address) => push_socket_address(out, address),
    }
    out.extend_from_slice(b"\",\"local_addr\":\"");
    match record.local {
        None => out.push(b'-'),
        Some(address) => push_address(out, address),
    }
    out.extend_from_slice(b"\",\"retries\":");
    push_number(out, u64::from(record.retries));
    out.extend_from_slice(b",\"scheduler_reason\":\"");
    out.extend_from_slice(record.reason.as_bytes());
    out.extend_from_slice(b"\",\"error_source\":\"");
    out.extend_from_slice(match record.error {
        ErrorSource::None => b"-",
        ErrorSource::Client => b"client",
        ErrorSource::Server => b"server",
        ErrorSource::Us => b"us",
    });
    out.extend_from_slice(b"\",\"error\":\"");
    escape(out, if record.cause.is_empty() { b"-" } else { record.cause.as_bytes() });
    out.extend_from_slice(b"\",\"request_length\":");
    push_number(out, record.request_bytes);
    out.extend_from_slice(b",\"body_bytes_sent\":");
    push_number(out, record.body_bytes_sent);
    out.extend_from_slice(b",\"read_request_time\":");
    push_number(out, record.head_read.max(record.start).saturating_sub(record.start) / 1_000_000);
    out.extend_from_slice(b",\"upstream_response_time\":");
    match record.upstream_first_byte {
        0 => out.extend_from_slice(b"\"-\""),
        first => push_seconds(out, first.saturating_sub(record.upstream_start)),
    }
    out.extend_from_slice(b",\"request_time\":");
    push_seconds(out, now.saturating_sub(record.start));
    out.extend_from_slice(b"}\n");
}

/// Seconds with three decimals.
fn push_seconds(out: &mut Vec<u8>, ns: u64) {
    let ms = ns / 1_000_000;
    push_number(out, ms / 1000);
    out.push(b'.');
    out.extend_from_slice(&[
        b'0' + (ms / 100 % 10) as u8,
        b'0' + (ms / 10 % 10) as u8,
        b'0' + (ms % 10) as u8,
    ]);
}

/// An address and port, `[..]:port` for IPv6.
pub fn push_socket_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(_) => push_address(out, address.ip()),
        SocketAddr::V6(_) => {
            out.push(b'[');
            push_address(out, address.ip());
            out.push(b']');
        }
    }
    out.push(b':');
    push_number(out, u64::from(address.port()));
}

/// An address as RFC 5952 writes it.
pub fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    let address = match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{address}");
            return;
        }
    };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        push_number(out, u64::from(octet));
    }
}

/// Appends the inside of a JSON string. Bytes that are not UTF-8 become U+FFFD.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(plain) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\0'..='\x1f' | '\x7f' => {
                    let digit = |nibble: u32| b"0123456789abcdef"[nibble as usize & 15];
                    let code = character as u32;
                    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(code >> 4), digit(code)]);
                }
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (1_795_246_246, "2026-11-21T07:30:46"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(std::str::from_utf8(&date_text(seconds)).unwrap(), text);
        }
    }

    #[test]
    fn lines_are_json_whatever_the_client_sent() {
        let address: SocketAddr = "192.0.2.1:8080".parse().unwrap();
        let subject = Subject {
            listener: "we\"b",
            group: "g",
            client: address,
            client_text: b"192.0.2.1",
            vip: address,
            method: b"GET",
            target: b"/a\"\\\x01",
            protocol: "HTTP/1.1",
            host: b"h\xff\xc3\xa9",
            referer: b"",
            user_agent: b"a\tb",
            x_forwarded_for: b"",
            x_real_ip: b"",
        };
        let record = Record { status: 200, start: 5, upstream: Some(address), ..Record::default() };
        let mut line = Vec::new();
        let mut clock = WallClock::default();
        clock.advance(2_000_000_000);
        write_line(&mut line, &clock, &subject, &record, 2_345_678_905);
        assert_eq!(line.last(), Some(&b'\n'));
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["listener"], "we\"b");
        assert_eq!(value["request_uri"], "/a\"\\\u{1}");
        assert_eq!(value["http_host"], "h\u{fffd}é");
        assert_eq!(value["http_user_agent"], "a\tb");
        assert_eq!(value["http_referer"], "-");
        assert_eq!(value["upstream_status"], "-");
        assert_eq!(value["upstream_addr"], "192.0.2.1:8080");
        assert_eq!(value["request_time"].to_string(), "2.345");
    }
}
