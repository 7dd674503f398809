//! What is summed of a scope: sums and counts that can be taken back, and how workers tell each other of them.
//!
//! # Invariants
//! Everything is an integer and adds up in any order. A delta of a pane is told even when its sums cancel out: who gets room, and why a row
//! changes, must not depend on which worker summed what.

use super::BUCKETS;
use crate::input::Text;
use crate::percentiles::{Counts, Scratch, middle};
use crate::top_k::Group;
use crate::views::live_metrics::delta::{Change, Delta as LiveDelta, ScopeKind as LiveKind};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::id::Id;

/// What a scope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// A suite.
    Suite,
    /// A test.
    Test,
}

impl Kind {
    /// The word in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Suite => "suite",
            Kind::Test => "test",
        }
    }
}

/// A scope as its rows name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// Its project and kind, and its bucket there.
    pub group: Group,
    /// Its identity; the group's for what found no room.
    pub id: Id,
    /// Its project.
    pub project: Text,
    /// What it is.
    pub kind: Kind,
    /// Its name; empty for what found no room.
    pub name: Text,
}

impl Name {
    /// The name of a suite or test of this identity.
    #[must_use]
    pub fn new(kind: Kind, id: Id, project: &Text, name: &Text) -> Name {
        let group = (Id::of(&["performance", kind.as_str(), project]), (id.0 % BUCKETS) as u32);
        Name { group, id, project: Arc::clone(project), kind, name: Arc::clone(name) }
    }
}

/// A change of a scope's pane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delta {
    /// The scope.
    pub name: Name,
    /// The pane of the shortest window; of what is older, any in the same pane of the longer one.
    pub pane: u64,
    /// What came, less what was taken back.
    pub content: Content,
    /// Whether something was taken back.
    pub withdrawn: bool,
}

impl Delta {
    /// What `live_metrics` tells of a suite's attempts.
    #[must_use]
    pub fn of_suite(delta: &LiveDelta) -> Option<Delta> {
        let (LiveKind::Suite, Change::Pane(pane)) = (delta.name.kind, &delta.change) else { return None };
        if !pane.attempted {
            return None;
        }
        let sums = pane.content.sums;
        let content = Content {
            ended: sums.finished(),
            duration: Sum { count: sums.timed, sum: sums.duration_us },
            durations: pane.content.durations.clone(),
            ..Content::default()
        };
        let name = Name::new(Kind::Suite, delta.scope, &delta.name.project, &delta.name.name);
        Some(Delta { name, pane: pane.pane, content, withdrawn: pane.withdrawn })
    }

    /// The same of the row of all that found no room.
    #[must_use]
    pub fn without_name(self) -> Delta {
        let Name { group, project, kind, .. } = self.name;
        Delta { name: Name { group: (group.0, 0), id: group.0, project, kind, name: "".into() }, ..self }
    }

    /// The worker of its bucket.
    #[must_use]
    pub fn route(&self) -> u64 {
        route(self.name.group)
    }
}

/// The worker of a bucket.
pub(super) fn route((project, bucket): Group) -> u64 {
    project.route().wrapping_add(u64::from(bucket))
}

/// How many numbers, and what they come to; wide, since one absurd report must not overflow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// How many.
    pub count: i64,
    /// What they come to.
    pub sum: i128,
}

impl Sum {
    /// Takes `diff` numbers of one value in.
    pub fn add_value(&mut self, value: i64, diff: i64) {
        self.add(Sum { count: diff, sum: i128::from(value) * i128::from(diff) });
    }

    /// Adds `other`.
    pub fn add(&mut self, other: Sum) {
        self.count += other.count;
        self.sum += other.sum;
    }

    /// The mean, rounded half up; none of nothing.
    #[must_use]
    pub fn average(&self) -> Option<i64> {
        let count = i128::from(self.count);
        if count <= 0 { None } else { i64::try_from((self.sum + count / 2).div_euclid(count)).ok() }
    }
}

/// Sums over what is in a pane or window, or their changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Attempts that ended.
    pub ended: i64,
    /// Events that measured.
    pub measured: i64,
    /// How long it took, in µs.
    pub duration: Sum,
    /// The same by bucket.
    pub durations: Counts,
    /// Memory, in bytes.
    pub memory: Sum,
    /// The same by bucket.
    pub memories: Counts,
    /// Processor use, as a fraction of one core × 10⁶.
    pub cpu: Sum,
    /// Named numbers × 10⁶, in order of their names; none twice.
    pub metrics: Vec<(Text, Sum)>,
}

impl Content {
    /// Adds `other`.
    pub fn add(&mut self, other: &Content, scratch: &mut Scratch) {
        self.ended += other.ended;
        self.measured += other.measured;
        self.duration.add(other.duration);
        self.durations.add(&other.durations, scratch);
        self.memory.add(other.memory);
        self.memories.add(&other.memories, scratch);
        self.cpu.add(other.cpu);
        for (name, sum) in &other.metrics {
            self.metric(name).add(*sum);
        }
    }

    /// The sum of a named number, made when absent.
    pub fn metric(&mut self, name: &Text) -> &mut Sum {
        let index = self.metrics.binary_search_by(|(other, _)| other.cmp(name)).unwrap_or_else(|index| {
            self.metrics.insert(index, (Arc::clone(name), Sum::default()));
            index
        });
        &mut self.metrics[index].1
    }
}

/// The largest that is counted: the middle of its bucket, or the mean where that is more.
#[must_use]
pub fn largest(counts: &Counts, average: Option<i64>) -> Option<u64> {
    let largest = counts.iter().filter(|(_, count)| *count > 0).last().map(|(bucket, _)| middle(bucket));
    largest.max(average.and_then(|average| u64::try_from(average).ok()))
}
