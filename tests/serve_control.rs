//! Rules and incidents over HTTP, on a whole server: what is put holds once the answer says so, is listed, survives a restart and
//! is taken back; whatever is wrong with a request is said by field.

#[path = "common/http.rs"]
mod http_common;
#[path = "common/whole.rs"]
mod whole;

use http_common::ask;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::path::Path;
use whole::Whole;

async fn start(folder: &Path) -> Whole {
    Whole::start(folder, |_| ()).await
}

fn request(whole: &Whole, method: Method, path: &str, body: &str) -> RequestBuilder {
    whole.client.request(method, whole.url(path)).body(body.to_owned())
}

async fn put(whole: &Whole, path: &str, body: Value) -> (u16, Value) {
    let (status, _, said) = ask(request(whole, Method::PUT, path, &body.to_string())).await;
    (status.as_u16(), said)
}

async fn delete(whole: &Whole, path: &str) -> (u16, Value) {
    let (status, _, said) = ask(request(whole, Method::DELETE, path, "")).await;
    (status.as_u16(), said)
}

async fn get(whole: &Whole, path: &str) -> Value {
    let (status, _, said) = ask(whole.client.get(whole.url(path))).await;
    assert_eq!(status.as_u16(), 200, "{path}: {said}");
    said
}

/// Sends passed tests from a machine; how many of the run's tests count then.
async fn finished(whole: &Whole) -> Value {
    let rows = get(whole, "/v1/views/run_progress?run=r1").await;
    let index =
        rows["schema"]["columns"].as_array().expect("columns").iter().position(|column| column[0] == "finished");
    rows["rows"][0][index.expect("a column")].clone()
}

