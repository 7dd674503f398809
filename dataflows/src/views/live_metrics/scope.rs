//! One scope of `live_metrics`: its attempts by age, and its rows.
//!
//! Contract: an attempt is held once, in a pane of the first of three levels; when that has left the level's window it goes
//! on to the wider pane of the next level. So level `n` holds what is in window `n` and in no shorter one, window `n` is the
//! levels up to `n`, and the longer windows cost nothing between the whole seconds at which they are looked at.
//!
//! # Invariants
//! A level's sums and histogram are those of its panes. At a time everything is moved on before anything is taken in, so
//! where an attempt is held depends on its pane and the time alone, and what is taken back is found there.
//!
//! # Cost
//! Bytes: 1 to 2 KB for a scope with a few attempts; each second, 10 s or 60 s with attempts holds a pane of 160 and 2 for
//! each bucket of durations in it; each level a histogram of 264 an octave; each pattern 24 a pane and 40. A suite of 20
//! attempts a second for an hour takes about 75 KB; the most that a scope can take but for patterns is 170 panes of
//! 15 KB. An attempt is added to a histogram once and moved twice, by then as counts of its bucket.

use super::delta::{Change, Gauges, Pane, PaneDelta, ScopeKind, ScopeName, Sums, group};
use super::patterns::Patterns;
use super::scopes::ScopeOutput;
use super::trend::Past;
use super::{LONG_CADENCE_MS, LONGEST, WINDOW_NAMES, WINDOWS};
use crate::facts::RowChange;
use crate::keyed::Step;
use crate::percentiles::{Histogram, Scratch, percentiles};
use crate::top_k::Group;
use crate::window::Panes;
use differential_dataflow::consolidation::consolidate;
use serde::{Deserialize, Serialize};
use weir_schemas::id::Id;
use weir_schemas::row::{RATIO_UNIT, Row, RowWriter, ratio};
use weir_schemas::update::Cause;
use weir_schemas::view::LIVE_METRICS;

/// The state of one scope.
#[derive(Debug)]
pub struct Scope {
    kept: Kept,
    levels: [Level; WINDOWS.len()],
    patterns: Patterns,
    /// What patterns came and went at the running time, by pane: taken in together, in order, since there may be too many.
    coming: Vec<((u64, Id), i64)>,
}

/// What a snapshot has of a scope; the rest is made from it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    name: ScopeName,
    /// While it has room for attempts: the minute from which on what happened is its own; what happened before, while there was no
    /// room for all, is not.
    since: Option<u64>,
    panes: [Panes<Pane>; WINDOWS.len()],
    gauges: Gauges,
    /// What live coverage was.
    past: Past,
    /// Points that it has gained in ten minutes.
    trend: Option<i64>,
    /// Whether the row of a window may have changed since it was last shown.
    changed: [bool; WINDOWS.len()],
    /// Whether a withdrawal was part of that.
    withdrawn: [bool; WINDOWS.len()],
    shown: [Option<Row>; WINDOWS.len()],
    /// When it has to be looked at again; 0: not before something comes.
    due: u64,
}

#[derive(Debug, Default)]
struct Level {
    sums: Sums,
    durations: Histogram,
}

impl Level {
    fn add(&mut self, pane: &Pane, times: i64) {
        self.sums.add(&pane.sums, times);
        self.durations.add(&pane.durations, times);
    }
}

/// What rows are made with.
#[derive(Default)]
pub(super) struct Tools {
    pub(super) writer: RowWriter,
    pub(super) scratch: Scratch,
}

impl Scope {
    /// A scope of which nothing is known yet.
    pub(super) fn new(name: ScopeName) -> Scope {
        Scope::from(Kept {
            name,
            since: None,
            panes: Default::default(),
            gauges: Gauges::default(),
            past: Past::default(),
            trend: None,
            changed: Default::default(),
            withdrawn: Default::default(),
            shown: Default::default(),
            due: 0,
        })
    }

    /// What a snapshot has to have of it.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The minute from which on what happened is its own, while it has room for that.
    pub(super) fn since(&self) -> Option<u64> {
        self.kept.since
    }

    /// It has room now, or none.
    pub(super) fn set_since(&mut self, since: Option<u64>) {
        self.kept.since = since;
    }

    /// Whether no pane is left of it in any window; one of which everything was taken back counts until it has left, as its withdrawals
    /// must find it.
    pub(super) fn empty(&self) -> bool {
        self.kept.panes.iter().all(Panes::is_empty)
    }

