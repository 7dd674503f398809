//! The views `coverage` and `coverage_summary`: line by line, from all that the sessions of a run have said.

use super::super::Tick;
use super::admission::HOUR;
use super::control::incidents;
use super::runs::{self, Lives, Run, announced};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Text, Withdraws};
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::{COVERAGE, COVERAGE_SUMMARY};

type Session = (Id, u32);

/// What a flag has of a file or a session: what is kept apart, and what is not any more.
#[derive(Default)]
struct Heap {
    kept: Vec<(u64, Arc<Event>)>,
    folded: Vec<(u64, Arc<Event>)>,
}

impl Heap {
    fn put(&mut self, tick: u64, event: &Arc<Event>, config: &Config, silent: bool) {
        if self.kept.len() < config.coverage_said {
            self.kept.push((tick, Arc::clone(event)));
        } else if !silent {
            self.folded.push((tick, Arc::clone(event)));
        }
    }
}

/// By flag and file, and by flag and session.
#[derive(Default)]
struct Told {
    files: BTreeMap<(String, String), Heap>,
    sessions: BTreeMap<(String, Session), Heap>,
}

fn session(event: &Event) -> Session {
    (event.stream(), event.attempt.unwrap_or(1))
}

/// What counts at `now`.
fn told(config: &Config, ticks: &[Tick], run: &Run, now: u64) -> Told {
    let counting = run.counting();
    let taken_back = |id: Id, by: u64| {
        let withdraws = |event: &Event| event.withdrawal() == Some(Withdraws::Event(id));
        counting.iter().any(|(tick, event)| *tick <= by && withdraws(event))
    };
    let covered = |tick: u64, event: &Event, at: u64| {
        let worker = event.origin.worker.as_deref();
        incidents(ticks, &event.origin.project, at).iter().any(|i| i.covers(worker, event.at.min(tick)))
    };
    let mut events: Vec<&(u64, Arc<Event>)> =
        counting.iter().filter(|(_, e)| e.coverage().is_some() && e.withdrawal().is_none()).collect();
    events.sort_by_key(|(tick, event)| (*tick, event.position));
    let mut told = Told::default();
    for (tick, event) in events {
        let coverage = event.coverage().expect("filtered");
        let flag = coverage.flag.to_string();
        let void = taken_back(event.id, *tick);
        if coverage.replace && !void {
            let same = |other: &Event| session(other) == session(event);
            let files = told.files.iter_mut().filter(|(key, _)| key.0 == flag).map(|(_, heap)| heap);
            let sessions = told.sessions.iter_mut().filter(|(key, _)| key.0 == flag).map(|(_, heap)| heap);
            files.chain(sessions).for_each(|heap| heap.kept.retain(|(_, other)| !same(other)));
        }
        let silent = void || covered(*tick, event, *tick);
        // What found no room is not there.
        let held = |path: &Text| {
            let since = run.files_held.get(&(Arc::clone(&coverage.flag), Arc::clone(path)));
            since.is_some_and(|since| since <= tick)
        };
        for file in coverage.files.iter().filter(|file| held(&file.path)) {
            let heap = told.files.entry((flag.clone(), file.path.to_string())).or_default();
            heap.put(*tick, event, config, silent);
        }
        told.sessions.entry((flag, session(event))).or_default().put(*tick, event, config, silent);
    }
    let heaps = told.files.values_mut().chain(told.sessions.values_mut());
    heaps.for_each(|heap| heap.kept.retain(|(tick, event)| !taken_back(event.id, now) && !covered(*tick, event, now)));
    told
}

/// Lines that are covered, lines that count, and sessions, of a path in some events.
fn merged<'a>(
    events: impl Iterator<Item = &'a Arc<Event>>,
    path: &str,
) -> (BTreeSet<u32>, BTreeSet<u32>, BTreeSet<Session>) {
    let (mut covered, mut total, mut sessions) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for event in events {
        for file in event.coverage().expect("of coverage").files.iter().filter(|file| &*file.path == path) {
            covered.extend(file.covered.ranges().flat_map(|(from, to)| from..=to));
            total.extend(file.covered.ranges().chain(file.instrumented.ranges()).flat_map(|(from, to)| from..=to));
            sessions.insert(session(event));
        }
    }
    (covered, total, sessions)
}

