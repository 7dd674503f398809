//! The dataflow as a whole: what feeds it, what is wired to what, and what comes out.
//!
//! Contract: [`build`] is called once on every worker of the cluster, with the same configuration. Feed each record once,
//! on any worker, at its tick; say the bound ticks of this process on `commits`; advance all inputs together past a
//! tick when it is closed and bound. Frames arrive at the sink of worker 0. Questions go in by an input of their own, which is
//! not bound and changes nothing that is shown (`dry_run`); it is advanced with the others.

use crate::admission::admit;
use crate::budget::{Order, budget, orders};
use crate::by_test::by_test;
use crate::config::Config;
use crate::context::Context;
use crate::control::{ControlInput, Rule};
use crate::dry_run::{Answer, Question};
use crate::durations::durations;
use crate::facts::{AttemptFact, PhaseChange, RowChange, Rows};
use crate::fork::Forks;
use crate::gate::gate;
use crate::input::{Event, Input, Refusal};
use crate::keyed::{Collection, States, Updates};
use crate::output::{Cut, Outputs, Sink};
use crate::results::{self, results};
use crate::run_failures::{self, run_failures};
use crate::runs::silence::{self, Pause};
use crate::runs::{RunFacts, RunOutput, live};
use crate::sums::sum;
use crate::views::alerts::Taps;
use crate::views::dashboard::Taps as Tiles;
use crate::views::{
    alerts, coverage, dashboard, error_stream, failure_patterns, flaky_tests, live_metrics, performance, rejects,
    run_progress, suite_progress, summaries, user_activity,
};
use crate::withdrawals;
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::vec::Map as _;
use timely::dataflow::operators::{Concat as _, Concatenate as _, Exchange as _, Input as _};
use timely::worker::Worker;
use weir_schemas::control::ControlKind;
use weir_schemas::view::{
    ALERTS, COVERAGE, COVERAGE_OVERVIEW, COVERAGE_SUMMARY, DASHBOARD, ERROR_STREAM, FAILURE_PATTERNS, FLAKY_TESTS,
    LIVE_METRICS, MISSING, PERFORMANCE, PERFORMANCE_SUMMARY, REJECTS, RULES, RUN_PROGRESS, SLOW_TESTS, SUITE_PROGRESS,
    SUITE_SUMMARY, TEST_RESULTS, USER_ACTIVITY, View,
};

/// What feeds the dataflow, on one worker.
pub struct Inputs {
    /// Events and unreadable records, each at its tick, with difference +1.
    pub events: InputHandle<u64, CapacityContainerBuilder<Updates<Input>>>,
    /// Whether silence timers stand still from this tick on (`time.md`, recovery 5): sent on one worker, at each change.
    pub silence: InputHandle<u64, CapacityContainerBuilder<Updates<bool>>>,
    /// What people say, each record at its tick, with difference +1; fed on any worker.
    pub control: InputHandle<u64, CapacityContainerBuilder<Updates<ControlInput>>>,
    /// What is asked, each at a tick that is still open, with difference +1; fed on any worker.
    pub questions: InputHandle<u64, CapacityContainerBuilder<Updates<Question>>>,
    /// The bound ticks, each sent at its own time, once its binding is durable; then advanced past it.
    pub commits: InputHandle<u64, CapacityContainerBuilder<Vec<u64>>>,
    /// What all operators of the worker keep.
    pub states: States,
}

/// Builds the dataflow on a worker. `sink` receives frames on worker 0.
pub fn build(worker: &mut Worker, config: &Config, sink: Sink) -> Inputs {
    build_from(worker, config, None, sink)
}

