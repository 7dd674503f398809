//! The view `live_metrics`: the last 60 s, 10 min and hour of each scope, from attempts, measurements and gauges.

use super::Runs;
use super::performance::{Guests, Measured};
use super::runs::{announced, names, planned, streams};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::facts::{AttemptFact, Awaited, AwaitedKind, Running};
use weir_dataflows::input::{Names, Origin, Text};
use weir_dataflows::keyed::Updates;
use weir_dataflows::views::live_metrics::gauges::Covered;
use weir_dataflows::views::performance::measures::Measurement;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter, Value};
use weir_schemas::view::{COVERAGE_SUMMARY, LIVE_METRICS};

/// The windows: name, length in seconds, width of a pane in ms.
pub const WINDOWS: [(&str, u64, u64); 3] = [("60s", 60, 1_000), ("10m", 600, 10_000), ("1h", 3_600, 60_000)];

/// When an attempt is no longer in a window.
pub fn left(at: u64, (_, seconds, pane): (&str, u64, u64)) -> u64 {
    (at / pane + 1) * pane + seconds * 1_000
}

/// What the view is made of.
#[derive(Clone, Debug)]
pub enum Datum {
    Fact(AttemptFact),
    /// An attempt was slow for its test.
    Slow(AttemptFact),
    Running(Running),
    Awaited(Awaited),
    Measured(Measurement),
    Covered(Covered),
}

impl Datum {
    /// When it happened; of what is now, never.
    fn at(&self) -> u64 {
        match self {
            Datum::Fact(fact) | Datum::Slow(fact) => fact.at,
            Datum::Measured(measured) => measured.at,
            Datum::Running(_) | Datum::Awaited(_) | Datum::Covered(_) => 0,
        }
    }
}

/// Project, kind and name.
pub type Scope = (Text, &'static str, Text);

/// What a scope's row says, summed in the plainest way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub passed: i128,
    pub failing: i128,
    pub skipped: i128,
    /// How many took how many µs.
    pub durations: BTreeMap<u64, i128>,
    pub patterns: BTreeMap<Id, i128>,
    /// Not skipped, and with a duration.
    pub judged: i128,
    pub slow: i128,
    pub running: i64,
    pub streams: i64,
    pub tests: i64,
    /// How much memory was measured, each time.
    pub memory: Vec<(i64, i128)>,
    /// What is covered now, and how much more that is than it was.
    pub coverage: Option<i64>,
    pub trend: Option<i64>,
}

impl Expected {
    pub fn add(&mut self, outcome: Outcome, duration_us: Option<u64>, pattern: Option<Id>, count: i128) {
        match outcome {
            Outcome::Passed => self.passed += count,
            Outcome::Skipped => self.skipped += count,
            _ => self.failing += count,
        }
        self.judged += if outcome == Outcome::Skipped || duration_us.is_none() { 0 } else { count };
        duration_us.into_iter().for_each(|us| *self.durations.entry(us).or_default() += count);
        pattern.into_iter().for_each(|pattern| *self.patterns.entry(pattern).or_default() += count);
    }

    /// Of all durations in order, the one at `⌈n × percent ÷ 100⌉`.
    fn percentile(&self, percent: i128) -> Option<u64> {
        let all: Vec<u64> = self
            .durations
            .iter()
            .flat_map(|(us, count)| std::iter::repeat_n(*us, usize::try_from(*count).expect("not negative")))
            .collect();
        let rank = (all.len() as i128 * percent + 99) / 100;
        all.get(usize::try_from(rank).expect("few").checked_sub(1)?).map(|us| shown(*us))
    }
}

/// The middle of one of the 64 parts into which the numbers from a power of two to the next are divided.
pub fn shown(us: u64) -> u64 {
    if us < 128 {
        return us;
    }
    let mut power: u64 = 128;
    while us / 2 >= power {
        power *= 2;
    }
    let part = power / 64;
    us / part * part + part / 2
}

