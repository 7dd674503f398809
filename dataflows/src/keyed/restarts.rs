//! Stop and restore in the middle of a whole dataflow: a machine is written down and goes on as another one.

use super::Machine;
use crate::output::Released;
use common::history::{config, history};
use common::{Feeding, Tick, run};
use std::any::type_name;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

#[path = "../../tests/common/mod.rs"]
mod common;

/// The machines that are replaced.
const NAMES: [&str; 33] = [
    "::Admission",
    "::Runs",
    "::Gate",
    "::Results",
    "::Progress",
    "::Suites",
    "::Users",
    "::LocalRejects",
    "::Rejects",
    "::LocalPanes",
    "::LocalGauges",
    "::Scopes",
    "::Patterns",
    "::Durations",
    "::Controls",
    "::RunFailures",
    "::Errors",
    "::Files",
    "::Summaries",
    "::Trends",
    "::Measures",
    "::LocalMeasures",
    "::Feed",
    "::LocalGuards",
    "::Guards",
    "::Rings",
    "::Unjudged",
    "::Alerts",
    "::Withdrawals",
    "::LocalTiles",
    "::Tiles",
    "::Pace",
    "::Budget",
];

/// What is done to machines while a dataflow runs.
struct Plan {
    /// The end of the type's name of those that are replaced; empty: none.
    name: &'static str,
    /// Whether an entry is lost each time.
    lossy: bool,
    /// How often one was replaced.
    count: usize,
}

static PLAN: Mutex<Plan> = Mutex::new(Plan { name: "", lossy: false, count: 0 });

/// One test at a time has a plan.
static TURN: Mutex<()> = Mutex::new(());

/// Replaces the machine, at every third time or so, by what a snapshot of it restores to.
pub(super) fn restart<M: Machine>(machine: &mut M, now: u64, wake: &mut BTreeSet<u64>) {
    let mut plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
    if plan.name.is_empty() || !type_name::<M>().ends_with(plan.name) || !(now / 10).is_multiple_of(3) {
        return;
    }
    let mut fresh = machine.fresh().expect("a machine that has a state");
    let mut entries = machine.entries();
    if plan.lossy {
        entries.pop();
    }
    let part = entries
        .iter()
        .fold(Vec::new(), |part, entry| postcard::to_extend(entry, part).expect("a state can be written"));
    let (mut part, mut wakes) = (&part[..], BTreeSet::new());
    while !part.is_empty() {
        // A few at a time, as the parts of a snapshot come.
        let mut entries = Vec::new();
        while entries.len() < 3 && !part.is_empty() {
            let (entry, rest) = postcard::take_from_bytes::<M::Entry>(part).expect("what was written");
            entries.push(entry);
            part = rest;
        }
        wakes.extend(fresh.restore(entries));
    }
    assert!(wakes.iter().all(|time| *time >= now), "{}: woken in the past", type_name::<M>());
    *wake = wakes;
    *machine = fresh;
    plan.count += 1;
}

/// What comes out while the machines of a name are replaced, if it comes to an end, and how often one was.
fn replacing(name: &'static str, lossy: bool, ticks: &[Tick], feeding: Feeding) -> (Option<Vec<Released>>, usize) {
    let plan = || PLAN.lock().unwrap_or_else(PoisonError::into_inner);
    *plan() = Plan { name, lossy, count: 0 };
    let released = std::panic::catch_unwind(|| run(&config(), ticks, feeding)).ok();
    let count = plan().count;
    *plan() = Plan { name: "", lossy: false, count: 0 };
    (released, count)
}

#[test]
fn a_machine_that_is_stopped_and_restored_at_any_time_goes_on_the_same() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut counts = [0; NAMES.len()];
    for seed in 0..if std::env::var_os("WEIR_LONG").is_some() { 400 } else { 20 } {
        let ticks = history(seed, 40);
        let feeding = Feeding { workers: [1, 2, 4][usize::try_from(seed % 3).expect("small")], ticks_a_step: 3, seed };
        let whole = run(&config(), &ticks, feeding);
        for (name, count) in NAMES.iter().zip(&mut counts) {
            let (restored, replaced) = replacing(name, false, &ticks, feeding);
            assert!(restored.as_ref() == Some(&whole), "{name} does not go on the same in history {seed}");
            *count += replaced;
        }
    }
    assert!(counts.iter().all(|count| *count > 0), "replaced: {counts:?}");
}

#[test]
fn an_entry_that_is_lost_is_missed() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for name in NAMES {
        let missed = (0..200).any(|seed| {
            let ticks = history(seed, 40);
            let whole = run(&config(), &ticks, Feeding::SIMPLE);
            replacing(name, true, &ticks, Feeding::SIMPLE).0 != Some(whole)
        });
        assert!(missed, "{name} loses a part of its state and nobody notices");
    }
}
