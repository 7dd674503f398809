//! Limits on what comes in: every one has a default, a place in the configuration, and a rule for what lies above it.
//!
//! Above a limit an event is a reject or a text is cut visibly; nothing crashes and nothing grows (`events.md`, limits).

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Limits on events and reports. Bytes unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// `eventId`, at most; above: reject.
    pub event_id: usize,
    /// `streamId`, at most; above: reject.
    pub stream_id: usize,
    /// Any other name (test, suite, project, path …), at most; above: cut and marked.
    pub name: usize,
    /// `error.message` kept; above: cut and marked.
    pub error_message: usize,
    /// `error.stack` kept; above: cut and marked.
    pub error_stack: usize,
    /// Tags kept of an event; above: the rest is dropped.
    pub tags: usize,
    /// Labels kept of an event; above: the rest is dropped.
    pub labels: usize,
    /// Named metrics kept of an event; above: the rest is dropped.
    pub metrics: usize,
    /// Events in one batch; above: the body is refused.
    pub batch_events: usize,
    /// Files in one coverage event; above: reject.
    pub coverage_files: usize,
    /// One log record or one HTTP body; above: refused with 413, or a reject of kind `oversize`.
    pub record: usize,
    /// A body after decompression; above: refused with 413.
    pub decompressed: usize,
    /// Nesting of XML elements; above: the report ends there with an issue.
    pub xml_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            event_id: 128,
            stream_id: 256,
            name: 1 << 10,
            error_message: 8 << 10,
            error_stack: 64 << 10,
            tags: 32,
            labels: 64,
            metrics: 32,
            batch_events: 50_000,
            coverage_files: 5_000,
            record: 16 << 20,
            decompressed: 64 << 20,
            xml_depth: 64,
        }
    }
}

/// What stands at the end of a text that was cut.
pub const CUT_MARK: &str = "…[cut]";

/// Cuts `text` to at most `bytes`, at a character boundary, the mark included.
#[must_use]
pub fn cut(text: &str, bytes: usize) -> Cow<'_, str> {
    if text.len() <= bytes {
        return Cow::Borrowed(text);
    }
    let mut end = bytes.saturating_sub(CUT_MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}{CUT_MARK}", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_characters_whole_and_says_so() {
        assert_eq!(cut("short", 10), "short");
        let long = "ä".repeat(100);
        for bytes in 8..60 {
            let kept = cut(&long, bytes);
            assert!(kept.len() <= bytes && kept.ends_with(CUT_MARK), "{bytes}: {kept}");
        }
    }
}
