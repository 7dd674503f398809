//! Tests of `event`.

use super::*;
use crate::limits::Limits;

const MINIMAL: &str =
    r#"{"eventId":"e1","eventType":"test_passed","streamId":"s1","version":1,"timestamp":5,"data":{"testId":"t1"}}"#;

#[test]
fn a_minimal_event_decodes_borrowed_with_its_defaults() {
    let event: TestEvent<'_> = serde_json::from_str(MINIMAL).expect("decodes");
    assert_eq!(event.metadata.project.as_str(), "default");
    assert_eq!(event.run(), "s1");
    assert_eq!(event.outcome(), Some(Outcome::Passed));
    assert!(matches!(event.event_id.0, std::borrow::Cow::Borrowed(_)));
    assert!(matches!(event.data.test_id, Some(Text(std::borrow::Cow::Borrowed(_)))));
    assert_eq!(event.check(&Limits::default()), Ok(()));
    let again = serde_json::to_string(&event).expect("encodes");
    assert_eq!(serde_json::from_str::<TestEvent<'_>>(&again).expect("decodes again"), event);
}

#[test]
fn each_broken_rule_names_its_field() {
    let base: TestEvent<'_> = serde_json::from_str(MINIMAL).expect("decodes");
    type Break = fn(&mut TestEvent<'_>);
    fn files(paths_and_lines: &[(&'static str, &'static str, &'static str)]) -> Option<CoverageData<'static>> {
        let file = |(path, covered, instrumented): &(&'static str, &'static str, &'static str)| CoverageFile {
            path: Text::from(*path),
            covered: Text::from(*covered),
            instrumented: Text::from(*instrumented),
        };
        Some(CoverageData { files: paths_and_lines.iter().map(file).collect(), ..CoverageData::default() })
    }
    fn percentage(percentage: f64) -> Option<CoverageData<'static>> {
        Some(CoverageData { percentage: Some(percentage), ..CoverageData::default() })
    }
    let cases: [(&str, Break); 19] = [
        ("eventId", |e| e.event_id = Text::from(String::new())),
        ("eventId", |e| e.event_id = Text::from("x".repeat(129))),
        ("streamId", |e| e.stream_id = Text::from("x".repeat(257))),
        ("version", |e| e.version = 0),
        ("data.attempt", |e| e.data.attempt = Some(0)),
        ("data.duration", |e| e.data.duration = Some(-1.0)),
        ("data.testId", |e| e.data.test_id = None),
        ("data.testId", |e| e.data.test_id = Some(Text::from(String::new()))),
        ("data.result", |e| e.event_type = EventType::TestCaseCompleted),
        ("data.testSuiteId", |e| e.event_type = EventType::TestSuiteStarted),
        ("data.testSuiteId", |e| {
            e.event_type = EventType::TestSuiteStarted;
            e.data.test_suite_id = Some(Text::from(String::new()));
        }),
        ("data.coverage.percentage", |e| e.data.coverage = percentage(100.1)),
        ("data.coverage.percentage", |e| e.data.coverage = percentage(-0.1)),
        ("data.coverage.percentage", |e| e.data.coverage = percentage(f64::NAN)),
        ("data.coverage.files[1].covered", |e| e.data.coverage = files(&[("a", "1", "1"), ("b", "2-", "2")])),
        ("data.coverage.files[0].instrumented", |e| e.data.coverage = files(&[("a", "1", "0-4")])),
        ("data.coverage.files[1].path", |e| e.data.coverage = files(&[("a", "", ""), ("", "1", "1")])),
        ("data.coverage.files", |e| e.data.coverage = files(&[("a", "", ""); 5_001])),
        ("data.coverage.files[4999].covered", |e| {
            let mut coverage = files(&[("a", "", ""); 5_000]).expect("is there");
            coverage.files[4_999].covered = Text::from("x");
            e.data.coverage = Some(coverage);
        }),
    ];
    for (field, break_it) in cases {
        let mut event = base.clone();
        break_it(&mut event);
        assert_eq!(event.check(&Limits::default()).expect_err(field).field, field);
    }
    for fine in [percentage(0.0), percentage(100.0), files(&[("a", "", ""); 5_000]), files(&[("a", "1-4,7", "9,1-4")])]
    {
        let event = TestEvent { data: EventData { coverage: fine, ..base.data.clone() }, ..base.clone() };
        assert_eq!(event.check(&Limits::default()), Ok(()));
    }
}

#[test]
fn the_committed_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/json/test_event.json");
    let current = format!("{}\n", serde_json::to_string_pretty(&json_schema()).expect("encodes"));
    if std::env::var_os("WEIR_REWRITE").is_some() {
        std::fs::write(path, &current).expect("writes the schema");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(committed, current, "stale: run WEIR_REWRITE=1 cargo test -p weir-schemas");
}
