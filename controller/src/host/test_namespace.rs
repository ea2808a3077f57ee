//! Network namespaces for the tests of this module.

use nix::sched::{CloneFlags, setns};
use std::future::Future;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A named network namespace, removed on drop.
pub(super) struct Namespace(String);

impl Namespace {
    pub(super) fn new() -> Namespace {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("cw-health-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(&["netns", "add", &name]);
        Namespace(name)
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Runs `ip` in the namespace.
    pub(super) fn ip(&self, arguments: &str) {
        self.output(arguments);
    }

    /// What `ip` prints in the namespace.
    pub(super) fn output(&self, arguments: &str) -> String {
        let words = ["-n", &self.0].into_iter().chain(arguments.split(' '));
        run(&words.collect::<Vec<_>>())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn run(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {error}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `test` on a thread of its own, in `namespace`.
pub(super) fn in_namespace(namespace: &Namespace, test: impl Future<Output = ()> + Send) {
    let file = std::fs::File::open(format!("/run/netns/{}", namespace.0)).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// `true`: `test` cannot run here, which has been said; a panic where nothing may be skipped.
pub(super) fn root_or_skip(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return false;
    }
    let reason = "network namespaces need root";
    assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "{test}: {reason}");
    println!("SKIP {test}: {reason}");
    true
}
