//! What a process and its descendants use of the machine, from /proc.

use std::fs;
use std::time::Duration;

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Time on a CPU so far, in user mode and in the kernel (`utime` + `stime`), of processes that live.
    pub cpu: Duration,
    /// Memory that is resident now, in bytes (`VmRSS`); what processes share is counted for each.
    pub resident_bytes: u64,
}

/// What process `id` and its descendants use.
///
/// # Panics
/// If there is no such process.
pub fn of(id: u32) -> Usage {
    let mut usage = Usage::default();
    for id in tree(id) {
        // One that ended since it was listed uses nothing.
        let read = |name| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
        if let Some(stat) = parse_stat(&read("stat")) {
            usage.cpu += stat.cpu;
        }
        usage.resident_bytes += parse_resident(&read("status")).unwrap_or(0);
    }
    assert!(usage.resident_bytes > 0, "there is no process {id}");
    usage
}

/// `id` and its descendants.
fn tree(id: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = ids
        .filter_map(|id| {
            let stat = parse_stat(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?;
            Some((id, stat.parent))
        })
        .collect();
    let mut found = vec![id];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    found
}

struct Stat {
    parent: u32,
    cpu: Duration,
}

/// proc(5): after the name in parentheses, which may hold anything, `ppid` is the second field, `utime` and `stime` the
/// twelfth and thirteenth, in ticks.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let ticks = number(11)? + number(12)?;
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, cpu: Duration::from_millis(ticks * 1000 / TICKS) })
}

/// Ticks per second: USER_HZ, the same on every architecture that the programs are for.
const TICKS: u64 = 100;

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[test]
    fn reads_time_parent_and_memory_whatever_the_program_is_called() {
        let stat = parse_stat("7 (a) b) S 3 7 7 0 -1 0 0 0 0 0 150 25 0 0 20 0").expect("a line of proc's");
        assert_eq!((stat.parent, stat.cpu), (3, Duration::from_millis(1750)));
        assert_eq!(parse_resident("VmHWM:\t 9 kB\nVmRSS:\t   12 kB\n"), Some(12288));
    }

    #[test]
    fn counts_children_of_children() {
        let mut shell = Command::new("sh")
            .args(["-c", "sh -c 'sleep 100 & echo; wait' & wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh is there");
        let mut line = String::new();
        let output = shell.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("it speaks");
        let found = tree(shell.id());
        let group = -i32::try_from(shell.id()).expect("a process id");
        // SAFETY: a signal to the group that was just made.
        unsafe { libc::kill(group, libc::SIGKILL) };
        shell.wait().expect("it ends");
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
