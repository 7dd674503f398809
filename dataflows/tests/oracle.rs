//! The views of runs equal their oracles at every frame, on random histories, for any workers and any batching.

mod common;

use common::history::{config, history};
use common::oracle;
use common::{Feeding, Folded, Tick, json, run};
use proptest::prelude::*;
use weir_schemas::row::Row;
use weir_schemas::view::{MISSING, RUN_PROGRESS, SUITE_PROGRESS, TEST_RESULTS, View};

/// Histories to try: the long form with WEIR_LONG.
fn cases(short: u32, long: u32) -> ProptestConfig {
    let cases = if std::env::var_os("WEIR_LONG").is_some() { long } else { short };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn assert_rows(view: &View, time: u64, found: Vec<Row>, expected: Vec<Row>) -> Result<(), TestCaseError> {
    let text = |rows: Vec<Row>| {
        let mut lines: Vec<String> = rows.iter().map(|row| json(row, view)).collect();
        lines.sort();
        lines
    };
    prop_assert_eq!(text(found), text(expected), "{} at {}", view.name, time);
    Ok(())
}

fn check(ticks: &[Tick], feeding: Feeding) -> Result<(), TestCaseError> {
    let config = config();
    let judged = oracle::admission(&config, ticks);
    let mut folded = Folded::new();
    for released in run(&config, ticks, feeding) {
        folded.apply(&released);
        let runs = oracle::runs(&config, ticks, &judged, folded.time);
        assert_rows(&RUN_PROGRESS, folded.time, folded.rows(&RUN_PROGRESS), oracle::run_progress(&runs))?;
        assert_rows(&SUITE_PROGRESS, folded.time, folded.rows(&SUITE_PROGRESS), oracle::suite_progress(&runs))?;
        assert_rows(&TEST_RESULTS, folded.time, folded.rows(&TEST_RESULTS), oracle::test_results(&runs))?;
        assert_rows(&MISSING, folded.time, folded.rows(&MISSING), oracle::missing(&runs))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(150, 2_000))]

    #[test]
    fn views_of_runs_equal_their_oracles_at_every_frame(
        seed: u64, length in 1usize..60, workers in prop::sample::select(vec![1usize, 2, 4]), ticks_a_step in 1usize..12,
    ) {
        check(&history(seed, length), Feeding { workers, ticks_a_step, seed })?;
    }

    #[test]
    fn digests_and_rows_do_not_depend_on_workers_or_batching(seed: u64, length in 1usize..80, ticks_a_step in 1usize..12) {
        let ticks = history(seed, length);
        let plain = run(&config(), &ticks, Feeding::SIMPLE);
        for workers in [2, 4] {
            let other = run(&config(), &ticks, Feeding { workers, ticks_a_step, seed });
            prop_assert_eq!(&plain, &other, "{} workers", workers);
        }
    }
}
