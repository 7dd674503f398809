//! Runs histories through the dataflow and folds what comes out.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod crowd;
pub mod history;
pub mod oracle;
pub mod steady;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use timely::worker::Worker;
use weir_dataflows::Config;
use weir_dataflows::control::ControlInput;
use weir_dataflows::dry_run::Question;
use weir_dataflows::graph::{Inputs, build};
use weir_dataflows::input::Input;
use weir_dataflows::output::{Released, Sink};
use weir_schemas::row::Row;
use weir_schemas::update::Digest;
use weir_schemas::view::{VIEWS, View, view_index};

/// What happens at one bound tick.
#[derive(Clone, Debug, Default)]
pub struct Tick {
    pub at: u64,
    pub inputs: Vec<Input>,
    /// A change of the silent clock.
    pub paused: Option<bool>,
    /// What people say.
    pub control: Vec<ControlInput>,
    /// What is asked.
    pub questions: Vec<Question>,
}

/// How a history is fed: what must not show in the result.
#[derive(Clone, Copy, Debug)]
pub struct Feeding {
    pub workers: usize,
    /// Ticks fed before the workers are stepped.
    pub ticks_a_step: usize,
    /// Mixes which worker is given which input.
    pub seed: u64,
}

impl Feeding {
    pub const SIMPLE: Feeding = Feeding { workers: 1, ticks_a_step: 1, seed: 0 };
}

/// Feeds `ticks` and gives all frames, in order.
pub fn run(config: &Config, ticks: &[Tick], feeding: Feeding) -> Vec<Released> {
    let released: Arc<Mutex<Vec<Released>>> = Arc::default();
    let (config, ticks, out) = (config.clone(), ticks.to_vec(), Arc::clone(&released));
    let guards = timely::execute(timely::Config::process(feeding.workers), move |worker| {
        let out = Arc::clone(&out);
        feed(worker, &config, &ticks, feeding, Box::new(move |frame| out.lock().expect("unpoisoned").push(frame)));
    })
    .expect("timely starts");
    drop(guards);
    let mut released = released.lock().expect("unpoisoned");
    std::mem::take(&mut *released)
}

/// One worker's part: builds the dataflow, feeds this worker's share of `ticks` and closes the inputs; the steps that follow
/// bring it to its end.
pub fn feed(worker: &mut Worker, config: &Config, ticks: &[Tick], feeding: Feeding, sink: Sink) {
    // Nothing past the last tick is wanted: closing the inputs would fire every wake-up that is still to come.
    let until = ticks.last().map_or(0, |tick| tick.at) + 1;
    let mut inputs = build(worker, &Config { until, ..config.clone() }, sink);
    feed_on(worker, &mut inputs, ticks, feeding);
}

/// One worker's part of feeding `ticks`, which does not close the inputs.
pub fn feed_on(worker: &mut Worker, inputs: &mut Inputs, ticks: &[Tick], feeding: Feeding) {
    let (index, peers) = (worker.index(), worker.peers());
    for (count, tick) in ticks.iter().enumerate() {
        inputs.advance_to(tick.at);
        inputs.commits.advance_to(tick.at);
        for (n, input) in tick.inputs.iter().enumerate() {
            let mixed = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ feeding.seed;
            if (mixed >> 7) as usize % peers == index {
                inputs.events.send((input.clone(), tick.at, 1));
            }
        }
        for (n, said) in tick.control.iter().enumerate() {
            if (n + 1) % peers == index {
                inputs.control.send((said.clone(), tick.at, 1));
            }
        }
        for (n, question) in tick.questions.iter().enumerate() {
            if (n + count) % peers == index {
                inputs.questions.send((question.clone(), tick.at, 1));
            }
        }
        if index == 0 {
            if let Some(paused) = tick.paused {
                inputs.silence.send((paused, tick.at, 1));
            }
            inputs.commits.send(tick.at);
        }
        if count % feeding.ticks_a_step == 0 {
            inputs.events.flush();
            inputs.silence.flush();
            inputs.control.flush();
            inputs.questions.flush();
            inputs.commits.flush();
            worker.step();
        }
    }
}

/// All views, folded from frames.
#[derive(Default)]
pub struct Folded {
    pub views: Vec<BTreeMap<Vec<u8>, Row>>,
    pub digests: Vec<Digest>,
    pub time: u64,
}

impl Folded {
    pub fn new() -> Self {
        Folded { views: vec![BTreeMap::new(); VIEWS.len()], digests: vec![Digest::default(); VIEWS.len()], time: 0 }
    }

    /// Applies a frame that must be sound.
    pub fn apply(&mut self, released: &Released) {
        self.try_apply(released).expect("sound");
    }

    /// Applies a frame; says if it does not follow, says anything twice, or has digests that are not those of the state.
    pub fn try_apply(&mut self, released: &Released) -> Result<(), String> {
        let frame = &released.frame;
        if frame.lower != self.time {
            return Err(format!("a frame from {} does not follow {}", frame.lower, self.time));
        }
        self.time = frame.upper;
        for (((rows, digest), part), view) in self.views.iter_mut().zip(&mut self.digests).zip(&frame.views).zip(VIEWS)
        {
            for update in &part.updates {
                let key = update.row.prefix(view.key).to_vec();
                digest.apply(&update.row, update.diff);
                if update.diff < 0 && rows.remove(&key).as_ref() != Some(&update.row) {
                    return Err(format!("{} at {}: −1 of a row that is not there", view.name, frame.upper));
                }
                if update.diff > 0 && rows.insert(key, update.row.clone()).is_some() {
                    return Err(format!("{} at {}: +1 over a row", view.name, frame.upper));
                }
            }
            if *digest != part.digest {
                return Err(format!("{} at {}: not the digest of its rows", view.name, frame.upper));
            }
        }
        Ok(())
    }

    /// The rows of a view, in key order.
    pub fn rows(&self, view: &View) -> Vec<Row> {
        self.views[view_index(view.name).expect("a view")].values().cloned().collect()
    }

    /// The rows of a view as JSON, one a line.
    pub fn json(&self, view: &View) -> Vec<String> {
        self.rows(view).iter().map(|row| json(row, view)).collect()
    }
}

pub fn json(row: &Row, view: &View) -> String {
    let mut out = String::new();
    row.write_json(view, &mut out);
    out
}
