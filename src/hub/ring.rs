//! The frames of the last minutes, from which clients continue, and with each frame the entries made of it.
//!
//! Contract: a position is a time; [`Ring::after`] gives what follows it, or nothing when the ring begins later. An entry is
//! encoded once for each subscription and frame, by whoever comes first while others wait for that one, and leaves with its
//! frame or earlier. An entry for which there is no room is made for whoever asks and not kept. Each frame that comes makes
//! room by letting the oldest entries go: for as much as its forerunner had no room for, and at least a quarter, of which older
//! frames take nothing. So those that everybody asks for are shared.
//!
//! # Invariants
//! Frames stand without gap. The ring spans at most the configured time and bytes; entries are at most a quarter of the
//! bytes besides.

use crate::hub::encoding::encode_view;
use crate::hub::query::Query;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use weir_schemas::update::{Frame, Update, ViewFrame};

/// What a kept entry, or the knowledge that there is none, costs besides its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// The encoded entries of one subscription in one frame; none when nothing matched.
pub type Entries = Arc<[Bytes]>;

type Slot = Arc<OnceLock<Entries>>;

/// What the ring counts; shared with its frames.
#[derive(Debug)]
struct Counters {
    entry_bytes: AtomicUsize,
    entry_bytes_max: usize,
    /// Of the newest frame's entries those that found no room, each time that one was asked for.
    refused_bytes: AtomicUsize,
    /// The last tick of the newest frame.
    newest: AtomicU64,
    encodings: AtomicU64,
}

impl Counters {
    /// Whether there was room for as many bytes of entries of the frame up to `upper`; they are counted then.
    fn take(&self, upper: u64, bytes: usize) -> bool {
        let newest = self.newest.load(Ordering::Relaxed) == upper;
        let max = if newest { self.entry_bytes_max } else { self.entry_bytes_max / 4 * 3 };
        let with = |held: usize| held.checked_add(bytes).filter(|held| *held <= max);
        let taken = self.entry_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).is_ok();
        if newest && !taken {
            self.refused_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }
}

/// A frame in the ring.
#[derive(Debug)]
pub struct RingFrame {
    frame: Frame,
    bytes: usize,
    entries: Mutex<HashMap<u128, Slot>>,
    entry_bytes: AtomicUsize,
    counters: Arc<Counters>,
}

impl RingFrame {
    fn new(frame: Frame, counters: &Arc<Counters>) -> RingFrame {
        let updates = frame.views.iter().flat_map(|view| &view.updates);
        let rows: usize = updates.map(|update| size_of::<Update>() + 16 + update.row.as_bytes().len()).sum();
        let bytes = rows + size_of::<RingFrame>() + frame.views.len() * size_of::<ViewFrame>();
        RingFrame {
            frame,
            bytes,
            entries: Mutex::default(),
            entry_bytes: AtomicUsize::new(0),
            counters: Arc::clone(counters),
        }
    }

    /// The tick before the first that it covers.
    #[must_use]
    pub fn lower(&self) -> u64 {
        self.frame.lower
    }

    /// The last tick that it covers.
    #[must_use]
    pub fn upper(&self) -> u64 {
        self.frame.upper
    }

    pub(crate) fn view(&self, index: usize) -> &ViewFrame {
        &self.frame.views[index]
    }

    /// The entries of a subscription: encoded once, shared by all.
    #[must_use]
    pub fn entries(&self, query: &Query) -> Option<Entries> {
        if query.views.iter().all(|view| self.view(view.index).updates.is_empty()) {
            return None;
        }
        let slot =
            Arc::clone(self.entries.lock().expect("no holder of this lock panics").entry(query.hash).or_default());
        let mut made = false;
        let entries = slot.get_or_init(|| {
            made = true;
            self.encode(query)
        });
        if made {
            self.count(query.hash, &slot, entries);
        }
        (!entries.is_empty()).then(|| Arc::clone(entries))
    }

    fn encode(&self, query: &Query) -> Entries {
        let mut chunks = Vec::new();
        for view in &query.views {
            encode_view(query, view, self.view(view.index), &mut chunks);
        }
        self.counters.encodings.fetch_add(1, Ordering::Relaxed);
        chunks.into()
    }

    /// Counts a new entry, or lets it go where there is no room. One that was let go meanwhile is not counted.
    fn count(&self, hash: u128, slot: &Slot, entry: &[Bytes]) {
        let bytes = ENTRY_OVERHEAD_BYTES + entry.iter().map(|chunk| chunk.len() + size_of::<Bytes>()).sum::<usize>();
        let mut entries = self.entries.lock().expect("no holder of this lock panics");
        if !entries.get(&hash).is_some_and(|held| Arc::ptr_eq(held, slot)) {
            return;
        }
        if self.counters.take(self.upper(), bytes) {
            self.entry_bytes.fetch_add(bytes, Ordering::Relaxed);
        } else {
            entries.remove(&hash);
        }
    }

