//! Time, as coarse as the datapath needs it.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;

/// Seconds of the monotonic clock, as of the last timer tick.
#[inline(always)]
pub fn now_secs() -> u32 {
    // SAFETY: no arguments, no preconditions.
    (unsafe { bpf_ktime_get_coarse_ns() } / 1_000_000_000) as u32
}
