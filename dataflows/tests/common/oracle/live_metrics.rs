//! The view `live_metrics`: the last 60 s of each project and suite, from attempts and gauges.

use super::Runs;
use super::runs::{announced, names, planned, streams};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::facts::{AttemptFact, Awaited, AwaitedKind, Running};
use weir_dataflows::input::Text;
use weir_dataflows::keyed::Updates;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::LIVE_METRICS;

/// When an attempt is no longer in the window.
pub fn left(at: u64) -> u64 {
    (at / 1_000 + 1) * 1_000 + 60_000
}

/// What the view is made of.
#[derive(Clone, Debug)]
pub enum Datum {
    Fact(AttemptFact),
    Running(Running),
    Awaited(Awaited),
}

/// What a scope's row says, summed in the plainest way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub passed: i128,
    pub failing: i128,
    pub skipped: i128,
    pub timed: i128,
    pub duration_us: i128,
    pub running: i64,
    pub streams: i64,
    pub tests: i64,
    pub patterns: i64,
}

pub fn expected_row((project, suite): &(Text, Text), sums: &Expected) -> Option<Row> {
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
pub fn rows(updates: &[(Datum, u64, i64)], now: u64) -> BTreeSet<Row> {
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
                Datum::Fact(fact) if left(fact.at) > now => {
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

/// What is running and awaited at `time` in the runs that are running.
pub fn gauges(runs: &Runs<'_>, time: u64) -> Updates<Datum> {
    let mut gauges = Vec::new();
    for run in runs.values().filter(|run| run.phase == "running") {
        let (project, _) = names(run);
        let (seen, open) = streams(run);
        let shards = announced(run, |event| event.planned_shards()).unwrap_or(0).saturating_sub(seen);
        let not_seen = planned(run).0.unwrap_or(0).saturating_sub(run.tests.len() as u64);
        let awaited = [(AwaitedKind::Stream, open + shards), (AwaitedKind::Test, not_seen)];
        gauges.extend(awaited.map(|(what, count)| {
            let awaited = Awaited { project: Arc::clone(&project), what };
            (Datum::Awaited(awaited), time, i64::try_from(count).expect("announced in 32 bits"))
        }));
        let running = run.tests.values().filter(|test| test.running()).map(|test| Running {
            project: Arc::clone(&project),
            suite: test.first.suite(),
            suite_name: Arc::clone(&test.first.names.suite),
        });
        gauges.extend(running.map(|running| (Datum::Running(running), time, 1)));
    }
    gauges
}
