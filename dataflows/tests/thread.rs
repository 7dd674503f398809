//! The thread from an event to a frame, on the smallest history.

mod common;

use common::{Feeding, Folded, Tick, run};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Input, Interner, Position};
use weir_schemas::event::TestEvent;
use weir_schemas::limits::Limits;
use weir_schemas::view::{MISSING, RUN_PROGRESS, SUITE_PROGRESS, TEST_RESULTS};

fn event(json: &str, offset: u64) -> Input {
    let event: TestEvent<'_> = serde_json::from_str(json).expect("decodes");
    let position = Position { offset, ..Position::default() };
    Input::Event(Arc::new(Event::new(&event, position, &Limits::default(), &mut Interner::default())))
}

#[test]
fn an_event_becomes_rows_and_the_run_ends_and_leaves() {
    let start = r#"{"eventId":"1","eventType":"test_suite_started","streamId":"s","version":1,"timestamp":1000,"data":{"testSuiteId":"u","plannedTests":2}}"#;
    let failed = r#"{"eventId":"2","eventType":"test_failed","streamId":"s","version":2,"timestamp":2000,"data":{"testId":"a","testSuiteId":"u","duration":3.5,"error":{"message":"no"}}}"#;
    let end = r#"{"eventId":"3","eventType":"test_suite_completed","streamId":"s","version":3,"timestamp":3000,"data":{"testSuiteId":"u"}}"#;
    let mut ticks = vec![
        Tick { at: 1_000, inputs: vec![event(start, 0)], ..Tick::default() },
        Tick { at: 2_050, inputs: vec![event(failed, 1)], ..Tick::default() },
        Tick { at: 3_100, inputs: vec![event(end, 2)], ..Tick::default() },
    ];
    ticks.extend((4..40).map(|second| Tick { at: second * 1_000, ..Tick::default() }));
    ticks.push(Tick { at: 3_700_000, ..Tick::default() });
    for workers in [1, 2, 4] {
        let mut folded = Folded::new();
        let frames = run(&Config::default(), &ticks, Feeding { workers, ..Feeding::SIMPLE });
        for released in frames.iter().filter(|released| released.frame.upper <= 39_000) {
            folded.apply(released);
        }
        assert_eq!(
            folded.json(&RUN_PROGRESS),
            [r#"["default","s","failed",null,null,null,null,2,1,1,0,1,0,0,0,1000,3000,1,0,null,null,null]"#]
        );
        assert_eq!(folded.json(&SUITE_PROGRESS), [r#"["default","s","u","u",2,1,1,0,1,0,0,0,3.5,"failed","failed"]"#]);
        assert_eq!(folded.json(&TEST_RESULTS).len(), 1);
        assert_eq!(folded.json(&MISSING), [r#"["default","s","not_started","u",1,34000,null]"#]);
        for released in frames.iter().filter(|released| released.frame.upper > 39_000) {
            folded.apply(released);
        }
        for view in [&RUN_PROGRESS, &SUITE_PROGRESS, &TEST_RESULTS, &MISSING] {
            assert!(folded.rows(view).is_empty(), "{}: the run leaves after its grace", view.name);
        }
    }
}
