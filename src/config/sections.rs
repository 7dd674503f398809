//! The sections of the configuration, with every default in one place.
//!
//! Contract: one struct a section, one field a key; `Default` of each is what holds when nothing is written. A key whose
//! value may be absent is written as the empty text, so that every key can be shown in `deploy/weir.toml`.

use super::units::{Period, Size};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use weir_schemas::limits::Limits;

/// Addresses and connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Where HTTP and WebSocket are served.
    pub listen: SocketAddr,
    /// How people reach it, for links in answers; empty: derived from `listen`.
    pub public_url: String,
    /// Origins of pages, besides its own, that may connect and post.
    pub allowed_origins: Vec<String>,
    /// Names, besides loopback ones and that of `public_url`, that the `Host` header may carry.
    pub allowed_hosts: Vec<String>,
    /// Open connections at a time; above: 503 with Retry-After.
    pub max_connections: usize,
    /// And from one address; 0: as many as in all.
    pub max_connections_per_address: usize,
    /// How long a client may take to send its request's head.
    pub header_timeout: Period,
    /// How long open requests may take when the server ends.
    pub drain_timeout: Period,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            public_url: String::new(),
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            header_timeout: Period::from_secs(10),
            drain_timeout: Period::from_secs(10),
        }
    }
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// The file with the tokens; empty: no tokens, and only loopback addresses are listened on.
    #[serde(with = "maybe_path")]
    pub tokens_file: Option<PathBuf>,
}

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// The folder; made when absent, locked while in use.
    pub folder: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Data { folder: PathBuf::from("weir-data") }
    }
}

/// The embedded log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Partitions of the events topic; fixed when the folder is made.
    pub partitions: u32,
    /// A segment file is closed above this size.
    pub segment_size: Size,
    /// Segments leave when their newest record is older.
    pub retention_age: Period,
    /// The oldest segments leave when all together are larger; `0B`: by age alone.
    pub retention_size: Size,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            partitions: 4,
            segment_size: Size::from_mib(64),
            retention_age: Period::from_days(31),
            retention_size: Size::from_bytes(0),
        }
    }
}

/// Snapshots of the engine's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshots {
    /// One is made at multiples of this; `0s`: none is.
    pub every: Period,
    /// So many are kept at least, and one that is older than `hub.ring_age`.
    pub keep: usize,
    /// Where; empty: `snapshots` in the data folder, or, with Kafka, none are made.
    #[serde(with = "maybe_path")]
    pub folder: Option<PathBuf>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Snapshots { every: Period::from_mins(10), keep: 2, folder: None }
    }
}

/// Kafka instead of the embedded log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Brokers to ask first, `host:port` each; none: the embedded log is used.
    pub brokers: Vec<String>,
    /// Topics of events. HTTP appends to the first one.
    pub events: Vec<String>,
    /// The topic of rules and incidents.
    pub control: String,
    /// The topic of which record belongs to which tick.
    pub bindings: String,
    /// Properties of the client, as librdkafka names them.
    pub properties: BTreeMap<String, String>,
    /// A file of more of them, for secrets; empty: none.
    #[serde(with = "maybe_path")]
    pub properties_file: Option<PathBuf>,
}

impl Kafka {
    /// Whether it is used.
    #[must_use]
    pub fn used(&self) -> bool {
        !self.brokers.is_empty()
    }

    /// The topics that are read, by number. New topics of events go to the end of the list, and so to the end of this.
    #[must_use]
    pub fn topics(&self) -> Vec<&str> {
        let (first, more) = self.events.split_first().map_or((None, &[][..]), |(first, more)| (Some(first), more));
        first.into_iter().chain([&self.control]).chain(more).map(String::as_str).collect()
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Kafka {
            brokers: Vec::new(),
            events: vec!["weir.events".to_owned()],
            control: "weir.control".to_owned(),
            bindings: "weir.bindings".to_owned(),
            properties: BTreeMap::new(),
            properties_file: None,
        }
    }
}

