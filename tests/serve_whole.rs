//! A whole server in one process: what is posted is in the views, only whoever may post can, and a restart changes nothing.

#[path = "common/http.rs"]
mod http_common;
#[path = "common/whole.rs"]
mod whole;

use http_common::ask;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use whole::Whole;

fn post(whole: &Whole, version: u64) -> RequestBuilder {
    let event = json!({
        "eventId": format!("e{version}"), "eventType": "test_passed", "streamId": "s1", "version": version,
        "timestamp": 1_732_270_000_000_u64, "data": { "testId": format!("t{version}") },
    });
    whole.client.post(whole.url("/v1/events?wait=admitted")).body(event.to_string())
}

async fn view(whole: &Whole, view: &str) -> Value {
    ask(whole.client.get(whole.url(&format!("/v1/views/{view}")))).await.2
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_come_from_the_engine_and_a_restart_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = Whole::start(folder.path(), |_| ()).await;
    for (version, expected) in [(1, 201), (2, 201), (1, 200), (2, 200), (3, 201)] {
        let (status, _, said) = ask(post(&whole, version)).await;
        assert_eq!(status.as_u16(), expected, "version {version}: {said}");
    }
    let other =
        r#"{"eventId":"x","eventType":"test_passed","streamId":"s1","version":2,"timestamp":5,"data":{"testId":"t"}}"#;
    let (status, _, said) = ask(whole.client.post(whole.url("/v1/events?wait=admitted")).body(other)).await;
    assert_eq!((status.as_u16(), &said["expected"]), (409, &json!(4)), "{said}");
    let before = view(&whole, "run_progress").await;
    assert_eq!(before["rows"].as_array().map(Vec::len), Some(1), "{before}");
    whole.end().await;

    let whole = Whole::start(folder.path(), |_| ()).await;
    let after = view(&whole, "run_progress").await;
    assert_eq!((&after["rows"], &after["epoch"]), (&before["rows"], &before["epoch"]));
    let (status, _, said) = ask(post(&whole, 3)).await;
    assert_eq!(status.as_u16(), 200, "known before the restart: {said}");
    let (ready, _, said) = ask(whole.client.get(whole.url("/readyz"))).await;
    assert_eq!((ready.as_u16(), &said["ready"], &said["phase"]), (200, &json!(true), &json!("live")));
    let metrics = whole.client.get(whole.url("/metrics")).send().await.expect("is answered");
    let metrics = metrics.text().await.expect("is text");
    for name in [
        "weir_ready 1",
        "weir_ingest_events_total",
        "weir_ingest_commit_seconds_bucket",
        "weir_view_rows{view=\"run_progress\"} 1",
        "weir_view_bytes{view=\"run_progress\"}",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    let page = whole.client.get(whole.url("/")).send().await.expect("is answered");
    assert_eq!(page.status(), 200);
    whole.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_writers_may_post_and_no_foreign_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "write writer-0123456789ab ci\nread reader-0123456789ab board\n").expect("writes");
    let whole = Whole::start(folder.path(), |config| config.auth.tokens_file = Some(tokens.clone())).await;
    for (token, expected) in [
        (None, 401),
        (Some("nobody-0123456789ab"), 401),
        (Some("reader-0123456789ab"), 403),
        (Some("writer-0123456789ab"), 201),
    ] {
        let request = post(&whole, 1);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let (status, _, said) = ask(request).await;
        assert_eq!(status.as_u16(), expected, "{token:?}: {said}");
    }
    let foreign = post(&whole, 2).bearer_auth("writer-0123456789ab").header("origin", "https://evil.example");
    assert_eq!(ask(foreign).await.0.as_u16(), 403);
    for open in ["/healthz", "/readyz"] {
        assert_eq!(ask(whole.client.get(whole.url(open))).await.0.as_u16(), 200, "{open}");
    }
    whole.end().await;

    let whole = Whole::start(folder.path(), |_| ()).await;
    let renamed = post(&whole, 2).header("host", "evil.example");
    assert_eq!(ask(renamed).await.0.as_u16(), 403, "a name that was pointed at this machine");
    whole.end().await;
}