    /// Moves what has left a window on to the next level, or out.
    pub(super) fn move_on(&mut self, now: u64, tools: &mut Tools) {
        for (level, window) in WINDOWS.into_iter().enumerate() {
            while let Some((pane, content)) = self.kept.panes[level].expire(window, now) {
                self.kept.changed[level] = true;
                self.levels[level].add(&content, -1);
                let next = Some(level + 1).filter(|next| *next < WINDOWS.len());
                for (pattern, count) in &content.patterns {
                    self.patterns.shift(*pattern, Some(level), next, *count);
                }
                if let Some(next) = next {
                    self.levels[next].add(&content, 1);
                    let pane = WINDOWS[next].pane(window.begin(pane));
                    self.kept.panes[next].pane(pane).0.add(content, &mut tools.scratch);
                }
            }
        }
    }

    /// Takes a change in, once everything is moved on to `now`.
    pub(super) fn take(&mut self, change: Change, now: u64, tools: &mut Tools) {
        let PaneDelta { pane: number, mut content, withdrawn, .. } = match change {
            Change::Pane(delta) => delta,
            Change::Gauges(gauges) => {
                self.kept.gauges.add(&gauges);
                self.kept.changed[0] = true;
                return;
            }
        };
        let Some((level, pane)) = place(number, now) else { return };
        for window in level..WINDOWS.len() {
            self.kept.changed[window] = true;
            self.kept.withdrawn[window] |= withdrawn;
        }
        let patterns = std::mem::take(&mut content.patterns);
        self.coming.extend(patterns.into_iter().map(|(pattern, count)| ((number, pattern), count)));
        self.levels[level].add(&content, 1);
        self.kept.panes[level].pane(pane).0.add(content, &mut tools.scratch);
    }

    /// Takes in the patterns of all changes of `now`.
    fn take_patterns(&mut self, now: u64) {
        consolidate(&mut self.coming);
        for ((number, pattern), count) in std::mem::take(&mut self.coming) {
            let Some((level, pane)) = place(number, now) else { continue };
            if self.patterns.admits(pattern, count) {
                self.patterns.shift(pattern, None, Some(level), count);
                let patterns = &mut self.kept.panes[level].pane(pane).0.patterns;
                patterns.push((pattern, count));
                consolidate(patterns);
            }
        }
    }

    /// Shows what has changed, as far as `now` is a time for it; says when to look at it next, if that is news.
    pub(super) fn show(&mut self, tools: &mut Tools, step: &mut Step<'_, ScopeOutput>) -> Option<u64> {
        let now = step.now();
        self.move_on(now, tools);
        self.take_patterns(now);
        self.compare_coverage(now);
        let windows = if now.is_multiple_of(LONG_CADENCE_MS) { WINDOWS.len() } else { 1 };
        for window in 0..windows {
            if !std::mem::take(&mut self.kept.changed[window]) {
                continue;
            }
            let cause = if self.kept.withdrawn[window] { Cause::Withdrawn } else { Cause::Changed };
            self.kept.withdrawn[window] = false;
            let row = self.row(window, &mut tools.writer);
            let shown = &mut self.kept.shown[window];
            if row != *shown {
                if let Some(row) = shown.take() {
                    step.emit(ScopeOutput::Row(RowChange { row, cause }), -1);
                }
                if let Some(row) = &row {
                    step.emit(ScopeOutput::Row(RowChange { row: row.clone(), cause: Cause::Changed }), 1);
                }
                *shown = row;
            }
        }
        let due = self.next(now);
        (std::mem::replace(&mut self.kept.due, due) != due && due > 0).then_some(due)
    }

    /// Compares what is covered now with what was.
    fn compare_coverage(&mut self, now: u64) {
        let Kept { past, gauges, trend, changed, .. } = &mut self.kept;
        past.note(now, gauges.coverage());
        let is = past.trend(now);
        changed[0] |= std::mem::replace(trend, is) != is;
    }

    /// The next time at which something leaves a window, coverage is compared with something else or a longer window's row is
    /// due; 0: none.
    fn next(&self, now: u64) -> u64 {
        let panes = self.kept.panes.iter().zip(WINDOWS);
        let expiry = panes.filter_map(|(panes, window)| panes.oldest().map(|pane| window.expiry(pane))).min();
        let second = self.kept.changed.contains(&true).then(|| (now + 1).next_multiple_of(LONG_CADENCE_MS));
        expiry.into_iter().chain(second).chain(self.kept.past.due(now)).min().unwrap_or(0)
    }

