//! A snapshot on its way into a dataflow.

use super::Snapshot;
use crate::engine::TakeError;
use weir_dataflows::keyed::States;
use weir_dataflows::output::Cut;
use weir_schemas::view::VIEWS;

/// The file of a worker's states.
pub(super) fn states_file(worker: usize) -> String {
    format!("states-{worker}")
}

impl Snapshot {
    /// Where a dataflow begins that goes on from it.
    pub(in crate::engine) fn cut(&self) -> Cut {
        let digest = |view| self.manifest.digest(view).unwrap_or_default();
        Cut { tick: self.manifest.cut.tick, digests: VIEWS.iter().map(|view| digest(view)).collect() }
    }

    /// Gives to `states` what of it belongs to worker `index` of `peers`.
    pub(in crate::engine) fn take_up(&self, states: &States, (index, peers): (usize, usize)) -> Result<(), TakeError> {
        let written = self.manifest.life.workers;
        // As many as wrote it: each has what it wrote.
        let files = if written == peers { index..index + 1 } else { 0..written };
        let mut part = Vec::new();
        for of in files {
            let mut file = self.file(&states_file(of))?;
            while let Some(machine) = file.next(&mut part)? {
                states.take(&machine, &part, of)?;
            }
        }
        states.go_on();
        Ok(())
    }
}
