//! Rules and incidents: what people tell Weir while it runs, as collections.
//!
//! Contract: takes [`ControlRecord`]s in order of (tick, position); the last one of a (kind, project, id) holds from its tick on.
//! Emits each [`Rule`] that comes to hold as +1 and each that ceases to as −1, to every worker, at that tick; so an operator
//! that depends on rules takes them as one more input and applies those of a tick before its data (`time.md`, D5).
//!
//! # Invariants
//! One worker decides, so all agree. A project has at most [`RULES_MAX`] of each kind and [`MASKS_MAX`] masks; one more is refused.
//!
//! # Cost
//! O(rules) memory a worker; nothing an event.

use crate::context::Context;
use crate::facts::RowChange;
use crate::fork::Forks;
use crate::input::{Position, Refusal, RejectKind, Text};
use crate::keyed::{Collection, Home, Machine, Step, keyed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Exchange as _;
use weir_schemas::control::{ControlChange, ControlKind, ControlRecord, Incident};
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;
use weir_schemas::view::RULES;

/// Rules of one kind that a project may have.
pub const RULES_MAX: usize = 1_000;
/// Masks that a project may have: each is tried on every failure, and holds up to half a megabyte a worker.
pub const MASKS_MAX: usize = 64;

/// How many rules of a kind a project may have.
#[must_use]
pub const fn rules_max(kind: ControlKind) -> usize {
    match kind {
        ControlKind::Mask => MASKS_MAX,
        _ => RULES_MAX,
    }
}

/// A control record as it comes in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlInput {
    /// Where it stands.
    pub position: Position,
    /// What it says; acceptable ([`ControlRecord::check`]).
    pub record: Arc<ControlRecord>,
}

/// Something that holds, for one worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The worker that is told: how a broadcast is routed.
    pub peer: u64,
    /// What was said.
    pub record: Arc<ControlRecord>,
}

/// What comes out.
pub struct ControlStreams<'s> {
    /// What holds, on every worker.
    pub rules: Collection<'s, Rule>,
    /// Rows of the view `rules`.
    pub rows: Collection<'s, RowChange>,
    /// What was one too many.
    pub refusals: Collection<'s, Arc<Refusal>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Output {
    Rule(Rule),
    Row(RowChange),
    Refused(Arc<Refusal>),
}

/// Keeps what holds.
pub fn control<'s>(cx: &Context<'s>, records: Collection<'s, ControlInput>) -> ControlStreams<'s> {
    let peers = records.scope().peers() as u64;
    let one = Exchange::new(|_: &(ControlInput, u64, i64)| 0);
    let told = keyed("Control", records, one, &cx.states, Controls { peers, ..Controls::default() });
    let mut kinds = Forks::new("ControlKinds", told);
    let rows = kinds.tap(|output| match output {
        Output::Row(row) => Some(row.clone()),
        _ => None,
    });
    let refusals = kinds.tap(|output| match output {
        Output::Refused(refusal) => Some(Arc::clone(refusal)),
        _ => None,
    });
    let rules = kinds.rest(|output| match output {
        Output::Rule(rule) => Some(rule),
        _ => None,
    });
    ControlStreams { rules: rules.exchange(|(rule, _, _): &(Rule, u64, i64)| rule.peer), rows, refusals }
}

/// The name of a rule.
type Name = (ControlKind, String, String);

/// A rule that holds, and since which tick.
type Held = (Arc<ControlRecord>, u64);

#[derive(Default)]
struct Controls {
    peers: u64,
    held: BTreeMap<Name, Held>,
    /// How many of each kind a project has.
    counts: BTreeMap<(ControlKind, String), usize>,
    writer: RowWriter,
}