/// The engine that owns the dataflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// Worker threads.
    pub workers: usize,
    /// The shortest tick, a multiple of 10 ms.
    pub tick_min: Period,
    /// The longest tick while there is work, a multiple of 10 ms.
    pub tick_max: Period,
    /// A run whose streams are complete is finished when it was quiet for so long.
    pub run_quiet: Period,
    /// A run that was silent for so long without finishing is abandoned.
    pub run_timeout: Period,
    /// A shard of a running run that is not complete is silent when it said nothing for so long.
    pub shard_silent: Period,
    /// A finished or abandoned run stays for so long.
    pub run_grace: Period,
    /// Tests of live runs in state; above, ended runs leave before `run_grace` is over.
    pub row_budget: usize,
    /// And of one project.
    pub project_tests: usize,
    /// Suites of live runs in state a project.
    pub project_suites: usize,
    /// Files of live runs with coverage in state a project, each flag of one counted.
    pub project_files: usize,
    /// Versions of a stream are remembered for so long after its last event.
    pub stream_memory: Period,
    /// Event ids are remembered for so long.
    pub event_id_memory: Period,
    /// Runs that left are remembered for so long; their events are late.
    pub late_memory: Period,
    /// A failure pattern without news is forgotten after so long.
    pub pattern_memory: Period,
    /// An error is forgotten after so long.
    pub error_memory: Period,
    /// The coverage that runs are compared with is forgotten after so long.
    pub coverage_memory: Period,
    /// The main branches, that which runs of other branches are compared with first.
    pub main_branches: Vec<String>,
    /// Failure patterns shown a project.
    pub failure_patterns: usize,
    /// Failure patterns remembered a project; those that come above are counted in its row `other`.
    pub patterns_held: usize,
    /// Users remembered a project; those that come above are counted in the row of the user without a name.
    pub users: usize,
    /// A user none of whose runs is shown is forgotten so long after the last event of one.
    pub user_memory: Period,
    /// Suites with attempts within an hour and, as many, branches and frameworks a project; what comes above is counted together.
    pub live_scopes: usize,
    /// Measurements of a run that can be taken back; what comes above only counts.
    pub performance_said: usize,
    /// Suites and, as many, tests a project whose performance is kept; what comes above is counted together.
    pub performance_scopes: usize,
    /// Tests with a failure, on a branch each, remembered a project; what comes above is not judged.
    pub flaky_tests: usize,
    /// A test is no longer judged so long after its last failure.
    pub flaky_memory: Period,
    /// Slow tests shown a project.
    pub slow_tests: usize,
    /// Tests whose durations are remembered a project; attempts of others are counted in the row of the test without a name.
    pub slow_tests_held: usize,
    /// Durations of tests are remembered for so long, in whole sevenths of it.
    pub duration_memory: Period,
    /// Withdrawals of a run that count; more are rejected.
    pub withdrawn: usize,
    /// Rejects kept as rows.
    pub rejects: usize,
    /// Records in the log that wait for their tick, at most; above: 429 with Retry-After.
    pub max_behind: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Engine {
            workers: 2,
            tick_min: Period::from_ms(20),
            tick_max: Period::from_ms(100),
            run_quiet: Period::from_secs(30),
            run_timeout: Period::from_hours(2),
            shard_silent: Period::from_secs(120),
            run_grace: Period::from_hours(1),
            row_budget: 5_000_000,
            project_tests: 2_500_000,
            project_suites: 250_000,
            project_files: 1_000_000,
            stream_memory: Period::from_days(7),
            event_id_memory: Period::from_hours(24),
            late_memory: Period::from_days(30),
            pattern_memory: Period::from_days(30),
            error_memory: Period::from_days(7),
            coverage_memory: Period::from_days(30),
            main_branches: ["main", "master", "trunk"].map(str::to_owned).to_vec(),
            failure_patterns: 1_000,
            patterns_held: 16_384,
            users: 10_000,
            user_memory: Period::from_days(7),
            live_scopes: 65_536,
            performance_said: 10_000,
            performance_scopes: 10_240,
            flaky_tests: 16_384,
            flaky_memory: Period::from_days(30),
            slow_tests: 500,
            slow_tests_held: 500_000,
            duration_memory: Period::from_days(7),
            withdrawn: 100_000,
            rejects: 10_000,
            max_behind: 500_000,
        }
    }
}

