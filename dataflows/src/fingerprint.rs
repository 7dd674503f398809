//! What a failure is recognised by: its type, its text without what varies, and the first frame of the project's own code.
//!
//! Contract: [`failure`] is a pure function of one error, so replay and live agree and no order of arrival matters; failures
//! of one cause should meet in one fingerprint and different ones stay apart (`views.md`, failure fingerprint; measured by
//! `tests/metrics/fingerprint.rs`). The text is stripped of ANSI sequences, leading timestamps, stack frames and lines that only
//! describe the machine; what varies in it is masked by `%` ([`mask`]); duplicate lines are dropped. Where a message holds
//! its own type ("pkg.SomeError: text"), that is taken off, so both ways of reporting it meet. The message that is kept is
//! what the error said, or what its stack says first; empty when it said nothing.
//!
//! What a project says to mask ([`rules`]) is masked first, in the lines of the message, once a type before them is taken off; type
//! and frame are not touched by it.
//!
//! # Invariants
//! `kind` and `pattern` are what is hashed (with the frame), so the same fingerprint always has the same pattern.
//! [`VERSION`] is part of the hash: change it with any change of the rules.
//!
//! # Cost
//! Linear in the text, of which the first 8 KiB and 64 lines of stack are looked at; no regular expressions but a project's own.

mod frame;
mod mask;
pub mod rules;

use crate::facts::Failure;
use crate::input::{ErrorText, Text};
use regex::Regex;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeSet;
use weir_schemas::id::Id;
use weir_schemas::limits::{CUT_MARK, cut};
use weir_schemas::outcome::Outcome;

/// The version of the rules.
pub const VERSION: u32 = 1;

/// What bounds the recognition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of message and of stack that are looked at.
    pub text_bytes: usize,
    /// Lines of the stack that are looked at.
    pub stack_lines: usize,
    /// Bytes of a pattern.
    pub pattern_bytes: usize,
    /// Bytes of the message that is kept.
    pub message_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { text_bytes: 8 << 10, stack_lines: 64, pattern_bytes: 1 << 10, message_bytes: 1 << 10 }
    }
}

/// Recognises a failure by the rules for everyone and, before them, the masks of its project, in their order.
#[must_use]
pub fn failure(error: &ErrorText, outcome: Outcome, masks: &[&Regex]) -> Failure {
    Bounds::default().failure(error, outcome, masks)
}

/// What a failure that is kept would be recognised by under other masks; nothing when its message was cut.
#[must_use]
pub fn again(failure: &Failure, outcome: Outcome, masks: &[&Regex]) -> Option<Failure> {
    Bounds::default().again(failure, outcome, masks)
}

impl Bounds {
    /// Recognises a failure; of which event it is the caller says.
    #[must_use]
    pub fn failure(&self, error: &ErrorText, outcome: Outcome, masks: &[&Regex]) -> Failure {
        let stack = error.stack.as_deref().unwrap_or_default();
        let message = if error.message.trim().is_empty() { first_text(stack) } else { &error.message };
        let text = read(head(message, self.text_bytes));
        let mut lines = text.lines;
        let found =
            lines.first().and_then(|line| split_kind(line)).map(|(kind, rest)| (kind.to_owned(), rest.to_owned()));
        let stated = error.kind.as_deref().map(str::trim).filter(|kind| !kind.is_empty()).map(last_name);
        let (kind, rest) = match (stated, found) {
            (Some(stated), Some((found, rest))) if stated == last_name(&found) => (masked(stated), Some(rest)),
            (Some(stated), _) => (masked(stated), None),
            (None, Some((found, rest))) => (masked(last_name(&found)), Some(rest)),
            (None, None) => (String::new(), None),
        };
        let typed = rest.is_some();
        rest.into_iter().for_each(|rest| lines[0] = rest);
        let frame = frame::first_project_frame(head(stack, self.text_bytes).lines().take(self.stack_lines));
        let frame = frame.or(text.frame).map(|frame| masked(&frame)).unwrap_or_default();
        let (kind, frame) = (Text::from(kind), Text::from(frame));
        let message = Text::from(&*cut(message, self.message_bytes));
        self.recognised(Failure { kind, frame, typed, message, ..Failure::default() }, &lines, outcome, masks)
    }

