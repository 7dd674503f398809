//! `performance`, `live_metrics` and `flaky_tests` equal their oracles where there is no room for all: who gets in, who makes room, from
//! when on what happened is whose.

mod common;

use common::crowd::crowd;
use common::history::config;
use common::oracle::Oracle;
use common::{Feeding, Folded, json, run};
use std::collections::BTreeSet;
use weir_dataflows::Config;
use weir_schemas::view::{FLAKY_TESTS, LIVE_METRICS, PERFORMANCE, View};

/// Room for one, two or three in a bucket, and for as many metrics.
fn settings(seed: u64) -> Config {
    let share = 1 + usize::try_from(seed % 3).expect("small");
    Config {
        live_scopes: 256 * share,
        performance_scopes: 256 * share,
        performance_metrics: share,
        performance_said: 40,
        flaky_tests: 256 * share,
        event_id_memory_ms: 200_000_000,
        stream_memory_ms: 200_000_000,
        ..config()
    }
}

/// Compares a view with its oracle; says whether it shows the row of all that found no room.
fn check(oracle: &Oracle, folded: &Folded, view: &View, seed: u64) -> bool {
    let (mut found, mut expected) = (folded.rows(view), oracle.rows(view, folded.time));
    found.sort();
    expected.sort();
    if found != expected {
        let text = |rows: &[_]| rows.iter().map(|row| json(row, view)).collect::<BTreeSet<String>>();
        let (found, expected) = (text(&found), text(&expected));
        let only = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>();
        panic!(
            "{} at {} of history {seed}: {:#?} is shown and {:#?} is right",
            view.name,
            folded.time,
            only(&found, &expected),
            only(&expected, &found)
        );
    }
    found.iter().any(|row| json(row, view).contains(r#""web","suite","","#))
}

#[test]
fn who_finds_room_equals_the_oracles_where_many_want_it() {
    let mut crowded = [0, 0];
    for seed in 0_u64..if std::env::var_os("WEIR_LONG").is_some() { 2_000 } else { 120 } {
        let ticks = crowd(seed, 60);
        let (oracle, mut folded) = (Oracle::new(&settings(seed), &ticks), Folded::new());
        let workers = [1, 2, 4][usize::try_from(seed / 3 % 3).expect("small")];
        let ticks_a_step = 1 + usize::try_from(seed % 7).expect("small");
        for released in run(&settings(seed), &ticks, Feeding { workers, ticks_a_step, seed }) {
            folded.apply(&released);
            for (view, crowded) in [&PERFORMANCE, &LIVE_METRICS].into_iter().zip(&mut crowded) {
                *crowded += usize::from(check(&oracle, &folded, view, seed));
            }
            check(&oracle, &folded, &FLAKY_TESTS, seed);
        }
    }
    assert!(crowded.iter().all(|times| *times > 100), "there was room for all but {crowded:?} times");
}
