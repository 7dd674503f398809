//! `live_metrics` and its hold-back form against an oracle.

use crate::common::oracle::live_metrics::{Datum, WINDOWS, in_scopes, left, rows};
use crate::harness::{Attempt, BASE, ByHand, Follower, attempts, cases, check, facts, run};
use crate::hold_back;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::operators::vec::Map as _;
use weir_dataflows::Config;
use weir_dataflows::context::Context;
use weir_dataflows::facts::{AttemptFact, Awaited, AwaitedKind, Rows, Running};
use weir_dataflows::input::{Performance, Text};
use weir_dataflows::keyed::{Collection, Machine as _, Step, Updates};
use weir_dataflows::views::live_metrics::delta::Delta;
use weir_dataflows::views::live_metrics::gauges::Covered;
use weir_dataflows::views::live_metrics::local::{Attempt as PaneInput, LocalPanes};
use weir_dataflows::views::live_metrics::scopes::{Entry, ScopeOutput, Scopes};
use weir_dataflows::views::live_metrics::{Sources, render};
use weir_dataflows::views::performance::measures::Measurement;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, Value};
use weir_schemas::update::Cause;
use weir_schemas::view::LIVE_METRICS;

fn view<'s>(cx: &Context<'s>, data: Collection<'s, Datum>) -> Rows<'s> {
    let facts = data.clone().flat_map(|(datum, time, diff)| match datum {
        Datum::Fact(fact) => Some((fact, time, diff)),
        _ => None,
    });
    let slow = data.clone().flat_map(|(datum, time, diff)| match datum {
        Datum::Slow(fact) => Some((fact, time, diff)),
        _ => None,
    });
    let running = data.clone().flat_map(|(datum, time, diff)| match datum {
        Datum::Running(running) => Some((running, time, diff)),
        _ => None,
    });
    let awaited = data.clone().flat_map(|(datum, time, diff)| match datum {
        Datum::Awaited(awaited) => Some((awaited, time, diff)),
        _ => None,
    });
    let measured = data.clone().flat_map(|(datum, time, diff)| match datum {
        Datum::Measured(measured) => Some((measured, time, diff)),
        _ => None,
    });
    let covered = data.flat_map(|(datum, time, diff)| match datum {
        Datum::Covered(covered) => Some((covered, time, diff)),
        _ => None,
    });
    render(cx, Sources { facts, slow, measured, running, awaited, covered }).0
}

const SPAN: u64 = 80_000;
const HOUR: u64 = 3_600_000;

fn history() -> impl Strategy<Value = Vec<Attempt>> {
    attempts(SPAN, vec![(4, 3_000), (1, 62_000), (1, 200_000)], 70_000)
}

/// Attempts of two hours; some are told long after, some taken back as late.
fn long_history() -> impl Strategy<Value = Vec<Attempt>> {
    attempts(2 * HOUR, vec![(3, 3_000), (1, 62_000), (2, 610_000), (2, HOUR + 70_000)], HOUR + 70_000)
}

/// Tests that run and streams that are awaited: begun and ended.
fn gauges() -> impl Strategy<Value = Updates<Datum>> {
    let gauge = (0..SPAN / 10, 0..SPAN / 10, 0u8..2, 0u8..3, 0u8..4);
    prop::collection::vec(gauge, 0..12).prop_map(|items| {
        let mut updates = Vec::new();
        for (begin, length, project, suite, kind) in items {
            let project = Text::from(format!("p{project}"));
            let suite_name = if suite == 0 { Text::default() } else { Text::from(format!("s{suite}")) };
            let datum = match kind {
                0 => Datum::Awaited(Awaited { project, what: AwaitedKind::Stream }),
                1 => Datum::Awaited(Awaited { project, what: AwaitedKind::Test }),
                _ => {
                    let suite = if suite == 0 { Id::default() } else { Id::of(&["suite", &project, &suite_name]) };
                    Datum::Running(Running { project, suite, suite_name })
                }
            };
            updates.push((datum.clone(), BASE + begin * 10, 1));
            updates.push((datum, BASE + (begin + length) * 10, -1));
        }
        updates
    })
}

/// What was measured, as if each attempt had said it: some say nothing of memory, one that it is less than none.
fn measured(history: &[Attempt]) -> impl Iterator<Item = (Datum, u64, i64)> {
    facts(history).into_iter().map(|(fact, time, diff)| {
        let said = fact.duration_us.map_or(0, |us| us % 5_000).cast_signed();
        let performance = Performance { memory: (said % 4 > 0).then_some(said - 50), ..Performance::default() };
        let (names, origin) = (Arc::clone(&fact.names), Arc::clone(&fact.origin));
        let performance = Arc::new(performance);
        let measured = Measurement { at: fact.at, duration_us: fact.duration_us, names, origin, performance };
        (Datum::Measured(measured), time, diff)
    })
}

