//! Delivery of one parcel: tries until it is taken, refused for good, or the time is up.
//!
//! Contract: a passing refusal is met by waiting as long as the server asks (`Retry-After`), or twice as long each time
//! where it does not, at most [`TRIES_MAX`] times: a build is not held up for a server that is down. A wait that would
//! pass the deadline is not begun.

use super::parcel::Parcel;
use crate::client::{Client, Post, Refused};
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Tries of one parcel, at most, where the server does not say when to come back.
pub const TRIES_MAX: u32 = 4;
const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// What became of a parcel.
#[derive(Debug)]
pub enum Delivered {
    /// The server has it durably.
    Taken(Receipt),
    /// It will never be taken.
    Refused {
        /// Why.
        reason: String,
    },
    /// It may be taken later.
    Later {
        /// Why not now.
        reason: String,
    },
}

/// What the server says of what it took: of events, or of a report.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Receipt {
    accepted: u64,
    /// Events that a report became.
    events: u64,
    rejected_count: u64,
    /// Some of the events that are not acceptable.
    pub rejected: Vec<Rejected>,
    /// How much is odd in a report.
    pub issue_count: usize,
    /// Some of it.
    pub issues: Vec<Issue>,
}

impl Receipt {
    /// Events that it took and that are acceptable.
    pub fn accepted(&self) -> u64 {
        self.accepted + self.events
    }

    /// Events that it took and that are not.
    pub fn rejected(&self) -> u64 {
        self.rejected_count.max(self.rejected.len() as u64)
    }
}

/// An event that is not acceptable.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rejected {
    /// Its place in the body, from 0.
    pub index: u64,
    /// The field that is wrong; empty where none is to blame.
    pub field: String,
    /// Why.
    pub reason: String,
}

/// Something odd in a report.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Issue {
    /// The line.
    pub line: Option<u64>,
    /// A sentence.
    pub message: String,
}

/// Delivers a parcel by `deadline`.
pub async fn deliver(client: &Client, parcel: &Parcel, deadline: Instant) -> Delivered {
    let mut pause = PAUSE_FIRST;
    let mut tries_left = TRIES_MAX;
    loop {
        let post =
            Post { path: &parcel.path, content_type: &parcel.content_type, zstd: true, body: parcel.body.clone() };
        let (reason, retry_after) = match client.post(post, deadline).await {
            // A body that is not understood still came with a good status.
            Ok(reply) => return Delivered::Taken(serde_json::from_slice(&reply.body).unwrap_or_default()),
            Err(Refused::Permanent { reason }) => return Delivered::Refused { reason },
            Err(Refused::Passing { reason, retry_after }) => (reason, retry_after),
        };
        tries_left -= u32::from(retry_after.is_none());
        let next = Instant::now() + retry_after.unwrap_or(pause);
        if tries_left == 0 || next >= deadline {
            return Delivered::Later { reason };
        }
        pause *= 2;
        sleep_until(next).await;
    }
}
