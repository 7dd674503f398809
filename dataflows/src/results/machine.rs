//! The state machine of the results: all tests of a worker, by run.

use super::attempts::{SAID_MAX, SaidTooOften, Test, WithdrawnEvents};
use super::shown::{Shown, tell, tell_facts};
use super::snapshot::{Entry, EntryRef, Snapshot, Turn};
use super::{Change, ResultInput, ResultOutput, route, tested};
use crate::budget::{Full, Grown, Kind, Untold};
use crate::control::{Incidents, Rule};
use crate::facts::{AttemptFact, Failure, Phase};
use crate::fingerprint;
use crate::fingerprint::rules::Masks;
use crate::input::{ErrorText, Event, Position, Refusal, Text, Withdraws};
use crate::keyed::{Home, Machine, Parts, Step, reuse};
use crate::map::Map;
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::RowWriter;
use weir_schemas::update::Cause;

/// The tests of one run on this worker.
#[derive(Default)]
struct RunTests {
    /// Boxed: a map that grows moves its entries, and keeps room for twice as many.
    tests: Map<Id, Box<Slot>>,
    withdrawn: WithdrawnEvents,
    /// Which test an event ended, made when the first withdrawal by event id comes.
    by_event: Option<Map<Id, Id>>,
    /// When the run ended, while it is not reopened.
    ended_at: Option<u64>,
    /// What the row budget was not told yet.
    untold: Option<Box<Untold>>,
}

impl RunTests {
    fn index(&mut self) -> &Map<Id, Id> {
        self.by_event.get_or_insert_with(|| {
            let mut index = Map::default();
            for (id, slot) in self.tests.sorted() {
                for event in slot.test.events() {
                    index.insert(event, *id);
                }
            }
            index
        })
    }
}

/// A test, and its place among those touched in the running tick.
struct Slot {
    test: Test,
    /// One more than its index in [`Results::touched`]; 0 while it is not touched.
    touched: u32,
    /// The last snapshot that has it, or that it is too young for.
    written: u32,
}

/// All results of a worker.
#[derive(Default)]
pub(super) struct Results {
    runs: Map<Id, RunTests>,
    writer: RowWriter,
    incidents: Incidents,
    masks: Masks,
    /// Who has no room for new tests.
    full: Full,
    grown: Grown,
    /// A tick's events with their positions, while they are put in order.
    events: Vec<(Position, Arc<Event>)>,
    /// The tests touched in the running tick, in the order of their first touch; empty between ticks.
    touched: Vec<Touched>,
    snapshot: Snapshot,
}

/// A test as it was before the running tick.
struct Touched {
    run: Id,
    id: Id,
    before: Shown,
    facts: Vec<AttemptFact>,
    withdrawn: bool,
}

impl Slot {
    /// One that no snapshot before this one has.
    fn new(test: Test, written: u32) -> Box<Slot> {
        Box::new(Slot { test, touched: 0, written })
    }

    /// Remembers the test as it is, before it is first changed in this tick.
    fn touch<'a>(
        &'a mut self,
        (run, id): (Id, Id),
        ended_at: Option<u64>,
        writer: &mut RowWriter,
        (touched, snapshot): (&'a mut Vec<Touched>, &mut Snapshot),
    ) -> (&'a mut Test, &'a mut Touched) {
        if self.touched == 0 {
            snapshot.keep((run, id), &self.test, &mut self.written);
            let before = Shown::of(&self.test, ended_at, writer);
            touched.push(Touched { run, id, before, facts: self.test.facts().collect(), withdrawn: false });
            self.touched = u32::try_from(touched.len()).expect("a tick touches fewer than 2³² tests");
        }
        (&mut self.test, &mut touched[self.touched as usize - 1])
    }
}

impl Results {
    fn apply(&mut self, event: &Event, now: u64) -> Result<(), SaidTooOften> {
        let (run, id) = (event.run(), event.names.test_or_zero());
        let tests = self.runs.get_or_insert_with(run, RunTests::default);
        if self.full.leaves_out(&event.names.project) && !tests.tests.contains(&id) {
            self.grown.of(&mut tests.untold, &event.names, now).left_out += 1;
            return Ok(());
        }
        let slot = tests.tests.get_or_insert_with(id, || {
            self.grown.of(&mut tests.untold, &event.names, now).came += 1;
            Slot::new(Test::new(event), self.snapshot.number())
        });
        let (test, touched) =
            slot.touch((run, id), tests.ended_at, &mut self.writer, (&mut self.touched, &mut self.snapshot));
        touched.withdrawn |= event.withdrawal().is_some();
        if let Some(Withdraws::Test { attempt }) = event.withdrawal() {
            test.withdraw(attempt);
            return Ok(());
        }
        test.introduce(event);
        let Some(outcome) = event.outcome else {
            test.begin(event);
            return Ok(());
        };
        let failure = outcome.fails().then(|| {
            let silent = ErrorText::default();
            let (event_name, stream) = (event.name().map(Arc::clone).unwrap_or_default(), &event.origin.stream_name);
            let masks = self.masks.of(&event.origin.project);
            let failure = fingerprint::failure(event.error().map_or(&silent, |error| error), outcome, &masks);
            Arc::new(Failure { event: event_name, stream: Arc::clone(stream), ..failure })
        });
        let covered = self.incidents.cover(&event.origin.project, event.origin.worker.as_deref(), event.at.min(now));
        let withdrawn = tests.withdrawn.contains(&event.id);
        let ended = test.end(event, outcome, failure, now, (withdrawn, covered));
        if ended.is_ok()
            && let Some(index) = &mut tests.by_event
        {
            index.insert(event.id, id);
        }
        ended
    }