impl Controls {
    fn count(&mut self, name: &Name, by: isize) {
        let key = (name.0, name.1.clone());
        let count = self.counts.entry(key.clone()).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.counts.remove(&key);
        }
    }

    /// Takes a record in; gives the reason if it is one too many.
    fn apply(&mut self, record: &Arc<ControlRecord>, now: u64) -> Option<String> {
        let name = (record.change.kind(), record.project.clone(), record.id.clone());
        if matches!(record.change, ControlChange::Removed(_)) {
            if self.held.remove(&name).is_some() {
                self.count(&name, -1);
            }
            return None;
        }
        if !self.held.contains_key(&name) {
            let count = self.counts.get(&(name.0, name.1.clone())).copied().unwrap_or(0);
            let max = rules_max(name.0);
            if count >= max {
                return Some(format!("there are {max} rules of kind {} already; remove one first", name.0.as_str()));
            }
            self.count(&name, 1);
        }
        self.held.insert(name, (Arc::clone(record), now));
        None
    }

    fn tell(&mut self, held: &Held, diff: i64, step: &mut Step<'_, Output>) {
        for peer in 0..self.peers {
            step.emit(Output::Rule(Rule { peer, record: Arc::clone(&held.0) }), diff);
        }
        let row = row(&mut self.writer, held);
        step.emit(Output::Row(RowChange { row, cause: Cause::Changed }), diff);
    }
}

fn row(writer: &mut RowWriter, (record, since): &Held) -> Row {
    let text = match &record.change {
        ControlChange::Incident(incident) => serde_json::to_string(incident),
        ControlChange::Alert(rule) => serde_json::to_string(rule),
        ControlChange::Flaky(rule) => serde_json::to_string(rule),
        ControlChange::Mask(rule) => serde_json::to_string(rule),
        ControlChange::Removed(_) => Ok(String::new()),
    };
    let text = text.expect("a rule can be written as JSON");
    writer.str(&record.project).str(record.change.kind().as_str()).str(&record.id);
    writer.str(&text).uint(record.said_at).opt_str(Some(&*record.said_by).filter(|by| !by.is_empty())).uint(*since);
    writer.finish(&RULES)
}

impl Machine for Controls {
    type Input = ControlInput;
    type Output = Output;
    type Entry = Held;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Controls { peers: self.peers, ..Controls::default() })
    }

    fn step(&mut self, data: &mut Vec<(ControlInput, i64)>, step: &mut Step<'_, Output>) {
        data.sort_by_key(|(input, _)| input.position);
        // What was said several times in a tick changes once.
        let mut before: BTreeMap<Name, Option<Held>> = BTreeMap::new();
        for (ControlInput { position, record }, _) in data.drain(..) {
            let name = (record.change.kind(), record.project.clone(), record.id.clone());
            before.entry(name.clone()).or_insert_with(|| self.held.get(&name).cloned());
            if let Some(reason) = self.apply(&record, step.now()) {
                step.emit(Output::Refused(Arc::new(refusal(position, &record, &reason))), 1);
            }
        }
        for (name, was) in before {
            let is = self.held.get(&name).cloned();
            if was != is {
                was.iter().for_each(|held| self.tell(held, -1, step));
                is.iter().for_each(|held| self.tell(held, 1, step));
            }
        }
    }

    fn entries(&self) -> Vec<Held> {
        self.held.values().cloned().collect()
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Routed(0)
    }

    fn restore(&mut self, entries: Vec<Held>) -> Vec<u64> {
        for (record, since) in entries {
            let name = (record.change.kind(), record.project.clone(), record.id.clone());
            self.count(&name, 1);
            self.held.insert(name, (record, since));
        }
        Vec::new()
    }
}

fn refusal(position: Position, record: &ControlRecord, reason: &str) -> Refusal {
    Refusal {
        position,
        kind: RejectKind::Invalid,
        project: if record.project.is_empty() { "default".into() } else { (&*record.project).into() },
        stream: "".into(),
        message: reason.into(),
        expected: None,
    }
}

/// The incidents that hold, as an operator keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incidents(BTreeMap<Text, Vec<Incident>>);

