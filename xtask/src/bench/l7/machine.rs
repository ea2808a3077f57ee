//! Processes of the bench: pinned, ended by their id, and what they use.

use crate::command::find;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Two cores: the proxy has one for itself.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The proxy's.
    pub proxy: usize,
    /// The servers' and the load generator's.
    pub other: usize,
}

impl Cores {
    /// The first two that this process may run on.
    pub fn choose() -> Result<Cores> {
        // SAFETY: a set of bits, for which zero is valid; the call fills it.
        let set = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
            set
        };
        // SAFETY: reads a bit within the set.
        let mut allowed =
            (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) });
        match (allowed.next(), allowed.next()) {
            (Some(proxy), Some(other)) => Ok(Cores { proxy, other }),
            _ => bail!("two cores are needed: one for the proxy, one for servers and load"),
        }
    }
}

/// A command that runs on `core` only, may open as many descriptors as this process is allowed to, and ends with it.
pub fn pinned(program: &str, core: usize) -> Result<Command> {
    let path = find(program).with_context(|| format!("{program} is missing; `cargo xtask setup`"))?;
    Ok(pinned_path(&path, core))
}

/// As [`pinned`], for a program that is not in PATH.
pub fn pinned_path(program: &Path, core: usize) -> Command {
    let mut command = Command::new(program);
    // SAFETY: only system calls that are allowed between fork and exec, on memory of the closure's own.
    unsafe {
        command.pre_exec(move || {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(core, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            let mut limits: libc::rlimit = std::mem::zeroed();
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits);
            limits.rlim_cur = limits.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits);
            Ok(())
        });
    }
    command.stdin(Stdio::null());
    command
}

/// A server or proxy; dropping it ends it.
pub struct Running {
    child: Child,
}

/// How long a program may take to listen, and to end by itself when asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a condition without an event of its own is looked at.
const POLL: Duration = Duration::from_millis(5);

impl Running {
    /// Starts `command`, which writes what it has to say to the end of `output` and its errors to `errors`, and waits
    /// until it listens on `address`.
    pub fn start(mut command: Command, output: &Path, errors: &Path, address: SocketAddr) -> Result<Running> {
        let open = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("open {}", path.display()))
        };
        command.stdout(open(output)?).stderr(open(errors)?);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        let mut running = Running { child };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = running.child.try_wait()? {
                let said = fs::read_to_string(errors).unwrap_or_default();
                bail!("{program} ended ({status}): {}", said.trim());
            }
            if began.elapsed() > PATIENCE {
                bail!("{program} does not listen on {address} after {PATIENCE:?}");
            }
            std::thread::sleep(POLL);
        }
        Ok(running)
    }

    /// What it and its children used so far.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        for id in family(self.child.id()) {
            let read = |name| fs::read_to_string(format!("/proc/{id}/{name}"));
            let stat = read("stat").with_context(|| format!("process {id} is gone"))?;
            let (user, system) = parse_stat(&stat).with_context(|| format!("/proc/{id}/stat: {stat}"))?;
            usage.user += user;
            usage.system += system;
            usage.resident_bytes += parse_resident(&read("status")?).unwrap_or(0);
        }
        Ok(usage)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: a system call; the process is ours and not yet waited for, so the number is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let began = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if began.elapsed() > PATIENCE {
                for id in family(self.child.id()) {
                    // SAFETY: as above; children of a process that lives.
                    unsafe { libc::kill(id as libc::pid_t, libc::SIGKILL) };
                }
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// A process and its children: nginx works in one.
fn family(id: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    std::iter::once(id).chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
}

/// What a program used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Its own code and the kernel's for it, all threads. Their sum is exact to 10 ms; the kernel knows the split from
    /// samples, so it takes some seconds to be good.
    pub user: Duration,
    pub system: Duration,
    /// VmRSS.
    pub resident_bytes: u64,
}

/// proc(5): after the name in parentheses, which may hold anything, `utime` and `stime` are the twelfth and thirteenth
/// field, in ticks of which every architecture has 100 a second.
fn parse_stat(text: &str) -> Option<(Duration, Duration)> {
    let mut fields = text.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || Some(Duration::from_millis(10 * fields.next()?.parse::<u64>().ok()?));
    Some((ticks()?, ticks()?))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

static STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn remember_stop(_: libc::c_int) {
    STOPPED.store(true, Ordering::Relaxed);
}

/// From now on Ctrl-C and SIGTERM do not end this program at once but make [`ensure_not_stopped`] fail, so that it can
/// tidy up. Load generators are ended by Ctrl-C themselves.
pub fn stop_in_order() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler does nothing but an atomic store.
        unsafe { libc::signal(signal, remember_stop as *const () as libc::sighandler_t) };
    }
}

/// Fails once this program was asked to end.
pub fn ensure_not_stopped() -> Result<()> {
    ensure!(!STOPPED.load(Ordering::Relaxed), "stopped");
    Ok(())
}

/// So many free ports of 127.0.0.1. They are free now; nothing keeps them so.
pub fn free_ports<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut held = Vec::new();
    let mut found = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for address in &mut found {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(found)
}

/// Runs a load generator to its end; what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(signal) = output.status.signal() {
        bail!("{program} was ended by signal {signal}");
    }
    if !output.status.success() {
        bail!("{program} failed: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_user_and_system_time_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 1300 0 0 20 0 1 0 1 1 1";
        let read = parse_stat(stat).expect("both times");
        assert_eq!(read, (Duration::from_millis(2500), Duration::from_secs(13)));
        assert_eq!(parse_stat("7 (a) S 1"), None);
    }

    #[test]
    fn reads_resident_memory() {
        assert_eq!(parse_resident("Name:\ta\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn ports_differ() {
        let [one, other] = free_ports::<2>().expect("loopback has free ports");
        assert_ne!(one, other);
    }
}