    /// Remembers a withdrawal by event id, and takes back what the event said if it came before this tick.
    fn withdraw(&mut self, run: Id, event: Id) {
        let tests = self.runs.get_or_insert_with(run, RunTests::default);
        if !tests.withdrawn.insert(event) {
            return;
        }
        let Some(id) = tests.index().get(&event).copied() else { return };
        let Some(slot) = tests.tests.get_mut(&id) else { return };
        let (test, touched) =
            slot.touch((run, id), tests.ended_at, &mut self.writer, (&mut self.touched, &mut self.snapshot));
        touched.withdrawn = true;
        test.withdraw_event(event);
    }

    /// Looks anew at the tests of projects whose incidents changed.
    fn cover(&mut self, projects: &BTreeSet<Text>) {
        for run in self.runs.sorted_keys() {
            let Some(tests) = self.runs.get_mut(&run) else { continue };
            let ids = tests.tests.sorted_keys();
            let of = ids.first().and_then(|id| tests.tests.get(id)).map(|slot| &slot.test.names.project);
            if !of.is_some_and(|project| projects.contains(project)) {
                continue;
            }
            for id in ids {
                let Some(slot) = tests.tests.get_mut(&id) else { continue };
                if slot.test.stale(&self.incidents) {
                    let (test, touched) = slot.touch(
                        (run, id),
                        tests.ended_at,
                        &mut self.writer,
                        (&mut self.touched, &mut self.snapshot),
                    );
                    touched.withdrawn = true;
                    test.cover(&self.incidents);
                }
            }
        }
    }

    /// Emits what changed of the touched tests.
    fn tell_touched(&mut self, step: &mut Step<'_, ResultOutput>) {
        let count = self.touched.len();
        for Touched { run, id, before, facts, withdrawn } in self.touched.drain(..) {
            let Some(tests) = self.runs.get_mut(&run) else { continue };
            let Some(slot) = tests.tests.get_mut(&id) else { continue };
            slot.touched = 0;
            let test = &slot.test;
            let after = Shown::of(test, tests.ended_at, &mut self.writer);
            let cause = if withdrawn { Cause::Withdrawn } else { Cause::Changed };
            let standing = (before.standing, after.standing);
            let ended = tests.ended_at.is_some();
            tell(test, before, after, cause, (ended, ended), step);
            tested::tell(run, &facts, test, |tested, diff| step.emit(ResultOutput::Tested(tested), diff));
            tell_facts(facts, test.facts(), step);
            let (before, after) = standing;
            if before != after {
                let change = Change { names: Arc::clone(&test.names), before, after, withdrawn };
                step.emit(ResultOutput::Change(change), 1);
            }
        }
        reuse(&mut self.touched, count);
    }

    /// Tells the row budget at a whole second what came of runs that are still there.
    fn tell_held(&mut self, step: &mut Step<'_, ResultOutput>) {
        for run in self.grown.due(step) {
            if let Some(untold) = self.runs.get_mut(&run).and_then(|tests| tests.untold.take()) {
                step.emit(ResultOutput::Held(untold.held(Kind::Test)), 1);
            }
        }
    }

