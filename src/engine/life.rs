//! A life of the engine in its order: announce, recover, live, end.
//!
//! Contract: our `Start` is appended first, so everything before it is settled past and everything after it is ours or fences
//! us. Then the past is fed, released and shown; then the tail begins to read bindings back and the sequencer goes live. At the
//! end the workers drop their dataflow and every thread is waited for.
//!
//! The epoch names the history that positions belong to: the logs, the dataflow's and the decoder's definitions and
//! configuration, and, over a shortened log, where the past now begins. A restart alone changes none of these.

use super::behind::Reading;
use super::bindings::{Body, Entry, Incarnation};
use super::control::{Control, spawn};
use super::digests::Digests;
use super::feed::{DECODING, Feed};
use super::history::Plan;
use super::ledger::Ledger;
use super::output::{FRAMES_MAX, Output};
use super::recovery::{Bound, Recovery};
use super::sequencer::{SILENT_AFTER, Sequencer};
use super::snapshots::choice::{Choice, Resumed};
use super::snapshots::maker::Maker;
use super::snapshots::rows::Rows;
use super::snapshots::{Manifest, OfLife, Snapshot};
use super::sources::Sources;
use super::tail::Tail;
use super::workers::{self, Lanes, Setup};
use super::{EngineConfig, EngineError, FrameSink};
use crate::log::{Log, NewRecord};
use crate::questions::Questions;
use crate::status::{Phase, Status};
use crate::verdicts::Verdicts;
use crossbeam_channel::bounded;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use timely::communication::WorkerGuards;
use weir_dataflows::keyed::FORMAT;
use weir_schemas::update::Digest;
use xxhash_rust::xxh3::xxh3_128;

/// How often it looks whether the process is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Everything a life needs.
pub(super) struct Life {
    pub(super) control: Arc<Control>,
    pub(super) config: EngineConfig,
    pub(super) sources: Arc<Sources>,
    pub(super) bindings: Arc<dyn Log>,
    pub(super) sink: Arc<dyn FrameSink>,
    pub(super) status: Status,
    pub(super) verdicts: Arc<Verdicts>,
    pub(super) questions: Arc<Questions>,
}

/// What the threads of a life have in common.
struct Threads<'a> {
    incarnation: Incarnation,
    epoch: u128,
    ledger: &'a Arc<Ledger>,
    digests: &'a Arc<Mutex<Digests>>,
    maker: Option<Arc<Maker>>,
}

/// What was started and is waited for at the end.
#[derive(Default)]
struct Started {
    workers: Option<WorkerGuards<()>>,
    threads: Vec<JoinHandle<()>>,
}

/// Whether the log can keep bindings.
pub(super) fn check(bindings: &dyn Log) -> Result<(), EngineError> {
    match bindings.partitions() {
        1 => Ok(()),
        partitions => Err(EngineError::Partitions { topic: bindings.topic().to_owned(), partitions }),
    }
}

impl Life {
    /// Runs to the end.
    pub(super) fn run(self) {
        let control = Arc::clone(&self.control);
        let _guard = control.guard("engine-sequencer");
        let mut started = Started::default();
        if let Err(error) = self.live(&mut started) {
            control.fail(error);
        }
        control.stop();
        if let Some(workers) = started.workers {
            // A panic is printed where it happened and noted by its guard.
            for worker in workers.join() {
                drop(worker);
            }
        }
        for thread in started.threads {
            let _ended = thread.join();
        }
    }

