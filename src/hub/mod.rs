//! The hub: the current rows of every view, the frames of the last minutes, and the bytes that clients get of them.
//!
//! Contract: one thread (the engine's output, or a relay's upstream) calls [`Hub::start_epoch`], then [`Hub::publish`] for each
//! frame, also during a recovery, when the frames of the past stream in, and [`Hub::set_live`] when they are those of now.
//! Any number of sessions read. A session is a position: it asks for the frames after it ([`Hub::frames`]), takes their
//! shared entries, and is told by [`Hub::watch`] that there are more. Off the ring, it takes a snapshot ([`scan::Scan`]).
//!
//! # Invariants
//! - No socket, no queue, no client is known here; publishing waits for none, only for the short read locks of scans.
//! - The ring has a frame before the state moves by it, and both before anybody is told: from a snapshot at any time the
//!   ring continues.
//! - Lock order: state, then ring. Nothing waits while it holds one.
//!
//! # Cost
//! An update: one tree operation and its share of the ring (`benches/hub.rs`). An entry: once a subscription and frame, as
//! long as the ring has room for it.
//!
//! # Failure
//! A frame that does not follow the last one, a second row for a key, a −1 of a row that is not there, or (checked in debug
//! builds) a wrong digest panics: what clients were told would be wrong.

pub mod completeness;
pub mod encoding;
mod filter;
pub mod parts;
pub mod query;
mod ring;
pub mod scan;
mod state;

pub use completeness::OpenWork;
pub use ring::{Entries, RingFrame, RingStats};

use completeness::OpenWorkFold;
use metrics::{counter, gauge};
use ring::Ring;
use state::ViewState;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;
use tokio::sync::watch;
use weir_schemas::row::Row;
use weir_schemas::update::{Digest, Frame};
use weir_schemas::view::VIEWS;

/// How much the hub keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Frames are kept this long, on the tick axis.
    pub ring_span_ms: u64,
    /// And up to this many bytes.
    pub ring_bytes: usize,
    /// A snapshot over so many rows is refused.
    pub snapshot_rows_max: usize,
    /// Whether each frame's digests are compared with the updates.
    pub check_digests: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            ring_span_ms: 300_000,
            ring_bytes: 256 << 20,
            snapshot_rows_max: 100_000,
            check_digests: cfg!(debug_assertions),
        }
    }
}

/// Where the hub is.
#[derive(Clone, Debug)]
pub struct Head {
    /// The history; empty before the first.
    pub epoch: Arc<str>,
    /// Everything up to here is in.
    pub time: u64,
    /// Whether that is now; false while a recovery replays the past.
    pub live: bool,
    /// When it last moved.
    pub moved_at: Instant,
    /// What has not ended.
    pub open: OpenWork,
}

/// The current state.
pub(crate) struct State {
    pub(crate) epoch: Arc<str>,
    pub(crate) time: u64,
    pub(crate) views: Vec<ViewState>,
    open: OpenWorkFold,
}

impl State {
    fn empty(epoch: Arc<str>) -> State {
        let views = VIEWS.iter().map(|_| ViewState::default()).collect();
        State { epoch, time: 0, views, open: OpenWorkFold::default() }
    }
}

/// All digests at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The history.
    pub epoch: Arc<str>,
    /// When they held.
    pub time: u64,
    /// By view: name, digest, rows.
    pub views: Vec<(&'static str, Digest, usize)>,
}

struct Shared {
    config: Config,
    state: RwLock<State>,
    ring: RwLock<Ring>,
    head: watch::Sender<Head>,
}

/// Says how large the views are that a frame changed.
fn record_sizes(frame: &RingFrame, views: &[ViewState]) {
    for (index, (view, state)) in VIEWS.iter().zip(views).enumerate() {
        if !frame.view(index).updates.is_empty() {
            #[expect(clippy::cast_precision_loss, reason = "a graph needs no more than 52 bits")]
            let (rows, bytes) = (state.len() as f64, state.bytes() as f64);
            gauge!("weir_view_rows", "view" => view.name).set(rows);
            gauge!("weir_view_bytes", "view" => view.name).set(bytes);
        }
    }
}

/// The hub; cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

impl Hub {
    /// An empty hub.
    #[must_use]
    pub fn new(config: Config) -> Hub {
        let ring = Ring::new(config.ring_span_ms, config.ring_bytes);
        let head = Head { epoch: "".into(), time: 0, live: false, moved_at: Instant::now(), open: OpenWork::default() };
        Hub(Arc::new(Shared {
            config,
            state: RwLock::new(State::empty("".into())),
            ring: RwLock::new(ring),
            head: watch::Sender::new(head),
        }))
    }

    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Begins a history: all views are empty, and positions of another epoch are of no use.
    pub fn start_epoch(&self, epoch: Arc<str>) {
        self.ring_mut().start_epoch(Arc::clone(&epoch));
        *self.state_mut() = State::empty(Arc::clone(&epoch));
        self.0.head.send_replace(Head {
            epoch,
            time: 0,
            live: false,
            moved_at: Instant::now(),
            open: OpenWork::default(),
        });
    }

