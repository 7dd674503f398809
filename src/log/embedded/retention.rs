//! Retention: dropping whole segments, oldest first, by age and size.
//!
//! Contract: the active segment always stays, and with it the topic's ends. A reader that is behind the new starts gets
//! [`LogError::OutOfRange`], also when it has the file open. Files are removed oldest first, one call at a time, so a crash
//! in between leaves a log without holes; what it had not removed yet is there again at the next start.

use super::super::LogError;
use super::segment::Segment;
use super::{Shared, io_error, sync_folder};
use std::sync::{Arc, PoisonError};

/// What retention dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Segments removed.
    pub segments_dropped: usize,
    /// Bytes given back to the disk, about.
    pub bytes_dropped: u64,
    /// The first offset that is left, by partition.
    pub starts: Vec<u64>,
}

/// See [`super::Embedded::retain`].
pub(super) fn retain(shared: &Shared, now: u64, floor: &[u64]) -> Result<Retained, LogError> {
    let _one_at_a_time = shared.retaining.lock().unwrap_or_else(PoisonError::into_inner);
    let (dropped, starts) = take_out(shared, now, floor);
    let mut bytes_dropped = 0;
    for segment in &dropped {
        bytes_dropped += segment.extent().len;
        std::fs::remove_file(&segment.path).map_err(io_error("remove", &segment.path))?;
    }
    if !dropped.is_empty() {
        let folder = &shared.config.folder;
        sync_folder(folder).map_err(io_error("sync", folder))?;
    }
    Ok(Retained { segments_dropped: dropped.len(), bytes_dropped, starts })
}

/// Takes the segments that may go out of what is read.
fn take_out(shared: &Shared, now: u64, floor: &[u64]) -> (Vec<Arc<Segment>>, Vec<u64>) {
    let age_ms = u64::try_from(shared.config.retention_age.as_millis()).unwrap_or(u64::MAX);
    let bytes_max = shared.config.retention_bytes;
    let mut store = shared.store();
    let mut bytes: u64 = store.segments.iter().map(|segment| segment.extent().len).sum();
    let mut dropped = Vec::new();
    while store.segments.len() > 1 {
        let Some(oldest) = store.segments.front() else { break };
        let extent = oldest.extent();
        let old = age_ms > 0 && extent.newest_at.saturating_add(age_ms) <= now;
        let large = bytes_max > 0 && bytes > bytes_max;
        if !(old || large) || extent.ends.iter().zip(floor).any(|(end, floor)| end > floor) {
            break;
        }
        bytes -= extent.len;
        drop(extent);
        dropped.extend(store.segments.pop_front());
    }
    (dropped, store.starts().to_vec())
}
