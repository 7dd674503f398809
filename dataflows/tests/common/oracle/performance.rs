//! The view `performance`: from attempts and what was measured, with what found no room in the rows without a name.

use super::super::Tick;
use super::control::incidents;
use super::live_metrics::{left, shown};
use super::runs::{Lives, Run};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::facts::AttemptFact;
use weir_dataflows::input::{Event, Position, Text, Withdraws};
use weir_dataflows::keyed::Updates;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::PERFORMANCE;

/// The windows as `left` takes them, and the multiples at which their rows move.
const WINDOWS: [((&str, u64, u64), u64); 2] = [(("10s", 10, 1_000), 1_000), (("10m", 600, 10_000), 10_000)];

/// An event with a measurement, its tick, and where it stands.
pub type Measured = (u64, Position, Arc<Event>);

fn same_test(event: &Event, other: &Event) -> bool {
    event.test().is_some() && event.test() == other.test()
}

/// What counts of a run at `now`.
fn counting(config: &Config, ticks: &[Tick], run: &Run, now: u64) -> BTreeMap<(u64, Position), Arc<Event>> {
    let known = run.counting();
    let attempt = |attempt: Option<u32>| attempt.unwrap_or(1).min(1_000);
    let taken_back = |event: &Event, by: u64| {
        let withdraws = |other: &Event| match other.withdrawal() {
            Some(Withdraws::Event(id)) => id == event.id,
            Some(Withdraws::Test { attempt: None }) => same_test(event, other),
            Some(Withdraws::Test { attempt: one }) => attempt(one) == attempt(event.attempt) && same_test(event, other),
            None => false,
        };
        known.iter().any(|(tick, other)| *tick <= by && withdraws(other))
    };
    let covered = |tick: u64, event: &Event, at: u64| {
        let worker = event.origin.worker.as_deref();
        incidents(ticks, &event.origin.project, at).iter().any(|i| i.covers(worker, event.at.min(tick)))
    };
    // What takes back does not measure.
    let of_something =
        |event: &Event| event.withdrawal().is_none() && (!event.names.suite.is_empty() || event.test().is_some());
    let mut events: Vec<_> =
        known.iter().filter(|(_, e)| e.performance().is_some() && of_something(e)).cloned().collect();
    events.sort_by_key(|(tick, event)| (*tick, event.position));
    events.retain(|(tick, event)| !taken_back(event, *tick));
    let counts = |(index, (tick, event)): (usize, &(u64, Arc<Event>))| {
        if index < config.performance_said {
            !taken_back(event, now) && !covered(*tick, event, now)
        } else {
            !covered(*tick, event, *tick)
        }
    };
    let kept: Vec<bool> = events.iter().enumerate().map(counts).collect();
    let counting = events.into_iter().zip(kept).filter(|(_, counts)| *counts);
    counting.map(|((tick, event), _)| ((tick, event.position), event)).collect()
}

/// Every measurement, when it came to count and when it was taken back. What has left stays.
pub fn measured(config: &Config, ticks: &[Tick], lives: &Lives) -> Updates<Measured> {
    let mut updates = Vec::new();
    for moments in lives.values() {
        let mut known = BTreeMap::new();
        for moment in moments {
            let now = moment.run.as_ref().map(|run| counting(config, ticks, run, moment.at));
            if let Some(now) = &now {
                let only = |one: &BTreeMap<_, Arc<Event>>, other: &BTreeMap<(u64, Position), Arc<Event>>| {
                    let only = one.iter().filter(|(key, _)| !other.contains_key(key));
                    only.map(|((tick, position), event)| (*tick, *position, Arc::clone(event))).collect::<Vec<_>>()
                };
                updates.extend(only(&known, now).into_iter().map(|measured| (measured, moment.at, -1)));
                updates.extend(only(now, &known).into_iter().map(|measured| (measured, moment.at, 1)));
            }
            known = now.unwrap_or_default();
        }
    }
    updates
}

