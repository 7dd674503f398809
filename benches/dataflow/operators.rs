//! What each operator costs, and so each view, in ns an event.
//!
//! Contract: an operator's time is that between its being scheduled and its coming back, by the clock. On a machine with
//! something else to do that is too long: where the sum is more than the processor time of the workers' threads, all are shown
//! by as much less. What is left otherwise is timely's own and the feeding of input. What makes rows into frames stands under `output` only as
//! far as it is done on worker 0; rows are hashed beside the view that they are of. An operator that stands in no part shows
//! as itself.

use crate::Measured;
use std::collections::BTreeMap;
use std::time::Duration;

/// The views and what they share, each with the operators that do its work.
const PARTS: [(&str, &[&str]); 20] = [
    ("input", &["Input"]),
    ("admission", &["Admission"]),
    ("lives of runs", &["Runs", "RunKinds"]),
    ("gate", &["Gate", "EventKinds"]),
    ("test_results", &["Results", "ResultKinds"]),
    ("failures of runs", &["RunFailures", "RunFailureKinds"]),
    ("suite_progress", &["Sums", "PartsOfRuns", "SuiteProgress", "SuiteKinds"]),
    ("run_progress", &["RunProgress", "RunProgressKinds"]),
    (
        "live_metrics",
        &[
            "LiveMetricsPanes",
            "PanesOfSuites",
            "LiveMetricsGauges",
            "LiveMetrics",
            "LiveMetricsKinds",
            "LiveMetricsOther",
        ],
    ),
    ("coverage", &["Coverage", "CoverageKinds", "CoverageSummary", "CoverageTrend"]),
    (
        "performance",
        &["PerformanceMeasures", "PerformanceLocal", "Performance", "PerformanceKinds", "PerformanceOther"],
    ),
    ("error_stream", &["ErrorStream"]),
    ("failure_patterns", &["FailurePatterns", "FailurePatternsBuckets", "FailurePatternsTop", "FailurePatternsOther"]),
    ("slow_tests", &["Durations", "DurationKinds", "SlowTests", "SlowTestsOthers"]),
    ("flaky_tests", &["FlakyTests", "FlakyKinds", "FlakyUnjudged", "LocalGuards", "Guards"]),
    ("user_activity", &["UserActivity"]),
    ("rejects", &["RejectsLocal", "Rejects"]),
    ("alerts", &["Alerts", "Control", "ControlKinds"]),
    ("output", &["Release"]),
    ("progress of timely", &["weir"]),
];

/// What an operator did on all workers.
#[derive(Clone, Copy, Default)]
struct Cost {
    busy: Duration,
    runs: u64,
    records: u64,
}

/// Prints a table: parts, the dearest first, and in each its operators.
pub(crate) fn show(measured: &Measured) {
    let mut parts = BTreeMap::<String, BTreeMap<String, Cost>>::new();
    for (name, operator) in measured.workers.iter().flat_map(|worked| worked.operators.by_name()) {
        let cost = parts.entry(part(&name)).or_default().entry(name).or_default();
        cost.busy += operator.busy;
        cost.runs += operator.runs;
        cost.records += operator.records;
    }
    let sum = |operators: &BTreeMap<String, Cost>| operators.values().map(|cost| cost.busy).sum::<Duration>();
    let all: Duration = parts.values().map(sum).sum();
    let cpu: Duration = measured.workers.iter().map(|worked| worked.cpu).sum();
    let scale = (cpu.as_secs_f64() / all.as_secs_f64()).min(1.0);
    let ns = |time: Duration| scale * time.as_nanos() as f64 / measured.events as f64;
    let mut sorted: Vec<_> = parts.iter().collect();
    sorted.sort_by_key(|(_, operators)| std::cmp::Reverse(sum(operators)));
    println!("ns an event   share  records an event   runs");
    for (part, operators) in sorted {
        println!(
            "{:9.1}     {:4.1} %                             {part}",
            ns(sum(operators)),
            100.0 * ns(sum(operators)) / ns(all)
        );
        for (name, Cost { busy, runs, records }) in operators {
            let records = *records as f64 / measured.events as f64;
            println!("{:9.1}            {records:12.3}  {runs:10}        {name}", ns(*busy));
        }
    }
    println!(
        "{:9.1} in all operators; the workers' threads used {:.1}; by the clock the operators took {:.1}",
        ns(all),
        cpu.as_nanos() as f64 / measured.events as f64,
        ns(all) / scale,
    );
}

/// The part that an operator, or what it is named after, stands in.
fn part(name: &str) -> String {
    let own = name.rsplit(" of ").next().unwrap_or(name);
    let own = own.rsplit(" to ").next().unwrap_or(own);
    let part = PARTS.iter().find(|(_, operators)| operators.contains(&own));
    part.map_or_else(|| own.to_owned(), |(part, _)| (*part).to_owned())
}
