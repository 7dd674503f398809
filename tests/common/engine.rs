//! What the engine's tests have in common: logs in a folder, a sink that folds frames, a clock that can be stepped.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: each test file uses its part"
)]

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use weir::decode::event::decode_event;
use weir::engine::snapshots::{Rule, Store};
use weir::engine::{self, Body, Counting, EngineConfig, EngineError, EngineHandle, Entry, FrameSink};
use weir::engine::{Snapshots, SystemTimeSource, TimeSource};
use weir::log::embedded::{Embedded, EmbeddedConfig};
use weir::log::{Log, NewRecord, Position, Record};
use weir::serve::{BINDINGS_TOPIC, CONTROL_TOPIC, EVENTS_TOPIC, TOPICS};
use weir::shutdown::Shutdown;
use weir::simulation::{Fleet, FleetConfig};
use weir::status::Status;
use weir::verdicts::Verdicts;
use weir_schemas::control::{ControlChange, ControlRecord, Incident};
use weir_schemas::event::TestEvent;
use weir_schemas::limits::Limits;
use weir_schemas::row::{Row, Value};
use weir_schemas::update::{Digest, Frame};
use weir_schemas::view::{VIEWS, view_index};

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that is off by so many ms.
#[derive(Debug, Default)]
pub(crate) struct Stepped {
    system: SystemTimeSource,
    pub(crate) offset_ms: AtomicI64,
}

impl Stepped {
    pub(crate) fn by(offset_ms: i64) -> Arc<Stepped> {
        Arc::new(Stepped { offset_ms: AtomicI64::new(offset_ms), ..Stepped::default() })
    }
}

impl TimeSource for Stepped {
    fn wall_ms(&self) -> u64 {
        self.system.wall_ms().checked_add_signed(self.offset_ms.load(Ordering::SeqCst)).unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.system.elapsed()
    }
}

/// What a client that folds every frame knows.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    pub(crate) epoch: String,
    pub(crate) live: bool,
    pub(crate) time: u64,
    pub(crate) rows: Vec<BTreeSet<Row>>,
    pub(crate) digests: Vec<Digest>,
    /// The tick of the snapshot that it began with; 0: none.
    pub(crate) restored_at: u64,
    /// The digests at each frame's end.
    pub(crate) history: BTreeMap<u64, Vec<Digest>>,
}

/// Told of each frame once it is folded.
pub(crate) type Listener = Box<dyn Fn(&Frame) + Send + Sync>;

/// Folds frames and holds them to their contract.
#[derive(Default)]
pub(crate) struct Fold {
    state: Mutex<Folded>,
    changed: Condvar,
    /// Whether each frame's end and digests are printed.
    tell: bool,
    listener: Option<Listener>,
}

impl FrameSink for Fold {
    fn epoch(&self, epoch: Arc<str>) {
        let mut state = self.state.lock().unwrap();
        assert!(state.epoch.is_empty(), "named once");
        state.epoch = epoch.to_string();
    }

    fn frame(&self, frame: Frame) {
        let mut state = self.state.lock().unwrap();
        assert!(!state.epoch.is_empty(), "the epoch is named before the first frame");
        assert_eq!((frame.lower, frame.views.len()), (state.time, VIEWS.len()), "frames follow each other without gap");
        let changed = || {
            frame
                .views
                .iter()
                .zip(VIEWS)
                .filter(|(part, _)| !part.updates.is_empty())
                .map(|(part, view)| (view.name, &part.updates))
                .collect::<Vec<_>>()
        };
        assert!(frame.upper > frame.lower, "({}, {}]: {:?}", frame.lower, frame.upper, changed());
        let Folded { rows, digests, history, time, .. } = &mut *state;
        rows.resize(VIEWS.len(), BTreeSet::new());
        digests.resize(VIEWS.len(), Digest::default());
        for ((view, rows), digest) in frame.views.iter().zip(rows).zip(digests.iter_mut()) {
            for update in &view.updates {
                let fits = if update.diff > 0 { rows.insert(update.row.clone()) } else { rows.remove(&update.row) };
                assert!(fits, "an update that does not fit at {}: {update:?}", frame.upper);
                digest.apply(&update.row, update.diff);
            }
            assert_eq!(*digest, view.digest, "the frame's digest is that of the rows at {}", frame.upper);
        }
        *time = frame.upper;
        history.insert(frame.upper, digests.clone());
        if self.tell {
            println!("F {} {}", frame.upper, name(digests));
        }
        if let Some(listener) = &self.listener {
            listener(&frame);
        }
        drop(state);
        self.changed.notify_all();
    }

