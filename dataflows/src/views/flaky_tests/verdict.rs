//! The verdict on a ring: a pure function of its entries, the rule, the branch and the time.
//!
//! Contract: of the entries that count the last `window` are judged, by going from the oldest to the newest. An entry makes the
//! test broken when the last `broken` all failed; else flaky when it completes evidence, of which there are three kinds, the
//! strongest first: a failed attempt and a later one of the same run that passed; both outcomes on one commit, in one run or
//! several; on a main branch, a change of outcome that is at least the `flips`th. `passes` passes in a row after a failure, or
//! `days` without one, make a flaky or broken test fixed; and whether it was one or not, what came before is then no evidence
//! any more. In between it stays what it was: so verdicts do not flap, and need no state of their own.
//!
//! # Cost
//! O(window²) comparisons of runs and commits.

use super::ring::Entry;
use weir_schemas::control::FlakyRule;

const DAY_MS: u64 = 86_400_000;

/// Attempts that a verdict names, at most: the newest.
pub const EVIDENCE_MAX: usize = 16;

/// What a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing that is judged says otherwise.
    Healthy,
    /// It fails now and then.
    Flaky,
    /// It fails.
    Broken,
    /// It was flaky or broken, and is no more.
    Fixed,
}

impl State {
    /// The word in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Flaky => "flaky",
            State::Broken => "broken",
            State::Fixed => "fixed",
        }
    }

    /// Whether there is something to be cleared.
    #[must_use]
    pub const fn ill(self) -> bool {
        matches!(self, State::Flaky | State::Broken)
    }
}

/// What decided; of evidence, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Failed, then passed, in one run.
    Retry,
    /// Both outcomes on one commit.
    Commit,
    /// The outcome changed too often.
    Flips,
    /// Failures in a row.
    Failures,
    /// Passes in a row.
    Passes,
    /// Days without a failure.
    Days,
}

impl Reason {
    /// The word in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Retry => "retry",
            Reason::Commit => "commit",
            Reason::Flips => "flips",
            Reason::Failures => "failures",
            Reason::Passes => "passes",
            Reason::Days => "days",
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// What the test is.
    pub state: State,
    /// Why; none of a healthy one.
    pub reason: Option<Reason>,
    /// Since when.
    pub since: Option<u64>,
    /// The attempts that decided, oldest first.
    pub evidence: Vec<&'a Entry>,
    /// When evidence was last completed.
    pub last_flake_at: Option<u64>,
    /// Changes of outcome among those judged.
    pub flips: u64,
    /// How many were judged.
    pub outcomes: u64,
    /// How many of these failed.
    pub failed: u64,
    /// So many passes in a row would clear it.
    pub passes_needed: Option<u64>,
    /// Without a failure it is clear at this time.
    pub clears_at: Option<u64>,
}

/// The verdict on entries in order.
#[must_use]
pub fn judge<'a>(entries: &'a [Entry], rule: &FlakyRule, branch: &str, now: u64) -> Verdict<'a> {
    let mut judged: Vec<&Entry> =
        entries.iter().rev().filter(|entry| entry.counts()).take(rule.window as usize).collect();
    judged.reverse();
    let on_main = rule.main_branches.iter().any(|main| main == branch);
    let mut scan = Scan::new(&judged, rule, on_main);
    (0..judged.len()).for_each(|index| scan.take(index));
    scan.rest(now);
    let open = scan.failed.filter(|_| scan.state.ill());
    Verdict {
        state: scan.state,
        reason: scan.reason,
        since: scan.since,
        evidence: scan.evidence.iter().map(|index| judged[*index]).collect(),
        last_flake_at: scan.last_flake_at,
        flips: judged.windows(2).filter(|pair| pair[0].fails() != pair[1].fails()).count() as u64,
        outcomes: judged.len() as u64,
        failed: judged.iter().filter(|entry| entry.fails()).count() as u64,
        passes_needed: open.map(|failed| u64::from(rule.passes).saturating_sub((judged.len() - 1 - failed) as u64)),
        clears_at: open.map(|failed| clears_at(judged[failed], rule)),
    }
}

fn clears_at(failed: &Entry, rule: &FlakyRule) -> u64 {
    failed.at.saturating_add(u64::from(rule.days) * DAY_MS)
}

