//! The configuration: one TOML file, one typed tree.
//!
//! Contract: [`Config::load`] reads the file (if any), lays the environment over it (`WEIR_<SECTION>_<KEY>`, such as
//! `WEIR_SERVER_LISTEN`) and checks everything; it returns the tree or *all* problems, each with its key and, where it
//! stands in the file, its line. What is not written has its default, and all defaults stand in [`sections`].
//! Secrets are never values here: keys that end in `_file` name files that hold them.
//!
//! # Failure
//! An unknown key is a problem, never ignored: a typing error must not become a default in silence. An environment
//! variable that looks like a key but is none is only a notice, since container platforms set such variables unasked.

mod check;
mod read;
pub mod sections;
pub mod units;

pub use sections::LogFormat;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses and connections.
    pub server: sections::Server,
    /// Who may do what.
    pub auth: sections::Auth,
    /// Where state is kept.
    pub data: sections::Data,
    /// The embedded log.
    pub log: sections::Log,
    /// Kafka instead of it.
    pub kafka: sections::Kafka,
    /// Snapshots of the engine's state.
    pub snapshots: sections::Snapshots,
    /// The engine that owns the dataflow.
    pub engine: sections::Engine,
    /// The hub that clients read from.
    pub hub: sections::Hub,
    /// Taking events and reports over HTTP.
    pub ingest: sections::Ingest,
    /// Limits on what comes in.
    pub limits: sections::LimitSizes,
    /// What the process says of itself.
    pub telemetry: sections::Telemetry,
}

/// A configuration that was read, and what is worth saying about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The tree.
    pub config: Config,
    /// Sentences for whoever started the program.
    pub notices: Vec<String>,
}

impl Config {
    /// Reads `file` (or only defaults), lays `environment` over it and checks the result.
    ///
    /// # Errors
    /// The file cannot be read, or has problems: all of them.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigError> {
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?,
        };
        Config::parse(&text, environment)
            .map_err(|problems| ConfigError::Invalid { path: file.map(Path::to_owned), problems })
    }

    /// The same, from a text.
    ///
    /// # Errors
    /// All problems.
    pub fn parse(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Vec<Problem>> {
        read::read(text, environment)
    }

    /// What the dataflow is told, for logs with these topics, by number.
    #[must_use]
    pub fn dataflow(&self, topics: &[&str]) -> weir_dataflows::Config {
        let engine = &self.engine;
        weir_dataflows::Config {
            run_quiet_ms: engine.run_quiet.ms(),
            run_timeout_ms: engine.run_timeout.ms(),
            shard_silent_ms: engine.shard_silent.ms(),
            run_grace_ms: engine.run_grace.ms(),
            row_budget: engine.row_budget,
            project_tests: engine.project_tests,
            project_suites: engine.project_suites,
            project_files: engine.project_files,
            stream_memory_ms: engine.stream_memory.ms(),
            event_id_memory_ms: engine.event_id_memory.ms(),
            late_memory_ms: engine.late_memory.ms(),
            pattern_memory_ms: engine.pattern_memory.ms(),
            error_memory_ms: engine.error_memory.ms(),
            coverage_memory_ms: engine.coverage_memory.ms(),
            main_branches: engine.main_branches.clone(),
            failure_patterns: engine.failure_patterns,
            patterns_held: engine.patterns_held,
            users: engine.users,
            user_memory_ms: engine.user_memory.ms(),
            slow_tests: engine.slow_tests,
            slow_tests_held: engine.slow_tests_held,
            duration_memory_ms: engine.duration_memory.ms(),
            live_scopes: engine.live_scopes,
            performance_said: engine.performance_said,
            performance_scopes: engine.performance_scopes,
            flaky_tests: engine.flaky_tests,
            flaky_memory_ms: engine.flaky_memory.ms(),
            withdrawn: engine.withdrawn,
            rejects: engine.rejects,
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            ..weir_dataflows::Config::default()
        }
    }

    /// The folder of snapshots, if any are made.
    #[must_use]
    pub fn snapshot_folder(&self) -> Option<PathBuf> {
        if self.snapshots.every == units::Period::default() {
            return None;
        }
        let embedded = || (!self.kafka.used()).then(|| self.data.folder.join("snapshots"));
        self.snapshots.folder.clone().or_else(embedded)
    }

    /// Checks every rule that a single value or several together must hold.
    ///
    /// # Errors
    /// All problems, with the key that each is about.
    pub fn validate(&self) -> Result<(), Vec<Problem>> {
        check::check(self)
    }
}

/// Something wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as `section.key`, or the environment variable; empty for a file that is no TOML.
    pub key: String,
    /// The line in the file, from 1, where the key stands there.
    pub line: Option<usize>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    fn new(key: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { key: key.into(), line: None, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It has problems.
    #[error("{}", Listing(path.as_deref(), problems))]
    Invalid {
        /// The file, if there was one.
        path: Option<PathBuf>,
        /// All of them, at least one.
        problems: Vec<Problem>,
    },
}

/// One line a problem, each naming the file.
struct Listing<'a>(Option<&'a Path>, &'a [Problem]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.1.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match self.0 {
                Some(path) => write!(f, "{}: {problem}", path.display())?,
                None => write!(f, "configuration: {problem}")?,
            }
        }
        Ok(())
    }
}
