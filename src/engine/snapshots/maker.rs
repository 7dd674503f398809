//! Making snapshots while the engine runs.
//!
//! Contract: the sequencer asks with each tick whether a snapshot is due before it ([`Maker::due`]) and begins one by telling
//! where everything is bound ([`Maker::begin`]); every worker hands in its state as of the cut, part by part, and that it is done;
//! the output hands in the rows, when all that is bound up to the cut is released. One named thread writes it all down. So a
//! snapshot is of ticks that count, and of no others.
//!
//! # Invariants
//! One snapshot at a time. What waits to be written is bounded: by [`PARTS_MAX`] parts, the rows, which are shared with the hub, and one
//! copy of what of the results changes before its turn.
//!
//! # Failure
//! What cannot be written is given up, removed and said; workers and output go on as if it had been.

use super::{BlockWriter, Draft, Manifest, Position, Silence, Snapshot, SnapshotError, Store, ViewEntry};
use crate::engine::bindings::Incarnation;
use crate::engine::control::Control;
use crate::engine::ledger::to_f64;
use crate::status::Status;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use weir_schemas::row::Row;
use weir_schemas::update::Digest;
use weir_schemas::view::VIEWS;

/// How often it looks whether the engine is to end.
const LOOK: Duration = Duration::from_millis(100);
/// Parts that may wait to be written, each of about 1 MiB: as many as machines hand in at the cut, so that no worker stands still for a disk.
const PARTS_MAX: usize = 1_024;
/// Nothing more is handed in between steps while so many wait.
const PARTS_ENOUGH: usize = 8;
/// So long a block of rows becomes, about.
const BLOCK_BYTES: usize = 1 << 20;

/// The file of a worker's states.
pub(in crate::engine) fn states_file(worker: usize) -> String {
    format!("states-{worker}")
}

/// The file of all rows.
pub(in crate::engine) const ROWS_FILE: &str = "rows";

/// Where everything is bound at a cut.
pub(in crate::engine) struct Cut {
    /// All ticks up to here are in it, and no later one.
    pub(in crate::engine) tick: u64,
    pub(in crate::engine) positions: Vec<Position>,
    /// The first offset of the bindings log that is not in it.
    pub(in crate::engine) bindings_offset: u64,
    pub(in crate::engine) silence: Silence,
    pub(in crate::engine) silence_told: bool,
}

/// The rows of every view at a cut, and their digests, both in the order of `VIEWS`.
pub(in crate::engine) struct Rows {
    pub(in crate::engine) rows: Vec<Vec<Row>>,
    pub(in crate::engine) digests: Vec<u128>,
}

/// What the writer is handed.
enum Piece {
    Begin(Cut),
    /// A part of the state of an operator.
    Part {
        worker: usize,
        machine: String,
        part: Vec<u8>,
    },
    /// A worker has handed in everything.
    Done,
}

/// See the module.
pub(in crate::engine) struct Maker {
    every_ms: u64,
    pieces: Sender<Piece>,
    /// Apart, since the output must not wait for what workers hand in.
    rows: Sender<Rows>,
    /// Whether one is under way.
    busy: AtomicBool,
    /// The cut whose rows the output is to hand in; 0: none.
    awaited: AtomicU64,
}

/// What is the same of all snapshots of a life.
pub(in crate::engine) struct Common {
    pub(in crate::engine) store: Store,
    pub(in crate::engine) epoch: String,
    pub(in crate::engine) basis: u128,
    pub(in crate::engine) incarnation: Incarnation,
    pub(in crate::engine) past: Option<(u64, Vec<u64>)>,
    pub(in crate::engine) workers: usize,
    pub(in crate::engine) status: Status,
}

impl Maker {
    /// One that makes a snapshot at multiples of `every_ms`; what it is handed, [`Writer::run`] writes.
    pub(in crate::engine) fn new(every_ms: u64, common: Common) -> (Arc<Maker>, Writer) {
        let ((pieces, handed), (rows, handed_rows)) = (bounded(PARTS_MAX), bounded(1));
        let (busy, awaited) = (AtomicBool::new(false), AtomicU64::new(0));
        let every_ms = every_ms.next_multiple_of(1_000).max(1_000);
        let maker = Arc::new(Maker { every_ms, pieces, rows, busy, awaited });
        (Arc::clone(&maker), Writer { handed, handed_rows, maker, common })
    }

    /// The cut that is due between the last closed tick and the next one.
    pub(in crate::engine) fn due(&self, last: u64, next: u64) -> Option<u64> {
        let cut = (next.saturating_sub(1)) / self.every_ms * self.every_ms;
        (cut >= last && last > 0 && !self.busy.load(Ordering::Acquire)).then_some(cut)
    }

