//! Opening a topic: lock, facts, verification of every segment, the torn tail, then the writer.
//!
//! Contract: after it every segment's header and footer are verified, they join without a hole, the last segment's records
//! are verified one by one, and what is shown as durable is: the last segment is synced again, since what a killed process
//! left in the system's cache was perhaps never written. Records of sealed segments are verified when they are read.
//!
//! # Cost
//! Read: headers and footers (about 0.02 % of the log) and at most one segment.

use super::super::LogError;
use super::super::bell::Bells;
use super::meta::Meta;
use super::queue::Queue;
use super::segment::{self, Segment};
use super::tail::{self, Scanned};
use super::writer::Writer;
use super::{BATCH_BYTES_MAX, Embedded, EmbeddedConfig, Shared, Store, io_error, lock, stats, sync_folder};
use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

/// A tail that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file.
    pub segment: String,
    /// The byte it now ends at.
    pub at: u64,
    /// How many bytes were cut.
    pub bytes_cut: u64,
    /// How many records of the segment stand before it.
    pub records_kept: u64,
}

/// What opening a topic found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the topic was made now.
    pub created: bool,
    /// How many segments there are.
    pub segments: usize,
    /// The first offset retained, by partition.
    pub starts: Vec<u64>,
    /// The offset after the last record, by partition.
    pub ends: Vec<u64>,
    /// The tail that was cut off, if the last process ended within a commit.
    pub torn: Option<TornTail>,
    /// The configured number of partitions, where it is not what the topic has.
    pub partitions_ignored: Option<u32>,
}

impl OpenReport {
    /// What a person should know, each a sentence.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if let Some(TornTail { segment, at, bytes_cut, records_kept }) = &self.torn {
            notices.push(format!(
                "{segment} ended within a write that was never finished, and nothing of it was acknowledged: {bytes_cut} bytes from \
                 byte {at} on were cut off, {records_kept} records before them are kept."
            ));
        }
        if let Some(partitions) = self.partitions_ignored {
            notices.push(format!(
                "The topic has {} partitions since it was made; the configured number of {partitions} is for new topics only.",
                self.ends.len()
            ));
        }
        notices
    }
}

/// The segments of a folder as found.
struct Found {
    segments: VecDeque<Arc<Segment>>,
    /// The last one's file.
    file: File,
    /// Whether the last one has its footer.
    sealed: bool,
    torn: Option<TornTail>,
}

/// See [`Embedded::open`].
pub(super) fn open(
    config: EmbeddedConfig,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Embedded, OpenReport), LogError> {
    let folder = config.folder.clone();
    let bytes_max = config.record_bytes_max.max(config.queue_bytes);
    if !(1..=1024).contains(&config.partitions) || bytes_max > BATCH_BYTES_MAX {
        let allowed = "1 to 1,024 partitions, records and queue up to 1 GiB";
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, allowed);
        return Err(io_error("configure", &folder)(source));
    }
    std::fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
    let lock = lock::FolderLock::take(&folder)?;
    let (meta, created) = match Meta::load(&folder)? {
        Some(meta) => (meta, false),
        None => (create(&config)?, true),
    };
    if meta.topic != config.topic {
        let source = std::io::Error::other(format!("it holds the topic {}, not {}", meta.topic, config.topic));
        return Err(io_error("open", &folder)(source));
    }
    let identity = meta.identity();
    let Found { segments, file, sealed, torn } = verify(&folder, identity, meta.partitions as usize, progress)?;
    let active = Arc::clone(segments.back().expect("a topic has a segment"));
    let ends = active.extent().ends.clone();
    let store = Store { segments, ends, closed: false };
    let report = OpenReport {
        created,
        segments: store.segments.len(),
        starts: store.starts().to_vec(),
        ends: store.ends.clone(),
        torn,
        partitions_ignored: (meta.partitions != config.partitions).then_some(config.partitions),
    };
    let shared = Arc::new(Shared {
        queue: Queue::new(&config),
        config,
        identity,
        partitions: meta.partitions,
        store: Mutex::new(store),
        moved: Condvar::new(),
        bells: Bells::default(),
        stats: stats::Stats::default(),
        retaining: Mutex::new(()),
    });
    let writer = Writer::new(Arc::clone(&shared), active, file, sealed);
    let thread = std::thread::Builder::new().name(format!("log {}", shared.config.topic));
    let thread = thread.spawn(move || writer.run()).map_err(io_error("start the writer of", &folder))?;
    Ok((Embedded { shared, writer: Mutex::new(Some(thread)), _lock: lock }, report))
}

