//! Named tasks: the one way in which Weir starts asynchronous work.
//!
//! Contract: [`spawn`] starts a future under a span that carries its name, so every log line says which task wrote it. A
//! task ends when its future does; long-lived ones take a [`crate::shutdown`] token.

use std::future::Future;
use tokio::task::JoinHandle;
use tracing::Instrument;

/// Starts `future` on the current runtime under `name`.
#[expect(clippy::disallowed_methods, reason = "this is the named wrapper that the ban points to")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::info_span!("task", name)))
}
