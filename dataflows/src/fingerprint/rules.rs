//! Mask rules: what a project says differs between occurrences of one failure.
//!
//! Contract: [`compile`] makes the regular expression of a [`MaskRule`](weir_schemas::control::MaskRule); whoever takes a rule
//! in asks it first, so every mask that holds compiles. An expression that matches the empty text is refused: it would match
//! everywhere. [`Masks`] are those that hold, as an operator keeps them: a failure is recognised by the masks of its own tick, and
//! those that came before a change stay as they were, since their texts are not kept.
//!
//! # Cost
//! Matching is linear in the text whatever the expression, which has no look-around and no back-references. A compiled one is
//! [`PROGRAM_BYTES_MAX`] at most, and as much again while it is used.

use crate::control::Rule;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::control::{ControlChange, ControlRecord, MaskRule};

/// Bytes of a compiled expression, at most.
pub const PROGRAM_BYTES_MAX: usize = 256 << 10;
/// Nesting of an expression, at most.
const NEST_MAX: u32 = 32;

/// Why an expression cannot be a mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It is no regular expression.
    #[error("{problem}; the syntax is that of the crate regex, without look-around and back-references")]
    Syntax {
        /// What is wrong.
        problem: String,
    },
    /// It is larger than it may be.
    #[error("too large when compiled, over {PROGRAM_BYTES_MAX} bytes: use smaller repetitions and classes")]
    Size,
    /// It matches where there is nothing.
    #[error("matches the empty text, and so everywhere: make it match at least one character")]
    Empty,
}

/// Makes the expression of a mask.
///
/// # Errors
/// It is none, is too large, or matches the empty text.
pub fn compile(pattern: &str) -> Result<Regex, BadPattern> {
    let built = RegexBuilder::new(pattern)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(PROGRAM_BYTES_MAX)
        .nest_limit(NEST_MAX)
        .build();
    match built {
        Ok(regex) if regex.is_match("") => Err(BadPattern::Empty),
        Ok(regex) => Ok(regex),
        Err(regex::Error::CompiledTooBig(_)) => Err(BadPattern::Size),
        // The message draws the expression over several lines; its last says what is wrong.
        Err(error) => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            Err(BadPattern::Syntax { problem: last.strip_prefix("error: ").unwrap_or(last).to_owned() })
        }
    }
}

/// Whether a change can be taken as far as its expressions go; anything but a mask can.
///
/// # Errors
/// As [`compile`].
pub fn check(change: &ControlChange) -> Result<(), BadPattern> {
    match change {
        ControlChange::Mask(rule) => compile(&rule.pattern).map(drop),
        _ => Ok(()),
    }
}

/// The masks that hold.
#[derive(Clone, Debug, Default)]
pub struct Masks(BTreeMap<String, BTreeMap<MaskKey, Mask>>);

/// In which order the masks of a project are applied: by their order and their ids; what is a project's own goes after what is
/// everyone's where both are the same.
type MaskKey = (u32, String);

#[derive(Clone, Debug)]
struct Mask {
    record: Arc<ControlRecord>,
    regex: Regex,
}

/// The masks that hold as they were said, of which none is made ready: for whoever recognises nothing but when asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unmade(Vec<Arc<ControlRecord>>);

impl Unmade {
    /// Takes a tick's changes of masks, in any order; what is no mask is none of its business.
    pub fn apply(&mut self, mut changes: Vec<(Rule, i64)>) {
        changes.retain(|(rule, _)| matches!(rule.record.change, ControlChange::Mask(_)));
        changes.sort_by_key(|(_, diff)| *diff);
        for (rule, diff) in changes {
            self.remove(&rule.record);
            if diff > 0 {
                self.insert(rule.record);
            }
        }
    }

    fn place(&self, record: &ControlRecord) -> Result<usize, usize> {
        self.0.binary_search_by_key(&(&record.project, &record.id), |held| (&held.project, &held.id))
    }

    fn remove(&mut self, record: &ControlRecord) {
        if let Ok(index) = self.place(record) {
            self.0.remove(index);
        }
    }

    fn insert(&mut self, record: Arc<ControlRecord>) {
        match self.place(&record) {
            Ok(index) => self.0[index] = record,
            Err(index) => self.0.insert(index, record),
        }
    }

    /// They and another one, which takes the place of one of its name.
    #[must_use]
    pub fn with(&self, record: &Arc<ControlRecord>) -> Unmade {
        let mut with = self.clone();
        with.insert(Arc::clone(record));
        with
    }

    /// The masks, ready to be applied, as far as they matter to a project; to all of them where it has no name.
    #[must_use]
    pub fn made(&self, project: &str) -> Masks {
        let matters =
            |record: &&Arc<ControlRecord>| project.is_empty() || record.project.is_empty() || record.project == project;
        Masks::restored(MaskEntries(self.0.iter().filter(matters).cloned().collect()))
    }
}

/// A set of masks as it is written down.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MaskEntries(Vec<Arc<ControlRecord>>);