    /// Begins one; the workers are told next.
    pub(in crate::engine) fn begin(&self, cut: Cut) {
        let tick = cut.tick;
        self.busy.store(true, Ordering::Release);
        // Before anybody can hand in its rows.
        self.hand(Piece::Begin(cut));
        self.awaited.store(tick, Ordering::Release);
    }

    /// A part of a worker's state.
    pub(in crate::engine) fn part(&self, worker: usize, machine: &str, part: Vec<u8>) {
        self.hand(Piece::Part { worker, machine: machine.to_owned(), part });
    }

    /// Whether a part can be handed in without waiting.
    pub(in crate::engine) fn room(&self) -> bool {
        self.pieces.len() < PARTS_ENOUGH
    }

    /// A worker has handed in everything.
    pub(in crate::engine) fn done(&self) {
        self.hand(Piece::Done);
    }

    /// Hands in the rows, if what is released next is the first after a cut.
    pub(in crate::engine) fn rows(&self, next_upper: u64, rows: impl FnOnce() -> Rows) {
        let cut = self.awaited.load(Ordering::Acquire);
        if cut > 0 && next_upper > cut {
            self.awaited.store(0, Ordering::Release);
            let since = Instant::now();
            // There is room: those of the one before were taken, or there would be no cut.
            let _ended = self.rows.send(rows());
            pause("rows", since);
        }
    }

    fn hand(&self, piece: Piece) {
        // A writer that has ended, has with the engine.
        let _ended = self.pieces.send(piece);
    }
}

/// Writes snapshots down.
pub(in crate::engine) struct Writer {
    handed: Receiver<Piece>,
    handed_rows: Receiver<Rows>,
    maker: Arc<Maker>,
    common: Common,
}

/// One that is being written.
struct Open {
    cut: Cut,
    since: Instant,
    /// None, once it could not be written.
    files: Option<Files>,
    waited_for: usize,
    rows: Option<Vec<ViewEntry>>,
}

struct Files {
    draft: Draft,
    states: Vec<BlockWriter>,
    rows: BlockWriter,
}

impl Writer {
    /// Writes until the engine ends.
    pub(in crate::engine) fn run(self, control: &Control) {
        let _guard = control.guard("engine-snapshots");
        let Writer { handed, handed_rows, maker, common } = self;
        let mut open: Option<Open> = None;
        while !control.stopping() {
            select! {
                recv(handed) -> piece => match (piece, &mut open) {
                    (Ok(Piece::Begin(cut)), open) => *open = Some(common.begin(cut)),
                    (Ok(piece), Some(open)) => open.take(piece),
                    _ => {}
                },
                recv(handed_rows) -> rows => {
                    // The cut was told before its rows, by the other way.
                    if open.is_none() && let Ok(Piece::Begin(cut)) = handed.try_recv() {
                        open = Some(common.begin(cut));
                    }
                    open.iter_mut().zip(rows).for_each(|(open, rows)| open.take_rows(rows));
                }
                default(LOOK) => {}
            }
            let Some(current) = &open else { continue };
            if current.waited_for == 0
                && let Some(whole) = open.take()
            {
                common.finish(whole);
                maker.busy.store(false, Ordering::Release);
            }
        }
        if let Some(files) = open.and_then(|open| open.files) {
            files.draft.abandon();
        }
    }
}

impl Open {
    /// Takes in what a worker hands in.
    fn take(&mut self, piece: Piece) {
        let written = match (&mut self.files, piece) {
            (_, Piece::Done) => {
                self.waited_for -= 1;
                Ok(())
            }
            (Some(files), Piece::Part { worker, machine, part }) => files.states[worker].block(&machine, &part),
            (None, Piece::Part { .. }) | (_, Piece::Begin(_)) => Ok(()),
        };
        written.unwrap_or_else(|error| self.give_up(&error));
    }

    /// Takes in the rows.
    fn take_rows(&mut self, rows: Rows) {
        self.waited_for -= 1;
        let Some(files) = &mut self.files else { return };
        match write_rows(&mut files.rows, rows) {
            Ok(views) => self.rows = Some(views),
            Err(error) => self.give_up(&error),
        }
    }

    fn give_up(&mut self, error: &SnapshotError) {
        fail(self.cut.tick, error);
        self.files.take().into_iter().for_each(|files| files.draft.abandon());
    }
}

impl Common {
    fn begin(&self, cut: Cut) -> Open {
        let files = || -> Result<Files, SnapshotError> {
            let draft = self.store.begin(cut.tick)?;
            let states = (0..self.workers).map(|worker| draft.file(&states_file(worker))).collect::<Result<_, _>>()?;
            let rows = draft.file(ROWS_FILE)?;
            Ok(Files { draft, states, rows })
        };
        let files = files().map_err(|error| fail(cut.tick, &error)).ok();
        Open { cut, since: Instant::now(), files, waited_for: self.workers + 1, rows: None }
    }

