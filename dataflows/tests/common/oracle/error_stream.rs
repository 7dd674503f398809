//! The view `error_stream`: by going through the ticks, with the newest of each project kept.

use super::super::Tick;
use super::admission::HOUR;
use super::control::incidents;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::facts::AttemptFact;
use weir_dataflows::keyed::Updates;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::ERROR_STREAM;

/// An error's time, stream and event.
fn place(fact: &AttemptFact) -> (u64, String, String) {
    let failure = fact.failure.as_ref().expect("of failures");
    (fact.at, failure.stream.to_string(), failure.event.to_string())
}

/// The rows at `now`, from all updates up to then.
pub fn rows(updates: &Updates<AttemptFact>, ticks: &[Tick], now: u64, config: &Config) -> Vec<Row> {
    // Each with the time at which it was told.
    let mut projects: BTreeMap<Arc<str>, Vec<(u64, AttemptFact)>> = BTreeMap::new();
    let times: BTreeSet<u64> = updates.iter().map(|(_, time, _)| *time).collect();
    let forget = |held: &mut Vec<(u64, AttemptFact)>, now: u64| {
        held.retain(|(told, _)| (told + config.error_memory_ms).next_multiple_of(HOUR) > now);
    };
    for time in times {
        projects.values_mut().for_each(|held| forget(held, time));
        let of = |sign: i64| {
            updates.iter().filter(move |(fact, at, diff)| *at == time && *diff == sign && fact.failure.is_some())
        };
        for (fact, ..) in of(-1) {
            projects.entry(Arc::clone(&fact.names.project)).or_default().retain(|(_, held)| held != fact);
        }
        let mut came: Vec<&AttemptFact> = of(1).map(|(fact, ..)| fact).collect();
        came.sort_by_key(|f| (f.came, f.at, f.names.run_id, f.names.test_or_zero(), f.attempt));
        let mut touched = BTreeSet::new();
        for fact in came {
            let held = projects.entry(Arc::clone(&fact.names.project)).or_default();
            let same = |other: &&AttemptFact| (place(other).1, place(other).2) == (place(fact).1, place(fact).2);
            let order = |f: &AttemptFact| (f.came, f.at, f.names.run_id, f.names.test_or_zero(), f.attempt);
            if held.iter().map(|(_, other)| other).find(same).is_some_and(|other| order(other) > order(fact)) {
                continue;
            }
            held.retain(|(_, other)| !same(&other));
            held.push((time, fact.clone()));
            touched.insert(Arc::clone(&fact.names.project));
        }
        for project in touched {
            let held = projects.get_mut(&project).expect("it was touched");
            held.sort_by_key(|(_, fact)| place(fact));
            held.drain(..held.len().saturating_sub(2 * config.errors));
        }
    }
    let mut rows = Vec::new();
    for (project, mut held) in projects {
        forget(&mut held, now);
        let marked = incidents(ticks, &project, now);
        held.retain(|(_, fact)| !marked.iter().any(|i| i.covers(fact.origin.worker.as_deref(), fact.at)));
        held.sort_by_key(|(_, fact)| place(fact));
        rows.extend(held.iter().rev().take(config.errors).map(|(_, fact)| row(fact)));
    }
    rows
}

fn row(fact: &AttemptFact) -> Row {
    let (_, stream, event) = place(fact);
    let (names, origin) = (&fact.names, &fact.origin);
    let failure = fact.failure.as_ref().expect("of failures");
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut writer = RowWriter::default();
    writer.str(&names.project).str(&stream).str(&event).uint(fact.at).str("error").str(fact.outcome.as_str());
    writer.opt_str(some(&failure.kind).as_deref()).str(&failure.message).str(&failure.fingerprint.to_string());
    writer.opt_str(some(&names.test).as_deref()).opt_str(some(&names.test_name).as_deref());
    writer.opt_str(some(&names.suite).as_deref()).str(&names.run);
    writer.opt_uint((fact.attempt > 0).then(|| u64::from(fact.attempt)));
    writer.opt_str(origin.framework.as_deref()).opt_str(origin.branch.as_deref()).opt_str(origin.user.as_deref());
    writer.opt_str(origin.worker.as_deref()).list([].into_iter());
    writer.finish(&ERROR_STREAM)
}
