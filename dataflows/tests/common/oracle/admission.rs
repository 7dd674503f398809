//! Admission, by keeping everything and looking at all of it for each event.

use super::super::Tick;
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Input, RejectKind};
use weir_schemas::id::Id;

pub const HOUR: u64 = 3_600_000;

/// An event and what was decided of it.
pub struct Judged {
    /// Its tick.
    pub at: u64,
    pub event: Arc<Event>,
    /// Why it does not count.
    pub refused: Option<RejectKind>,
    /// On a conflict, the version that would have been accepted.
    pub expected: Option<u64>,
    /// The partition of the stream's first event, where this is its first one elsewhere.
    pub moved_from: Option<(u16, u32)>,
}

/// All events, in order.
pub fn admission(config: &Config, ticks: &[Tick]) -> Vec<Judged> {
    let mut judged: Vec<Judged> = Vec::new();
    for tick in ticks {
        let mut events: Vec<_> = tick
            .inputs
            .iter()
            .filter_map(|input| match input {
                Input::Event(event) => Some(Arc::clone(event)),
                Input::Refused(_) => None,
            })
            .collect();
        events.sort_by_key(|event| event.position);
        for event in events {
            let verdict = judge(config, &judged, &event, tick.at);
            judged.push(verdict);
        }
    }
    judged
}

/// How many versions of a stream a run misses at `time`: each is missed by the run of the first event beyond it.
pub fn missing(config: &Config, judged: &[Judged], stream: Id, run: Id, time: u64) -> u64 {
    let mut history: Vec<&Judged> =
        judged.iter().filter(|other| other.event.stream() == stream && other.at <= time).collect();
    let times = history.iter().map(|other| other.at).chain([time]).collect::<Vec<_>>();
    history.drain(..remembered_from(config, &times));
    history.retain(|other| other.refused.is_none());
    let mut versions: Vec<u64> = history.iter().map(|other| other.event.version).chain([0]).collect();
    versions.sort_unstable();
    let gap = |pair: &[u64]| {
        let beyond = history.iter().find(|other| other.event.version >= pair[1]).expect("it is one");
        if beyond.event.run() == run { pair[1] - pair[0] - 1 } else { 0 }
    };
    versions.windows(2).map(gap).sum()
}

/// Of events of one stream at these times: the first one that is remembered at the last time.
fn remembered_from(config: &Config, times: &[u64]) -> usize {
    let forgotten = |from: u64, to: u64| (from + config.stream_memory_ms).next_multiple_of(HOUR) <= to;
    (1..times.len()).rev().find(|i| forgotten(times[i - 1], times[*i])).unwrap_or(0)
}

fn judge(config: &Config, judged: &[Judged], event: &Arc<Event>, now: u64) -> Judged {
    let mut history: Vec<&Judged> = judged.iter().filter(|other| other.event.stream() == event.stream()).collect();
    // Whatever came before the last time that the stream was forgotten does not count.
    let times: Vec<u64> = history.iter().map(|other| other.at).chain([now]).collect();
    history.drain(..remembered_from(config, &times));
    let generation = |at: u64| at / config.event_id_memory_ms;
    let accepted: Vec<&&Judged> = history.iter().filter(|other| other.refused.is_none()).collect();
    let seen = accepted.iter().any(|other| other.event.id == event.id && generation(other.at) + 1 >= generation(now));
    let versions: BTreeSet<u64> = accepted.iter().map(|other| other.event.version).collect();
    let (refused, expected) = if seen {
        (Some(RejectKind::Duplicate), None)
    } else if fits(&versions, event.version, config.stream_gaps) {
        (None, None)
    } else {
        (Some(RejectKind::Conflict), Some(versions.last().map_or(1, |last| last.saturating_add(1))))
    };
    let homes: Vec<(u16, u32)> = history
        .iter()
        .map(|other| &other.event)
        .chain([event])
        .map(|event| (event.position.topic, event.position.partition))
        .collect();
    let stray = homes.iter().position(|home| *home != homes[0]);
    let moved_from = stray.filter(|stray| stray + 1 == homes.len()).map(|_| homes[0]);
    Judged { at: now, event: Arc::clone(event), refused, expected, moved_from }
}

fn fits(versions: &BTreeSet<u64>, version: u64, gaps_max: usize) -> bool {
    let gaps = |versions: &BTreeSet<u64>| {
        let with_zero: Vec<u64> = std::iter::once(0).chain(versions.iter().copied()).collect();
        with_zero.windows(2).filter(|pair| pair[1] - pair[0] > 1).count()
    };
    let mut with = versions.clone();
    with.insert(version) && (gaps(&with) <= gaps_max || gaps(&with) <= gaps(versions))
}