    fn rejected(&self, _upper: u64, _rejected: &[weir::engine::Rejected]) {}

    fn rows(&self) -> Vec<Vec<Row>> {
        self.look(|folded| folded.rows.iter().map(|rows| rows.iter().cloned().collect()).collect())
    }

    fn restore(&self, tick: u64, rows: Vec<Vec<Row>>, digests: &[Digest]) {
        let mut state = self.state.lock().unwrap();
        assert!(!state.epoch.is_empty() && state.time == 0, "the epoch is named before, and no frame has come");
        assert_eq!((rows.len(), digests.len()), (VIEWS.len(), VIEWS.len()));
        (state.time, state.restored_at, state.digests) = (tick, tick, digests.to_vec());
        state.rows = rows.into_iter().map(|rows| rows.into_iter().collect()).collect();
    }

    fn live(&self) {
        self.state.lock().unwrap().live = true;
        self.changed.notify_all();
    }
}

/// A short name of all digests.
pub(crate) fn name(digests: &[Digest]) -> String {
    digests.iter().map(Digest::to_string).collect::<Vec<_>>().join("-")
}

impl Fold {
    /// One that prints each frame's end and digests.
    pub(crate) fn telling() -> Fold {
        Fold { tell: true, ..Fold::default() }
    }

    /// One that tells of each frame.
    pub(crate) fn with(listener: Listener) -> Fold {
        Fold { listener: Some(listener), ..Fold::default() }
    }

    /// What is folded, when nobody folds any more.
    pub(crate) fn into_folded(self) -> Folded {
        self.state.into_inner().unwrap()
    }

