//! What `weir send` tells people, and whether all went well.

use super::delivery::{Coverage, Receipt};
use crate::commands::{Exit, Failure, say};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;

/// Of many alike, so many are shown.
const SHOWN_MAX: usize = 3;

/// The story of one call.
#[derive(Default)]
pub(super) struct Report {
    taken: usize,
    taken_late: usize,
    events: u64,
    rejected: u64,
    problems: usize,
    spooled: usize,
    usage: bool,
}

/// Says how many are not shown.
fn more(title: &str, all: u64, listed: usize) {
    let shown = listed.min(SHOWN_MAX) as u64;
    if all > shown {
        say::note(&format!("{title}: and {} more", all - shown));
    }
}

impl Report {
    /// Something will not be delivered, or is not acceptable.
    pub(super) fn problem(&mut self, text: &str) {
        self.problems += 1;
        say::note(text);
    }

    /// The command line names a server or a token that nothing can be sent with.
    pub(super) fn unusable(&mut self, text: &str) {
        self.usage = true;
        self.problem(text);
    }

    /// Something that may still turn out well.
    pub(super) fn warn(&self, text: &str) {
        say::note(text);
    }

    /// The server has a parcel.
    pub(super) fn taken(&mut self, title: &str, receipt: &Receipt) {
        self.taken += 1;
        self.events += receipt.accepted();
        self.rejected += receipt.rejected();
        if let Some(coverage) = &receipt.coverage {
            say::note(&format!("{title}: {}, {}", receipt.format, in_words(coverage)));
        }
        for rejected in receipt.rejected.iter().take(SHOWN_MAX) {
            let field = if rejected.field.is_empty() { String::new() } else { format!("{}: ", rejected.field) };
            say::note(&format!("{title}: event {} is not acceptable: {field}{}", rejected.index + 1, rejected.reason));
        }
        more(title, receipt.rejected(), receipt.rejected.len());
        for issue in receipt.issues.iter().take(SHOWN_MAX) {
            let line = issue.line.map_or(String::new(), |line| format!(" line {line}:"));
            say::note(&format!("{title}:{line} {}", issue.message));
        }
        more(title, receipt.issue_count as u64, receipt.issues.len());
    }

    /// The server has a parcel that had waited.
    pub(super) fn taken_late(&mut self, title: &str, receipt: &Receipt) {
        self.taken(title, receipt);
        self.taken -= 1;
        self.taken_late += 1;
    }

    /// A parcel waits in the spool; so many older ones were dropped for it.
    pub(super) fn spooled(&mut self, dropped: usize) {
        self.spooled += 1;
        if dropped > 0 {
            self.problem(&format!("the spool is full: dropped its {dropped} oldest"));
        }
    }

    /// Where what was kept is; `next` says how it is delivered.
    pub(super) fn spool_folder(&self, folder: &Path, next: &str) {
        if self.spooled > 0 {
            say::note(&format!("kept in {}; {next}", folder.display()));
        }
    }

    pub(super) fn still_waiting(&mut self, count: usize) {
        self.problem(&format!("{count} still wait in the spool"));
    }

    pub(super) fn waiting_elsewhere(&self, count: usize, to: &str) {
        if count > 0 {
            say::note(&format!("{count} in the spool wait for another server than {to}"));
        }
    }

    /// Where the run can be seen: on standard output, for scripts.
    pub(super) fn page(&self, url: &str) {
        say::result(url);
    }

    /// Sums up; decides on the exit code.
    pub(super) fn close(self, strict: bool) -> Result<(), Failure> {
        let Report { taken, taken_late, events, rejected, problems, spooled, usage } = self;
        let late = if taken_late > 0 { format!(", {taken_late} from the spool") } else { String::new() };
        if taken + taken_late > 0 {
            say::note(&format!("delivered {taken}{late}: {events} events accepted, {rejected} not acceptable"));
        }
        if strict && (problems > 0 || spooled > 0 || rejected > 0) {
            let exit = if usage { Exit::Usage } else { Exit::Failed };
            return Err(Failure::new(exit, &Unwell { problems, spooled, rejected }));
        }
        Ok(())
    }
}

/// `12 files, 840 of 1,002 lines covered (83.8 %)`
fn in_words(coverage: &Coverage) -> String {
    let Coverage { files, lines_covered, lines_total } = *coverage;
    if lines_total == 0 {
        return "no lines to cover in it".to_owned();
    }
    let files = match files {
        0 => String::new(),
        1 => "1 file, ".to_owned(),
        files => format!("{} files, ", grouped(files)),
    };
    // Rounded down: only what is covered whole is 100 %.
    let permille = u128::from(lines_covered) * 1_000 / u128::from(lines_total);
    let (percent, rest) = (permille / 10, permille % 10);
    format!("{files}{} of {} lines covered ({percent}.{rest} %)", grouped(lines_covered), grouped(lines_total))
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[derive(Debug, thiserror::Error)]
#[error("--strict: {problems} problems, {spooled} kept in the spool, {rejected} events not acceptable")]
struct Unwell {
    problems: usize,
    spooled: usize,
    rejected: u64,
}

/// A progress bar over the bytes of all files; shown on a terminal only.
pub(super) fn bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {wide_msg}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_reads_well() {
        for (files, lines_covered, lines_total, words) in [
            (12, 840, 1_002, "12 files, 840 of 1,002 lines covered (83.8 %)"),
            (1, 1, 1, "1 file, 1 of 1 lines covered (100.0 %)"),
            (54_321, 1_234_566, 1_234_567, "54,321 files, 1,234,566 of 1,234,567 lines covered (99.9 %)"),
            (0, 23, 31, "23 of 31 lines covered (74.1 %)"),
            (0, 0, 0, "no lines to cover in it"),
        ] {
            assert_eq!(in_words(&Coverage { files, lines_covered, lines_total }), words);
        }
    }
}
