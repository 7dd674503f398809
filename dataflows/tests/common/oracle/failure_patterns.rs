//! The view `failure_patterns`: from attempts that failed, with what found no room in the row `other`.

use super::admission::HOUR;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::facts::{AttemptFact, Failure};
use weir_dataflows::input::Text;
use weir_dataflows::views::failure_patterns::OTHER;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::FAILURE_PATTERNS;

/// When an occurrence is no longer within 10 min or 24 h.
fn left(at: u64, window: u64) -> u64 {
    let pane = window / 60;
    (at / pane + 1) * pane + window
}

/// One failing attempt: its fact, when it was told, when it was taken back.
type Lived<'a> = (&'a AttemptFact, u64, Option<u64>);

/// A pattern's lives since it last got in; those of a project that found no room are together under [`OTHER`].
type Held<'a> = BTreeMap<(Text, Id, usize), Vec<Lived<'a>>>;

/// Attempts, and failures of runs themselves by their events, in order.
fn order(fact: &AttemptFact) -> (u64, Id, Id, u32, u64) {
    let of_run = |failure: &Failure| Id::of(&[&failure.stream, &failure.event]);
    let test = fact.names.test_id.or(fact.failure.as_deref().map(of_run)).unwrap_or_default();
    (fact.at, fact.names.run_id, test, fact.attempt, fact.came)
}

/// All that the view looks at in an attempt.
fn occurrence(fact: &AttemptFact) -> impl Ord + '_ {
    (&fact.names, order(fact), &fact.failure, &fact.origin)
}

/// Additions and removals put together, but those of one tick that leave everything as it was.
fn lived(updates: &[(AttemptFact, u64, i64)]) -> Vec<Lived<'_>> {
    let mut all: Vec<Lived<'_>> = Vec::new();
    for tick in updates.chunk_by(|a, b| a.1 == b.1) {
        let failing = |sign: i64| tick.iter().filter(move |(fact, _, diff)| *diff == sign && fact.failure.is_some());
        let mut added: Vec<&AttemptFact> = failing(1).map(|(fact, ..)| fact).collect();
        for (fact, time, _) in failing(-1) {
            if let Some(same) = added.iter().position(|other| occurrence(other) == occurrence(fact)) {
                added.remove(same);
                continue;
            }
            let there = |(other, _, taken): &&mut Lived<'_>| taken.is_none() && occurrence(other) == occurrence(fact);
            all.iter_mut().find(there).expect("it came before it left").2 = Some(*time);
        }
        all.extend(added.into_iter().map(|fact| (fact, tick[0].1, None)));
    }
    all
}

fn lives<'a>(updates: &'a [(AttemptFact, u64, i64)], config: &Config) -> Held<'a> {
    // What came too late is not seen, nor what was taken back at its own tick.
    let seen = |(fact, came, withdrawn): &Lived<'_>| left(fact.at, 24 * HOUR) > *came && *withdrawn != Some(*came);
    let mut all: Vec<Lived<'_>> = lived(updates).into_iter().filter(seen).collect();
    all.sort_by_key(|(fact, came, _)| (*came, &fact.names.project, order(fact)));
    let mut patterns: Held<'_> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for (number, life) in all.into_iter().enumerate() {
        let (project, fingerprint) =
            (Arc::clone(&life.0.names.project), life.0.failure.as_ref().expect("filtered").fingerprint);
        // As of the cadence point before its tick: (in the 24 h, by last news).
        let point = life.1.div_ceil(1_000) * 1_000 - 1_000;
        let mut bucket: Vec<(bool, u64, Id, usize)> = Vec::new();
        for (key, lives) in patterns.iter().filter(|(key, _)| !gone.contains(*key)) {
            if key.0 != project || key.1 == OTHER || key.1.0 % 256 != fingerprint.0 % 256 {
                continue;
            }
            let news = lives.iter().map(|life| life.1).max().expect("made with one");
            let present = |life: &Lived<'_>| {
                life.1 > point || life.2.is_none_or(|taken| taken > point) && left(life.0.at, 24 * HOUR) > point
            };
            let present = lives.iter().any(present);
            if present || remembered(lives, point, config.pattern_memory_ms).is_some() {
                bucket.push((present, news, key.1, key.2));
            }
        }
        bucket.sort();
        let mine = bucket.iter().find(|(.., id, _)| *id == fingerprint).map(|held| (held.2, held.3));
        let oldest = bucket.first().filter(|held| !held.0).map(|held| (held.2, held.3));
        let (id, place) = match (mine, oldest) {
            (Some(mine), _) => mine,
            (None, _) if bucket.len() < config.patterns_held / 256 => (fingerprint, number),
            (None, Some(left)) => {
                gone.insert((Arc::clone(&project), left.0, left.1));
                (fingerprint, number)
            }
            (None, None) => (OTHER, 0),
        };
        patterns.entry((project, id, place)).or_default().push(life);
    }
    patterns
}