    /// What a failure that is kept would be recognised by under other masks; nothing when its message was cut.
    #[must_use]
    pub fn again(&self, failure: &Failure, outcome: Outcome, masks: &[&Regex]) -> Option<Failure> {
        if failure.message.ends_with(CUT_MARK) {
            return None;
        }
        let mut lines = read(&failure.message).lines;
        if failure.typed
            && let Some(line) = lines.first_mut()
            && let Some((_, rest)) = split_kind(line)
        {
            *line = rest.to_owned();
        }
        Some(self.recognised(failure.clone(), &lines, outcome, masks))
    }

    /// A failure with its pattern and fingerprint.
    fn recognised(&self, failure: Failure, lines: &[String], outcome: Outcome, masks: &[&Regex]) -> Failure {
        let (kind, pattern) = (&failure.kind, pattern(lines, self.pattern_bytes, masks));
        let pattern = if pattern.is_empty() && kind.is_empty() { outcome.as_str().to_owned() } else { pattern };
        Failure {
            fingerprint: hash(kind, &pattern, &failure.frame),
            pattern: if pattern.is_empty() { Text::clone(kind) } else { Text::from(pattern) },
            ..failure
        }
    }
}

/// The first 16 bytes of a SHA-256 over version, type, pattern and frame, each preceded by its length.
fn hash(kind: &str, pattern: &str, frame: &str) -> Id {
    let mut hash = Sha256::new();
    hash.update(VERSION.to_be_bytes());
    for part in [kind, pattern, frame] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    Id(u128::from_be_bytes(first))
}

/// A text taken apart.
struct Read {
    lines: Vec<String>,
    frame: Option<String>,
}

/// Lines that describe the machine or name a file made by this very failure.
const NOISE: &[&str] = &[
    "Build info:",
    "System info:",
    "Driver info:",
    "Capabilities {",
    "Capabilities [",
    "Session ID:",
    "Session id:",
    "Screenshot:",
    "Page source:",
    "Traceback (most recent call last)",
    "Stacktrace:",
    "Stack trace:",
    "stack backtrace:",
    "note: run with `RUST_BACKTRACE",
    "note: Some details are omitted",
    "!!!MARKDOWN_MODE!!!",
    "```",
];

/// Takes a text apart into lines that say what happened, and the first project frame among the others.
fn read(text: &str) -> Read {
    let clean = mask::without_ansi(text);
    let mut lines = Vec::new();
    let mut frames = Vec::new();
    let mut code_follows = false;
    for raw in clean.lines() {
        let line = mask::without_timestamp(raw.trim());
        let code = std::mem::take(&mut code_follows) && raw.starts_with([' ', '\t']) && split_kind(line).is_none();
        if frame::frame(line).is_some() || frame::more(line) {
            code_follows = line.starts_with("File \"");
            frames.push(line.to_owned());
        } else if !code && !line.is_empty() && !NOISE.iter().any(|noise| line.starts_with(noise)) {
            lines.push(line.to_owned());
        }
    }
    Read { frame: frame::first_project_frame(frames.iter().map(String::as_str)), lines }
}

/// Masks the lines and drops those that say the same again.
fn pattern(lines: &[String], bytes: usize, masks: &[&Regex]) -> String {
    let mut seen = BTreeSet::new();
    let mut pattern = String::new();
    for line in lines {
        if pattern.len() > bytes {
            break;
        }
        let line = masked(&without(line, masks));
        if line.bytes().any(|byte| byte.is_ascii_alphanumeric() || byte >= 0x80 || byte == b'%')
            && !seen.contains(&line)
        {
            if !pattern.is_empty() {
                pattern.push('\n');
            }
            pattern.push_str(&line);
            seen.insert(line);
        }
    }
    cut(&pattern, bytes).into_owned()
}

