//! The subscriptions of one connection, which move together: what to send next.
//!
//! Contract: [`Group::next`] gives the next message, one at a time, whenever the socket can take one. A subscription waits
//! (for the hub to be live, or to reach its `since`), is confirmed, gets its snapshot if it needs one, is named with its own
//! `from` in a batch, and from then on moves with the group. All that is kept of a moving subscription is the group's
//! position.
//!
//! # Invariants
//! - After a batch's last part every moving subscription equals its views at the batch's `time`: a subscription whose rows
//!   are of later is taken in only by a batch that reaches that time; one whose rows are of earlier brings its own changes.
//! - Held for a client: a position; while a batch is under way, references to its shared entries; while a snapshot is under
//!   way, references to its rows, of which there is one a connection and a bounded number in all.
//! - No client holds a place to collect snapshots for longer than the server takes to collect its own.
//! - A position off the ring, or of another epoch, becomes a snapshot; no batch goes out until every subscription that
//!   moved has its new rows, since the client takes a batch for all of them.

use crate::gateway::batch::{Gathered, Member, Span, gather};
use crate::hub::encoding::{BATCH_BYTES, BatchHead, encode_batch};
use crate::hub::parts::Parts;
use crate::hub::query::Query;
use crate::hub::scan::{Scan, Step};
use crate::hub::{Head, Hub};
use bytes::Bytes;
use metrics::{counter, gauge};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_schemas::protocol::{ErrorMessage, GROUP, Mode, ServerMessage, Since, SubscriptionConfirmed, ViewSchema};

/// Where a subscription is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// For the hub: to be live, or to reach this.
    Waiting(Option<Since>),
    /// Its snapshot is under way.
    Snapshot,
    /// Its rows are of this time, and no batch has named it yet.
    Fresh(u64),
    /// With the group.
    Moving,
}

#[derive(Debug)]
struct Subscription {
    id: String,
    query: Arc<Query>,
    confirmed: bool,
    /// It moved, and its position was lost: the client's rows are of then until its snapshot is complete.
    lapsed: bool,
    stage: Stage,
}

/// The snapshot under way.
#[derive(Debug)]
struct Sending {
    id: String,
    query: Arc<Query>,
    work: Work,
    _writing: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Work {
    Scanning { scan: Box<Scan>, _place: OwnedSemaphorePermit },
    Writing(Parts, Instant),
}

/// The batch under way.
#[derive(Debug)]
struct BatchUnderWay {
    from: u64,
    time: u64,
    entries: VecDeque<Bytes>,
    part: u32,
}

/// The places for snapshots, over all connections; cheap to clone.
///
/// Collecting one costs the server's time and takes as long as the server takes: its place is free again then. Writing one
/// holds its rows for as long as the client takes, so there are many more places for that, and it is bounded in time.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    scanning: Arc<Semaphore>,
    writing: Arc<Semaphore>,
}

impl Snapshots {
    pub(crate) fn new(scanning_max: usize, writing_max: usize) -> Snapshots {
        Snapshots { scanning: Arc::new(Semaphore::new(scanning_max)), writing: Arc::new(Semaphore::new(writing_max)) }
    }

    /// A place to collect a snapshot, and one to write it; none when either lacks.
    fn enter(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let scanning = Arc::clone(&self.scanning).try_acquire_owned().ok()?;
        Some((scanning, Arc::clone(&self.writing).try_acquire_owned().ok()?))
    }
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send this.
    Send(String),
    /// Ask again: some work is done, and more is there.
    Again,
    /// Nothing, until the hub moves.
    Idle,
}

/// The subscriptions of one connection.
#[derive(Debug)]
pub(crate) struct Group {
    subscriptions: Vec<Subscription>,
    epoch: Arc<str>,
    /// Where the moving subscriptions are; none when none moves.
    position: Option<u64>,
    /// The last place that the client was told.
    told: (Arc<str>, u64),
    sequence: u64,
    sending: Option<Sending>,
    batch: Option<BatchUnderWay>,
    /// Whether the snapshot's turn comes before the next batch.
    snapshot_turn: bool,
    snapshots: Snapshots,
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in &self.subscriptions {
            gauge!("weir_gateway_subscriptions").decrement(1.0);
        }
    }
}

