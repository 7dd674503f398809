//! Drives the whole dataflow as the engine does, in this process and without a log.
//!
//! Contract: each worker feeds the ticks that its own feed gives, in step with the others: every feed gives the same times. A
//! tick is bound as soon as it is fed. At most `ahead_ms` are fed ahead of the last frame that left, as the engine's back-pressure
//! would have it. [`drive`] returns when the frame of `config.until - 1`, the last tick, has left.

use super::operators::Operators;
use super::process::thread_cpu_time;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use weir_dataflows::Config;
use weir_dataflows::control::ControlInput;
use weir_dataflows::graph::{Inputs, build};
use weir_dataflows::input::Input;
use weir_dataflows::output::Released;

/// What one worker feeds at one tick.
#[derive(Default)]
pub(crate) struct Tick {
    pub(crate) at: u64,
    pub(crate) inputs: Vec<Input>,
    pub(crate) control: Vec<ControlInput>,
}

/// How to drive.
#[derive(Clone)]
pub(crate) struct Course {
    pub(crate) workers: usize,
    /// Its `until` is the last tick + 1.
    pub(crate) config: Config,
    pub(crate) first: u64,
    pub(crate) ahead_ms: u64,
    /// Whether timely tells what each operator does, which costs a little.
    pub(crate) watched: bool,
}

/// What a worker did.
pub(crate) struct Worked {
    /// The processor time of its thread, from the first tick to the last frame.
    pub(crate) cpu: Duration,
    /// What its operators did, if watched.
    pub(crate) operators: Operators,
}

/// Feeds what `feed` gives to each worker, by its index, and on its thread; `sink` sees every frame.
pub(crate) fn drive<F: Iterator<Item = Tick>>(
    course: &Course,
    feed: impl Fn(usize) -> F + Send + Sync + 'static,
    sink: impl FnMut(Released) + Send + 'static,
) -> Vec<Worked> {
    let released = Arc::new(AtomicU64::new(course.first));
    let (sink, course) = (Arc::new(Mutex::new(sink)), course.clone());
    let guards = timely::execute(timely::Config::process(course.workers), move |worker| {
        let operators = Rc::new(RefCell::new(Operators::default()));
        if course.watched {
            super::operators::watch(worker, &operators);
        }
        let (sink, done) = (Arc::clone(&sink), Arc::clone(&released));
        let mut inputs = build(
            worker,
            &course.config,
            Box::new(move |frame| {
                let upper = frame.frame.upper;
                sink.lock().expect("unpoisoned")(frame);
                done.store(upper, Ordering::Release);
            }),
        );
        let index = worker.index();
        let mut wait = |until: u64| {
            while released.load(Ordering::Acquire) < until {
                worker.step_or_park(Some(Duration::from_micros(200)));
            }
            worker.step();
        };
        let feed = feed(index);
        let begin = thread_cpu_time();
        for tick in feed {
            let at = tick.at;
            put(&mut inputs, tick, index);
            wait(at.saturating_sub(course.ahead_ms).max(course.first));
        }
        wait(course.config.until - 1);
        let cpu = thread_cpu_time() - begin;
        if let Some(mut log) = worker.log_register() {
            log.flush();
        }
        (cpu, operators.take())
    })
    .expect("timely starts");
    let results = guards.join().into_iter().map(|result| result.expect("no worker panics"));
    results.map(|(cpu, operators)| Worked { cpu, operators }).collect()
}

/// Feeds a tick, and closes it.
fn put(inputs: &mut Inputs, tick: Tick, worker: usize) {
    let at = tick.at;
    advance(inputs, at);
    tick.inputs.into_iter().for_each(|input| inputs.events.send((input, at, 1)));
    tick.control.into_iter().for_each(|record| inputs.control.send((record, at, 1)));
    if worker == 0 {
        inputs.commits.send(at);
    }
    advance(inputs, at + 10);
}

fn advance(inputs: &mut Inputs, at: u64) {
    inputs.events.advance_to(at);
    inputs.silence.advance_to(at);
    inputs.control.advance_to(at);
    inputs.questions.advance_to(at);
    inputs.commits.advance_to(at);
}
