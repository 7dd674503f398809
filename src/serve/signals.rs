//! How the process learns that it is to end, and how it ends when a thread panics.

use super::ServeError;
use crate::exit::{EXIT_PANIC, Exit};
use crate::shutdown::Shutdown;
use crate::task;
use tokio::signal::unix::{SignalKind, signal};

/// Triggers `shutdown` at the first SIGINT or SIGTERM and ends the process at the second.
///
/// # Errors
/// The system does not tell of signals.
pub fn end_on_signals(shutdown: Shutdown) -> Result<(), ServeError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    task::spawn("signals", async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
            if first {
                tracing::info!("ending in order; a second signal ends at once");
                shutdown.trigger();
            }
        }
        tracing::warn!("ending at once");
        std::process::exit(Exit::Failed as i32);
    });
    Ok(())
}

/// Makes a panic of any thread end the process, after its message (A7).
pub fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        tracing::error!("a thread panicked, the process ends: {panic}");
        std::process::exit(EXIT_PANIC);
    }));
}
