//! The fleet of the benches: 400 runs of 8 shards, 200,000 tests in 4,800 suites, 3 % failures, 5 % coverage events; or another
//! [`Shape`].
//!
//! Contract: [`Fleet::test`] gives the begin and end of one test execution after another, and after some what they cover, each
//! with its stream's next version; after all tests have run, the next round is new runs on the same shards.

use weir_schemas::event::{CoverageData, CoverageFile, EventData, EventType, Metadata, TestErrorData, TestEvent};
use weir_schemas::outcome::Outcome;
use weir_schemas::text::Text;
use weir_schemas::timestamp::Timestamp;

pub(crate) const RUNS: u64 = 400;
pub(crate) const SHARDS: u64 = 8;
pub(crate) const TESTS_A_RUN: u64 = 500;

/// How many there are of what.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) runs: u64,
    /// Of a run.
    pub(crate) shards: u64,
    /// Of a run.
    pub(crate) tests: u64,
    /// Of a run.
    pub(crate) suites: u64,
    pub(crate) projects: u64,
    /// Whether the suites of one run are those of every other.
    pub(crate) shared_suites: bool,
}

impl Shape {
    /// What is measured unless something else is said.
    pub(crate) const USUAL: Shape =
        Shape { runs: RUNS, shards: SHARDS, tests: TESTS_A_RUN, suites: 12, projects: 20, shared_suites: false };
    /// One run of half a million tests.
    pub(crate) const GIANT_RUN: Shape =
        Shape { runs: 1, shards: 64, tests: 500_000, suites: 1_000, projects: 1, shared_suites: false };
    /// All tests of all runs in one suite.
    pub(crate) const HOT_SUITE: Shape = Shape { suites: 1, projects: 1, shared_suites: true, ..Shape::USUAL };

    /// After all tests have run, the next round is a new run on the same shards.
    fn generation(self, n: u64) -> u64 {
        n / (self.runs * self.shards) * self.shards / self.tests
    }
}

/// See the module.
pub(crate) struct Fleet {
    shape: Shape,
    executions: u64,
    events: u64,
    newest: u64,
    versions: Vec<u64>,
}

impl Fleet {
    pub(crate) fn new() -> Fleet {
        Fleet::of(Shape::USUAL)
    }

    pub(crate) fn of(shape: Shape) -> Fleet {
        Fleet { shape, executions: 0, events: 0, newest: 0, versions: vec![0; (shape.runs * shape.shards) as usize] }
    }

    /// The next test execution, as of `at`: the number of its shard, its begin and its end, and maybe what it covers.
    pub(crate) fn test(&mut self, at: u64) -> (u64, Vec<TestEvent<'static>>) {
        let n = self.executions;
        self.executions += 1;
        let streams = self.shape.runs * self.shape.shards;
        if self.shape.generation(n) > self.newest {
            // New streams on the same shards.
            self.newest = self.shape.generation(n);
            self.versions.fill(0);
        }
        let shard = n % streams;
        let version = &mut self.versions[shard as usize];
        let [begin, end] = events_of(self.shape, n, at);
        // Every tenth one, so that about one event in twenty is of coverage.
        let coverage = (n / streams).wrapping_add(n).is_multiple_of(10).then(|| coverage_of(n, &end));
        let mut events = vec![begin, end];
        events.extend(coverage);
        for event in &mut events {
            *version += 1;
            self.events += 1;
            event.version = *version;
            event.event_id = Text::from(format!("e{}", self.events));
        }
        (shard, events)
    }
}

/// What a test covers: two of the forty files of its run, five stretches of a hundred lines each.
fn coverage_of(n: u64, end: &TestEvent<'static>) -> TestEvent<'static> {
    let file = |of: u64| {
        let stretch = |k: u64| {
            let from = 1 + k * 100 + n.wrapping_mul(k + 7) % 40;
            format!("{from}-{}", from + 20 + (n + of) % 40)
        };
        CoverageFile {
            path: Text::from(format!("src/module_{}.py", (n / 7 + of) % 40)),
            covered: Text::from((0..5).map(stretch).collect::<Vec<_>>().join(",")),
            instrumented: Text::from("1-100,102-200,202-300,302-400,402-500"),
        }
    };
    let coverage = CoverageData { files: vec![file(0), file(13)], ..CoverageData::default() };
    let data = EventData { coverage: Some(coverage), ..EventData::default() };
    TestEvent { event_type: EventType::CoverageUpdated, data, ..end.clone() }
}

/// The begin and end of the `n`th test execution.
fn events_of(shape: Shape, n: u64, at: u64) -> [TestEvent<'static>; 2] {
    let streams = shape.runs * shape.shards;
    let stream = n % streams;
    let (run, shard) = (stream % shape.runs, stream / shape.runs);
    let round = n / streams;
    let test = (round * shape.shards + shard) % shape.tests;
    let generation = shape.generation(n);
    let suites_of = if shape.shared_suites { 0 } else { run };
    let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let fails = hash % 100 < 3;
    let metadata = Metadata {
        project: Text::from(format!("project-{}", run % shape.projects)),
        framework: Some(Text::from("pytest")),
        branch: Some(Text::from(format!("branch-{}", run % 40))),
        worker: Some(Text::from(format!("worker-{stream}"))),
        user_id: Some(Text::from(format!("user-{}", run % 100))),
        ..Metadata::default()
    };
    let data = EventData {
        test_id: Some(Text::from(format!("tests/module_{}/test_case_{test}", test % shape.suites))),
        test_name: Some(Text::from(format!("test_case_{test}"))),
        test_suite_id: Some(Text::from(format!("suite-{suites_of}-{}", test % shape.suites))),
        ..EventData::default()
    };
    let begin = TestEvent {
        event_id: Text::default(),
        event_type: EventType::TestCaseStarted,
        stream_id: Text::from(format!("run-{run}/{generation}/{shard}")),
        version: 0,
        timestamp: Timestamp(at),
        causation_id: None,
        correlation_id: Some(Text::from(format!("run-{run}/{generation}"))),
        data: data.clone(),
        metadata,
    };
    let error = fails.then(|| TestErrorData {
        message: Text::from(format!(
            "expected status 200 but got {} after {} ms at /tmp/run-{n}/x",
            500 + hash % 4,
            hash
        )),
        kind: Some(Text::from(format!("AssertionError{}", hash % 50))),
        stack: Some(Text::from("  File \"tests/module.py\", line 14, in test_case\n    check(response)\n")),
        ..TestErrorData::default()
    });
    let end = TestEvent {
        event_type: EventType::TestCaseCompleted,
        data: EventData {
            result: Some(if fails { Outcome::Failed } else { Outcome::Passed }),
            duration: Some((hash % 2_000) as f64 / 7.0),
            error,
            ..data
        },
        ..begin.clone()
    };
    [begin, end]
}