/// Runs that cover something: each says so at a whole second, some say something else later, and all leave.
fn covers() -> impl Strategy<Value = Updates<Datum>> {
    let run = (0..1_500u64, prop::collection::vec((1..700u64, 0..9i64, 1..9i64), 1..5), 0u8..2, 0u8..3);
    prop::collection::vec(run, 1..5).prop_map(|runs| {
        let mut updates = Vec::new();
        for (begin, said, project, branch) in runs {
            let mut at = BASE + begin * 1_000;
            for (seconds, covered, more) in said {
                let (project, branch) =
                    (Text::from(format!("p{project}")), (branch > 0).then(|| format!("b{branch}").into()));
                let datum = Datum::Covered(Covered { project, branch, covered, lines: covered + more });
                updates.push((datum.clone(), at, 1));
                at += seconds * 1_000;
                updates.push((datum, at, -1));
            }
        }
        updates
    })
}

/// The cadence points around everything that may move coverage or its trend.
fn points_of_coverage(updates: &Updates<Datum>) -> Vec<u64> {
    let moves = updates.iter().flat_map(|(_, at, _)| [*at, at.next_multiple_of(10_000) + 600_000]);
    let around = moves.flat_map(|at| [at - 250, at, at + 250, at + 10_000]);
    around.filter(|point| *point >= BASE).collect::<BTreeSet<u64>>().into_iter().collect()
}

/// The rows at `now`: there is room for all.
fn oracle(updates: &[(Datum, u64, i64)], now: u64) -> BTreeSet<Row> {
    rows(&in_scopes(updates), updates, now)
}

fn points() -> Vec<u64> {
    (0..=(2 * SPAN + 70_000) / 250).map(|point| BASE + point * 250).collect()
}

/// The cadence points around everything that may move a row.
fn points_of(history: &[Attempt]) -> Vec<u64> {
    let moves = history.iter().flat_map(|attempt| {
        let taken_back = attempt.withdrawn_after.map(|after| attempt.came + after);
        let leaves = WINDOWS.map(|window| left(attempt.came - attempt.age, window));
        leaves.into_iter().chain([attempt.came]).chain(taken_back)
    });
    let around = moves.flat_map(|time| [0, 250, 500, 1_000, 1_250].map(|after| (time + after) / 250 * 250 - 250));
    around.filter(|point| *point >= BASE).collect::<BTreeSet<u64>>().into_iter().collect()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn rows_are_those_of_the_oracle_at_every_cadence_point(history in history(), gauges in gauges(), seed: u64) {
        let updates = facts(&history).into_iter().map(|(fact, time, diff)| (Datum::Fact(fact), time, diff));
        let updates = updates.chain(gauges).collect();
        check(seed, &Config::default(), updates, &points(), 250, view, oracle)?;
    }

    #[test]
    fn rows_are_those_of_the_oracle_whenever_an_attempt_comes_ages_or_leaves(history in long_history(), seed: u64) {
        let points = points_of(&history);
        let updates = facts(&history).into_iter().map(|(fact, time, diff)| (Datum::Fact(fact), time, diff));
        check(seed, &Config::default(), updates.chain(measured(&history)).collect(), &points, 250, view, oracle)?;
    }

    #[test]
    fn coverage_is_that_of_all_runs_in_state_and_is_compared_with_that_of_ten_minutes_ago(updates in covers(), seed: u64) {
        let points = points_of_coverage(&updates);
        check(seed, &Config::default(), updates, &points, 250, view, oracle)?;
    }

    #[test]
    fn the_hold_back_form_gives_the_same_rows(history in long_history(), seed: u64) {
        let mut updates = facts(&history);
        updates.sort_by_key(|(_, time, _)| *time);
        let points = points_of(&history);
        let until = points.last().map_or(BASE, |last| last + 1);
        let data: Updates<Datum> = updates.iter().map(|(fact, time, diff)| (Datum::Fact(fact.clone()), *time, *diff)).collect();
        let rows = run(2, seed, until, &Config::default(), &data, view);
        let mut held_back = hold_back::run(2, until, &updates);
        let mut follower = Follower::default();
        let short = |row: &Row| row.column(LIVE_METRICS.column("window").expect("a column")) == Value::Str("60s");
        for point in points {
            // The longer windows' rows move at whole seconds.
            let (windows, mut rows) = (if point % 1_000 == 0 { 3 } else { 1 }, follower.at(&rows, point));
            rows.retain(|row| windows == 3 || short(row));
            prop_assert_eq!(rows, held_back.rows_at(point, windows), "at {} ms", point - BASE);
        }
    }

    #[test]
    fn state_written_down_at_any_tick_goes_on_the_same(
        history in long_history(), stop in 0..3 * HOUR / 10, workers in 1usize..5,
    ) {
        let mut updates = facts(&history);
        updates.sort_by_key(|(_, time, _)| *time);
        let stop = BASE + stop * 10;
        let whole = by_hand(&updates, None);
        prop_assert_eq!(whole, by_hand(&updates, Some((stop, workers))));
    }

    #[test]
    fn late_attempts_are_counted_and_their_withdrawal_uncounts_them(history in long_history()) {
        let mut updates = facts(&history);
        updates.sort_by_key(|(_, time, _)| *time);
        let mut late: BTreeMap<Text, i64> = BTreeMap::new();
        for tick in updates.chunk_by(|a, b| a.1 == b.1) {
            let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
            let mut data = tick.iter().map(|(fact, _, diff)| (PaneInput::Ended(fact.clone()), *diff)).collect();
            LocalPanes::default().step(&mut data, &mut Step::new(tick[0].1, &mut out, &mut wake));
            for (datum, _, diff) in out {
                if let Err(datum) = datum {
                    *late.entry(datum.project).or_default() += diff;
                }
            }
        }
        for project in 0..2 {
            let expected = history.iter().filter(|attempt| {
                let late = left(attempt.came - attempt.age, WINDOWS[2]) <= attempt.came;
                attempt.project == project && attempt.withdrawn_after.is_none() && late
            });
            let count = i64::try_from(expected.count()).expect("few");
            prop_assert_eq!(late.get(&*format!("p{project}")).copied().unwrap_or(0), count);
        }
    }
}