/// The line with `%` for whatever one of the masks matches, one mask after the other.
fn without<'t>(line: &'t str, masks: &[&Regex]) -> Cow<'t, str> {
    let mut line = Cow::Borrowed(line);
    for mask in masks {
        if let Cow::Owned(shorter) = mask.replace_all(&line, "%") {
            line = Cow::Owned(shorter);
        }
    }
    line
}

fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    mask::mask(text, &mut out);
    out.truncate(out.trim_end().len());
    out
}

/// The first bytes of a text, at a character boundary.
fn head(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What a stack says before its first frame; empty when it begins with one.
fn first_text(stack: &str) -> &str {
    let mut end = 0;
    for line in stack.split_inclusive('\n') {
        if frame::frame(line.trim()).is_some() {
            break;
        }
        end += line.len();
    }
    if stack.trim_start().starts_with("Traceback (most recent call last)") {
        // Python says what happened at the end.
        return stack.trim_end().lines().next_back().unwrap_or_default();
    }
    stack[..end].trim()
}

/// `pkg.SomeError: text` as type and text.
fn split_kind(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix("Uncaught ").unwrap_or(line);
    let end =
        line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '$' | ':'))).unwrap_or(line.len());
    let kind = line[..end].split(": ").next()?.trim_end_matches(':');
    let rest = line[kind.len()..].trim_start();
    let known =
        ["Error", "Exception", "Failure", "Failed", "Timeout", "Panic", "Fault"].iter().any(|end| kind.ends_with(end));
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix(':')?.trim_start() };
    (known && kind.starts_with(|c: char| c.is_ascii_alphabetic())).then_some((kind, rest))
}

