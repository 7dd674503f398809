//! What commands say: results on standard output, everything for people on standard error.
//!
//! Contract: a reader that is gone (`weir send … | head -0`, a closed terminal) is no reason for a command to fail: what
//! cannot be written is dropped.

use std::io::Write as _;

/// A line on standard output.
pub(crate) fn result(line: &str) {
    // Nobody reads it: nothing else is lost.
    let _unread = writeln!(std::io::stdout().lock(), "{line}");
}

/// A line for people, on standard error, with the program's name before it.
pub(crate) fn note(line: &str) {
    let _unread = writeln!(std::io::stderr().lock(), "weir: {line}");
}
