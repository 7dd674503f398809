//! Outcomes of a test and how two reports of the same attempt are joined.

use serde::{Deserialize, Serialize};

/// How one attempt of a test ended, from best to worst: where two events speak of the same attempt, the worst wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Did not run, on purpose.
    Skipped,
    /// Ran and held.
    Passed,
    /// Ran and an assertion did not hold.
    Failed,
    /// Broke outside its assertions: an exception, a crash, a failed setup.
    Error,
    /// Was ended for taking too long.
    Timeout,
}

impl Outcome {
    /// All outcomes, from best to worst.
    pub const ALL: [Outcome; 5] =
        [Outcome::Skipped, Outcome::Passed, Outcome::Failed, Outcome::Error, Outcome::Timeout];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Skipped => "skipped",
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Error => "error",
            Outcome::Timeout => "timeout",
        }
    }

    /// Whether it makes a run fail.
    #[must_use]
    pub const fn fails(self) -> bool {
        matches!(self, Outcome::Failed | Outcome::Error | Outcome::Timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_wire_form() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_string(&outcome).ok(), Some(format!("\"{}\"", outcome.as_str())));
        }
    }

    #[test]
    fn the_worst_wins() {
        assert_eq!(Outcome::ALL.iter().copied().max(), Some(Outcome::Timeout));
        assert!(Outcome::ALL.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
