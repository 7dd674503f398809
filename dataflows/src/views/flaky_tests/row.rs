//! The row of a test on a branch, with the attempts that decided.
//!
//! Contract: a pure function of a ring and what was made of it; evidence is a list of texts, each a JSON object.
//!
//! # Cost
//! O(evidence): at most as many attempts as a rule's window.

use super::ring::{Entry, Ring};
use super::rings::Key;
use super::rules::Judging;
use super::verdict::Verdict;
use crate::input::Text;
use serde::Serialize;
use weir_schemas::row::{Row, RowWriter, ratio};
use weir_schemas::view::FLAKY_TESTS;

/// One of the attempts that decided, as it is shown.
#[derive(Serialize)]
struct Evidence<'a> {
    run: &'a str,
    attempt: u32,
    outcome: &'a str,
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
}

fn evidence(entry: &Entry) -> String {
    let shown = Evidence {
        run: &entry.run,
        attempt: entry.attempt,
        outcome: entry.outcome.as_str(),
        at: entry.at,
        commit: entry.commit.as_deref(),
        worker: entry.worker.as_deref(),
    };
    serde_json::to_string(&shown).expect("texts and numbers can be written")
}

/// The row.
pub(super) fn row(writer: &mut RowWriter, key: &Key, ring: &Ring, verdict: &Verdict<'_>, judging: Judging<'_>) -> Row {
    let (names, some) = (&ring.names, |text: &Text| (!text.is_empty()).then(|| Text::clone(text)));
    let int = |number: u64| i64::try_from(number).expect("at most 64");
    let evidence: Vec<String> = verdict.evidence.iter().map(|entry| evidence(entry)).collect();
    writer.str(&names.project).str(&names.test).str(&key.1);
    writer.opt_str(some(&names.test_name).as_deref()).opt_str(some(&names.suite).as_deref());
    writer.str(verdict.state.as_str()).opt_str(verdict.reason.map(|reason| reason.as_str()));
    writer.opt_uint(verdict.since).uint(verdict.flips).uint(verdict.outcomes);
    writer.opt_int(ratio(int(verdict.failed), 100, int(verdict.outcomes))).opt_uint(verdict.last_flake_at);
    writer.list(evidence.iter().map(String::as_str)).opt_uint(verdict.passes_needed).opt_uint(verdict.clears_at);
    writer.opt_str(judging.name.map(|(id, _)| id)).opt_uint(judging.name.map(|(_, since)| since));
    writer.finish(&FLAKY_TESTS)
}