    /// Applies a run's phase; its unfinished tests change with it, or all of them leave.
    fn phase(&mut self, run: Id, phase: Phase, step: &mut Step<'_, ResultOutput>) {
        let tests = self.runs.get_or_insert_with(run, RunTests::default);
        let was_ended_at = tests.ended_at;
        if phase == Phase::Evicted {
            if self.snapshot.open() {
                for id in tests.tests.sorted_keys() {
                    if let Some(Slot { test, written, .. }) = tests.tests.get_mut(&id).map(Box::as_mut) {
                        self.snapshot.keep((run, id), test, written);
                    }
                }
            }
            for (_, slot) in tests.tests.sorted() {
                let test = &slot.test;
                // What outlives the run keeps its facts; suites and runs leave by themselves.
                let before = Shown::of(test, was_ended_at, &mut self.writer);
                tell(test, before, Shown::default(), Cause::Evicted, (was_ended_at.is_some(), true), step);
            }
            self.runs.remove(&run);
            return;
        }
        // Remembered even when no test is there yet: for those that are still to come.
        tests.ended_at = (phase != Phase::Running).then_some(step.now());
        let ended_at = tests.ended_at;
        for (_, slot) in tests.tests.sorted() {
            let test = &slot.test;
            if test.standing().is_some_and(|standing| standing.running || standing.outcome.is_none()) {
                let before = Shown::of(test, was_ended_at, &mut self.writer);
                let after = Shown::of(test, ended_at, &mut self.writer);
                tell(test, before, after, Cause::Changed, (was_ended_at.is_some(), ended_at.is_some()), step);
            }
        }
    }
}

fn said_too_often(event: &Event) -> Refusal {
    let message = format!("{SAID_MAX} events have said how this attempt of the test ended; more are not taken");
    event.one_too_many(message)
}

impl Machine for Results {
    type Input = ResultInput;
    type Output = ResultOutput;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Results::default())
    }

    fn step(&mut self, data: &mut Vec<(ResultInput, i64)>, step: &mut Step<'_, ResultOutput>) {
        let (mut withdrawals, mut phases, mut rules) = (Vec::new(), Vec::new(), Vec::<(Rule, i64)>::new());
        let mut events = std::mem::take(&mut self.events);
        for (input, diff) in data.drain(..) {
            match input {
                ResultInput::Rule(rule) => rules.push((rule, diff)),
                ResultInput::Event(event) => events.push((event.position, event)),
                ResultInput::Withdrawal(event) => {
                    if let Some(Withdraws::Event(id)) = event.withdrawal() {
                        withdrawals.push((event.run(), id));
                    }
                }
                ResultInput::Phase(change) => phases.push((change.run, change.phase)),
                ResultInput::Room(room) => self.full.apply(&room),
            }
        }
        let projects: BTreeSet<Text> =
            rules.iter().filter_map(|(rule, diff)| self.incidents.apply(rule, *diff)).collect();
        self.masks.apply(&mut rules);
        if !projects.is_empty() {
            self.cover(&projects);
        }
        withdrawals.sort_unstable();
        withdrawals.into_iter().for_each(|(run, event)| self.withdraw(run, event));
        // Stable: what comes from one worker is in order already.
        events.sort_by_key(|(position, _)| *position);
        let came = events.len();
        for (_, event) in events.drain(..) {
            if self.apply(&event, step.now()) == Err(SaidTooOften) {
                step.emit(ResultOutput::Refused(Arc::new(said_too_often(&event))), 1);
            }
        }
        reuse(&mut events, came);
        self.events = events;
        self.tell_touched(step);
        phases.sort_unstable();
        for (run, phase) in phases {
            self.phase(run, phase, step);
        }
        self.tell_held(step);
    }

    /// What the tests add up to is not written, since it depends on which of them are on a worker.
    fn resume(&mut self, step: &mut Step<'_, ResultOutput>) {
        for (_, tests) in self.runs.sorted() {
            for (_, slot) in tests.tests.sorted() {
                let Some(standing) = slot.test.standing() else { continue };
                let names = Arc::clone(&slot.test.names);
                let change = Change { names, before: None, after: Some(standing), withdrawn: false };
                step.emit(ResultOutput::Change(change), 1);
            }
        }
    }

    fn freeze(&mut self, parts: &mut Parts) -> bool {
        parts.entry(&EntryRef::Incidents(&self.incidents));
        parts.entry(&Entry::Masks(self.masks.entries()));
        parts.entry(&EntryRef::Full(&self.full));
        for (run, RunTests { withdrawn, ended_at, untold, .. }) in self.runs.sorted() {
            parts.entry(&EntryRef::Run { run: *run, withdrawn, ended_at: *ended_at });
            untold.iter().for_each(|untold| parts.entry(&EntryRef::Untold(*run, untold)));
        }
        self.snapshot.begin(self.runs.sorted_keys());
        false
    }

    fn write_on(&mut self, parts: &mut Parts) -> bool {
        while !parts.enough() {
            match self.snapshot.next(|run| self.runs.get(&run).map(|of_run| of_run.tests.sorted_keys())) {
                None => return true,
                Some(Turn::Early(entry)) => parts.entry(&entry),
                Some(Turn::Test(run, id)) => {
                    let slot = self.runs.get_mut(&run).and_then(|of_run| of_run.tests.get_mut(&id));
                    if let Some(Slot { test, written, .. }) = slot.map(Box::as_mut)
                        && self.snapshot.takes(written)
                    {
                        parts.entry(&EntryRef::Test { run, id, test });
                    }
                }
            }
        }
        false
    }

    fn entries(&self) -> Vec<Entry> {
        let incidents = Entry::Incidents(self.incidents.clone());
        let mut entries = vec![incidents, Entry::Masks(self.masks.entries()), Entry::Full(self.full.clone())];
        for (run, tests) in self.runs.sorted() {
            entries.push(Entry::Run { run: *run, withdrawn: tests.withdrawn.clone(), ended_at: tests.ended_at });
            entries.extend(tests.untold.clone().map(|untold| Entry::Untold(*run, untold)));
            entries.extend(tests.tests.sorted().into_iter().map(|(id, slot)| Entry::Test {
                run: *run,
                id: *id,
                test: Box::new(slot.test.clone()),
            }));
        }
        entries
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Entry::Incidents(_) | Entry::Masks(_) | Entry::Full(_) | Entry::Run { .. } => Home::Everywhere,
            Entry::Untold(..) => Home::Anywhere,
            Entry::Test { run, id, .. } => Home::Routed(route(*run, *id)),
        }
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        let mut wakes = Vec::new();
        for entry in entries {
            match entry {
                Entry::Incidents(incidents) => self.incidents = incidents,
                Entry::Masks(masks) => self.masks = Masks::restored(masks),
                Entry::Full(full) => self.full = full,
                Entry::Untold(run, untold) => {
                    wakes.push(untold.due);
                    untold.join(&mut self.runs.get_or_insert_with(run, RunTests::default).untold);
                    self.grown.restore(run);
                }
                Entry::Run { run, withdrawn, ended_at } => {
                    let tests = self.runs.get_or_insert_with(run, RunTests::default);
                    (tests.withdrawn, tests.ended_at) = (withdrawn, ended_at);
                }
                Entry::Test { run, id, test } => {
                    self.runs.get_or_insert_with(run, RunTests::default).tests.insert(id, Slot::new(*test, 0));
                }
            }
        }
        wakes
    }
}

