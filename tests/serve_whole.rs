//! A whole server in one process: what is posted is in the views, only whoever may post can, and a restart changes nothing.

#[path = "common/http.rs"]
mod http_common;

use http_common::{ask, client};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use std::path::Path;
use weir::config::Config;
use weir::serve::{self, Server};
use weir::shutdown::Shutdown;
use weir::status::Phase;

struct Whole {
    server: Server,
    shutdown: Shutdown,
    client: Client,
}

impl Whole {
    /// Starts on a free port and waits until it is live.
    async fn start(folder: &Path, change: impl FnOnce(&mut Config)) -> Whole {
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().expect("an address");
        config.data.folder = folder.join("data");
        change(&mut config);
        let shutdown = Shutdown::default();
        let listener = serve::listen(config.server.listen).expect("a free port");
        let server = serve::start(&config, listener, shutdown.clone()).await.expect("starts");
        let mut status = server.status.subscribe();
        status.wait_for(|status| status.phase == Phase::Live).await.expect("becomes live");
        Whole { server, shutdown, client: client() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    fn post(&self, version: u64) -> RequestBuilder {
        let event = json!({
            "eventId": format!("e{version}"), "eventType": "test_passed", "streamId": "s1", "version": version,
            "timestamp": 1_732_270_000_000_u64, "data": { "testId": format!("t{version}") },
        });
        self.client.post(self.url("/v1/events?wait=admitted")).body(event.to_string())
    }

    async fn view(&self, view: &str) -> Value {
        ask(self.client.get(self.url(&format!("/v1/views/{view}")))).await.2
    }

    async fn end(self) {
        self.shutdown.trigger();
        self.server.ended().await.expect("ends in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_come_from_the_engine_and_a_restart_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = Whole::start(folder.path(), |_| ()).await;
    for (version, expected) in [(1, 201), (2, 201), (1, 200), (2, 200), (3, 201)] {
        let (status, _, said) = ask(whole.post(version)).await;
        assert_eq!(status.as_u16(), expected, "version {version}: {said}");
    }
    let other =
        r#"{"eventId":"x","eventType":"test_passed","streamId":"s1","version":2,"timestamp":5,"data":{"testId":"t"}}"#;
    let (status, _, said) = ask(whole.client.post(whole.url("/v1/events?wait=admitted")).body(other)).await;
    assert_eq!((status.as_u16(), &said["expected"]), (409, &json!(4)), "{said}");
    let before = whole.view("run_progress").await;
    assert_eq!(before["rows"].as_array().map(Vec::len), Some(1), "{before}");
    whole.end().await;

    let whole = Whole::start(folder.path(), |_| ()).await;
    let after = whole.view("run_progress").await;
    assert_eq!((&after["rows"], &after["epoch"]), (&before["rows"], &before["epoch"]));
    let (status, _, said) = ask(whole.post(3)).await;
    assert_eq!(status.as_u16(), 200, "known before the restart: {said}");
    let (ready, _, said) = ask(whole.client.get(whole.url("/readyz"))).await;
    assert_eq!((ready.as_u16(), &said["ready"], &said["phase"]), (200, &json!(true), &json!("live")));
    let metrics = whole.client.get(whole.url("/metrics")).send().await.expect("is answered");
    let metrics = metrics.text().await.expect("is text");
    for name in ["weir_ready 1", "weir_ingest_events_total", "weir_ingest_commit_seconds_bucket"] {
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
        let request = whole.post(1);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let (status, _, said) = ask(request).await;
        assert_eq!(status.as_u16(), expected, "{token:?}: {said}");
    }
    let foreign = whole.post(2).bearer_auth("writer-0123456789ab").header("origin", "https://evil.example");
    assert_eq!(ask(foreign).await.0.as_u16(), 403);
    for open in ["/healthz", "/readyz"] {
        assert_eq!(ask(whole.client.get(whole.url(open))).await.0.as_u16(), 200, "{open}");
    }
    whole.end().await;

    let whole = Whole::start(folder.path(), |_| ()).await;
    let renamed = whole.post(2).header("host", "evil.example");
    assert_eq!(ask(renamed).await.0.as_u16(), 403, "a name that was pointed at this machine");
    whole.end().await;
}
