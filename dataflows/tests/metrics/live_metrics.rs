//! `live_metrics` and its hold-back form against an oracle.

use crate::harness::{Attempt, BASE, ByHand, Follower, attempts, cases, check, facts, run};
use crate::hold_back;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::operators::vec::Map as _;
use weir_dataflows::Config;
use weir_dataflows::context::Context;
use weir_dataflows::facts::{AttemptFact, Awaited, AwaitedKind, Rows, Running};
use weir_dataflows::input::Text;
use weir_dataflows::keyed::{Collection, Machine as _, Step, Updates};
use weir_dataflows::views::live_metrics::local::{Delta, LocalPanes};
use weir_dataflows::views::live_metrics::render;
use weir_dataflows::views::live_metrics::scopes::Scopes;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::LIVE_METRICS;

#[derive(Clone, Debug)]
enum Datum {
    Fact(AttemptFact),
    Running(Running),
    Awaited(Awaited),
}

fn view<'s>(cx: &Context<'s>, data: Collection<'s, Datum>) -> Rows<'s> {
    let facts = data.clone().flat_map(|(datum, time, diff)| match datum {
        Datum::Fact(fact) => Some((fact, time, diff)),
        _ => None,
    });
    let running = data.clone().flat_map(|(datum, time, diff)| match datum {
        Datum::Running(running) => Some((running, time, diff)),
        _ => None,
    });
    let awaited = data.flat_map(|(datum, time, diff)| match datum {
        Datum::Awaited(awaited) => Some((awaited, time, diff)),
        _ => None,
    });
    render(cx, facts, running, awaited).0
}

/// What a scope's row says, summed in the plainest way.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expected {
    pub(crate) passed: i128,
    pub(crate) failing: i128,
    pub(crate) skipped: i128,
    pub(crate) timed: i128,
    pub(crate) duration_us: i128,
    pub(crate) running: i64,
    pub(crate) streams: i64,
    pub(crate) tests: i64,
    pub(crate) patterns: i64,
}

pub(crate) fn expected_row((project, suite): &(Text, Text), sums: &Expected) -> Option<Row> {
    if *sums == (Expected { patterns: sums.patterns, ..Expected::default() }) {
        return None;
    }
    // Half up, in units of a millionth.
    let rounded = |n: i128, d: i128| i64::try_from((2 * n + d).div_euclid(2 * d)).expect("small");
    let completed = sums.passed + sums.failing;
    let percent = |n: i128| if completed == 0 { None } else { Some(rounded(n * 100 * 1_000_000, completed)) };
    let mut row = RowWriter::default();
    row.str(project).str(if suite.is_empty() { "project" } else { "suite" });
    row.str(if suite.is_empty() { project } else { suite }).str("60s");
    row.int(rounded((completed + sums.skipped) * 1_000_000, 60));
    row.int(percent(sums.passed).unwrap_or(100_000_000)).int(percent(sums.failing).unwrap_or(0));
    row.opt_int((sums.timed > 0).then(|| rounded(sums.duration_us, sums.timed)));
    row.int(sums.running).int(sums.patterns);
    row.opt_int(suite.is_empty().then_some(sums.streams)).opt_int(suite.is_empty().then_some(sums.tests));
    Some(row.finish(&LIVE_METRICS))
}

/// The rows at `now`, from all updates up to then.
fn oracle(updates: &[(Datum, u64, i64)], now: u64) -> BTreeSet<Row> {
    let mut scopes: BTreeMap<(Text, Text), Expected> = BTreeMap::new();
    let mut patterns: BTreeMap<(Text, Text), BTreeMap<Id, i64>> = BTreeMap::new();
    for (datum, _, diff) in updates {
        let (project, suite) = match datum {
            Datum::Fact(fact) => (&fact.names.project, &fact.names.suite),
            Datum::Running(running) => (&running.project, &running.suite_name),
            Datum::Awaited(awaited) => (&awaited.project, &Text::default()),
        };
        for scope in
            BTreeSet::from([Text::default(), Arc::clone(suite)]).into_iter().map(|suite| (Arc::clone(project), suite))
        {
            let sums = scopes.entry(scope.clone()).or_default();
            match datum {
                Datum::Running(_) => sums.running += diff,
                Datum::Awaited(Awaited { what: AwaitedKind::Stream, .. }) => sums.streams += diff,
                Datum::Awaited(Awaited { what: AwaitedKind::Test, .. }) => sums.tests += diff,
                Datum::Fact(fact) if (fact.at / 1_000 + 1) * 1_000 + 60_000 > now => {
                    match fact.outcome {
                        Outcome::Passed => sums.passed += i128::from(*diff),
                        Outcome::Skipped => sums.skipped += i128::from(*diff),
                        _ => sums.failing += i128::from(*diff),
                    }
                    if let Some(duration_us) = fact.duration_us {
                        sums.timed += i128::from(*diff);
                        sums.duration_us += i128::from(*diff) * i128::from(duration_us);
                    }
                    if let Some(failure) = &fact.failure {
                        *patterns.entry(scope).or_default().entry(failure.fingerprint).or_default() += diff;
                    }
                }
                Datum::Fact(_) => {}
            }
        }
    }
    for (scope, counts) in patterns {
        scopes.entry(scope).or_default().patterns = counts.values().map(|count| i64::from(*count > 0)).sum();
    }
    scopes.iter().filter_map(|(scope, sums)| expected_row(scope, sums)).collect()
}