/// Project, `suite` or `test`, and which; `None`: all that found no room.
type Scope = (Text, &'static str, Option<(Id, Text)>);

/// Memory, cpu and metrics.
type Said = (Option<i64>, Option<i64>, Vec<(Text, i64)>);

/// Something that is counted in a scope.
#[derive(Clone)]
pub struct Placed {
    scope: Scope,
    at: u64,
    /// The whole second at which it is taken in.
    point: u64,
    diff: i128,
    ended: bool,
    duration_us: Option<u64>,
    /// What was measured, with those metrics for which there is room.
    measured: Option<Said>,
}

fn unplaced(facts: &Updates<AttemptFact>, measured: &Updates<Measured>) -> Vec<Placed> {
    let point = |told: u64| told.next_multiple_of(1_000);
    let mut all = Vec::new();
    for (fact, told, diff) in facts.iter().filter(|(fact, ..)| !fact.names.suite.is_empty()) {
        let scope =
            (Arc::clone(&fact.names.project), "suite", Some((fact.names.suite_id, Arc::clone(&fact.names.suite))));
        let (point, diff, duration_us) = (point(*told), i128::from(*diff), fact.duration_us);
        all.push(Placed { scope, at: fact.at, point, diff, ended: true, duration_us, measured: None });
    }
    for ((tick, _, event), told, diff) in measured {
        let (names, said) = (&event.names, event.performance().expect("it measures"));
        let suite = (!names.suite.is_empty()).then(|| ("suite", (names.suite_id, Arc::clone(&names.suite))));
        let test = names.test_id.map(|id| ("test", (id, Arc::clone(&names.test))));
        for (kind, which) in [suite, test].into_iter().flatten() {
            all.push(Placed {
                scope: (Arc::clone(&names.project), kind, Some(which)),
                at: event.at.min(*tick),
                point: point(*told),
                diff: i128::from(*diff),
                ended: false,
                duration_us: event.duration_us.filter(|_| kind == "test"),
                measured: Some((said.memory.map(|bytes| bytes.max(0)), said.cpu, said.metrics.clone())),
            });
        }
    }
    all
}

/// Who is in a place of limited size: each with the pane from which on it holds, and its last one.
pub struct Guests<K> {
    /// As `left` takes it: who has nothing left in it goes, and its panes are these.
    window: (&'static str, u64, u64),
    inside: BTreeMap<K, (u64, u64)>,
    /// The first pane after the last at which someone was turned away.
    open_from: u64,
}

impl<K: Ord + Clone> Guests<K> {
    pub fn new(window: (&'static str, u64, u64)) -> Guests<K> {
        Guests { window, inside: BTreeMap::new(), open_from: 0 }
    }

    pub fn leave(&mut self, now: u64) {
        self.inside.retain(|_, (_, last)| left(*last * self.window.2, self.window) > now);
    }

    /// Whether what happened to a guest at `at` is let in.
    pub fn admit(&mut self, guest: &K, at: u64, now: u64, room: usize) -> bool {
        let pane = at / self.window.2;
        let full = self.inside.len() >= room;
        if !self.inside.contains_key(guest) && pane >= self.open_from {
            if full {
                self.open_from = now / self.window.2 + 1;
            } else {
                self.inside.insert(guest.clone(), (self.open_from, pane));
            }
        }
        let Some((since, last)) = self.inside.get_mut(guest).filter(|(since, _)| *since <= pane) else { return false };
        *last = pane.max(*last);
        *since <= pane
    }
}

/// Puts everything where there is room for it, second by second.
pub fn placed(config: &Config, facts: &Updates<AttemptFact>, measured: &Updates<Measured>) -> Vec<Placed> {
    let mut points: BTreeMap<u64, Vec<Placed>> = BTreeMap::new();
    for one in unplaced(facts, measured) {
        points.entry(one.point).or_default().push(one);
    }
    let mut buckets: BTreeMap<(Text, &str, u128), Guests<Id>> = BTreeMap::new();
    let mut metrics: BTreeMap<Scope, Guests<Text>> = BTreeMap::new();
    let mut placed: Vec<Placed> = Vec::new();
    for (now, mut came) in points {
        let in_window = |one: &Placed, now: u64| left(one.at, WINDOWS[1].0) > now;
        came.retain(|one| in_window(one, now));
        buckets.values_mut().for_each(|bucket| bucket.leave(now));
        metrics.values_mut().for_each(|names| names.leave(now));
        // With the last of a scope everything known of it goes.
        let there: BTreeSet<&Scope> = placed.iter().filter(|one| in_window(one, now)).map(|one| &one.scope).collect();
        metrics.retain(|scope, _| there.contains(scope));
        came.sort_by(|a, b| (&a.scope, a.at / 1_000).cmp(&(&b.scope, b.at / 1_000)));
        for one in &mut came {
            let (project, kind, which) = &one.scope;
            let (id, _) = which.as_ref().expect("not placed yet");
            let guests = || Guests::new(WINDOWS[1].0);
            let bucket = buckets.entry((Arc::clone(project), kind, id.0 % 256)).or_insert_with(guests);
            if !bucket.admit(id, one.at, now, config.performance_scopes / 256) {
                one.scope.2 = None;
            }
        }
        let mut names: Vec<(Scope, u64, Text, u64)> = Vec::new();
        for one in &came {
            let said = one.measured.iter().flat_map(|(.., said)| said);
            names.extend(said.map(|(name, _)| (one.scope.clone(), one.at / 1_000, Arc::clone(name), one.at)));
        }
        names.sort();
        let admitted = |(scope, second, name, at): (Scope, u64, Text, u64)| {
            let guests = metrics.entry(scope.clone()).or_insert_with(|| Guests::new(WINDOWS[1].0));
            guests.admit(&name, at, now, config.performance_metrics).then_some((scope, second, name))
        };
        let admitted: BTreeSet<_> = names.into_iter().filter_map(admitted).collect();
        for one in &mut came {
            let (scope, second) = (one.scope.clone(), one.at / 1_000);
            if let Some((.., said)) = &mut one.measured {
                said.retain(|(name, _)| admitted.contains(&(scope.clone(), second, Arc::clone(name))));
            }
        }
        placed.extend(came);
    }
    placed
}

/// How many there are of each value.
type Values = BTreeMap<i64, i128>;

/// Half up.
fn average(values: &Values) -> Option<i64> {
    let (count, sum) =
        values.iter().fold((0, 0), |(n, sum), (value, count)| (n + count, sum + i128::from(*value) * count));
    (count > 0).then(|| i64::try_from((2 * sum + count).div_euclid(2 * count)).expect("an average"))
}

fn in_order(values: &Values) -> Vec<u64> {
    let repeat = |(value, count): (&i64, &i128)| {
        std::iter::repeat_n(value.unsigned_abs(), usize::try_from(*count).expect("not negative"))
    };
    values.iter().flat_map(repeat).map(shown).collect()
}

fn decimal(millionths: i64) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    let digits =
        format!("{sign}{}.{:06}", millionths.unsigned_abs() / 1_000_000, millionths.unsigned_abs() % 1_000_000);
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[derive(Default)]
struct Sums {
    ended: i128,
    measured: i128,
    durations: Values,
    memories: Values,
    cpus: Values,
    metrics: BTreeMap<Text, Values>,
}

/// The rows at `now`, a whole second.
pub fn rows(placed: &[Placed], now: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (window, cadence) in WINDOWS {
        let now = now - now % cadence;
        let mut scopes: BTreeMap<&Scope, Sums> = BTreeMap::new();
        for one in placed.iter().filter(|one| one.point <= now && left(one.at, window) > now) {
            let sums = scopes.entry(&one.scope).or_default();
            let add = |values: &mut Values, value: i64| *values.entry(value).or_default() += one.diff;
            sums.ended += if one.ended { one.diff } else { 0 };
            one.duration_us.iter().for_each(|us| add(&mut sums.durations, us.cast_signed()));
            if let Some((memory, cpu, metrics)) = &one.measured {
                sums.measured += one.diff;
                memory.iter().for_each(|bytes| add(&mut sums.memories, *bytes));
                cpu.iter().for_each(|cpu| add(&mut sums.cpus, *cpu));
                metrics.iter().for_each(|(name, v)| add(sums.metrics.entry(Arc::clone(name)).or_default(), *v));
            }
        }
        for ((project, kind, which), sums) in scopes.iter().filter(|(_, sums)| sums.ended + sums.measured > 0) {
            let (durations, memories) = (in_order(&sums.durations), in_order(&sums.memories));
            let mut row = RowWriter::default();
            row.str(project).str(kind).str(which.as_ref().map_or("", |(_, name)| &**name)).str(window.0);
            row.opt_int((*kind == "suite").then(|| i64::try_from(sums.ended).expect("few")));
            row.uint(u64::try_from(sums.measured).expect("few")).opt_int(average(&sums.durations));
            // Never less than the average, which is exact.
            let max = |shown: &[u64], all: &Values| {
                shown.last().map(|last| i64::try_from(*last).expect("small").max(average(all).expect("not empty")))
            };
            row.opt_int(max(&durations, &sums.durations));
            row.opt_uint((durations.len() * 95).div_ceil(100).checked_sub(1).map(|index| durations[index]));
            row.opt_int(average(&sums.memories)).opt_int(max(&memories, &sums.memories)).opt_int(average(&sums.cpus));
            let metrics = sums.metrics.iter().filter_map(|(name, values)| Some((name, average(values)?)));
            let metrics: Vec<String> = metrics.map(|(name, value)| format!("{name}={}", decimal(value))).collect();
            row.list(metrics.iter().map(String::as_str));
            rows.push(row.finish(&PERFORMANCE));
        }
    }
    rows
}
