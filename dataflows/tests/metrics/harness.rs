//! Runs a view alone, over any number of workers and any batching, and follows its rows.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::{Input as _, Inspect as _};
use weir_dataflows::Config;
use weir_dataflows::context::Context;
use weir_dataflows::facts::{AttemptFact, Failure, RowChange, Rows};
use weir_dataflows::input::{Names, Origin, Text};
use weir_dataflows::keyed::States;
use weir_dataflows::keyed::{Collection, Machine, Step, Updates};
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::Row;
use weir_schemas::update::Digest;

/// Where histories begin: a whole day, so that panes of every width begin there too.
pub(crate) const BASE: u64 = 86_400_000 * 20_000;

/// How many histories.
pub(crate) fn cases() -> ProptestConfig {
    let cases = if std::env::var_os("WEIR_LONG").is_some() { 2_000 } else { 256 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Numbers that depend on the seed alone.
struct Mixer(u64);

impl Mixer {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The updates of a view's rows, by time; `until` ends the run. `seed` says which worker is given which update, how many
/// ticks are flushed together, and how often workers are stepped between.
pub(crate) fn run<D, F>(
    workers: usize,
    seed: u64,
    until: u64,
    config: &Config,
    updates: &[(D, u64, i64)],
    render: F,
) -> Updates<RowChange>
where
    D: Clone + Send + Sync + 'static,
    F: for<'s> Fn(&Context<'s>, Collection<'s, D>) -> Rows<'s> + Send + Sync + 'static,
{
    let rows: Arc<Mutex<Updates<RowChange>>> = Arc::default();
    let (out, updates) = (Arc::clone(&rows), Arc::new(updates.to_vec()));
    let config = Arc::new(Config { until, ..config.clone() });
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers() as u64);
        let (out, config) = (Arc::clone(&out), Arc::clone(&config));
        let mut input = worker.dataflow(|scope| {
            let (input, stream) = scope.new_input_with_builder::<CapacityContainerBuilder<Updates<D>>>();
            let states = States::new((index, scope.peers()), until, None);
            let rows = render(&Context { scope, config, states }, stream);
            rows.inspect(move |update| out.lock().expect("unpoisoned").push(update.clone()));
            input
        });
        let (mut batches, mut mixer) = (Mixer(seed), Mixer(!seed));
        for batch in updates.chunk_by(|_, _| batches.below(4) > 0) {
            input.advance_to(batch[0].1);
            for (datum, time, diff) in batch {
                if mixer.below(peers) == index as u64 {
                    input.send((datum.clone(), *time, *diff));
                }
            }
            input.flush();
            for _ in 0..mixer.below(4) {
                worker.step();
            }
        }
    })
    .expect("timely starts");
    drop(guards);
    let mut rows = std::mem::take(&mut *rows.lock().expect("unpoisoned"));
    rows.sort_by_key(|(_, time, _)| *time);
    rows
}

/// Follows a view's rows along its updates.
#[derive(Default)]
pub(crate) struct Follower {
    next: usize,
    counts: BTreeMap<Row, i64>,
    pub(crate) digest: Digest,
}

impl Follower {
    /// The rows at `time`.
    pub(crate) fn at(&mut self, updates: &Updates<RowChange>, time: u64) -> BTreeSet<Row> {
        while let Some((change, _, diff)) = updates.get(self.next).filter(|(_, at, _)| *at <= time) {
            *self.counts.entry(change.row.clone()).or_default() += diff;
            self.digest.apply(&change.row, *diff);
            self.next += 1;
        }
        self.counts.retain(|_, count| *count != 0);
        assert!(self.counts.values().all(|count| *count == 1), "a row stands once: {:?}", self.counts);
        self.counts.keys().cloned().collect()
    }
}

