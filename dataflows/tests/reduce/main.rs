//! The second implementation of the views: each as plain differential dataflow, with the same digests at every frame.
//!
//! Contract: [`FORMS`] are the views as `reduce`, `join`, `distinct` and `count` over what the oracle's early stages decided
//! ([`stages`]); windows and leaves are retractions of the future. A form is a function of what holds now. What a view decides by
//! what came first, for want of room or because it was so once, is none: histories run with room for what views keep of their own
//! and with memories that do not end ([`roomy`]), and views that are nothing else are in [`NO_FORMS`]: those the oracle proves
//! alone. The row budget and the limit of withdrawals stay as small as they are in other histories: they are decided before.

mod bytes;
#[path = "../common/mod.rs"]
mod common;
mod coverage;
mod early;
mod error_stream;
mod failure_patterns;
mod live_metrics;
mod missing;
mod of;
mod performance;
mod rejects;
mod rules;
mod run_progress;
mod shared;
mod slow_tests;
mod stages;
mod suite_progress;
mod summaries;
mod test_results;
mod tests;
mod told;
mod user_activity;

use bytes::Bytes;
use common::history::{config, history};
use common::{Feeding, Folded, json, run};
use early::Early;
use proptest::prelude::*;
use stages::{History, Rows, Stages, Updates};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use weir_dataflows::Config;
use weir_dataflows::output::Released;
use weir_schemas::row::Row;
use weir_schemas::update::Digest;
use weir_schemas::view::{VIEWS, View, view, view_index};

/// A view as plain differential dataflow.
type Form = for<'s> fn(&Stages<'s>, &Config) -> Rows<'s>;

/// One line a view.
const FORMS: &[(&str, Form)] = &[
    ("run_progress", run_progress::rows),
    ("suite_progress", suite_progress::rows),
    ("test_results", test_results::rows),
    ("live_metrics", live_metrics::rows),
    ("coverage", coverage::rows),
    ("coverage_summary", coverage::summary),
    ("failure_patterns", failure_patterns::rows),
    ("error_stream", error_stream::rows),
    ("missing", missing::rows),
    ("user_activity", user_activity::rows),
    ("slow_tests", slow_tests::rows),
    ("performance", performance::rows),
    ("rejects", rejects::rows),
    ("rules", rules::rows),
    ("suite_summary", summaries::of_suites),
    ("coverage_overview", summaries::of_coverage),
    ("performance_summary", summaries::of_performance),
];

/// Views that are no function of what holds now, and why.
const NO_FORMS: &[(&str, &str)] = &[
    (
        "flaky_tests",
        "a ring begins with the first failure and keeps no pass from before, so it is what came since, in order",
    ),
    ("alerts", "a row is that of the moment at which it fired, and goes by another threshold than it came"),
    ("dashboard", "it counts rows of flaky_tests and alerts, which have no form"),
];

/// Room for all that a view keeps of its own, memories that do not end, and no comparison with a run of before. Runs that have left
/// come again or not.
fn roomy(again: bool) -> Config {
    // From 1970 on: some events say that they are so old.
    let always = 100_000 * 86_400_000;
    Config {
        error_memory_ms: always,
        patterns_held: 1 << 20,
        pattern_memory_ms: always,
        coverage_said: 1_000,
        main_branches: Vec::new(),
        live_scopes: 1 << 20,
        performance_scopes: 1 << 20,
        performance_metrics: 32,
        users: 1_000,
        user_memory_ms: always,
        late_memory_ms: if again { config().late_memory_ms } else { always },
        ..config()
    }
}

/// A history, as the views and the forms have it.
struct Case {
    /// Whether runs come again; then counts of rejects are forgotten, which no form can say.
    again: bool,
    /// The frames of the dataflow.
    shown: Vec<Released>,
    /// What each form says.
    forms: Vec<Updates<Row>>,
}

impl Case {
    fn new(seed: u64, length: usize, workers: usize) -> Case {
        let (ticks, again) = (history(seed, length), seed.is_multiple_of(2));
        let early = Early::new(&roomy(again), &ticks);
        // So few that not all errors are shown, but twice as many are all that there ever were.
        let config = Config { errors: early.failures.len().div_ceil(2).max(1), ..roomy(again) };
        let forms = forms(&config, &History::new(&config, &ticks, &early), workers);
        Case { again, shown: run(&config, &ticks, Feeding { workers, ..Feeding::SIMPLE }), forms }
    }