    /// Whether nothing is left of it.
    pub(super) fn idle(&self) -> bool {
        let Kept { gauges, shown, .. } = &self.kept;
        self.empty() && *gauges == Gauges::default() && shown.iter().all(Option::is_none)
    }

    fn row(&self, window: usize, writer: &mut RowWriter) -> Option<Row> {
        let Kept { name: ScopeName { project, kind, name }, gauges, .. } = &self.kept;
        let gauges = (window == 0).then_some(gauges);
        let mut sums = Sums::default();
        self.levels[..=window].iter().for_each(|level| sums.add(&level.sums, 1));
        if sums.nothing() && gauges.is_none_or(|gauges| *gauges == Gauges::default()) {
            return None;
        }
        let completed = sums.passed + sums.failing;
        writer.str(project).str(kind.as_str()).str(name).str(WINDOW_NAMES[window]);
        writer.opt_int(ratio(sums.finished(), 1, WINDOWS[window].seconds().cast_signed()));
        writer.int(ratio(sums.passed, 100, completed).unwrap_or(100 * RATIO_UNIT));
        writer.int(ratio(sums.failing, 100, completed).unwrap_or(0));
        writer.opt_int(sums.average_us());
        let percentiles = self.percentiles(window);
        for which in 0..3 {
            writer.opt_uint(percentiles.map(|values| values[which]));
        }
        writer.opt_int(ratio(sums.judged - sums.slow, 100, sums.judged));
        writer.uint(self.patterns.distinct(window));
        let of_project = gauges.filter(|_| *kind == ScopeKind::Project);
        let of_suite = gauges.filter(|_| matches!(kind, ScopeKind::Project | ScopeKind::Suite));
        writer.opt_int(of_suite.map(|gauges| gauges.running));
        writer.opt_int(of_project.map(|gauges| gauges.streams)).opt_int(of_project.map(|gauges| gauges.tests));
        writer.opt_int(sums.memory.average());
        // Only a project and a branch are told of any lines.
        writer.opt_int(gauges.and_then(Gauges::coverage)).opt_int(self.kept.trend.filter(|_| gauges.is_some()));
        Some(writer.finish(&LIVE_METRICS))
    }

    fn percentiles(&self, window: usize) -> Option<[u64; 3]> {
        let [first, second, third] = &self.levels;
        match window {
            0 => percentiles([&first.durations]),
            1 => percentiles([&first.durations, &second.durations]),
            _ => percentiles([&first.durations, &second.durations, &third.durations]),
        }
    }
}

impl From<Kept> for Scope {
    fn from(kept: Kept) -> Scope {
        let (mut levels, mut patterns): ([Level; WINDOWS.len()], _) = (Default::default(), Patterns::default());
        for (number, (level, panes)) in levels.iter_mut().zip(&kept.panes).enumerate() {
            for (_, pane) in panes.iter() {
                level.add(pane, 1);
                pane.patterns.iter().for_each(|(pattern, count)| patterns.shift(*pattern, None, Some(number), *count));
            }
        }
        Scope { kept, levels, patterns, coming: Vec::new() }
    }
}

impl Kept {
    /// When it has to be looked at; 0: not before something comes.
    pub(super) fn due(&self) -> u64 {
        self.due
    }

    /// Who the scope of this identity shares its room with, if it has any.
    pub(super) fn roomed(&self, id: Id) -> Option<Group> {
        self.since.map(|_| group(id, &self.name))
    }
}

/// The minute of a pane of the shortest window: where something belongs to is decided by minutes.
pub(super) fn minute(pane: u64) -> u64 {
    LONGEST.pane(WINDOWS[0].begin(pane))
}

/// The first level whose window still holds a pane of the shortest one, and the level's pane that it belongs to.
pub(super) fn place(pane: u64, now: u64) -> Option<(usize, u64)> {
    if WINDOWS[0].expiry(pane) > now {
        return Some((0, pane));
    }
    let at = WINDOWS[0].begin(pane);
    let level = WINDOWS.iter().position(|window| !window.passed(at, now))?;
    Some((level, WINDOWS[level].pane(at)))
}