/// Checks a view: over 1, 2 and 4 workers, at each point, against the oracle; and the digests against each other.
pub(crate) fn check<D, F>(
    seed: u64,
    config: &Config,
    mut updates: Updates<D>,
    points: &[u64],
    cadence: u64,
    render: F,
    oracle: impl Fn(&[(D, u64, i64)], u64) -> BTreeSet<Row>,
) -> Result<(), TestCaseError>
where
    D: Clone + Send + Sync + 'static,
    F: for<'s> Fn(&Context<'s>, Collection<'s, D>) -> Rows<'s> + Clone + Send + Sync + 'static,
{
    updates.sort_by_key(|(_, time, _)| *time);
    let until = points.last().map_or(0, |last| last + 1);
    let expected: Vec<_> = points
        .iter()
        .map(|point| oracle(&updates[..updates.partition_point(|(_, time, _)| time <= point)], *point))
        .collect();
    for workers in [1, 2, 4] {
        let rows = run(workers, seed, until, config, &updates, render.clone());
        prop_assert!(rows.iter().all(|(_, time, _)| time.is_multiple_of(cadence)), "rows move at cadence points only");
        let (mut follower, mut digest) = (Follower::default(), Digest::default());
        for (point, expected) in points.iter().zip(&expected) {
            let rows = follower.at(&rows, *point);
            prop_assert_eq!(&rows, expected, "{} workers, {} ms", workers, point - BASE);
            digest = Digest::default();
            expected.iter().for_each(|row| digest.apply(row, 1));
        }
        prop_assert_eq!(follower.digest, digest);
    }
    Ok(())
}

/// Drives a machine by hand, and between any two steps may write its state down and spread it over new machines.
pub(crate) struct ByHand<M: Machine> {
    machines: Vec<M>,
    wakes: BTreeSet<u64>,
    pub(crate) out: Updates<M::Output>,
}

impl<M: Machine> ByHand<M> {
    pub(crate) fn new(machine: M) -> Self {
        ByHand { machines: vec![machine], wakes: BTreeSet::new(), out: Vec::new() }
    }

    /// Runs all wake-ups before `time`, and `data` at `time`, each on the machine that `owner` names.
    pub(crate) fn step(&mut self, time: u64, data: Vec<(M::Input, i64)>, owner: impl Fn(&M::Input) -> u64) {
        while let Some(wake) = self.wakes.first().copied().filter(|wake| *wake < time) {
            self.wakes.remove(&wake);
            self.all(wake, Vec::new(), &owner);
        }
        self.wakes.remove(&time);
        self.all(time, data, &owner);
    }

    fn all(&mut self, time: u64, data: Vec<(M::Input, i64)>, owner: &impl Fn(&M::Input) -> u64) {
        let mut parts: Vec<Vec<(M::Input, i64)>> = self.machines.iter().map(|_| Vec::new()).collect();
        let count = parts.len() as u64;
        for (datum, diff) in data {
            parts[usize::try_from(owner(&datum) % count).expect("few")].push((datum, diff));
        }
        for (machine, mut part) in self.machines.iter_mut().zip(parts) {
            machine.step(&mut part, &mut Step::new(time, &mut self.out, &mut self.wakes));
        }
    }

    /// Writes the state down, as JSON for want of a disk, and restores it into other machines.
    pub(crate) fn restore(&mut self, machines: Vec<M>, owner: impl Fn(&M::Entry) -> u64) {
        let count = machines.len() as u64;
        let mut parts: Vec<Vec<M::Entry>> = machines.iter().map(|_| Vec::new()).collect();
        for entry in self.machines.iter().flat_map(Machine::entries) {
            let text = serde_json::to_string(&entry).expect("an entry can be written");
            let entry: M::Entry = serde_json::from_str(&text).expect("and read");
            parts[usize::try_from(owner(&entry) % count).expect("few")].push(entry);
        }
        self.machines = machines;
        self.wakes.clear();
        for (machine, part) in self.machines.iter_mut().zip(parts) {
            self.wakes.extend(machine.restore(part));
        }
    }
}

