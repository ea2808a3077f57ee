//! Memory: what is given up first when it becomes scarce.
//!
//! Each connection's memory is bounded, but not how many there are, and a process that the kernel ends for want of memory
//! fails all of them. So new work is refused while there is still room for what has begun, rung by rung:
//!
//! | share of the limit | what is given up |
//! | --- | --- |
//! | 80 % | spare storage, compression, copies for mirrors |
//! | 90 % | new connections: closed unanswered |
//! | 95 % | new requests on connections that exist: 503 |
//!
//! What counts is the process's anonymous memory, which the kernel cannot take back; its buffers of sockets are not in it
//! and have bounds of their own (`net.ipv4.tcp_mem`).

use super::stats::Stats;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often memory is looked at. At 10 Gbit/s, 60 MB can come between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often freed memory is given back to the kernel while memory is scarce.
const TRIM_EVERY: Duration = Duration::from_secs(1);
/// A rung is left at so many hundredths of the limit below where it was entered, so that it does not flap.
const HYSTERESIS: u64 = 5;

/// How scarce memory is. Each rung includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Not at all.
    #[default]
    None,
    /// Nothing is kept or spent that requests can do without.
    Save,
    /// No new connections.
    RefuseConnections,
    /// No new requests either.
    RefuseRequests,
}

const RUNGS: [Pressure; 4] =
    [Pressure::None, Pressure::Save, Pressure::RefuseConnections, Pressure::RefuseRequests];

impl Pressure {
    /// From so many hundredths of the limit on.
    const fn begins_at(self) -> u64 {
        match self {
            Pressure::None => 0,
            Pressure::Save => 80,
            Pressure::RefuseConnections => 90,
            Pressure::RefuseRequests => 95,
        }
    }

    /// The rung for `used` of `limit` bytes, coming from this one.
    pub fn next(self, used: u64, limit: u64) -> Pressure {
        let reaches = |hundredths: u64| u128::from(used) * 100 >= u128::from(limit) * u128::from(hundredths);
        let holds = |rung: &&Pressure| {
            let slack = if **rung <= self { HYSTERESIS } else { 0 };
            reaches(rung.begins_at().saturating_sub(slack))
        };
        RUNGS.iter().rev().find(holds).copied().unwrap_or_default()
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pressure::None => "nothing is refused",
            Pressure::Save => "responses are not compressed and requests not mirrored",
            Pressure::RefuseConnections => "new connections are closed",
            Pressure::RefuseRequests => "new connections are closed and new requests answered 503",
        })
    }
}

/// What workers know of it.
#[derive(Debug, Default)]
pub struct PressureGauge(AtomicU8);

impl PressureGauge {
    /// As of the last look.
    pub fn get(&self) -> Pressure {
        RUNGS[usize::from(self.0.load(Ordering::Relaxed)).min(RUNGS.len() - 1)]
    }

    fn set(&self, pressure: Pressure) {
        self.0.store(pressure as u8, Ordering::Relaxed);
    }
}

/// How much memory there is, and how much of it is used.
pub struct Memory {
    /// Bytes.
    pub limit: u64,
    /// Tells the bytes in use.
    pub used: Box<dyn FnMut() -> io::Result<u64> + Send>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Memory {
    /// Of this process, which is to use `limit` bytes at most.
    pub fn of_process(limit: u64) -> Memory {
        Memory { limit, used: Box::new(|| used_of(&fs::read_to_string("/proc/self/statm")?)) }
    }
}

/// Bytes of anonymous memory by the text of `/proc/PID/statm`: resident pages less those of files and shared memory.
fn used_of(statm: &str) -> io::Result<u64> {
    let mut numbers = statm.split(' ').map(str::parse::<u64>);
    let (Some(Ok(resident)), Some(Ok(shared))) = (numbers.nth(1), numbers.next()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("statm says {statm:?}")));
    };
    Ok(resident.saturating_sub(shared) * rustix::param::page_size() as u64)
}

/// Three quarters of what this process can have: of the host's memory, or what its control groups leave it of that.
///
/// Errors: `/proc/meminfo` cannot be read.
pub fn default_limit() -> io::Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_host = total_of(&meminfo).ok_or(io::ErrorKind::InvalidData)?;
    let of_groups = limit_of_groups(Path::new("/sys/fs/cgroup"), &groups);
    Ok(of_host.min(of_groups.unwrap_or(u64::MAX)) / 4 * 3)
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// The least limit of the process's control group and those around it (version 2), if any has one.
fn limit_of_groups(mount: &Path, own: &str) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut folder: PathBuf = mount.join(path);
    let mut least = None;
    while folder.starts_with(mount) {
        let limit = fs::read_to_string(folder.join("memory.max")).ok();
        let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
        least = [least, limit].into_iter().flatten().min();
        if !folder.pop() {
            break;
        }
    }
    least
}