impl Masks {
    /// Takes a tick's changes of masks, in any order; what is no mask is none of its business.
    ///
    /// # Panics
    /// When an expression does not compile: whoever takes rules in asks [`check`] first.
    pub fn apply(&mut self, changes: &mut [(Rule, i64)]) {
        // What leaves goes first: what comes in the same tick may have its name.
        changes.sort_by_key(|(_, diff)| *diff);
        for (rule, diff) in changes {
            if let ControlChange::Mask(mask) = &rule.record.change {
                if *diff < 0 { self.remove(&rule.record, mask) } else { self.insert(&rule.record, mask) }
            }
        }
    }

    fn insert(&mut self, record: &Arc<ControlRecord>, mask: &MaskRule) {
        let regex = compile(&mask.pattern).expect("a mask was compiled before it was taken");
        let of_project = self.0.entry(record.project.clone()).or_default();
        of_project.insert((mask.order, record.id.clone()), Mask { record: Arc::clone(record), regex });
    }

    fn remove(&mut self, record: &ControlRecord, mask: &MaskRule) {
        if let Some(of_project) = self.0.get_mut(&record.project) {
            of_project.remove(&(mask.order, record.id.clone()));
            if of_project.is_empty() {
                self.0.remove(&record.project);
            }
        }
    }

    /// The masks for a project, in the order in which they are applied.
    #[must_use]
    pub fn of(&self, project: &str) -> Vec<&Regex> {
        // Nearly always there are none.
        if self.0.is_empty() {
            return Vec::new();
        }
        let own = (!project.is_empty()).then(|| self.0.get(project)).flatten();
        let mut masks: Vec<_> = [self.0.get(""), own].into_iter().flatten().flatten().collect();
        masks.sort_by_key(|(key, _)| *key);
        masks.into_iter().map(|(_, mask)| &mask.regex).collect()
    }

    /// All masks, to be written down.
    #[must_use]
    pub fn entries(&self) -> MaskEntries {
        MaskEntries(self.0.values().flat_map(BTreeMap::values).map(|mask| Arc::clone(&mask.record)).collect())
    }

    /// The masks that were written down, compiled anew.
    #[must_use]
    pub fn restored(entries: MaskEntries) -> Masks {
        let mut masks = Masks::default();
        let mut rules: Vec<_> = entries.0.into_iter().map(|record| (Rule { peer: 0, record }, 1)).collect();
        masks.apply(&mut rules);
        masks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compiles_matches_what_it_says() {
        let regex = compile(r"order [0-9]{4,}|\bshard-\w+").expect("compiles");
        assert_eq!(regex.replace_all("order 12345 on shard-eu2", "%"), "% on %");
        compile("(?i)ä+").expect("letters of any language");
    }

    #[test]
    fn what_does_not_compile_says_why_in_a_line() {
        for (pattern, said) in [
            ("(", "unclosed group"),
            ("[z-a]", "invalid character class range"),
            (r"(?=x)x", "look-around"),
            (r"(a)\1", "backreferences are not supported"),
            (
                "((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))))",
                "maximum number of nested parentheses",
            ),
            ("x*", "matches the empty text"),
            ("a|", "matches the empty text"),
            (r"(\w{100}){100}", "too large when compiled"),
        ] {
            let error = compile(pattern).expect_err(pattern).to_string();
            assert!(error.contains(said) && !error.contains('\n'), "{pattern}: {error}");
            let mask = |pattern: &str| ControlChange::Mask(MaskRule { pattern: pattern.to_owned(), order: 0 });
            assert!(check(&mask(pattern)).is_err());
        }
    }

    fn rule(project: &str, id: &str, order: u32, pattern: &str) -> Rule {
        let change = ControlChange::Mask(MaskRule { pattern: pattern.to_owned(), order });
        let (project, id) = (project.to_owned(), id.to_owned());
        Rule { peer: 0, record: Arc::new(ControlRecord { project, id, change, said_at: 0, said_by: String::new() }) }
    }

    fn of(masks: &Masks, project: &str) -> Vec<String> {
        masks.of(project).into_iter().map(|regex| regex.as_str().to_owned()).collect()
    }

    #[test]
    fn a_project_has_its_own_masks_and_those_for_everyone_by_order_and_id() {
        let mut masks = Masks::default();
        let [a, b] = [rule("web", "b", 1, "x"), rule("", "a", 1, "y")];
        let [c, d] = [rule("web", "a", 2, "z"), rule("web", "a", 1, "w")];
        masks.apply(&mut [(a.clone(), 1), (b, 1), (c, 1), (d, 1)]);
        assert_eq!(of(&masks, "web"), ["y", "w", "x", "z"]);
        assert_eq!((of(&masks, "app"), of(&masks, "")), (vec!["y".to_owned()], vec!["y".to_owned()]));
        assert_eq!(of(&Masks::restored(masks.entries()), "web"), ["y", "w", "x", "z"]);
        // Said again within a tick by somebody else: the new word comes before the old one leaves.
        let mut again = rule("web", "b", 1, "v");
        masks.apply(&mut [(again.clone(), 1), (a, -1)]);
        assert_eq!(of(&masks, "web"), ["y", "w", "v", "z"]);
        again.peer = 1;
        masks.apply(&mut [(again, -1)]);
        assert_eq!(of(&masks, "web"), ["y", "w", "z"]);
    }
}