/// One attempt of a history, in small numbers.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) came: u64,
    pub(crate) age: u64,
    pub(crate) project: u8,
    pub(crate) suite: u8,
    pub(crate) test: u8,
    pub(crate) outcome: Outcome,
    pub(crate) duration_us: Option<u64>,
    pub(crate) pattern: u8,
    pub(crate) withdrawn_after: Option<u64>,
}

/// Attempts within `span` ms, some late, some withdrawn after up to `memory` ms.
pub(crate) fn attempts(span: u64, ages: Vec<(u32, u64)>, memory: u64) -> impl Strategy<Value = Vec<Attempt>> {
    let ages = prop::strategy::Union::new_weighted(
        ages.into_iter().map(|(weight, age)| (weight, (0..=age).boxed())).collect(),
    );
    let outcome = prop_oneof![
        3 => Just(Outcome::Passed), 1 => Just(Outcome::Skipped), 3 => Just(Outcome::Failed),
        1 => Just(Outcome::Error), 1 => Just(Outcome::Timeout)
    ];
    let duration =
        prop_oneof![3 => (0u64..5_000_000).prop_map(Some), 1 => Just(None), 1 => Just(Some(9_000_000_000_000_000))];
    let withdrawn =
        prop_oneof![3 => Just(None), 1 => Just(Some(0)), 2 => (0..=memory / 10).prop_map(|after| Some(after * 10))];
    let names = (0u8..2, 0u8..3, 0u8..4, 0u8..5);
    prop::collection::vec((0..=span / 10, ages, names, outcome, duration, withdrawn), 0..40).prop_map(|items| {
        items
            .into_iter()
            .map(|(came, age, (project, suite, test, pattern), outcome, duration_us, withdrawn_after)| Attempt {
                came: BASE + came * 10,
                age,
                project,
                suite,
                test,
                outcome,
                duration_us,
                pattern,
                withdrawn_after,
            })
            .collect()
    })
}

/// The facts of a history; each attempt is another one.
pub(crate) fn facts(attempts: &[Attempt]) -> Updates<AttemptFact> {
    let mut updates = Vec::new();
    for (number, attempt) in attempts.iter().enumerate() {
        let fact = fact(number, attempt);
        updates.push((fact.clone(), attempt.came, 1));
        if let Some(after) = attempt.withdrawn_after {
            updates.push((fact, attempt.came + after, -1));
        }
    }
    updates
}

fn fact(number: usize, attempt: &Attempt) -> AttemptFact {
    let text = |kind: &str, number: u8| Text::from(format!("{kind}{number}"));
    let (project, test) = (text("p", attempt.project), text("t", attempt.test));
    let suite = if attempt.suite == 0 { Text::default() } else { text("s", attempt.suite) };
    let names = Names {
        run_id: Id::of(&["run"]),
        suite_id: if suite.is_empty() { Id::default() } else { Id::of(&["suite", &project, &suite]) },
        test_id: Some(Id::of(&["test", &project, &test])),
        project: Arc::clone(&project),
        run: text("r", 0),
        test_name: Arc::clone(&test),
        test: Arc::clone(&test),
        suite_name: Arc::clone(&suite),
        suite: Arc::clone(&suite),
    };
    let failure = attempt.outcome.fails().then(|| {
        let (pattern, message) = (text("pattern", attempt.pattern), Text::from(format!("message {number}")));
        Arc::new(Failure {
            fingerprint: Id(u128::from(attempt.pattern) << 7),
            pattern,
            kind: Text::from("E"),
            message,
            ..Failure::default()
        })
    });
    AttemptFact {
        attempt: u32::try_from(number + 1).expect("few"),
        at: attempt.came - attempt.age,
        came: attempt.came,
        outcome: attempt.outcome,
        duration_us: attempt.duration_us,
        names: Arc::new(names),
        origin: Arc::new(Origin {
            stream: Id::of(&["stream"]),
            stream_name: "stream".into(),
            project,
            framework: (attempt.test > 0).then(|| text("f", attempt.test % 2)),
            branch: (attempt.pattern > 0).then(|| text("b", attempt.pattern % 2)),
            ..Origin::default()
        }),
        failure,
    }
}
