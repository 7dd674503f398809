//! What a mask rule would make of the errors that are shown.
//!
//! Contract: each error is recognised twice from what is kept of it, by the masks that hold and by these with the rule: so it
//! would be, without and with the rule, if it came again. What it was when it came is another matter, since masks may have
//! changed. An error whose text is longer than what is kept is counted, and nothing is said of it.
//!
//! # Cost
//! The masks are made ready for each question, in at most a few ms each; two recognitions an error that is shown.

use super::{Errors, Project};
use crate::dry_run::{Answer, CHANGES_MAX, Changed, Failures, Pattern, Question};
use crate::facts::Failure;
use crate::fingerprint::again;
use crate::fingerprint::rules::Masks;
use crate::input::Text;
use crate::keyed::Asked;
use std::collections::BTreeMap;
use weir_schemas::id::Id;

/// Patterns, each with how many errors are of it, and would be.
type Patterns = BTreeMap<Id, (Failure, u64, u64)>;

impl Asked for Errors {
    fn answer(&self, question: &Question, _now: u64) -> Answer {
        let (mut answer, project) = (Answer::to(question), &*question.record.project);
        let masks = (self.masks.made(project), self.masks.with(&question.record).made(project));
        for (name, errors) in &self.projects {
            if project.is_empty() || project == &**name {
                compare(name, errors, &masks, &mut answer);
            }
        }
        answer
    }
}

/// Adds what becomes of a project's errors.
fn compare(name: &Text, errors: &Project, (before, after): &(Masks, Masks), answer: &mut Answer) {
    let (before, after) = (before.of(name), after.of(name));
    let mut patterns = Patterns::new();
    for place in errors.shown.keys() {
        let Some(fact) = errors.errors.get(place).map(|error| &error.fact) else { continue };
        let Some(failure) = &fact.failure else { continue };
        let was = again(failure, fact.outcome, &before);
        let Some((was, is)) = was.zip(again(failure, fact.outcome, &after)) else {
            answer.failures.cut += 1;
            continue;
        };
        answer.over += 1;
        let (from, to) = (was.fingerprint, is.fingerprint);
        patterns.entry(from).or_insert((was, 0, 0)).1 += 1;
        patterns.entry(to).or_insert((is, 0, 0)).2 += 1;
        if from != to {
            let (_, stream, event) = place.clone();
            answer.failures.changed.push(Changed { project: Text::clone(name), stream, event, from, to });
        }
    }
    let Failures { come, go, .. } = &mut answer.failures;
    for (fingerprint, (failure, was, is)) in patterns {
        let list = match (was, is) {
            (0, _) => &mut *come,
            (_, 0) => &mut *go,
            _ => continue,
        };
        let Failure { pattern, kind, .. } = failure;
        list.push(Pattern { project: Text::clone(name), fingerprint, pattern, kind, errors: was + is });
    }
    answer.too_many |= answer.failures.changed.len() > CHANGES_MAX;
}
