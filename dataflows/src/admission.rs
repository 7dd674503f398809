//! Admission: which events count, decided once, from log order alone.
//!
//! Contract: per stream the first record by (tick, topic, partition, offset, index) wins. An `eventId` seen before is a
//! duplicate; the next version is accepted; a higher one is accepted and leaves a gap that a later arrival may fill; a
//! version that is neither is a conflict (`events.md`, admission). What comes in unreadable passes through as refused.
//!
//! A stream should be in one partition, since nothing says what was first of what is in two. One that is seen in another than
//! that of its first event is reported, once, by a refusal of kind `moved` at that event, which is judged like any other.
//!
//! # Invariants
//! Every input leaves exactly once, as an event or as a refusal, whatever is reported besides; what the events of a tick say about the lives of their runs
//! leaves beside them, summed up ([`crate::notes`]). State of a stream: its last version, at most
//! `stream_gaps` gap ranges, and event ids of this and the previous `event_id_memory`; it leaves at the first whole hour
//! at or after its last event plus `stream_memory`.
//!
//! # Cost
//! Two map operations an event; 18 bytes an event id for 24 to 48 hours.

use crate::config::Config;
use crate::context::Context;
use crate::input::{Event, Input, Position, Refusal, RejectKind, Text};
use crate::keyed::{Collection, Home, Machine, Step, keyed, reuse};
use crate::map::Map;
use crate::notes::{Note, Notes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::OkErr;
use weir_schemas::id::Id;

const HOUR_MS: u64 = 3_600_000;

/// Admits events, distributed by stream; and what they say about the lives of their runs.
pub fn admit<'s>(cx: &Context<'s>, input: Collection<'s, Input>) -> (Collection<'s, Input>, Collection<'s, Note>) {
    let pact = Exchange::new(|(input, _, _): &(Input, u64, i64)| match input {
        Input::Event(event) => event.stream().route(),
        Input::Refused(refusal) => refusal.position.offset,
    });
    keyed("Admission", input, pact, &cx.states, Admission::new(&cx.config)).ok_err(
        |(output, time, diff)| match output {
            Output::Input(input) => Ok((input, time, diff)),
            Output::Note(note) => Err((note, time, diff)),
        },
    )
}

/// What comes out.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Output {
    Input(Input),
    Note(Note),
}

/// What is known of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct StreamState {
    /// Topic and partition of its first event.
    home: (u16, u32),
    /// Whether it was reported to be in another one, too.
    moved: bool,
    last: u64,
    /// Below `last`, ascending.
    gaps: Vec<Gap>,
    heard: u64,
    generation: u64,
    young: Vec<Id>,
    old: Vec<Id>,
}

/// Versions that did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    start: u64,
    /// Itself missing.
    end: u64,
    /// The run of the event that left it: what is missing is that run's.
    run: Id,
}

impl StreamState {
    /// Whether an event there is the first outside of the stream's partition.
    fn moves(&mut self, position: Position) -> bool {
        let moves = !self.moved && self.home != home(position);
        self.moved |= moves;
        moves
    }

    /// How many versions are missing before events of a run.
    fn missing(&self, run: Id) -> u64 {
        // Nearly always there are no gaps.
        self.gaps.iter().filter(|gap| gap.run == run).map(|gap| gap.end - gap.start + 1).sum()
    }
}

/// The partition in which something stands.
fn home(position: Position) -> (u16, u32) {
    (position.topic, position.partition)
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

    /// The verdict on one event: `Ok` with the run whose gap it filled, or why not and the version that was expected.
    fn judge(&mut self, event: &Event, gaps_max: usize) -> Result<Option<Id>, (RejectKind, Option<u64>)> {
        if self.old.contains(&event.id) || self.young.insert(event.id, ()).is_some() {
            return Err((RejectKind::Duplicate, None));
        }
        self.judge_version(event, gaps_max).inspect_err(|_| {
            // What was not taken may come again, and is then judged again.
            self.young.remove(&event.id);
        })
    }

    fn judge_version(&mut self, event: &Event, gaps_max: usize) -> Result<Option<Id>, (RejectKind, Option<u64>)> {
        let StreamState { last, gaps, .. } = &mut self.versions;
        let conflict = Err((RejectKind::Conflict, Some(last.saturating_add(1))));
        if event.version > *last {
            if event.version - *last > 1 {
                if gaps.len() >= gaps_max {
                    return conflict;
                }
                gaps.push(Gap { start: *last + 1, end: event.version - 1, run: event.run() });
            }
            *last = event.version;
            return Ok(None);
        }
        fill(gaps, event.version, gaps_max).map_or(conflict, |run| Ok(Some(run)))
    }
}

