//! Admission: which events count, decided once, from log order alone.
//!
//! Contract: per stream the first record by (tick, topic, partition, offset, index) wins. An `eventId` seen before is a
//! duplicate; the next version is accepted; a higher one is accepted and leaves a gap that a later arrival may fill; a
//! version that is neither is a conflict (`events.md`, admission). What comes in unreadable passes through as refused.
//!
//! # Invariants
//! Every input leaves exactly once, as an event or as a refusal; what the events of a tick say about the lives of their runs
//! leaves beside them, summed up ([`crate::notes`]). State of a stream: its last version, at most
//! `stream_gaps` gap ranges, and event ids of this and the previous `event_id_memory`; it leaves at the first whole hour
//! at or after its last event plus `stream_memory`.
//!
//! # Cost
//! Two map operations an event; 18 bytes an event id for 24 to 48 hours.

use crate::config::Config;
use crate::input::{Event, Input, Position, Refusal, RejectKind, Text};
use crate::keyed::{Collection, Machine, Step, keyed, reuse};
use crate::map::Map;
use crate::notes::{Notes, RunNote};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::OkErr;
use weir_schemas::id::Id;

const HOUR_MS: u64 = 3_600_000;

/// Admits events, distributed by stream; and what they say about the lives of their runs.
pub fn admit<'s>(
    config: &Config,
    input: Collection<'s, Input>,
) -> (Collection<'s, Input>, Collection<'s, Arc<RunNote>>) {
    let pact = Exchange::new(|(input, _, _): &(Input, u64, i64)| match input {
        Input::Event(event) => event.stream().route(),
        Input::Refused(refusal) => refusal.position.offset,
    });
    keyed("Admission", input, pact, config.until, Admission::new(config)).ok_err(|(output, time, diff)| match output {
        Output::Input(input) => Ok((input, time, diff)),
        Output::Note(note) => Err((note, time, diff)),
    })
}

/// What comes out.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Output {
    Input(Input),
    Note(Arc<RunNote>),
}

/// What is known of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct StreamState {
    last: u64,
    /// Inclusive ranges below `last`, ascending.
    gaps: Vec<(u64, u64)>,
    heard: u64,
    generation: u64,
    young: Vec<Id>,
    old: Vec<Id>,
}

/// Versions and gaps in memory, with the ids as sets.
#[derive(Default)]
struct StreamMemory {
    versions: StreamState,
    young: Map<Id, ()>,
    old: Map<Id, ()>,
}

impl StreamMemory {
    /// Forgets ids of generations before the last one.
    fn rotate(&mut self, generation: u64) {
        let behind = generation.saturating_sub(self.versions.generation);
        if behind > 0 {
            let young = std::mem::take(&mut self.young);
            self.old = if behind == 1 { young } else { Map::default() };
            self.versions.generation = generation;
        }
    }

    /// The verdict on one event: `Ok`, or why not and the version that was expected.
    fn judge(&mut self, event: &Event, gaps_max: usize) -> Result<(), (RejectKind, Option<u64>)> {
        if self.old.contains(&event.id) || self.young.insert(event.id, ()).is_some() {
            return Err((RejectKind::Duplicate, None));
        }
        self.judge_version(event, gaps_max).inspect_err(|_| {
            // What was not taken may come again, and is then judged again.
            self.young.remove(&event.id);
        })
    }

    fn judge_version(&mut self, event: &Event, gaps_max: usize) -> Result<(), (RejectKind, Option<u64>)> {
        let StreamState { last, gaps, .. } = &mut self.versions;
        let conflict = Err((RejectKind::Conflict, Some(last.saturating_add(1))));
        if event.version > *last {
            if event.version - *last > 1 {
                if gaps.len() >= gaps_max {
                    return conflict;
                }
                gaps.push((*last + 1, event.version - 1));
            }
            *last = event.version;
        } else if !fill(gaps, event.version, gaps_max) {
            return conflict;
        }
        Ok(())
    }
}