/// The hub that clients read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hub {
    /// Frames are kept for resuming clients for so long …
    pub ring_age: Period,
    /// … or up to this size, whichever is reached first.
    pub ring_size: Size,
    /// Rows of one snapshot, at most; above: an error that names filters.
    pub max_snapshot_rows: usize,
}

impl Default for Hub {
    fn default() -> Self {
        Hub { ring_age: Period::from_secs(300), ring_size: Size::from_mib(256), max_snapshot_rows: 100_000 }
    }
}

/// Taking events and reports over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingest {
    /// Memory for bodies in flight, of all clients together; above: 429 with Retry-After.
    pub inflight_size: Size,
    /// How long a client may take to send a body.
    pub body_timeout: Period,
    /// How long `?wait=admitted` waits for the verdict.
    pub verdict_timeout: Period,
}

impl Default for Ingest {
    fn default() -> Self {
        Ingest {
            inflight_size: Size::from_mib(256),
            body_timeout: Period::from_secs(60),
            verdict_timeout: Period::from_secs(5),
        }
    }
}

/// Limits on what comes in: `weir_schemas::limits::Limits` with units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSizes {
    /// `eventId`; above: reject.
    pub event_id: Size,
    /// `streamId`; above: reject.
    pub stream_id: Size,
    /// Any other name; above: cut and marked.
    pub name: Size,
    /// `error.message` kept; above: cut and marked.
    pub error_message: Size,
    /// `error.stack` kept; above: cut and marked.
    pub error_stack: Size,
    /// Tags kept of an event.
    pub tags: usize,
    /// Labels kept of an event.
    pub labels: usize,
    /// Named metrics kept of an event.
    pub metrics: usize,
    /// Events in one batch; above: 413.
    pub batch_events: usize,
    /// Files in one coverage event; above: reject.
    pub coverage_files: usize,
    /// One log record or one HTTP body; above: 413.
    pub record: Size,
    /// A body after decompression; above: 413.
    pub decompressed: Size,
    /// Nesting of XML elements; above: the report ends there with an issue.
    pub xml_depth: usize,
}

impl Default for LimitSizes {
    fn default() -> Self {
        let limits = Limits::default();
        let size = |bytes: usize| Size::from_bytes(bytes as u64);
        LimitSizes {
            event_id: size(limits.event_id),
            stream_id: size(limits.stream_id),
            name: size(limits.name),
            error_message: size(limits.error_message),
            error_stack: size(limits.error_stack),
            tags: limits.tags,
            labels: limits.labels,
            metrics: limits.metrics,
            batch_events: limits.batch_events,
            coverage_files: limits.coverage_files,
            record: size(limits.record),
            decompressed: size(limits.decompressed),
            xml_depth: limits.xml_depth,
        }
    }
}

impl LimitSizes {
    /// As decoders and admission take them.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            event_id: self.event_id.len(),
            stream_id: self.stream_id.len(),
            name: self.name.len(),
            error_message: self.error_message.len(),
            error_stack: self.error_stack.len(),
            tags: self.tags,
            labels: self.labels,
            metrics: self.metrics,
            batch_events: self.batch_events,
            coverage_files: self.coverage_files,
            record: self.record.len(),
            decompressed: self.decompressed.len(),
            xml_depth: self.xml_depth,
        }
    }
}

/// What the process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or directives such as `info,weir::log=debug`.
    pub level: String,
    /// How a log line looks.
    pub format: LogFormat,
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A path that may be absent: the empty text.
mod maybe_path {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::path::PathBuf;

    pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&path.as_deref().unwrap_or(std::path::Path::new("")).display())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        Ok((!path.as_os_str().is_empty()).then_some(path))
    }
}
