//! The processor time of this process by stage, by the names of its threads.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Clock ticks a second in `/proc` (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// Seconds by stage. Threads that have ended are not counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stages(BTreeMap<&'static str, f64>);

/// The stage that a thread belongs to.
fn stage(thread: &str) -> &'static str {
    match thread {
        // Of the clients of Weir and of the bench's own producer: the kernel keeps 15 characters.
        name if name.starts_with("rdk:") || name.starts_with("producer poll") => "Kafka clients",
        name if name.starts_with("engine-sequence") => "sequencer",
        name if name.starts_with("timely") || name.starts_with("worker") => "decode and dataflow",
        name if name.starts_with("engine-output") => "output",
        name if name.starts_with("engine-binding") => "bindings",
        _ => "producing and waiting",
    }
}

impl Stages {
    pub(crate) fn now() -> Stages {
        let mut seconds = BTreeMap::<&'static str, f64>::new();
        for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
            // After the name, which is in brackets, user and system time are the 12th and 13th.
            let stat = read("stat");
            let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
            let used: f64 =
                after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
            *seconds.entry(stage(read("comm").trim())).or_default() += used / TICKS;
        }
        Stages(seconds)
    }

    pub(crate) fn since(&self, before: &Stages) -> Stages {
        let since = |(stage, seconds): (&&'static str, &f64)| (*stage, seconds - before.0.get(stage).unwrap_or(&0.0));
        Stages(self.0.iter().map(since).collect())
    }

    /// Each stage, times a factor.
    pub(crate) fn line(&self, factor: f64) -> String {
        let mut line = String::new();
        for (stage, seconds) in &self.0 {
            write!(line, "{}{stage} {:.2}", if line.is_empty() { "" } else { ", " }, seconds * factor)
                .expect("a string takes everything");
        }
        line
    }
}
