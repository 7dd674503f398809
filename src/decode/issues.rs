//! The issues of one report: a bounded number, with their lines.

use super::{Format, Issue, IssueKind};
use std::collections::BTreeMap;

/// Issues of one kind that are told one by one; the rest is counted.
const EACH_MAX: usize = 10;

/// Issues as they are found, by their offset in the text.
#[derive(Default)]
pub(super) struct Issues {
    found: Vec<(usize, IssueKind, String)>,
    counts: BTreeMap<IssueKind, usize>,
}

impl Issues {
    /// Notes an issue at `offset`; `message` is only made when it is kept.
    pub(super) fn add(&mut self, offset: usize, kind: IssueKind, message: impl FnOnce() -> String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= EACH_MAX {
            self.found.push((offset, kind, message()));
        }
    }

    /// All issues in the order of their lines.
    pub(super) fn finish(mut self, format: Format, text: &str) -> Vec<Issue> {
        self.found.sort_by_key(|(offset, ..)| *offset);
        let (mut line, mut counted_to) = (1, 0);
        let mut issues: Vec<Issue> = Vec::with_capacity(self.found.len());
        for (offset, kind, message) in self.found {
            let offset = offset.min(text.len());
            line += text.as_bytes()[counted_to..offset].iter().filter(|byte| **byte == b'\n').count();
            counted_to = offset;
            issues.push(Issue { format, line, kind, message });
        }
        for (kind, count) in self.counts.iter().filter(|(_, count)| **count > EACH_MAX) {
            if let Some(last) = issues.iter_mut().rev().find(|issue| issue.kind == *kind) {
                last.message.push_str(&format!(" (and {} more of this kind)", count - EACH_MAX));
            }
        }
        issues
    }
}
