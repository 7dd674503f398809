//! What comes to the rings at a tick, taken apart by what is done with it, in the order of tests and branches.
//!
//! Contract: of tests without a ring only what came of those that fail now is kept: nearly all tests pass, and never had one.

use super::Input;
use super::guard::{Guard, GuardChange};
use super::rings::Key;
use crate::control::Rule;
use crate::facts::AttemptFact;
use crate::input::Text;
use std::collections::{BTreeMap, BTreeSet};
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;

/// See the module.
#[derive(Default)]
pub(super) struct Came {
    pub(super) rules: Vec<(Rule, i64)>,
    pub(super) guards: BTreeMap<Id, Guard>,
    pub(super) evicted: Vec<Id>,
    pub(super) taken_back: Vec<AttemptFact>,
    pub(super) added: BTreeMap<Key, Vec<AttemptFact>>,
}

impl Came {
    /// Takes apart what came. `ring`: whether a test has a ring.
    pub(super) fn of(data: &mut Vec<(Input, i64)>, ring: impl Fn(Id) -> bool) -> Came {
        let mut came = Came::default();
        let mut failing = BTreeSet::new();
        for (input, diff) in data.iter() {
            if let Input::Fact(fact) = input
                && *diff > 0
                && fact.outcome.fails()
                && !ring(fact.names.test_or_zero())
            {
                failing.insert(fact.names.test_or_zero());
            }
        }
        for (input, diff) in data.drain(..) {
            match input {
                Input::Rule(rule) => came.rules.push((rule, diff)),
                Input::Guard(GuardChange { run, guard, .. }) => drop(came.guards.insert(run, guard)),
                Input::Evicted(run) => came.evicted.push(run),
                Input::Fact(fact) => {
                    let test = fact.names.test_or_zero();
                    let kept = ring(test) || !failing.is_empty() && failing.contains(&test);
                    if !kept || fact.outcome == Outcome::Skipped {
                        continue;
                    }
                    match diff > 0 {
                        true => came.added.entry(key(&fact)).or_default().push(fact),
                        false => came.taken_back.push(fact),
                    }
                }
            }
        }
        came
    }
}

/// The ring of an attempt.
pub(super) fn key(fact: &AttemptFact) -> Key {
    let branch = fact.origin.branch.as_ref().map_or_else(Text::default, Text::clone);
    (fact.names.test_or_zero(), branch)
}
