//! Delivery of one parcel: tries until it is taken, refused, or the time is up.
//!
//! Contract: [`deliver`] tries until one of these is certain, [`attempt`] tries once. A passing refusal is met by waiting as
//! long as the server asks (`Retry-After`), or twice as long each time where it does not, at most [`TRIES_MAX`] times: a
//! build is not held up for a server that is down. A wait that would pass the deadline is not begun.

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
    /// It would be taken with another token or at another address, and so would everything else.
    Misdirected {
        /// What is wrong with them.
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
    /// What kind of report it was.
    pub format: String,
    /// What a report of coverage says in all.
    pub coverage: Option<Coverage>,
}

/// How much of the code ran, by a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Coverage {
    /// Files with lines that could have run.
    pub files: u64,
    /// Lines that ran.
    pub lines_covered: u64,
    /// Lines that could have run.
    pub lines_total: u64,
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

/// How long somebody goes on asking.
pub struct Patience {
    pause: Duration,
    tries_left: u32,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { pause: PAUSE_FIRST, tries_left: TRIES_MAX }
    }
}

impl Patience {
    /// Waits for the next try; false when there is none to come.
    pub async fn wait(&mut self, retry_after: Option<Duration>, deadline: Instant) -> bool {
        self.tries_left -= u32::from(retry_after.is_none());
        let next = Instant::now() + retry_after.unwrap_or(self.pause);
        if self.tries_left == 0 || next >= deadline {
            return false;
        }
        self.pause *= 2;
        sleep_until(next).await;
        true
    }
}

/// Delivers a parcel by `deadline`.
pub async fn deliver(client: &Client, parcel: &Parcel, deadline: Instant) -> Delivered {
    let mut patience = Patience::default();
    loop {
        match attempt(client, parcel, deadline).await {
            Ok(receipt) => return Delivered::Taken(receipt),
            Err(Refused::Permanent { reason }) => return Delivered::Refused { reason },
            Err(Refused::Misdirected { reason }) => return Delivered::Misdirected { reason },
            Err(Refused::Passing { reason, retry_after }) => {
                if !patience.wait(retry_after, deadline).await {
                    return Delivered::Later { reason };
                }
            }
        }
    }
}

/// Tries once, by `deadline`.
///
/// # Errors
/// It was not taken.
pub async fn attempt(client: &Client, parcel: &Parcel, deadline: Instant) -> Result<Receipt, Refused> {
    let post = Post { path: &parcel.path, content_type: &parcel.content_type, zstd: true, body: parcel.body.clone() };
    // A body that is not understood still came with a good status.
    client.post(post, deadline).await.map(|reply| serde_json::from_slice(&reply.body).unwrap_or_default())
}
