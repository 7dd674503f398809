//! Identities: 128-bit content hashes of names.
//!
//! Contract: an [`Id`] is a pure function of the strings that it names, the same on every machine, in every version and
//! for ever, so it can be stored, exchanged between processes and compared with what a replay computes. It is XXH3-128
//! over the parts, each preceded by its length, so `("ab", "c")` and `("a", "bc")` differ.
//!
//! # Invariants
//! Never a counter, never `std`'s or differential's hash, whose outputs may change between versions (`time.md`, D4).
//! Collisions are treated as impossible: at 10¹² distinct names the chance of one is about 10⁻¹⁵.
//!
//! # Cost
//! 10 to 20 ns for names of 20 bytes.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Up to how many bytes, with their lengths, names are hashed at once.
const SHORT: usize = 512;

/// A 128-bit content hash that stands for one or several names.
///
/// Aligned like a machine word: an `Option<Id>`, and an identity beside a pointer, take 24 bytes, not 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(Rust, packed(8))]
pub struct Id(pub u128);

impl Id {
    /// The identity of a sequence of parts.
    #[must_use]
    pub fn of(parts: &[&str]) -> Id {
        // Short names are hashed at once: a running hash has half a KiB to set up.
        let mut bytes = [0; SHORT];
        let mut len = 0;
        for part in parts {
            let end = len + 8 + part.len();
            let Some(room) = bytes.get_mut(len..end) else { return Id::of_long(parts) };
            room[..8].copy_from_slice(&(part.len() as u64).to_le_bytes());
            room[8..].copy_from_slice(part.as_bytes());
            len = end;
        }
        Id(xxh3_128(&bytes[..len]))
    }

    #[cold]
    fn of_long(parts: &[&str]) -> Id {
        let mut hash = IdBuilder::default();
        for part in parts {
            hash.push(part.as_bytes());
        }
        hash.finish()
    }

    /// The identity of `self` refined by one more part: a run within its project, a suite within its run.
    #[must_use]
    pub fn with(self, part: &str) -> Id {
        let mut hash = IdBuilder::default();
        hash.push(&self.0.to_le_bytes());
        hash.push(part.as_bytes());
        hash.finish()
    }

    /// The lower half, for routing to a worker and for hash maps: already uniformly distributed.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
    pub fn route(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", { self.0 })
    }
}

/// Collects parts into an [`Id`].
#[derive(Default)]
pub struct IdBuilder(Xxh3);

impl IdBuilder {
    /// Adds a part, preceded by its length as eight little-endian bytes.
    pub fn push(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// The identity of everything pushed.
    #[must_use]
    pub fn finish(self) -> Id {
        Id(self.0.digest128())
    }
}

/// The identity of a run: its project and its name (`correlationId`, default `streamId`).
#[must_use]
pub fn run_id(project: &str, run: &str) -> Id {
    Id::of(&["run", project, run])
}

/// The identity of a test within its project: that of the text by which rows show it. So no two tests share a row, and what
/// a person cannot tell apart is one test.
#[must_use]
pub fn test_id(project: &str, text: &str) -> Id {
    Id::of(&["test", project, text])
}

/// The text by which a test is shown (`events.md`): `testId`, with the variant in brackets where there is one.
#[must_use]
pub fn test_text(test_id: &str, variant: &str, bytes_max: usize) -> String {
    if variant.is_empty() {
        shorten(test_id, bytes_max).into_owned()
    } else {
        shorten(&format!("{test_id} [{variant}]"), bytes_max).into_owned()
    }
}

/// The text by which a test without `testId` is shown: 128 bits of its name as 32 hex digits.
#[must_use]
pub fn test_name_text(project: &str, suite: &str, name: &str, variant: &str) -> String {
    Id::of(&["test-by-name", project, suite, name, variant]).to_string()
}

/// `text`, or, where it is longer than `bytes_max`, its beginning and a hash of all of it: two long names never become one.
#[must_use]
pub fn shorten(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let hash = Id::of(&[text]).to_string();
    let mut end = bytes_max.saturating_sub(hash.len() + 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}~{hash}", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_stable() {
        // Vectors made with another implementation (Python's xxhash): these values are stored by deployments; a change here is a change of epoch everywhere.
        assert_eq!(Id::of(&["a", "b"]).to_string(), VECTOR_AB);
        assert_eq!(run_id("web", "r1").to_string(), VECTOR_RUN);
    }

    const VECTOR_AB: &str = "4e8071d3974d16754bcb794c7d699bd6";
    const VECTOR_RUN: &str = "f2d372662760d7316a07bd62df611bee";

    #[test]
    fn short_and_long_names_are_hashed_alike() {
        for len in [0, 1, 100, SHORT - 17, SHORT - 16, SHORT - 15, 2 * SHORT] {
            let long = "x".repeat(len);
            assert_eq!(Id::of(&["", &long]), Id::of_long(&["", &long]), "{len}");
        }
    }

    #[test]
    fn borders_between_parts_count() {
        assert_ne!(Id::of(&["ab", "c"]), Id::of(&["a", "bc"]));
        assert_ne!(Id::of(&["a"]), Id::of(&["a", ""]));
    }

    #[test]
    fn the_variant_is_part_of_a_test() {
        assert_eq!((&*test_text("t", "", 9), &*test_text("t", "x", 9)), ("t", "t [x]"));
        assert_ne!(test_name_text("p", "s", "n", ""), test_name_text("p", "s", "n", "linux"));
        assert_eq!(test_id("p", &test_text("t", "x", 9)), test_id("p", "t [x]"));
        assert_ne!(test_id("p", "t"), test_id("q", "t"));
    }

    #[test]
    fn shortening_keeps_names_apart_and_characters_whole() {
        assert_eq!(shorten("name", 4), "name");
        let long = "ä".repeat(600);
        for bytes in 33..80 {
            let (one, two) = (long.clone() + "1", long.clone() + "2");
            let (one, two) = (shorten(&one, bytes), shorten(&two, bytes));
            assert!(one.len() <= bytes && one != two, "{one}");
        }
        // A variant at the end of a long name is still told apart.
        assert_ne!(test_text(&long, "firefox", 100), test_text(&long, "chrome", 100));
    }
}
