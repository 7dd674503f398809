//! Mask rules: what a project says differs between occurrences of one failure.
//!
//! Contract: [`compile`] makes the regular expression of a [`MaskRule`](weir_schemas::control::MaskRule); whoever takes a rule
//! in asks it first, so every mask that holds compiles. An expression that matches the empty text is refused: it would match
//! everywhere.
//!
//! # Cost
//! Matching is linear in the text whatever the expression, which has no look-around and no back-references. A compiled one is
//! [`PROGRAM_BYTES_MAX`] at most, and as much again while it is used.

use regex::{Regex, RegexBuilder};
use weir_schemas::control::ControlChange;

/// Bytes of a compiled expression, at most.
pub const PROGRAM_BYTES_MAX: usize = 256 << 10;
/// Nesting of an expression, at most.
const NEST_MAX: u32 = 32;

/// Why an expression cannot be a mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It is no regular expression.
    #[error("{problem}; the syntax is that of the crate regex, without look-around and back-references")]
    Syntax {
        /// What is wrong.
        problem: String,
    },
    /// It is larger than it may be.
    #[error("too large when compiled, over {PROGRAM_BYTES_MAX} bytes: use smaller repetitions and classes")]
    Size,
    /// It matches where there is nothing.
    #[error("matches the empty text, and so everywhere: make it match at least one character")]
    Empty,
}

/// Makes the expression of a mask.
///
/// # Errors
/// It is none, is too large, or matches the empty text.
pub fn compile(pattern: &str) -> Result<Regex, BadPattern> {
    let built = RegexBuilder::new(pattern)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(PROGRAM_BYTES_MAX)
        .nest_limit(NEST_MAX)
        .build();
    match built {
        Ok(regex) if regex.is_match("") => Err(BadPattern::Empty),
        Ok(regex) => Ok(regex),
        Err(regex::Error::CompiledTooBig(_)) => Err(BadPattern::Size),
        // The message draws the expression over several lines; its last says what is wrong.
        Err(error) => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            Err(BadPattern::Syntax { problem: last.strip_prefix("error: ").unwrap_or(last).to_owned() })
        }
    }
}

/// Whether a change can be taken as far as its expressions go; anything but a mask can.
///
/// # Errors
/// As [`compile`].
pub fn check(change: &ControlChange) -> Result<(), BadPattern> {
    match change {
        ControlChange::Mask(rule) => compile(&rule.pattern).map(drop),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_schemas::control::MaskRule;

    #[test]
    fn what_compiles_matches_what_it_says() {
        let regex = compile(r"order [0-9]{4,}|\bshard-\w+").expect("compiles");
        assert_eq!(regex.replace_all("order 12345 on shard-eu2", "%"), "% on %");
        compile("(?i)ä+").expect("letters of any language");
    }

    #[test]
    fn what_does_not_compile_says_why_in_a_line() {
        for (pattern, said) in [
            ("(", "unclosed group"),
            ("[z-a]", "invalid character class range"),
            (r"(?=x)x", "look-around"),
            (r"(a)\1", "backreferences are not supported"),
            (
                "((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))))",
                "maximum number of nested parentheses",
            ),
            ("x*", "matches the empty text"),
            ("a|", "matches the empty text"),
            (r"(\w{100}){100}", "too large when compiled"),
        ] {
            let error = compile(pattern).expect_err(pattern).to_string();
            assert!(error.contains(said) && !error.contains('\n'), "{pattern}: {error}");
            let mask = |pattern: &str| ControlChange::Mask(MaskRule { pattern: pattern.to_owned(), order: 0 });
            assert!(check(&mask(pattern)).is_err());
        }
    }
}
