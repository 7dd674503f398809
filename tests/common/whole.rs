//! A whole server in the test's own process.
#![allow(dead_code, reason = "helpers of tests: each test file uses its part")]

use crate::http_common::client;
use reqwest::Client;
use std::path::Path;
use weir::config::Config;
use weir::serve::{self, Server};
use weir::shutdown::Shutdown;
use weir::status::Phase;

/// The server and a client of it.
pub(crate) struct Whole {
    pub(crate) server: Server,
    shutdown: Shutdown,
    pub(crate) client: Client,
}

impl Whole {
    /// Starts on a free port, with its data in `folder`/data, and waits until it is live.
    pub(crate) async fn start(folder: &Path, change: impl FnOnce(&mut Config)) -> Whole {
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

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    pub(crate) async fn end(self) {
        self.shutdown.trigger();
        self.server.ended().await.expect("ends in order");
    }
}
