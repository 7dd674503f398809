//! The oracles: plain functions from the list of what came in to the rows at a time, computed from scratch.
//!
//! Written from the design's words (`events.md`, `time.md`, `views.md`), with no timely in them and none of the dataflow's
//! code but the types of what runs between its operators and its failure fingerprint. [`admission`] says which events count,
//! [`runs`] what becomes of their runs, [`budget`] which of them leave early, [`attempts`] what they say of tests; then one file a view.

pub mod admission;
pub mod alerts;
pub mod attempts;
pub mod budget;
pub mod control;
pub mod coverage;
pub mod dashboard;
pub mod error_stream;
pub mod failure_patterns;
pub mod flaky_tests;
pub mod live_metrics;
pub mod missing;
pub mod performance;
pub mod rejects;
pub mod run_failures;
pub mod run_progress;
pub mod runs;
pub mod slow_tests;
pub mod suite_progress;
pub mod summaries;
pub mod test_results;
pub mod user_activity;

use super::Tick;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use weir_dataflows::Config;
use weir_dataflows::facts::AttemptFact;
use weir_dataflows::keyed::Updates;
use weir_schemas::id::Id;
use weir_schemas::row::Row;
use weir_schemas::view::{COVERAGE_SUMMARY, PERFORMANCE, SUITE_PROGRESS, View};

/// All that a history comes to.
pub struct Oracle {
    config: Config,
    ticks: Vec<Tick>,
    pub judged: Vec<admission::Judged>,
    pub lives: runs::Lives,
    pub facts: Updates<AttemptFact>,
    /// What failed: attempts and runs themselves.
    pub failures: Updates<AttemptFact>,
    /// Attempts that were slow for their test.
    pub slow: Updates<AttemptFact>,
    pub rejected: Updates<rejects::Rejected>,
    coverage_summary: BTreeMap<u64, Vec<Row>>,
    measured: Updates<performance::Measured>,
    /// What `live_metrics` counts, and where.
    placed: Updates<(live_metrics::Scope, live_metrics::Datum)>,
    performance: Vec<performance::Placed>,
    alerts: OnceCell<BTreeMap<u64, Vec<Row>>>,
    /// The rows of views by the point at which they were asked for: several views look at the same.
    known: RefCell<BTreeMap<(&'static str, u64), Vec<Row>>>,
}

impl Oracle {
    pub fn new(config: &Config, ticks: &[Tick]) -> Oracle {
        let judged = admission::admission(config, ticks);
        let lives = runs::lives(config, ticks, &judged);
        let facts = attempts::facts(&lives);
        let slow = slow_tests::slow(&facts, config);
        let mut failures = [facts.clone(), attempts::failures_of_runs(&lives)].concat();
        failures.sort_by_key(|(_, at, _)| *at);
        let rejected = rejects::rejected(config, ticks, &judged, &lives, &facts);
        let coverage_summary = coverage::summary_rows(config, ticks, &lives);
        let measured = performance::measured(config, ticks, &lives);
        let performance = performance::placed(config, &facts, &measured);
        let placed = live_metrics::lasting(&facts, &slow, &measured);
        let placed = live_metrics::placed(config, live_metrics::in_scopes(&placed));
        let (config, ticks, alerts, known) = (config.clone(), ticks.to_vec(), OnceCell::new(), RefCell::default());
        Oracle {
            config,
            ticks,
            judged,
            lives,
            facts,
            failures,
            slow,
            rejected,
            coverage_summary,
            measured,
            placed,
            performance,
            alerts,
            known,
        }
    }

    /// The rows of a view at `time`: of one with a cadence, those of its last cadence point.
    pub fn rows(&self, view: &View, time: u64) -> Vec<Row> {
        let point = if view.cadence_ms == 0 { time } else { time - time % view.cadence_ms };
        if let Some(rows) = self.known.borrow().get(&(view.name, point)) {
            return rows.clone();
        }
        let rows = self.compute(view, point);
        self.known.borrow_mut().insert((view.name, point), rows.clone());
        rows
    }

    fn compute(&self, view: &View, point: u64) -> Vec<Row> {
        let runs = runs::at(&self.lives, point);
        match view.name {
            "run_progress" => run_progress::rows(&runs),
            "suite_progress" => suite_progress::rows(&runs),
            "test_results" => test_results::rows(&runs),
            "missing" => missing::rows(&self.config, &runs, &self.judged, point),
            "user_activity" => user_activity::rows(&self.lives, point, &self.config),
            "live_metrics" => {
                let mut gauges = live_metrics::gauges(&runs, point);
                gauges.extend(live_metrics::lines(&self.coverage_summary, point));
                live_metrics::rows(&self.placed, &gauges, point).into_iter().collect()
            }
            "failure_patterns" => {
                let facts: Updates<AttemptFact> = until(&self.failures, point).collect();
                failure_patterns::rows(&facts, point, &self.config).into_iter().collect()
            }
            "slow_tests" => {
                let facts: Updates<AttemptFact> = until(&self.facts, point).collect();
                slow_tests::rows(&facts, point, &self.config)
            }
            "rejects" => {
                let rejected: Updates<rejects::Rejected> = until(&self.rejected, point).collect();
                rejects::rows(&rejected, point, &self.config).into_iter().collect()
            }
            "coverage" => coverage::rows(&self.config, &self.ticks, &runs, point),
            "coverage_summary" => {
                self.coverage_summary.range(..=point).next_back().map_or_else(Vec::new, |(_, rows)| rows.clone())
            }
            "error_stream" => {
                let facts: Updates<AttemptFact> = until(&self.failures, point).collect();
                error_stream::rows(&facts, &self.ticks, point, &self.config)
            }
            "flaky_tests" => {
                let facts: Updates<AttemptFact> = until(&self.facts, point).collect();
                flaky_tests::rows(&facts, &self.lives, &self.ticks, point, &self.config)
            }
            "alerts" => {
                let history = self.alerts.get_or_init(|| alerts::history(self));
                history.range(..=point).next_back().map_or_else(Vec::new, |(_, rows)| rows.clone())
            }
            "performance" => performance::rows(&self.performance, point),
            "dashboard" => dashboard::rows(|view| self.rows(view, point)),
            "suite_summary" => summaries::rows(&SUITE_PROGRESS, self.rows(&SUITE_PROGRESS, point), view, None),
            "coverage_overview" => {
                let rows = self.rows(&COVERAGE_SUMMARY, point);
                summaries::rows(&COVERAGE_SUMMARY, rows, view, Some(("flag", "*")))
            }
            "performance_summary" => {
                let rows = self.rows(&PERFORMANCE, point);
                summaries::rows(&PERFORMANCE, rows, view, Some(("window", "10s")))
            }
            "rules" => control::rows(&self.ticks, point),
            other => panic!("{other} has no oracle"),
        }
    }
}

fn until<D: Clone>(updates: &Updates<D>, time: u64) -> impl Iterator<Item = (D, u64, i64)> {
    updates.iter().filter(move |(_, at, _)| *at <= time).cloned()
}

/// The runs in state, by identity.
pub type Runs<'a> = BTreeMap<Id, &'a runs::Run>;
