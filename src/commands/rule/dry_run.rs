//! What the server says a rule would change, for people.
//!
//! Contract: takes the answer to `PUT /v1/rules/{id}?dry_run=true` and makes a table of what would come, go and change, one line
//! each, and a sentence that says as of when that is, and over what. A test whose verdict stays as it is only gets another rule, so
//! it is counted and has no line.

use crate::commands::control::time;
use serde_json::Value;
use std::collections::BTreeMap;
use weir_schemas::view::{ALERTS, FLAKY_TESTS, View};

/// A table, and the sentence on it.
pub(super) struct Told {
    /// With its headings; empty when nothing would change.
    pub(super) table: Vec<Vec<String>>,
    /// The sentence.
    pub(super) note: String,
}

/// Tells what the server answered.
pub(super) fn told(answer: &Value) -> Told {
    let (table, more) = match answer["view"].as_str() {
        Some("flaky_tests") => of_tests(answer),
        Some("failure_patterns") => of_failures(answer),
        _ => (of_alerts(answer), String::new()),
    };
    let over = &answer["over"];
    let changes = if table.is_empty() { "nothing would change" } else { "nothing is put; so it would change" };
    let (at, rows) = (answer["time"].as_u64().map_or_else(String::new, time), count(&over["rows"]));
    let note = format!("{changes}, as of {at}, over {rows} rows of {}{more}", cell(&over["view"]));
    Told { table, note }
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// A value as a cell of a table.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.lines().next().unwrap_or_default().to_owned(),
        other => other.to_string(),
    }
}

fn column<'a>(row: &'a Value, view: &View, name: &str) -> &'a Value {
    view.column(name).map_or(&Value::Null, |index| &row[index])
}

fn headed(headings: &[&str], rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    if rows.is_empty() {
        return rows;
    }
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
    std::iter::once(headings).chain(rows).collect()
}

fn of_alerts(answer: &Value) -> Vec<Vec<String>> {
    let line = |what: &str, row: &Value| {
        let cells = ["project", "subject", "value", "message"].map(|name| cell(column(row, &ALERTS, name)));
        std::iter::once(what.to_owned()).chain(cells).collect::<Vec<String>>()
    };
    let fires = list(answer, "come").iter().map(|row| line("fires", row));
    let goes = list(answer, "go").iter().map(|row| line("goes", row));
    let waits = list(answer, "pending").iter().map(|row| {
        let at = column(row, &ALERTS, "fired_at").as_u64().map_or_else(String::new, time);
        line(&format!("fires at {at}"), row)
    });
    headed(&["ALERT", "PROJECT", "SUBJECT", "VALUE", "MESSAGE"], fires.chain(goes).chain(waits).collect())
}

/// A verdict in words.
fn verdict(row: &Value) -> String {
    let [state, reason] = ["state", "reason"].map(|name| cell(column(row, &FLAKY_TESTS, name)));
    if reason.is_empty() { state } else { format!("{state} ({reason})") }
}

fn of_tests(answer: &Value) -> (Vec<Vec<String>>, String) {
    let key = |row: &Value| ["project", "test", "branch"].map(|name| cell(column(row, &FLAKY_TESTS, name)));
    let mut tests: BTreeMap<[String; 3], [String; 2]> = BTreeMap::new();
    for (name, which) in [("go", 0), ("come", 1)] {
        for row in list(answer, name) {
            tests.entry(key(row)).or_default()[which] = verdict(row);
        }
    }
    let all = tests.len();
    let turned = tests.into_iter().filter(|(_, [was, is])| was != is);
    let lines: Vec<Vec<String>> = turned.map(|(key, verdicts)| key.into_iter().chain(verdicts).collect()).collect();
    let more = format!("; {} tests would be judged by the rule and stay what they are", all - lines.len());
    let more = if all > lines.len() { more } else { String::new() };
    (headed(&["PROJECT", "TEST", "BRANCH", "IS", "WOULD BE"], lines), more)
}