pub fn expected_row((project, kind, name): &Scope, window: usize, sums: &Expected) -> Option<Row> {
    let (window, seconds, _) = WINDOWS[window];
    let (completed, now) = (sums.passed + sums.failing, window == "60s");
    let shown_now = (sums.running, sums.streams, sums.tests, sums.coverage) != (0, 0, 0, None);
    let measured: i128 = sums.memory.iter().map(|(_, count)| count).sum();
    if completed + sums.skipped + measured == 0 && !(now && shown_now) {
        return None;
    }
    // Half up, in units of a millionth.
    let rounded = |n: i128, d: i128| i64::try_from((2 * n + d).div_euclid(2 * d)).expect("small");
    let percent = |n: i128| if completed == 0 { None } else { Some(rounded(n * 100 * 1_000_000, completed)) };
    let (timed, total) = sums
        .durations
        .iter()
        .fold((0, 0), |(timed, total), (us, count)| (timed + count, total + count * i128::from(*us)));
    let mut row = RowWriter::default();
    row.str(project).str(kind).str(name).str(window);
    row.int(rounded((completed + sums.skipped) * 1_000_000, seconds.into()));
    row.int(percent(sums.passed).unwrap_or(100_000_000)).int(percent(sums.failing).unwrap_or(0));
    row.opt_int((timed > 0).then(|| rounded(total, timed)));
    row.opt_uint(sums.percentile(50)).opt_uint(sums.percentile(95)).opt_uint(sums.percentile(99));
    let on_time = sums.judged - sums.slow;
    row.opt_int((sums.judged > 0).then(|| rounded(on_time * 100 * 1_000_000, sums.judged)));
    row.uint(sums.patterns.values().filter(|count| **count > 0).count() as u64);
    row.opt_int((now && matches!(*kind, "project" | "suite")).then_some(sums.running));
    row.opt_int((now && *kind == "project").then_some(sums.streams));
    row.opt_int((now && *kind == "project").then_some(sums.tests));
    let bytes: i128 = sums.memory.iter().map(|(bytes, count)| i128::from(*bytes) * count).sum();
    row.opt_int((measured > 0).then(|| rounded(bytes, measured)));
    row.opt_int(sums.coverage.filter(|_| now)).opt_int(sums.trend.filter(|_| now));
    Some(row.finish(&LIVE_METRICS))
}

/// Attempts and measurements, each as often as there are scopes that it belongs to.
pub fn in_scopes(updates: &[(Datum, u64, i64)]) -> Updates<(Scope, Datum)> {
    let of = |datum: &Datum| match datum {
        Datum::Fact(fact) | Datum::Slow(fact) => scopes(&fact.names, &fact.origin),
        Datum::Measured(measured) if measured.performance.memory.is_some() => scopes(&measured.names, &measured.origin),
        _ => Vec::new(),
    };
    let all = |(datum, told, diff): &(Datum, u64, i64)| {
        of(datum).into_iter().map(|scope| ((scope, datum.clone()), *told, *diff)).collect::<Vec<_>>()
    };
    updates.iter().flat_map(all).collect()
}

/// The same where there is room for it; the others in the scope without a name of their kind.
pub fn placed(config: &Config, updates: Updates<(Scope, Datum)>) -> Updates<(Scope, Datum)> {
    let id = |(project, kind, name): &Scope| match *kind {
        "project" => Id::of(&["project", project]),
        kind => Id::of(&[kind, project, name]),
    };
    let mut points: BTreeMap<u64, Updates<(Scope, Datum)>> = BTreeMap::new();
    for ((scope, datum), told, diff) in updates {
        let point = told.next_multiple_of(250);
        if left(datum.at(), WINDOWS[2]) > point {
            points.entry(point).or_default().push(((scope, datum), told, diff));
        }
    }
    let mut buckets: BTreeMap<(Text, &str, u128), Guests<Id>> = BTreeMap::new();
    let mut placed = Vec::new();
    for (now, came) in points {
        buckets.values_mut().for_each(|bucket| bucket.leave(now));
        let mut keyed: Vec<_> = came.into_iter().map(|one| (id(&one.0.0), one)).collect();
        keyed.sort_by_key(|(id, ((_, datum), ..))| (*id, datum.at() / 1_000));
        for (id, ((scope, datum), told, diff)) in keyed {
            let (project, kind, name) = scope;
            let bucket = (Arc::clone(&project), kind, id.0 % 256);
            let bucket = buckets.entry(bucket).or_insert_with(|| Guests::new(WINDOWS[2]));
            let own = bucket.admit(&id, datum.at(), now, config.live_scopes / 256);
            let name = if own { name } else { Text::from("") };
            placed.push((((project, kind, name), datum), told, diff));
        }
    }
    placed
}

