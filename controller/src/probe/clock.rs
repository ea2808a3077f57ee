//! The clock of the control loop.

use crate::health::Moment;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The present moment, CLOCK_MONOTONIC: the same in every process of this host.
pub fn now() -> Moment {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has CLOCK_MONOTONIC");
    Moment::default() + Duration::from(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_forward_and_alike_in_every_process() {
        let first = now();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime = Duration::from_secs_f64(uptime.split(' ').next().unwrap().parse().unwrap());
        // /proc/uptime is CLOCK_BOOTTIME, which differs by the time a machine slept; it has a resolution of 10 ms.
        assert!(first.since(Moment::default()) <= uptime + Duration::from_millis(20));
        assert!(now() >= first);
    }
}
