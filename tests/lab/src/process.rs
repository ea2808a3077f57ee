//! Processes started in the lab, each the head of a process group, written down so that they can be ended after a
//! crash too, and no others.

use crate::layout::Layout;
use crate::namespace::{self, show};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A process in the lab; dropping it ends it and its children.
#[derive(Debug)]
pub struct Process {
    child: Child,
    shown: String,
    record: Record,
    record_file: PathBuf,
    log: PathBuf,
}

/// How long a process may take to end by itself when asked.
const GRACE: Duration = Duration::from_secs(5);
/// How often a condition without an event of its own is looked at.
const POLL: Duration = Duration::from_millis(5);

impl Process {
    /// Starts `command`, made by [`namespace::command`] for `host`. What it prints goes to a file unless the caller
    /// has `keep_output`.
    pub(crate) fn start(
        layout: &Layout,
        host: &str,
        mut command: Command,
        keep_output: bool,
    ) -> Result<Process> {
        let program = Path::new(command.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let log = layout.log_dir().join(format!("{host}-{name}.log"));
        command.process_group(0);
        if !keep_output {
            let file = File::options().create(true).append(true).open(&log);
            let file = file.with_context(|| format!("open {}", log.display()))?;
            command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        }
        let shown = show(&command);
        let inode = namespace::inode(&layout.namespace(host))?;
        let child = command.spawn().with_context(|| format!("lab host {host}: cannot run `{shown}`"))?;
        let record = Record { group: child.id() as i32, namespace: inode };
        let record_file = layout.process_dir().join(child.id().to_string());
        let mut process = Process { child, shown, record, record_file, log };
        if let Err(error) = fs::write(&process.record_file, process.record.to_text()) {
            process.end(Duration::ZERO);
            return Err(error).with_context(|| format!("write {}", process.record_file.display()));
        }
        Ok(process)
    }

    /// Its process id, which is also its group's.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Everything that processes of this host and program have printed so far.
    pub fn output(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until the process has TCP listeners on all of `ports`; fails if it ends first or after `limit`.
    pub fn wait_until_listening(&mut self, ports: &[u16], limit: Duration) -> Result<()> {
        let what = format!("listening on TCP {ports:?}");
        // A socket of IPv6 may serve IPv4 as well.
        let tables = ["tcp", "tcp6"].map(|name| format!("/proc/{}/net/{name}", self.id()));
        self.wait_until(&what, limit, || {
            let texts = tables.iter().map(|table| fs::read_to_string(table).unwrap_or_default());
            let open: Vec<u16> = texts.flat_map(|text| listening_ports(&text)).collect();
            ports.iter().all(|port| open.contains(port))
        })
    }

    /// Waits until `condition` holds; fails if the process ends first or after `limit`.
    pub fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            if condition() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("`{}` ended ({status}) before {what}; it printed:\n{}", self.shown, self.output());
            }
            if Instant::now() > end {
                bail!("`{}`: not {what} within {limit:?}; it printed:\n{}", self.shown, self.output());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Asks the process to end (SIGTERM), and kills what is left of its group after five seconds.
    pub fn stop(mut self) -> Option<ExitStatus> {
        self.end(GRACE)
    }

    /// Kills the process and its group without warning (SIGKILL).
    pub fn kill(mut self) {
        self.end(Duration::ZERO);
    }

    fn end(&mut self, grace: Duration) -> Option<ExitStatus> {
        // The group first: when the leader is reaped, its number may come to mean another process.
        self.record.end(grace, || {
            let _ = self.child.try_wait();
        });
        let status = self.child.wait().ok();
        let _ = fs::remove_file(&self.record_file);
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(GRACE);
    }
}

/// What is written down about a process: enough to find its group again, and to leave alone whatever may have taken
/// over the number since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    group: i32,
    namespace: u64,
}

impl Record {
    fn to_text(self) -> String {
        format!("{} {}\n", self.group, self.namespace)
    }

    pub(crate) fn from_text(text: &str) -> Option<Record> {
        let (group, namespace) = text.trim().split_once(' ')?;
        Some(Record { group: group.parse().ok()?, namespace: namespace.parse().ok()? })
    }

    /// Ends the group: SIGTERM, SIGKILL after `grace`. Returns whether there was one. `reap` is called between looks.
    pub(crate) fn end(self, grace: Duration, mut reap: impl FnMut()) -> bool {
        let start = Instant::now();
        let mut asked = grace.is_zero();
        let mut found = false;
        // A killed process cannot linger except in the kernel's uninterruptible sleep; do not wait for that for ever.
        while start.elapsed() < grace + GRACE {
            let members = self.members();
            if members.is_empty() {
                break;
            }
            found = true;
            if !asked {
                asked = true;
                members.iter().for_each(|pid| signal(*pid, libc::SIGTERM));
            } else if start.elapsed() >= grace {
                members.iter().for_each(|pid| signal(*pid, libc::SIGKILL));
            }
            std::thread::sleep(POLL);
            reap();
        }
        found
    }

    /// Living processes of this group that are in the namespace the lab started it in.
    fn members(self) -> Vec<i32> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let namespace = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap_or_default();
            state_and_group(&stat).is_some_and(|(state, group)| state != 'Z' && group == self.group)
                && namespace.to_string_lossy() == format!("net:[{}]", self.namespace)
        })
        .collect()
    }
}

fn signal(pid: i32, number: libc::c_int) {
    // SAFETY: a system call on numbers. That the process may be gone by now is no error.
    unsafe { libc::kill(pid, number) };
}

/// State and process group in the text of /proc/PID/stat. The program's name, in parentheses, may hold anything.
fn state_and_group(stat: &str) -> Option<(char, i32)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.nth(1)?.parse().ok()?))
}

/// Ports in state LISTEN in the text of /proc/PID/net/tcp.
fn listening_ports(table: &str) -> Vec<u16> {
    const LISTEN: &str = "0A";
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(3) == Some(&LISTEN))
        .filter_map(|row| u16::from_str_radix(row[1].rsplit_once(':')?.1, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_group_whatever_the_program_is_called() {
        assert_eq!(state_and_group("42 (a) S 1 (b)) Z 1 77 77 0"), Some(('Z', 77)));
        assert_eq!(state_and_group("42 (nginx) S 1 42 42 0"), Some(('S', 42)));
        assert_eq!(state_and_group(""), None);
    }

    #[test]
    fn reads_listeners_and_no_connections() {
        let table = "  sl  local_address rem_address   st\n\
                     0: 00000000:0050 00000000:0000 0A 0\n   1: 0100007F:1F90 0100007F:0016 01 0\n";
        assert_eq!(listening_ports(table), [80]);
    }

    #[test]
    fn a_record_survives_being_written_down() {
        let record = Record { group: 4242, namespace: 4026532711 };
        assert_eq!(Record::from_text(&record.to_text()), Some(record));
        assert_eq!(Record::from_text("half"), None);
    }
}
