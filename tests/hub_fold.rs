//! The hub alone: filtered entries fold to the filtered state, entries are encoded once, the ring is bounded, and a snapshot
//! taken while frames go on is the state at one time.

#[path = "common/frames.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod frames;
#[path = "common/rows.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod rows;

use frames::{Frames, json};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir::hub::query::{Filters, Query};
use weir::hub::scan::{Scan, Snapshot, Step};
use weir::hub::{Config, Hub};
use weir_schemas::protocol::Entry;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Frame;
use weir_schemas::view::{MISSING, VIEWS, View};

fn hub(config: Config) -> Hub {
    let hub = Hub::new(config);
    hub.start_epoch("e1".into());
    hub.set_live();
    hub
}

fn snapshot(hub: &Hub, query: &Arc<Query>) -> Snapshot {
    let mut scan = Scan::new(Arc::clone(query), usize::MAX);
    loop {
        match scan.step(hub) {
            Step::More => {}
            Step::Done(snapshot) => return snapshot,
            Step::Full(_) => panic!("no limit was given"),
        }
    }
}

/// The filter's meaning, written anew.
fn wanted(view: &View, row: &Row, filters: &Filters) -> bool {
    filters
        .iter()
        .all(|(name, values)| rows::admits(name, row.column(view.column(name).expect("the view has it")), values))
}

fn one_of(name: &str, values: &[&str]) -> impl Strategy<Value = Option<(String, Vec<String>)>> + use<> {
    let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    let name = name.to_owned();
    let count = 1..=values.len();
    prop::option::weighted(0.4, prop::sample::subsequence(values, count))
        .prop_map(move |values| values.map(|values| (name.clone(), values)))
}

fn filters() -> impl Strategy<Value = (&'static str, Filters)> {
    let tests = (
        one_of("project", &["project0", "project1"]),
        one_of("run", &["run0", "run2", "none"]),
        one_of("outcome", &["failed", "passed", "running"]),
        one_of("severity", &["info", "warning", "error"]),
        one_of("tags", &["db", "slow", "ünï"]),
        one_of("flaky", &["true", "false"]),
    )
        .prop_map(|(a, b, c, d, e, f)| ("test_results", [a, b, c, d, e, f].into_iter().flatten().collect()));
    let rejects = (one_of("project", &["project1"]), one_of("offset", &["0", "2"]), one_of("kind", &["one"]))
        .prop_map(|(a, b, c)| ("rejects", [a, b, c].into_iter().flatten().collect()));
    prop_oneof![tests, rejects]
}

/// Applies entries as a client does.
fn apply(rows: &mut BTreeMap<String, Vec<Value>>, entries: &[bytes::Bytes], key: usize) {
    let name = |row: &[Value]| serde_json::to_string(&row[..key]).expect("JSON");
    for entry in entries {
        let entry: Entry = serde_json::from_slice(entry).expect("an entry");
        for row in entry.up {
            rows.insert(name(&row), row);
        }
        for gone in entry.del {
            assert!(rows.remove(&name(&gone)).is_some(), "what is deleted was there: {gone:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn filtered_entries_fold_to_the_filtered_state(seed: u64, (view, filters) in filters(), begin in 0usize..20) {
        let query = Arc::new(Query::new(view, filters.clone()).expect("is known"));
        let schema = query.views[0].view;
        let index = query.views[0].index;
        let hub = hub(Config::default());
        let mut frames = Frames::new(seed);
        frames.updates_max = 12;
        for _ in 0..=begin {
            hub.publish(frames.next());
        }
        let start = snapshot(&hub, &query);
        prop_assert_eq!(start.time, frames.time());
        let mut rows = BTreeMap::new();
        for row in &start.views[0].1 {
            let row = json(schema, row);
            rows.insert(serde_json::to_string(&row[..schema.key]).expect("JSON"), row);
        }
        for _ in 0..20 {
            let before = frames.time();
            hub.publish(frames.next());
            for frame in hub.frames("e1", before, 9).expect("is in the ring") {
                if let Some(entries) = frame.entries(&query) {
                    apply(&mut rows, &entries, schema.key);
                }
            }
            let mut expected: Vec<Vec<Value>> = frames.history[&frames.time()][index]
                .values()
                .filter(|row| wanted(schema, row, &filters))
                .map(|row| json(schema, row))
                .collect();
            let mut shown: Vec<Vec<Value>> = rows.values().cloned().collect();
            let text = |row: &Vec<Value>| serde_json::to_string(row).expect("JSON");
            expected.sort_by_key(text);
            shown.sort_by_key(text);
            prop_assert_eq!(shown, expected);
        }
    }
}

#[test]
fn an_entry_is_encoded_once_for_all_who_want_the_same() {
    let hub = hub(Config::default());
    let mut frames = Frames::new(1);
    let start = frames.time();
    for _ in 0..50 {
        hub.publish(frames.next());
    }
    let same = || Query::new("test_results", vec![("project".to_owned(), vec!["project1".to_owned()])]).expect("known");
    let read = |hub: &Hub| -> Vec<Option<weir::hub::Entries>> {
        let query = same();
        let frames = hub.frames("e1", start, usize::MAX).expect("is in the ring");
        frames.iter().map(|frame| frame.entries(&query)).collect()
    };
    let first = read(&hub);
    let after_first = hub.ring_stats().encodings;
    assert!(after_first > 0 && first.iter().flatten().count() > 5);
    let all: Vec<_> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8).map(|_| scope.spawn(|| read(&hub))).collect();
        readers.into_iter().map(|reader| reader.join().expect("reads")).collect()
    });
    for other in all {
        for (one, other) in first.iter().zip(&other) {
            match (one, other) {
                (Some(one), Some(other)) => assert!(Arc::ptr_eq(one, other), "the very same bytes"),
                (one, other) => assert!(one.is_none() && other.is_none()),
            }
        }
    }
    assert_eq!(hub.ring_stats().encodings, after_first, "nobody encoded again");
}

