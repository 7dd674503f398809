//! What the hub costs: an update published, an entry encoded for the first and for every further client, a snapshot.
//!
//! `cargo bench --bench hub`

use std::sync::Arc;
use std::time::{Duration, Instant};
use weir::hub::query::Query;
use weir::hub::scan::{Scan, Step};
use weir::hub::{Config, Hub};
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::{Cause, Digest, Frame, Update, ViewFrame};
use weir_schemas::view::{TEST_RESULTS, VIEWS, view_index};

const KEYS: u64 = 100_000;
const FRAMES: u64 = 1_000;
const CHANGES: u64 = 500;

fn row(writer: &mut RowWriter, key: u64, version: u64) -> Row {
    let run = format!("run-{:04}", key % 40);
    let test = format!("tests/unit/test_module_{:03}.py::test_case_{key:06}", key % 500);
    writer.str("web").str(&run).str(&test).str(&test).str("unit");
    writer.str(["passed", "failed"][usize::from(version.is_multiple_of(9))]).null().int(1).bool(false);
    writer.uint(12_500 + version).uint(1_732_270_000_000 + version).null().str("pytest").str("ann");
    writer.str("main").null().list(["db", "slow"].into_iter()).str("worker-7").str("3");
    writer.finish(&TEST_RESULTS)
}

/// Frames that change rows all over the view, after a first one that adds them.
fn frames() -> Vec<Frame> {
    let index = view_index(TEST_RESULTS.name).expect("a view");
    let mut writer = RowWriter::default();
    let mut versions = vec![0; usize::try_from(KEYS).expect("fits")];
    let mut digest = Digest::default();
    let mut frames = Vec::new();
    for number in 0..=FRAMES {
        let mut updates = Vec::new();
        let keys: Vec<u64> = if number == 0 {
            (0..KEYS).collect()
        } else {
            (0..CHANGES).map(|change| (number * 7_919 + change * 199) % KEYS).collect()
        };
        for key in keys {
            let version = &mut versions[usize::try_from(key).expect("fits")];
            if number > 0 {
                updates.push(Update { row: row(&mut writer, key, *version), diff: -1, cause: Cause::Changed });
                *version += 1;
            }
            updates.push(Update { row: row(&mut writer, key, *version), diff: 1, cause: Cause::Changed });
        }
        updates.sort_by(|a, b| (a.row.prefix(TEST_RESULTS.key), a.diff).cmp(&(b.row.prefix(TEST_RESULTS.key), b.diff)));
        for update in &updates {
            digest.apply(&update.row, update.diff);
        }
        let mut views = vec![ViewFrame::default(); VIEWS.len()];
        views[index] = ViewFrame { updates, digest };
        frames.push(Frame { lower: number * 50, upper: (number + 1) * 50, views });
    }
    frames
}

fn per(total: Duration, count: u64) -> f64 {
    total.as_secs_f64() * 1e9 / f64::from(u32::try_from(count).expect("fits"))
}

fn main() {
    let frames = frames();
    let mut last = None;
    for check_digests in [true, false] {
        let hub = Hub::new(Config { check_digests, ..Config::default() });
        hub.start_epoch("bench".into());
        let mut frames = frames.clone().into_iter();
        hub.publish(frames.next().expect("a first frame"));
        let begin = Instant::now();
        for frame in frames {
            hub.publish(frame);
        }
        let updates = FRAMES * CHANGES * 2;
        println!(
            "publish: {:.0} ns an update over {KEYS} rows (digests {})",
            per(begin.elapsed(), updates),
            if check_digests { "checked" } else { "taken" }
        );
        hub.set_live();
        last = Some(hub);
    }
    let hub = last.expect("two hubs were made");
    encode(&hub);
    snapshot(&hub);
}

/// Clients of 40 different subscriptions take every frame in the ring.
fn encode(hub: &Hub) {
    let queries: Vec<Query> = (0..40)
        .map(|run| Query::new("test_results", vec![("run".to_owned(), vec![format!("run-{run:04}")])]).expect("known"))
        .collect();
    let frames = hub.frames("bench", 50, usize::MAX).expect("all are in the ring");
    let count = frames.len() as u64 * queries.len() as u64;
    for pass in ["first", "further"] {
        let begin = Instant::now();
        let mut bytes = 0;
        for frame in &frames {
            for query in &queries {
                bytes += frame.entries(query).map_or(0, |chunks| chunks.iter().map(bytes::Bytes::len).sum());
            }
        }
        println!(
            "entries: {:.0} ns for the {pass} client of a subscription and frame of {} updates ({} MB in all)",
            per(begin.elapsed(), count),
            CHANGES * 2,
            bytes / 1_000_000
        );
    }
    println!("ring: {:?}", hub.ring_stats());
}

fn snapshot(hub: &Hub) {
    for (name, filters) in [
        ("all rows", vec![]),
        ("one run by a scan", vec![("run".to_owned(), vec!["run-0003".to_owned()])]),
        (
            "one run by its key",
            vec![("project".to_owned(), vec!["web".to_owned()]), ("run".to_owned(), vec!["run-0003".to_owned()])],
        ),
    ] {
        let query = Arc::new(Query::new("test_results", filters).expect("known"));
        let begin = Instant::now();
        let mut longest = Duration::ZERO;
        let mut scan = Scan::new(query, usize::MAX);
        let rows = loop {
            let step_begin = Instant::now();
            let step = scan.step(hub);
            longest = longest.max(step_begin.elapsed());
            match step {
                Step::More => {}
                Step::Done(snapshot) | Step::Full(snapshot) => break snapshot.views[0].1.len(),
            }
        };
        println!("snapshot, {name}: {rows} rows in {:?}, the longest step {longest:?}", begin.elapsed());
    }
}
