//! Where a watch writes: JSON lines for programs, or the whole screen of a terminal for people.
//!
//! Contract: what cannot be written because nobody reads any more (`weir watch … | head`) is [`Written::Closed`], no error.
//! A [`Screen`] takes the terminal's other screen and gives the first one back when dropped, on every way out.

use super::fold::{Change, Fold};
use super::table::Size;
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{self, BufWriter, Stdout, Write};

/// Whether anybody still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Done,
    Closed,
}

fn written(result: io::Result<()>) -> io::Result<Written> {
    match result {
        Ok(()) => Ok(Written::Done),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Written::Closed),
        Err(error) => Err(error),
    }
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<&'a str>,
    epoch: &'a str,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<Map<String, Value>>,
}

/// Writes changes as JSON, one a line.
///
/// # Errors
/// The output cannot be written to.
pub(super) fn write_lines(out: &mut dyn Write, fold: &Fold, changes: Vec<Change>) -> io::Result<Written> {
    let mut out = BufWriter::new(out);
    for change in changes {
        if let Err(error) = write_line(&mut out, fold, change) {
            return written(Err(error));
        }
    }
    written(out.flush())
}

fn write_line(out: &mut dyn Write, fold: &Fold, change: Change) -> io::Result<()> {
    let (epoch, time) = fold.position().map_or(("", 0), |position| (position.epoch.as_str(), position.time));
    let line = match change {
        Change::Reset => Line { op: "reset", view: None, epoch, time, row: None },
        Change::Up { view, row } => {
            let schema = &fold.views()[view].schema;
            let names = schema.columns.iter().map(|(name, _)| name.clone());
            Line { op: "up", view: Some(&schema.view), epoch, time, row: Some(names.zip(row).collect()) }
        }
        Change::Del { view, key } => {
            let schema = &fold.views()[view].schema;
            let names = schema.key.iter().map(|column| schema.columns[*column].0.clone());
            Line { op: "del", view: Some(&schema.view), epoch, time, row: Some(names.zip(key).collect()) }
        }
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// The other screen of a terminal.
pub(super) struct Screen {
    out: Stdout,
    terminal: console::Term,
}

/// Other screen, no cursor, no wrapping.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

impl Screen {
    /// Takes the screen.
    ///
    /// # Errors
    /// The terminal cannot be written to.
    pub(super) fn enter() -> io::Result<Screen> {
        let mut screen = Screen { out: io::stdout(), terminal: console::Term::stdout() };
        screen.out.write_all(ENTER)?;
        screen.out.flush()?;
        Ok(screen)
    }

    pub(super) fn size(&self) -> Size {
        let (height, width) = self.terminal.size();
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Size { width: width.into(), height: height.into(), colours }
    }

    /// Shows these lines and nothing else.
    ///
    /// # Errors
    /// The terminal cannot be written to.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<Written> {
        let mut bytes = Vec::from(b"\x1b[H" as &[u8]);
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\x1b[K");
        }
        bytes.extend_from_slice(b"\x1b[J");
        written(self.out.write_all(&bytes).and_then(|()| self.out.flush()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _restored = self.out.write_all(LEAVE).and_then(|()| self.out.flush());
    }
}
