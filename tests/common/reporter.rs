//! A reporter that posts test results until it is told that they are taken, over any number of lives of the server.
//!
//! At least once, as real ones: a batch without an answer is sent again, byte by byte, to the next server. Now and then it
//! sends a batch again that was taken, or an event twice in one batch.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{MissedTickBehavior, interval};

/// The project of all reporters.
pub(crate) const PROJECT: &str = "posted";
/// Streams of a reporter, two a run.
pub(crate) const STREAMS: usize = 4;
/// A reporter posts at most this often.
const BEAT: Duration = Duration::from_millis(10);

/// See the module.
pub(crate) struct Reporter {
    number: usize,
    rng: StdRng,
    client: reqwest::Client,
    /// Events made, by stream.
    made: [u64; STREAMS],
    /// Events acknowledged, by stream.
    acknowledged: [u64; STREAMS],
    /// The batch that is not acknowledged.
    pending: Option<String>,
    /// Batches that were.
    taken: Vec<String>,
    /// Batches sent again for want of an answer.
    pub(crate) resent: u64,
}

impl Reporter {
    pub(crate) fn new(number: usize, seed: u64, client: reqwest::Client) -> Reporter {
        Reporter {
            number,
            rng: StdRng::seed_from_u64(seed ^ number as u64),
            client,
            made: [0; STREAMS],
            acknowledged: [0; STREAMS],
            pending: None,
            taken: Vec::new(),
            resent: 0,
        }
    }

    /// Streams and the events of each that were acknowledged.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = (String, u64)> {
        self.acknowledged.iter().enumerate().map(|(stream, count)| (self.stream(stream), *count))
    }

    /// Runs and the tests of each that were acknowledged.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (String, u64)> {
        let runs = self.acknowledged.chunks(2).enumerate();
        runs.map(|(run, counts)| (format!("run{}-{run}", self.number), counts.iter().sum()))
    }

    /// Posts until the server does not answer any more.
    pub(crate) async fn report(mut self, address: SocketAddr, mut acknowledged: impl FnMut() + Send) -> Reporter {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.resent += u64::from(self.pending.is_some());
        loop {
            beat.tick().await;
            let again = self.pending.is_none() && !self.taken.is_empty() && self.rng.random_range(0..6) == 0;
            let body = match (&self.pending, again) {
                (Some(pending), _) => pending.clone(),
                (None, true) => self.taken[self.rng.random_range(0..self.taken.len())].clone(),
                (None, false) => {
                    let new = self.next();
                    self.pending.insert(new).clone()
                }
            };
            match self.post(address, body).await {
                Answer::Taken if again => {}
                Answer::Taken => {
                    self.settle();
                    acknowledged();
                }
                Answer::Later => {}
                Answer::Gone => return self,
            }
        }
    }

    /// Posts what is not acknowledged until it is.
    pub(crate) async fn finish(mut self, address: SocketAddr) -> Reporter {
        let mut beat = interval(BEAT);
        while let Some(pending) = self.pending.clone() {
            beat.tick().await;
            match self.post(address, pending).await {
                Answer::Taken => self.settle(),
                Answer::Later => {}
                Answer::Gone => panic!("this server stays"),
            }
        }
        self
    }

    fn settle(&mut self) {
        self.acknowledged = self.made;
        let taken = self.pending.take().expect("was acknowledged");
        if self.taken.len() < 20 {
            self.taken.push(taken);
        } else {
            let oldest = self.rng.random_range(0..self.taken.len());
            self.taken[oldest] = taken;
        }
    }

    async fn post(&self, address: SocketAddr, body: String) -> Answer {
        let events = body.lines().count();
        let Ok(answer) = self.client.post(format!("http://{address}/v1/events")).body(body).send().await else {
            return Answer::Gone;
        };
        let status = answer.status().as_u16();
        let Ok(said) = answer.text().await else { return Answer::Gone };
        match status {
            202 => {
                let said: Value = serde_json::from_str(&said).expect("JSON");
                assert_eq!(said["accepted"], json!(events), "{said}");
                Answer::Taken
            }
            429 | 503 => Answer::Later,
            other => panic!("{other}: {said}"),
        }
    }

    fn stream(&self, stream: usize) -> String {
        format!("reporter{}-{stream}", self.number)
    }

    /// A batch of new events of some of its streams.
    fn next(&mut self) -> String {
        let mut lines = Vec::new();
        for _ in 0..self.rng.random_range(1..8) {
            let stream = self.rng.random_range(0..STREAMS);
            self.made[stream] += 1;
            lines.push(self.event(stream, self.made[stream]));
            if self.rng.random_range(0..20) == 0 {
                let twice = self.rng.random_range(0..lines.len());
                lines.push(lines[twice].clone());
            }
        }
        lines.join("\n")
    }

    fn event(&self, stream: usize, version: u64) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let name = self.stream(stream);
        let mut data = json!({
            "testName": format!("{name}-{version}"), "testSuiteName": format!("suite{}", version % 5), "duration": 2.5,
        });
        let failed = version.is_multiple_of(7);
        if failed {
            data["error"] = json!({ "type": "AssertionError", "message": format!("expected {version} of {name}") });
        }
        let event = json!({
            "eventId": format!("{name}#{version}"), "eventType": if failed { "test_failed" } else { "test_passed" },
            "streamId": name, "version": version, "correlationId": format!("run{}-{}", self.number, stream / 2),
            "timestamp": u64::try_from(since.as_millis()).expect("fits"), "data": data,
            "metadata": { "project": PROJECT, "shard": stream.to_string() },
        });
        event.to_string()
    }
}

enum Answer {
    /// It is in the log.
    Taken,
    /// The server has too much to do.
    Later,
    /// There was none.
    Gone,
}
