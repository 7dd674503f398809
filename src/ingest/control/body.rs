//! From the body of a request to what it says: a rule or an incident.
//!
//! Contract: a body is one JSON object with `project`, of a rule also `kind`, and the fields of what is said. A field that is
//! missing, not known or not acceptable is refused with its path. What comes out is acceptable to the dataflow.

use crate::decode::event::{error_offset, error_reason, without_bom};
use crate::ingest::refusal::Refusal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use weir_dataflows::fingerprint::rules;
use weir_schemas::control::{ControlChange, ControlKind, ControlRecord, Incident, builtin};
use weir_schemas::id::Id;
use weir_schemas::timestamp::Timestamp;

/// An incident on the wire: its times may be written for people.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct IncidentBody {
    worker: String,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    note: String,
}

/// Reads a rule under this id.
pub(super) fn rule(id: String, body: &[u8]) -> Result<ControlRecord, Refusal> {
    let mut fields = object(body)?;
    let project = text(&mut fields, "project")?.unwrap_or_default();
    let kind = text(&mut fields, "kind")?.ok_or_else(|| bad("kind", format!("missing: {KINDS}")))?;
    let change = match kind_of_rule(&kind).map_err(|problem| bad("kind", problem))? {
        ControlKind::Alert => ControlChange::Alert(typed(with_builtin(&id, fields))?),
        ControlKind::Flaky => ControlChange::Flaky(typed(fields)?),
        ControlKind::Mask => ControlChange::Mask(typed(fields)?),
        ControlKind::Incident => return Err(bad("kind", "an incident is put to /v1/incidents")),
    };
    acceptable(project, id, change)
}

/// The fields of an alert rule; what is not said of one that is built in is as it is there.
fn with_builtin(id: &str, said: Map<String, Value>) -> Map<String, Value> {
    let builtin = builtin::alert(id).and_then(|rule| serde_json::to_value(rule).ok());
    let Some(Value::Object(mut fields)) = builtin else { return said };
    fields.extend(said);
    fields
}

/// Reads an incident; without an id it gets one by what it says, so that saying it twice is saying it once.
pub(super) fn incident(id: Option<String>, body: &[u8]) -> Result<ControlRecord, Refusal> {
    let mut fields = object(body)?;
    let project = text(&mut fields, "project")?.unwrap_or_default();
    let IncidentBody { worker, from, to, note } = typed(fields)?;
    let incident = Incident { worker, from: from.map(|at| at.0), to: to.map(|at| at.0), note };
    let id = id.unwrap_or_else(|| {
        let said = serde_json::to_string(&incident).expect("an incident can be written as JSON");
        Id::of(&["incident", &project, &said]).to_string()
    });
    acceptable(project, id, ControlChange::Incident(incident))
}

/// What takes something back.
pub(super) fn removal(kind: ControlKind, project: String, id: String) -> Result<ControlRecord, Refusal> {
    acceptable(project, id, ControlChange::Removed(kind))
}

/// The kinds of rules.
pub(super) const KINDS: &str = "alert, flaky or mask";

/// The kind of rule of this name.
pub(super) fn kind_of_rule(name: &str) -> Result<ControlKind, String> {
    match name {
        "alert" => Ok(ControlKind::Alert),
        "flaky" => Ok(ControlKind::Flaky),
        "mask" => Ok(ControlKind::Mask),
        "incident" => Ok(ControlKind::Incident),
        _ => Err(format!("{name:?} is no kind of rule: {KINDS}")),
    }
}

fn bad(field: impl Into<String>, problem: impl Into<String>) -> Refusal {
    Refusal::Rule { field: field.into(), problem: problem.into() }
}

fn acceptable(project: String, id: String, change: ControlChange) -> Result<ControlRecord, Refusal> {
    let record = ControlRecord { project, id, change, said_at: 0, said_by: String::new() };
    record.check().map_err(|error| bad(error.field, error.problem))?;
    rules::check(&record.change).map_err(|error| bad("pattern", error.to_string()))?;
    Ok(record)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let json = without_bom(body);
    let shift = body.len() - json.len();
    let read = serde_json::from_slice::<Value>(json).map_err(|error| Refusal::NoRule {
        offset: shift + error_offset(json, &error),
        reason: error_reason(&error),
    })?;
    match read {
        Value::Object(fields) => Ok(fields),
        _ => Err(Refusal::NoRule { offset: 0, reason: "it is no JSON object".to_owned() }),
    }
}

fn text(fields: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, Refusal> {
    match fields.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(bad(name, format!("{other} is no text"))),
    }
}