    fn forget_entries(&self) {
        let mut entries = self.entries.lock().expect("no holder of this lock panics");
        entries.clear();
        self.uncount_entries();
    }

    fn uncount_entries(&self) {
        let bytes = self.entry_bytes.swap(0, Ordering::Relaxed);
        self.counters.entry_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for RingFrame {
    fn drop(&mut self) {
        self.uncount_entries();
    }
}

/// The frames of the last minutes.
#[derive(Debug)]
pub(crate) struct Ring {
    epoch: Arc<str>,
    frames: VecDeque<Arc<RingFrame>>,
    bytes: usize,
    /// The position after the last frame; none before the first.
    end: Option<u64>,
    counters: Arc<Counters>,
    span_ms: u64,
    bytes_max: usize,
}

/// What a ring holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingStats {
    /// Frames.
    pub frames: usize,
    /// Bytes of their updates.
    pub bytes: usize,
    /// Bytes of entries made of them.
    pub entry_bytes: usize,
    /// Entries encoded so far.
    pub encodings: u64,
    /// The earliest position that can be continued from.
    pub start: u64,
}

impl Ring {
    pub(crate) fn new(span_ms: u64, bytes_max: usize) -> Ring {
        Ring {
            epoch: "".into(),
            frames: VecDeque::new(),
            bytes: 0,
            end: None,
            counters: Arc::new(Counters {
                entry_bytes: AtomicUsize::new(0),
                entry_bytes_max: bytes_max / 4,
                refused_bytes: AtomicUsize::new(0),
                newest: AtomicU64::new(0),
                encodings: AtomicU64::new(0),
            }),
            span_ms,
            bytes_max,
        }
    }

    pub(crate) fn start_epoch(&mut self, epoch: Arc<str>) {
        self.epoch = epoch;
        self.frames.clear();
        self.bytes = 0;
        self.end = None;
    }

    /// The first frame follows this position.
    pub(crate) fn start_at(&mut self, position: u64) {
        assert!(self.end.is_none(), "no frame has come yet");
        self.end = Some(position);
    }

    /// Adds the next frame and lets the oldest go.
    pub(crate) fn push(&mut self, frame: Frame) -> Arc<RingFrame> {
        assert!(frame.lower < frame.upper, "a frame covers at least one tick: ({}, {}]", frame.lower, frame.upper);
        if let Some(end) = self.end {
            assert_eq!(frame.lower, end, "frames follow each other without gap");
        }
        self.end = Some(frame.upper);
        let frame = Arc::new(RingFrame::new(frame, &self.counters));
        self.counters.newest.store(frame.upper(), Ordering::Relaxed);
        self.bytes += frame.bytes;
        self.frames.push_back(Arc::clone(&frame));
        self.trim();
        frame
    }

    fn trim(&mut self) {
        let end = self.end.unwrap_or(0);
        while let Some(oldest) = self.frames.front() {
            if self.bytes <= self.bytes_max && end - oldest.upper() < self.span_ms {
                break;
            }
            self.bytes -= oldest.bytes;
            self.frames.pop_front();
        }
        let max = self.counters.entry_bytes_max;
        let enough = max.saturating_sub(self.counters.refused_bytes.swap(0, Ordering::Relaxed).max(max / 4));
        let held = || self.counters.entry_bytes.load(Ordering::Relaxed);
        if held() > enough {
            for frame in &self.frames {
                if held() <= enough {
                    break;
                }
                if frame.entry_bytes.load(Ordering::Relaxed) > 0 {
                    frame.forget_entries();
                }
            }
        }
    }

    fn start(&self) -> Option<u64> {
        self.frames.front().map(|frame| frame.lower()).or(self.end)
    }

    /// At most `count` frames after `position`; `None` when it is before the ring's start or of another epoch.
    pub(crate) fn after(&self, epoch: &str, position: u64, count: usize) -> Option<Vec<Arc<RingFrame>>> {
        if *self.epoch != *epoch || position < self.start().unwrap_or(0) {
            return None;
        }
        let first = self.frames.partition_point(|frame| frame.upper() <= position);
        Some(self.frames.range(first..).take(count).map(Arc::clone).collect())
    }

    pub(crate) fn stats(&self) -> RingStats {
        RingStats {
            frames: self.frames.len(),
            bytes: self.bytes,
            entry_bytes: self.counters.entry_bytes.load(Ordering::Relaxed),
            encodings: self.counters.encodings.load(Ordering::Relaxed),
            start: self.start().unwrap_or(0),
        }
    }
}
