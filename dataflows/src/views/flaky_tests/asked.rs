//! What a flaky rule would change of the rows that are shown.
//!
//! Contract: a row follows from its ring and the rule alone, so all rings of the rule's project are judged by the rules as they would
//! be if it held from `now` on, which is a whole second, and what differs from what is shown comes and goes. That it may make
//! room for a ring that comes at this very second is not looked at.
//!
//! # Cost
//! What putting the rule costs: each ring of the project is judged once.

use super::rings::Rings;
use super::row::row;
use super::verdict::judge;
use crate::control::Rule;
use crate::dry_run::{Answer, CHANGES_MAX, Question};
use crate::keyed::Asked;
use std::sync::Arc;
use weir_schemas::row::RowWriter;

impl Asked for Rings {
    fn answer(&self, question: &Question, now: u64) -> Answer {
        let (mut answer, mut writer) = (Answer::to(question), RowWriter::default());
        let rule = Rule { peer: question.peer, record: Arc::clone(&question.record) };
        let mut rules = self.rules.clone();
        if rules.apply(&rule, 1, now).is_none() {
            return answer;
        }
        for key in self.of_project(&question.record.project) {
            let Some(ring) = self.ring(&key) else { continue };
            answer.over += 1;
            let judging = rules.of(&ring.names.project);
            if judging == self.rules.of(&ring.names.project) {
                continue;
            }
            if answer.rows.come.len() >= CHANGES_MAX {
                answer.too_many = true;
                break;
            }
            let verdict = judge(&ring.entries, judging.rule, &key.1, now);
            let row = row(&mut writer, &key, ring, &verdict, judging);
            let shown = self.shown.get(&key);
            if shown != Some(&row) {
                answer.rows.go.extend(shown.cloned());
                answer.rows.come.push(row);
            }
        }
        answer
    }
}