/// Of a bucket, for all scopes of these tests.
const ROOM: usize = 100;

/// The worker of what is in a snapshot.
fn bucket(entry: &Entry) -> u64 {
    match entry {
        Entry::Since(group, _) => group.1.into(),
        Entry::Scope(id, _) => (id.0 % 256) as u64,
    }
}

/// Both layers, one after the other; with a time at which their state is written down and spread over other machines.
fn by_hand(updates: &[(AttemptFact, u64, i64)], stop: Option<(u64, usize)>) -> Updates<(Row, Cause)> {
    let (mut local, mut scopes) = (ByHand::new(LocalPanes::default()), ByHand::new(Scopes::new(ROOM)));
    let mut stop = stop;
    let owner = Delta::route;
    let end = BASE + 4 * HOUR;
    let mut ticks: Vec<(u64, Vec<(PaneInput, i64)>)> = updates
        .chunk_by(|a, b| a.1 == b.1)
        .map(|tick| (tick[0].1, tick.iter().map(|(fact, _, diff)| (PaneInput::Ended(fact.clone()), *diff)).collect()))
        .chain([(end, Vec::new())])
        .collect();
    if let Some((time, workers)) = stop.filter(|(time, _)| ticks.iter().all(|(tick, _)| tick != time)) {
        stop = Some((time, workers));
        ticks.push((time, Vec::new()));
        ticks.sort_by_key(|(time, _)| *time);
    }
    for (time, facts) in ticks {
        let worker = |attempt: &PaneInput| match attempt {
            PaneInput::Ended(fact) | PaneInput::Slow(fact) => fact.names.test_or_zero().route(),
            PaneInput::Measured(measured) => measured.names.test_or_zero().route(),
        };
        local.step(time, facts, worker);
        // What the first layer says before and at this time.
        let mut told = std::mem::take(&mut local.out);
        told.sort_by_key(|(_, time, _)| *time);
        for told in told.chunk_by(|a, b| a.1 == b.1) {
            let deltas = told.iter().filter_map(|(delta, _, diff)| Some((delta.clone().ok()?, *diff))).collect();
            scopes.step(told[0].1, deltas, owner);
        }
        if told.last().is_none_or(|(_, last, _)| *last < time) {
            scopes.step(time, Vec::new(), owner);
        }
        if let Some((_, workers)) = stop.take_if(|(stop, _)| *stop == time) {
            local.restore((0..workers).map(|_| LocalPanes::default()).collect(), |entry| entry.suite.route());
            scopes.restore((0..workers).map(|_| Scopes::new(ROOM)).collect(), bucket);
        }
    }
    let row = |output| match output {
        ScopeOutput::Row(change) => (change.row, change.cause),
        ScopeOutput::Overflow(delta) => panic!("there is room for all, and not for {delta:?}"),
    };
    let mut out: Updates<_> = scopes.out.drain(..).map(|(output, time, diff)| (row(output), time, diff)).collect();
    out.sort_by(|(a, at, diff), (b, other, sign)| (at, &a.0, diff).cmp(&(other, &b.0, sign)));
    out
}
