//! The output: what worker 0 releases, on its way to whoever shows it.
//!
//! Contract: frames arrive in order over a bounded queue and are handed on in order: digests first (checked or recorded), then
//! the frame, then the verdicts, then the status; so whoever learns that a record is released can see it. One named thread.
//!
//! # Failure
//! A digest that differs from the recorded one ends the engine before the frame is handed on.

use super::bindings::{Body, Entry, Incarnation};
use super::control::Control;
use super::digests::Digests;
use super::ledger::{Ledger, Settled, to_f64};
use super::snapshots::maker::Maker;
use super::snapshots::rows::Rows;
use super::sources::Sources;
use super::{EngineError, FrameSink, Rejected};
use crate::log::{Log, NewRecord, Position};
use crate::questions::Questions;
use crate::status::Status;
use crate::verdicts::{Verdict, Verdicts};
use crossbeam_channel::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use weir_dataflows::input::RejectKind;
use weir_dataflows::output::{Released, Verdict as Refused};

/// Frames that may wait for the output.
pub(super) const FRAMES_MAX: usize = 256;

/// Everything the output hands frames to.
pub(super) struct Output {
    pub(super) control: Arc<Control>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) digests: Arc<Mutex<Digests>>,
    pub(super) sources: Arc<Sources>,
    pub(super) bindings: Arc<dyn Log>,
    pub(super) incarnation: Incarnation,
    pub(super) epoch: u128,
    pub(super) sink: Arc<dyn FrameSink>,
    pub(super) status: Status,
    pub(super) verdicts: Arc<Verdicts>,
    pub(super) questions: Arc<Questions>,
    /// Makes snapshots.
    pub(super) maker: Option<Arc<Maker>>,
}

impl Output {
    /// Hands frames on until worker 0 has ended.
    pub(super) fn run(&self, released: &Receiver<Released>) {
        let _guard = self.control.guard("engine-output");
        for released in released {
            if let Err(error) = self.hand_on(released) {
                self.control.fail(error);
                return;
            }
        }
    }

    fn hand_on(&self, released: Released) -> Result<(), EngineError> {
        let Released { frame, refusals, answers } = released;
        if let Some(maker) = &self.maker {
            maker.rows(frame.upper, || {
                let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner).last().to_vec();
                Rows { rows: self.sink.rows(), digests }
            });
        }
        let minute = self.digests.lock().unwrap_or_else(PoisonError::into_inner).frame(&frame)?;
        if let Some((tick, views)) = minute {
            self.record(tick, views);
        }
        let upper = frame.upper;
        let updates = frame.views.iter().map(|view| view.updates.len() as u64).sum();
        metrics::counter!("weir_engine_frames_total").increment(1);
        metrics::counter!("weir_engine_updates_total").increment(updates);
        self.sink.frame(frame);
        let rejected: Vec<Rejected> = refusals.iter().filter_map(|refused| self.rejected(refused)).collect();
        if !rejected.is_empty() {
            self.sink.rejected(upper, &rejected);
        }
        let settled = self.ledger.release(upper);
        self.decide(upper, refusals, &settled);
        answers.into_iter().for_each(|(time, answer)| self.questions.answered(time, answer));
        self.status.update(|status| status.time = upper);
        measure(upper, &settled);
        Ok(())
    }

    /// A record as it is told to the sink; those that are only counted are not.
    fn rejected(&self, refused: &Refused) -> Option<Rejected> {
        let Refused { position, kind, message, .. } = refused;
        if kind.counted() || *kind == RejectKind::Moved {
            return None;
        }
        let topic = self.sources.topic_name(position.topic)?.into();
        let position = Position { partition: position.partition, offset: position.offset };
        Some(Rejected { topic, position, kind: kind.as_str(), reason: Arc::clone(message) })
    }

    /// Says of each topic what is released of it; nothing before the first tick.
    fn decide(&self, upper: u64, refusals: Vec<Refused>, settled: &Settled) {
        let mut refusals: Vec<_> = refusals.into_iter().filter_map(verdict).collect();
        for topic in self.sources.topics() {
            let Some(ends) = settled.ends.get(topic.sources.clone()) else { continue };
            let of_topic = refusals.extract_if(.., |(number, ..)| *number == topic.number);
            let of_topic = of_topic.map(|(_, position, verdict)| (position, verdict));
            self.verdicts.released(topic.name(), upper, of_topic, ends);
        }
    }

    /// Records a minute's digests; they are a check on later lives, so a log that has no room for them is no failure.
    fn record(&self, tick: u64, views: Vec<u128>) {
        let body = Body::Digests { tick, epoch: self.epoch, views };
        let payload = Entry { incarnation: self.incarnation, body }.encode().into();
        if let Err(error) = self.bindings.append(vec![NewRecord::new(0, payload)]) {
            tracing::debug!(tick, %error, "the digests of a minute were not recorded");
        }
    }
}

fn verdict(refused: Refused) -> Option<(u16, Position, Verdict)> {
    let topic = refused.position.topic;
    let position = Position { partition: refused.position.partition, offset: refused.position.offset };
    let verdict = match refused.kind {
        // That says nothing of the record itself.
        RejectKind::Moved => return None,
        RejectKind::Duplicate => Verdict::Duplicate,
        RejectKind::Conflict => Verdict::Conflict { expected: refused.expected? },
        kind => Verdict::Refused { kind: kind.as_str().to_owned(), reason: refused.message.to_string() },
    };
    Some((topic, position, verdict))
}

fn measure(upper: u64, settled: &Settled) {
    metrics::gauge!("weir_engine_time_ms").set(to_f64(upper));
    if let Some(closed_at) = settled.closed_at {
        metrics::histogram!("weir_engine_close_to_release_seconds").record(closed_at.elapsed().as_secs_f64());
    }
    if let Some(appended_at) = settled.appended_at {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        metrics::histogram!("weir_engine_append_to_release_seconds")
            .record(to_f64(now.saturating_sub(appended_at)) / 1_000.0);
    }
}