/// The first time at which what expired is still remembered: it is forgotten when nothing came for the memory's length.
fn remembered(lives: &[Lived<'_>], now: u64, memory: u64) -> Option<u64> {
    let mut expired: Vec<(u64, u64)> = Vec::new(); // (when it left, its time)
    let mut came: Vec<u64> = lives.iter().map(|life| life.1).collect();
    came.sort_unstable();
    for (fact, _, withdrawn) in lives {
        let leaves = left(fact.at, 24 * HOUR);
        if leaves <= now && withdrawn.is_none_or(|withdrawn| withdrawn >= leaves) {
            expired.push((leaves, fact.at));
        }
    }
    // Forgotten at the first time, not before the memory's end after the last news, at which nothing is in the 24 h.
    let forgotten = came.iter().enumerate().filter_map(|(index, news)| {
        let present = lives
            .iter()
            .filter(|life| life.1 <= *news)
            .map(|(fact, _, withdrawn)| withdrawn.unwrap_or(u64::MAX).min(left(fact.at, 24 * HOUR)));
        let empty = present.max().unwrap_or(0).max(*news + memory).next_multiple_of(1_000);
        (empty <= now && came.get(index + 1).is_none_or(|next| *next > empty)).then_some(empty)
    });
    let since = forgotten.max().unwrap_or(0);
    expired.into_iter().filter(|(leaves, _)| *leaves > since).map(|(_, at)| at).min()
}

/// From `trend` to `common`: how many in the last 10 minutes and in the 50 before.
fn write_differences(row: &mut RowWriter, there: &[&AttemptFact], (recent, before): (usize, usize)) {
    let average = before as f64 / 5.0;
    row.str(if recent >= 3 && recent as f64 > 2.0 * average {
        "rising"
    } else if before >= 3 && (recent as f64) < average / 2.0 {
        "falling"
    } else {
        "steady"
    });
    let said = |of: fn(&AttemptFact) -> Option<&Text>| there.iter().map(|fact| of(fact)).collect::<BTreeSet<_>>();
    let tests: BTreeSet<Id> = there.iter().filter_map(|fact| fact.names.test_id).collect();
    let runs: BTreeSet<Id> = there.iter().map(|fact| fact.names.run_id).collect();
    let [users, workers] = [said(|fact| fact.origin.user.as_ref()), said(|fact| fact.origin.worker.as_ref())];
    row.uint(tests.len() as u64).uint(runs.len() as u64);
    row.uint(users.iter().flatten().count() as u64).uint(workers.iter().flatten().count() as u64).bool(false);
    let [branches, frameworks] = [said(|fact| fact.origin.branch.as_ref()), said(|f| f.origin.framework.as_ref())];
    let common = [("branch", branches), ("framework", frameworks), ("worker", workers)].into_iter();
    let common = common.filter_map(|(name, said)| match Vec::from_iter(said)[..] {
        [Some(one)] => Some(format!("{name}={one}")),
        _ => None,
    });
    row.list(common.collect::<Vec<_>>().iter().map(String::as_str));
}

/// The rows at `now`, from all updates up to then.
pub fn rows(updates: &[(AttemptFact, u64, i64)], now: u64, config: &Config) -> BTreeSet<Row> {
    let (mut projects, mut others): (BTreeMap<Text, Vec<_>>, Vec<Row>) = Default::default();
    for ((project, fingerprint, _), lives) in lives(updates, config) {
        let mut there: Vec<&AttemptFact> = lives
            .iter()
            .filter(|(fact, _, withdrawn)| {
                withdrawn.is_none_or(|withdrawn| withdrawn > now) && left(fact.at, 24 * HOUR) > now
            })
            .map(|life| life.0)
            .collect();
        there.sort_by_key(|fact| order(fact));
        let [Some(first), Some(last)] = [there.first(), there.last()] else { continue };
        let within = |window| there.iter().filter(|fact| left(fact.at, window) > now).count();
        let (count, of_hour) = (within(600_000), within(HOUR));
        let seen_at =
            remembered(&lives, now, config.pattern_memory_ms).map_or(first.at, |expired| expired.min(first.at));
        let failure = first.failure.as_ref().expect("filtered");
        let mut row = RowWriter::default();
        match fingerprint {
            OTHER => row.str(&project).str("other").str("other").str(""),
            _ => row.str(&project).str(&fingerprint.to_string()).str(&failure.pattern).str(&failure.kind),
        };
        row.uint(count as u64).uint(of_hour as u64).uint(there.len() as u64);
        write_differences(&mut row, &there, (count, of_hour - count));
        row.uint(seen_at).uint(last.at);
        let names = &first.names;
        let test = if names.test_name.is_empty() { &names.test } else { &names.test_name };
        row.opt_str((names.test_id.is_some()).then_some(&**test)).str(&failure.message);
        if fingerprint == OTHER {
            others.push(row.finish(&FAILURE_PATTERNS));
            continue;
        }
        let place = (Reverse(count), Reverse(last.at), fingerprint);
        projects.entry(project).or_default().push((place, row.finish(&FAILURE_PATTERNS)));
    }
    for rows in projects.values_mut() {
        rows.sort();
        rows.truncate(config.failure_patterns);
    }
    projects.into_values().flatten().map(|(_, row)| row).chain(others).collect()
}
