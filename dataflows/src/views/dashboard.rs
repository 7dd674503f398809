//! The view `dashboard`: each project at a glance, summed up from the rows of other views.
//!
//! Contract: takes the row changes of `run_progress`, `live_metrics`, `alerts` and `flaky_tests` ([`Taps`]), and no event. What a row
//! says of its project is a few numbers ([`Sums`]) that come with it and go with it; a project's row is their sum at each whole
//! second, exactly what those views say there. It is there while any row says something of the project.
//!
//! Two layers: each worker adds up what its own rows say until the next whole second ([`LocalTiles`]), then the project's owner
//! ([`Tiles`]) adds up the workers.
//!
//! # Invariants
//! Of one project there is one row of a minute and one of ten minutes, so a sum over them is what they say.
//!
//! # Cost
//! Of a changed row its first columns are read, and those of rows that count are added up: nothing an event. State O(projects), about
//! 200 bytes each; one message a second, worker and project of which something changed.

use crate::context::Context;
use crate::facts::{RowChange, Rows};
use crate::fork::Forks;
use crate::input::Text;
use crate::keyed::{Collection, Home, Inlets, Machine, Step, keyed};
use crate::map::Map;
use crate::views::live_metrics::delta::project_scope;
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use weir_schemas::id::Id;
use weir_schemas::row::{RATIO_UNIT, Row, RowWriter};
use weir_schemas::update::Cause;
use weir_schemas::view::{DASHBOARD, LIVE_METRICS, View};

/// What rows say of their project, or changes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sums {
    running_runs: i64,
    /// Rows of the last minute: one or none.
    minutes: i64,
    tests_per_second: i64,
    success_rate: i64,
    /// Rows of the last ten minutes: one or none.
    ten_minutes: i64,
    failing_patterns: i64,
    firing_alerts: i64,
    /// Rows that know what is covered: one or none.
    covered: i64,
    live_coverage: i64,
    flaky_tests: i64,
}

impl Sums {
    fn add(&mut self, other: &Sums, times: i64) {
        self.running_runs += other.running_runs * times;
        self.minutes += other.minutes * times;
        self.tests_per_second += other.tests_per_second * times;
        self.success_rate += other.success_rate * times;
        self.ten_minutes += other.ten_minutes * times;
        self.failing_patterns += other.failing_patterns * times;
        self.firing_alerts += other.firing_alerts * times;
        self.covered += other.covered * times;
        self.live_coverage += other.live_coverage * times;
        self.flaky_tests += other.flaky_tests * times;
    }

    fn row(&self, project: &str, writer: &mut RowWriter) -> Option<Row> {
        if *self == Sums::default() {
            return None;
        }
        writer.str(project).int(self.running_runs).int(self.tests_per_second);
        writer.int(if self.minutes > 0 { self.success_rate } else { 100 * RATIO_UNIT });
        writer.int(self.failing_patterns).int(self.firing_alerts);
        writer.opt_int((self.covered > 0).then_some(self.live_coverage)).int(self.flaky_tests);
        Some(writer.finish(&DASHBOARD))
    }
}

/// What a row that came or left says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Said {
    /// The row, which names its project.
    row: Row,
    sums: Sums,
    withdrawn: bool,
}

/// Reads rows of one view.
type Reader = Box<dyn Fn(&Row) -> Option<Sums>>;

/// How rows of a view are read, if they say something that a dashboard shows.
fn reader(view: &'static View) -> Option<Reader> {
    let column = |name: &str| view.column(name).expect("a column of the view");
    Some(match view.name {
        "run_progress" => {
            let state = column("state");
            let of_run = Sums { running_runs: 1, ..Sums::default() };
            Box::new(move |row| (row.text(state) == Some("running")).then_some(of_run))
        }
        "alerts" => Box::new(|_| Some(Sums { firing_alerts: 1, ..Sums::default() })),
        "flaky_tests" => {
            let state = column("state");
            let of_test = Sums { flaky_tests: 1, ..Sums::default() };
            Box::new(move |row| (row.text(state) == Some("flaky")).then_some(of_test))
        }
        "live_metrics" => reader_of_metrics(),
        _ => return None,
    })
}

fn reader_of_metrics() -> Reader {
    let column = |name: &str| LIVE_METRICS.column(name).expect("a column of the view");
    let (scope, window) = (column("scope"), column("window"));
    let (tests_per_second, success_rate) = (column("tests_per_second"), column("success_rate"));
    let (patterns, coverage) = (column("failure_patterns"), column("live_coverage"));
    Box::new(move |row| {
        if row.text(scope) != Some("project") {
            return None;
        }
        let number = |column| row.number(column).unwrap_or(0);
        match row.text(window)? {
            "60s" => Some(Sums {
                minutes: 1,
                tests_per_second: number(tests_per_second),
                success_rate: number(success_rate),
                covered: i64::from(row.number(coverage).is_some()),
                live_coverage: number(coverage),
                ..Sums::default()
            }),
            "10m" => Some(Sums { ten_minutes: 1, failing_patterns: number(patterns), ..Sums::default() }),
            _ => None,
        }
    })
}

/// The row changes that it is summed up from.
#[derive(Default)]
pub struct Taps<'s>(Vec<Collection<'s, Said>>);

impl<'s> Taps<'s> {
    /// Looks at what changes of a view, if its rows say something that a dashboard shows.
    pub fn tap(&mut self, view: &'static View, rows: &mut Forks<'s, RowChange>) {
        let Some(reader) = reader(view) else { return };
        self.0.push(rows.tap(move |RowChange { row, cause }| {
            let sums = reader(row)?;
            Some(Said { row: row.clone(), sums, withdrawn: *cause == Cause::Withdrawn })
        }));
    }
}