/// The fields as what they are to be, or the first that does not fit.
fn typed<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let (path, problem) = (error.path().to_string(), error.inner().to_string());
        // A missing field is named by the message, not by the path.
        let missing = problem.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        let path = if path == "." { String::new() } else { path };
        match missing {
            Some(name) if path.is_empty() => bad(name, "missing"),
            Some(name) => bad(format!("{path}.{name}"), "missing"),
            None => bad(path, problem),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(read: Result<ControlRecord, Refusal>) -> String {
        read.expect_err("is refused").to_string()
    }

    #[test]
    fn a_rule_is_read_with_its_project_and_kind() {
        let body = br#"{"kind":"alert","project":"web","view":"live_metrics","when":[{"column":"success_rate","is":"<","threshold":90}],
            "severity":"error","message":"{value}"}"#;
        let record = rule("low".to_owned(), body).expect("is sound");
        assert_eq!((&*record.project, &*record.id), ("web", "low"));
        assert!(matches!(record.change, ControlChange::Alert(rule) if rule.when.len() == 1));
        let record = rule("f".to_owned(), br#"{"kind":"flaky","flips":5}"#).expect("is sound");
        assert!(record.project.is_empty() && matches!(record.change, ControlChange::Flaky(rule) if rule.flips == 5));
    }

    #[test]
    fn of_a_built_in_rule_only_what_differs_is_said() {
        let record = rule("builtin:silent-run".to_owned(), br#"{"kind":"alert","project":"web","disabled":true}"#);
        let ControlChange::Alert(read) = record.expect("is sound").change else { panic!("an alert rule") };
        let builtin = builtin::alert("builtin:silent-run").expect("is there");
        assert_eq!(read, weir_schemas::control::AlertRule { disabled: true, ..builtin });
    }

    #[test]
    fn whatever_is_wrong_with_a_rule_is_named() {
        for (body, problem) in [
            ("{", "the body cannot be read: EOF while parsing an object"),
            ("[]", "the body cannot be read: it is no JSON object"),
            ("{}", "kind: missing: alert, flaky or mask"),
            (r#"{"kind":"alarm"}"#, r#"kind: "alarm" is no kind of rule: alert, flaky or mask"#),
            (r#"{"kind":"incident"}"#, "kind: an incident is put to /v1/incidents"),
            (r#"{"kind":"mask","project":7}"#, "project: 7 is no text"),
            (r#"{"kind":"mask"}"#, "pattern: missing"),
            (r#"{"kind":"mask","pattern":"a","oder":1}"#, "oder: unknown field `oder`, expected `pattern` or `order`"),
            (
                r#"{"kind":"mask","pattern":"("}"#,
                "pattern: unclosed group; the syntax is that of the crate regex, without look-around and back-references",
            ),
            (r#"{"kind":"flaky","window":65}"#, "window: 65: from 1 to 64 are allowed"),
            (
                r#"{"kind":"alert","view":"live_metrics","when":[{"column":"x","is":"=","threshold":1}]}"#,
                "when[0].is: unknown variant `=`, expected one of `<`, `<=`, `>`, `>=`",
            ),
            (
                r#"{"kind":"alert","view":"live_metrics","when":[{"column":"x","is":"<"}]}"#,
                "when[0].threshold: missing",
            ),
        ] {
            assert_eq!(said(rule("id".to_owned(), body.as_bytes())), problem, "{body}");
        }
        assert_eq!(
            said(removal(ControlKind::Mask, String::new(), "x".repeat(129))),
            "id: 129 bytes, at most 128 are allowed"
        );
    }

    #[test]
    fn an_incident_is_read_with_times_in_both_forms() {
        let body =
            br#"{"project":"web","worker":"w7","from":"2024-11-22T10:06:40.123Z","to":1732270000124,"note":"disk"}"#;
        let record = incident(None, body).expect("is sound");
        let ControlChange::Incident(read) = &record.change else { panic!("an incident") };
        assert_eq!((read.from, read.to), (Some(1_732_270_000_123), Some(1_732_270_000_124)));
        let again = incident(
            None,
            &String::from_utf8_lossy(body).replace(':', ": ").replace("10: 06: 40", "10:06:40").into_bytes(),
        );
        assert_eq!(again.expect("is sound").id, record.id, "said twice is said once");
        let other = incident(None, br#"{"project":"web","worker":"w8"}"#).expect("is sound");
        assert_ne!(other.id, record.id);
    }

    #[test]
    fn whatever_is_wrong_with_an_incident_is_named() {
        for (body, problem) in [
            (r#"{"worker":"w"}"#, "project: empty: an incident is one project's"),
            (r#"{"project":"web"}"#, "worker: missing: name a worker, an interval (from, to), or both"),
            (
                r#"{"project":"web","from":"yesterday"}"#,
                "from: not a time: RFC 3339 with an offset, or milliseconds since 1970, up to the year 9999",
            ),
            (r#"{"project":"web","from":20,"to":10}"#, "to: not after `from`"),
            (
                r#"{"project":"web","workers":"w"}"#,
                "workers: unknown field `workers`, expected one of `worker`, `from`, `to`, `note`",
            ),
        ] {
            assert_eq!(said(incident(Some("id".to_owned()), body.as_bytes())), problem, "{body}");
        }
    }
}