fn of_failures(answer: &Value) -> (Vec<Vec<String>>, String) {
    let line = |what: &str, of: &Value| {
        let cells = ["project", "errors", "type", "pattern"].map(|name| cell(&of[name]));
        std::iter::once(what.to_owned()).chain(cells).collect::<Vec<String>>()
    };
    let goes = list(answer, "go").iter().map(|of| line("goes", of));
    let comes = list(answer, "come").iter().map(|of| line("comes", of));
    let lines = goes.chain(comes).collect();
    let mut more = match list(answer, "changed").len() {
        0 => String::new(),
        changed => format!("; {changed} errors would be recognised differently if they came again"),
    };
    if count(&answer["over"]["cut"]) > 0 {
        more += &format!("; of {} more, whose texts were cut, nothing is known", count(&answer["over"]["cut"]));
    }
    (headed(&["PATTERN", "PROJECT", "ERRORS", "TYPE", "TEXT"], lines), more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(told: &Told) -> Vec<String> {
        told.table.iter().map(|row| row.join("|")).collect()
    }

    #[test]
    fn tests_that_turn_have_a_line_and_others_are_counted() {
        let row = |test: &str, state: &str, reason: Option<&str>, rule: Option<&str>| {
            json!(["web", test, "main", null, null, state, reason, 5, 1, 2, 50.0, null, [], null, null, rule, null])
        };
        let go = json!([row("a", "flaky", Some("flips"), None), row("b", "healthy", None, None)]);
        let come = json!([row("a", "healthy", None, Some("f")), row("b", "healthy", None, Some("f"))]);
        let mut answer = json!({ "time": 1_732_270_000_123_u64, "view": "flaky_tests", "over": { "view": "flaky_tests", "rows": 3 },
            "come": come, "go": go });
        let first = told(&answer);
        assert_eq!(lines(&first), ["PROJECT|TEST|BRANCH|IS|WOULD BE", "web|a|main|flaky (flips)|healthy"]);
        assert_eq!(
            first.note,
            "nothing is put; so it would change, as of 2024-11-22 10:06:40 UTC, over 3 rows of flaky_tests; 1 tests would be judged \
             by the rule and stay what they are"
        );
        (answer["come"], answer["go"]) = (json!([]), json!([]));
        let nothing = told(&answer);
        assert!(
            nothing.table.is_empty() && nothing.note.starts_with("nothing would change, as of"),
            "{}",
            nothing.note
        );
    }

    #[test]
    fn patterns_and_alerts_that_come_and_go_have_a_line() {
        let pattern = |text: &str, errors: u64| json!({ "project": "web", "fingerprint": "0f", "pattern": text, "type": "", "errors": errors });
        let answer = json!({ "time": 5, "view": "failure_patterns", "over": { "view": "error_stream", "rows": 3, "cut": 2 },
            "come": [pattern("% is lost\nthere", 2)], "go": [pattern("order a is lost", 1)], "changed": [{}, {}] });
        let masked = told(&answer);
        assert_eq!(
            lines(&masked),
            ["PATTERN|PROJECT|ERRORS|TYPE|TEXT", "goes|web|1||order a is lost", "comes|web|2||% is lost"]
        );
        assert!(masked.note.ends_with(
            "over 3 rows of error_stream; 2 errors would be recognised differently if they came again; of 2 more, whose texts \
             were cut, nothing is known"
        ));
        let row = json!(["web", "slow", "r1", "run_progress", "error", 3, 2, 1_732_270_000_123_u64, "r1: 3"]);
        let alerts = json!({ "time": 5, "view": "alerts", "over": { "view": "run_progress", "rows": 1 }, "come": [row], "go": [], "pending": [row] });
        let fired = lines(&told(&alerts));
        assert_eq!(fired[1], "fires|web|r1|3|r1: 3");
        assert_eq!(fired[2], "fires at 2024-11-22 10:06:40 UTC|web|r1|3|r1: 3");
    }
}