    /// Looks at what is folded.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Folded) -> T) -> T {
        look(&self.state.lock().unwrap())
    }

    /// Waits until what is folded is as wanted.
    pub(crate) fn wait(&self, what: &str, mut wanted: impl FnMut(&Folded) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.state.lock().unwrap();
        while !wanted(&state) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain until {what}; time is {}", state.time);
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Folded {
    /// The rows of a view.
    pub(crate) fn view(&self, name: &str) -> impl Iterator<Item = &Row> {
        self.rows.get(view_index(name).unwrap()).into_iter().flatten()
    }

    /// The ids of the rules and incidents that hold, in order.
    pub(crate) fn rules(&self) -> Vec<String> {
        let id = |row: &Row| if let Value::Str(id) = row.column(2) { id.to_owned() } else { panic!("{row:?}") };
        let mut ids: Vec<String> = self.view("rules").map(id).collect();
        ids.sort();
        ids
    }

    /// How many of a project's tests were late.
    pub(crate) fn late(&self, project: &str) -> i64 {
        let count = VIEWS[view_index("rejects").unwrap()].column("count").unwrap();
        let of = |row: &&Row| row.column(0) == Value::Str(project) && row.column(1) == Value::Str("late");
        self.view("rejects")
            .filter(of)
            .map(|row| if let Value::Int(count) = row.column(count) { count } else { 0 })
            .sum()
    }

    /// The sum of a column over a project's rows of a view.
    pub(crate) fn sum(&self, view: &str, project: &str, column: &str) -> i64 {
        let index = VIEWS[view_index(view).unwrap()].column(column).unwrap();
        let rows = self.view(view).filter(|row| row.column(0) == Value::Str(project));
        rows.map(|row| if let Value::Int(value) = row.column(index) { value } else { 0 }).sum()
    }
}

/// The logs of a folder.
pub(crate) struct Logs {
    pub(crate) events: Arc<Embedded>,
    pub(crate) control: Arc<Embedded>,
    pub(crate) bindings: Arc<Embedded>,
}

impl Logs {
    pub(crate) fn open(folder: &Path) -> Logs {
        Logs::with(folder, 64 << 20)
    }

    /// With segments of this size, of which retention keeps about one.
    pub(crate) fn with(folder: &Path, segment_bytes: u64) -> Logs {
        let open = |name: &str, partitions| {
            let config = EmbeddedConfig::new(folder.join(name), name);
            let config = EmbeddedConfig { partitions, segment_bytes, retention_bytes: segment_bytes, ..config };
            Arc::new(Embedded::open(config, &mut |_, _| {}).unwrap_or_else(|error| panic!("{error}")).0)
        };
        Logs { events: open(EVENTS_TOPIC, 4), control: open(CONTROL_TOPIC, 1), bindings: open(BINDINGS_TOPIC, 1) }
    }

    /// Those of a server with this data folder.
    pub(crate) fn of_server(folder: &Path) -> Logs {
        let open = |name: &str, topic: &str, partitions| {
            let config = EmbeddedConfig { partitions, ..EmbeddedConfig::new(folder.join(name), topic) };
            Arc::new(Embedded::open(config, &mut |_, _| {}).unwrap_or_else(|error| panic!("{error}")).0)
        };
        Logs {
            events: open("events", EVENTS_TOPIC, 4),
            control: open("control", CONTROL_TOPIC, 1),
            bindings: open("bindings", BINDINGS_TOPIC, 1),
        }
    }

    /// As the engine takes them.
    pub(crate) fn all(&self) -> engine::Logs {
        engine::Logs {
            events: vec![Arc::<Embedded>::clone(&self.events) as Arc<dyn Log>],
            control: Arc::<Embedded>::clone(&self.control),
            bindings: Arc::<Embedded>::clone(&self.bindings),
        }
    }

    /// Says something of the project `counted`, durably.
    pub(crate) fn say(&self, id: &str, change: ControlChange) -> Position {
        self.say_of("counted", id, change)
    }

    /// Says something of a project, durably.
    pub(crate) fn say_of(&self, project: &str, id: &str, change: ControlChange) -> Position {
        let (project, said_by) = (project.to_owned(), String::new());
        let record = ControlRecord { project, id: id.to_owned(), change, said_at: 0, said_by };
        let payload = Bytes::from(serde_json::to_vec(&record).unwrap());
        self.control.append(vec![NewRecord::new(0, payload)]).unwrap().wait().unwrap()[0]
    }

    /// The ids of what was said last and not taken back, in order.
    pub(crate) fn held(&self) -> Vec<String> {
        let mut reader = self.control.reader(&[0]).unwrap();
        let (mut records, mut held) = (Vec::new(), BTreeSet::new());
        while reader.read(10_000, usize::MAX, &mut records).unwrap() > 0 {}
        for record in records {
            let ControlRecord { id, change, .. } = serde_json::from_slice(&record.payload).unwrap();
            if matches!(change, ControlChange::Removed(_)) {
                held.remove(&id)
            } else {
                held.insert(id)
            };
        }
        held.into_iter().collect()
    }

    /// Puts another bindings log in the place of a folder's, which says the same but not of which logs it speaks: so that only
    /// what stands in those tells that they were changed.
    pub(crate) fn forget_identities(folder: &Path) {
        let open = || Logs::open(folder).bindings;
        let entries = whole(&*open());
        std::fs::remove_dir_all(folder.join(BINDINGS_TOPIC)).unwrap();
        let forgotten = entries.into_iter().map(|record| {
            let Entry { incarnation, body } = Entry::decode(&record.payload).unwrap();
            let body = if let Body::Start { .. } = body { Body::Start { topics: Vec::new() } } else { body };
            NewRecord::new(0, Entry { incarnation, body }.encode().into())
        });
        open().append(forgotten.collect()).unwrap().wait().unwrap();
    }

    /// The versions of each stream of a project, in the order in which they stand in the log.
    pub(crate) fn versions(&self, project: &str) -> BTreeMap<String, Vec<u64>> {
        versions(&*self.events, project)
    }

    /// How many tests of a project came, by the bindings, when their last window of the live metrics was over: that of an hour,
    /// in panes of a minute.
    pub(crate) fn late(&self, project: &str) -> i64 {
        late(&*self.events, &*self.bindings, project)
    }

    /// Appends events and waits until they are durable.
    pub(crate) fn append<'e>(&self, events: impl IntoIterator<Item = &'e TestEvent<'e>>) -> Vec<Position> {
        let records = events.into_iter().map(|event| {
            NewRecord::new(
                self.events.partition_of(event.stream_id.as_bytes()),
                Bytes::from(serde_json::to_vec(event).unwrap()),
            )
        });
        let records: Vec<_> = records.collect();
        if records.is_empty() { Vec::new() } else { self.events.append(records).unwrap().wait().unwrap() }
    }
}

