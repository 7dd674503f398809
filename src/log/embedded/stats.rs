//! What commits cost: counts, and how long their syncs took.
//!
//! # Cost
//! One lock a commit; 64 counters, so quantiles are exact to the width of a bucket (a factor of √2).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const BUCKETS: usize = 64;

/// Counts since the log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitStats {
    /// Commits made durable.
    pub commits: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes in them, headers included.
    pub bytes: u64,
    /// Syncs by duration: bucket b counts those below 2^((b + 1) / 2) µs and not below 2^(b / 2) µs.
    syncs: [u64; BUCKETS],
}

impl CommitStats {
    /// The duration that a share `quantile` (0 to 1) of all syncs did not exceed, rounded up to its bucket's end.
    #[must_use]
    pub fn sync_quantile(&self, quantile: f64) -> Duration {
        let all: u64 = self.syncs.iter().sum();
        let mut seen = 0;
        for (count, bucket) in self.syncs.iter().zip(1_i32..) {
            seen += count;
            // A share of a count of commits; their number is far below 2^53.
            if seen > 0 && seen as f64 >= all as f64 * quantile {
                return Duration::from_secs_f64(2_f64.powf(f64::from(bucket) / 2.0) / 1e6);
            }
        }
        Duration::ZERO
    }
}

/// Where the writer counts.
#[derive(Debug)]
pub(super) struct Stats(Mutex<CommitStats>);

impl Default for Stats {
    fn default() -> Self {
        Stats(Mutex::new(CommitStats { commits: 0, records: 0, bytes: 0, syncs: [0; BUCKETS] }))
    }
}

impl Stats {
    /// Counts one commit.
    pub(super) fn committed(&self, records: u64, bytes: u64, sync: Duration) {
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stats.commits += 1;
        stats.records += records;
        stats.bytes += bytes;
        // log2(µs²) = 2·log2(µs), in whole steps.
        let squared = sync.as_micros().max(1).pow(2);
        stats.syncs[(squared.ilog2() as usize).min(BUCKETS - 1)] += 1;
    }

    pub(super) fn get(&self) -> CommitStats {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
