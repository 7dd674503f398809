//! The timely workers: threads that decode records, feed them to the dataflow and step it.
//!
//! Contract: each worker takes [`Work`] from its own bounded queue, in order. Records may be dealt to any worker in any
//! portion: what they mean depends on their bytes and positions alone. All workers are told of every close, advance and
//! commit, so all frontiers move. An idle worker is parked; whoever hands it work wakes it.
//!
//! # Invariants
//! Nothing is fed before its tick is known. At the end the dataflow is dropped, never closed: closing its inputs would fire
//! every pending wake-up.
//!
//! # Cost
//! Decoding is most of a record's cost, hence it runs here, on all workers at once, while its batch is still open.

use super::control::Control;
use super::feed::Open;
use super::snapshots::Snapshot;
use super::snapshots::maker::{Maker, pause};
use super::{EngineError, feed};
use crate::log::Record;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use timely::execute::execute;
use timely::worker::Worker;
use timely::{WorkerConfig, communication::WorkerGuards};
use weir_dataflows::Config;
use weir_dataflows::dry_run::Question;
use weir_dataflows::graph::{Inputs, build_from};
use weir_dataflows::output::Released;

/// Items of work that may wait for a worker.
const WORK_MAX: usize = 64;
/// While it waits for the other workers, it looks this often.
const PASSING: Duration = Duration::from_millis(1);
/// Records that are dealt to one worker at a time.
const DEAL: usize = 256;

/// What a worker is told.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Records of the open batch, to decode and keep until it closes.
    Records {
        /// The number of their topic.
        topic: u16,
        /// They.
        records: Vec<Record>,
    },
    /// The open batch is of this tick; from it on, silence timers stand still or run, where that changes.
    Close {
        /// The tick.
        tick: u64,
        /// What changes.
        standing: Option<bool>,
        /// Whether it is minted now, and not read from the past.
        live: bool,
    },
    /// These questions are asked at this tick; told to one worker.
    Ask {
        /// The tick.
        tick: u64,
        /// They.
        questions: Vec<Question>,
    },
    /// Nothing more comes before this time.
    Advance(u64),
    /// These ticks are bound and count, ascending.
    Commit(Arc<[u64]>),
    /// Nothing after this tick has been told yet: its state is to be written down as of it.
    Snapshot(u64),
}

/// Hands work to the workers; each holder's work arrives in its order.
#[derive(Clone)]
pub(super) struct Lanes {
    control: Arc<Control>,
    lanes: Vec<Sender<Work>>,
    next: usize,
}

impl Lanes {
    /// Deals records of a topic out, in portions.
    pub(super) fn deal(&mut self, topic: u16, records: &mut Vec<Record>) -> Result<(), EngineError> {
        while !records.is_empty() {
            let portion = if records.len() <= DEAL { std::mem::take(records) } else { records.drain(..DEAL).collect() };
            self.send(self.next, Work::Records { topic, records: portion })?;
            self.next = (self.next + 1) % self.lanes.len();
        }
        Ok(())
    }

    /// Asks at a tick that is still open.
    pub(super) fn ask(&self, tick: u64, questions: Vec<Question>) -> Result<(), EngineError> {
        self.send(0, Work::Ask { tick, questions })
    }

    /// Tells every worker.
    pub(super) fn all(&self, work: &Work) -> Result<(), EngineError> {
        (0..self.lanes.len()).try_for_each(|worker| self.send(worker, work.clone()))
    }

    fn send(&self, worker: usize, work: Work) -> Result<(), EngineError> {
        let sent = self.lanes[worker].send(work);
        self.control.wake(worker);
        // A worker's queue is closed only when it has ended: told to, or by a panic.
        sent.map_err(
            |_| if self.control.stopping() { EngineError::Stopped } else { EngineError::WorkerEnded { worker } },
        )
    }
}

/// What every worker needs.
pub(super) struct Setup {
    pub(super) control: Arc<Control>,
    pub(super) dataflow: Config,
    pub(super) feed: feed::Feed,
    /// What the dataflow goes on from.
    pub(super) resumed: Option<Arc<Snapshot>>,
    /// Makes snapshots.
    pub(super) maker: Option<Arc<Maker>>,
    pub(super) released: Sender<Released>,
}

/// Starts `count` workers.
pub(super) fn start(count: usize, setup: Setup) -> Result<(WorkerGuards<()>, Lanes), EngineError> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| bounded(WORK_MAX)).unzip();
    let lanes = Lanes { control: Arc::clone(&setup.control), lanes: senders, next: 0 };
    let receivers: Mutex<Vec<Option<Receiver<Work>>>> = Mutex::new(receivers.into_iter().map(Some).collect());
    // Timely keeps the setup for as long as any worker lives; the way out must close with worker 0.
    let released = Mutex::new(Some(setup.released.clone()));
    let config =
        timely::Config { communication: timely::CommunicationConfig::Process(count), worker: WorkerConfig::default() };
    let Setup { control, dataflow, feed, resumed, maker, released: _ } = setup;
    let guards = execute(config, move |worker| {
        let _guard = control.guard("worker");
        let index = worker.index();
        let named = control.workers[index].set(std::thread::current());
        named.expect("a worker starts once");
        let take = |slot: &Mutex<Vec<Option<Receiver<Work>>>>| {
            slot.lock().unwrap_or_else(PoisonError::into_inner)[index].take().expect("a worker starts once")
        };
        let work = take(&receivers);
        let released = released.lock().unwrap_or_else(PoisonError::into_inner).take_if(|_| index == 0);
        let snapshots = (resumed.as_deref(), maker.clone());
        run(worker, (&work, &control), &dataflow, (feed.clone(), released), snapshots);
    });
    Ok((guards.map_err(|reason| EngineError::Workers { reason })?, lanes))
}

