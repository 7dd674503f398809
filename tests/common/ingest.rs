//! Ingest over a real log in a folder of its own, with the engine's side in the test's hands.
#![allow(dead_code, reason = "helpers of tests: each test file uses its part")]

use crate::http_common::{LIMITS, Served, client, serve};
use bytes::Bytes;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use weir::hub::{self, Hub};
use weir::ingest::{self, Parts};
use weir::log::embedded::{Embedded, EmbeddedConfig};
use weir::log::{Log, Record};
use weir::shutdown::Shutdown;
use weir::status::{Phase, Status};
use weir::verdicts::Verdicts;
use weir_schemas::limits::Limits;

pub(crate) struct Ingest {
    pub(crate) log: Arc<Embedded>,
    pub(crate) status: Status,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) served: Served,
    pub(crate) client: Client,
    _folder: TempDir,
}

/// Ingest that is ready, with small limits and room where a test wants them.
pub(crate) fn start(change: impl FnOnce(&mut Parts)) -> Ingest {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |topic: &str, partitions| {
        let config = EmbeddedConfig { partitions, ..EmbeddedConfig::new(folder.path().join(topic), topic) };
        Arc::new(Embedded::open(config, &mut |_, _| {}).expect("opens").0)
    };
    let log = open("events", 4);
    let (status, verdicts) = (Status::default(), Arc::new(Verdicts::default()));
    status.update(|status| status.phase = Phase::Live);
    let mut parts = Parts {
        log: Arc::clone(&log) as Arc<dyn Log>,
        control: open("control", 1) as Arc<dyn Log>,
        hub: Hub::new(hub::Config::default()),
        status: status.clone(),
        questions: Arc::default(),
        verdicts: Arc::clone(&verdicts),
        shutdown: Shutdown::default(),
        limits: Limits::default(),
        behind_max: 1_000,
        room_bytes: 256 << 20,
        body_timeout: Duration::from_secs(10),
        verdict_timeout: Duration::from_secs(10),
        public_url: String::new(),
        run_path: weir::gateway::page::run_path,
    };
    change(&mut parts);
    let served = serve(ingest::router(parts), LIMITS);
    Ingest { log, status, verdicts, served, client: client(), _folder: folder }
}

impl Ingest {
    /// A POST to `/v1/<path>`.
    pub(crate) fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client.post(format!("{}/v1/{path}", self.served.url)).body(body)
    }

    /// Everything in the log, in order of partition and offset.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut reader = self.log.reader(&self.log.starts()).expect("opens");
        let mut records = Vec::new();
        while reader.read(10_000, 64 << 20, &mut records).expect("reads") > 0 {}
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// The bytes of each item, by the positions of an answer.
    pub(crate) fn items(&self, positions: &Value) -> Vec<Bytes> {
        let records = self.records();
        let mut items = Vec::new();
        for placed in positions.as_array().expect("a list") {
            let number = |name: &str| placed[name].as_u64().expect(name);
            assert_eq!(number("index"), items.len() as u64, "each item once, in order");
            for offset in number("offset")..number("offset") + number("count") {
                let at =
                    |record: &&Record| u64::from(record.partition) == number("partition") && record.offset == offset;
                items.push(records.iter().find(at).expect("is in the log").payload.clone());
            }
        }
        items
    }
}

/// An event that is acceptable.
pub(crate) fn event(stream: &str, version: u64) -> Value {
    json!({
        "eventId": format!("{stream}-{version}"), "eventType": "test_passed", "streamId": stream, "version": version,
        "timestamp": 1_732_270_000_000_u64 + version, "data": { "testId": format!("t{version}"), "duration": 1.5 },
        "metadata": { "project": "web" },
    })
}