/// The thread that looks, until it is dropped.
#[derive(Debug)]
pub struct MemoryWatch {
    /// Dropped first, which ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Starts to look.
    ///
    /// Errors: there can be no thread.
    pub fn start(memory: Memory, gauge: Arc<PressureGauge>, stats: Arc<Stats>) -> io::Result<MemoryWatch> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("memory".into())
            .spawn(move || watch(memory, &gauge, &stats, &stopped))?;
        Ok(MemoryWatch { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic was told when it happened.
            let _ = thread.join();
        }
    }
}

fn watch(mut memory: Memory, gauge: &PressureGauge, stats: &Stats, stopped: &Receiver<()>) {
    let mut pressure = Pressure::None;
    let mut trimmed = Instant::now();
    let mut is_blind = false;
    loop {
        match (memory.used)() {
            Ok(used) => {
                let next = pressure.next(used, memory.limit);
                gauge.set(next);
                stats.set_memory(used, memory.limit, next as u8);
                if next != pressure {
                    say(pressure, next, used, memory.limit);
                    pressure = next;
                }
            }
            Err(error) if !is_blind => {
                is_blind = true;
                log::warn!(
                    "look at this process's memory: {error}; the limit is not kept until it can be read"
                );
            }
            Err(_) => {}
        }
        if pressure > Pressure::None && trimmed.elapsed() >= TRIM_EVERY {
            trimmed = Instant::now();
            give_back();
        }
        if stopped.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn say(before: Pressure, now: Pressure, used: u64, limit: u64) {
    let mib = |bytes: u64| bytes >> 20;
    let text = format!("memory: {} of {} MiB used: {now}", mib(used), mib(limit));
    if now > before {
        log::warn!("{text}; see `memory_limit_mib` in the node settings");
    } else {
        log::info!("{text}");
    }
}

/// Returns freed memory to the kernel; the allocator itself never gives back what lies below anything still in use.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function may be called at any time, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_climbed_at_their_share_and_left_below_it() {
        use Pressure::{None, RefuseConnections, RefuseRequests, Save};
        let walk = [
            (79, None),
            (80, Save),
            (79, Save),
            (75, Save),
            (74, None),
            (89, Save),
            (90, RefuseConnections),
            (85, RefuseConnections),
            (84, Save),
            (95, RefuseRequests),
            (90, RefuseRequests),
            (89, RefuseConnections),
            (0, None),
            (100, RefuseRequests),
            (1000, RefuseRequests),
        ];
        let mut pressure = None;
        for (used, expected) in walk {
            pressure = pressure.next(used, 100);
            assert_eq!(pressure, expected, "at {used} %");
        }
        assert_eq!(None.next(u64::MAX, u64::MAX), RefuseRequests);
        assert_eq!(None.next(u64::MAX / 2, u64::MAX), None);
    }

    #[test]
    fn a_gauge_tells_what_was_set() {
        let gauge = PressureGauge::default();
        for pressure in RUNGS {
            gauge.set(pressure);
            assert_eq!(gauge.get(), pressure);
        }
    }

    #[test]
    fn what_is_used_is_anonymous_memory() {
        let page = rustix::param::page_size() as u64;
        assert_eq!(used_of("9000 500 120 7 0 800 0\n").unwrap(), 380 * page);
        assert!(used_of("9000 x\n").is_err() && used_of("").is_err());
        let before = (Memory::of_process(1).used)().unwrap();
        let filled = vec![1u8; 64 << 20];
        let with = (Memory::of_process(1).used)().unwrap();
        // Other tests of this process take and free memory meanwhile.
        assert!(with > before + (32 << 20), "{before} {with} {}", filled[1 << 20]);
    }

    #[test]
    fn the_least_limit_of_the_groups_counts() {
        let mount = tempfile::tempdir().unwrap();
        let inner = mount.path().join("system.slice/causeway.service");
        fs::create_dir_all(&inner).unwrap();
        let own = "0::/system.slice/causeway.service\n";
        assert_eq!(limit_of_groups(mount.path(), own), None);
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit_of_groups(mount.path(), own), None);
        fs::write(mount.path().join("system.slice/memory.max"), "2000000\n").unwrap();
        assert_eq!(limit_of_groups(mount.path(), own), Some(2_000_000));
        fs::write(inner.join("memory.max"), "1000000\n").unwrap();
        assert_eq!(limit_of_groups(mount.path(), own), Some(1_000_000));
        assert_eq!(limit_of_groups(mount.path(), "1:memory:/x\n"), None);
        assert_eq!(total_of("MemFree: 1 kB\nMemTotal:       24576 kB\n"), Some(24_576 * 1024));
        assert!(default_limit().unwrap() > 64 << 20);
    }
}
