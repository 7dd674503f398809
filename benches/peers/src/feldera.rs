//! The same by `dbsp`, as its operators would have it: windows over panes, one linear aggregate, a maximum, the first of each group.
//!
//! A window is one over the numbers of its sixtieths, so that the two short ones hold a count a pattern and pane and not each
//! failure; the day holds each failure, for what is distinct and for the maximum. All six sums are one aggregate in the weights.

use crate::Took;
use crate::work::{PROJECTS, Pattern, SHOWN, Seen, WINDOWS, Work};
use dbsp::dynamic::DynData;
use dbsp::operator::Max;
use dbsp::typed_batch::{IndexedZSetReader as _, TypedBox};
use dbsp::utils::{Tup2, Tup5, Tup6};
use dbsp::{DBData, OrdIndexedZSet, OrdZSet, RootCircuit, Runtime, Stream, ZSetHandle, ZWeight};

/// At, pattern, test, run, user. A pattern tells its project.
type Failed = Tup5<u64, u64, u64, u64, u64>;
/// In 10 minutes, an hour, a day; tests, runs, users.
type Sums = Tup6<ZWeight, ZWeight, ZWeight, ZWeight, ZWeight, ZWeight>;
/// In the order of rows: the count in 10 minutes and when last seen, both negative, the pattern; and what else is said.
type Row = Tup5<ZWeight, ZWeight, u64, Sums, u64>;
type Now = Stream<RootCircuit, u64>;

/// Feeds all of it.
pub(crate) fn run(work: &Work) -> Took {
    let mut took = Took::default();
    let (mut circuit, (clock, failures, first)) = Runtime::init_circuit(1, |circuit| {
        let (now, clock) = circuit.add_input_stream::<u64>();
        let (failed, failures) = circuit.add_input_zset::<Failed>();
        Ok((clock, failures, patterns(&now, &failed).accumulate_output()))
    })
    .expect("dbsp starts");
    let failures: ZSetHandle<Failed> = failures;
    for now in Work::times() {
        let batch = work.tick(now).map(|one| Tup5(one.at, one.pattern.number, one.test, one.run, one.user));
        let mut batch: Vec<_> = batch.map(|failed| Tup2(failed, 1)).collect();
        let changes = took.measure(|| {
            clock.set_for_all(now);
            failures.append(&mut batch);
            circuit.transaction().expect("dbsp goes on");
            first.concat().consolidate()
        });
        take(&changes, now, &mut took);
    }
    circuit.kill().expect("dbsp ends");
    took
}

/// The rows: the first of each project.
fn patterns(now: &Now, failed: &Stream<RootCircuit, OrdZSet<Failed>>) -> Stream<RootCircuit, OrdIndexedZSet<u64, Row>> {
    let [minutes, hour] = [WINDOWS[0], WINDOWS[1]].map(|window| {
        let panes = failed.map_index(move |Tup5(at, pattern, ..)| (pane(*at, window), *pattern));
        inside(&panes, now, window).map_index(|(_, pattern)| (*pattern, ()))
    });
    let day = failed.map_index(|failed| (pane(failed.0, WINDOWS[2]), failed.clone()));
    let day = inside(&day, now, WINDOWS[2]);
    let distinct = |of: fn(&Failed) -> u64, sum: u8| {
        day.map(move |(_, failed)| Tup2(failed.1, of(failed)))
            .distinct()
            .map_index(move |Tup2(pattern, _)| (*pattern, sum))
    };
    let minutes = minutes.map_index(|(pattern, ())| (*pattern, 0));
    let sums = minutes.sum(&[
        hour.map_index(|(pattern, ())| (*pattern, 1)),
        day.map_index(|(_, failed)| (failed.1, 2)),
        distinct(|failed| failed.2, 3),
        distinct(|failed| failed.3, 4),
        distinct(|failed| failed.4, 5),
    ]);
    let sums = sums.aggregate_linear(|sum: &u8| {
        let one = |of: u8| ZWeight::from(*sum == of);
        Tup6(one(0), one(1), one(2), one(3), one(4), one(5))
    });
    let last = day.map_index(|(_, failed)| (failed.1, failed.0)).aggregate(Max);
    let rows = sums.join_index(&last, |pattern, sums: &Sums, last: &u64| {
        let order = |number: u64| -ZWeight::try_from(number).expect("an epoch's milliseconds");
        Some((pattern % PROJECTS, Tup5(-sums.0, order(*last), *pattern, sums.clone(), *last)))
    });
    rows.topk_asc(SHOWN)
}

fn pane(at: u64, window: u64) -> u64 {
    at / (window / 60)
}

/// What has not left.
fn inside<V: DBData>(
    panes: &Stream<RootCircuit, OrdIndexedZSet<u64, V>>,
    now: &Now,
    window: u64,
) -> Stream<RootCircuit, OrdIndexedZSet<u64, V>> {
    let bounds = now.apply(move |now| {
        let bound = TypedBox::<u64, DynData>::new;
        (bound(pane(now.saturating_sub(window), window)), bound(u64::MAX))
    });
    panes.window((true, false), &bounds)
}

/// What the tick has changed, leavings first.
fn take(changes: &OrdIndexedZSet<u64, Row>, now: u64, took: &mut Took) {
    let mut changes: Vec<(u64, Row, ZWeight)> = changes.iter().collect();
    changes.sort_by_key(|(_, _, diff)| *diff);
    for (project, Tup5(_, _, number, Tup6(minutes, hour, day, tests, runs, users), last), diff) in changes {
        let count = |count: ZWeight| count.try_into().expect("a count is not negative");
        let counts = [minutes, hour, day].map(count);
        let seen = Seen { counts, tests: count(tests), runs: count(runs), users: count(users), last };
        took.change(now, Pattern { project, number }, seen, diff);
    }
}
