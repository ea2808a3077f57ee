//! Load at a fixed rate, whatever the answers: requests have times at which they are due, and what is measured is how
//! long after that their response was complete. A proxy that stops for a moment is charged for every request that came
//! due meanwhile, not only for the few that were under way.

use super::load::percentiles;
use super::machine::Cores;
use anyhow::{Context, Result, bail, ensure};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    pub requests: f64,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

/// Connections that requests are sent on, one at a time on each.
const CONNECTIONS: usize = 64;
/// So many that are due and not sent are a proxy that does not keep up.
const BEHIND_MAX: usize = 100_000;

/// Sends `rate` requests a second to `address` for so long.
pub fn run(address: SocketAddr, rate: f64, length: Duration, cores: Cores) -> Result<Latency> {
    // A thread of its own, because it is pinned.
    std::thread::spawn(move || {
        // SAFETY: a set of bits, for which zero is valid, and calls that read or change it.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cores.other, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        }
        generate(address, rate, length)
    })
    .join()
    .expect("it does not panic")
}

struct Connection {
    stream: TcpStream,
    /// When the request under way was due.
    due: Instant,
    /// Bytes of the response so far, its head at least until that is complete.
    received: Vec<u8>,
}

fn generate(address: SocketAddr, rate: f64, length: Duration) -> Result<Latency> {
    let request = "GET /small HTTP/1.1\r\nHost: bench.example\r\n\r\n";
    let epoll = Epoll::new()?;
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for index in 0..CONNECTIONS {
        let stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        epoll.add(&stream, index)?;
        connections.push(Connection { stream, due: Instant::now(), received: Vec::with_capacity(4096) });
    }
    let mut idle: VecDeque<usize> = (0..CONNECTIONS).collect();
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let mut times: Vec<u32> = Vec::with_capacity((rate * length.as_secs_f64()) as usize + 1);
    let began = Instant::now();
    let due_at = |number: u64| began + Duration::from_secs_f64(number as f64 / rate);
    let total = (rate * length.as_secs_f64()) as u64;
    let mut number = 0;
    let mut buffer = [0; 16 * 1024];
    while (times.len() as u64) < total {
        let now = Instant::now();
        while number < total && due_at(number) <= now {
            waiting.push_back(due_at(number));
            number += 1;
        }
        ensure!(waiting.len() < BEHIND_MAX, "it does not keep up with {rate:.0} requests a second");
        while !waiting.is_empty()
            && let Some(index) = idle.pop_front()
        {
            let connection = &mut connections[index];
            connection.due = waiting.pop_front().expect("it is not empty");
            // A request is small: the socket's buffer is empty and takes it whole.
            connection.stream.write_all(request.as_bytes()).context("send a request")?;
        }
        let wait = (number < total).then(|| due_at(number).saturating_duration_since(Instant::now()));
        for index in epoll.wait(wait)? {
            let connection = &mut connections[index];
            loop {
                match connection.stream.read(&mut buffer) {
                    Ok(0) => bail!("the proxy closed a connection"),
                    Ok(read) => connection.received.extend_from_slice(&buffer[..read]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("receive a response"),
                }
                if is_complete(&connection.received)? {
                    times.push(u32::try_from(connection.due.elapsed().as_micros()).unwrap_or(u32::MAX));
                    connection.received.clear();
                    idle.push_back(index);
                    break;
                }
            }
        }
        ensure!(began.elapsed() < length + Duration::from_secs(10), "responses are missing after 10 s");
    }
    let requests = times.len() as f64;
    let (p50, p99) = percentiles(times);
    Ok(Latency { requests, p50, p99 })
}

/// Whether a response with Content-Length is complete. Errors: another status than 200, or no such length.
fn is_complete(received: &[u8]) -> Result<bool> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
    let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 200"), "the response was {}", head.lines().next().unwrap_or_default());
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.context("a response without Content-Length")?.trim().parse()?;
    Ok(received.len() >= end + 4 + length)
}

struct Epoll(OwnedFd);

impl Epoll {
    fn new() -> Result<Epoll> {
        // SAFETY: a system call; what it returns, if not -1, is a descriptor that nobody else has.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        ensure!(fd >= 0, std::io::Error::last_os_error());
        // SAFETY: see above.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn add(&self, stream: &TcpStream, index: usize) -> Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: index as u64 };
        // SAFETY: both descriptors are open and the event lives across the call.
        let result = unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &raw mut event)
        };
        ensure!(result == 0, std::io::Error::last_os_error());
        Ok(())
    }

    /// Indices of streams with something to read, after at most `time`, exact to the kernel's timer slack (50 µs).
    fn wait(&self, time: Option<Duration>) -> Result<Vec<usize>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let time = time.unwrap_or(Duration::from_secs(1));
        let time = libc::timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos().into() };
        // SAFETY: the array has room for the number of events given, and everything lives across the call.
        let count = unsafe {
            libc::epoll_pwait2(
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as i32,
                &raw const time,
                std::ptr::null(),
            )
        };
        if count < 0 {
            let error = std::io::Error::last_os_error();
            ensure!(error.kind() == ErrorKind::Interrupted, error);
        }
        Ok(events.iter().take(usize::try_from(count).unwrap_or(0)).map(|event| event.u64 as usize).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_complete_with_its_last_byte() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\n\r\nabc";
        for length in 0..whole.len() {
            assert!(!is_complete(&whole[..length]).expect("no error so far"), "{length}");
        }
        assert!(is_complete(whole).expect("a response"));
        assert!(is_complete(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").is_err());
    }
}
