//! The view `failure_patterns` on one worker, fed with facts.

use crate::Took;
use crate::work::{self, Occurrence, PATTERNS, PROJECTS, Pattern, SHOWN, Seen, TICK_MS, USERS, Work};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::{Input as _, Inspect as _, Probe as _};
use weir_dataflows::Config;
use weir_dataflows::context::Context;
use weir_dataflows::facts::{AttemptFact, Failure, RowChange};
use weir_dataflows::input::{Names, Origin};
use weir_dataflows::keyed::{States, Updates};
use weir_dataflows::views::failure_patterns;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::Row;
use weir_schemas::view::FAILURE_PATTERNS;

type Changes = Arc<Mutex<Vec<(Row, i64)>>>;

/// Feeds all of it.
pub(crate) fn run(work: &Work) -> Took {
    let until = Work::times().last().unwrap_or_default() + TICK_MS;
    // All are kept one by one, however many there are.
    let config = Config { until, failure_patterns: SHOWN, pattern_occurrences: usize::MAX, ..Config::default() };
    let work = work.clone();
    let guards = timely::execute(timely::Config::process(1), move |worker| {
        let (facts, mut took) = (Facts::new(), Took::default());
        let changes = Changes::default();
        let (mut input, probe) = worker.dataflow(|scope| {
            let (input, stream) = scope.new_input_with_builder::<CapacityContainerBuilder<Updates<AttemptFact>>>();
            let states = States::new((0, 1), until, None);
            let rows = failure_patterns::render(&Context { scope, config: Arc::new(config.clone()), states }, stream);
            let seen = Arc::clone(&changes);
            let keep = move |(change, _, diff): &(RowChange, u64, i64)| {
                seen.lock().expect("unpoisoned").push((change.row.clone(), *diff));
            };
            (input, rows.inspect(keep).probe().0)
        });
        for now in Work::times() {
            let mut batch: Updates<AttemptFact> =
                work.tick(now).map(|occurrence| (facts.of(occurrence, now), now, 1)).collect();
            took.measure(|| {
                input.advance_to(now);
                input.send_batch(&mut batch);
                input.advance_to(now + 1);
                input.flush();
                worker.step_while(|| probe.less_than(&(now + 1)));
            });
            take(&changes, &facts, now, &mut took);
        }
        took
    })
    .expect("timely starts");
    guards.join().into_iter().next().expect("one worker").expect("no panic")
}

fn column(name: &str) -> usize {
    FAILURE_PATTERNS.column(name).expect("a column of the view")
}

/// What the tick has changed, leavings first.
fn take(changes: &Changes, facts: &Facts, now: u64, took: &mut Took) {
    let mut changes = std::mem::take(&mut *changes.lock().expect("unpoisoned"));
    changes.sort_by_key(|(_, diff)| *diff);
    for (row, diff) in changes {
        let number = |name| row.number(column(name)).and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
        let seen = Seen {
            counts: ["count_10m", "count_1h", "count_24h"].map(number),
            tests: number("tests"),
            runs: number("runs"),
            users: number("users"),
            last: number("last_seen_at"),
        };
        took.change(now, facts.patterns[row.text(column("fingerprint")).expect("a fingerprint")], seen, diff);
    }
}

/// The parts of facts, shared as admission would have it.
struct Facts {
    projects: Vec<Arc<str>>,
    failures: Vec<Arc<Failure>>,
    users: Vec<Arc<str>>,
    /// By fingerprint.
    patterns: BTreeMap<String, Pattern>,
}

impl Facts {
    fn new() -> Facts {
        let failures: Vec<Arc<Failure>> = (0..PATTERNS).map(|number| Arc::new(failure(number))).collect();
        let text = |name: &str, count: u64| (0..count).map(|number| Arc::from(format!("{name}-{number}"))).collect();
        let pattern = |number: u64| Pattern { project: number % PROJECTS, number };
        let patterns = (0..).zip(&failures).map(|(number, failure)| (failure.fingerprint.to_string(), pattern(number)));
        Facts {
            projects: text("project", PROJECTS),
            users: text("user", USERS),
            patterns: patterns.collect(),
            failures,
        }
    }

    fn of(&self, Occurrence { at, pattern, test, run, user }: Occurrence, now: u64) -> AttemptFact {
        let [project, number] = [pattern.project, pattern.number].map(|number| usize::try_from(number).expect("few"));
        let project = &self.projects[project];
        let names = Names {
            run_id: id(1, run),
            suite_id: id(2, test / 40),
            test_id: Some(id(3, test)),
            project: Arc::clone(project),
            ..Names::default()
        };
        let origin = Origin {
            stream: id(4, run),
            stream_name: "stream".into(),
            project: Arc::clone(project),
            user: Some(Arc::clone(&self.users[usize::try_from(user).expect("few")])),
            ..Origin::default()
        };
        AttemptFact {
            attempt: 1,
            at,
            came: now,
            outcome: Outcome::Failed,
            duration_us: Some(1_000),
            names: Arc::new(names),
            origin: Arc::new(origin),
            failure: Some(Arc::clone(&self.failures[number])),
        }
    }
}

/// Spread as a hash would be.
fn id(kind: u128, number: u64) -> Id {
    Id(u128::from(work::mix(number)) << 64 | u128::from(number) << 8 | kind)
}

fn failure(number: u64) -> Failure {
    let pattern: Arc<str> = format!("expected % to be {number}").into();
    Failure {
        // Ties are broken by it, here and there by the pattern's number; its lowest byte, by which it has its bucket, is spread.
        fingerprint: Id(u128::from(number) << 64 | u128::from(work::mix(number))),
        kind: "AssertionError".into(),
        message: Arc::clone(&pattern),
        pattern,
        ..Failure::default()
    }
}
