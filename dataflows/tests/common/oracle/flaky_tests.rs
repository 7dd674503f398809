//! The view `flaky_tests`: rings by going through the ticks, infrastructure from the runs as they stood, and verdicts by looking
//! at all attempts up to each.

use super::super::Tick;
use super::admission::HOUR;
use super::control::{holding, incidents};
use super::runs::{Lives, Moment, Run};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::facts::AttemptFact;
use weir_dataflows::keyed::Updates;
use weir_schemas::control::{ControlChange, ControlKind, FlakyRule};
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter, ratio};
use weir_schemas::view::FLAKY_TESTS;

const DAY: u64 = 24 * HOUR;

/// An attempt, and the tick at which it was told.
type Told = (AttemptFact, u64);

/// A test's last outcomes on a branch, oldest first, and the attempt that was told last.
type Ring = (Vec<Told>, AttemptFact);

/// A failing attempt for which there was no room, and the tick at which it came.
type TurnedAway = (Arc<str>, u64);

/// By test and branch.
type Rings = BTreeMap<(Id, String), Ring>;

struct Known<'a> {
    lives: &'a Lives,
    ticks: &'a [Tick],
    config: &'a Config,
}

fn order(fact: &AttemptFact) -> (u64, Id, u32, u64) {
    (fact.at, fact.names.run_id, fact.attempt, fact.came)
}

/// Whether it is forgotten: no failure is left, or the last one is too old.
fn old((ring, _): &Ring, now: u64, config: &Config) -> bool {
    let failed = ring.iter().filter(|(fact, _)| fact.outcome.fails()).map(|(fact, _)| fact.at).max();
    failed.is_none_or(|at| (at + config.flaky_memory_ms).next_multiple_of(HOUR) <= now)
}