/// Takes `version` out of the gaps; false when it is in none, or splitting one would make too many.
fn fill(gaps: &mut Vec<(u64, u64)>, version: u64, gaps_max: usize) -> bool {
    let index = gaps.partition_point(|(_, end)| *end < version);
    let Some(&(start, end)) = gaps.get(index).filter(|(start, _)| *start <= version) else { return false };
    match (start == version, end == version) {
        (true, true) => {
            gaps.remove(index);
        }
        (true, false) => gaps[index].0 += 1,
        (false, true) => gaps[index].1 -= 1,
        (false, false) if gaps.len() >= gaps_max => return false,
        (false, false) => {
            gaps[index] = (start, version - 1);
            gaps.insert(index + 1, (version + 1, end));
        }
    }
    true
}

/// The state machine of all streams of a worker.
struct Admission {
    streams: Map<Id, StreamMemory>,
    /// When to look at which stream again, at whole hours.
    checks: BTreeMap<u64, Vec<Id>>,
    gaps_max: usize,
    stream_memory_ms: u64,
    event_id_memory_ms: u64,
    nothing: Text,
    /// A tick's input with its positions, while it is put in order.
    ordered: Vec<(Position, Input)>,
    notes: Notes,
}

impl Admission {
    fn new(config: &Config) -> Self {
        Admission {
            streams: Map::default(),
            checks: BTreeMap::new(),
            gaps_max: config.stream_gaps,
            stream_memory_ms: config.stream_memory_ms,
            event_id_memory_ms: config.event_id_memory_ms.max(1),
            nothing: Text::from(""),
            ordered: Vec::new(),
            notes: Notes::default(),
        }
    }

    fn check_due(&mut self, now: u64, wakes: &mut Vec<u64>) {
        while let Some(entry) = self.checks.first_entry().filter(|entry| *entry.key() <= now) {
            for stream in entry.remove() {
                let Some(memory) = self.streams.get_mut(&stream) else { continue };
                memory.rotate(now / self.event_id_memory_ms);
                let end = self.stream_end(stream);
                if end <= now {
                    self.streams.remove(&stream);
                } else {
                    self.schedule(stream, now, end, wakes);
                }
            }
        }
    }

    fn stream_end(&self, stream: Id) -> u64 {
        let heard = self.streams.get(&stream).map_or(0, |memory| memory.versions.heard);
        (heard + self.stream_memory_ms).next_multiple_of(HOUR_MS)
    }

    /// Looks at a stream again when its ids have aged, or when it may leave, whichever is first.
    fn schedule(&mut self, stream: Id, now: u64, end: u64, wakes: &mut Vec<u64>) {
        let aged = (now + self.event_id_memory_ms + 1).next_multiple_of(HOUR_MS);
        let at = aged.min(end);
        let due = self.checks.entry(at).or_default();
        if due.is_empty() {
            wakes.push(at);
        }
        due.push(stream);
    }

    fn event(&mut self, event: Arc<Event>, now: u64, wakes: &mut Vec<u64>) -> Input {
        let mut known = true;
        let memory = self.streams.get_or_insert_with(event.stream(), || {
            known = false;
            StreamMemory::default()
        });
        memory.rotate(now / self.event_id_memory_ms);
        memory.versions.heard = now;
        let verdict = memory.judge(&event, self.gaps_max);
        if !known {
            let end = self.stream_end(event.stream());
            self.schedule(event.stream(), now, end, wakes);
        }
        match verdict {
            Ok(()) => {
                self.notes.add(&event, now);
                Input::Event(event)
            }
            Err((kind, expected)) => Input::Refused(Arc::new(refusal(&event, kind, expected, &self.nothing))),
        }
    }
}

