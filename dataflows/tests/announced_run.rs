//! A run that is announced and ended from streams of their own (`weir send --shards N`, `--final`) consists of its shards.

mod common;

use common::{Feeding, Folded, Tick, run};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Input, Interner, Position};
use weir_schemas::event::TestEvent;
use weir_schemas::limits::Limits;
use weir_schemas::view::RUN_PROGRESS;

fn tick(at: u64, events: &[(&str, &str, u64, &str)]) -> Tick {
    let input = |(offset, (kind, stream, version, data)): (usize, &(&str, &str, u64, &str))| {
        let json = format!(
            r#"{{"eventId":"{stream}{version}","eventType":"{kind}","streamId":"{stream}","version":{version},"timestamp":{at},"correlationId":"r","data":{data}}}"#
        );
        let event: TestEvent<'_> = serde_json::from_str(&json).expect("decodes");
        let position = Position { offset: at + offset as u64, ..Position::default() };
        Input::Event(Arc::new(Event::new(&event, position, &Limits::default(), &mut Interner::default())))
    };
    Tick { at, inputs: events.iter().enumerate().map(input).collect(), ..Tick::default() }
}

/// State, streams, open streams and planned shards of the run at each of these times.
fn states(ticks: &[Tick], times: &[u64]) -> Vec<String> {
    let frames = run(&Config::default(), ticks, Feeding::SIMPLE);
    let at = |time: &u64| {
        let mut folded = Folded::new();
        frames.iter().filter(|released| released.frame.upper <= *time).for_each(|released| folded.apply(released));
        let [row] = &folded.json(&RUN_PROGRESS)[..] else { panic!("one run at {time}") };
        let row: serde_json::Value = serde_json::from_str(row).expect("JSON");
        [2, 17, 18, 19].map(|column| row[column].to_string().replace('"', "")).join(" ")
    };
    times.iter().map(at).collect()
}

const SUITE: &str = r#"{"testSuiteId":"u"}"#;

fn shard(at: u64, stream: &str) -> Tick {
    tick(at, &[("test_suite_started", stream, 1, SUITE), ("test_suite_completed", stream, 2, SUITE)])
}

#[test]
fn an_announcement_is_no_shard() {
    let mut ticks =
        vec![tick(1_000, &[("run_started", "announcement", 1, r#"{"plannedShards":2}"#)]), shard(2_000, "a")];
    ticks.extend((3..60).map(|second| tick(second * 1_000, &[])));
    ticks.push(shard(60_000, "b"));
    ticks.extend((61..100).map(|second| tick(second * 1_000, &[])));
    assert_eq!(
        states(&ticks, &[1_500, 2_500, 59_000, 60_500, 99_000]),
        ["running 0 0 2", "running 1 0 2", "running 1 0 2", "running 2 0 2", "passed 2 0 2"]
    );
}

#[test]
fn the_end_is_said_from_anywhere() {
    let mut ticks = vec![shard(1_000, "a"), tick(2_000, &[("run_completed", "end", 1, "{}")])];
    ticks.extend((3..9).map(|second| tick(second * 1_000, &[])));
    assert_eq!(states(&ticks, &[1_500, 8_000]), ["running 1 0 null", "passed 1 0 null"]);
}
