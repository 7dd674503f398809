//! Failure fingerprints: a pure function of one error.

use crate::facts::Failure;
use crate::input::ErrorText;
use sha2::{Digest as _, Sha256};
use weir_schemas::id::Id;
use weir_schemas::limits::cut;
use weir_schemas::outcome::Outcome;

/// Recognises a failure.
#[must_use]
pub fn failure(error: &ErrorText, outcome: Outcome) -> Failure {
    let kind = error.kind.clone().unwrap_or_else(|| outcome.as_str().into());
    let pattern = cut(&error.message, 1 << 10).into_owned();
    let hash = Sha256::new().chain_update("1").chain_update(&*kind).chain_update(&pattern).finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    Failure {
        fingerprint: Id(u128::from_be_bytes(first)),
        pattern: pattern.as_str().into(),
        kind,
        message: pattern.as_str().into(),
    }
}