    /// Takes the next frame in.
    ///
    /// # Panics
    /// When the frame does not follow the last one or contradicts the state.
    pub fn publish(&self, frame: Frame) {
        assert_eq!(frame.views.len(), VIEWS.len(), "a frame carries every view");
        let frame = self.ring_mut().push(frame);
        let open = {
            let mut state = self.state_mut();
            let State { time, views, open, .. } = &mut *state;
            for (index, view) in views.iter_mut().enumerate() {
                view.fold(VIEWS[index], frame.view(index), self.0.config.check_digests);
            }
            for update in &frame.view(open.view).updates {
                open.apply(update);
            }
            *time = frame.upper();
            record_sizes(&frame, views);
            open.sum
        };
        self.0.head.send_modify(|head| {
            head.time = frame.upper();
            head.moved_at = Instant::now();
            head.open = open;
        });
        self.record(&frame);
    }

    /// The rows of every view, as of the last frame, in the order of `VIEWS`. Frames wait while they are listed.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<Row>> {
        self.state().views.iter().map(ViewState::rows).collect()
    }

    /// Begins with the rows of every view as of `time`, in the order of `VIEWS`; before the first frame.
    ///
    /// # Panics
    /// When a frame has come, or two rows have one key.
    pub fn restore(&self, time: u64, rows: Vec<Vec<Row>>, digests: &[Digest]) {
        self.ring_mut().start_at(time);
        let open = {
            let mut state = self.state_mut();
            let State { time: at, views, open, .. } = &mut *state;
            assert_eq!((*at, rows.len()), (0, VIEWS.len()), "a state begins once, with every view");
            rows[open.view].iter().for_each(|row| open.add(row));
            for (((state, rows), digest), view) in views.iter_mut().zip(rows).zip(digests).zip(VIEWS) {
                state.begin(view, rows, *digest);
            }
            *at = time;
            open.sum
        };
        self.0.head.send_modify(|head| {
            head.time = time;
            head.moved_at = Instant::now();
            head.open = open;
        });
    }

    fn record(&self, frame: &RingFrame) {
        let updates: usize = (0..VIEWS.len()).map(|view| frame.view(view).updates.len()).sum();
        let stats = self.ring().stats();
        counter!("weir_hub_frames_total").increment(1);
        counter!("weir_hub_updates_total").increment(updates as u64);
        counter!("weir_hub_encodings_total").absolute(stats.encodings);
        #[expect(clippy::cast_precision_loss, reason = "a graph needs no more than 52 bits")]
        for (name, value) in [
            ("weir_hub_ring_frames", stats.frames as f64),
            ("weir_hub_ring_bytes", stats.bytes as f64),
            ("weir_hub_entry_bytes", stats.entry_bytes as f64),
            ("weir_hub_time_ms", frame.upper() as f64),
        ] {
            gauge!(name).set(value);
        }
    }

    /// Says that the frames are those of now.
    pub fn set_live(&self) {
        self.0.head.send_modify(|head| head.live = true);
    }

    /// Where it is.
    #[must_use]
    pub fn head(&self) -> Head {
        self.0.head.borrow().clone()
    }

    /// A receiver that sees it move.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Head> {
        self.0.head.subscribe()
    }

    /// At most `count` frames after a position, up to where everybody may know of them; `None` when the ring begins later
    /// or the epoch is another.
    #[must_use]
    pub fn frames(&self, epoch: &str, position: u64, count: usize) -> Option<Vec<Arc<RingFrame>>> {
        let time = self.0.head.borrow().time;
        let mut frames = self.ring().after(epoch, position, count)?;
        frames.retain(|frame| frame.upper() <= time);
        Some(frames)
    }

    /// The digests of all views.
    #[must_use]
    pub fn digests(&self) -> Digests {
        let state = self.state();
        let views = VIEWS.iter().zip(&state.views).map(|(view, rows)| (view.name, rows.digest(), rows.len())).collect();
        Digests { epoch: Arc::clone(&state.epoch), time: state.time, views }
    }

    /// What the ring holds.
    #[must_use]
    pub fn ring_stats(&self) -> RingStats {
        self.ring().stats()
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().expect("publishing has not panicked")
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().expect("publishing has not panicked")
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.0.ring.read().expect("publishing has not panicked")
    }

    fn ring_mut(&self) -> RwLockWriteGuard<'_, Ring> {
        self.0.ring.write().expect("publishing has not panicked")
    }
}
