//! What a process has used, by `/proc`.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The processor time of all its threads.
pub(crate) fn cpu_time() -> Duration {
    since_zero(ClockId::ProcessCPUTime)
}

/// The processor time of this thread.
pub(crate) fn thread_cpu_time() -> Duration {
    since_zero(ClockId::ThreadCPUTime)
}

fn since_zero(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Its resident memory in bytes.
pub(crate) fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}