#[test]
fn the_ring_is_bounded_in_time_and_bytes_and_so_are_its_entries() {
    let config = Config { ring_span_ms: 2_000, ring_bytes: 40_000, ..Config::default() };
    let hub = hub(config.clone());
    let mut frames = Frames::new(2);
    frames.updates_max = 20;
    let begin = frames.time();
    // A frame has rows of all views; these clients see one of them.
    let queries: Vec<Query> = (0..10 * VIEWS.len())
        .map(|n| {
            Query::new("test_case_results", vec![("project".to_owned(), vec![format!("project{n}")])]).expect("known")
        })
        .collect();
    let mut full = false;
    for _ in 0..200 {
        let before = frames.time();
        hub.publish(frames.next());
        for frame in hub.frames("e1", before, 1).expect("the newest is there") {
            for query in &queries {
                let _entries = frame.entries(query);
            }
        }
        let stats = hub.ring_stats();
        assert!(stats.bytes <= config.ring_bytes, "{stats:?}");
        assert!(frames.time() - stats.start <= config.ring_span_ms + 50, "{stats:?}");
        assert!(stats.entry_bytes <= config.ring_bytes / 4, "{stats:?}");
        full |= stats.entry_bytes > config.ring_bytes / 8;
    }
    assert!(full, "the entries did press against their bound");
    let mut again = 0;
    // Clients that continue read all that is held, while no frame comes to make room: made anew, and the same each time.
    let read = |query| {
        let frames = hub.frames("e1", hub.ring_stats().start, usize::MAX).expect("held");
        frames.iter().map(|frame| frame.entries(query)).collect::<Vec<_>>()
    };
    for query in &queries {
        let (first, encodings) = (read(query), hub.ring_stats().encodings);
        assert_eq!(first, read(query));
        again += hub.ring_stats().encodings - encodings;
        assert!(hub.ring_stats().entry_bytes <= config.ring_bytes / 4, "{:?}", hub.ring_stats());
    }
    assert!(again > 0, "there was no room for all of it");
    assert!(hub.frames("e1", begin, 1).is_none(), "what has left cannot be continued from");
    assert!(hub.frames("e1", hub.ring_stats().start, 1).is_some());
    assert!(hub.frames("e2", frames.time(), 1).is_none(), "another epoch");
    hub.start_epoch("e2".into());
    assert_eq!((hub.ring_stats().frames, hub.ring_stats().bytes, hub.ring_stats().entry_bytes), (0, 0, 0));
    assert!(hub.digests().views.iter().all(|(_, digest, rows)| digest.0 == 0 && *rows == 0));
}