/// What an attempt or a measurement belongs to.
pub fn scopes(names: &Names, origin: &Origin) -> Vec<Scope> {
    let scope = |kind, name: &Text| (Arc::clone(&names.project), kind, Arc::clone(name));
    let suite = Some(&names.suite).filter(|suite| !suite.is_empty());
    let named = [("suite", suite), ("framework", origin.framework.as_ref()), ("branch", origin.branch.as_ref())];
    let others = named.into_iter().filter_map(|(kind, name)| Some(scope(kind, name?)));
    others.chain([scope("project", &names.project)]).collect()
}

/// What is covered in each scope of which anything is.
fn covered(updates: &[(Datum, u64, i64)], now: u64) -> BTreeMap<Scope, i64> {
    let mut lines: BTreeMap<Scope, (i64, i64)> = BTreeMap::new();
    for (datum, _, diff) in updates.iter().filter(|(_, time, _)| *time <= now) {
        let Datum::Covered(Covered { project, branch, covered, lines: of }) = datum else { continue };
        let branch = branch.as_ref().map(|branch| (Arc::clone(project), "branch", Arc::clone(branch)));
        for scope in branch.into_iter().chain([(Arc::clone(project), "project", Arc::clone(project))]) {
            let sum = lines.entry(scope).or_default();
            *sum = (sum.0 + diff * covered, sum.1 + diff * of);
        }
    }
    let percent = |covered: i64, of: i64| (2 * covered * 100_000_000 + of) / (2 * of);
    lines.into_iter().filter(|(_, (_, of))| *of > 0).map(|(scope, (is, of))| (scope, percent(is, of))).collect()
}

/// What is covered now, and how far that is from what it was ten minutes before the last whole ten seconds, if it was known ever since.
fn coverage(updates: &[(Datum, u64, i64)], now: u64) -> BTreeMap<Scope, (i64, Option<i64>)> {
    let is = covered(updates, now);
    let Some(then) = (now / 10_000 * 10_000).checked_sub(600_000) else {
        return is.into_iter().map(|(scope, is)| (scope, (is, None))).collect();
    };
    let points: BTreeSet<u64> = updates
        .iter()
        .filter(|(datum, time, _)| matches!(datum, Datum::Covered(_)) && (then..=now).contains(time))
        .map(|(_, time, _)| time.next_multiple_of(250))
        .filter(|point| *point <= now)
        .collect();
    let known: Vec<_> = points.into_iter().map(|point| covered(updates, point)).collect();
    let was = covered(updates, then);
    let trend = |scope: &Scope, is: i64| {
        let was = was.get(scope).filter(|_| known.iter().all(|known| known.contains_key(scope)))?;
        Some(is - was)
    };
    is.iter().map(|(scope, is)| (scope.clone(), (*is, trend(scope, *is)))).collect()
}

