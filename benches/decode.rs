//! How fast bytes become events: TestEvent JSON, the compact form for the dataflow, a batch's items, JUnit XML.
//!
//! The events are a mix as a fleet sends it: starts and ends of cases, failures with stacks (escapes, so their strings are
//! copied), suites, coverage, a few with unknown fields. Prints events/s, ns an event and MB/s by processor time, p50 and p99
//! of blocks of 1,000 events by the clock, and the resident memory. One core.
//!
//!   cargo bench --bench decode

mod common;

use common::process::resident_bytes;
use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};
use weir::decode::batch::split_batch;
use weir::decode::event::decode_event;
use weir::decode::{Context, Format, decode};
use weir_dataflows::input::{Event, Interner, Position};
use weir_schemas::limits::Limits;

const EVENTS: usize = 100_000;
const BLOCK: usize = 1_000;
const ROUNDS: usize = 20;

fn main() {
    let limits = Limits::default();
    let events: Vec<String> = (0..EVENTS).map(event).collect();
    let bytes: usize = events.iter().map(String::len).sum();
    println!("{EVENTS} events of {} bytes on average, {ROUNDS} rounds", bytes / EVENTS);

    measure("decode_event", events.len(), bytes, |blocks| {
        for block in events.chunks(BLOCK) {
            let start = Instant::now();
            for event in block {
                black_box(decode_event(black_box(event.as_bytes()), &limits).expect("is good"));
            }
            blocks.push(start.elapsed());
        }
    });
    let decoded: Vec<_> =
        events.iter().map(|event| decode_event(event.as_bytes(), &limits).expect("is good")).collect();
    let mut interner = Interner::default();
    measure("Event::new, its names known", events.len(), bytes, |blocks| {
        for block in decoded.chunks(BLOCK) {
            let start = Instant::now();
            for event in block {
                black_box(Event::new(black_box(event), Position::default(), &limits, &mut interner));
            }
            blocks.push(start.elapsed());
        }
    });
    let bad: Vec<String> = events.iter().map(|event| event.replacen("\"version\":", "\"version\":-", 1)).collect();
    measure("decode_event, field to blame", bad.len(), bytes, |blocks| {
        for block in bad.chunks(BLOCK) {
            let start = Instant::now();
            for event in block {
                black_box(decode_event(black_box(event.as_bytes()), &limits).expect_err("is bad"));
            }
            blocks.push(start.elapsed());
        }
    });
    for (name, separator, around) in [("split_batch, lines", "\n", ["", ""]), ("split_batch, array", ",", ["[", "]"])] {
        let bodies: Vec<String> =
            events.chunks(BLOCK).map(|block| format!("{}{}{}", around[0], block.join(separator), around[1])).collect();
        measure(name, events.len(), bytes, |blocks| {
            for body in &bodies {
                let start = Instant::now();
                let items = split_batch(black_box(body.as_bytes()), limits.batch_events).expect("is good");
                assert_eq!(items.len(), BLOCK);
                blocks.push(start.elapsed());
            }
        });
    }
    let report = report(BLOCK);
    measure("decode, JUnit", ROUNDS * BLOCK, ROUNDS * report.len(), |blocks| {
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let decoded = decode(Format::Junit, black_box(report.as_bytes()), &limits, &Context::default());
            assert_eq!(decoded.events.len(), BLOCK + 2 * (BLOCK / 20));
            black_box(decoded);
            blocks.push(start.elapsed());
        }
    });
    println!("resident memory: {} MB", resident_bytes() / 1_000_000);
}

/// Runs `round`, which times its blocks, and prints what they say. The first round warms up.
fn measure(name: &str, events: usize, bytes: usize, mut round: impl FnMut(&mut Vec<Duration>)) {
    let mut blocks = Vec::new();
    round(&mut blocks);
    blocks.clear();
    let start = processor_time();
    for _ in 0..ROUNDS {
        round(&mut blocks);
    }
    let total = processor_time().saturating_sub(start);
    let each = total.as_secs_f64() / (events * ROUNDS) as f64;
    let megabytes = (bytes * ROUNDS) as f64 / total.as_secs_f64() / 1e6;
    blocks.sort();
    let at = |percent: usize| blocks[percent * (blocks.len() - 1) / 100].as_secs_f64() * 1e6;
    println!(
        "{name:<30} {:>10.0} events/s {:>7.0} ns/event {megabytes:>6.0} MB/s   block p50 {:>6.0} µs p99 {:>6.0} µs",
        1.0 / each,
        each * 1e9,
        at(50),
        at(99)
    );
}