fn all(heap: &Heap) -> impl Iterator<Item = &Arc<Event>> {
    heap.kept.iter().chain(&heap.folded).map(|(_, event)| event)
}

/// n of d in percent, in millionths, rounded half up.
fn percent(n: usize, d: usize) -> Option<i64> {
    let (n, d) = (n as i128 * 100_000_000, d as i128);
    (d > 0).then(|| i64::try_from((2 * n + d).div_euclid(2 * d)).expect("small"))
}

/// The rows of `coverage` at `now`.
pub fn rows(config: &Config, ticks: &[Tick], runs: &super::Runs<'_>, now: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for run in runs.values() {
        let (project, name) = runs::names(run);
        for ((flag, path), heap) in told(config, ticks, run, now).files {
            let (covered, total, sessions) = merged(all(&heap), &path);
            if sessions.is_empty() {
                continue;
            }
            let mut writer = RowWriter::default();
            writer.str(&project).str(&name).str(&flag).str(&path).uint(covered.len() as u64).uint(total.len() as u64);
            writer.opt_int(percent(covered.len(), total.len())).uint(sessions.len() as u64);
            rows.push(writer.finish(&COVERAGE));
        }
    }
    rows
}

/// A summary without its comparison.
#[derive(Clone, PartialEq)]
struct Summary {
    names: [Arc<str>; 2],
    flag: String,
    numbers: [usize; 3],
    percent: Option<i64>,
    reported: usize,
    expected: Option<u64>,
    inexact: bool,
    branch: Option<Arc<str>>,
    state: &'static str,
    finished_at: Option<u64>,
}

fn summary(run: &Run, told: &Told, flag: &str) -> Option<Summary> {
    let of = |name: &str| flag == "*" || name == flag;
    let spoke = |heap: &Heap| !heap.kept.is_empty() || !heap.folded.is_empty();
    let reported: BTreeSet<Session> =
        told.sessions.iter().filter(|(key, heap)| of(&key.0) && spoke(heap)).map(|(key, _)| key.1).collect();
    if reported.is_empty() {
        return None;
    }
    let mut numbers = [0; 3];
    let paths: BTreeSet<&String> = told.files.keys().filter(|key| of(&key.0)).map(|key| &key.1).collect();
    for path in paths {
        let heaps = told.files.iter().filter(|(key, _)| of(&key.0) && key.1 == *path);
        let (covered, total, sessions) = merged(heaps.flat_map(|(_, heap)| all(heap)), path);
        if !sessions.is_empty() {
            numbers = [numbers[0] + covered.len(), numbers[1] + total.len(), numbers[2] + 1];
        }
    }
    // Of a session's percentages without lines the last one that is kept counts.
    let last = |heap: &Heap| heap.kept.iter().rev().find_map(|(_, event)| event.coverage()?.percentage);
    let bare: Vec<i64> =
        told.sessions.iter().filter(|(key, _)| of(&key.0)).filter_map(|(_, heap)| last(heap)).collect();
    let mean = || {
        let (sum, count) = (bare.iter().map(|p| i128::from(*p)).sum::<i128>(), bare.len() as i128);
        (count > 0).then(|| i64::try_from((2 * sum + count).div_euclid(2 * count)).expect("small"))
    };
    let (project, name) = runs::names(run);
    let branch = run.events.iter().map(|(tick, event)| (*tick, event.position, event)).collect::<Vec<_>>();
    let named = branch.iter().filter(|(_, _, event)| event.origin.branch.is_some());
    let first = named.min_by_key(|(tick, position, _)| (*tick, *position));
    Some(Summary {
        names: [project, name],
        flag: flag.to_owned(),
        numbers,
        percent: if numbers[2] > 0 { percent(numbers[0], numbers[1]) } else { mean() },
        reported: reported.len(),
        expected: announced(run, |event| event.planned_shards()),
        inexact: !bare.is_empty(),
        branch: first.and_then(|(_, _, event)| event.origin.branch.clone()),
        state: run.phase,
        finished_at: run.ended_at.filter(|_| run.phase == "finished"),
    })
}

