//! The rules that values must hold, alone and together.

use super::units::{Period, Size};
use super::{Config, Problem, sections};

pub(super) fn check(config: &Config) -> Result<(), Vec<Problem>> {
    let mut rules = Rules::default();
    server(config, &mut rules);
    log(config, &mut rules);
    kafka(&config.kafka, &mut rules);
    snapshots(&config.snapshots, &mut rules);
    engine(config, &mut rules);
    sizes(config, &mut rules);
    if rules.problems.is_empty() { Ok(()) } else { Err(rules.problems) }
}

#[derive(Default)]
struct Rules {
    problems: Vec<Problem>,
}

impl Rules {
    fn require(&mut self, holds: bool, key: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(Problem::new(key, message()));
        }
    }

    fn at_least(&mut self, key: &str, value: u64, least: u64) {
        self.require(value >= least, key, || format!("{value} is too small: at least {least}"));
    }

    fn some_period(&mut self, key: &str, value: Period) {
        self.require(value > Period::default(), key, || "0 is no duration that can be waited for".to_owned());
    }

    fn size_between(&mut self, key: &str, value: Size, least: Size, most: Size) {
        self.require((least..=most).contains(&value), key, || {
            format!("{value} is out of range: from {least} to {most}")
        });
    }
}

fn server(config: &Config, rules: &mut Rules) {
    let server = &config.server;
    rules.at_least("server.max_connections", server.max_connections as u64, 1);
    rules.some_period("server.header_timeout", server.header_timeout);
    rules.require(server.listen.ip().is_loopback() || config.auth.tokens_file.is_some(), "server.listen", || {
        format!(
            "{} can be reached from other machines, which needs tokens: set auth.tokens_file, or listen on a loopback \
             address",
            server.listen
        )
    });
    let url = &server.public_url;
    rules.require(url.is_empty() || http_origin(url), "server.public_url", || {
        format!("`{url}` is not an address such as https://weir.example, without a path")
    });
    for origin in &server.allowed_origins {
        rules.require(http_origin(origin), "server.allowed_origins", || {
            format!("`{origin}` is not an origin such as https://ci.example, without a path")
        });
    }
    for host in &server.allowed_hosts {
        rules.require(!host.is_empty() && !host.contains(['/', ' ']), "server.allowed_hosts", || {
            format!("`{host}` is not a host name such as weir.example, without scheme and path")
        });
    }
}

/// Whether it is scheme and authority, nothing more.
fn http_origin(text: &str) -> bool {
    text.strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .is_some_and(|authority| !authority.is_empty() && !authority.contains(['/', ' ', '?', '#']))
}

fn log(config: &Config, rules: &mut Rules) {
    let log = &config.log;
    rules.require((1..=1024).contains(&log.partitions), "log.partitions", || {
        format!("{} is out of range: from 1 to 1024", log.partitions)
    });
    rules.size_between("log.segment_size", log.segment_size, Size::from_mib(1), Size::from_mib(4096));
    rules.require(
        log.retention_size.is_empty() || log.retention_size.bytes() >= 2 * log.segment_size.bytes(),
        "log.retention_size",
        || {
            format!(
                "{} holds less than two segments of {}: make it larger, or 0B for no limit",
                log.retention_size, log.segment_size
            )
        },
    );
    // A restart rebuilds state from the log: what it must remember has to be in there still.
    let engine = &config.engine;
    for (key, memory) in [
        ("engine.late_memory", engine.late_memory),
        ("engine.stream_memory", engine.stream_memory),
        ("engine.event_id_memory", engine.event_id_memory),
        ("engine.pattern_memory", engine.pattern_memory),
        ("engine.coverage_memory", engine.coverage_memory),
        ("engine.error_memory", engine.error_memory),
        ("engine.user_memory", engine.user_memory),
        ("engine.flaky_memory", engine.flaky_memory),
        ("engine.duration_memory", engine.duration_memory),
        ("engine.run_timeout and engine.run_grace together", longest_run(config)),
    ] {
        rules.require(log.retention_age > memory, "log.retention_age", || {
            format!("{} must exceed {key} ({memory}), else a restart would forget it", log.retention_age)
        });
    }
}

