//! The tail of the bindings log: bindings count once they are read back.
//!
//! Contract: reads on from our `Start`. A binding of ours with no newer `Start` before it counts, and the workers are told
//! to commit its tick. A newer `Start` means that another incarnation has taken over: the engine ends as fenced, and no tick
//! that it bound after that is ever released. One named thread.

use super::EngineError;
use super::bindings::{Body, Counting, Entry, Incarnation};
use super::control::Control;
use super::workers::{Lanes, Work};
use crate::log::{Bell, Log, Reader, Record};
use std::sync::Arc;
use std::time::Duration;

/// How often it looks whether the engine is to end.
const LOOK: Duration = Duration::from_millis(100);
/// Entries read at a time.
const ENTRIES: usize = 1_024;
const BYTES: usize = 1 << 20;

/// See the module.
pub(super) struct Tail {
    pub(super) control: Arc<Control>,
    pub(super) bindings: Arc<dyn Log>,
    pub(super) reader: Box<dyn Reader>,
    pub(super) counting: Counting,
    pub(super) incarnation: Incarnation,
    pub(super) lanes: Lanes,
}

impl Tail {
    /// Reads until the engine ends.
    pub(super) fn run(mut self) {
        let control = Arc::clone(&self.control);
        let _guard = control.guard("engine-bindings");
        let (mut entries, bell) = (Vec::new(), Arc::new(Bell::default()));
        self.bindings.ring(&bell);
        while !control.stopping() {
            let rung = bell.rung();
            let step = self.reader.read(ENTRIES, BYTES, &mut entries).map_err(EngineError::from);
            match step.and_then(|count| self.take(&mut entries).map(|()| count)) {
                Ok(0) => bell.wait(rung, LOOK),
                Ok(_) => {}
                Err(error) => {
                    control.fail(error);
                    return;
                }
            }
        }
    }

    fn take(&mut self, entries: &mut Vec<Record>) -> Result<(), EngineError> {
        let mut counted = Vec::with_capacity(entries.len());
        let mut fenced = Ok(());
        for record in entries.drain(..) {
            let entry = decode(&record)?;
            let counts = self.counting.counts(&entry);
            match entry.body {
                Body::Start { .. } if entry.incarnation != self.incarnation => {
                    fenced = Err(EngineError::Fenced { by: entry.incarnation });
                    break;
                }
                Body::Binding(binding) if counts => counted.push(binding.tick),
                _ => {}
            }
        }
        if !counted.is_empty() {
            self.lanes.all(&Work::Commit(counted.into()))?;
        }
        fenced
    }
}

/// Reads an entry of the bindings log.
pub(super) fn decode(record: &Record) -> Result<Entry, EngineError> {
    Entry::decode(&record.payload).map_err(|source| EngineError::Entry { offset: record.offset, source })
}