fn summaries(run: &Run, told: &Told) -> Vec<Summary> {
    let flags: BTreeSet<&String> = told.sessions.keys().map(|key| &key.0).collect();
    let mut found: Vec<Summary> = flags.iter().filter_map(|flag| summary(run, told, flag)).collect();
    found.extend(summary(run, told, "*"));
    found
}

/// Project, branch and flag.
type BaseName = (Arc<str>, String, String);

/// The percentage, when its run finished, which run, until when it is remembered.
type Base = (i64, u64, Id, u64);

/// With the branch that it is compared with, and its percentage.
type Compared = (Summary, Option<(String, i64)>);

/// The rows of `coverage_summary` from each second on at which something may have changed.
pub fn summary_rows(config: &Config, ticks: &[Tick], lives: &Lives) -> BTreeMap<u64, Vec<Row>> {
    let moments = lives.values().flatten().map(|moment| moment.at);
    let said = ticks.iter().filter(|tick| !tick.control.is_empty()).map(|tick| tick.at);
    let seconds: BTreeSet<u64> = moments.chain(said).map(|at| at.next_multiple_of(1_000)).collect();
    let mut rows = BTreeMap::new();
    let mut bases: BTreeMap<BaseName, Base> = BTreeMap::new();
    let mut before: BTreeMap<(Id, String), Compared> = BTreeMap::new();
    for now in seconds {
        bases.retain(|_, base| base.3 > now);
        let mut after = BTreeMap::new();
        for (id, run) in runs::at(lives, now) {
            for summary in summaries(run, &told(config, ticks, run, now)) {
                let key = (id, summary.flag.clone());
                let main = |branch: &Arc<str>| config.main_branches.iter().any(|main| **main == **branch);
                let candidates = match summary.branch.as_ref().filter(|branch| main(branch)) {
                    Some(branch) => vec![branch.to_string()],
                    None => config.main_branches.clone(),
                };
                let find = |branch: String| {
                    let base = bases.get(&(Arc::clone(&summary.names[0]), branch.clone(), summary.flag.clone()))?;
                    Some((branch, base.0))
                };
                let base = match before.get(&key) {
                    Some((was, base)) if was.branch == summary.branch => base.clone(),
                    _ => candidates.into_iter().find_map(find),
                };
                after.insert(key, (summary, base));
            }
        }
        for ((id, flag), (summary, _)) in &after {
            let news = before.get(&(*id, flag.clone())).is_none_or(|(was, _)| was != summary);
            let (Some(finished_at), Some(percent), Some(branch), true) =
                (summary.finished_at, summary.percent, &summary.branch, news)
            else {
                continue;
            };
            let name = (Arc::clone(&summary.names[0]), branch.to_string(), flag.clone());
            let newer = bases.get(&name).is_some_and(|base| (base.1, base.2) > (finished_at, *id));
            if !newer && config.main_branches.contains(&name.1) {
                let until = (now + config.coverage_memory_ms).next_multiple_of(HOUR);
                bases.insert(name, (percent, finished_at, *id, until));
            }
        }
        rows.insert(now, after.values().map(|(summary, base)| row(summary, base.as_ref())).collect());
        before = after;
    }
    rows
}

fn row(summary: &Summary, base: Option<&(String, i64)>) -> Row {
    let mut writer = RowWriter::default();
    writer.str(&summary.names[0]).str(&summary.names[1]).str(&summary.flag);
    writer.uint(summary.numbers[0] as u64).uint(summary.numbers[1] as u64).opt_int(summary.percent);
    writer.uint(summary.numbers[2] as u64).uint(summary.reported as u64).opt_uint(summary.expected);
    writer.bool(summary.inexact).opt_int(summary.percent.zip(base).map(|(percent, base)| percent - base.1));
    writer.opt_str(base.map(|base| &*base.0)).opt_str(summary.branch.as_deref()).str(summary.state);
    // Where nobody said how many are to come, the end of the run is all there is to wait for.
    let expected = summary.expected.unwrap_or(0);
    writer.bool(summary.state == "finished" && summary.reported as u64 >= expected);
    writer.finish(&COVERAGE_SUMMARY)
}
