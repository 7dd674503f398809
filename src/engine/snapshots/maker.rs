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

use super::rows::{ROWS_FILE, Rows};
use super::taking::states_file;
use super::{BlockWriter, Cut, Draft, Manifest, OfLife, SnapshotError, Store, ViewEntry};
use crate::engine::Snapshots;
use crate::engine::control::Control;
use crate::engine::ledger::to_f64;
use crate::status::Status;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often it looks whether the engine is to end.
const LOOK: Duration = Duration::from_millis(100);
/// Parts that may wait to be written, each of about 1 MiB: as many as machines hand in at the cut, so that no worker stands still for a disk.
const PARTS_MAX: usize = 1_024;
/// Nothing more is handed in between steps while so many wait.
const PARTS_ENOUGH: usize = 8;
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

impl Maker {
    /// One that makes a snapshot at multiples of `every_ms`; what it is handed, [`Writer::run`] writes to `store`, as of `life`.
    pub(in crate::engine) fn new(
        Snapshots { store, every_ms }: Snapshots,
        life: OfLife,
        status: Status,
    ) -> (Arc<Maker>, Writer) {
        let ((pieces, handed), (rows, handed_rows)) = (bounded(PARTS_MAX), bounded(1));
        let (busy, awaited) = (AtomicBool::new(false), AtomicU64::new(0));
        let every_ms = every_ms.next_multiple_of(1_000).max(1_000);
        let maker = Arc::new(Maker { every_ms, pieces, rows, busy, awaited });
        (Arc::clone(&maker), Writer { handed, handed_rows, maker, to: To { store, life, status } })
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
    to: To,
}

/// Where snapshots are written to, and what all of them have in common.
struct To {
    store: Store,
    life: OfLife,
    status: Status,
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
        let Writer { handed, handed_rows, maker, to } = self;
        let mut open: Option<Open> = None;
        while !control.stopping() {
            select! {
                recv(handed) -> piece => match (piece, &mut open) {
                    (Ok(Piece::Begin(cut)), open) => *open = Some(to.begin(cut)),
                    (Ok(piece), Some(open)) => open.take(piece),
                    _ => {}
                },
                recv(handed_rows) -> rows => {
                    // The cut was told before its rows, by the other way.
                    if open.is_none() && let Ok(Piece::Begin(cut)) = handed.try_recv() {
                        open = Some(to.begin(cut));
                    }
                    open.iter_mut().zip(rows).for_each(|(open, rows)| open.take_rows(rows));
                }
                default(LOOK) => {}
            }
            let Some(current) = &open else { continue };
            if current.waited_for == 0
                && let Some(whole) = open.take()
            {
                to.finish(whole);
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
        match rows.write(&mut files.rows) {
            Ok(views) => self.rows = Some(views),
            Err(error) => self.give_up(&error),
        }
    }

    fn give_up(&mut self, error: &SnapshotError) {
        fail(self.cut.tick, error);
        self.files.take().into_iter().for_each(|files| files.draft.abandon());
    }
}

impl To {
    fn begin(&self, cut: Cut) -> Open {
        let files = || -> Result<Files, SnapshotError> {
            let draft = self.store.begin(cut.tick)?;
            let states =
                (0..self.life.workers).map(|worker| draft.file(&states_file(worker))).collect::<Result<_, _>>()?;
            let rows = draft.file(ROWS_FILE)?;
            Ok(Files { draft, states, rows })
        };
        let files = files().map_err(|error| fail(cut.tick, &error)).ok();
        Open { cut, since: Instant::now(), files, waited_for: self.life.workers + 1, rows: None }
    }

    fn finish(&self, open: Open) {
        let Open { cut, since, files, rows, .. } = open;
        let (Some(Files { draft, states, rows: rows_file }), Some(views)) = (files, rows) else { return };
        let tick = cut.tick;
        let finished = || -> Result<u64, SnapshotError> {
            let files =
                states.into_iter().chain([rows_file]).map(BlockWriter::finish).collect::<Result<Vec<_>, _>>()?;
            let bytes = files.iter().map(|file| file.bytes).sum();
            let manifest = Manifest { life: self.life.clone(), cut, views, files, ..Manifest::default() };
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

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::*;
    use crate::shutdown::Shutdown;
    use std::path::Path;
    use weir_schemas::view::VIEWS;

    fn new(folder: &Path) -> (Arc<Maker>, Writer) {
        let store = Store::open(folder, Rule { keep: 2, span_ms: 0 }).expect("opens");
        let life = OfLife { workers: 1, ..OfLife::default() };
        Maker::new(Snapshots { store, every_ms: 1_000 }, life, Status::default())
    }

    fn cut(tick: u64) -> Cut {
        Cut { tick, ..Cut::default() }
    }

    fn rows() -> Rows {
        Rows { rows: VIEWS.iter().map(|_| Vec::new()).collect(), digests: VIEWS.iter().map(|_| 0).collect() }
    }

    #[test]
    fn a_cut_lies_between_two_ticks_and_its_rows_are_taken_when_all_up_to_it_is_released() {
        let folder = tempfile::tempdir().expect("a folder");
        let (maker, _writer) = new(folder.path());
        let between = [(0, 5_010), (4_980, 4_990), (4_990, 5_000), (4_990, 5_010), (5_000, 5_010), (5_010, 5_020)];
        let due = between.map(|(last, next)| maker.due(last, next));
        assert_eq!(due, [None, None, None, Some(5_000), Some(5_000), None]);
        maker.begin(cut(5_000));
        assert_eq!(maker.due(5_990, 6_010), None, "one at a time");
        let taken = [4_990, 5_000, 5_010, 5_020].map(|upper| {
            let mut asked = false;
            maker.rows(upper, || {
                asked = true;
                rows()
            });
            asked
        });
        assert_eq!(taken, [false, false, true, false]);
    }

    #[test]
    fn one_exists_in_whatever_order_its_pieces_are_seen() {
        // Of two that are ready, the writer takes any one first.
        for round in 0..20 {
            let folder = tempfile::tempdir().expect("a folder");
            let ((maker, writer), control) = (new(folder.path()), Control::new(Shutdown::default(), 0));
            let (store, status) = (writer.to.store.clone(), writer.to.status.clone());
            maker.begin(cut(5_000));
            maker.rows(5_010, rows);
            maker.part(0, "Machine", vec![7; 100]);
            maker.done();
            std::thread::scope(|threads| {
                threads.spawn(|| writer.run(&control));
                let until = Instant::now() + Duration::from_secs(60);
                while status.get().snapshot_at == 0 && Instant::now() < until {
                    std::thread::yield_now();
                }
                control.stop();
            });
            let made = store.oldest().expect("is read").unwrap_or_else(|| panic!("none in round {round}"));
            made.verify().expect("is whole");
            assert_eq!((made.manifest.cut.tick, made.manifest.files.len()), (5_000, 2));
        }
    }
}