fn alert() -> Value {
    json!({
        "kind": "alert", "project": "web", "view": "live_metrics", "filter": { "scope": ["project"] }, "severity": "error",
        "when": [{ "column": "success_rate", "is": "<", "threshold": 90.5 }], "forMs": 60_000, "message": "{value} % pass",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_holds_is_listed_and_survives_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = start(folder.path()).await;
    let (status, said) = put(&whole, "/v1/rules/low%20rate?wait=applied", alert()).await;
    assert_eq!((status, &said["id"]), (200, &json!("low rate")), "{said}");
    let tick = said["tick"].as_u64().expect("a tick");
    let (status, said) = put(&whole, "/v1/rules/order", json!({ "kind": "mask", "pattern": "order [0-9]+" })).await;
    assert_eq!((status, &said["position"]), (202, &json!({ "partition": 0, "offset": 1 })), "{said}");
    let (status, said) = put(&whole, "/v1/rules/f?wait=applied", json!({ "kind": "flaky", "project": "app" })).await;
    assert_eq!(status, 200, "{said}");
    let listed = get(&whole, "/v1/rules").await;
    let ids = |listed: &Value| -> Vec<String> {
        listed["rules"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|rule| rule["builtIn"] != true)
            .map(|rule| rule["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(ids(&listed), ["order", "f", "low rate"], "those for all projects first: {listed}");
    let of_web = get(&whole, "/v1/rules?project=web").await;
    assert_eq!(ids(&of_web), ["order", "low rate"], "and those for all projects are web's too");
    let mut expected = alert();
    let rule = &of_web["rules"][1];
    expected["id"] = json!("low rate");
    (expected["since"], expected["saidAt"]) = (json!(tick), rule["saidAt"].clone());
    assert_eq!(rule, &expected, "what was put, and since when it holds; nobody's name is known");
    whole.end().await;
    let whole = start(folder.path()).await;
    assert_eq!(get(&whole, "/v1/rules").await["rules"], listed["rules"]);
    for (path, left) in [
        ("/v1/rules/order?kind=alert&wait=applied", 3),
        ("/v1/rules/order?kind=mask&wait=applied", 2),
        ("/v1/rules/order?kind=mask&wait=applied", 2),
        ("/v1/rules/low%20rate?kind=alert&project=web&wait=applied", 1),
    ] {
        assert_eq!(delete(&whole, path).await.0, 200, "{path}");
        assert_eq!(ids(&get(&whole, "/v1/rules").await).len(), left, "{path}");
    }
    whole.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_takes_results_back_and_its_end_restores_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = start(folder.path()).await;
    for (version, worker) in [(1, "w7"), (2, "w8")] {
        let event = json!({
            "eventId": format!("e{version}"), "eventType": "test_passed", "streamId": "s", "version": version, "correlationId": "r1",
            "timestamp": 1_732_270_000_000_u64, "data": { "testId": format!("t{version}") },
            "metadata": { "project": "web", "worker": worker },
        });
        let (status, _, said) =
            ask(request(&whole, Method::POST, "/v1/events?wait=admitted", &event.to_string())).await;
        assert_eq!(status.as_u16(), 201, "{said}");
    }
    assert_eq!(finished(&whole).await, 2);
    let body = json!({ "project": "web", "worker": "w7", "from": "2024-11-22T10:06:40Z", "note": "its disk is full" });
    let (status, said) = put(&whole, "/v1/incidents?wait=applied", body.clone()).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(finished(&whole).await, 1, "w8's");
    let (_, again) = put(&whole, "/v1/incidents?wait=applied", body).await;
    assert_eq!(again["id"], said["id"], "said twice is said once");
    let id = said["id"].as_str().expect("an id");
    let listed = get(&whole, "/v1/incidents?project=web").await;
    let incident = &listed["incidents"][0];
    assert_eq!(listed["incidents"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(
        (&incident["id"], &incident["worker"], &incident["from"], incident.get("to"), &incident["note"]),
        (&json!(id), &json!("w7"), &json!(1_732_270_000_000_u64), None, &json!("its disk is full"))
    );
    assert_eq!(get(&whole, "/v1/incidents?project=app").await["incidents"], json!([]));
    let rules = get(&whole, "/v1/rules").await;
    let builtin = rules["rules"].as_array().expect("a list").iter().all(|rule| rule["builtIn"] == true);
    assert!(builtin, "an incident is no rule: {rules}");
    let named = json!({ "project": "web", "to": 1_732_270_000_001_u64 });
    assert_eq!(put(&whole, "/v1/incidents/all?wait=applied", named).await.0, 200);
    assert_eq!(finished(&whole).await, 0, "whatever happened before the time");
    for (id, left) in [("all", 1), (id, 2)] {
        assert_eq!(delete(&whole, &format!("/v1/incidents/{id}?project=web&wait=applied")).await.0, 200);
        assert_eq!(finished(&whole).await, left);
    }
    whole.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_names_the_field_and_takes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = start(folder.path()).await;
    let long = format!(r#"{{"kind":"mask","pattern":"{}"}}"#, "x".repeat(70_000));
    let deep = format!("/v1/rules/{}", "x".repeat(200));
    let cases = [
        (
            Method::PUT,
            "/v1/rules/a",
            "{",
            400,
            "body_unreadable",
            None,
            "the body cannot be read: EOF while parsing an object",
        ),
        (Method::PUT, "/v1/rules/a", "{}", 422, "invalid", Some("kind"), "kind: missing: alert, flaky or mask"),
        (
            Method::PUT,
            "/v1/rules/a",
            &long,
            413,
            "body_too_large",
            None,
            "a rule or an incident has at most 65536 bytes",
        ),
        (
            Method::PUT,
            "/v1/rules/a",
            r#"{"kind":"mask","pattern":"a("}"#,
            422,
            "invalid",
            Some("pattern"),
            "pattern: unclosed group; the syntax is that of the crate regex, without look-around and back-references",
        ),
        (
            Method::PUT,
            "/v1/rules/a",
            r#"{"kind":"alert","view":"live_metrics","severity":"error","message":"","when":[{"column":"scope","is":"<","threshold":1}]}"#,
            422,
            "invalid",
            Some("when[0].column"),
            "when[0].column: scope is no number",
        ),
        (
            Method::PUT,
            &deep,
            r#"{"kind":"flaky"}"#,
            422,
            "invalid",
            Some("id"),
            "id: 200 bytes, at most 128 are allowed",
        ),
        (Method::PUT, "/v1/rules/a?dry=true", "{}", 400, "bad_query", Some("dry"), "dry: unknown parameter"),
        (
            Method::PUT,
            "/v1/rules/a?wait=admitted",
            "{}",
            400,
            "bad_query",
            Some("wait"),
            "wait: `admitted` cannot be waited for",
        ),
        (Method::PUT, "/v1/rules/%ff", "{}", 400, "bad_query", Some("id"), "id: Invalid URL: Invalid UTF-8 in `id`"),
        (Method::DELETE, "/v1/rules/a", "", 400, "bad_query", Some("kind"), "kind: missing"),
        (
            Method::DELETE,
            "/v1/rules/a?kind=alarm",
            "",
            400,
            "bad_query",
            Some("kind"),
            r#"kind: "alarm" is no kind of rule: alert, flaky or mask"#,
        ),
        (
            Method::PUT,
            "/v1/incidents/a",
            r#"{"project":"web"}"#,
            422,
            "invalid",
            Some("worker"),
            "worker: missing: name a worker, an interval (from, to), or both",
        ),
        (
            Method::PUT,
            "/v1/incidents",
            r#"{"project":"web","from":"yesterday"}"#,
            422,
            "invalid",
            Some("from"),
            "from: not a time: RFC 3339 with an offset, or milliseconds since 1970, up to the year 9999",
        ),
        (Method::DELETE, "/v1/incidents/a", "", 400, "bad_query", Some("project"), "project: missing"),
    ];
    for (method, path, body, status, code, field, error) in cases {
        let (answered, _, said) = ask(request(&whole, method.clone(), path, body)).await;
        let told = (answered.as_u16(), said["code"].as_str(), said["field"].as_str(), said["error"].as_str());
        assert_eq!(told, (status, Some(code), field, Some(error)), "{method} {path}: {said}");
    }
    let (answered, _, said) = ask(whole.client.get(whole.url("/v1/rules?kind=mask"))).await;
    assert_eq!((answered.as_u16(), said["error"].as_str()), (400, Some(r#"unknown parameter "kind"; known: project"#)));
    // The first thing taken is the first in the log.
    let (_, said) = put(&whole, "/v1/rules/a", json!({ "kind": "flaky" })).await;
    assert_eq!(said["position"]["offset"], 0, "nothing was taken before");
    whole.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rule_too_many_is_refused_by_the_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = start(folder.path()).await;
    let mask = || json!({ "kind": "mask", "project": "web", "pattern": "a" });
    let puts = (0..64).map(|n| {
        let request = request(&whole, Method::PUT, &format!("/v1/rules/m{n}"), &mask().to_string());
        async move { ask(request).await.0.as_u16() }
    });
    let answers = futures_util::future::join_all(puts).await;
    assert!(answers.iter().all(|status| *status == 202));
    let (status, said) = put(&whole, "/v1/rules/more?wait=applied", mask()).await;
    assert_eq!((status, said["code"].as_str()), (422, Some("rejected")), "{said}");
    assert_eq!(said["error"], "there are 64 rules of kind mask already; remove one first");
    whole.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_writers_may_say_something_and_their_name_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "read 0123456789abcdef page\nread,write fedcba9876543210 ci\n").expect("is written");
    let whole = Whole::start(folder.path(), |config| config.auth.tokens_file = Some(tokens)).await;
    let body = json!({ "project": "web", "worker": "w7" }).to_string();
    let paths =
        [(Method::PUT, "/v1/incidents/a"), (Method::DELETE, "/v1/rules/a?kind=mask"), (Method::PUT, "/v1/rules/a")];
    for (method, path) in paths {
        let asked = || request(&whole, method.clone(), path, &body);
        assert_eq!(ask(asked()).await.0.as_u16(), 401, "{path}");
        assert_eq!(ask(asked().bearer_auth("0123456789abcdef")).await.0.as_u16(), 403, "{path}");
    }
    let asked = request(&whole, Method::PUT, "/v1/incidents/a?wait=applied", &body).bearer_auth("fedcba9876543210");
    assert_eq!(ask(asked).await.0.as_u16(), 200);
    assert_eq!(ask(whole.client.get(whole.url("/v1/incidents"))).await.0.as_u16(), 401);
    let listed = ask(whole.client.get(whole.url("/v1/incidents")).bearer_auth("0123456789abcdef")).await.2;
    assert_eq!(listed["incidents"][0]["saidBy"], "ci", "{listed}");
    whole.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_test_is_flaky_is_told_with_its_evidence_and_its_rule() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = start(folder.path()).await;
    let event = |version: u64, kind: &str, attempt: u32| {
        json!({
            "eventId": version.to_string(), "eventType": kind, "streamId": "s", "version": version, "timestamp": version,
            "correlationId": "r1", "data": { "testId": "a test", "attempt": attempt },
            "metadata": { "project": "web", "branch": "main", "commit": "c1", "worker": "w1" },
        })
    };
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after it").as_millis();
    let at = u64::try_from(now()).expect("small") - 1_000;
    for (version, kind, attempt) in [(1, "test_failed", 1), (2, "test_passed", 2)] {
        let mut event = event(version, kind, attempt);
        event["timestamp"] = json!(at + version);
        let (status, _, said) =
            ask(request(&whole, Method::POST, "/v1/events", &event.to_string())
                .header("content-type", "application/json"))
            .await;
        assert_eq!(status.as_u16(), 202, "{said}");
    }
    // The row moves at the next whole second.
    let why = |rule: Value| {
        let whole = &whole;
        async move {
            loop {
                let (_, _, said) = ask(whole.client.get(whole.url("/v1/why/flaky_tests/a%20test?project=web"))).await;
                let verdict = &said["verdicts"][0];
                if verdict["evidence"].as_array().is_some_and(|all| all.len() == 2) && verdict["rule"]["id"] == rule {
                    return verdict.clone();
                }
                tokio::task::yield_now().await;
            }
        }
    };
    let verdict = why(Value::Null).await;
    let evidence = |attempt: u64, outcome: &str| json!({ "run": "r1", "attempt": attempt, "outcome": outcome, "at": at + attempt, "commit": "c1", "worker": "w1" });
    assert_eq!(verdict["evidence"], json!([evidence(1, "failed"), evidence(2, "passed")]));
    assert_eq!(
        (&verdict["state"], &verdict["reason"], &verdict["branch"]),
        (&json!("flaky"), &json!("retry"), &json!("main"))
    );
    assert_eq!(verdict["rule"]["passes"], 10, "the default: {verdict}");
    let week = 7 * 86_400_000;
    assert_eq!(verdict["clears"], json!({ "passes_in_a_row": 9, "or_no_failure_until": at + 1 + week }));
    let rule = json!({ "kind": "flaky", "project": "web", "passes": 3 });
    let (status, said) = put(&whole, "/v1/rules/soon?wait=applied", rule).await;
    assert_eq!(status, 200, "{said}");
    let verdict = why(json!("soon")).await;
    assert_eq!((&verdict["rule"]["passes"], &verdict["rule"]["since"]), (&json!(3), &said["tick"]), "{verdict}");
    assert_eq!(verdict["clears"]["passes_in_a_row"], 2);
    for (path, wanted, code) in [
        ("/v1/why/flaky_tests/other?project=web", 404, "no_verdict"),
        ("/v1/why/flaky_tests/a%20test?project=web&branch=side", 404, "no_verdict"),
        ("/v1/why/flaky_tests/a%20test", 400, "invalid_query"),
        ("/v1/why/flaky_tests/a%20test?project=web&colour=red", 400, "invalid_query"),
    ] {
        let (status, _, said) = ask(whole.client.get(whole.url(path))).await;
        assert_eq!(status.as_u16(), wanted, "{path}: {said}");
        assert!(said.to_string().contains(code), "{path}: {said}");
    }
    whole.end().await;
}

/// The alerts that fire, but for when they began to.
async fn firing(whole: &Whole) -> Vec<Value> {
    sorted(&get(whole, "/v1/views/alerts").await["rows"])
}

fn sorted(rows: &Value) -> Vec<Value> {
    let mut rows = rows.as_array().expect("a list").clone();
    let fired_at = weir_schemas::view::ALERTS.column("fired_at").expect("a column");
    rows.iter_mut().for_each(|row| row[fired_at] = Value::Null);
    rows.sort_by_key(ToString::to_string);
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dry_run_says_is_what_the_rule_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = start(folder.path()).await;
    for (run, project, outcomes) in [("a", "web", "ffp"), ("b", "web", "pfp"), ("c", "app", "fff"), ("d", "web", "ppp")]
    {
        let events: Vec<Value> = outcomes.chars().zip(1..).map(|(outcome, version)| {
            let kind = if outcome == 'f' { "test_failed" } else { "test_passed" };
            json!({ "eventId": format!("{run}{version}"), "eventType": kind, "streamId": run, "version": version, "correlationId": run,
                "timestamp": "2026-11-22T10:00:00Z", "data": { "testId": format!("t{version}") }, "metadata": { "project": project } })
        }).collect();
        let last = events.len() - 1;
        for (index, event) in events.iter().enumerate() {
            let path = if index == last { "/v1/events?wait=admitted" } else { "/v1/events" };
            let (status, _, said) = ask(request(&whole, Method::POST, path, &event.to_string())).await;
            assert!(status.is_success(), "{said}");
        }
    }
    let rule = |project: &str, least: u64, for_ms: u64| {
        let when = json!([{ "column": "failed", "is": ">=", "threshold": least }]);
        json!({ "kind": "alert", "project": project, "view": "run_progress", "when": when, "forMs": for_ms, "severity": "error",
            "message": "{run}: {value}" })
    };
    let off = json!({ "kind": "alert", "project": "web", "view": "run_progress", "when": rule("", 1, 0)["when"], "disabled": true,
        "severity": "info", "message": "" });
    let changes = [
        rule("web", 1, 0),
        rule("", 1, 0),
        rule("web", 2, 0),
        rule("web", 2, 0),
        rule("", 3, 0),
        rule("web", 1, 3_600_000),
        off,
    ];
    let mut came_and_went = (0, 0);
    for change in changes {
        let before = firing(&whole).await;
        let (status, said) = put(&whole, "/v1/rules/failing?dry_run=true", change.clone()).await;
        assert_eq!((status, &said["view"]), (200, &json!("alerts")), "{said}");
        assert_eq!(firing(&whole).await, before, "nothing is put by a dry run");
        let (come, go) = (sorted(&said["come"]), sorted(&said["go"]));
        let mut expected: Vec<Value> = before.into_iter().filter(|row| !go.contains(row)).chain(come.clone()).collect();
        expected.sort_by_key(ToString::to_string);
        let pending = said["pending"].as_array().expect("a list").len();
        assert_eq!(pending, if change["forMs"] == json!(3_600_000) { 2 } else { 0 }, "{said}");
        let (status, said) = put(&whole, "/v1/rules/failing?wait=applied", change.clone()).await;
        assert_eq!(status, 200, "{said}");
        assert_eq!(firing(&whole).await, expected, "{change}");
        came_and_went = (came_and_went.0 + come.len(), came_and_went.1 + go.len());
    }
    // web: a and b; app: c, web has its own; b goes, a stays; nothing; c again, as it is another rule; a goes; nothing is left to go.
    assert_eq!(came_and_went, (5, 4), "every change but that of what is the same changed something");
    let (status, said) = put(&whole, "/v1/rules/m?dry_run=maybe", rule("web", 1, 0)).await;
    assert_eq!((status, &said["field"]), (400, &json!("dry_run")), "{said}");
    whole.end().await;
}

/// The rows of a view as objects.
async fn objects(whole: &Whole, path: &str) -> Vec<serde_json::Map<String, Value>> {
    let said = get(whole, path).await;
    let names: Vec<String> = said["schema"]["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| column[0].as_str().expect("a name").to_owned())
        .collect();
    let rows = said["rows"].as_array().expect("rows").iter();
    rows.map(|row| names.iter().cloned().zip(row.as_array().expect("a row").iter().cloned()).collect()).collect()
}

/// Sends events of a run, one test each; the last is waited for.
async fn results(whole: &Whole, run: &str, events: &[(&str, &str, u32, &str)]) {
    for (index, (test, kind, attempt, message)) in events.iter().enumerate() {
        let error = (*kind == "test_failed").then(|| json!({ "message": message }));
        let event = json!({ "eventId": format!("{run}-{index}"), "eventType": kind, "streamId": run, "version": index + 1,
            "correlationId": run, "timestamp": now_ms() - 1_000 + index as u64,
            "data": { "testId": test, "attempt": attempt, "error": error },
            "metadata": { "project": "web", "branch": "main", "commit": run } });
        let (status, _, said) = ask(request(whole, Method::POST, "/v1/events?wait=admitted", &event.to_string())).await;
        assert_eq!(status.as_u16(), 201, "{said}");
    }
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after it");
    u64::try_from(now.as_millis()).expect("small")
}

/// Asks until the rows of a view are as wanted: they move at whole seconds.
async fn until<T>(whole: &Whole, path: &str, wanted: impl Fn(&[serde_json::Map<String, Value>]) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(&objects(whole, path).await) {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_a_flaky_rule_tells_the_verdicts_that_the_rule_then_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = start(folder.path()).await;
    let failed = |test: &'static str, attempt| (test, "test_failed", attempt, "no");
    let passed = |test: &'static str, attempt| (test, "test_passed", attempt, "");
    results(&whole, "r1", &[failed("a", 1), passed("a", 2), failed("b", 1), failed("c", 1)]).await;
    results(&whole, "r2", &[failed("b", 1), passed("a", 1), passed("c", 1)]).await;
    let rows = "/v1/views/flaky_tests?project=web";
    let states = |rows: &[serde_json::Map<String, Value>]| -> Vec<Value> {
        rows.iter().map(|row| json!([row["test"], row["state"]])).collect()
    };
    let before = json!([["a", "flaky"], ["b", "healthy"], ["c", "healthy"]]);
    until(&whole, rows, |rows| (json!(states(rows)) == before).then_some(())).await;
    let rule = json!({ "kind": "flaky", "project": "web", "broken": 2, "passes": 1 });
    let (status, said) = put(&whole, "/v1/rules/f?dry_run=true", rule.clone()).await;
    assert_eq!(
        (status, &said["view"], &said["over"]),
        (200, &json!("flaky_tests"), &json!({ "view": "flaky_tests", "rows": 3 })),
        "{said}"
    );
    assert_eq!(said["time"].as_u64().map(|time| time % 1_000), Some(0), "at a whole second: {said}");
    let told = |name: &str| -> Vec<Value> {
        said[name].as_array().expect("a list").iter().map(|row| json!([row[1], row[5], row[15]])).collect()
    };
    assert_eq!(told("go"), [json!(["a", "flaky", null]), json!(["b", "healthy", null]), json!(["c", "healthy", null])]);
    assert_eq!(told("come"), [json!(["a", "fixed", "f"]), json!(["b", "broken", "f"]), json!(["c", "healthy", "f"])]);
    assert_eq!(
        get(&whole, "/v1/rules?project=web").await["rules"]
            .as_array()
            .map_or(0, |rules| rules.iter().filter(|rule| rule["kind"] == "flaky").count()),
        0,
        "nothing is put"
    );
    assert_eq!(put(&whole, "/v1/rules/f?wait=applied", rule).await.0, 200);
    let after = json!([["a", "fixed"], ["b", "broken"], ["c", "healthy"]]);
    until(&whole, rows, |rows| (json!(states(rows)) == after).then_some(())).await;
    whole.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_a_mask_tells_what_the_same_errors_become_when_they_come_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = start(folder.path()).await;
    let long = format!("order north is lost {}", "x".repeat(2_000));
    let failed = |test: &'static str, message| (test, "test_failed", 1, message);
    let errors = [
        failed("a", "order north is lost"),
        failed("b", "order south is lost"),
        failed("c", "no room"),
        failed("d", &long),
    ];
    results(&whole, "r1", &errors).await;
    let rows = "/v1/views/error_stream?project=web";
    let fingerprints = |run: &'static str| {
        move |rows: &[serde_json::Map<String, Value>]| -> Option<Vec<Value>> {
            let mut of: Vec<_> = rows.iter().filter(|row| row["run"] == run).collect();
            of.sort_by_key(|row| row["test"].to_string());
            (of.len() == 4).then(|| of.iter().map(|row| row["error_fingerprint"].clone()).collect())
        }
    };
    let was = until(&whole, rows, fingerprints("r1")).await;
    let mask = json!({ "kind": "mask", "project": "web", "pattern": "order [a-z]+" });
    let (status, said) = put(&whole, "/v1/rules/m?dry_run=true", mask.clone()).await;
    assert_eq!((status, &said["view"]), (200, &json!("failure_patterns")), "{said}");
    assert_eq!(said["over"], json!({ "view": "error_stream", "rows": 3, "cut": 1 }), "{said}");
    let changed = said["changed"].as_array().expect("a list");
    assert_eq!(changed.iter().map(|of| &of["from"]).collect::<Vec<_>>(), [&was[0], &was[1]], "{said}");
    assert_eq!(said["come"][0]["pattern"], "% is lost", "{said}");
    assert_eq!(said["go"].as_array().map(Vec::len), Some(2), "{said}");
    assert_eq!(put(&whole, "/v1/rules/m?wait=applied", mask).await.0, 200);
    results(&whole, "r2", &errors).await;
    let is = until(&whole, rows, fingerprints("r2")).await;
    assert_eq!((&is[0], &is[1], &is[2]), (&changed[0]["to"], &changed[1]["to"], &was[2]), "{said}");
    whole.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_that_there_is_no_room_for_the_rule() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = start(folder.path()).await;
    let mask = || json!({ "kind": "mask", "project": "web", "pattern": "a" });
    for n in 0..64 {
        let path = format!("/v1/rules/m{n}{}", if n == 63 { "?wait=applied" } else { "" });
        assert!(put(&whole, &path, mask()).await.0 < 300);
    }
    let (status, said) = put(&whole, "/v1/rules/more?dry_run=true", mask()).await;
    assert_eq!((status, said["code"].as_str()), (422, Some("rejected")), "{said}");
    assert_eq!(said["error"], "there are 64 rules of kind mask already; remove one first");
    assert_eq!(put(&whole, "/v1/rules/m7?dry_run=true", mask()).await.0, 200, "one that is there can be changed");
    whole.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn built_in_rules_are_listed_with_what_holds_instead() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = start(folder.path()).await;
    let listed = |path: &'static str| {
        let whole = &whole;
        async move {
            let said = get(whole, path).await;
            let rules = said["rules"].as_array().expect("a list").iter();
            let builtin = rules.filter(|rule| rule["builtIn"] == true);
            builtin.map(|rule| (rule["id"].as_str().expect("an id").to_owned(), rule.clone())).collect::<Vec<_>>()
        }
    };
    let all = listed("/v1/rules").await;
    let ids: Vec<&str> = all.iter().map(|(id, _)| id.as_str()).collect();
    let known = ["success-rate", "error-rate", "new-failure", "silent-run", "coverage-drop"];
    assert_eq!(ids, known.map(|id| format!("builtin:{id}")));
    assert!(all.iter().all(|(_, rule)| rule["holds"] == true && rule["overriddenBy"] == json!([])));
    let drop = &all[4].1;
    assert_eq!((&drop["view"], &drop["filter"]["complete"]), (&json!("coverage_summary"), &json!(["true"])), "{drop}");
    let off = |project: &str| json!({ "kind": "alert", "project": project, "disabled": true });
    assert_eq!(put(&whole, "/v1/rules/builtin:silent-run?wait=applied", off("web")).await.0, 200);
    assert_eq!(put(&whole, "/v1/rules/builtin:error-rate?wait=applied", off("")).await.0, 200);
    for (path, silent, error) in [
        ("/v1/rules", (json!(["web"]), true), (json!([""]), false)),
        ("/v1/rules?project=web", (json!(["web"]), false), (json!([""]), false)),
        ("/v1/rules?project=app", (json!([]), true), (json!([""]), false)),
    ] {
        let rules = listed(path).await;
        let of = |index: usize| (rules[index].1["overriddenBy"].clone(), rules[index].1["holds"] == true);
        assert_eq!((of(3), of(1)), (silent, error), "{path}");
    }
    whole.end().await;
}