/// The versions of each stream of a project, in the order in which they stand in a log.
pub(crate) fn versions(events: &dyn Log, project: &str) -> BTreeMap<String, Vec<u64>> {
    let mut streams = BTreeMap::<String, Vec<u64>>::new();
    for record in whole(events) {
        let event = decode_event(&record.payload, &Limits::default()).unwrap();
        if &*event.metadata.project == project {
            streams.entry(event.stream_id.to_string()).or_default().push(event.version);
        }
    }
    streams
}

/// All records of a log, partition by partition.
pub(crate) fn whole(log: &dyn Log) -> Vec<Record> {
    let (mut reader, mut records) = (log.reader(&log.starts()).unwrap(), Vec::new());
    for (partition, end) in (0..).zip(log.ends()) {
        reader.read_partition(partition, end, &mut records).unwrap();
    }
    records
}

/// See [`Logs::late`].
pub(crate) fn late(events: &dyn Log, bindings: &dyn Log, project: &str) -> i64 {
    let mut events = events.reader(&events.starts()).unwrap();
    let (entries, mut records) = (whole(bindings), Vec::new());
    let (mut counting, mut seen, mut late) = (Counting::default(), BTreeSet::new(), 0);
    for entry in entries.iter().map(|entry| Entry::decode(&entry.payload).unwrap()) {
        let counts = counting.counts(&entry);
        let Body::Binding(binding) = entry.body else { continue };
        for part in binding.parts.iter().filter(|part| counts && part.topic == 0) {
            events.read_partition(part.partition, part.next_offset, &mut records).unwrap();
            for record in records.drain(..) {
                let event = decode_event(&record.payload, &Limits::default()).unwrap();
                let of = (event.stream_id.to_string(), event.version);
                if &*event.metadata.project == project && seen.insert(of) {
                    let left = (event.timestamp.0.min(binding.tick) / 60_000 + 1) * 60_000 + 3_600_000;
                    late += i64::from(left <= binding.tick);
                }
            }
        }
    }
    late
}

/// A copy of a folder of logs that nobody has open.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            assert!(std::fs::copy(entry.path(), target).is_ok())
        }
    }
}

/// A running engine with everything around it.
pub(crate) struct Running {
    pub(crate) fold: Arc<Fold>,
    pub(crate) status: Status,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) shutdown: Shutdown,
    handle: EngineHandle,
}

pub(crate) fn config(workers: usize) -> EngineConfig {
    EngineConfig { workers, ..EngineConfig::default() }
}

/// With a snapshot at every second, below `folder`, of which two are kept and one that is `span_ms` older.
pub(crate) fn with_snapshots(config: EngineConfig, folder: &Path, span_ms: u64) -> EngineConfig {
    let store = Store::open(&folder.join("snapshots"), Rule { keep: 2, span_ms }).unwrap();
    EngineConfig { snapshots: Some(Snapshots { store, every_ms: 1_000 }), ..config }
}

/// As a server runs its engine.
pub(crate) fn server_config(workers: usize) -> EngineConfig {
    let server = weir::config::Config::default();
    let (dataflow, limits) = (server.dataflow(&TOPICS), server.limits.limits());
    EngineConfig { workers, dataflow, limits, ..EngineConfig::default() }
}

impl Running {
    pub(crate) fn start(config: EngineConfig, logs: &Logs) -> Running {
        Running::with(config, logs, Fold::default())
    }

