//! `flaky_tests` equals its oracle on histories in which outcomes pile up, and they reach all that a verdict can say.

mod common;

use common::history::config;
use common::oracle::Oracle;
use common::steady::steady;
use common::{Feeding, Folded, Tick, json, run};
use std::collections::BTreeSet;
use weir_dataflows::Config;
use weir_schemas::view::FLAKY_TESTS;

fn settings() -> Config {
    Config { flaky_tests: 16_384, event_id_memory_ms: 200_000_000, stream_memory_ms: 200_000_000, ..config() }
}

/// Compares the view with its oracle after every frame, and gives what it said: state and reason.
fn check(ticks: &[Tick], feeding: Feeding) -> BTreeSet<String> {
    let (oracle, mut folded, mut said) = (Oracle::new(&settings(), ticks), Folded::new(), BTreeSet::new());
    for released in run(&settings(), ticks, feeding) {
        folded.apply(&released);
        let expected: Vec<String> =
            oracle.rows(&FLAKY_TESTS, folded.time).iter().map(|row| json(row, &FLAKY_TESTS)).collect();
        let mut found = folded.json(&FLAKY_TESTS);
        let mut sorted = expected.clone();
        found.sort();
        sorted.sort();
        assert_eq!(found, sorted, "{feeding:?} at {}", folded.time);
        for row in folded.rows(&FLAKY_TESTS) {
            let word = |index| format!("{:?}", row.column(index));
            said.insert(format!("{} {}", word(5), word(6)));
        }
    }
    said
}

#[test]
fn verdicts_equal_their_oracle_where_outcomes_pile_up() {
    let mut said = BTreeSet::new();
    for seed in 0_u64..if std::env::var_os("WEIR_LONG").is_some() { 600 } else { 60 } {
        let workers = [1, 2, 4][usize::try_from(seed % 3).expect("small")];
        let ticks_a_step = 1 + usize::try_from(seed % 7).expect("small");
        said.append(&mut check(&steady(seed, 150), Feeding { workers, ticks_a_step, seed }));
    }
    // healthy; flaky by retry, commit and flips; broken; fixed by passes and by days.
    assert_eq!(said.len(), 7, "{said:?}");
}