impl Known<'_> {
    /// Whether infrastructure explains an outcome: as of the last whole second, or as its run was last, with what incidents of the
    /// tick at which it left took back.
    fn guarded(&self, (fact, told): &Told, now: u64) -> bool {
        let moments = &self.lives[&fact.names.run_id];
        let left = moments.iter().find(|moment| moment.at >= *told && moment.run.is_none()).map(|moment| moment.at);
        let seen = |moment: &&Moment| match left.filter(|left| *left <= now) {
            Some(left) => moment.at <= left && moment.run.is_some(),
            None => moment.at <= now / 1_000 * 1_000,
        };
        let Some(Moment { run: Some(run), .. }) = moments.iter().rfind(seen) else { return false };
        let worker = fact.origin.worker.as_deref();
        let all = self.failing_of(run, |_| true);
        let there = self.failing_of(run, |other| worker.is_some() && other == worker);
        all.is_some_and(|(failing, finished)| failing * 100 > finished * 80)
            || there.is_some_and(|(failing, finished)| failing == finished)
    }

    /// Of the tests that passed or failed where `here` says, how many never passed there; nothing of too few.
    fn failing_of(&self, run: &Run, here: impl Fn(Option<&str>) -> bool) -> Option<(usize, usize)> {
        let outcomes = run.tests.values().map(|test| {
            let ended = test
                .ended()
                .filter(|attempt| attempt.worst().is_some_and(|(_, event)| here(event.origin.worker.as_deref())));
            ended.filter_map(|a| a.outcome()).filter(|outcome| *outcome != Outcome::Skipped).collect::<Vec<_>>()
        });
        let finished: Vec<Vec<Outcome>> = outcomes.filter(|outcomes| !outcomes.is_empty()).collect();
        let failing = finished.iter().filter(|outcomes| !outcomes.contains(&Outcome::Passed)).count();
        (finished.len() >= self.config.guard_tests).then_some((failing, finished.len()))
    }

    /// The project's rule, with id and since when.
    fn rule(&self, project: &str, now: u64) -> (FlakyRule, Option<(String, u64)>) {
        let held = holding(self.ticks, now);
        let of = |wanted: &str| {
            let mut of = held.iter().filter(|((kind, of, _), _)| *kind == ControlKind::Flaky && *of == wanted);
            of.next().map(|((.., id), (record, since))| match &record.change {
                ControlChange::Flaky(rule) => (rule.clone(), Some(((*id).to_owned(), *since))),
                _ => unreachable!("of this kind"),
            })
        };
        of(project).or_else(|| of("")).unwrap_or_default()
    }

    /// What is judged of a ring.
    fn judged<'r>(&self, (ring, last): &'r Ring, rule: &FlakyRule, now: u64) -> Vec<&'r AttemptFact> {
        let marked = incidents(self.ticks, &last.names.project, now);
        let counts = |told: &&Told| {
            !self.guarded(told, now) && !marked.iter().any(|i| i.covers(told.0.origin.worker.as_deref(), told.0.at))
        };
        let all: Vec<&AttemptFact> = ring.iter().filter(counts).map(|(fact, _)| fact).collect();
        all[all.len().saturating_sub(rule.window as usize)..].to_vec()
    }

    /// All rings after `now`, from the updates up to then, and what was turned away.
    fn rings(&self, updates: &Updates<AttemptFact>, now: u64) -> (Rings, Vec<TurnedAway>) {
        let (mut rings, mut turned_away) = (Rings::new(), Vec::new());
        let times: BTreeSet<u64> = updates.iter().map(|(_, time, _)| *time).collect();
        for time in times {
            rings.retain(|_, ring| !old(ring, time, self.config));
            let of = |sign: i64| updates.iter().filter(move |(_, at, diff)| *at == time && *diff == sign);
            for (fact, ..) in of(-1) {
                rings.values_mut().for_each(|(ring, _)| ring.retain(|(other, _)| other != fact));
            }
            let mut came: BTreeMap<(Id, String), Vec<AttemptFact>> = BTreeMap::new();
            for (fact, ..) in of(1).filter(|(fact, ..)| fact.outcome != Outcome::Skipped) {
                let branch = fact.origin.branch.as_deref().unwrap_or_default().to_owned();
                came.entry((fact.names.test_or_zero(), branch)).or_default().push(fact.clone());
            }
            let mut new = Rings::new();
            for (key, mut facts) in came {
                facts.sort_by_key(order);
                let last = facts.last().expect("one at least").clone();
                let rings = if rings.contains_key(&key) { &mut rings } else { &mut new };
                let ring = rings.entry(key).or_insert_with(|| (Vec::new(), last.clone()));
                ring.1 = last;
                ring.0.extend(facts.into_iter().map(|fact| (fact, time)));
                ring.0.sort_by_key(|(fact, _)| order(fact));
                ring.0.drain(..ring.0.len().saturating_sub(64));
            }
            rings.retain(|_, ring| !old(ring, time, self.config));
            new.retain(|_, ring| !old(ring, time, self.config));
            self.begin(&mut rings, new, time, &mut turned_away);
        }
        rings.retain(|_, ring| !old(ring, now, self.config));
        (rings, turned_away)
    }

    /// New rings in order, each where there is room: a 256th of a project's a bucket.
    fn begin(&self, rings: &mut Rings, new: Rings, now: u64, turned_away: &mut Vec<TurnedAway>) {
        let bucket = |key: &(Id, String)| key.0.0 % 256;
        let before: BTreeSet<(Id, String)> = rings.keys().cloned().collect();
        for (key, ring) in new {
            let project = &ring.1.names.project;
            let same = |(other, (_, last)): &(&(Id, String), &Ring)| {
                bucket(other) == bucket(&key) && last.names.project == *project
            };
            if rings.iter().filter(same).count() >= self.config.flaky_tests / 256 {
                let well = |(key, ring): &(&(Id, String), &Ring)| {
                    let (rule, _) = self.rule(project, now);
                    let verdict = verdict(&self.judged(ring, &rule, now), &rule, &key.1, now);
                    before.contains(*key) && !["flaky", "broken"].contains(&verdict.state)
                };
                let failed_at = |ring: &Ring| ring.0.iter().filter(|(f, _)| f.outcome.fails()).map(|(f, _)| f.at).max();
                let resting = rings.iter().filter(same).filter(well);
                let Some(left) = resting.map(|(key, ring)| (failed_at(ring), key.clone())).min() else {
                    let failures = ring.0.iter().filter(|(fact, _)| fact.outcome.fails());
                    turned_away.extend(failures.map(|(fact, _)| (Arc::clone(&fact.names.project), now)));
                    continue;
                };
                rings.remove(&left.1);
            }
            rings.insert(key, ring);
        }
    }
}