    /// Whether the forms have at each frame what the views show.
    fn check(&self) -> Result<(), TestCaseError> {
        let mut standing: Vec<Standing> = FORMS.iter().map(|_| Standing::default()).collect();
        let mut folded = Folded::new();
        for released in &self.shown {
            folded.apply(released);
            for (((name, _), updates), standing) in FORMS.iter().zip(&self.forms).zip(&mut standing) {
                let view = view(name).expect("a view");
                standing.advance(updates, point(view, folded.time));
                if !(self.again && *name == "rejects") {
                    standing.check(view, &folded)?;
                }
            }
        }
        Ok(())
    }
}

/// When a view was last exact.
fn point(view: &View, time: u64) -> u64 {
    time - time % view.cadence_ms.max(1)
}

/// What each form says, by time.
fn forms(config: &Config, stages: &History, workers: usize) -> Vec<Updates<Row>> {
    let found: Arc<Mutex<Vec<Updates<Bytes>>>> = Arc::new(Mutex::new(vec![Vec::new(); FORMS.len()]));
    let (config, stages, out) = (config.clone(), stages.clone(), Arc::clone(&found));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        worker.dataflow(|scope| {
            let stages = stages.feed(scope);
            for (number, (_, form)) in FORMS.iter().enumerate() {
                let out = Arc::clone(&out);
                let rows = form(&stages, &config).raw();
                rows.inspect(move |update| out.lock().expect("unpoisoned")[number].push(update.clone()));
            }
        });
    })
    .expect("timely starts");
    drop(guards);
    let found = std::mem::take(&mut *found.lock().expect("unpoisoned"));
    let rows = |mut updates: Updates<Bytes>| {
        updates.sort_by_key(|(_, at, _)| *at);
        updates.into_iter().map(|(bytes, at, diff)| (of::read(&bytes), at, diff)).collect()
    };
    found.into_iter().map(rows).collect()
}

/// A form's rows as they stand.
#[derive(Default)]
struct Standing {
    next: usize,
    rows: BTreeMap<Row, isize>,
    digest: Digest,
}

impl Standing {
    fn advance(&mut self, updates: &Updates<Row>, time: u64) {
        for (row, _, diff) in updates[self.next..].iter().take_while(|(_, at, _)| *at <= time) {
            *self.rows.entry(row.clone()).or_default() += diff;
            self.digest.apply(row, *diff as i64);
            self.next += 1;
        }
        self.rows.retain(|_, count| *count != 0);
    }

    fn check(&self, view: &View, folded: &Folded) -> Result<(), TestCaseError> {
        if self.digest == folded.digests[view_index(view.name).expect("a view")] {
            return Ok(());
        }
        let plain: BTreeSet<String> = self.rows.iter().map(|(row, n)| format!("{n} × {}", json(row, view))).collect();
        let shown: BTreeSet<String> = folded.json(view).iter().map(|row| format!("1 × {row}")).collect();
        let only = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>();
        prop_assert_eq!(only(&shown, &plain), only(&plain, &shown), "{} at {}", view.name, folded.time);
        Err(TestCaseError::fail(format!("{} at {}: equal rows of unequal digests", view.name, folded.time)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("WEIR_LONG").is_some() { 300 } else { 12 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn plain_forms_have_the_digests_of_the_views_at_every_frame(
        seed: u64, length in 1usize..60, workers in prop::sample::select(vec![1usize, 2]),
    ) {
        Case::new(seed, length, workers).check()?;
    }
}

#[test]
fn every_view_has_a_form_or_a_reason_why_it_has_none() {
    let named: Vec<&str> = FORMS.iter().map(|(name, _)| *name).chain(NO_FORMS.iter().map(|(name, _)| *name)).collect();
    let views: BTreeSet<&str> = VIEWS.iter().map(|view| view.name).collect();
    assert_eq!(named.iter().copied().collect::<BTreeSet<_>>(), views);
    assert_eq!(named.len(), views.len(), "none stands twice");
}

#[test]
fn a_form_that_loses_one_update_is_told_from_its_view() {
    let mut left: BTreeSet<usize> = (0..FORMS.len()).collect();
    for seed in 0..100 {
        let mut case = Case::new(seed, 40, 1);
        case.check().expect("equal before one is lost");
        let end = case.shown.last().map_or(0, |released| released.frame.upper);
        left.retain(|number| {
            let (view, updates) = (view(FORMS[*number].0).expect("a view"), &case.forms[*number]);
            let last = updates.iter().rposition(|(_, at, _)| *at <= point(view, end));
            let Some(last) = last.filter(|_| !(case.again && view.name == "rejects")) else { return true };
            let lost = case.forms[*number].remove(last);
            let said = case.check().expect_err("a lost update shows").to_string();
            assert!(said.contains(view.name), "{}: {said}", view.name);
            case.forms[*number].insert(last, lost);
            false
        });
        if left.is_empty() {
            return;
        }
    }
    panic!("nothing ever changes in {left:?}");
}