    fn finish(&self, open: Open) {
        let Open { cut, since, files, rows, .. } = open;
        let (Some(Files { draft, states, rows: rows_file }), Some(views)) = (files, rows) else { return };
        let tick = cut.tick;
        let finished = || -> Result<u64, SnapshotError> {
            let files =
                states.into_iter().chain([rows_file]).map(BlockWriter::finish).collect::<Result<Vec<_>, _>>()?;
            let bytes = files.iter().map(|file| file.bytes).sum();
            let manifest = Manifest {
                tick,
                epoch: self.epoch.clone(),
                basis: self.basis,
                incarnation: self.incarnation,
                bindings_offset: cut.bindings_offset,
                positions: cut.positions,
                silence: cut.silence,
                silence_told: cut.silence_told,
                past: self.past.clone(),
                workers: self.workers,
                views,
                files,
                ..Manifest::default()
            };
            draft.finish(&manifest)?;
            Ok(bytes)
        };
        match finished() {
            Ok(bytes) => {
                let took = since.elapsed();
                metrics::histogram!("weir_snapshot_seconds").record(took.as_secs_f64());
                metrics::gauge!("weir_snapshot_bytes").set(to_f64(bytes));
                metrics::gauge!("weir_snapshot_time_ms").set(to_f64(tick));
                tracing::info!(tick, bytes, ?took, "a snapshot was written");
                self.status.update(|status| status.snapshot_at = tick);
                if let Err(error) = self.store.prune() {
                    let error = crate::error::chain(&error);
                    tracing::warn!(error, "old snapshots cannot be removed");
                }
            }
            Err(error) => fail(tick, &error),
        }
    }
}

/// Notes how long somebody stood still for a snapshot.
pub(in crate::engine) fn pause(part: &'static str, since: Instant) {
    metrics::histogram!("weir_snapshot_pause_seconds", "part" => part).record(since.elapsed().as_secs_f64());
}

/// Says that there is none.
fn fail(tick: u64, error: &SnapshotError) {
    metrics::counter!("weir_snapshot_failures_total").increment(1);
    let error = crate::error::chain(error);
    tracing::warn!(tick, error, "no snapshot could be written; the next one is tried in its turn");
}

/// Writes the rows of every view, one block after the other.
fn write_rows(file: &mut BlockWriter, Rows { rows, digests }: Rows) -> Result<Vec<ViewEntry>, SnapshotError> {
    let (mut views, mut block) = (Vec::with_capacity(VIEWS.len()), Vec::new());
    for ((view, rows), digest) in VIEWS.iter().zip(rows).zip(digests) {
        for (count, row) in (1..).zip(&rows) {
            let bytes = row.as_bytes();
            block.extend(u32::try_from(bytes.len()).expect("a row is shorter than 4 GiB").to_le_bytes());
            block.extend(bytes);
            if block.len() >= BLOCK_BYTES || count == rows.len() {
                file.block(view.name, &block)?;
                block.clear();
            }
        }
        views.push(ViewEntry { name: view.name.to_owned(), digest, rows: rows.len() as u64 });
    }
    Ok(views)
}

/// The rows of every view, in the order of `VIEWS`, if they are those whose digests the manifest has.
pub(in crate::engine) fn read_rows(snapshot: &Snapshot) -> Result<Rows, SnapshotError> {
    let path = snapshot.folder().join(ROWS_FILE);
    let damaged = |problem: String| SnapshotError::damaged(&path, problem);
    let (mut file, mut block) = (snapshot.file(ROWS_FILE)?, Vec::new());
    let mut rows: Vec<Vec<Row>> = VIEWS.iter().map(|_| Vec::new()).collect();
    while let Some(name) = file.next(&mut block)? {
        let view = VIEWS
            .iter()
            .position(|view| view.name == name)
            .ok_or_else(|| damaged(format!("there is no view {name}")))?;
        let mut rest = &block[..];
        while let Some((length, after)) = rest.split_first_chunk() {
            let row = after.split_at_checked(u32::from_le_bytes(*length) as usize);
            let (row, after) = row.ok_or_else(|| damaged("it ends within a row".to_owned()))?;
            let row = Row::from_bytes(row, VIEWS[view].columns.len());
            rows[view].push(row.map_err(|_| damaged(format!("a row of {name} is malformed")))?);
            rest = after;
        }
    }
    let mut digests = Vec::with_capacity(VIEWS.len());
    for (view, rows) in VIEWS.iter().zip(&rows) {
        let mut digest = Digest::default();
        rows.iter().for_each(|row| digest.apply(row, 1));
        let recorded = snapshot.manifest.views.iter().find(|entry| entry.name == view.name);
        if recorded.is_none_or(|recorded| recorded.digest != digest.0) {
            return Err(damaged(format!("the rows of {} are not those whose digest was written", view.name)));
        }
        digests.push(digest.0);
    }
    Ok(Rows { rows, digests })
}