/// The same, of which the state is that of a cut: it is to be taken up ([`States`]) before the dataflow is stepped, and nothing up to
/// the cut is to be fed.
pub fn build_from(worker: &mut Worker, config: &Config, cut: Option<Cut>, sink: Sink) -> Inputs {
    let config = Arc::new(config.clone());
    let states = States::new((worker.index(), worker.peers()), config.until, cut.as_ref().map(|cut| cut.tick));
    let mut inputs = worker.dataflow_named("weir", |scope| {
        let (events, event_stream) = scope.new_input::<Updates<Input>>();
        let (silence, silence_stream) = scope.new_input::<Updates<bool>>();
        let (control, control_stream) = scope.new_input::<Updates<ControlInput>>();
        let (questions, question_stream) = scope.new_input::<Updates<Question>>();
        let (commits, commit_stream) = scope.new_input::<Vec<u64>>();
        let cx = Context { scope, config, states: states.clone() };
        let asked = asked(&cx, question_stream);
        let (outputs, refusals, answers) = render(&cx, event_stream, silence_stream, control_stream, asked);
        outputs.release((refusals, answers), commit_stream, (cut.clone(), states.clone()), sink);
        Inputs { events, silence, control, questions, commits, states }
    });
    if let Some(cut) = cut {
        inputs.advance_to(cut.tick + 1);
        inputs.commits.advance_to(cut.tick + 1);
    }
    inputs
}

impl Inputs {
    /// Says that nothing more comes before `time`; what is committed is said apart.
    pub fn advance_to(&mut self, time: u64) {
        self.events.advance_to(time);
        self.silence.advance_to(time);
        self.control.advance_to(time);
        self.questions.advance_to(time);
    }
}

/// Questions of each kind of rule, to every worker.
struct AskedOf<'s> {
    flaky: Collection<'s, Question>,
    masks: Collection<'s, Question>,
}

fn asked<'s>(cx: &Context<'s>, questions: Collection<'s, Question>) -> AskedOf<'s> {
    let peers = cx.scope.peers() as u64;
    let of = |kind: ControlKind| {
        questions.clone().flat_map(move |(question, time, diff)| {
            let peers = if question.record.change.kind() == kind { peers } else { 0 };
            (0..peers).map(move |peer| (Question { peer, ..question.clone() }, time, diff))
        })
    };
    AskedOf { flaky: of(ControlKind::Flaky), masks: of(ControlKind::Mask) }
}

/// What is known of events before anybody looks at what they say.
struct Admitted<'s> {
    facts: Collection<'s, Arc<RunFacts>>,
    /// On the worker that is told.
    phases: Collection<'s, PhaseChange>,
    missing_of_streams: Rows<'s>,
    /// Events that were admitted, of runs that have not left.
    passed: Collection<'s, Input>,
}

/// Admission, the lives of runs, and the gate.
fn admitted<'s>(
    cx: &Context<'s>,
    events: Collection<'s, Input>,
    silence: Collection<'s, Pause>,
    orders: Collection<'s, Order>,
) -> Admitted<'s> {
    let (admitted, notes) = admit(cx, events);
    let mut lives = Forks::new("RunKinds", live(cx, notes, silence, orders));
    let phases = lives.tap(|output| match output {
        RunOutput::Phase(change) => Some(change.clone()),
        RunOutput::Facts(_) | RunOutput::Missing(_) => None,
    });
    let missing_of_streams = lives.tap(|output| match output {
        RunOutput::Missing(row) => Some(row.clone()),
        RunOutput::Phase(_) | RunOutput::Facts(_) => None,
    });
    let facts = lives.rest(|output| match output {
        RunOutput::Facts(facts) => Some(facts),
        RunOutput::Phase(_) | RunOutput::Missing(_) => None,
    });
    // Once for all that are told.
    let phases = phases.exchange(|(change, _, _): &(PhaseChange, u64, i64)| change.peer);
    let passed = gate(cx, admitted, phases.clone());
    Admitted { facts, phases, missing_of_streams, passed }
}

