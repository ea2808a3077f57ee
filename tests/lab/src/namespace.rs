//! Network namespaces: making ours, never another's, and running things inside.
//!
//! Only the network is separate. Mounts are shared with whoever runs the lab, so that its bpffs and its files are in
//! the same place for everybody (`ip netns exec` would remount /sys and hide them). The one exception is a host with
//! a resolver of its own.

use crate::layout::{CLIENT, Layout};
use anyhow::{Context, Result, bail};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";

/// Makes the namespace of `host` and records that it is ours.
///
/// Fails if a namespace of that name exists: whoever made it, it was not this lab.
pub(crate) fn create(layout: &Layout, host: &str) -> Result<()> {
    let name = layout.namespace(host);
    if path(&name).exists() {
        bail!(
            "network namespace {name} exists and was not made by this lab; remove it yourself \
             (`ip netns del {name}`) or choose another lab label"
        );
    }
    let marker = layout.marker_dir().join(&name);
    // Before the namespace: a crash in between must not leave one that nobody owns up to.
    fs::write(&marker, "").with_context(|| format!("write {}", marker.display()))?;
    run(Command::new("ip").args(["netns", "add", &name]), "on this host")?;
    fs::write(&marker, identity(&name)?).with_context(|| format!("write {}", marker.display()))
}

/// Removes the namespace that `marker` speaks of, if it is still the one that was made then.
pub(crate) fn remove(name: &str, recorded_identity: &str) -> Result<bool> {
    if !path(name).exists() {
        return Ok(false);
    }
    // Empty: the lab died between the marker and the namespace, having just seen that the name was free.
    if !recorded_identity.is_empty() && identity(name)? != recorded_identity {
        return Ok(false);
    }
    run(Command::new("ip").args(["netns", "del", name]), "on this host")?;
    Ok(true)
}

/// What tells a namespace from a later one of the same name: device and inode of its nsfs file.
fn identity(name: &str) -> Result<String> {
    let file = path(name);
    let facts = fs::metadata(&file).with_context(|| format!("inspect {}", file.display()))?;
    Ok(format!("{}:{}", facts.dev(), facts.ino()))
}

/// The inode by which /proc/PID/ns/net names this namespace.
pub(crate) fn inode(name: &str) -> Result<u64> {
    let file = path(name);
    Ok(fs::metadata(&file).with_context(|| format!("inspect {}", file.display()))?.ino())
}

fn path(name: &str) -> PathBuf {
    Path::new(NAMES).join(name)
}

/// `program`, to be run in the namespace of `host`. The client also gets the lab's resolver as /etc/resolv.conf.
pub(crate) fn command(layout: &Layout, host: &str, program: &str) -> Result<Command> {
    let namespace = open(layout, host)?;
    let resolver = (host == CLIENT && layout.resolv_conf().exists()).then(|| layout.resolv_conf());
    let resolver = resolver.map(|file| CString::new(file.as_os_str().as_bytes())).transpose()?;
    let mut command = Command::new(program);
    let enter = move || {
        enter(&namespace)?;
        resolver.as_deref().map_or(Ok(()), use_resolver)
    };
    // SAFETY: between fork and exec, the closure makes system calls on values prepared before; it allocates nothing
    // and takes no lock.
    unsafe { command.pre_exec(enter) };
    Ok(command)
}

/// Runs `work` on a thread inside the namespace of `host`: sockets it opens belong there.
pub(crate) fn within<T: Send>(layout: &Layout, host: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let namespace = open(layout, host)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| enter(&namespace).map(|()| work()));
        match thread.join() {
            Ok(outcome) => {
                outcome.with_context(|| format!("enter network namespace {}", layout.namespace(host)))
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn open(layout: &Layout, host: &str) -> Result<File> {
    let name = layout.namespace(host);
    File::open(path(&name))
        .with_context(|| format!("lab host {host:?}: no network namespace {name}; is the lab up?"))
}

fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: a system call on an open descriptor.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Puts `file` in the place of /etc/resolv.conf, seen by this process and its children only.
fn use_resolver(file: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: system calls on constant or caller-owned strings that end in NUL.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let none = std::ptr::null();
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(none, c"/".as_ptr(), none, private, none.cast()))?;
        check(libc::mount(file.as_ptr(), c"/etc/resolv.conf".as_ptr(), none, libc::MS_BIND, none.cast()))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs `command` to its end and returns what it printed; a failure names command, place and its standard error.
pub(crate) fn run(command: &mut Command, place: &str) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| {
        format!("{place}: cannot run `{shown}`; is the program installed? (`cargo xtask setup`)")
    })?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{place}: `{shown}` failed ({}): {}", output.status, errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
