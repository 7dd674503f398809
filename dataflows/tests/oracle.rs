//! The views equal their oracles at every frame, on random histories, for any workers and any batching.

mod common;

use common::history::{config, history};
use common::oracle::Oracle;
use common::{Feeding, Folded, json, run};
use proptest::prelude::*;
use weir_dataflows::output::Released;
use weir_schemas::row::Row;
use weir_schemas::view::{VIEWS, View};

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

/// Whether `released` says, view by view, what the oracle says of `ticks`: at the end of each frame, and just before it at
/// the last whole second for which there was no frame, so that nothing had changed.
fn check(oracle: &Oracle, released: &[Released]) -> Result<(), TestCaseError> {
    let mut folded = Folded::new();
    for released in released {
        let quiet = (released.frame.upper - 1) / 1_000 * 1_000;
        if folded.time > 0 && quiet > folded.time {
            assert_all(oracle, &folded, quiet)?;
        }
        folded.try_apply(released).map_err(TestCaseError::fail)?;
        assert_all(oracle, &folded, folded.time)?;
    }
    Ok(())
}

fn assert_all(oracle: &Oracle, folded: &Folded, time: u64) -> Result<(), TestCaseError> {
    VIEWS.iter().try_for_each(|view| assert_rows(view, time, folded.rows(view), oracle.rows(view, time)))
}

proptest! {
    #![proptest_config(cases(150, 2_000))]

    #[test]
    fn views_equal_their_oracles_at_every_frame(
        seed: u64, length in 1usize..60, workers in prop::sample::select(vec![1usize, 2, 4]), ticks_a_step in 1usize..12,
    ) {
        let ticks = history(seed, length);
        check(&Oracle::new(&config(), &ticks), &run(&config(), &ticks, Feeding { workers, ticks_a_step, seed }))?;
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