/// Events that passed the gate, by who looks at what they say.
struct Events<'s> {
    that_withdraw: Collection<'s, Arc<Event>>,
    of_suites: Collection<'s, Arc<Event>>,
    of_coverage: Collection<'s, Arc<Event>>,
    of_performance: Collection<'s, Arc<Event>>,
    of_runs: Collection<'s, Arc<Event>>,
    of_results: Collection<'s, Arc<Event>>,
    refusals: Collection<'s, Arc<Refusal>>,
}

fn events_by_kind(passed: Collection<'_, Input>) -> Events<'_> {
    let mut kinds = Forks::new("EventKinds", passed);
    Events {
        that_withdraw: kinds.tap(withdrawals::event_that_withdraws),
        of_suites: kinds.tap(suite_progress::event_of_suite),
        of_coverage: kinds.tap(coverage::event_of_coverage),
        of_performance: kinds.tap(performance::measures::event_of_performance),
        of_runs: kinds.tap(run_failures::event_of_run),
        refusals: kinds.tap(|input| match input {
            Input::Refused(refusal) => Some(Arc::clone(refusal)),
            Input::Event(_) => None,
        }),
        of_results: kinds.rest(results::event_of_result),
    }
}

/// The results, and every view on top of them.
fn render<'s>(
    cx: &Context<'s>,
    events: Collection<'s, Input>,
    silence: Collection<'s, bool>,
    control: Collection<'s, ControlInput>,
    asked: AskedOf<'s>,
) -> (Outputs<'s>, Collection<'s, Arc<Refusal>>, Collection<'s, Answer>) {
    let control = crate::control::control(cx, control);
    let (orders_handle, orders) = orders(&cx.scope);
    let silence = silence::everywhere(silence);
    let Admitted { facts: of_runs, phases, missing_of_streams, passed } =
        admitted(cx, events, silence.clone(), orders.clone());
    let events = events_by_kind(passed);
    let withdrawals = withdrawals::withdrawals(cx, events.that_withdraw, phases.clone());
    let measures = (events.of_performance, withdrawals.events.clone());
    let measured = performance::measures::measures(cx, measures, phases.clone(), control.rules.clone());
    let failures_of_runs = (events.of_runs, withdrawals.of_events.clone());
    let failures_of_runs = run_failures(cx, failures_of_runs, phases.clone(), control.rules.clone());
    let of_results = (phases.clone(), control.rules.clone(), orders.clone());
    let results = results(cx, events.of_results, withdrawals.events, of_results);
    let of_coverage = events.of_coverage.concat(withdrawals.of_events);
    let coverage =
        coverage::render(cx, of_coverage, phases.clone(), of_runs.clone(), control.rules.clone(), orders.clone());
    let mut coverage_summary = forks(coverage.summaries);
    let covered = coverage_summary.tap(|change| live_metrics::gauges::Covered::of(&change.row));
    let refusals =
        [events.refusals, results.refusals, control.refusals, failures_of_runs.refusals, withdrawals.refusals];
    let refusals = cx.scope.concatenate(refusals);
    let mut parts = Forks::new("PartsOfRuns", sum(cx, results.changes, phases.clone()));
    let parts_of_runs = parts.tap(|part| (!part.of_suite).then(|| part.clone()));
    let parts_of_suites = parts.rest(|part| part.of_suite.then_some(part));
    let suites = suite_progress::render(cx, parts_of_suites, events.of_suites, phases.clone(), orders);
    let held = [results.held, suites.held, coverage.held];
    let missing_of_budget = budget(cx, held, phases.clone(), orders_handle);
    let runs = run_progress::render(cx, of_runs, parts_of_runs, failures_of_runs.of_runs);
    let facts = results.facts;
    let failures = results.failures.concat(failures_of_runs.facts);

    let mut shown = Shown::default();
    shown.add(&RULES, forks(control.rows));
    let (errors, of_masks) = error_stream::render(cx, failures.clone(), control.rules.clone(), asked.masks);
    shown.add(&ERROR_STREAM, forks(errors));
    let (of_phases, of_rules) = (phases.clone(), control.rules.clone());
    let facts_by_test = by_test(facts.clone());
    let of_tests = flaky_tests::Of { facts: facts_by_test, tested: results.tested, phases: of_phases, rules: of_rules };
    let (slow, of_flaky_rules) = over_runs(cx, of_tests, asked.flaky, &mut shown);
    shown.add(&COVERAGE, forks(coverage.rows));
    shown.add(&COVERAGE_OVERVIEW, forks(summaries::of_coverage(cx, &mut coverage_summary)));
    shown.add(&COVERAGE_SUMMARY, coverage_summary);
    shown.add(&RUN_PROGRESS, forks(runs.rows));
    let mut suite_rows = forks(suites.rows);
    shown.add(&SUITE_SUMMARY, forks(summaries::of_suites(cx, &mut suite_rows)));
    shown.add(&SUITE_PROGRESS, suite_rows);
    shown.add(&TEST_RESULTS, forks(results.rows));
    let (running, awaited) = (results.running, runs.awaited);
    let sources = live_metrics::Sources { facts, slow, measured: measured.clone(), running, awaited, covered };
    let (metrics, late, of_suites) = live_metrics::render(cx, sources);
    shown.add(&LIVE_METRICS, forks(metrics));
    let mut performance = forks(performance::render(cx, of_suites, measured));
    shown.add(&PERFORMANCE_SUMMARY, forks(summaries::of_performance(cx, &mut performance)));
    shown.add(&PERFORMANCE, performance);
    shown.add(&USER_ACTIVITY, forks(user_activity::render(cx, runs.of_users)));
    shown.add(&FAILURE_PATTERNS, forks(failure_patterns::render(cx, failures)));
    shown.add(&REJECTS, forks(rejects::render(cx, refusals.clone(), late)));
    let missing = [results.missing, runs.missing, missing_of_streams, suites.missing, missing_of_budget];
    shown.add(&MISSING, forks(cx.scope.concatenate(missing)));
    let outputs = shown.all(cx, control.rules, silence);
    (outputs, refusals, of_masks.concat(of_flaky_rules))
}