    fn live(self, started: &mut Started) -> Result<(), EngineError> {
        let incarnation: Incarnation = rand::random();
        let own_start = self.announce(incarnation)?;
        let (plan, resumed) = self.plan(own_start)?;
        let epoch = self.epoch(&plan);
        let name = self.name_epoch(epoch, &plan);
        let ledger = Arc::new(Ledger::default());
        let digests = Arc::new(Mutex::new(Digests::default()));
        let maker = self.start_snapshots(started, (incarnation, &name), &plan)?;
        let resumed = resumed.map(|resumed| self.show(resumed, &ledger, &digests));
        let threads = Threads { incarnation, epoch, ledger: &ledger, digests: &digests, maker: maker.clone() };
        let mut lanes = self.start_threads(started, threads, resumed.clone())?;
        let manifest = resumed.as_ref().map(|snapshot| &snapshot.manifest);
        let bound = self.recover(&mut lanes, (&ledger, &digests), (epoch, manifest), &plan, own_start)?;
        digests.lock().unwrap_or_else(PoisonError::into_inner).live_from(bound.last_tick + 1);
        while !ledger.wait_released(bound.last_fed, LOOK, &self.control) {
            self.go_on()?;
        }
        let reading = self.measure(&bound.offsets);
        self.sink.live();
        self.status.update(|status| status.phase = Phase::Live);
        let Life { control, config, sources, bindings, status, questions, .. } = self;
        let tail = Tail {
            control: Arc::clone(&control),
            bindings: Arc::clone(&bindings),
            reader: bindings.reader(&[own_start + 1])?,
            counting: bound.counting.clone(),
            incarnation,
            lanes: lanes.clone(),
        };
        started.threads.push(spawn("engine-bindings", move || tail.run())?);
        Sequencer { control, config, sources, bindings, incarnation, lanes, ledger, status, reading, questions, maker }
            .live(bound)
    }

    /// Decides where the past begins that is fed: after a snapshot, where there is one that can be used.
    fn plan(&self, own_start: u64) -> Result<(Plan, Option<Resumed>), EngineError> {
        if let Some(snapshots) = &self.config.snapshots {
            let choice = Choice {
                control: &self.control,
                store: &snapshots.store,
                basis: self.basis(),
                sources: &self.sources,
                bindings: &*self.bindings,
                own_start,
                accepted: &self.config.accepted_losses,
            };
            if let Some((plan, resumed)) = choice.make()? {
                return Ok((plan, Some(resumed)));
            }
        }
        let plan = Plan::make(&self.sources, &*self.bindings, own_start, &self.config.accepted_losses)?;
        Ok((plan, None))
    }

    /// Begins to make snapshots, if any are to be made.
    fn start_snapshots(
        &self,
        started: &mut Started,
        (incarnation, epoch): (Incarnation, &str),
        plan: &Plan,
    ) -> Result<Option<Arc<Maker>>, EngineError> {
        let Some(snapshots) = self.config.snapshots.clone() else { return Ok(None) };
        let life = OfLife {
            epoch: epoch.to_owned(),
            basis: self.basis(),
            incarnation,
            past: plan.past.clone(),
            workers: self.config.workers.max(1),
        };
        let (maker, writer) = Maker::new(snapshots, life, self.status.clone());
        let control = Arc::clone(&self.control);
        started.threads.push(spawn("engine-snapshots", move || writer.run(&control))?);
        Ok(Some(maker))
    }

    /// Shows the rows of the snapshot that the state begins with, as if all frames up to it had been released.
    fn show(&self, resumed: Resumed, ledger: &Ledger, digests: &Mutex<Digests>) -> Arc<Snapshot> {
        let Resumed { snapshot, rows: Rows { rows, digests: of_views } } = resumed;
        let tick = snapshot.manifest.cut.tick;
        let shown: Vec<Digest> = of_views.iter().copied().map(Digest).collect();
        self.sink.restore(tick, rows, &shown);
        digests.lock().unwrap_or_else(PoisonError::into_inner).go_on_from(of_views);
        ledger.release(tick);
        self.status.update(|status| (status.time, status.snapshot_at) = (tick, tick));
        Arc::new(snapshot)
    }

    /// Lets the status tell how far behind the log we are, from here on.
    fn measure(&self, offsets: &[u64]) -> Arc<Reading> {
        let time = Arc::clone(&self.config.time);
        let reading = Arc::new(Reading::new(offsets, time.wall_ms()));
        // A status may outlive the log, and must not keep its folder.
        let (read, sources) = (Arc::clone(&reading), Arc::downgrade(&self.sources));
        self.status.measure(move || {
            sources.upgrade().map(|sources| read.behind(&sources.ends(), time.wall_ms())).unwrap_or_default()
        });
        reading
    }

