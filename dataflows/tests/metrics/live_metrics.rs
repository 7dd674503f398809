//! `live_metrics` and its hold-back form against an oracle.

use crate::common::oracle::live_metrics::{Datum, rows as oracle};
use crate::harness::{Attempt, BASE, ByHand, Follower, attempts, cases, check, facts, run};
use crate::hold_back;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
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