/// What is kept of tests over their runs: which are slow, and which are flaky. Gives the attempts that were slow, and the answers to
/// what was asked of flaky rules.
fn over_runs<'s>(
    cx: &Context<'s>,
    of_tests: flaky_tests::Of<'s>,
    asked: Collection<'s, Question>,
    shown: &mut Shown<'s>,
) -> (Collection<'s, AttemptFact>, Collection<'s, Answer>) {
    let durations = durations(cx, of_tests.facts.clone());
    shown.add(&SLOW_TESTS, forks(durations.rows));
    let (flaky, answers) = flaky_tests::render(cx, of_tests, asked);
    shown.add(&FLAKY_TESTS, forks(flaky));
    (durations.slow, answers)
}

/// Where the rows of views go: to what is made of other views' rows, and out.
#[derive(Default)]
struct Shown<'s> {
    watched: Taps<'s>,
    tiles: Tiles<'s>,
    outputs: Outputs<'s>,
}

impl<'s> Shown<'s> {
    fn add(&mut self, view: &'static View, mut rows: Forks<'s, RowChange>) {
        self.watched.tap(view, &mut rows);
        self.tiles.tap(view, &mut rows);
        self.outputs.add(view, rows);
    }

    /// The rows of all views, when those that are made of other views' rows have been added.
    fn all(mut self, cx: &Context<'s>, rules: Collection<'s, Rule>, silence: Collection<'s, Pause>) -> Outputs<'s> {
        let watched = std::mem::take(&mut self.watched);
        self.add(&ALERTS, forks(alerts::render(cx, watched, rules, silence)));
        let tiles = std::mem::take(&mut self.tiles);
        self.add(&DASHBOARD, forks(dashboard::render(cx, tiles)));
        self.outputs
    }
}

/// Rows of a view, for all who look at them.
fn forks(rows: Rows<'_>) -> Forks<'_, RowChange> {
    Forks::new("Rows", rows)
}