fn event(n: usize) -> String {
    let (run, shard) = (n / 5_000, n % 8);
    let (event_type, data) = kind(n);
    let extra = if n % 50 == 7 { r#","reporter":{"name":"weir-jest","version":[1,4,2]}"# } else { "" };
    format!(
        r#"{{"eventId":"build-{run}-shard-{shard}#{n}","eventType":"{event_type}","streamId":"web/build-{run}/{shard}/4f1d2c9a","version":{},"timestamp":"2026-11-22T10:{:02}:{:02}.{:03}Z","correlationId":"build-{run}","data":{{{data}}},"metadata":{{"project":"web","framework":"jest","branch":"release-2026","commit":"9b2f6c1d4e8a","worker":"runner-{}","shard":"{shard}","tags":["e2e","checkout"]}}{extra}}}"#,
        n + 1,
        n / 60_000 % 60,
        n / 1_000 % 60,
        n % 1_000,
        n % 40,
    )
}

fn kind(n: usize) -> (&'static str, String) {
    let test = n % 1_250;
    let suite = r#""testSuiteId":"checkout.cart","testSuiteName":"checkout.cart""#;
    let named =
        format!(r#""testId":"checkout.cart::keeps the cart {test}","testName":"keeps the cart {test}",{suite}"#);
    match n % 100 {
        0 => ("test_suite_started", format!(r#"{suite},"plannedTests":{}"#, test + 1)),
        1 => ("test_suite_completed", format!(r#"{suite},"duration":81234.5"#)),
        2 => ("coverage_updated", coverage(n)),
        3 => (
            "performance_measured",
            format!(r#"{named},"performance":{{"memory":{},"cpu":0.73,"metrics":{{"queries":17}}}}"#, n * 977),
        ),
        4..=8 => (
            "test_case_completed",
            format!(
                r#"{named},"result":"failed","attempt":1,"duration":{}.25,"error":{{"message":"expected status 200 but was 503 for request /cart/{n}","type":"AssertionError","stack":"{}","file":"src/checkout/cart.test.ts","line":{}}}"#,
                n % 4_000,
                stack(n),
                n % 400 + 1
            ),
        ),
        9..=12 => ("test_skipped", format!(r#"{named},"duration":0"#)),
        13..=55 => ("test_case_started", named),
        _ => ("test_case_completed", format!(r#"{named},"result":"passed","duration":{}.125"#, n % 3_000)),
    }
}

fn stack(n: usize) -> String {
    let mut stack = String::from("AssertionError: expected status 200 but was 503");
    for frame in 0..6 {
        let line = n % 300 + frame;
        write!(stack, "\\n    at Cart.step{frame} (src/checkout/cart.ts:{line}:3)").expect("is a string");
    }
    stack
}

fn coverage(n: usize) -> String {
    let file = |file: usize| {
        let to = n % 40 + 2;
        format!(r#"{{"path":"src/checkout/module_{file}.ts","covered":"1-{to},60-80,95","instrumented":"1-100"}}"#)
    };
    let files: Vec<String> = (0..6).map(file).collect();
    format!(r#""coverage":{{"files":[{}],"flag":"unit"}}"#, files.join(","))
}

fn report(cases: usize) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for suite in 0..cases / 20 {
        xml.push_str(&format!(
            "<testsuite name=\"shop.Cart{suite}Test\" tests=\"20\" time=\"1.5\" timestamp=\"2026-11-22T10:00:00Z\">\n"
        ));
        for case in 0..20 {
            let end = if case == 7 {
                let stack = stack(case);
                format!("><failure message=\"was: &lt;503&gt;\" type=\"AssertionError\">{stack}</failure></testcase>\n")
            } else {
                "/>\n".to_owned()
            };
            xml.push_str(&format!(
                "<testcase name=\"keepsTheCart{case}\" classname=\"shop.Cart{suite}Test\" time=\"0.{case:03}\"{end}"
            ));
        }
        xml.push_str("</testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// What this thread has used of the processor: other work on the machine does not count.
fn processor_time() -> Duration {
    let used = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells the use of the processor");
    let nanos = used.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("is a number"))
}