const SPAN: u64 = 80_000;

fn history() -> impl Strategy<Value = Vec<Attempt>> {
    attempts(SPAN, vec![(4, 3_000), (1, 62_000), (1, 200_000)], 70_000)
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

fn points() -> Vec<u64> {
    (0..=(2 * SPAN + 70_000) / 250).map(|point| BASE + point * 250).collect()
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
    fn the_hold_back_form_gives_the_same_rows(history in history(), seed: u64) {
        let mut updates = facts(&history);
        updates.sort_by_key(|(_, time, _)| *time);
        let until = BASE + 2 * SPAN + 70_001;
        let data: Updates<Datum> = updates.iter().map(|(fact, time, diff)| (Datum::Fact(fact.clone()), *time, *diff)).collect();
        let rows = run(2, seed, until, &Config::default(), &data, view);
        let mut held_back = hold_back::run(2, until, &updates);
        let mut follower = Follower::default();
        for point in points() {
            prop_assert_eq!(follower.at(&rows, point), held_back.rows_at(point), "at {} ms", point - BASE);
        }
    }

    #[test]
    fn state_written_down_at_any_tick_goes_on_the_same(history in history(), seed: u64, stop in 0..2 * SPAN / 10, workers in 1usize..5) {
        let mut updates = facts(&history);
        updates.sort_by_key(|(_, time, _)| *time);
        let (mut whole, mut broken) = (ByHand::new(Scopes::default()), ByHand::new(Scopes::default()));
        let stop = BASE + stop * 10 + (seed % 2) * 10;
        let owner = |delta: &Delta| delta.scope.route();
        let mut pending = Some(workers);
        let mut restore = |broken: &mut ByHand<Scopes>, time: u64| {
            if time > stop && let Some(workers) = pending.take() {
                broken.step(stop, Vec::new(), owner);
                broken.restore((0..workers).map(|_| Scopes::default()).collect(), |(id, _)| id.route());
            }
        };
        for tick in updates.chunk_by(|a, b| a.1 == b.1) {
            let deltas = deltas(tick);
            restore(&mut broken, tick[0].1);
            whole.step(tick[0].1, deltas.clone(), owner);
            broken.step(tick[0].1, deltas, owner);
        }
        let end = BASE + 4 * SPAN;
        restore(&mut broken, end);
        whole.step(end, Vec::new(), owner);
        broken.step(end, Vec::new(), owner);
        let sorted = |machine: &mut ByHand<Scopes>| {
            let mut out: Vec<_> = machine.out.drain(..).map(|(change, time, diff)| (time, change.row, diff, change.cause)).collect();
            out.sort();
            out
        };
        prop_assert_eq!(sorted(&mut whole), sorted(&mut broken));
    }

    #[test]
    fn late_attempts_are_counted_and_their_withdrawal_uncounts_them(history in history()) {
        let mut updates = facts(&history);
        updates.sort_by_key(|(_, time, _)| *time);
        let mut late: BTreeMap<Text, i64> = BTreeMap::new();
        for tick in updates.chunk_by(|a, b| a.1 == b.1) {
            let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
            let mut data = tick.iter().map(|(fact, _, diff)| (fact.clone(), *diff)).collect();
            LocalPanes::default().step(&mut data, &mut Step::new(tick[0].1, &mut out, &mut wake));
            for (datum, _, diff) in out {
                if let Err(datum) = datum {
                    *late.entry(datum.project).or_default() += diff;
                }
            }
        }
        for project in 0..2 {
            let expected = history.iter().filter(|attempt| {
                let pane_end = ((attempt.came - attempt.age) / 1_000 + 1) * 1_000;
                attempt.project == project && attempt.withdrawn_after.is_none() && pane_end + 60_000 <= attempt.came
            });
            let count = i64::try_from(expected.count()).expect("few");
            prop_assert_eq!(late.get(&*format!("p{project}")).copied().unwrap_or(0), count);
        }
    }
}

fn deltas(tick: &[(AttemptFact, u64, i64)]) -> Vec<(Delta, i64)> {
    let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
    let mut data = tick.iter().map(|(fact, _, diff)| (fact.clone(), *diff)).collect();
    LocalPanes::default().step(&mut data, &mut Step::new(tick[0].1, &mut out, &mut wake));
    out.into_iter().filter_map(|(datum, _, diff)| datum.ok().map(|delta| (delta, diff))).collect()
}