fn kafka(kafka: &sections::Kafka, rules: &mut Rules) {
    for broker in &kafka.brokers {
        let port =
            broker.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok()));
        rules.require(port.flatten().is_some_and(|port| port > 0), "kafka.brokers", || {
            format!("`{broker}` is not host:port, such as kafka-1.example:9092")
        });
    }
    rules.require(!kafka.events.is_empty(), "kafka.events", || "name one topic at least".to_owned());
    let named = kafka.events.iter().map(|topic| ("kafka.events", topic));
    let mut seen = Vec::new();
    for (key, topic) in named.chain([("kafka.control", &kafka.control), ("kafka.bindings", &kafka.bindings)]) {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let sound = (1..=TOPIC_NAME_MAX).contains(&topic.len()) && topic.bytes().all(fits) && !topic.starts_with('.');
        rules.require(sound, key, || format!("`{topic}` is not a topic's name: letters, digits, `.`, `_` and `-`"));
        rules.require(!seen.contains(&topic), key, || format!("`{topic}` is named twice: each topic has one meaning"));
        seen.push(topic);
    }
    for (name, value) in &kafka.properties {
        if let Err(refused) = crate::log::kafka::check_property(name, value) {
            rules.problems.push(Problem::new("kafka.properties", refused.to_string()));
        }
        let secret = SECRET.iter().any(|word| name.contains(word));
        rules.require(!secret, "kafka.properties", || {
            format!("{name} is a secret: write it into the file that kafka.properties_file names")
        });
        rules.require(name != "bootstrap.servers" && name != "metadata.broker.list", "kafka.properties", || {
            format!("{name} is what kafka.brokers says")
        });
    }
}

fn snapshots(snapshots: &sections::Snapshots, rules: &mut Rules) {
    let every = snapshots.every.ms();
    // All cadences of views divide it, so nothing of them is under way at a cut.
    rules.require(every.is_multiple_of(10_000), "snapshots.every", || {
        format!("{} is no multiple of 10s", snapshots.every)
    });
    rules.require((2..=1_000).contains(&snapshots.keep), "snapshots.keep", || {
        format!("{} is out of range: from 2, so that there is one when the newest is damaged, to 1000", snapshots.keep)
    });
}

/// What a topic's name has at most, for Kafka and for the name of its rejects.
const TOPIC_NAME_MAX: usize = 240;
/// What the names of properties that are secrets have in them.
const SECRET: [&str; 4] = ["password", "secret", "key.pem", "jaas"];

/// How long a silent run is in state.
fn longest_run(config: &Config) -> Period {
    Period::from_ms(config.engine.run_timeout.ms() + config.engine.run_grace.ms())
}