/// The last part of a qualified name.
fn last_name(kind: &str) -> &str {
    kind.rsplit(['.', ':', '/', '\\']).next().filter(|name| !name.is_empty()).unwrap_or(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(message: &str, kind: Option<&str>, stack: Option<&str>) -> Failure {
        let error = ErrorText {
            message: Text::from(message),
            kind: kind.map(Text::from),
            stack: stack.map(Text::from),
            ..ErrorText::default()
        };
        failure(&error, Outcome::Failed, &[])
    }

    #[test]
    fn the_fingerprint_is_stable() {
        // Stored by deployments: a change here needs a new VERSION.
        let failure = error("expected 3 to equal 4", Some("AssertionError"), None);
        assert_eq!((&*failure.kind, &*failure.pattern), ("AssertionError", "expected % to equal %"));
        assert_eq!(failure.fingerprint.to_string(), VECTOR);
    }

    /// `sha256(be32(1) + be64(14) + b"AssertionError" + be64(21) + b"expected % to equal %" + be64(0))[:16]`, made with Python.
    const VECTOR: &str = "3399e39730c7c34c8fd20a2b6853f593";

    #[test]
    fn a_type_in_the_message_and_a_stated_type_meet() {
        let one = error("java.lang.IllegalStateException: no room for 3", None, None);
        let other = error("no room for 99", Some("IllegalStateException"), None);
        assert_eq!(one.fingerprint, other.fingerprint);
        assert_eq!(&*one.kind, "IllegalStateException");
        assert_ne!(one.fingerprint, error("no room for 99", Some("OutOfMemoryError"), None).fingerprint);
    }

    #[test]
    fn without_a_message_the_stack_speaks_and_without_a_stack_the_outcome() {
        let stack =
            "java.io.IOException: disk full\n\tat com.acme.Store.put(Store.java:10)\n\tat org.junit.X.y(X.java:1)";
        let failure = error(" ", None, Some(stack));
        assert_eq!(
            (&*failure.kind, &*failure.pattern, &*failure.message),
            ("IOException", "disk full", "java.io.IOException: disk full")
        );
        let nothing = error("", None, None);
        assert_eq!((&*nothing.pattern, &*nothing.message), ("failed", ""));
        let python = "Traceback (most recent call last):\n  File \"t.py\", line 9, in <module>\n    go()\nNameError: name 'go' is not defined";
        assert_eq!(&*error("", None, Some(python)).kind, "NameError");
        assert_eq!(error("", None, Some(python)).fingerprint, error(python, None, None).fingerprint);
    }

    #[test]
    fn the_first_frame_of_the_project_tells_apart() {
        let stack = |own: &str| format!("\tat org.junit.Assert.fail(Assert.java:89)\n\tat {own}(Cart.java:17)\n");
        let [one, same, other] = ["com.acme.Cart.add", "com.acme.Cart.add", "com.acme.Cart.remove"]
            .map(|own| error("boom", None, Some(&stack(own))));
        assert_eq!(one.fingerprint, same.fingerprint);
        assert_ne!(one.fingerprint, other.fingerprint);
    }

    #[test]
    fn long_texts_are_bounded() {
        let failure = error(&"ä1 ".repeat(100_000), None, None);
        assert!(failure.message.len() <= 1 << 10 && failure.pattern.len() <= 1 << 10);
    }

    fn pattern_of(message: &str, masks: &[&str]) -> (String, String) {
        let masks: Vec<Regex> = masks.iter().map(|mask| rules::compile(mask).expect("compiles")).collect();
        let error = ErrorText { message: Text::from(message), ..ErrorText::default() };
        let failure = failure(&error, Outcome::Failed, &masks.iter().collect::<Vec<_>>());
        (failure.kind.to_string(), failure.pattern.to_string())
    }

    #[test]
    fn masks_of_a_project_go_first_in_their_order_and_leave_the_type_alone() {
        let said = "OrderError: order eu-west/abc was lost on shard blue\nat last";
        let of = |masks: &[&str]| pattern_of(said, masks).1;
        assert_eq!(of(&[]), "order eu-west/abc was lost on shard blue\nat last");
        assert_eq!(of(&[r"order \S+", r"shard \w+"]), "% was lost on %\nat last");
        assert_eq!(of(&["abc", "eu-west/%"]), "order % was lost on shard blue\nat last", "one after the other");
        assert_eq!(of(&["eu-west/%", "abc"]), "order eu-west/% was lost on shard blue\nat last");
        assert_eq!(pattern_of(said, &["OrderError", ".+"]), ("OrderError".to_owned(), "%".to_owned()));
        assert_eq!(of(&["(order) (?P<n>[a-z]+)"]), "%-west/abc was lost on shard blue\nat last", "`%` is no template");
    }

    proptest! {
        #[test]
        fn what_is_kept_of_a_failure_is_recognised_as_the_whole_was(
            message in "((Uncaught )?(java.io.)?(IO1?Error|Timeout): )?[ -~ä\\n\u{1b}]{0,80}(at com.acme.Cart.add\\(Cart.java:1\\)\n)?",
            kind in prop::option::of("(java.io.)?(IO1?Error|Timeout| )"),
            stack in prop::option::of("(Some2?Error: [a-z \\n]{0,20})?\n(\tat org.junit.X.y\\(X.java:1\\)\n)?(\tat com.acme.Cart.[a-c]\\(Cart.java:1\\)\n)?"),
            outcome in prop::sample::select(vec![Outcome::Failed, Outcome::Timeout]),
            earlier in prop::option::of("[a-d]{1,2}"), later in prop::option::of("[a-d]{1,2}|e|o+|[a-zA-Z]+"),
        ) {
            let error = ErrorText {
                message: Text::from(message),
                kind: kind.map(Text::from),
                stack: stack.map(Text::from),
                ..ErrorText::default()
            };
            let [earlier, later] = [earlier, later].map(|mask| mask.map(|mask| rules::compile(&mask).expect("compiles")));
            let of = |mask: &Option<Regex>| failure(&error, outcome, &mask.iter().collect::<Vec<_>>());
            let kept = again(&of(&earlier), outcome, &later.iter().collect::<Vec<_>>());
            prop_assert_eq!(kept, Some(of(&later)));
        }

        #[test]
        fn any_text_is_recognised_and_numbers_do_not_matter(
            text in "[ -~äß\\n\\t\u{1b}]{0,300}", one in 0u32..100_000, other in 0u32..100_000,
        ) {
            let first = error(&format!("{text} at item {one} of"), None, Some(&text));
            prop_assert_eq!(first.fingerprint, error(&format!("{text} at item {other} of"), None, Some(&text)).fingerprint);
        }
    }
}