/// Makes a topic: the first segment, then the facts. A crash in between leaves a segment without records, which is made
/// anew; segments that have any are never taken for that.
fn create(config: &EmbeddedConfig) -> Result<Meta, LogError> {
    let folder = &config.folder;
    let header_bytes_max = Segment::header_bytes(config.partitions as usize);
    for sequence in segment::list(folder)? {
        let path = folder.join(segment::file_name(sequence));
        let size = std::fs::metadata(&path).map_err(io_error("read", &path))?.len();
        if sequence > 0 || size > header_bytes_max {
            return Err(missing(&folder.join("topic.json"), "the file is missing, but there are records"));
        }
    }
    let meta = Meta::new(&config.topic, config.partitions);
    let starts = vec![0; config.partitions as usize];
    Segment::create(folder, meta.identity(), 0, &starts).map_err(io_error("make a segment in", folder))?;
    meta.store(folder)?;
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent).map_err(io_error("sync", parent))?;
    }
    Ok(meta)
}

fn missing(path: &Path, problem: &str) -> LogError {
    let segment = path.display().to_string();
    LogError::Corrupt { segment, at: 0, partition: 0, offset: 0, problem: problem.to_owned() }
}

/// Verifies all segments of a folder, and cuts a torn tail off the last.
fn verify(
    folder: &Path,
    identity: u128,
    partitions: usize,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Found, LogError> {
    let sequences = segment::list(folder)?;
    let Some((last, sealed)) = sequences.split_last() else {
        return Err(missing(&folder.join(segment::file_name(0)), "every segment is missing"));
    };
    let last_path = folder.join(segment::file_name(*last));
    let mut sizes = Vec::with_capacity(sequences.len());
    for sequence in &sequences {
        let path = folder.join(segment::file_name(*sequence));
        sizes.push(std::fs::metadata(&path).map_err(io_error("read", &path))?.len());
    }
    let (total, mut done) = (sizes.iter().sum(), 0);
    let mut passed = |bytes| {
        done += bytes;
        progress(done, total);
    };
    let mut segments: VecDeque<Arc<Segment>> = VecDeque::with_capacity(sequences.len());
    for (sequence, size) in sealed.iter().zip(&sizes) {
        let (segment, file) =
            Segment::open(&folder.join(segment::file_name(*sequence)), *sequence, identity, partitions)?;
        joins(segments.back(), &segment)?;
        let mut extent = segment.sealed_extent(&file)?;
        extent.index = None;
        *segment.extent_mut() = extent;
        segments.push_back(Arc::new(segment));
        passed(*size);
    }
    let (segment, file) = Segment::open(&last_path, *last, identity, partitions)?;
    joins(segments.back(), &segment)?;
    let mut torn = None;
    let footer = segment.read_footer(&file)?;
    let sealed = footer.is_some();
    let extent = match footer {
        Some(extent) => {
            passed(sizes.last().copied().unwrap_or_default());
            extent
        }
        None => {
            let Scanned { extent, records, torn_bytes } = tail::scan(&segment, &file, &mut passed)?;
            if torn_bytes > 0 {
                file.set_len(extent.len).map_err(io_error("cut", &last_path))?;
                let segment = last_path.display().to_string();
                torn = Some(TornTail { segment, at: extent.len, bytes_cut: torn_bytes, records_kept: records });
            }
            extent
        }
    };
    file.sync_all().map_err(io_error("sync", &last_path))?;
    *segment.extent_mut() = extent;
    segments.push_back(Arc::new(segment));
    Ok(Found { segments, file, sealed, torn })
}

/// Whether a segment goes on where the one before it ends.
fn joins(before: Option<&Arc<Segment>>, segment: &Segment) -> Result<(), LogError> {
    let Some(before) = before else { return Ok(()) };
    let path = &segment.path;
    if segment.sequence != before.sequence + 1 {
        let absent = path.with_file_name(segment::file_name(before.sequence + 1));
        return Err(missing(&absent, "the segment is missing"));
    }
    let extent = before.extent();
    let differs = extent.ends.iter().zip(&segment.starts).position(|(end, start)| end != start);
    differs.map_or(Ok(()), |partition| {
        Err(LogError::Corrupt {
            segment: path.display().to_string(),
            at: 0,
            partition: u32::try_from(partition).unwrap_or(u32::MAX),
            offset: extent.ends[partition],
            problem: format!("the segment begins at offset {}", segment.starts[partition]),
        })
    })
}
