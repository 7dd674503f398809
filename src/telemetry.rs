//! Log lines and metrics of the process.
//!
//! Contract: [`init_logs`] sets up logging to stderr once, as text or JSON; [`metrics`] gives the one recorder's handle,
//! made on first use, which `/metrics` renders. Whoever counts something describes it in its own module.
//!
//! # Cost
//! A histogram holds its samples until the next scrape or upkeep; `serve` does upkeep every [`UPKEEP`].

use crate::config::LogFormat;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// How often histograms are folded when nobody scrapes.
pub const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of histograms of seconds.
const SECONDS_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The logging level cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("`{level}` is not a logging level")]
pub struct BadLevel {
    /// What was asked for.
    pub level: String,
    /// Why not.
    #[source]
    pub source: tracing_subscriber::filter::ParseError,
}

/// Sends log lines at `level` (or by directives such as `info,weir::log=debug`) to stderr. Only the first call of a
/// process counts.
///
/// # Errors
/// A level that is none.
pub fn init_logs(level: &str, format: LogFormat) -> Result<(), BadLevel> {
    let targets: Targets = level.parse().map_err(|source| BadLevel { level: level.to_owned(), source })?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    // A second server in one process (as in tests) keeps the first one's logging.
    let _first = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init();
    Ok(())
}

/// The metrics of this process.
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets(SECONDS_BUCKETS)
            .expect("the list of buckets is not empty")
            .build_recorder();
        let handle = recorder.handle();
        // Somebody else's recorder stays in place; ours then renders nothing.
        let _ours = metrics::set_global_recorder(recorder);
        handle
    })
}
