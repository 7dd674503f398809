//! The fleet of the benches: 400 runs of 8 shards, 200,000 tests in 4,800 suites, 3 % failures, 5 % coverage events.
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
const SUITES_A_RUN: u64 = 12;

/// See the module.
pub(crate) struct Fleet {
    executions: u64,
    events: u64,
    newest: u64,
    versions: Vec<u64>,
}

impl Fleet {
    pub(crate) fn new() -> Fleet {
        Fleet { executions: 0, events: 0, newest: 0, versions: vec![0; (RUNS * SHARDS) as usize] }
    }

    /// The next test execution, as of `at`: the number of its shard, its begin and its end, and maybe what it covers.
    pub(crate) fn test(&mut self, at: u64) -> (u64, Vec<TestEvent<'static>>) {
        let n = self.executions;
        self.executions += 1;
        if generation(n) > self.newest {
            // New streams on the same shards.
            self.newest = generation(n);
            self.versions.fill(0);
        }
        let shard = n % (RUNS * SHARDS);
        let version = &mut self.versions[shard as usize];
        let [begin, end] = events_of(n, at);
        // Every tenth one, so that about one event in twenty is of coverage.
        let coverage = (n / (RUNS * SHARDS)).wrapping_add(n).is_multiple_of(10).then(|| coverage_of(n, &end));
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

/// After all tests have run, the next round is a new run on the same shards.
fn generation(n: u64) -> u64 {
    n / (RUNS * SHARDS) * SHARDS / TESTS_A_RUN
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
fn events_of(n: u64, at: u64) -> [TestEvent<'static>; 2] {
    let stream = n % (RUNS * SHARDS);
    let (run, shard) = (stream % RUNS, stream / RUNS);
    let round = n / (RUNS * SHARDS);
    let test = (round * SHARDS + shard) % TESTS_A_RUN;
    let generation = generation(n);
    let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let fails = hash % 100 < 3;
    let metadata = Metadata {
        project: Text::from(format!("project-{}", run % 20)),
        framework: Some(Text::from("pytest")),
        branch: Some(Text::from(format!("branch-{}", run % 40))),
        worker: Some(Text::from(format!("worker-{stream}"))),
        user_id: Some(Text::from(format!("user-{}", run % 100))),
        ..Metadata::default()
    };
    let data = EventData {
        test_id: Some(Text::from(format!("tests/module_{}/test_case_{test}", test % SUITES_A_RUN))),
        test_name: Some(Text::from(format!("test_case_{test}"))),
        test_suite_id: Some(Text::from(format!("suite-{}-{}", run % 400, test % SUITES_A_RUN))),
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
