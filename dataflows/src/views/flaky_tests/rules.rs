//! Which flaky rule a project is judged by.
//!
//! Contract: a project's own rule comes before one for all projects (the one without a project), and of several the one with
//! the smallest id; without any it is [`FlakyRule::default`].

use crate::control::Rule;
use crate::input::Text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use weir_schemas::control::{ControlChange, FlakyRule};

/// A rule, and since which tick it holds.
type Held = (FlakyRule, u64);

/// The flaky rules that hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FlakyRules {
    /// By project and id.
    held: BTreeMap<Text, BTreeMap<Text, Held>>,
    otherwise: FlakyRule,
}

/// The rule that a project is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judging<'a> {
    /// What it says.
    pub rule: &'a FlakyRule,
    /// Its id, and since which tick it holds; none of the default.
    pub name: Option<(&'a str, u64)>,
}

impl FlakyRules {
    /// Takes a rule in or out, if it is a flaky rule; gives its project then. Of a tick, those that leave come first.
    pub(super) fn apply(&mut self, rule: &Rule, diff: i64, now: u64) -> Option<Text> {
        let ControlChange::Flaky(said) = &rule.record.change else { return None };
        let project = Text::from(&*rule.record.project);
        let id = Text::from(&*rule.record.id);
        if diff > 0 {
            self.held.entry(Text::clone(&project)).or_default().insert(id, (said.clone(), now));
        } else if let Some(held) = self.held.get_mut(&project) {
            held.remove(&id);
            if held.is_empty() {
                self.held.remove(&project);
            }
        }
        Some(project)
    }

    /// What a project is judged by.
    #[must_use]
    pub(super) fn of(&self, project: &str) -> Judging<'_> {
        let first = |project: &str| self.held.get(project).and_then(BTreeMap::first_key_value);
        match first(project).or_else(|| first("")) {
            Some((id, (rule, since))) => Judging { rule, name: Some((id, *since)) },
            None => Judging { rule: &self.otherwise, name: None },
        }
    }
}