/// A frame of `count` new rows, whose entry is a little over 1,000 bytes each.
fn wide(frames: &mut Frames, count: usize) -> Frame {
    let mut writer = RowWriter::default();
    let mut row = |n: usize| {
        let id = format!("{}-{n}-{}", frames.time(), "x".repeat(1_000));
        writer.str("project1").str("run1").str("one").str(&id).int(1).int(5).null();
        writer.finish(&MISSING)
    };
    let rows = (0..count).map(&mut row).collect();
    frames.adding(&MISSING, rows)
}

#[test]
fn what_everybody_asks_for_is_shared_however_full_of_entries_the_ring_is() {
    // Room for 256 KiB of entries.
    let hub = hub(Config { ring_bytes: 1 << 20, ..Config::default() });
    let mut frames = Frames::new(4);
    let query = Query::new("missing", Vec::new()).expect("known");
    let newest = |hub: &Hub, frames: &Frames| {
        let read = || hub.frames("e1", frames.time() - 1, 1).expect("held")[0].entries(&query).expect("has rows");
        Arc::ptr_eq(&read(), &read())
    };
    // Under three quarters of the room stay taken by the first frame; those that follow need half of it each.
    hub.publish(wide(&mut frames, 180));
    assert!(newest(&hub, &frames));
    let shared: Vec<bool> = (0..5)
        .map(|_| {
            hub.publish(wide(&mut frames, 120));
            newest(&hub, &frames)
        })
        .collect();
    assert_eq!(shared, [false, true, true, true, true], "after the first refusal there is room");
    // Those who continue read the past as soon as a frame has come, before anybody asks for the newest.
    for _ in 0..5 {
        hub.publish(wide(&mut frames, 50));
        for frame in hub.frames("e1", hub.ring_stats().start, usize::MAX).expect("held").iter().rev().skip(1) {
            let _entries = frame.entries(&query);
        }
        assert!(newest(&hub, &frames), "the past leaves room");
        assert!(hub.ring_stats().entry_bytes <= 256 << 10, "{:?}", hub.ring_stats());
    }
}

#[test]
fn a_snapshot_taken_while_frames_go_on_is_the_state_at_one_time() {
    let hub = hub(Config::default());
    let mut frames = Frames::new(3);
    // More rows than one step looks at, so that frames fall between the steps.
    let mut writer = weir_schemas::row::RowWriter::default();
    let view = VIEWS.iter().find(|view| view.name == "missing").expect("a view");
    let rows = (0..20_000)
        .map(|n| {
            writer.str("project1").str(&format!("run{n:05}")).str("one").str("id").int(n % 7).int(5).null();
            writer.finish(view)
        })
        .collect();
    hub.publish(frames.adding(view, rows));
    frames.updates_max = 40;
    for filters in [vec![], vec![("project".to_owned(), vec!["project1".to_owned(), "project2".to_owned()])]] {
        let query = Arc::new(Query::new("test_suite_progress", filters.clone()).expect("known"));
        let mut scan = Scan::new(Arc::clone(&query), usize::MAX);
        let mut steps = 0;
        let taken = loop {
            match scan.step(&hub) {
                Step::More => hub.publish(frames.next()),
                Step::Done(snapshot) => break snapshot,
                Step::Full(_) => panic!("no limit was given"),
            }
            steps += 1;
        };
        assert!(steps >= 4, "frames fell between {steps} steps");
        for (part, query) in taken.views.iter().zip(&query.views) {
            let expected: Vec<Row> = frames.history[&taken.time][query.index]
                .values()
                .filter(|row| wanted(query.view, row, &filters))
                .cloned()
                .collect();
            assert_eq!(part.1, expected, "{} at {}", query.view.name, taken.time);
        }
    }
}

#[test]
fn before_its_first_frame_a_live_hub_has_a_position() {
    let hub = hub(Config::default());
    assert!(hub.frames("e1", 0, 9).is_some_and(|frames| frames.is_empty()), "nothing to send, and nothing was lost");
    let mut frames = Frames::new(5);
    let begin = frames.time();
    hub.publish(frames.next());
    assert!(hub.frames("e1", 0, 9).is_none(), "the first frame begins later");
    assert!(hub.frames("e1", begin, 9).is_some_and(|frames| frames.len() == 1));
}

#[test]
#[should_panic(expected = "without gap")]
fn a_gap_between_frames_ends_the_process() {
    let hub = hub(Config::default());
    let mut frames = Frames::new(4);
    hub.publish(frames.next());
    let _lost = frames.next();
    hub.publish(frames.next());
}
