//! What a rule would change if it were said now.
//!
//! Contract: a pure function of the rules of one id that hold, of the rows of the view that the new one looks at, and of the
//! alerts of that id, all at one time: by the same [`Rules`] and `Watch` as the dataflow, so what it says is what comes, as
//! long as the rows stay as they are.

use super::project;
use super::rules::Rules;
use super::watch::{Moment, Standing};
use crate::runs::silence::Silence;
use std::sync::Arc;
use weir_schemas::control::ControlRecord;
use weir_schemas::row::{Row, Value};

/// The difference, as rows of the view `alerts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Those that would come.
    pub come: Vec<Row>,
    /// Those that would go.
    pub go: Vec<Row>,
    /// Those that would come once the conditions have held for long enough, each fired at that time.
    pub pending: Vec<Row>,
}

/// What `record`, of an alert rule, would change at `now`. `said`: the alert rules of its id that hold; `rows`: those of its
/// view; `alerts`: those that fire by a rule of its id.
#[must_use]
pub fn dry_run(record: &ControlRecord, said: &[ControlRecord], rows: &[Row], alerts: &[Row], now: u64) -> Difference {
    let mut before = Rules::new();
    said.iter().for_each(|held| before.say(&Arc::new(held.clone()), true));
    let mut after = before.clone();
    after.say(&Arc::new(record.clone()), true);
    let changes = |of: &str| {
        (record.project.is_empty() || record.project == of) && before.of(of, &record.id) != after.of(of, &record.id)
    };
    let go = alerts.iter().filter(|row| changes(project(row))).cloned().collect();
    let mut difference = Difference { go, ..Difference::default() };
    // It stands still for nobody yet.
    let silence = Silence::default();
    for row in rows.iter().filter(|row| changes(project(row))) {
        let Some(watch) = after.of(project(row), &record.id) else { continue };
        let values: Vec<Value<'_>> = row.values().collect();
        match watch.look(&values, None, Moment { now, silence: &silence }).standing {
            Some(Standing::Firing(alert)) => difference.come.push(alert),
            Some(Standing::Waiting(since)) => {
                difference.pending.extend(watch.due_at(since, &silence).map(|due| watch.fire(&values, due)));
            }
            None => {}
        }
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_schemas::control::ControlChange;
    use weir_schemas::row::RowWriter;
    use weir_schemas::view::{ALERTS, USER_ACTIVITY};

    fn record(project: &str, threshold: f64, for_ms: u64, disabled: bool) -> ControlRecord {
        let text = format!(
            r#"{{"view":"user_activity","when":[{{"column":"running_runs","is":">=","threshold":{threshold}}}],
                "forMs":{for_ms},"severity":"info","message":"{{user}}","disabled":{disabled}}}"#
        );
        let rule = serde_json::from_str(&text).expect("a rule");
        let change = ControlChange::Alert(rule);
        ControlRecord { project: project.to_owned(), id: "a".to_owned(), change, said_at: 0, said_by: String::new() }
    }

    fn user(project: &str, user: &str, running: u64) -> Row {
        let mut writer = RowWriter::default();
        writer.str(project).str(user).uint(running).uint(0).null().null().uint(0);
        writer.finish(&USER_ACTIVITY)
    }

    fn names(rows: &[Row]) -> Vec<(String, u64)> {
        let text = |value| if let Value::Str(text) = value { text } else { "" }.to_owned();
        let at = |value| if let Value::Int(at) = value { at.cast_unsigned() } else { 0 };
        let fired_at = ALERTS.column("fired_at").expect("a column");
        rows.iter().map(|row| (text(row.column(0)) + "/" + &text(row.column(2)), at(row.column(fired_at)))).collect()
    }

    #[test]
    fn it_says_what_comes_goes_and_is_still_to_come() {
        let rows = [user("web", "ann", 2), user("web", "bob", 1), user("app", "cy", 3)];
        let first = dry_run(&record("web", 1.0, 0, false), &[], &rows, &[], 500);
        assert_eq!(names(&first.come), [("web/ann".to_owned(), 500), ("web/bob".to_owned(), 500)]);
        let said = [record("web", 1.0, 0, false)];
        let same = dry_run(&said[0], &said, &rows, &first.come, 600);
        assert_eq!(same, Difference::default(), "the same rule changes nothing");
        let next = dry_run(&record("web", 2.0, 1_005, false), &said, &rows, &first.come, 600);
        assert_eq!((next.come, next.go), (vec![], first.come.clone()));
        assert_eq!(names(&next.pending), [("web/ann".to_owned(), 1_610)]);
        let of_all = dry_run(&record("", 2.0, 0, false), &said, &rows, &first.come, 600);
        assert_eq!(names(&of_all.come), [("app/cy".to_owned(), 600)], "web has its own");
        assert_eq!(of_all.go, []);
        let off = dry_run(&record("web", 1.0, 0, true), &said, &rows, &first.come, 600);
        assert_eq!((off.come, off.go, off.pending), (vec![], first.come, vec![]));
    }
}
