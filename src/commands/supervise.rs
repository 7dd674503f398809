//! `weir supervise`: runs a server and starts it again when it ends by itself.
//!
//! Contract: the server is this program's own `serve`, with the arguments given. It is started again after a failure that another
//! start may mend: a broken part, a broker that is away, a topic that has grown. It is not where a person has to act first (a wrong
//! configuration, damaged data) or where another Weir has taken over, since two would take over from each other for ever: then this
//! ends with the server's own code. Signals to end are passed on, and the end of the server waited for: a second one ends it at once.
//!
//! # Failure
//! Starts that fail one after the other wait longer each time, up to [`PAUSE_MAX`]; a server that lived for [`LIVED`] was well.

use super::{Exit, Failure, LogArgs, runtime};
use crate::telemetry;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use tokio::signal::unix::{self, SignalKind};

/// The first pause between an end and the next start, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A server that ends after so long is started again after the first pause.
const LIVED: Duration = Duration::from_secs(60);

/// Arguments of `weir supervise`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir supervise --config /etc/weir/weir.toml        # what `weir serve` takes, this takes

It starts the server again after it has ended by itself, but not with exit code 0, 2, 4 or 5.")]
pub struct Args {
    /// The arguments of `weir serve`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS OF SERVE")]
    serve: Vec<OsString>,
}

/// The server has ended for good.
#[derive(Debug, thiserror::Error)]
#[error("the server has ended ({0}) and is not started again")]
struct ForGood(ExitStatus);

/// It cannot be started or waited for.
#[derive(Debug, thiserror::Error)]
#[error("cannot run the server")]
struct NotRun(#[source] std::io::Error);

/// Supervises until a signal says to end, or the server has ended for good.
///
/// # Errors
/// The server ended with a failure that another start would not mend, or cannot be started.
pub fn run(args: Args, log: &LogArgs) -> Result<(), Failure> {
    telemetry::init_logs(log.log_level.as_deref().unwrap_or("info"), log.log_format.unwrap_or_default())
        .map_err(|error| Failure::new(Exit::Usage, &error))?;
    let mut arguments = args.serve;
    let words = [
        ("--log-level", log.log_level.clone()),
        ("--log-format", log.log_format.map(|format| format!("{format:?}").to_lowercase())),
    ];
    arguments.extend(
        words.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten().map(OsString::from),
    );
    runtime()?.block_on(supervise(arguments))
}

async fn supervise(arguments: Vec<OsString>) -> Result<(), Failure> {
    let not_run = |error| Failure::new(Exit::Failed, &NotRun(error));
    // Once: an upgrade may put another program in its place, which is then the one that is started.
    let program = std::env::current_exe().map_err(not_run)?;
    let mut signals = Signals::new().map_err(not_run)?;
    let mut pause = PAUSE;
    loop {
        let since = Instant::now();
        let (status, asked_to_end) = one_life(&program, &arguments, &mut signals).await.map_err(not_run)?;
        if status.success() {
            return Ok(());
        }
        if asked_to_end || !starts_again(status) {
            return Err(Failure::new(Exit::of_server(status.code()), &ForGood(status)));
        }
        if since.elapsed() >= LIVED {
            pause = PAUSE;
        }
        tracing::warn!(%status, "the server has ended and is started again in {pause:?}");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = signals.next() => return Ok(()),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Signals that say to end.
struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}

/// Runs the server once, to its end, and passes on whatever says to end; whether anything did.
async fn one_life(
    program: &Path,
    arguments: &[OsString],
    signals: &mut Signals,
) -> std::io::Result<(ExitStatus, bool)> {
    // In a group of its own: a Ctrl-C reaches it once, through here.
    let mut child = Command::new(program).arg("serve").args(arguments).process_group(0).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
    let mut ended = tokio::task::spawn_blocking(move || child.wait());
    let mut asked_to_end = false;
    loop {
        tokio::select! {
            status = &mut ended => return Ok((status.map_err(std::io::Error::other)??, asked_to_end)),
            () = signals.next() => {
                asked_to_end = true;
                if let Err(error) = kill_process(pid, Signal::TERM) {
                    tracing::debug!(%error, "the server has ended before");
                }
            }
        }
    }
}

/// Whether another start may mend that.
fn starts_again(status: ExitStatus) -> bool {
    let for_good = [Exit::Usage, Exit::Data, Exit::Replaced].map(|exit| Some(exit as i32));
    // Without a code it was killed by a signal.
    status.signal().is_some() || !for_good.contains(&status.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_start_may_mend_is_started_again() {
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        let again: Vec<i32> = (1..=102).filter(|code| starts_again(exited(*code))).collect();
        assert!([1, 3, 101].iter().all(|code| again.contains(code)));
        assert!([2, 4, 5].iter().all(|code| !again.contains(code)));
        assert!(starts_again(ExitStatus::from_raw(9)), "it was killed");
    }
}
