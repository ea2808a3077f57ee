//! What a test needs of the machine. A test that cannot run says so, and fails where everything must run.

/// Whether this process may load programs. Otherwise prints `SKIP <test>: <reason>`.
///
/// # Panics
/// When something is missing and `REQUIRE_ALL=1` is set.
pub fn root() -> bool {
    // SAFETY: no arguments, cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    is_root || skip("needs root to load eBPF programs: run it with sudo")
}

/// Reports that the test this thread runs is skipped; always `false`.
///
/// # Panics
/// When `REQUIRE_ALL=1` is set.
pub fn skip(reason: &str) -> bool {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("main");
    assert!(
        std::env::var("REQUIRE_ALL").as_deref() != Ok("1"),
        "{test} must not be skipped (REQUIRE_ALL=1): {reason}"
    );
    // To the process's own stderr: the test runner captures what `eprintln` writes.
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIP {test}: {reason}");
    false
}
