//! The oracle's early stages alone: its views are nothing to the forms.

use super::common::Tick;
use super::common::oracle::admission::{Judged, admission};
use super::common::oracle::attempts::{facts, failures_of_runs};
use super::common::oracle::performance::{Measured, measured};
use super::common::oracle::rejects::{Rejected, rejected};
use super::common::oracle::runs::{Lives, lives};
use super::common::oracle::slow_tests::slow;
use weir_dataflows::Config;
use weir_dataflows::facts::AttemptFact;
use weir_dataflows::keyed::Updates;

/// What a history comes to before any view.
pub(crate) struct Early {
    pub(crate) judged: Vec<Judged>,
    pub(crate) lives: Lives,
    pub(crate) facts: Updates<AttemptFact>,
    /// Attempts that failed, and failures of runs.
    pub(crate) failures: Updates<AttemptFact>,
    pub(crate) slow: Updates<AttemptFact>,
    pub(crate) measured: Updates<Measured>,
    pub(crate) rejected: Updates<Rejected>,
}

impl Early {
    pub(crate) fn new(config: &Config, ticks: &[Tick]) -> Early {
        let judged = admission(config, ticks);
        let lives = lives(config, ticks, &judged);
        let facts = facts(&lives);
        let mut failures = [facts.clone(), failures_of_runs(&lives)].concat();
        failures.retain(|(fact, ..)| fact.failure.is_some());
        let slow = slow(&facts, config);
        let measured = measured(config, ticks, &lives);
        let rejected = rejected(config, ticks, &judged, &lives, &facts);
        Early { judged, lives, facts, failures, slow, measured, rejected }
    }
}