impl Group {
    /// No subscriptions.
    pub(crate) fn new(snapshots: Snapshots) -> Group {
        Group {
            subscriptions: Vec::new(),
            epoch: "".into(),
            position: None,
            told: ("".into(), 0),
            sequence: 0,
            sending: None,
            batch: None,
            snapshot_turn: false,
            snapshots,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.id == id)
    }

    /// Adds a subscription; its id is not taken.
    pub(crate) fn subscribe(&mut self, id: String, query: Query, since: Option<Since>) {
        gauge!("weir_gateway_subscriptions").increment(1.0);
        let stage = Stage::Waiting(since);
        self.subscriptions.push(Subscription { id, query: Arc::new(query), confirmed: false, lapsed: false, stage });
    }

    /// Takes a subscription away; false when there is none.
    pub(crate) fn unsubscribe(&mut self, id: &str) -> bool {
        let Some(index) = self.subscriptions.iter().position(|subscription| subscription.id == id) else {
            return false;
        };
        self.subscriptions.remove(index);
        gauge!("weir_gateway_subscriptions").decrement(1.0);
        if self.sending.as_ref().is_some_and(|sending| sending.id == id) {
            self.sending = None;
        }
        if !self.any(&Stage::Moving) {
            self.position = None;
        }
        true
    }

    /// Whether a snapshot is being collected: until it is, nothing is sent.
    pub(crate) fn scanning(&self) -> bool {
        self.sending.as_ref().is_some_and(|sending| matches!(sending.work, Work::Scanning { .. }))
    }

    /// Since when a snapshot is being written to the client; none when none is.
    pub(crate) fn snapshot_began_at(&self) -> Option<Instant> {
        match self.sending.as_ref()?.work {
            Work::Scanning { .. } => None,
            Work::Writing(_, at) => Some(at),
        }
    }

    /// The place that the client may be told while nothing changes.
    pub(crate) fn place(&self, head: &Head) -> (Arc<str>, u64) {
        if self.lapsed() {
            return (Arc::clone(&self.told.0), self.told.1);
        }
        let ahead = self.subscriptions.iter().filter_map(|subscription| match &subscription.stage {
            Stage::Waiting(Some(since)) => Some(since.time),
            Stage::Fresh(position) => Some(*position),
            _ => None,
        });
        let time = match self.position {
            Some(position) => position,
            None if self.subscriptions.is_empty() => head.time,
            None => ahead.max().unwrap_or(0).max(self.told.1),
        };
        (Arc::clone(&head.epoch), time)
    }

    /// Whether the group's place may be told before what it has to send: never amid a batch, nor of another history.
    pub(crate) fn between_messages(&self, head: &Head) -> bool {
        self.batch.is_none() && self.epoch == head.epoch
    }

    /// Notes that the client was told the group's place.
    pub(crate) fn told(&mut self, time: u64) {
        if self.position.is_some() {
            self.told = (Arc::clone(&self.epoch), time);
        }
    }

    /// The next message.
    pub(crate) fn next(&mut self, hub: &Hub, head: &Head, timestamp: u64) -> Next {
        if self.epoch != head.epoch {
            self.enter_epoch(Arc::clone(&head.epoch));
        }
        if self.batch.is_some() {
            return self.write_batch(timestamp);
        }
        if !self.scanning()
            && let Some(message) = self.admit(hub, head)
        {
            return message;
        }
        if self.scanning() {
            return self.snapshot(hub);
        }
        if !(self.snapshot_turn && self.sending.is_some()) {
            match self.gather(hub, head) {
                Next::Idle => {}
                other => {
                    self.snapshot_turn = true;
                    return other;
                }
            }
        }
        self.snapshot_turn = false;
        self.snapshot(hub)
    }