fn refusal(event: &Event, kind: RejectKind, expected: Option<u64>, nothing: &Text) -> Refusal {
    let message = match expected {
        Some(expected) => {
            format!("version {} of the stream is taken or behind; {expected} is expected", event.version).into()
        }
        None => Arc::clone(nothing),
    };
    Refusal {
        position: event.position,
        kind,
        project: Arc::clone(&event.origin.project),
        stream: Arc::clone(&event.origin.stream_name),
        message,
        expected,
    }
}

/// The refusal of an event whose run has left.
pub(crate) fn late(event: &Event, nothing: &Text) -> Refusal {
    refusal(event, RejectKind::Late, None, nothing)
}

impl Machine for Admission {
    type Input = Input;
    type Output = Output;
    type Entry = (Id, StreamEntry);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        let Admission { gaps_max, stream_memory_ms, event_id_memory_ms, .. } = *self;
        let (streams, checks, ordered, notes) = Default::default();
        let nothing = Arc::clone(&self.nothing);
        Some(Admission { streams, checks, gaps_max, stream_memory_ms, event_id_memory_ms, nothing, ordered, notes })
    }

    fn step(&mut self, data: &mut Vec<(Input, i64)>, step: &mut Step<'_, Output>) {
        let mut wakes = Vec::new();
        self.check_due(step.now(), &mut wakes);
        let (mut ordered, came) = (std::mem::take(&mut self.ordered), data.len());
        ordered.extend(data.drain(..).map(|(input, _)| (input.position(), input)));
        // Stable: the input consists of sorted runs, one a reader.
        ordered.sort_by_key(|(position, _)| *position);
        for (_, input) in ordered.drain(..) {
            let admitted = match input {
                Input::Event(event) => self.event(event, step.now(), &mut wakes),
                refused @ Input::Refused(_) => refused,
            };
            step.emit(Output::Input(admitted), 1);
        }
        self.notes.drain().for_each(|note| step.emit(Output::Note(note), 1));
        reuse(&mut ordered, came);
        self.ordered = ordered;
        for at in wakes {
            step.wake_at(at);
        }
    }

    fn entries(&self) -> Vec<Self::Entry> {
        let checks: BTreeMap<Id, u64> =
            self.checks.iter().flat_map(|(at, streams)| streams.iter().map(|stream| (*stream, *at))).collect();
        let entry = |(id, memory): (&Id, &StreamMemory)| {
            let state = StreamState {
                young: memory.young.sorted_keys(),
                old: memory.old.sorted_keys(),
                ..memory.versions.clone()
            };
            (*id, StreamEntry { state, check_at: checks.get(id).copied().unwrap_or(0) })
        };
        self.streams.sorted().into_iter().map(entry).collect()
    }

    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64> {
        for (id, StreamEntry { mut state, check_at }) in entries {
            let mut memory = StreamMemory::default();
            for (ids, set) in [(&mut state.young, &mut memory.young), (&mut state.old, &mut memory.old)] {
                for id in std::mem::take(ids) {
                    set.insert(id, ());
                }
            }
            memory.versions = state;
            self.streams.insert(id, memory);
            self.checks.entry(check_at).or_default().push(id);
        }
        self.checks.keys().copied().collect()
    }
}

/// A stream in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEntry {
    state: StreamState,
    check_at: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_filled_from_any_side_and_split() {
        let mut gaps = vec![(2, 4), (7, 7), (10, 20)];
        assert!(!fill(&mut gaps, 5, 64) && !fill(&mut gaps, 1, 64) && !fill(&mut gaps, 21, 64));
        assert!(fill(&mut gaps, 2, 64) && fill(&mut gaps, 4, 64) && fill(&mut gaps, 7, 64) && fill(&mut gaps, 15, 64));
        assert_eq!(gaps, [(3, 3), (10, 14), (16, 20)]);
        assert!(!fill(&mut gaps, 12, 3), "a split that makes too many ranges is refused");
        assert!(fill(&mut gaps, 10, 3));
        assert_eq!(gaps, [(3, 3), (11, 14), (16, 20)]);
    }
}