#[cfg(test)]
mod tests {
    use super::super::attempts::ATTEMPTS_MAX;
    use super::*;
    use crate::input::Interner;
    use crate::keyed::Updates;
    use weir_schemas::event::TestEvent;
    use weir_schemas::limits::Limits;

    /// Runs one tick over an event of test `t` for each attempt given.
    fn tick(results: &mut Results, now: u64, attempts: &[u32]) -> Updates<ResultOutput> {
        let input = |(offset, attempt): (usize, &u32)| {
            let offset = offset as u64;
            let json = format!(
                r#"{{"eventId":"{now}-{offset}","eventType":"test_passed","streamId":"s","version":1,"timestamp":5,
                "data":{{"testId":"t","attempt":{attempt}}}}}"#
            );
            let event: TestEvent<'_> = serde_json::from_str(&json).expect("decodes");
            let position = Position { offset, ..Position::default() };
            let event = Event::new(&event, position, &Limits::default(), &mut Interner::default());
            (ResultInput::Event(Arc::new(event)), 1)
        };
        let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
        let mut data = attempts.iter().enumerate().map(input).collect();
        results.step(&mut data, &mut Step::new(now, &mut out, &mut wake));
        out
    }

    fn refused(out: &Updates<ResultOutput>) -> usize {
        out.iter().filter(|(output, ..)| matches!(output, ResultOutput::Refused(_))).count()
    }

    fn facts(out: &Updates<ResultOutput>) -> Vec<(u32, i64)> {
        let fact = |(output, _, diff): &(ResultOutput, u64, i64)| match output {
            ResultOutput::Fact(fact) => Some((fact.attempt, *diff)),
            _ => None,
        };
        out.iter().filter_map(fact).collect()
    }

    #[test]
    fn an_attempt_that_ends_too_often_is_refused_and_seen() {
        let mut results = Results::default();
        let out = tick(&mut results, 10, &[1; SAID_MAX + 6]);
        assert_eq!((refused(&out), facts(&out)), (6, vec![(1, 1)]));
        let out = tick(&mut results, 20, &[1, 2]);
        assert_eq!((refused(&out), facts(&out)), (1, vec![(2, 1)]));
    }

    #[test]
    fn attempts_are_bounded_and_only_the_changed_one_is_told() {
        let mut results = Results::default();
        let many: Vec<u32> = (1..=ATTEMPTS_MAX + 50).collect();
        let out = tick(&mut results, 10, &many);
        assert_eq!((refused(&out), facts(&out).len()), (0, ATTEMPTS_MAX as usize));
        assert_eq!(facts(&tick(&mut results, 20, &[u32::MAX])), []);
        let out = tick(&mut results, 30, &[7]);
        assert_eq!(facts(&out), [], "said again, the same");
    }
}
