//! A dataflow that is written down at a whole second and taken up by another one goes on the same, for any number of workers
//! before and after.

mod common;

use common::history::{config, history};
use common::{Feeding, Folded, Tick, feed_on, run};
use std::sync::{Arc, Mutex};
use weir_dataflows::Config;
use weir_dataflows::graph::{build, build_from};
use weir_dataflows::output::{Cut, Released};
use weir_schemas::view::VIEWS;

/// A part of a state: the worker that wrote it, the operator, and what it wrote.
type Part = (usize, String, Vec<u8>);

/// Feeds `ticks`, none of which is after `cut`, and writes the state down there, while those after it, `rest`, are fed.
fn write(config: &Config, ticks: &[Tick], (cut, rest): (u64, &[Tick]), feeding: Feeding) -> Vec<Part> {
    let parts: Arc<Mutex<Vec<Part>>> = Arc::default();
    let (config, ticks, rest, out) = (config.clone(), ticks.to_vec(), rest.to_vec(), Arc::clone(&parts));
    let guards = timely::execute(timely::Config::process(feeding.workers), move |worker| {
        let mut inputs = build(worker, &config, Box::new(drop));
        feed_on(worker, &mut inputs, &ticks, feeding);
        inputs.advance_to(cut + 1);
        inputs.commits.advance_to(cut + 1);
        while inputs.states.passed() <= cut {
            worker.step();
        }
        let index = worker.index();
        let hand = |name: &str, part| out.lock().expect("unpoisoned").push((index, name.to_owned(), part));
        inputs.states.freeze(hand);
        // What is written after a tick is as it was before all of them.
        let (first, rest) = rest.split_at(rest.len() / 2);
        feed_on(worker, &mut inputs, first, feeding);
        let all = inputs.states.write_on(hand);
        feed_on(worker, &mut inputs, rest, feeding);
        for _ in 0..10 {
            worker.step();
        }
        while !(all || inputs.states.write_on(hand)) {}
        // Dropped, not closed: closing would fire every wake-up that is to come.
        worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
    });
    drop(guards.expect("timely starts"));
    let mut parts = parts.lock().expect("unpoisoned");
    std::mem::take(&mut *parts)
}

/// Takes the state up and feeds `ticks`, all of which are after it.
fn go_on(config: &Config, parts: &[Part], cut: &Cut, ticks: &[Tick], feeding: Feeding) -> Vec<Released> {
    let released: Arc<Mutex<Vec<Released>>> = Arc::default();
    let (config, parts, cut, ticks) = (config.clone(), parts.to_vec(), cut.clone(), ticks.to_vec());
    let out = Arc::clone(&released);
    let guards = timely::execute(timely::Config::process(feeding.workers), move |worker| {
        let out = Arc::clone(&out);
        let sink = Box::new(move |frame| out.lock().expect("unpoisoned").push(frame));
        let mut inputs = build_from(worker, &config, Some(cut.clone()), sink);
        for (of, name, part) in &parts {
            inputs.states.take(name, part, *of).expect("can be read");
        }
        inputs.states.go_on();
        feed_on(worker, &mut inputs, &ticks, feeding);
    });
    drop(guards.expect("timely starts"));
    let mut released = released.lock().expect("unpoisoned");
    std::mem::take(&mut *released)
}

/// The frames that end after `cut`, none of which tells of anything before it; and all digests there.
fn after(cut: u64, released: &[Released]) -> (Vec<Released>, Cut) {
    let mut folded = Folded::new();
    let (before, after): (Vec<Released>, Vec<Released>) =
        released.iter().cloned().partition(|released| released.frame.upper <= cut);
    before.iter().for_each(|released| folded.apply(released));
    let mut after = after;
    // What is asked is no part of the log, and is lost with whoever was to answer.
    after.iter_mut().for_each(|released| released.answers.clear());
    if let Some(first) = after.first_mut() {
        first.frame.lower = first.frame.lower.max(cut);
    }
    (after, Cut { tick: cut, digests: folded.digests })
}

/// Whether both say the same; if not, what of which view.
fn assert_same(found: &Released, expected: &Released, which: &str) {
    let span = |released: &Released| (released.frame.lower, released.frame.upper);
    assert_eq!(span(found), span(expected), "{which}");
    for ((found, expected), view) in found.frame.views.iter().zip(&expected.frame.views).zip(VIEWS) {
        assert_eq!(found, expected, "{which}: {}", view.name);
    }
    assert_eq!(found, expected, "{which}");
}

#[test]
fn a_dataflow_that_is_written_down_and_taken_up_goes_on_the_same() {
    let long = std::env::var_os("WEIR_LONG").is_some();
    let mut moved = 0;
    for seed in 0..if long { 2_000 } else { 60 } {
        let ticks = history(seed, 40);
        let until = ticks.last().map_or(0, |tick| tick.at) + 1;
        let config = Config { until, ..config() };
        let workers = |n: u64| [1, 2, 4][usize::try_from((seed / n) % 3).expect("small")];
        let before = Feeding { workers: workers(1), ticks_a_step: 3, seed };
        let whole = run(&config, &ticks, before);
        let span = (ticks[0].at, until);
        let cut = (span.0 + (span.1 - span.0) * (1 + seed % 7) / 8).next_multiple_of(1_000);
        let (first, rest) = ticks.split_at(ticks.partition_point(|tick| tick.at <= cut));
        if rest.is_empty() {
            continue;
        }
        let parts = write(&config, first, (cut, rest), before);
        let (expected, cut) = after(cut, &whole);
        for workers in [workers(1), workers(3)] {
            let feeding = Feeding { workers, ..before };
            let mut found = go_on(&config, &parts, &cut, rest, feeding);
            found.iter_mut().for_each(|released| released.answers.clear());
            let which = format!("history {seed}, from {} to {workers} workers at {}", before.workers, cut.tick);
            for (found, expected) in found.iter().zip(&expected) {
                assert_same(found, expected, &which);
            }
            assert_eq!(found.len(), expected.len(), "{which}");
            moved += usize::from(workers != before.workers);
        }
    }
    assert!(moved > 10, "histories went on with other numbers of workers: {moved}");
}
