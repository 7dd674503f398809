//! The view `rejects`: the last that were not taken, and counts.

use super::super::Tick;
use super::admission::Judged;
use super::live_metrics::{WINDOWS, left};
use super::runs::Lives;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::facts::{AttemptFact, Late};
use weir_dataflows::input::{Event, Input, Position, Refusal, RejectKind, Text};
use weir_dataflows::keyed::Updates;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::REJECTS;

/// What the view is made of.
#[derive(Clone, Debug)]
pub enum Rejected {
    Refusal(Arc<Refusal>),
    Late(Late),
}

/// A count, and the cadence point at which something was last added to it.
#[derive(Default)]
struct Count(i64, u64);

/// The rows at `now`, from all updates up to then.
pub fn rows(updates: &[(Rejected, u64, i64)], now: u64, config: &Config) -> BTreeSet<Row> {
    let mut shown: Vec<(u64, Position, &Refusal)> = Vec::new();
    let mut by_point: BTreeMap<(Text, &str, u64), i64> = BTreeMap::new();
    for (datum, time, diff) in updates {
        let point = time.next_multiple_of(1_000);
        let (project, kind) = match datum {
            Rejected::Late(late) => (&late.project, RejectKind::Late),
            Rejected::Refusal(refusal) if !refusal.kind.counted() => {
                shown.push((*time, refusal.position, refusal));
                continue;
            }
            Rejected::Refusal(refusal) => (&refusal.project, refusal.kind),
        };
        *by_point.entry((Arc::clone(project), kind.as_str(), point)).or_default() += diff;
    }
    shown.sort();
    let mut rows: BTreeSet<Row> = shown
        .iter()
        .rev()
        .take(config.rejects)
        .map(|(tick, position, refusal)| {
            let mut row = RowWriter::default();
            row.str(&refusal.project).str(refusal.kind.as_str()).str(&config.topics[0]);
            row.uint(position.partition.into()).uint(position.offset).uint(position.index.into());
            row.int(1).str(&refusal.message).str(&refusal.stream).uint(*tick);
            row.finish(&REJECTS)
        })
        .collect();
    let mut counts: BTreeMap<(Text, &str), Count> = BTreeMap::new();
    for ((project, kind, point), diff) in by_point {
        let count = counts.entry((project, kind)).or_default();
        let forgotten = (count.1 + config.late_memory_ms).next_multiple_of(1_000);
        let sum = if forgotten < point { diff } else { count.0 + diff };
        // What was forgotten cannot be taken back.
        *count = Count(sum.max(0), if diff > 0 { point } else { count.1 });
    }
    for ((project, kind), Count(count, news)) in counts {
        if count > 0 && (news + config.late_memory_ms).next_multiple_of(1_000) > now {
            let mut row = RowWriter::default();
            row.str(&project).str(kind).str("").int(0).int(0).int(0).int(count).null().null().null();
            rows.insert(row.finish(&REJECTS));
        }
    }
    rows
}

/// All that was not taken: by the decoder, by admission, of runs that had left, withdrawals that were too many, and attempts after
/// every window.
pub fn rejected(
    config: &Config,
    ticks: &[Tick],
    judged: &[Judged],
    lives: &Lives,
    facts: &Updates<AttemptFact>,
) -> Updates<Rejected> {
    let unreadable = ticks.iter().flat_map(|tick| {
        tick.inputs.iter().filter_map(|input| match input {
            Input::Refused(refusal) => Some((Rejected::Refusal(Arc::clone(refusal)), tick.at, 1)),
            Input::Event(_) => None,
        })
    });
    let refused = judged.iter().filter_map(|judged| {
        let refusal = refusal(&judged.event, judged.refused?, judged.expected);
        Some((refusal, judged.at, 1))
    });
    let moved = judged.iter().filter_map(|judged| {
        let (topic, partition) = judged.moved_from?;
        let Rejected::Refusal(refusal) = refusal(&judged.event, RejectKind::Moved, None) else { unreachable!("it is one") };
        let message = format!(
            "the stream is in partition {partition} of {}, too: which of its events came first is not known there; give its records one \
             key, such as the stream's id",
            config.topics[usize::from(topic)]
        );
        Some((Rejected::Refusal(Arc::new(Refusal { message: message.into(), ..(*refusal).clone() })), judged.at, 1))
    });
    let late = lives
        .values()
        .flatten()
        .flat_map(|moment| moment.late.iter().map(|event| (refusal(event, RejectKind::Late, None), moment.at, 1)));
    let withdrawals = lives.values().flat_map(|moments| {
        let refused = moments.iter().flat_map(|moment| &moment.run).flat_map(|run| &run.refused);
        // What was refused stays so for as long as the run is known.
        let once: BTreeMap<Position, &(u64, Arc<Event>)> = refused.map(|of| (of.1.position, of)).collect();
        once.into_values().map(|(tick, event)| (one_too_many(event, config.withdrawn), *tick, 1)).collect::<Vec<_>>()
    });
    let after = facts
        .iter()
        .filter(|(fact, ..)| WINDOWS.into_iter().all(|window| left(fact.at, window) <= fact.came))
        .map(|(fact, at, diff)| (Rejected::Late(Late { project: Arc::clone(&fact.names.project) }), *at, *diff));
    let mut all: Updates<Rejected> =
        unreadable.chain(refused).chain(moved).chain(late).chain(withdrawals).chain(after).collect();
    all.sort_by_key(|(_, at, _)| *at);
    all
}

fn one_too_many(event: &Event, withdrawn: usize) -> Rejected {
    Rejected::Refusal(Arc::new(Refusal {
        position: event.position,
        kind: RejectKind::Conflict,
        project: Arc::clone(&event.origin.project),
        stream: Arc::clone(&event.origin.stream_name),
        message: format!("{withdrawn} withdrawals have been made in the run; more are not taken").into(),
        expected: None,
    }))
}

fn refusal(event: &Event, kind: RejectKind, expected: Option<u64>) -> Rejected {
    let taken =
        |expected| format!("version {} of the stream is taken or behind; {expected} is expected", event.version);
    Rejected::Refusal(Arc::new(Refusal {
        position: event.position,
        kind,
        project: Arc::clone(&event.origin.project),
        stream: Arc::clone(&event.origin.stream_name),
        message: expected.map(taken).unwrap_or_default().into(),
        expected,
    }))
}