/// The view's rows.
#[must_use]
pub fn render<'s>(cx: &Context<'s>, taps: Taps<'s>) -> Rows<'s> {
    let said = Inlets::new("DashboardLocal", cx.scope);
    let said = taps.0.into_iter().fold(said, |inlets, said| inlets.add(said, Pipeline, Some));
    let parts = said.keyed(&cx.states, LocalTiles::default());
    let owner = Exchange::new(|(part, _, _): &(Part, u64, i64)| project_scope(&part.project).route());
    keyed("Dashboard", parts, owner, &cx.states, Tiles::default())
}

/// What a worker's rows say of a project since the last whole second.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    project: Text,
    sums: Sums,
    withdrawn: bool,
}

/// Adds up what a worker's rows say.
#[derive(Default)]
struct LocalTiles {
    index: Map<Id, usize>,
    parts: Vec<Part>,
    /// The whole second at which it is told; 0: there is nothing to tell.
    due: u64,
}

impl LocalTiles {
    fn part(&mut self, project: &str) -> &mut Part {
        let parts = &mut self.parts;
        let index = *self.index.get_or_insert_with(project_scope(project), || {
            parts.push(Part { project: project.into(), sums: Sums::default(), withdrawn: false });
            parts.len() - 1
        });
        &mut self.parts[index]
    }
}

impl Machine for LocalTiles {
    type Input = Said;
    type Output = Part;
    type Entry = (u64, Part);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(LocalTiles::default())
    }

    fn step(&mut self, data: &mut Vec<(Said, i64)>, step: &mut Step<'_, Part>) {
        for (Said { row, sums, withdrawn }, diff) in data.drain(..) {
            let part = self.part(row.text(0).expect("every key begins with the project"));
            part.sums.add(&sums, diff);
            part.withdrawn |= withdrawn;
        }
        self.due = step.now().next_multiple_of(DASHBOARD.cadence_ms);
        if self.due > step.now() {
            step.wake_at(self.due);
            return;
        }
        // What was withdrawn is told though it may come to nothing here: the cause must not depend on who added up what.
        let told = |part: &Part| part.withdrawn || part.sums != Sums::default();
        self.parts.drain(..).filter(told).for_each(|part| step.emit(part, 1));
        self.index.clear();
        self.due = 0;
    }

    fn entries(&self) -> Vec<(u64, Part)> {
        let mut entries: Vec<_> = self.parts.iter().map(|part| (self.due, part.clone())).collect();
        entries.sort_unstable_by(|(_, a), (_, b)| a.project.cmp(&b.project));
        entries
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Anywhere
    }

    fn restore(&mut self, entries: Vec<(u64, Part)>) -> Vec<u64> {
        for (due, Part { project, sums, withdrawn }) in entries {
            self.due = due;
            let part = self.part(&project);
            part.sums.add(&sums, 1);
            part.withdrawn |= withdrawn;
        }
        if self.parts.is_empty() { Vec::new() } else { vec![self.due] }
    }
}

/// A project.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tile {
    project: Text,
    sums: Sums,
    shown: Option<Row>,
}

/// All projects of a worker.
#[derive(Default)]
struct Tiles {
    tiles: Map<Id, Tile>,
    writer: RowWriter,
}

impl Tiles {
    fn show(&mut self, id: Id, withdrawn: bool, step: &mut Step<'_, RowChange>) {
        let Some(tile) = self.tiles.get_mut(&id) else { return };
        let row = tile.sums.row(&tile.project, &mut self.writer);
        if row != tile.shown {
            let cause = if withdrawn { Cause::Withdrawn } else { Cause::Changed };
            tile.shown.take().into_iter().for_each(|row| step.emit(RowChange { row, cause }, -1));
            row.iter().for_each(|row| step.emit(RowChange { row: row.clone(), cause: Cause::Changed }, 1));
            tile.shown = row;
        }
        if tile.shown.is_none() {
            self.tiles.remove(&id);
        }
    }
}

impl Machine for Tiles {
    type Input = Part;
    type Output = RowChange;
    type Entry = (Id, Tile);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Tiles::default())
    }

    fn step(&mut self, data: &mut Vec<(Part, i64)>, step: &mut Step<'_, RowChange>) {
        let mut touched = Vec::new();
        for (Part { project, sums, withdrawn }, diff) in data.drain(..) {
            let id = project_scope(&project);
            let tile = || Tile { project, sums: Sums::default(), shown: None };
            self.tiles.get_or_insert_with(id, tile).sums.add(&sums, diff);
            touched.push((id, withdrawn));
        }
        touched.sort_unstable();
        for of_project in touched.chunk_by(|(a, _), (b, _)| a == b) {
            self.show(of_project[0].0, of_project.iter().any(|(_, withdrawn)| *withdrawn), step);
        }
    }

    fn entries(&self) -> Vec<(Id, Tile)> {
        self.tiles.sorted().into_iter().map(|(id, tile)| (*id, tile.clone())).collect()
    }

    fn home((project, _): &Self::Entry) -> Home {
        Home::Routed(project.route())
    }

    fn restore(&mut self, entries: Vec<(Id, Tile)>) -> Vec<u64> {
        entries.into_iter().for_each(|(id, tile)| drop(self.tiles.insert(id, tile)));
        Vec::new()
    }
}
