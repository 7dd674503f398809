//! What is wrong with a topic that is there, and what to do about it.

use super::wanted::{Role, retention};
use crate::config::Config;
use crate::log::kafka::topics::Found;
use std::fmt;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Weir cannot use it so.
    Unusable(String),
    /// It can, until something happens.
    Warning(String),
}

impl Finding {
    pub(super) fn unusable(&self) -> bool {
        matches!(self, Finding::Unusable(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Unusable(message) => write!(f, "cannot be used: {message}"),
            Finding::Warning(message) => write!(f, "warning: {message}"),
        }
    }
}

/// Fewer partitions than this keep a topic from being read by more processes.
const PARTITIONS_FEW: u32 = 4;

/// Everything that is wrong with a topic.
pub(super) fn findings(role: Role, found: &Found, config: &Config) -> Vec<Finding> {
    let setting = |name: &str| found.settings.get(name).map_or("", String::as_str);
    let number = |name: &str| setting(name).parse::<i64>().ok();
    let mut findings = Vec::new();
    let mut warn = |message: String| findings.push(Finding::Warning(message));
    if setting("cleanup.policy").contains("compact") {
        warn(
            "cleanup.policy has compact, which drops records that a restart needs: set cleanup.policy=delete"
                .to_owned(),
        );
    }
    match (retention(role, config), number("retention.ms")) {
        (Some(needed), Some(kept)) if (0..i64::try_from(needed.ms()).unwrap_or(i64::MAX)).contains(&kept) => {
            warn(format!(
                "retention.ms={kept} is less than {needed}: a restart would rebuild a shorter past, in a new epoch; set \
             retention.ms={}",
                needed.ms()
            ))
        }
        (None, Some(kept)) if kept >= 0 => {
            warn(format!("retention.ms={kept} drops rules that still hold: set retention.ms=-1"));
        }
        _ => {}
    }
    if let Some(bytes) = number("retention.bytes").filter(|bytes| *bytes >= 0) {
        warn(format!(
            "retention.bytes={bytes} may drop records at any time, also such as were not read yet: set retention.bytes=-1"
        ));
    }
    if setting("unclean.leader.election.enable") == "true" {
        warn(
            "unclean.leader.election.enable=true may take back records that were acknowledged, and Weir then stops, since its \
             numbers rest on them: set it to false"
                .to_owned(),
        );
    }
    match (found.replicas, number("min.insync.replicas")) {
        (..=1, _) => warn("one replica: what a broker's disk loses is lost; use 3".to_owned()),
        (_, Some(..=1)) => {
            warn("min.insync.replicas=1 acknowledges records that one broker has: set min.insync.replicas=2".to_owned())
        }
        _ => {}
    }
    let largest = i64::try_from(config.limits.record.bytes()).unwrap_or(i64::MAX);
    if matches!(role, Role::Events | Role::Rejected) && number("max.message.bytes").is_some_and(|most| most < largest) {
        warn(format!(
            "max.message.bytes={} refuses records that limits.record ({}) allows: set max.message.bytes={}",
            setting("max.message.bytes"),
            config.limits.record,
            super::wanted::largest(role, config)
        ));
    }
    match (role, found.partitions) {
        (Role::Events, few) if few < PARTITIONS_FEW => warn(format!(
            "{few} partitions are few: no more processes can read it, and adding some later moves streams; use {PARTITIONS_FEW} or \
             more"
        )),
        (Role::Rejected, partitions) if partitions != 1 => {
            warn(format!("it has {partitions} partitions, of which the first alone is used"));
        }
        (Role::Control | Role::Bindings, partitions) if partitions != 1 => findings.push(Finding::Unusable(format!(
            "it has {partitions} partitions and must have one, since the order of its records is their meaning: delete it and \
             make it again, or name another"
        ))),
        _ => {}
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::topics::wanted::{self, Shape, Wanted};

    fn as_made(role: Role) -> Found {
        let shape = Shape { partitions: 12, replicas: 3 };
        let of_role = |wanted: &Wanted| wanted.role == role;
        let Wanted { topic, .. } = wanted::all(&Config::default(), shape).into_iter().find(of_role).expect("is wanted");
        let settings = topic.settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Found { partitions: topic.partitions, replicas: topic.replicas, settings }
    }

    #[test]
    fn what_weir_makes_is_right_and_each_wrong_setting_is_found() {
        for role in [Role::Events, Role::Control, Role::Bindings, Role::Rejected] {
            assert_eq!(findings(role, &as_made(role), &Config::default()), []);
        }
        let wrong: [(Role, &str, &str, &str); 8] = [
            (Role::Events, "cleanup.policy", "compact,delete", "cleanup.policy=delete"),
            (Role::Events, "retention.ms", "604800000", "set retention.ms=2678400000"),
            (Role::Bindings, "retention.ms", "2678400000", "set retention.ms=2937600000"),
            (Role::Control, "retention.ms", "604800000", "set retention.ms=-1"),
            (Role::Events, "retention.bytes", "1000", "set retention.bytes=-1"),
            (Role::Bindings, "unclean.leader.election.enable", "true", "set it to false"),
            (Role::Control, "min.insync.replicas", "1", "set min.insync.replicas=2"),
            (Role::Events, "max.message.bytes", "1048588", "set max.message.bytes=16842752"),
        ];
        for (role, setting, value, remedy) in wrong {
            let mut found = as_made(role);
            found.settings.insert(setting.to_owned(), value.to_owned());
            let [finding] = &findings(role, &found, &Config::default())[..] else { panic!("{setting}={value}") };
            assert!(finding.to_string().contains(remedy) && !finding.unusable(), "{finding}");
        }
        for (role, few) in
            [(Role::Events, false), (Role::Control, true), (Role::Bindings, true), (Role::Rejected, false)]
        {
            let found = Found { partitions: 2, ..as_made(role) };
            let [finding] = &findings(role, &found, &Config::default())[..] else { panic!("{role:?}") };
            assert_eq!(finding.unusable(), few, "{finding}");
        }
        let alone = Found { replicas: 1, ..as_made(Role::Events) };
        assert!(findings(Role::Events, &alone, &Config::default())[0].to_string().contains("one replica"));
    }
}
