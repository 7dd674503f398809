//! What each hour of a soak used: resident memory, and CPU a tick.
//!
//! Contract: [`Hours::sample`] once a tick; then medians and 95th percentiles by simulated hour, as CSV and as [`Verdict`]. The
//! *spread* of CPU a tick is what the run itself shows between hours that had the same to do: of each hour of the day, by how
//! much its median differs between the three earlier days, as a share of their mean; the middle one of these 24 shares.

use std::fmt::Write as _;

/// Hours of a day.
const DAY: usize = 24;
/// Days that are compared, and as many before them.
const DAYS: usize = 3;
/// By how much the memory of the last days may differ from that of those before.
const MEMORY_SHARE_MAX: f64 = 0.05;

/// One hour.
#[derive(Clone, Copy)]
pub(crate) struct Hour {
    /// Of its ticks: the median and the 95th percentile of resident bytes.
    pub(crate) resident: [u64; 2],
    /// And of CPU, in ns.
    pub(crate) cpu_ns: [u64; 2],
    pub(crate) events: u64,
}

/// All hours so far.
#[derive(Default)]
pub(crate) struct Hours {
    pub(crate) hours: Vec<Hour>,
    resident: Vec<u64>,
    cpu_ns: Vec<u64>,
    events: u64,
}

/// Days 7 to 9 against days 10 to 12, or whatever the last six are.
pub(crate) struct Verdict {
    pub(crate) resident: [f64; 2],
    pub(crate) cpu_ns: [f64; 2],
    pub(crate) spread: f64,
}

impl Hours {
    pub(crate) fn sample(&mut self, resident: u64, cpu_ns: u64, events: u64) {
        self.resident.push(resident);
        self.cpu_ns.push(cpu_ns);
        self.events += events;
    }

    /// Ends an hour.
    pub(crate) fn close(&mut self) {
        let events = std::mem::take(&mut self.events);
        let hour = Hour { resident: marks(&mut self.resident), cpu_ns: marks(&mut self.cpu_ns), events };
        self.hours.push(hour);
    }

    pub(crate) fn csv(&self) -> String {
        let mut text =
            String::from("hour,events,resident_bytes_p50,resident_bytes_p95,cpu_ns_a_tick_p50,cpu_ns_a_tick_p95\n");
        for (number, Hour { resident, cpu_ns, events }) in self.hours.iter().enumerate() {
            let [memory, cpu] = [resident, cpu_ns].map(|[middle, high]| format!("{middle},{high}"));
            writeln!(text, "{number},{events},{memory},{cpu}").expect("a string takes everything");
        }
        text
    }

    /// `None` when there are less than six whole days.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let first = (self.hours.len() / DAY).checked_sub(2 * DAYS)? * DAY;
        let days = &self.hours[first..first + 2 * DAYS * DAY];
        let mean = |of: fn(&Hour) -> u64| {
            [&days[..DAYS * DAY], &days[DAYS * DAY..]]
                .map(|days| days.iter().map(|hour| of(hour) as f64).sum::<f64>() / days.len() as f64)
        };
        let mut shares: Vec<f64> =
            (0..DAY).map(|hour| spread(days[..DAYS * DAY].iter().skip(hour).step_by(DAY))).collect();
        shares.sort_by(f64::total_cmp);
        Some(Verdict {
            resident: mean(|hour| hour.resident[0]),
            cpu_ns: mean(|hour| hour.cpu_ns[0]),
            spread: shares[shares.len() / 2],
        })
    }
}

impl Verdict {
    pub(crate) fn ratios(&self) -> [f64; 2] {
        [self.resident, self.cpu_ns].map(|[before, after]| after / before)
    }

    /// Whether memory and CPU stayed what they were. CPU may become less.
    pub(crate) fn flat(&self) -> bool {
        let [resident, cpu] = self.ratios();
        (resident - 1.0).abs() <= MEMORY_SHARE_MAX && cpu - 1.0 <= self.spread
    }
}

/// By how much the medians of some hours differ, as a share of their mean.
fn spread<'a>(hours: impl Iterator<Item = &'a Hour>) -> f64 {
    let medians: Vec<f64> = hours.map(|hour| hour.cpu_ns[0] as f64).collect();
    let (least, most) = medians.iter().fold((f64::MAX, 0.0_f64), |(least, most), ns| (least.min(*ns), most.max(*ns)));
    (most - least) * medians.len() as f64 / medians.iter().sum::<f64>()
}

/// The median and the 95th percentile; empties what it is given.
fn marks(values: &mut Vec<u64>) -> [u64; 2] {
    values.sort_unstable();
    let at = |percent: usize| values.get(values.len() * percent / 100).copied().unwrap_or(0);
    let marks = [at(50), at(95)];
    values.clear();
    marks
}