    /// The same, once the past is replayed.
    pub(crate) fn live(config: EngineConfig, logs: &Logs) -> Running {
        let engine = Running::start(config, logs);
        engine.fold.wait("the past is replayed", |folded| folded.live);
        engine
    }

    pub(crate) fn with(config: EngineConfig, logs: &Logs, fold: Fold) -> Running {
        Running::over(config, logs.all(), fold)
    }

    /// Over any logs.
    pub(crate) fn over(config: EngineConfig, logs: engine::Logs, fold: Fold) -> Running {
        let (fold, status) = (Arc::new(fold), Status::default());
        let (verdicts, shutdown) = (Arc::new(Verdicts::default()), Shutdown::default());
        let sink = Arc::<Fold>::clone(&fold);
        let (told, board, token) = (status.clone(), Arc::clone(&verdicts), shutdown.clone());
        let handle = engine::start(config, logs, sink, told, (board, Arc::default()), token).unwrap();
        Running { fold, status, verdicts, shutdown, handle }
    }

    /// Waits until these events are released.
    pub(crate) fn wait_released(&self, positions: &[Position]) {
        self.wait_released_of(EVENTS_TOPIC, positions);
    }

    /// Waits until these records of a topic are released.
    pub(crate) fn wait_released_of(&self, topic: &str, positions: &[Position]) {
        for position in positions {
            if let Some(verdict) = self.verdicts.wait_for(topic, *position) {
                within("a record is released", verdict).unwrap();
            }
        }
    }

    /// Ends it in order.
    pub(crate) fn end(self) -> Arc<Fold> {
        self.shutdown.trigger();
        self.handle.join().unwrap();
        self.fold
    }

    /// Waits until it has ended by itself.
    pub(crate) fn fails(self) -> (EngineError, Arc<Fold>) {
        within("an engine that fails ends the process", self.shutdown.wait());
        let error = self.handle.join().expect_err("it ends with an error");
        (error, self.fold)
    }
}

/// Waits, but not for ever.
pub(crate) fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, future).await })
        .unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A fleet whose time is given.
pub(crate) struct Load {
    fleet: Fleet,
    now_ms: u64,
}

impl Load {
    pub(crate) fn new(seed: u64, rate: u32) -> Load {
        Load::since(seed, rate, 120_000)
    }

    /// One that began so many ms ago.
    pub(crate) fn since(seed: u64, rate: u32, ago_ms: u64) -> Load {
        let now_ms = SystemTimeSource::default().wall_ms() - ago_ms;
        Load { fleet: Fleet::new(seed, FleetConfig { rate, ..FleetConfig::default() }), now_ms }
    }

    /// What happens within the next so many ms.
    pub(crate) fn next(&mut self, ms: u64) -> Vec<TestEvent<'static>> {
        self.now_ms += ms;
        self.fleet.advance(self.now_ms)
    }
}

/// What a machine did says nothing about the code.
pub(crate) fn broken(worker: &str) -> ControlChange {
    ControlChange::Incident(Incident { worker: worker.to_owned(), ..Incident::default() })
}

/// The same test on that machine.
pub(crate) fn on(worker: &str, mut event: TestEvent<'static>) -> TestEvent<'static> {
    event.metadata.worker = Some(worker.to_owned().into());
    event
}

/// A passed test, the `number`th event of its stream, in the project `counted`; long ago.
pub(crate) fn counted(stream: &str, number: u64) -> TestEvent<'static> {
    counted_at(stream, number, 5)
}

/// The same, at the time given.
pub(crate) fn counted_at(stream: &str, number: u64, at: u64) -> TestEvent<'static> {
    let json = format!(
        r#"{{"eventId":"{stream}#{number}","eventType":"test_passed","streamId":"{stream}","version":{number},"timestamp":{at},
            "data":{{"testName":"t{number}","testSuiteName":"unit","duration":2.5}},"metadata":{{"project":"counted"}}}}"#
    );
    // Events borrow their text; that of a test may live as long as the test.
    serde_json::from_str(json.leak()).unwrap()
}
