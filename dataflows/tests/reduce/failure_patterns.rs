//! `failure_patterns`: occurrences in three windows, and those that have left the longest; one `reduce` a pattern, one a project.

use super::of::Of;
use super::shared::within;
use super::stages::{Rows, Stages};
use super::told::Fact;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::Text;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::FAILURE_PATTERNS;

/// 10 minutes, an hour, a day.
const WINDOWS: [u64; 3] = [600_000, 3_600_000, 86_400_000];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    /// In the window of a number.
    In(usize, Place, Fact),
    /// It has left the longest one; when it was.
    Left(u64, Place),
}

/// Attempts, and failures of runs themselves by their events, in order.
type Place = (u64, Id, Id, u32, u64);

fn place(fact: &Fact) -> Place {
    let failure = fact.failure();
    let of_run = || Id::of(&[&failure.stream, &failure.event]);
    (fact.at, fact.names.run_id, fact.names.test_id.unwrap_or_else(of_run), fact.attempt, fact.came)
}

fn left(at: u64, window: u64) -> u64 {
    (at / (window / 60) + 1) * (window / 60) + window
}

/// First the patterns with most in 10 minutes, then those seen last.
type Rank = (Reverse<u64>, Reverse<u64>, Id);

pub(crate) fn rows<'s>(stages: &Stages<'s>, config: &Config) -> Rows<'s> {
    let key = |fact: &Fact| (Arc::clone(&fact.names.project), fact.failure().fingerprint);
    let inside = WINDOWS.into_iter().enumerate().map(|(number, window)| {
        within(
            stages.failures.clone(),
            1_000,
            move |fact| left(fact.at, window),
            move |fact| (key(&fact), Part::In(number, place(&fact), fact)),
        )
    });
    let inside = inside.reduce(Of::concat).expect("there are windows");
    // What is in the day now and not yet gone; when it goes, it has left for ever, unless it was taken back before.
    let gone = within(
        stages.failures.clone(),
        1,
        |fact| left(fact.at, WINDOWS[2]),
        move |fact| (key(&fact), Part::Left(fact.at, place(&fact))),
    );
    let gone = super::shared::only_ends(gone, |(_, part)| match part {
        Part::Left(at, _) => left(*at, WINDOWS[2]),
        Part::In(..) => u64::MAX,
    });
    let shown = config.failure_patterns;
    let patterns: Of<'s, ((Text, Id), (Rank, Row))> = inside
        .concat(gone)
        .reduce(|(project, fingerprint), parts| row(project, *fingerprint, parts).into_iter().collect());
    let ranked = patterns.map(|((project, _), ranked)| (project, ranked));
    let first = ranked.reduce(move |_, ranked: &[((Rank, Row), isize)]| {
        ranked.iter().take(shown).map(|((_, row), _)| row.clone()).collect()
    });
    first.map(|(_, row)| row)
}

fn row(project: &Text, fingerprint: Id, parts: &[(Part, isize)]) -> Option<(Rank, Row)> {
    let inside = |window: usize| {
        parts.iter().filter_map(move |(part, _)| match part {
            Part::In(number, place, fact) if *number == window => Some((place, fact)),
            _ => None,
        })
    };
    let day: Vec<&Fact> = inside(2).map(|(_, fact)| fact).collect();
    let [first, last] = [*day.first()?, *day.last()?];
    let gone = parts.iter().filter_map(|(part, _)| match part {
        Part::Left(at, _) => Some(*at),
        Part::In(..) => None,
    });
    let [minutes, hour] = [0, 1].map(|window| inside(window).count() as u64);
    let before = hour - minutes;
    let failure = first.failure();
    let mut row = RowWriter::default();
    row.str(project).str(&fingerprint.to_string()).str(&failure.pattern).str(&failure.kind);
    row.uint(minutes).uint(hour).uint(day.len() as u64);
    // More than twice, less than half of the average of the five tens of minutes before.
    row.str(match () {
        () if minutes >= 3 && 5 * minutes > 2 * before => "rising",
        () if before >= 3 && 10 * minutes < before => "falling",
        () => "steady",
    });
    let all = |of: fn(&Fact) -> Option<&Text>| day.iter().map(|fact| of(fact)).collect::<BTreeSet<_>>();
    let users = all(|fact| fact.origin.user.as_ref());
    let workers = all(|fact| fact.origin.worker.as_ref());
    let tests: BTreeSet<Id> = day.iter().filter_map(|fact| fact.names.test_id).collect();
    let runs: BTreeSet<Id> = day.iter().map(|fact| fact.names.run_id).collect();
    row.uint(tests.len() as u64).uint(runs.len() as u64).uint(users.iter().flatten().count() as u64);
    row.uint(workers.iter().flatten().count() as u64).bool(false);
    let said = [
        ("branch", all(|fact| fact.origin.branch.as_ref())),
        ("framework", all(|fact| fact.origin.framework.as_ref())),
        ("worker", workers),
    ];
    let common = said.iter().filter(|(_, said)| said.len() == 1);
    let common: Vec<String> =
        common.filter_map(|(name, said)| Some(format!("{name}={}", said.first()?.as_ref()?))).collect();
    row.list(common.iter().map(String::as_str));
    row.uint(gone.chain([first.at]).min()?).uint(last.at);
    let test = if first.names.test_name.is_empty() { &first.names.test } else { &first.names.test_name };
    row.opt_str(first.names.test_id.map(|_| &**test)).str(&failure.message);
    Some(((Reverse(minutes), Reverse(last.at), fingerprint), row.finish(&FAILURE_PATTERNS)))
}