fn engine(config: &Config, rules: &mut Rules) {
    let engine = &config.engine;
    rules.require((1..=64).contains(&engine.workers), "engine.workers", || {
        format!("{} is out of range: from 1 to 64", engine.workers)
    });
    for (key, tick) in [("engine.tick_min", engine.tick_min), ("engine.tick_max", engine.tick_max)] {
        rules.require(tick.ms() > 0 && tick.ms().is_multiple_of(10) && tick.ms() <= 1_000, key, || {
            format!("{tick} is not a tick: a multiple of 10ms from 10ms to 1s")
        });
    }
    rules.require(engine.tick_min <= engine.tick_max, "engine.tick_min", || {
        format!("{} is above engine.tick_max ({})", engine.tick_min, engine.tick_max)
    });
    for (key, period) in [
        ("engine.run_quiet", engine.run_quiet),
        ("engine.run_timeout", engine.run_timeout),
        ("engine.shard_silent", engine.shard_silent),
        ("engine.run_grace", engine.run_grace),
        ("engine.stream_memory", engine.stream_memory),
        ("engine.event_id_memory", engine.event_id_memory),
        ("engine.late_memory", engine.late_memory),
        ("engine.pattern_memory", engine.pattern_memory),
        ("engine.coverage_memory", engine.coverage_memory),
        ("engine.error_memory", engine.error_memory),
        ("engine.user_memory", engine.user_memory),
        ("engine.flaky_memory", engine.flaky_memory),
        ("engine.duration_memory", engine.duration_memory),
    ] {
        rules.some_period(key, period);
    }
    rules.require(engine.run_quiet <= engine.run_timeout, "engine.run_quiet", || {
        format!("{} is above engine.run_timeout ({})", engine.run_quiet, engine.run_timeout)
    });
    rules.require(engine.stream_memory >= longest_run(config), "engine.stream_memory", || {
        format!("{} is shorter than a run may be in state ({})", engine.stream_memory, longest_run(config))
    });
    rules.at_least("engine.max_behind", engine.max_behind, 1);
    for (key, rows) in [
        ("engine.row_budget", engine.row_budget),
        ("engine.project_tests", engine.project_tests),
        ("engine.project_suites", engine.project_suites),
        ("engine.project_files", engine.project_files),
    ] {
        rules.at_least(key, rows as u64, 1);
    }
    rules.at_least("engine.failure_patterns", engine.failure_patterns as u64, 1);
    rules.at_least("engine.patterns_held", engine.patterns_held as u64, 256);
    rules.at_least("engine.live_scopes", engine.live_scopes as u64, 256);
    rules.at_least("engine.performance_scopes", engine.performance_scopes as u64, 256);
    rules.at_least("engine.flaky_tests", engine.flaky_tests as u64, 256);
    rules.at_least("engine.slow_tests", engine.slow_tests as u64, 1);
    rules.at_least("engine.slow_tests_held", engine.slow_tests_held as u64, 256);
    rules.at_least("engine.users", engine.users as u64, 1);
    rules.at_least("engine.rejects", engine.rejects as u64, 1);
}

fn sizes(config: &Config, rules: &mut Rules) {
    rules.some_period("hub.ring_age", config.hub.ring_age);
    rules.size_between("hub.ring_size", config.hub.ring_size, Size::from_mib(1), Size::from_mib(1 << 20));
    rules.at_least("hub.max_snapshot_rows", config.hub.max_snapshot_rows as u64, 1);
    let limits = &config.limits;
    for (key, size, most) in [
        ("limits.event_id", limits.event_id, Size::from_kib(64)),
        ("limits.stream_id", limits.stream_id, Size::from_kib(64)),
        ("limits.name", limits.name, Size::from_kib(64)),
        ("limits.error_message", limits.error_message, Size::from_mib(1)),
        ("limits.error_stack", limits.error_stack, Size::from_mib(1)),
    ] {
        rules.size_between(key, size, Size::from_bytes(32), most);
    }
    rules.size_between("limits.record", limits.record, Size::from_kib(1), Size::from_mib(1024));
    rules.size_between("limits.decompressed", limits.decompressed, limits.record, Size::from_mib(1024));
    rules.at_least("limits.batch_events", limits.batch_events as u64, 1);
    rules.at_least("limits.coverage_files", limits.coverage_files as u64, 1);
    rules.at_least("limits.xml_depth", limits.xml_depth as u64, 4);
    let ingest = &config.ingest;
    rules.require(ingest.inflight_size >= limits.decompressed, "ingest.inflight_size", || {
        format!("{} does not hold one body of limits.decompressed ({})", ingest.inflight_size, limits.decompressed)
    });
    rules.some_period("ingest.body_timeout", ingest.body_timeout);
    rules.some_period("ingest.verdict_timeout", ingest.verdict_timeout);
    let level = &config.telemetry.level;
    rules.require(level.split(',').all(log_directive), "telemetry.level", || {
        format!("`{level}` is not error, warn, info, debug or trace, nor a list such as \"info,weir::log=debug\"")
    });
}

/// Whether it is a level, or a module and its level.
fn log_directive(directive: &str) -> bool {
    let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
    level.parse::<tracing::level_filters::LevelFilter>().is_ok()
        && directive.parse::<tracing_subscriber::filter::Targets>().is_ok()
}