    /// Appends our `Start`; returns its offset.
    fn announce(&self, incarnation: Incarnation) -> Result<u64, EngineError> {
        let topics = self.sources.assigned();
        let payload = Entry { incarnation, body: Body::Start { topics } }.encode().into();
        let mut commit = self.bindings.append(vec![NewRecord::new(0, payload)]).map_err(EngineError::Append)?;
        let since = Instant::now();
        let positions = loop {
            if let Some(outcome) = commit.wait_at_most(LOOK) {
                break outcome.map_err(EngineError::Append)?;
            }
            self.status.log_silent(since.elapsed() >= SILENT_AFTER);
            self.go_on()?;
        };
        self.status.log_silent(false);
        Ok(positions.first().expect("one record was appended").offset)
    }

    /// Whether what came before being live is still waited for.
    fn go_on(&self) -> Result<(), EngineError> {
        let over = self.control.stopping() || self.control.shutdown.triggered();
        if over { Err(EngineError::Stopped) } else { Ok(()) }
    }

    /// What the state depends on besides the records and where they begin.
    fn definition(&self) -> String {
        format!(
            "{}{:032x} {} {DECODING} {:?}",
            self.sources.identity(),
            self.bindings.identity(),
            self.config.dataflow.fingerprint(),
            self.config.limits,
        )
    }

    fn epoch(&self, plan: &Plan) -> u128 {
        xxh3_128(format!("{} {:?}", self.definition(), plan.past).as_bytes())
    }

    /// What a snapshot must have in common with this life.
    fn basis(&self) -> u128 {
        xxh3_128(format!("{} states {FORMAT}", self.definition()).as_bytes())
    }

    fn name_epoch(&self, epoch: u128, plan: &Plan) -> Arc<str> {
        let name: Arc<str> = format!("{:016x}", epoch >> 64).into();
        tracing::info!(epoch = &*name, "the engine begins");
        self.sink.epoch(Arc::clone(&name));
        self.status.update(|status| {
            if let Some((tick, _)) = plan.past {
                let notice = format!(
                    "the log has been shortened by retention: state is rebuilt from tick {tick} on, in a new epoch ({name}); runs \
                     and results from before it are not shown"
                );
                tracing::warn!("{notice}");
                status.notices.push(notice);
            }
            status.epoch = Arc::clone(&name);
        });
        name
    }

    /// Starts the workers and the output.
    fn start_threads(
        &self,
        started: &mut Started,
        Threads { incarnation, epoch, ledger, digests, maker }: Threads<'_>,
        resumed: Option<Arc<Snapshot>>,
    ) -> Result<Lanes, EngineError> {
        let (released_in, released_out) = bounded(FRAMES_MAX);
        let setup = Setup {
            control: Arc::clone(&self.control),
            dataflow: self.config.dataflow.clone(),
            feed: Feed::new(&self.sources, Arc::new(self.config.limits.clone())),
            resumed,
            maker: maker.clone(),
            released: released_in,
        };
        let (guards, lanes) = workers::start(self.config.workers.max(1), setup)?;
        started.workers = Some(guards);
        let output = Output {
            control: Arc::clone(&self.control),
            ledger: Arc::clone(ledger),
            digests: Arc::clone(digests),
            sources: Arc::clone(&self.sources),
            bindings: Arc::clone(&self.bindings),
            incarnation,
            epoch,
            sink: Arc::clone(&self.sink),
            status: self.status.clone(),
            verdicts: Arc::clone(&self.verdicts),
            questions: Arc::clone(&self.questions),
            maker,
        };
        started.threads.push(spawn("engine-output", move || output.run(&released_out))?);
        Ok(lanes)
    }

    fn recover(
        &self,
        lanes: &mut Lanes,
        (ledger, digests): (&Ledger, &Mutex<Digests>),
        (epoch, resumed): (u128, Option<&Manifest>),
        plan: &Plan,
        own_start: u64,
    ) -> Result<Bound, EngineError> {
        Recovery {
            control: &self.control,
            sources: &self.sources,
            bindings: &*self.bindings,
            lanes,
            ledger,
            digests,
            status: &self.status,
            epoch,
            records_max: self.config.unreleased_records_max,
            bytes_max: self.config.unreleased_bytes_max,
            resumed,
        }
        .run(plan, own_start)
    }
}