/// The rows at `now`, from all updates up to then: of what is in scopes, and of what is running, awaited and covered.
pub fn rows(placed: &Updates<(Scope, Datum)>, gauges: &[(Datum, u64, i64)], now: u64) -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    for (number, window) in WINDOWS.into_iter().enumerate() {
        // The longer ones move at whole seconds.
        let now = if number == 0 { now } else { now / 1_000 * 1_000 };
        let mut sums: BTreeMap<Scope, Expected> = BTreeMap::new();
        for ((scope, datum), _, diff) in placed.iter().filter(|(_, time, _)| *time <= now) {
            if left(datum.at(), window) <= now {
                continue;
            }
            let (sums, count) = (sums.entry(scope.clone()).or_default(), i128::from(*diff));
            match datum {
                Datum::Fact(fact) => {
                    let pattern = fact.failure.as_ref().map(|failure| failure.fingerprint);
                    sums.add(fact.outcome, fact.duration_us, pattern, count);
                }
                Datum::Slow(_) => sums.slow += count,
                Datum::Measured(measured) => {
                    sums.memory.extend(measured.performance.memory.map(|bytes| (bytes.max(0), count)));
                }
                Datum::Running(_) | Datum::Awaited(_) | Datum::Covered(_) => {}
            }
        }
        for (datum, _, diff) in gauges.iter().filter(|(_, time, _)| *time <= now) {
            let of_project = |project: &Text| (Arc::clone(project), "project", Arc::clone(project));
            match datum {
                Datum::Fact(_) | Datum::Slow(_) | Datum::Measured(_) | Datum::Covered(_) => {}
                Datum::Running(Running { project, suite_name, .. }) => {
                    sums.entry(of_project(project)).or_default().running += diff;
                    if !suite_name.is_empty() {
                        let suite = (Arc::clone(project), "suite", Arc::clone(suite_name));
                        sums.entry(suite).or_default().running += diff;
                    }
                }
                Datum::Awaited(Awaited { project, what: AwaitedKind::Stream }) => {
                    sums.entry(of_project(project)).or_default().streams += diff;
                }
                Datum::Awaited(Awaited { project, what: AwaitedKind::Test }) => {
                    sums.entry(of_project(project)).or_default().tests += diff;
                }
            }
        }
        // Only the rows of the shortest window know it.
        let coverage = if number == 0 { coverage(gauges, now) } else { BTreeMap::new() };
        for (scope, (is, trend)) in coverage {
            let sums = sums.entry(scope).or_default();
            (sums.coverage, sums.trend) = (Some(is), trend);
        }
        rows.extend(sums.iter().filter_map(|(scope, sums)| expected_row(scope, number, sums)));
    }
    rows
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

/// What counts for as long as windows are: attempts, those that were slow, and what was measured.
pub fn lasting(
    facts: &Updates<AttemptFact>,
    slow: &Updates<AttemptFact>,
    measured: &Updates<Measured>,
) -> Updates<Datum> {
    let measured = measured.iter().map(|((tick, _, event), told, diff)| {
        let (names, origin) = (Arc::clone(&event.names), Arc::clone(&event.origin));
        let performance = Arc::clone(event.performance().expect("it measures"));
        let at = event.at.min(*tick);
        let measurement = Measurement { at, duration_us: event.duration_us, names, origin, performance };
        (Datum::Measured(measurement), *told, *diff)
    });
    let facts = facts.iter().map(|(fact, told, diff)| (Datum::Fact(fact.clone()), *told, *diff));
    let slow = slow.iter().map(|(fact, told, diff)| (Datum::Slow(fact.clone()), *told, *diff));
    facts.chain(slow).chain(measured).collect()
}

/// What the summaries of runs say of all flags together, whenever they changed.
pub fn lines(summaries: &BTreeMap<u64, Vec<Row>>, time: u64) -> Updates<Datum> {
    let mut updates = Vec::new();
    let mut before: Vec<Covered> = Vec::new();
    for (at, rows) in summaries.range(..=time) {
        let now: Vec<Covered> = rows.iter().filter_map(of_summary).collect();
        updates.extend(before.into_iter().map(|covered| (Datum::Covered(covered), *at, -1)));
        updates.extend(now.iter().map(|covered| (Datum::Covered(covered.clone()), *at, 1)));
        before = now;
    }
    updates
}

fn of_summary(row: &Row) -> Option<Covered> {
    let column = |name: &str| row.column(COVERAGE_SUMMARY.column(name).expect("a column"));
    let number = |name: &str| if let Value::Int(number) = column(name) { number } else { 0 };
    let text = |name: &str| if let Value::Str(text) = column(name) { Some(Text::from(text)) } else { None };
    let (covered, lines) = (number("lines_covered"), number("lines_total"));
    let all = text("flag").as_deref() == Some("*") && lines > 0;
    all.then(|| Covered { project: text("project").expect("a key"), branch: text("branch"), covered, lines })
}
