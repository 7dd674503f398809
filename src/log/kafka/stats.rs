//! What a reader's client measures of itself, for `/metrics`.
//!
//! Contract: [`lag`] and [`fetches`] are called every few seconds, when librdkafka has counted anew
//! (`statistics.interval.ms`). A text of its statistics that is not understood says nothing.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The part of librdkafka's statistics that is told on (STATISTICS.md of librdkafka 2.12).
#[derive(Deserialize)]
struct Statistics {
    brokers: BTreeMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    nodeid: i64,
    rtt: Times,
}

/// In µs.
#[derive(Deserialize)]
struct Times {
    cnt: u64,
    p50: f64,
    p99: f64,
}

/// How long brokers took to answer. A fetch that finds nothing is answered after `fetch.wait.max.ms`.
pub(super) fn fetches(topic: &str, statistics: &str) {
    let Ok(Statistics { brokers }) = serde_json::from_str(statistics) else {
        tracing::debug!(topic, "the statistics of the Kafka client are of another shape");
        return;
    };
    // Negative: addresses that were only asked where the brokers are.
    for broker in brokers.into_values().filter(|broker| broker.nodeid >= 0 && broker.rtt.cnt > 0) {
        for (quantile, micros) in [("0.5", broker.rtt.p50), ("0.99", broker.rtt.p99)] {
            let labels =
                [("topic", topic.to_owned()), ("broker", broker.nodeid.to_string()), ("quantile", quantile.to_owned())];
            metrics::gauge!("weir_kafka_fetch_seconds", &labels).set(micros / 1e6);
        }
    }
}

/// How many records of each partition are not read.
pub(super) fn lag(topic: &str, offsets: &[u64], ends: &[u64]) {
    for (partition, (offset, end)) in offsets.iter().zip(ends).enumerate() {
        let labels = [("topic", topic.to_owned()), ("partition", partition.to_string())];
        #[expect(clippy::cast_precision_loss, reason = "a metric may be off by one in 2^53")]
        metrics::gauge!("weir_kafka_lag_records", &labels).set(end.saturating_sub(*offset) as f64);
    }
}
