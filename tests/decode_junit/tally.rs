//! What a report's events say in numbers, by the rules that the views follow.

use std::collections::BTreeMap;
use weir::decode::{Context, Decoded, Format, decode};
use weir_schemas::event::EventType;
use weir_schemas::limits::Limits;
use weir_schemas::outcome::Outcome;

/// Tests by their last attempt; flaky are those that passed after a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Tally {
    pub(crate) tests: u64,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) errored: u64,
    pub(crate) skipped: u64,
    pub(crate) flaky: u64,
}

impl Tally {
    pub(crate) fn fields(&self) -> [(&'static str, u64); 6] {
        [
            ("tests", self.tests),
            ("passed", self.passed),
            ("failed", self.failed),
            ("errored", self.errored),
            ("skipped", self.skipped),
            ("flaky", self.flaky),
        ]
    }
}

/// The context of all these tests.
pub(crate) fn context() -> Context {
    Context {
        project: "shop".to_owned(),
        run: "build-7".to_owned(),
        shard: Some("1".to_owned()),
        branch: Some("main".to_owned()),
        received_at_ms: 1_790_000_000_000,
        ..Context::default()
    }
}

pub(crate) fn junit(bytes: &[u8]) -> Decoded {
    decode(Format::Junit, bytes, &Limits::default(), &context())
}

/// Counts, and checks what holds for every report: a valid stream without gaps, suites that open and close around their
/// cases, planned tests that are the tests found.
pub(crate) fn tally(decoded: &Decoded) -> Tally {
    type Attempts = Vec<(Option<u32>, Outcome)>;
    let mut tests: BTreeMap<(String, String), Attempts> = BTreeMap::new();
    let mut open: BTreeMap<String, bool> = BTreeMap::new();
    let mut planned = 0;
    for (index, event) in decoded.events.iter().enumerate() {
        assert_eq!(event.check(&Limits::default()), Ok(()), "{event:?}");
        assert_eq!(event.version, index as u64 + 1);
        assert_eq!(event.stream_id, decoded.events[0].stream_id);
        let suite = event.suite().expect("names its suite").to_owned();
        match event.event_type {
            EventType::TestSuiteStarted => {
                assert_eq!(open.insert(suite, true), None, "a suite starts once");
                planned += u64::from(event.data.planned_tests.expect("plans"));
            }
            EventType::TestSuiteCompleted => assert_eq!(open.insert(suite, false), Some(true)),
            EventType::TestCaseCompleted => {
                assert_eq!(open.get(&suite), Some(&true), "a case lies inside its suite");
                let outcome = event.outcome().expect("has an outcome");
                assert_eq!(event.data.error.is_some(), outcome.fails(), "{event:?}");
                let variant = event.metadata.variant.as_deref().unwrap_or_default().to_owned();
                tests
                    .entry((event.data.test_id.as_deref().expect("is known").to_owned(), variant))
                    .or_default()
                    .push((event.data.attempt, outcome));
            }
            EventType::SetupFailed => assert!(event.data.error.is_some()),
            other => panic!("a report gives no {other:?}"),
        }
    }
    for ((test, _), attempts) in &tests {
        // One attempt is the log's to number; several are numbered from 1.
        let stated: Vec<Option<u32>> = attempts.iter().map(|(attempt, _)| *attempt).collect();
        let several: Vec<Option<u32>> = (1..).take(attempts.len()).map(Some).collect();
        assert!(stated == several || stated == [None], "{test}: {stated:?}");
    }
    assert!(open.values().all(|open| !open), "all suites end");
    assert_eq!(planned, tests.len() as u64, "what is planned is what is there");
    let mut tally = Tally { tests: planned, ..Tally::default() };
    for attempts in tests.values() {
        let last = attempts.last().expect("has an attempt").1;
        match last {
            Outcome::Passed => tally.passed += 1,
            Outcome::Skipped => tally.skipped += 1,
            Outcome::Failed => tally.failed += 1,
            Outcome::Error | Outcome::Timeout => tally.errored += 1,
        }
        let failed_before = attempts.iter().any(|(_, outcome)| outcome.fails());
        tally.flaky += u64::from(failed_before && last == Outcome::Passed);
    }
    tally
}