    fn lapsed(&self) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.lapsed)
    }

    fn any(&self, stage: &Stage) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.stage == *stage)
    }

    /// Another history: what was sent is of no more use.
    fn enter_epoch(&mut self, epoch: Arc<str>) {
        self.epoch = epoch;
        self.begin_again();
    }

    /// Every subscription that was on its way takes a snapshot.
    fn begin_again(&mut self) {
        self.position = None;
        self.batch = None;
        self.sending = None;
        for subscription in &mut self.subscriptions {
            subscription.lapsed |= subscription.stage == Stage::Moving;
            if !matches!(subscription.stage, Stage::Waiting(_)) {
                subscription.stage = Stage::Waiting(None);
            }
        }
    }

    /// Lets waiting subscriptions go on, where they can: confirms a resume, or begins a snapshot.
    fn admit(&mut self, hub: &Hub, head: &Head) -> Option<Next> {
        if head.epoch.is_empty() {
            return None;
        }
        for index in 0..self.subscriptions.len() {
            let subscription = &mut self.subscriptions[index];
            let Stage::Waiting(since) = &subscription.stage else { continue };
            if let Some(since) = since.as_ref().filter(|since| *since.epoch == *head.epoch) {
                if since.time > head.time {
                    continue;
                }
                if hub.frames(&head.epoch, since.time, 0).is_some() {
                    let time = since.time;
                    subscription.stage = Stage::Fresh(time);
                    counter!("weir_gateway_resumes_total").increment(1);
                    return Some(Next::Send(self.confirm(index, Mode::Resumed, time)));
                }
            }
            if !head.live || self.sending.is_some() {
                continue;
            }
            let Some((scanning, writing)) = self.snapshots.enter() else { continue };
            subscription.stage = Stage::Snapshot;
            let query = Arc::clone(&subscription.query);
            let scan = Scan::new(Arc::clone(&query), hub.config().snapshot_rows_max);
            let work = Work::Scanning { scan: Box::new(scan), _place: scanning };
            self.sending = Some(Sending { id: subscription.id.clone(), query, work, _writing: writing });
        }
        None
    }

    fn confirm(&mut self, index: usize, mode: Mode, time: u64) -> String {
        let subscription = &mut self.subscriptions[index];
        subscription.confirmed = true;
        let query = &subscription.query;
        to_json(&ServerMessage::SubscriptionConfirmed(SubscriptionConfirmed {
            subscription_id: subscription.id.clone(),
            subscription: query.name.to_string(),
            channel: query.channel.to_string(),
            filter_id: query.filter_id.to_string(),
            mode,
            epoch: self.epoch.to_string(),
            time,
            group: GROUP,
            schemas: query.views.iter().map(|view| ViewSchema::from(view.view)).collect(),
            excluded_views: query.excluded.iter().map(|name| (*name).to_owned()).collect(),
        }))
    }

    /// A step of the snapshot under way.
    fn snapshot(&mut self, hub: &Hub) -> Next {
        let Some(sending) = &mut self.sending else { return Next::Idle };
        match &mut sending.work {
            Work::Scanning { scan, .. } => match scan.step(hub) {
                Step::More => Next::Again,
                Step::Full(_) => {
                    let error = too_large(&sending.id, &sending.query, hub.config().snapshot_rows_max);
                    let id = sending.id.clone();
                    self.unsubscribe(&id);
                    Next::Send(error)
                }
                Step::Done(snapshot) if snapshot.epoch != self.epoch => Next::Again,
                Step::Done(snapshot) => {
                    let time = snapshot.time;
                    sending.work = Work::Writing(Parts::new(snapshot), Instant::now());
                    let id = sending.id.clone();
                    match self.subscriptions.iter().position(|subscription| subscription.id == id) {
                        Some(index) if !self.subscriptions[index].confirmed => {
                            Next::Send(self.confirm(index, Mode::Snapshot, time))
                        }
                        _ => Next::Again,
                    }
                }
            },
            Work::Writing(parts, _) => match parts.next_part(&sending.id, &sending.query) {
                Some((part, rows)) => {
                    counter!("weir_gateway_snapshot_rows_total").increment(rows as u64);
                    Next::Send(part)
                }
                None => {
                    let (id, time) = (sending.id.clone(), parts.time());
                    self.sending = None;
                    for subscription in self.subscriptions.iter_mut().filter(|subscription| subscription.id == id) {
                        subscription.lapsed = false;
                        subscription.stage = Stage::Fresh(time);
                    }
                    Next::Again
                }
            },
        }
    }

    /// Begins a batch, where there is something to say.
    fn gather(&mut self, hub: &Hub, head: &Head) -> Next {
        if self.lapsed() {
            return Next::Idle;
        }
        let fresh = self.subscriptions.iter().filter_map(|subscription| match subscription.stage {
            Stage::Fresh(position) => Some(position),
            _ => None,
        });
        let Some(base) = self.position.or(fresh.min()) else { return Next::Idle };
        let members: Vec<Member<'_>> = self
            .subscriptions
            .iter()
            .filter_map(|subscription| match subscription.stage {
                Stage::Fresh(position) => Some(Member { query: &subscription.query, position, named: false }),
                Stage::Moving => Some(Member { query: &subscription.query, position: base, named: true }),
                _ => None,
            })
            .collect();
        match gather(hub, &head.epoch, base, &members) {
            Gathered::OffTheRing => {
                counter!("weir_gateway_off_the_ring_total").increment(1);
                self.begin_again();
                Next::Again
            }
            Gathered::TooFarBehind => {
                for subscription in &mut self.subscriptions {
                    if matches!(subscription.stage, Stage::Fresh(position) if position < base) {
                        subscription.stage = Stage::Waiting(None);
                    }
                }
                Next::Again
            }
            Gathered::Span(span) => self.begin_batch(base, span),
        }
    }

    fn begin_batch(&mut self, base: u64, span: Span) -> Next {
        let from = if self.position.is_some() { self.told.1 } else { base };
        let moved = span.time > base;
        for subscription in &mut self.subscriptions {
            if matches!(subscription.stage, Stage::Fresh(position) if position <= span.time) {
                subscription.stage = Stage::Moving;
            }
        }
        if self.any(&Stage::Moving) {
            self.position = Some(span.time);
        }
        if span.entries.is_empty() {
            return if moved && span.more { Next::Again } else { Next::Idle };
        }
        self.told = (Arc::clone(&self.epoch), span.time);
        self.batch = Some(BatchUnderWay { from, time: span.time, entries: span.entries.into(), part: 0 });
        Next::Again
    }

    /// The next part of the batch under way.
    fn write_batch(&mut self, timestamp: u64) -> Next {
        let Some(batch) = &mut self.batch else { return Next::Idle };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(entry) = batch.entries.front() {
            if !entries.is_empty() && bytes + entry.len() > BATCH_BYTES {
                break;
            }
            bytes += entry.len() + 1;
            entries.extend(batch.entries.pop_front());
        }
        let last = batch.entries.is_empty();
        let whole = batch.part == 0 && last;
        self.sequence += 1;
        let text = encode_batch(
            BatchHead {
                sequence: self.sequence,
                timestamp,
                epoch: &self.epoch,
                from: batch.from,
                time: batch.time,
                part: (!whole).then_some((batch.part, last)),
            },
            &entries,
        );
        batch.part += 1;
        if last {
            self.batch = None;
        }
        counter!("weir_gateway_batches_total").increment(1);
        Next::Send(text)
    }
}

fn too_large(id: &str, query: &Query, rows_max: usize) -> String {
    let narrowing = query.narrowing().join(", ");
    to_json(&ServerMessage::Error(ErrorMessage {
        code: "too_large".to_owned(),
        error: format!("more than {rows_max} rows of {}: narrow it with a filter on {narrowing}", query.channel),
        temporary: false,
        retry_after_ms: None,
        subscription_id: Some(id.to_owned()),
    }))
}

/// A server message as JSON.
pub(crate) fn to_json(message: &ServerMessage) -> String {
    serde_json::to_string(message).expect("protocol types are plain data")
}