/// Where a scan is.
struct Scan<'a> {
    judged: &'a [&'a Entry],
    rule: &'a FlakyRule,
    on_main: bool,
    state: State,
    reason: Option<Reason>,
    since: Option<u64>,
    evidence: Vec<usize>,
    /// From here on is evidence.
    from: usize,
    /// The last failure from there on.
    failed: Option<usize>,
    /// The strongest evidence from there on, the newest of its kind.
    flake: Option<(Reason, Vec<usize>)>,
    last_flake_at: Option<u64>,
}

impl<'a> Scan<'a> {
    fn new(judged: &'a [&'a Entry], rule: &'a FlakyRule, on_main: bool) -> Scan<'a> {
        let (reason, since, evidence, from, failed, flake, last_flake_at) = Default::default();
        let state = State::Healthy;
        Scan { judged, rule, on_main, state, reason, since, evidence, from, failed, flake, last_flake_at }
    }

    fn take(&mut self, index: usize) {
        let (at, fails) = (self.judged[index].at, self.judged[index].fails());
        self.rest(at);
        if fails {
            self.failed = Some(index);
        }
        let flake = self.flake(index);
        let flaked = flake.is_some();
        if let Some((reason, evidence)) = flake {
            self.last_flake_at = Some(at);
            if self.flake.as_ref().is_none_or(|(held, _)| reason <= *held) {
                self.flake = Some((reason, evidence));
            }
        }
        let broken = (self.rule.broken as usize).max(1);
        let row = (index + 1).checked_sub(broken).filter(|first| *first >= self.from).map(|first| first..=index);
        if let Some(row) = row.filter(|row| row.clone().all(|index| self.judged[index].fails())) {
            self.turn(State::Broken, Reason::Failures, at, row.collect());
        } else if flaked && let Some((reason, evidence)) = self.flake.clone() {
            self.turn(State::Flaky, reason, at, evidence);
        }
        if let Some(failed) = self.failed.filter(|failed| index - failed >= self.rule.passes as usize) {
            self.clear(failed, Reason::Passes, at, (failed + 1..=index).collect());
        }
    }

    /// The evidence that an entry completes.
    fn flake(&self, index: usize) -> Option<(Reason, Vec<usize>)> {
        let (entry, before) = (self.judged[index], self.from..index);
        let other = |other: &usize| self.judged[*other].fails() != entry.fails();
        let retry = |other: &usize| {
            let other = self.judged[*other];
            let (failed, passed) = if entry.fails() { (entry, other) } else { (other, entry) };
            other.run_id == entry.run_id && failed.attempt < passed.attempt
        };
        if let Some(other) = before.clone().rev().filter(other).find(retry) {
            return Some((Reason::Retry, vec![other, index]));
        }
        let same = |other: &usize| entry.commit.is_some() && self.judged[*other].commit == entry.commit;
        if let Some(other) = before.clone().rev().filter(other).find(same) {
            return Some((Reason::Commit, vec![other, index]));
        }
        let flips: Vec<usize> = (self.from + 1..=index)
            .filter(|index| self.judged[*index].fails() != self.judged[index - 1].fails())
            .collect();
        let enough = (self.rule.flips as usize).max(1);
        if !self.on_main || flips.last() != Some(&index) || flips.len() < enough {
            return None;
        }
        let first = flips[flips.len() - enough] - 1;
        Some((Reason::Flips, std::iter::once(first).chain(flips[flips.len() - enough..].iter().copied()).collect()))
    }

    /// Time passes.
    fn rest(&mut self, now: u64) {
        let Some(failed) = self.failed else { return };
        let clear_at = clears_at(self.judged[failed], self.rule);
        if clear_at <= now {
            self.clear(failed, Reason::Days, clear_at, vec![failed]);
        }
    }

    fn clear(&mut self, failed: usize, reason: Reason, at: u64, evidence: Vec<usize>) {
        if self.state.ill() {
            self.turn(State::Fixed, reason, at, evidence);
        }
        (self.from, self.failed, self.flake) = (failed + 1, None, None);
    }

    fn turn(&mut self, state: State, reason: Reason, at: u64, mut evidence: Vec<usize>) {
        if self.state != state {
            (self.state, self.since) = (state, Some(at));
        }
        evidence.drain(..evidence.len().saturating_sub(EVIDENCE_MAX));
        (self.reason, self.evidence) = (Some(reason), evidence);
    }
}
