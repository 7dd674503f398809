//! Shutdown: one token, made once, passed down to everything that lives long.
//!
//! Contract: [`Shutdown::trigger`] is idempotent and may be called from any thread; every holder of a clone sees it, whether
//! it polls ([`Shutdown::triggered`]) or waits ([`Shutdown::wait`]).

use std::sync::Arc;
use tokio::sync::watch;

/// A token that says when to end.
#[derive(Clone, Debug)]
pub struct Shutdown {
    sender: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown { sender: Arc::new(watch::Sender::new(false)) }
    }
}

impl Shutdown {
    /// Says that everything is to end.
    pub fn trigger(&self) {
        self.sender.send_replace(true);
    }

    /// Whether everything is to end.
    #[must_use]
    pub fn triggered(&self) -> bool {
        *self.sender.borrow()
    }

    /// Waits until everything is to end.
    pub async fn wait(&self) {
        let mut receiver = self.sender.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _seen = receiver.wait_for(|triggered| *triggered).await;
    }
}
