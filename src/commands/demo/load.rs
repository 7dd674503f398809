//! What reports to the demo's server: the simulated fleet, and real files.
//!
//! Contract: over HTTP, one request at a time each, the next only when the last was answered: a server that is behind slows
//! the fleet down (429, 503 with `Retry-After`), and the fleet then goes on where it was instead of catching up. Ends soon
//! after `ending` is triggered.

use crate::client::{Client, Post, Refused};
use crate::commands::say;
use crate::commands::send::ci::Origin;
use crate::commands::send::delivery::{Delivered, Receipt, deliver};
use crate::commands::send::input::Input;
use crate::commands::send::parcel::{Format, Packer};
use crate::shutdown::Shutdown;
use crate::simulation::Fleet;
use bytes::Bytes;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use weir_schemas::event::TestEvent;
use weir_schemas::id::Id;

/// The fleet reports so often.
const BEAT: Duration = Duration::from_millis(50);
/// Events in one request, at most.
const BATCH_MAX: usize = 5_000;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A pause where the server does not say how long.
const PAUSE: Duration = Duration::from_millis(250);
/// Reports come one after the other, as from jobs that end.
const REPORT_BEAT: Duration = Duration::from_millis(500);

/// Events on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) lost: u64,
}

impl Tally {
    pub(super) fn and(self, other: Tally) -> Tally {
        Tally {
            sent: self.sent + other.sent,
            accepted: self.accepted + other.accepted,
            rejected: self.rejected + other.rejected,
            lost: self.lost + other.lost,
        }
    }

    fn take(&mut self, receipt: &Receipt) {
        self.accepted += receipt.accepted();
        self.rejected += receipt.rejected();
    }
}

/// Lets the fleet report until the end.
pub(super) async fn fleet(mut fleet: Fleet, client: Client, ending: Shutdown) -> Tally {
    let mut tally = Tally::default();
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = ending.wait() => return tally,
        }
        for batch in fleet.advance(now_ms()).chunks(BATCH_MAX) {
            tally.sent += batch.len() as u64;
            if !post(batch, &client, &ending, &mut tally).await {
                tally.lost += batch.len() as u64;
            }
        }
    }
}

/// Posts a batch until it is taken, refused for good or the demo ends; whether it was taken.
async fn post(batch: &[TestEvent<'static>], client: &Client, ending: &Shutdown, tally: &mut Tally) -> bool {
    let mut lines = Vec::new();
    for event in batch {
        serde_json::to_writer(&mut lines, event).expect("an event is always JSON");
        lines.push(b'\n');
    }
    let body = Bytes::from(lines);
    loop {
        let post = Post { path: "/v1/events", content_type: "application/x-ndjson", zstd: false, body: body.clone() };
        let pause = match client.post(post, Instant::now() + PATIENCE).await {
            Ok(reply) => {
                tally.take(&serde_json::from_slice(&reply.body).unwrap_or_default());
                return true;
            }
            Err(Refused::Permanent { reason } | Refused::Misdirected { reason }) => {
                tracing::error!(%reason, "the server refuses the fleet's events");
                return false;
            }
            Err(Refused::Passing { reason, retry_after }) => {
                tracing::debug!(%reason, "the fleet waits");
                retry_after.unwrap_or(PAUSE)
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = ending.wait() => return false,
        }
    }
}

/// Sends each file as a run of its own.
pub(super) async fn reports(files: Vec<Input>, client: Client, ending: Shutdown) -> Tally {
    let mut tally = Tally::default();
    let mark = Id::of(&["demo reports", &now_ms().to_string()]).route() & 0xffff;
    let mut beat = interval(REPORT_BEAT);
    for (number, file) in files.into_iter().enumerate() {
        tokio::select! {
            _ = beat.tick() => {}
            () = ending.wait() => return tally,
        }
        let title = file.title();
        let name = std::path::Path::new(&title).file_stem().map_or(title.clone(), |stem| stem.to_string_lossy().into());
        let run = Some(format!("{name}-{mark:04x}-{number}"));
        let origin = Origin { project: Some("reports".to_owned()), run, ..Origin::default() };
        let read = tokio::task::spawn_blocking(move || file.read()).await;
        let parcels = match read {
            Ok(Ok(bytes)) => Packer::new(origin, None, None).pack(&title, &bytes, Format::Auto),
            Ok(Err(error)) => {
                say::note(&format!("{title}: {error}"));
                continue;
            }
            Err(broken) => std::panic::resume_unwind(broken.into_panic()),
        };
        match parcels {
            Ok(parcels) => {
                for parcel in &parcels {
                    match deliver(&client, parcel, Instant::now() + PATIENCE).await {
                        Delivered::Taken(receipt) => {
                            tally.sent += receipt.accepted() + receipt.rejected();
                            tally.take(&receipt);
                        }
                        Delivered::Refused { reason }
                        | Delivered::Misdirected { reason }
                        | Delivered::Later { reason } => {
                            say::note(&format!("{title}: {reason}"));
                        }
                    }
                }
            }
            Err(error) => say::note(&format!("{title} {error}")),
        }
    }
    tally
}

/// The wall clock.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