/// A worker's life. `snapshots`: the one that it goes on from, and who makes others.
fn run(
    worker: &mut Worker,
    (work, control): (&Receiver<Work>, &Control),
    dataflow: &Config,
    (feed, released): (feed::Feed, Option<Sender<Released>>),
    (resumed, maker): (Option<&Snapshot>, Option<Arc<Maker>>),
) {
    // The way out is taken back at the end, whatever of the dataflow is still alive then.
    let way_out = Rc::new(RefCell::new(released));
    let sink = Rc::clone(&way_out);
    let sink = Box::new(move |frame| {
        if let Some(released) = &*sink.borrow() {
            // The output has ended: so has the engine, and nothing more is to leave.
            let _ended = released.send(frame);
        }
    });
    let inputs = build_from(worker, dataflow, resumed.map(Snapshot::cut), sink);
    if let Some(snapshot) = resumed
        && let Err(source) = snapshot.take_up(&inputs.states, (worker.index(), worker.peers()))
    {
        snapshot.put_aside();
        control.fail(EngineError::Snapshot { folder: snapshot.folder().to_owned(), source });
        return;
    }
    let first = worker.index() == 0;
    let mut worker_state = State { inputs, open: Open::default(), feed, first, maker, writing: false };
    while !control.stopping() {
        match work.try_recv() {
            Ok(work) => {
                worker_state.take(work, worker, control);
                worker.step();
                worker_state.write_on(worker.index());
            }
            Err(TryRecvError::Empty) if worker_state.writing => {
                let wrote = worker_state.write_on(worker.index());
                worker.step_or_park(Some(if wrote { Duration::ZERO } else { PASSING }));
            }
            Err(TryRecvError::Empty) => {
                worker.step_or_park(None);
            }
            Err(TryRecvError::Disconnected) => break,
        }
    }
    way_out.borrow_mut().take();
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

struct State {
    inputs: Inputs,
    /// The decoded records of the open batch.
    open: Open,
    feed: feed::Feed,
    /// Whether it is the worker that feeds what is fed once.
    first: bool,
    /// Makes snapshots.
    maker: Option<Arc<Maker>>,
    /// Whether a part of one is still to be written.
    writing: bool,
}

impl State {
    fn take(&mut self, work: Work, worker: &mut Worker, control: &Control) {
        match work {
            Work::Records { topic, records } => self.feed.take(topic, &records, &mut self.open),
            Work::Close { tick, standing, live } => {
                if live {
                    feed::count_skew(&self.open.events, tick);
                }
                for input in self.open.events.drain(..) {
                    self.inputs.events.send((input, tick, 1));
                }
                for input in self.open.control.drain(..) {
                    self.inputs.control.send((input, tick, 1));
                }
                if let Some(standing) = standing.filter(|_| self.first) {
                    self.inputs.silence.send((standing, tick, 1));
                }
            }
            Work::Ask { tick, questions } => {
                questions.into_iter().for_each(|question| self.inputs.questions.send((question, tick, 1)));
            }
            Work::Advance(time) => self.inputs.advance_to(time),
            Work::Commit(ticks) => {
                let Some(last) = ticks.last() else { return };
                if self.first {
                    ticks.iter().for_each(|tick| self.inputs.commits.send(*tick));
                }
                self.inputs.commits.advance_to(last + 1);
            }
            Work::Snapshot(tick) => self.freeze(tick, worker, control),
        }
    }

    /// Hands in the first of the worker's state as of `tick`, as soon as all workers have passed that; until then it works on.
    fn freeze(&mut self, tick: u64, worker: &mut Worker, control: &Control) {
        let Some(maker) = &self.maker else { return };
        while self.inputs.states.passed() <= tick {
            if control.stopping() {
                return;
            }
            worker.step_or_park(Some(PASSING));
        }
        let since = Instant::now();
        self.inputs.states.freeze(|machine, part| maker.part(worker.index(), machine, part));
        pause("states", since);
        self.writing = true;
    }

    /// Goes on with it, if there is more and whoever writes it has room; whether it did.
    fn write_on(&mut self, index: usize) -> bool {
        let Some(maker) = self.maker.as_ref().filter(|maker| self.writing && maker.room()) else { return false };
        if self.inputs.states.write_on(|machine, part| maker.part(index, machine, part)) {
            self.writing = false;
            maker.done();
        }
        true
    }
}