impl Incidents {
    /// Takes a rule in or out, if it is an incident; gives its project then.
    pub fn apply(&mut self, rule: &Rule, diff: i64) -> Option<Text> {
        let ControlChange::Incident(incident) = &rule.record.change else { return None };
        let project = Text::from(&*rule.record.project);
        let held = self.0.entry(Arc::clone(&project)).or_default();
        if diff > 0 {
            held.push(incident.clone());
        } else if let Some(index) = held.iter().position(|other| other == incident) {
            held.swap_remove(index);
        }
        if held.is_empty() {
            self.0.remove(&project);
        }
        Some(project)
    }

    /// Whether what happened on a machine at an event time is said to be no word on the code.
    #[must_use]
    pub fn cover(&self, project: &str, worker: Option<&str>, at: u64) -> bool {
        // Nearly always there are none.
        !self.0.is_empty()
            && self.0.get(project).is_some_and(|held| held.iter().any(|incident| incident.covers(worker, at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn record(id: &str, change: ControlChange) -> Arc<ControlRecord> {
        Arc::new(ControlRecord {
            project: "web".to_owned(),
            id: id.to_owned(),
            change,
            said_at: 5,
            said_by: String::new(),
        })
    }

    fn incident(worker: &str) -> ControlChange {
        ControlChange::Incident(Incident { worker: worker.to_owned(), ..Incident::default() })
    }

    fn step(controls: &mut Controls, now: u64, said: &[Arc<ControlRecord>]) -> Vec<(Output, u64, i64)> {
        let input = |(offset, record): (usize, &Arc<ControlRecord>)| {
            let position = Position { offset: offset as u64, ..Position::default() };
            (ControlInput { position, record: Arc::clone(record) }, 1)
        };
        let mut data: Vec<_> = said.iter().enumerate().map(input).collect();
        data.reverse();
        let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
        controls.step(&mut data, &mut Step::new(now, &mut out, &mut wake));
        out
    }

    fn told(out: &[(Output, u64, i64)]) -> Vec<(u64, i64)> {
        out.iter()
            .filter_map(|(output, _, diff)| match output {
                Output::Rule(rule) => Some((rule.peer, *diff)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn the_last_word_on_a_name_holds_and_every_worker_hears_of_it() {
        let mut controls = Controls { peers: 2, ..Controls::default() };
        let first = step(&mut controls, 10, &[record("a", incident("w1")), record("a", incident("w2"))]);
        assert_eq!(told(&first), [(0, 1), (1, 1)]);
        let Some((Output::Rule(rule), ..)) = first.first() else { panic!("a rule comes first") };
        assert_eq!(rule.record.change, incident("w2"));
        let same = step(
            &mut controls,
            20,
            &[record("b", incident("w")), record("b", ControlChange::Removed(ControlKind::Incident))],
        );
        assert_eq!(told(&same), [], "came and went");
        let gone = step(&mut controls, 30, &[record("a", ControlChange::Removed(ControlKind::Incident))]);
        assert_eq!(told(&gone), [(0, -1), (1, -1)]);
        assert!(controls.entries().is_empty() && controls.counts.is_empty());
    }

    #[test]
    fn one_too_many_is_refused() {
        let mut controls = Controls { peers: 1, ..Controls::default() };
        let all: Vec<_> = (0..RULES_MAX).map(|n| record(&n.to_string(), incident("w"))).collect();
        assert_eq!(told(&step(&mut controls, 10, &all)).len(), RULES_MAX);
        let out = step(&mut controls, 20, &[record("more", incident("w")), record("7", incident("v"))]);
        assert!(matches!(&out[0].0, Output::Refused(refusal) if refusal.message.starts_with("there are 1000 rules")));
        assert_eq!(told(&out), [(0, -1), (0, 1)], "one that is there can still be changed");
    }

    #[test]
    fn incidents_cover_while_they_hold() {
        let rule = Rule { peer: 0, record: record("a", incident("w1")) };
        let mut incidents = Incidents::default();
        assert!(incidents.apply(&rule, 1).is_some());
        assert!(incidents.cover("web", Some("w1"), 7) && !incidents.cover("web", Some("w2"), 7));
        assert!(!incidents.cover("app", Some("w1"), 7));
        incidents.apply(&rule, -1);
        assert_eq!(incidents, Incidents::default());
    }
}
