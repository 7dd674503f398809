//! The topics that Weir needs, with what each should be like.

use crate::config::Config;
use crate::config::units::Period;
use crate::log::kafka::topics::NewTopicOf;
use crate::rejects::topic_of;
use crate::serve::{BINDINGS_MARGIN, REJECT_OVERHEAD};
use std::collections::BTreeMap;

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Events, from producers and from HTTP.
    Events,
    /// Rules and incidents.
    Control,
    /// Which record belongs to which tick.
    Bindings,
    /// What was not taken of a topic of events.
    Rejected,
}

/// A topic that Weir needs.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) topic: NewTopicOf,
    pub(super) role: Role,
}

/// What a person chooses of a topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Of a topic of events.
    pub(super) partitions: u32,
    pub(super) replicas: u32,
}

/// Records may be larger than the largest of Weir's by their header and that of their batch.
pub(super) const OVERHEAD: u64 = 64 << 10;

/// The largest record of a topic, with what it may be larger by.
pub(super) fn largest(role: Role, config: &Config) -> u64 {
    let more = if role == Role::Rejected { REJECT_OVERHEAD as u64 } else { 0 };
    config.limits.record.bytes() + OVERHEAD + more
}

/// How long the records of a topic must be kept; `None`: for ever.
pub(super) fn retention(role: Role, config: &Config) -> Option<Period> {
    let events = config.log.retention_age;
    match role {
        Role::Events | Role::Rejected => Some(events),
        Role::Bindings => {
            let margin = u64::try_from(BINDINGS_MARGIN.as_millis()).unwrap_or(u64::MAX);
            Some(Period::from_ms(events.ms() + margin))
        }
        Role::Control => None,
    }
}

/// All of them.
pub(super) fn all(config: &Config, shape: Shape) -> Vec<Wanted> {
    let kafka = &config.kafka;
    let events = kafka.events.iter().map(|name| (name, Role::Events));
    let all = events.chain([(&kafka.control, Role::Control), (&kafka.bindings, Role::Bindings)]);
    let all = all.map(|(name, role)| (name.clone(), role));
    let rejected = kafka.events.iter().map(|name| (topic_of(name), Role::Rejected));
    all.chain(rejected).map(|(name, role)| wanted(&name, role, config, shape)).collect()
}

fn wanted(name: &str, role: Role, config: &Config, shape: Shape) -> Wanted {
    let kept = retention(role, config).map_or_else(|| "-1".to_owned(), |kept| kept.ms().to_string());
    let mut settings = BTreeMap::from([
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", kept),
        ("retention.bytes", "-1".to_owned()),
        ("unclean.leader.election.enable", "false".to_owned()),
        ("min.insync.replicas", shape.replicas.min(2).to_string()),
        ("max.message.bytes", largest(role, config).to_string()),
        // Retention goes by it, and clocks of producers are anything.
        ("message.timestamp.type", "LogAppendTime".to_owned()),
    ]);
    if role != Role::Events {
        // A few records a second: so that old ones can leave by the day.
        settings.insert("segment.ms", Period::from_days(1).ms().to_string());
    }
    let partitions = if role == Role::Events { shape.partitions } else { 1 };
    Wanted { topic: NewTopicOf { name: name.to_owned(), partitions, replicas: shape.replicas, settings }, role }
}
