//! Maps whose keys are no words, as lists of pairs: so that a state can be written in any format.
//!
//! Contract: for `#[serde(with = "crate::pairs")]` at a field that is a `BTreeMap` of `BTreeMap`s.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

type Maps<A, K, V> = BTreeMap<A, BTreeMap<K, V>>;

/// Writes the maps as pairs, in order.
///
/// # Errors
/// Those of the serializer.
pub(crate) fn serialize<A, K, V, S>(maps: &Maps<A, K, V>, serializer: S) -> Result<S::Ok, S::Error>
where
    A: Serialize,
    K: Serialize,
    V: Serialize,
    S: Serializer,
{
    serializer.collect_seq(maps.iter().map(|(key, map)| (key, Vec::from_iter(map))))
}

/// Reads them back.
///
/// # Errors
/// Those of the deserializer.
pub(crate) fn deserialize<'de, A, K, V, D>(deserializer: D) -> Result<Maps<A, K, V>, D::Error>
where
    A: Deserialize<'de> + Ord,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let pairs = Vec::<(A, Vec<(K, V)>)>::deserialize(deserializer)?;
    Ok(pairs.into_iter().map(|(key, map)| (key, map.into_iter().collect())).collect())
}
