//! How errors are shown: the whole chain in one line, once, where it is handled.

use std::error::Error;
use std::fmt::Write;

/// `error: source: source of that …`, without repeating what an error already says of its source.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            // Writing to a string cannot fail.
            let _written = write!(line, ": {text}");
        }
        source = cause.source();
    }
    line
}
