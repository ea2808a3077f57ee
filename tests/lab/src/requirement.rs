//! What a test needs from the machine, and how it says that it did not run.

use std::io::Write;

/// Whether the test named `test` may go on as root. If not, says so in a line that starts with `SKIP`.
///
/// # Panics
/// If it may not and `REQUIRE_ALL` is set to 1, as CI does: a skip is a failure there.
pub fn root(test: &str) -> bool {
    // SAFETY: a system call without arguments.
    met(test, unsafe { libc::geteuid() } == 0, "needs root; run `sudo -E cargo xtask test`")
}

/// Whether the test named `test` may go on, given that it needs `condition`; `otherwise` says what is missing.
///
/// # Panics
/// As [`root`].
pub fn met(test: &str, condition: bool, otherwise: &str) -> bool {
    if condition {
        return true;
    }
    if std::env::var("REQUIRE_ALL").is_ok_and(|value| value == "1") {
        panic!("{test} was about to be skipped, and REQUIRE_ALL=1 forbids it: {otherwise}");
    }
    // Not println!, which the test harness keeps to itself when a test passes. Nothing to do if it cannot be written.
    let _ = writeln!(std::io::stderr(), "SKIP {test}: {otherwise}");
    false
}
