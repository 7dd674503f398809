//! `weir supervise`: runs a server and starts it again when it ends by itself.
//!
//! Contract: the server is this program's own `serve`, with the arguments given. It is started again after a failure that another
//! start may mend: a broken part, a broker that is away, a topic that has grown. It is not where a person has to act first (a wrong
//! configuration, damaged data) or where another Weir has taken over, since two would take over from each other for ever: then this
//! ends with the server's own code. A signal to end is passed on, and the end of the server waited for.
//!
//! # Failure
//! Starts that fail one after the other wait longer each time, up to [`PAUSE_MAX`]; a server that lived for [`LIVED`] was well.

use super::{Exit, Failure, LogArgs, runtime};
use crate::serve::end_on_signals;
use crate::shutdown::Shutdown;
use crate::{task, telemetry};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

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
    runtime()?.block_on(supervise(args.serve))
}

async fn supervise(arguments: Vec<OsString>) -> Result<(), Failure> {
    let shutdown = Shutdown::default();
    end_on_signals(shutdown.clone())?;
    let mut pause = PAUSE;
    loop {
        let since = Instant::now();
        let status =
            one_life(&arguments, &shutdown).await.map_err(|error| Failure::new(Exit::Failed, &NotRun(error)))?;
        if status.success() {
            return Ok(());
        }
        if shutdown.triggered() || !starts_again(status) {
            return Err(Failure::new(Exit::of_server(status.code()), &ForGood(status)));
        }
        if since.elapsed() >= LIVED {
            pause = PAUSE;
        }
        tracing::warn!(%status, "the server has ended and is started again in {pause:?}");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.wait() => return Ok(()),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Runs the server once, to its end; a shutdown is passed on to it.
async fn one_life(arguments: &[OsString], shutdown: &Shutdown) -> std::io::Result<ExitStatus> {
    // In a group of its own: a Ctrl-C reaches it once, through here.
    let mut child = Command::new(std::env::current_exe()?).arg("serve").args(arguments).process_group(0).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
    let ended = Shutdown::default();
    let (shutdown, over) = (shutdown.clone(), ended.clone());
    let passes_on = task::spawn("pass the signal on", async move {
        tokio::select! {
            () = shutdown.wait() => if let Err(error) = kill_process(pid, Signal::TERM) {
                tracing::debug!(%error, "the server has ended before");
            },
            () = over.wait() => {}
        }
    });
    let status = tokio::task::spawn_blocking(move || child.wait()).await;
    ended.trigger();
    // It ends by itself now.
    drop(passes_on);
    status.map_err(std::io::Error::other)?
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
