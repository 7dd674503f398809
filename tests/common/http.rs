//! A router served on a port of its own, and a client to ask it.
#![allow(dead_code, reason = "helpers of tests: each test file uses its part")]

use axum::Router;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use std::time::Duration;
use weir::http;
use weir::shutdown::Shutdown;

/// A server that ends with the test.
pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

pub(crate) const LIMITS: http::Limits = http::Limits {
    connections_max: 1_000,
    connections_per_address_max: 0,
    header_timeout: Duration::from_secs(10),
    drain_timeout: Duration::from_secs(10),
    write_timeout: Duration::from_secs(30),
};

/// Serves on a free port.
pub(crate) fn serve(router: Router, limits: http::Limits) -> Served {
    let listener = http::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("is bound"));
    let shutdown = Shutdown::default();
    let task = weir::task::spawn("http", http::serve(listener, router, limits, shutdown.clone()));
    Served { url, shutdown, task }
}

/// A client that keeps no connection open between requests.
pub(crate) fn client() -> Client {
    // Another test of this process may have been first.
    let _first = rustls::crypto::ring::default_provider().install_default();
    Client::builder().pool_max_idle_per_host(0).build().expect("a client")
}

/// Sends, and reads the answer as JSON.
pub(crate) async fn ask(request: RequestBuilder) -> (StatusCode, Option<String>, Value) {
    let answer = request.send().await.expect("is answered");
    let status = answer.status();
    let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().expect("is text").to_owned());
    let text = answer.text().await.expect("has a body");
    let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: no JSON: {text:?}"));
    (status, retry_after, json)
}
