//! How the program ends: exit codes, and a failure as one line for a person.

use std::fmt;
use std::process::ExitCode;

/// The process's exit code; see `weir --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for did not work out.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The machine does not let it start: port, folder, permissions.
    Environment = 3,
    /// The data is damaged or of a newer version.
    Data = 4,
    /// Another server has taken over the log.
    Replaced = 5,
}

impl Exit {
    /// That of a server that ended with a code; none: killed by a signal.
    #[must_use]
    pub fn of_server(code: Option<i32>) -> Exit {
        let known = [Exit::Usage, Exit::Environment, Exit::Data, Exit::Replaced];
        known.into_iter().find(|exit| Some(*exit as i32) == code).unwrap_or(Exit::Failed)
    }
}

/// The exit code of a process in which a thread panicked.
pub const EXIT_PANIC: i32 = 101;

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed: one line for a person, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    message: String,
    remedy: Option<String>,
}

impl Failure {
    /// From an error and its sources, in one line.
    #[must_use]
    pub fn new(exit: Exit, error: &dyn std::error::Error) -> Failure {
        Failure { exit, message: crate::error::chain(error), remedy: None }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Failure {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}