/// Takes `version` out of the gaps and says whose it was; `None` when it is in none, or splitting one would make too many.
fn fill(gaps: &mut Vec<Gap>, version: u64, gaps_max: usize) -> Option<Id> {
    let index = gaps.partition_point(|gap| gap.end < version);
    let gap = *gaps.get(index).filter(|gap| gap.start <= version)?;
    match (gap.start == version, gap.end == version) {
        (true, true) => {
            gaps.remove(index);
        }
        (true, false) => gaps[index].start += 1,
        (false, true) => gaps[index].end -= 1,
        (false, false) if gaps.len() >= gaps_max => return None,
        (false, false) => {
            gaps[index].end = version - 1;
            gaps.insert(index + 1, Gap { start: version + 1, ..gap });
        }
    }
    Some(gap.run)
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
    topics: Arc<[String]>,
    /// A tick's input with its positions, while it is put in order.
    ordered: Vec<(Position, Input)>,
    notes: Notes,
    /// Streams and runs of which more or fewer versions are missing in a tick, and no note of the run's says it.
    torn: Vec<(Id, Id)>,
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
            topics: config.topics.clone().into(),
            ordered: Vec::new(),
            notes: Notes::default(),
            torn: Vec::new(),
        }
    }

    fn check_due(&mut self, now: u64, wakes: &mut Vec<u64>) {
        while let Some(entry) = self.checks.first_entry().filter(|entry| *entry.key() <= now) {
            for stream in entry.remove() {
                let Some(memory) = self.streams.get_mut(&stream) else { continue };
                memory.rotate(now / self.event_id_memory_ms);
                let end = self.stream_end(stream);
                if end <= now {
                    let left = self.streams.remove(&stream).unwrap_or_default();
                    self.torn.extend(left.versions.gaps.iter().map(|gap| (stream, gap.run)));
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

    /// What becomes of an event, and what is reported of its stream.
    fn event(&mut self, event: Arc<Event>, now: u64, wakes: &mut Vec<u64>) -> (Input, Option<Refusal>) {
        let mut known = true;
        let memory = self.streams.get_or_insert_with(event.stream(), || {
            known = false;
            let versions = StreamState { home: home(event.position), ..StreamState::default() };
            StreamMemory { versions, ..StreamMemory::default() }
        });
        let home = memory.versions.home;
        let moved = memory.versions.moves(event.position).then(|| moved(&event, home, &self.topics));
        memory.rotate(now / self.event_id_memory_ms);
        memory.versions.heard = now;
        let verdict = memory.judge(&event, self.gaps_max);
        let missing = memory.versions.missing(event.run());
        if !known {
            let end = self.stream_end(event.stream());
            self.schedule(event.stream(), now, end, wakes);
        }
        let judged = match verdict {
            Ok(filled) => {
                self.notes.add(&event, now, missing);
                self.torn.extend(filled.filter(|run| *run != event.run()).map(|run| (event.stream(), run)));
                Input::Event(event)
            }
            Err((kind, expected)) => Input::Refused(Arc::new(refusal(&event, kind, expected, &self.nothing))),
        };
        (judged, moved)
    }
}

/// The report of a stream that has its first event outside of its partition.
fn moved(event: &Event, (topic, partition): (u16, u32), topics: &[String]) -> Refusal {
    let topic = topics.get(usize::from(topic)).map_or("", String::as_str);
    let message = format!(
        "the stream is in partition {partition} of {topic}, too: which of its events came first is not known there; give its records \
         one key, such as the stream's id"
    );
    Refusal { message: message.into(), ..refusal(event, RejectKind::Moved, None, &Text::from("")) }
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
        let (streams, checks, ordered, notes, torn) = Default::default();
        let (nothing, topics) = (Arc::clone(&self.nothing), Arc::clone(&self.topics));
        let memories = Admission {
            streams,
            checks,
            gaps_max,
            stream_memory_ms,
            event_id_memory_ms,
            nothing,
            topics,
            ordered,
            notes,
            torn,
        };
        Some(memories)
    }

    fn step(&mut self, data: &mut Vec<(Input, i64)>, step: &mut Step<'_, Output>) {
        let mut wakes = Vec::new();
        self.check_due(step.now(), &mut wakes);
        let (mut ordered, came) = (std::mem::take(&mut self.ordered), data.len());
        ordered.extend(data.drain(..).map(|(input, _)| (input.position(), input)));
        // Stable: the input consists of sorted runs, one a reader.
        ordered.sort_by_key(|(position, _)| *position);
        for (_, input) in ordered.drain(..) {
            let (admitted, moved) = match input {
                Input::Event(event) => self.event(event, step.now(), &mut wakes),
                refused @ Input::Refused(_) => (refused, None),
            };
            step.emit(Output::Input(admitted), 1);
            if let Some(moved) = moved {
                step.emit(Output::Input(Input::Refused(Arc::new(moved))), 1);
            }
        }
        self.notes.drain().for_each(|note| step.emit(Output::Note(Note::Said(note)), 1));
        let mut torn = std::mem::take(&mut self.torn);
        torn.sort_unstable();
        torn.dedup();
        for (stream, run) in torn {
            let missing = self.streams.get(&stream).map_or(0, |memory| memory.versions.missing(run));
            step.emit(Output::Note(Note::Missing { run, stream, missing }), 1);
        }
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

    fn home((stream, _): &Self::Entry) -> Home {
        Home::Routed(stream.route())
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
        let gap = |(start, end)| Gap { start, end, run: Id(u128::from(end)) };
        let mut gaps: Vec<Gap> = [(2, 4), (7, 7), (10, 20)].into_iter().map(gap).collect();
        for version in [5, 1, 21] {
            assert_eq!(fill(&mut gaps, version, 64), None);
        }
        for (version, run) in [(2, 4), (4, 4), (7, 7), (15, 20)] {
            assert_eq!(fill(&mut gaps, version, 64), Some(Id(run)));
        }
        let ranges = |gaps: &[Gap]| gaps.iter().map(|gap| (gap.start, gap.end)).collect::<Vec<_>>();
        assert_eq!(ranges(&gaps), [(3, 3), (10, 14), (16, 20)]);
        assert_eq!(fill(&mut gaps, 12, 3), None, "a split that makes too many ranges is refused");
        assert_eq!(fill(&mut gaps, 10, 3), Some(Id(20)));
        assert_eq!(ranges(&gaps), [(3, 3), (11, 14), (16, 20)]);
        let state = StreamState { gaps, ..StreamState::default() };
        assert_eq!((state.missing(Id(20)), state.missing(Id(4)), state.missing(Id(7))), (9, 1, 0));
    }
}