/// What is said of a test.
struct Verdict<'a> {
    state: &'static str,
    reason: Option<&'static str>,
    since: Option<u64>,
    evidence: Vec<&'a AttemptFact>,
    last_flake_at: Option<u64>,
    /// Since the last failure not cleared: passes, and its time.
    open: Option<(u64, u64)>,
}

/// Evidence that the last of some attempts completes: its strength, its name, the attempts.
fn flake<'a>(
    all: &[&'a AttemptFact],
    rule: &FlakyRule,
    on_main: bool,
) -> Option<(u8, &'static str, Vec<&'a AttemptFact>)> {
    let (last, before) = all.split_last()?;
    let mut others = before.iter().rev().filter(|other| other.outcome.fails() != last.outcome.fails());
    let retried = |other: &&&AttemptFact| {
        let later_passed =
            if last.outcome.fails() { last.attempt < other.attempt } else { other.attempt < last.attempt };
        other.names.run_id == last.names.run_id && later_passed
    };
    if let Some(other) = others.clone().find(retried) {
        return Some((1, "retry", vec![other, last]));
    }
    let on_commit = |other: &&&AttemptFact| last.origin.commit.is_some() && last.origin.commit == other.origin.commit;
    if let Some(other) = others.find(on_commit) {
        return Some((2, "commit", vec![other, last]));
    }
    let flips: Vec<usize> = (1..all.len()).filter(|n| all[*n].outcome.fails() != all[n - 1].outcome.fails()).collect();
    if !on_main || flips.last() != Some(&before.len()) || flips.len() < rule.flips as usize {
        return None;
    }
    let named = &flips[flips.len() - rule.flips as usize..];
    Some((3, "flips", [named[0] - 1].iter().chain(named).map(|n| all[*n]).collect()))
}

fn verdict<'a>(judged: &[&'a AttemptFact], rule: &FlakyRule, branch: &str, now: u64) -> Verdict<'a> {
    let on_main = rule.main_branches.iter().any(|main| main == branch);
    let mut said =
        Verdict { state: "healthy", reason: None, since: None, evidence: vec![], last_flake_at: None, open: None };
    let mut strongest: Option<(u8, &'static str, Vec<&AttemptFact>)> = None;
    // What counts since the last clearance; after the last attempt, time goes on.
    let mut since: Vec<&AttemptFact> = Vec::new();
    for next in judged.iter().map(Some).chain([None]) {
        let at = next.map_or(now, |fact| fact.at);
        let failed = |since: &[&AttemptFact]| since.iter().rposition(|fact| fact.outcome.fails());
        let clear =
            |since: &mut Vec<&'a AttemptFact>, said: &mut Verdict<'a>, reason, at, evidence: &[&'a AttemptFact]| {
                if ["flaky", "broken"].contains(&said.state) {
                    (said.state, said.reason, said.since) = ("fixed", Some(reason), Some(at));
                    said.evidence = evidence.to_vec();
                }
                since.drain(..=failed(since).expect("it is cleared"));
            };
        if let Some(index) = failed(&since).filter(|index| since[*index].at + u64::from(rule.days) * DAY <= at) {
            let last = since[index];
            clear(&mut since, &mut said, "days", last.at + u64::from(rule.days) * DAY, &[last]);
            strongest = None;
        }
        let Some(fact) = next else { break };
        since.push(fact);
        let found = flake(&since, rule, on_main);
        if let Some(found) = found.clone() {
            said.last_flake_at = Some(at);
            strongest = strongest.filter(|held| held.0 < found.0).or(Some(found));
        }
        let row = since.len().checked_sub(rule.broken as usize).map(|first| &since[first..]);
        let turned = match (row.filter(|row| row.iter().all(|f| f.outcome.fails())), found.and(strongest.clone())) {
            (Some(row), _) => Some(("broken", "failures", row.to_vec())),
            (None, Some((_, reason, evidence))) => Some(("flaky", reason, evidence)),
            (None, None) => None,
        };
        if let Some((state, reason, evidence)) = turned {
            said.since = if said.state == state { said.since } else { Some(at) };
            (said.state, said.reason, said.evidence) = (state, Some(reason), evidence);
        }
        if let Some(index) = failed(&since).filter(|index| since.len() - 1 - index >= rule.passes as usize) {
            let passes = since[index + 1..].to_vec();
            clear(&mut since, &mut said, "passes", at, &passes);
            strongest = None;
        }
    }
    if ["flaky", "broken"].contains(&said.state) {
        let index = since.iter().rposition(|fact| fact.outcome.fails()).expect("not cleared");
        said.open = Some(((since.len() - 1 - index) as u64, since[index].at));
    }
    let much = said.evidence.len().saturating_sub(16);
    said.evidence.drain(..much);
    said
}

