//! What the workers tell the owner of a scope: its name, and what came and went since the last cadence point.
//!
//! # Invariants
//! A delta of a pane is told even when its sums cancel out: neither the cause nor who gets room must depend on which worker summed what.

use crate::config::Config;
use crate::input::Text;
use crate::percentiles::{Counts, Scratch};
use crate::top_k::Group;
use crate::views::performance::content::Sum;
use differential_dataflow::consolidation::consolidate;
use serde::{Deserialize, Serialize};
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::ratio;

/// What a scope is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ScopeKind {
    /// All of a project.
    Project,
    /// What a test framework ran.
    Framework,
    /// What ran on a branch.
    Branch,
    /// A suite.
    Suite,
}

impl ScopeKind {
    /// The word in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ScopeKind::Project => "project",
            ScopeKind::Framework => "framework",
            ScopeKind::Branch => "branch",
            ScopeKind::Suite => "suite",
        }
    }
}

/// A scope as its rows name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScopeName {
    /// Its project.
    pub project: Text,
    /// What it is made of.
    pub kind: ScopeKind,
    /// Its name; the project's for a project.
    pub name: Text,
}

impl ScopeName {
    /// Its identity; a suite's is that of its names.
    #[must_use]
    pub fn id(&self) -> Id {
        match self.kind {
            ScopeKind::Project => project_scope(&self.project),
            kind => Id::of(&[kind.as_str(), &self.project, &self.name]),
        }
    }
}

/// The identity of a project's scope.
#[must_use]
pub fn project_scope(project: &str) -> Id {
    Id::of(&["project", project])
}

/// A change of one scope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delta {
    /// The scope.
    pub scope: Id,
    /// Its name.
    pub name: ScopeName,
    /// What changes.
    pub change: Change,
}

/// In how many parts the names of a project are, each with its share of the room.
const BUCKETS: u128 = 256;

impl Delta {
    /// The worker that has the scope: that of its bucket.
    #[must_use]
    pub fn route(&self) -> u64 {
        route(self.scope)
    }

    /// Who it shares its room with.
    #[must_use]
    pub fn group(&self) -> Group {
        group(self.scope, &self.name)
    }

    /// The same of the row of all attempts of a project's kind of scope that found no room.
    #[must_use]
    pub fn without_name(self) -> Delta {
        let name = ScopeName { name: "".into(), ..self.name };
        Delta { scope: group(Id::default(), &name).0, name, change: self.change }
    }
}

/// The worker of a scope: that of its bucket.
pub(super) fn route(scope: Id) -> u64 {
    (scope.0 % BUCKETS) as u64
}

/// The group of a scope of this name.
pub(super) fn group(scope: Id, name: &ScopeName) -> Group {
    (Id::of(&["live_metrics", name.kind.as_str(), &name.project]), (scope.0 % BUCKETS) as u32)
}

/// How many names a bucket has room for.
pub(super) fn share(config: &Config) -> usize {
    config.live_scopes / BUCKETS as usize
}

/// What changes in a scope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Change {
    /// What is in a pane.
    Pane(PaneDelta),
    /// What is running and awaited.
    Gauges(Gauges),
}

/// A change of one pane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PaneDelta {
    /// The pane of the shortest window; of what has left that, the first in the pane of the shortest that it is in.
    pub pane: u64,
    /// Attempts that came, less those that were taken back.
    pub content: Pane,
    /// Whether something was taken back.
    pub withdrawn: bool,
    /// Whether attempts were part of it, and not only what was measured.
    pub attempted: bool,
}

/// Sums over the attempts of a pane, or their changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pane {
    /// Counts by outcome, and how long they took.
    pub sums: Sums,
    /// How many took how long.
    pub durations: Counts,
    /// Attempts by failure fingerprint, in order; none twice, none zero.
    pub patterns: Vec<(Id, i64)>,
}

impl Pane {
    /// Adds `other`.
    pub fn add(&mut self, other: Pane, scratch: &mut Scratch) {
        self.sums.add(&other.sums, 1);
        self.durations.add(&other.durations, scratch);
        if self.patterns.is_empty() {
            self.patterns = other.patterns;
        } else if !other.patterns.is_empty() {
            self.patterns.extend(other.patterns);
            consolidate(&mut self.patterns);
        }
    }
}

/// Sums over attempts, and over what was measured beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Passed.
    pub passed: i64,
    /// Failed, error and timeout.
    pub failing: i64,
    /// Skipped.
    pub skipped: i64,
    /// Attempts that say how long they took.
    pub timed: i64,
    /// How long these took; wide, since one absurd report must not overflow it.
    pub duration_us: i128,
    /// Attempts that say how long they took and were not skipped.
    pub judged: i64,
    /// Those of them that took more than twice as long as their test does.
    pub slow: i64,
    /// Memory, in bytes, that was measured.
    pub memory: Sum,
}

impl Sums {
    /// Takes `diff` attempts in.
    pub fn add_attempt(&mut self, outcome: Outcome, duration_us: Option<u64>, diff: i64) {
        match outcome {
            Outcome::Passed => self.passed += diff,
            Outcome::Skipped => self.skipped += diff,
            Outcome::Failed | Outcome::Error | Outcome::Timeout => self.failing += diff,
        }
        if let Some(duration_us) = duration_us {
            self.timed += diff;
            self.duration_us += i128::from(duration_us) * i128::from(diff);
            self.judged += if outcome == Outcome::Skipped { 0 } else { diff };
        }
    }

    /// Adds `other` `times` times.
    pub fn add(&mut self, other: &Sums, times: i64) {
        self.passed += other.passed * times;
        self.failing += other.failing * times;
        self.skipped += other.skipped * times;
        self.timed += other.timed * times;
        self.duration_us += other.duration_us * i128::from(times);
        self.judged += other.judged * times;
        self.slow += other.slow * times;
        self.memory.add(Sum { count: other.memory.count * times, sum: other.memory.sum * i128::from(times) });
    }

    /// Whether there is nothing: no attempt, nothing measured.
    #[must_use]
    pub fn nothing(&self) -> bool {
        self.finished() == 0 && self.memory.count == 0
    }

    /// How many attempts finished.
    #[must_use]
    pub fn finished(&self) -> i64 {
        self.passed + self.failing + self.skipped
    }

    /// The mean duration in whole µs, rounded half up; none when nothing was timed.
    #[must_use]
    pub fn average_us(&self) -> Option<i64> {
        let timed = i128::from(self.timed);
        if timed == 0 { None } else { i64::try_from((self.duration_us + timed / 2).div_euclid(timed)).ok() }
    }
}

/// What is running, awaited and covered in a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gauges {
    /// Tests begun and not ended.
    pub running: i64,
    /// Streams not complete.
    pub streams: i64,
    /// Tests announced and not seen.
    pub tests: i64,
    /// Lines covered, summed over runs.
    pub covered: i64,
    /// Lines that count, summed over runs.
    pub lines: i64,
}

impl Gauges {
    /// Adds `other`.
    pub fn add(&mut self, other: &Gauges) {
        self.running += other.running;
        self.streams += other.streams;
        self.tests += other.tests;
        self.covered += other.covered;
        self.lines += other.lines;
    }

    /// The share of lines that is covered, in percent; none without lines.
    #[must_use]
    pub fn coverage(&self) -> Option<i64> {
        ratio(self.covered, 100, self.lines)
    }
}