/// An attempt as it is shown.
fn shown(fact: &AttemptFact) -> String {
    let mut text = format!(r#"{{"run":"{}","attempt":{},"#, fact.names.run, fact.attempt);
    text += &format!(r#""outcome":"{}","at":{}"#, fact.outcome.as_str(), fact.at);
    for (name, value) in [("commit", &fact.origin.commit), ("worker", &fact.origin.worker)] {
        if let Some(value) = value {
            text += &format!(r#","{name}":"{value}""#);
        }
    }
    text + "}"
}

/// How many were turned away of each project, but for what is forgotten.
fn unjudged(turned_away: &[TurnedAway], now: u64, config: &Config) -> Vec<Row> {
    let mut counts: BTreeMap<&str, (i64, u64)> = BTreeMap::new();
    for (project, at) in turned_away {
        let (count, forget_at) = counts.entry(project).or_default();
        *count = if *forget_at <= *at { 1 } else { *count + 1 };
        *forget_at = (at + config.flaky_memory_ms).next_multiple_of(HOUR);
    }
    let row = |(project, (count, _)): (&str, (i64, u64))| {
        let mut writer = RowWriter::default();
        writer.str(project).str("").str("").null().null().str("unjudged").null().null().int(0).int(count);
        writer.null().null().list([].into_iter()).null().null().null().null();
        writer.finish(&FLAKY_TESTS)
    };
    counts.into_iter().filter(|(_, (_, forget_at))| *forget_at > now).map(row).collect()
}

/// The rows at `now`, from all updates up to then.
pub fn rows(updates: &Updates<AttemptFact>, lives: &Lives, ticks: &[Tick], now: u64, config: &Config) -> Vec<Row> {
    let known = Known { lives, ticks, config };
    let row = |((_, branch), ring): (&(Id, String), &Ring)| {
        let names = &ring.1.names;
        let (rule, name) = known.rule(&names.project, now);
        let judged = known.judged(ring, &rule, now);
        let verdict = verdict(&judged, &rule, branch, now);
        let failed = judged.iter().filter(|fact| fact.outcome.fails()).count() as i64;
        let flips = judged.windows(2).filter(|pair| pair[0].outcome.fails() != pair[1].outcome.fails()).count();
        let evidence: Vec<String> = verdict.evidence.iter().map(|fact| shown(fact)).collect();
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut writer = RowWriter::default();
        writer.str(&names.project).str(&names.test).str(branch).opt_str(some(&names.test_name).as_deref());
        writer.opt_str(some(&names.suite).as_deref()).str(verdict.state).opt_str(verdict.reason);
        writer.opt_uint(verdict.since).uint(flips as u64).uint(judged.len() as u64);
        writer.opt_int(ratio(failed, 100, judged.len() as i64)).opt_uint(verdict.last_flake_at);
        writer.list(evidence.iter().map(String::as_str));
        writer.opt_uint(verdict.open.map(|(passes, _)| u64::from(rule.passes) - passes));
        writer.opt_uint(verdict.open.map(|(_, at)| at + u64::from(rule.days) * DAY));
        writer.opt_str(name.as_ref().map(|(id, _)| id.as_str())).opt_uint(name.as_ref().map(|(_, since)| *since));
        writer.finish(&FLAKY_TESTS)
    };
    let (rings, turned_away) = known.rings(updates, now);
    rings.iter().map(row).chain(unjudged(&turned_away, now, config)).collect()
}
