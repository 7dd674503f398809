//! The states of all machines of a worker: written down at one time, and taken up again by any number of workers.
//!
//! Contract: [`States::freeze`] is called when every worker has passed a time and none has been fed anything after it: then what
//! every machine holds is its state as of that time, and that is what is handed out, by it and by [`States::write_on`], whatever
//! the machines do meanwhile. [`States::take`] takes such parts up, of all workers that wrote, before the dataflow is first stepped;
//! [`States::go_on`] follows the last one. From then on all machines together emit at each later time what those that were written would have.
//!
//! A part is a sequence of entries of one machine, each in the encoding of `postcard`. Where an entry belongs depends on how many
//! workers there are now ([`Home`]).
//!
//! # Invariants
//! What is on its way between machines at the cut is not written. Of one tick nothing is; what is sent ahead in time, and what others
//! derive their own state from, is told again at the cut ([`Machine::resume`]).
//!
//! # Cost
//! Nothing until it is asked. Then a worker stands still while machines with a small state write all of it; those with a large one write
//! the rest of it in portions of [`PORTION_BYTES`], and whatever changes before its turn has come is copied once.

use super::{Machine, Running};
use crate::sharing::{Tables, sharing};
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Raised when an entry of any machine has another shape or meaning.
pub const FORMAT: u32 = 1;

/// How long a part becomes, about.
const PART_BYTES: usize = 1 << 20;
/// How much is written at a time by a machine that writes in portions.
const PORTION_BYTES: usize = 1 << 16;

/// Which of the workers an entry of a machine's state belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// To all of them: each holds the same.
    Everywhere,
    /// To the one that this is routed to.
    Routed(u64),
    /// To any one: it is a part of a sum over all of them.
    Anywhere,
}

/// Why a part cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It was written by another version, or is not what was written.
    #[error("an entry of {machine} cannot be read: {source}")]
    Entry {
        /// The operator.
        machine: String,
        /// What is wrong.
        source: postcard::Error,
    },
    /// No such machine is there.
    #[error("there is no operator {machine}")]
    Unknown {
        /// Its name.
        machine: String,
    },
}

/// Where a machine writes its entries.
#[derive(Default)]
pub struct Parts {
    bytes: Vec<u8>,
    tables: Tables,
    /// Those that are long enough.
    full: Vec<Vec<u8>>,
    /// All bytes written since the portion began.
    portion: usize,
}

impl Parts {
    /// Writes an entry.
    pub fn entry<E: Serialize>(&mut self, entry: &E) {
        let before = self.bytes.len();
        let bytes = std::mem::take(&mut self.bytes);
        let written = sharing(&mut self.tables, || postcard::to_extend(entry, bytes));
        self.bytes = written.expect("a state has nothing that cannot be encoded");
        self.portion += self.bytes.len() - before;
        if self.bytes.len() >= PART_BYTES {
            self.end();
        }
    }

    /// Whether enough is written for once.
    #[must_use]
    pub fn enough(&self) -> bool {
        self.portion >= PORTION_BYTES
    }

    fn end(&mut self) {
        if !self.bytes.is_empty() {
            self.full.push(std::mem::take(&mut self.bytes));
        }
        self.tables.clear();
    }

    /// Hands out what is long enough.
    fn hand(&mut self, part: &mut dyn FnMut(Vec<u8>)) {
        self.full.drain(..).for_each(part);
        self.portion = 0;
    }
}

/// Of one machine, whatever its type.
pub(super) trait Kept {
    /// Hands out the first of its state as it is now, in parts; whether that is all.
    fn freeze(&self, part: &mut dyn FnMut(Vec<u8>)) -> bool;

    /// Hands out more of it, if that fills a part; whether that was all.
    fn write_on(&self, part: &mut dyn FnMut(Vec<u8>)) -> bool;

    /// Takes in what of a part that was written by worker `of` is this worker's.
    fn take(&self, part: &[u8], of: usize, here: Here) -> Result<(), postcard::Error>;

    /// All of it has been taken in: goes on after `tick`.
    fn go_on(&self, tick: u64);
}

/// A worker among its peers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here {
    index: u64,
    peers: u64,
}

impl Here {
    /// Whether what belongs to `home`, as written by worker `of`, belongs here.
    fn has(self, home: Home, of: usize) -> bool {
        match home {
            Home::Everywhere => true,
            // As timely's exchange does it: for a power of two the remainder is the mask.
            Home::Routed(route) => route % self.peers == self.index,
            Home::Anywhere => of as u64 % self.peers == self.index,
        }
    }
}

/// The machines of a worker.
#[derive(Clone)]
pub struct States(Rc<Inner>);

struct Inner {
    here: Here,
    until: u64,
    /// The time that machines are restored to, if they are.
    restores: Option<u64>,
    machines: RefCell<Vec<(String, Rc<dyn Kept>)>>,
    /// Which of them have more to write of what was frozen, the last one first.
    writing: RefCell<Vec<usize>>,
    passed: Cell<u64>,
}

impl States {
    /// None yet, of worker `index` of `peers`; nothing at or past `until` is run. `restores`: the time that machines are restored to
    /// before they run.
    #[must_use]
    pub fn new((index, peers): (usize, usize), until: u64, restores: Option<u64>) -> States {
        let here = Here { index: index as u64, peers: peers as u64 };
        let (machines, writing) = Default::default();
        States(Rc::new(Inner { here, until, restores, machines, writing, passed: Cell::new(0) }))
    }

    /// Nothing at or past this time is run.
    pub(super) fn until(&self) -> u64 {
        self.0.until
    }

    /// The time that machines are restored to, if they are.
    pub(super) fn restores(&self) -> Option<u64> {
        self.0.restores
    }

    /// One more machine.
    pub(super) fn keep(&self, name: &str, machine: Rc<dyn Kept>) {
        let mut machines = self.0.machines.borrow_mut();
        assert!(machines.iter().all(|(known, _)| known != name), "two operators are called {name}");
        machines.push((name.to_owned(), machine));
    }

    /// Notes that every worker has passed all times before this one.
    pub(crate) fn pass(&self, upper: u64) {
        self.0.passed.set(upper);
    }

    /// The first time that not every worker has passed.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.0.passed.get()
    }

    /// Begins to write the state of every machine as it is now; hands out the name and the parts of those that have little to write, and
    /// what the others write at once. Nothing may be under way.
    pub fn freeze(&self, mut part: impl FnMut(&str, Vec<u8>)) {
        let mut writing = self.0.writing.borrow_mut();
        for (index, (name, machine)) in self.0.machines.borrow().iter().enumerate() {
            if !machine.freeze(&mut |bytes| part(name, bytes)) {
                writing.push(index);
            }
        }
    }

    /// Goes on, by a portion, with the state as it was then; whether all of it was handed out.
    pub fn write_on(&self, mut part: impl FnMut(&str, Vec<u8>)) -> bool {
        let mut writing = self.0.writing.borrow_mut();
        let machines = self.0.machines.borrow();
        if let Some((name, machine)) = writing.last().map(|index| &machines[*index])
            && machine.write_on(&mut |bytes| part(name, bytes))
        {
            writing.pop();
        }
        writing.is_empty()
    }

    /// Takes up what of a part of `machine`, as worker `of` wrote it, belongs here.
    ///
    /// # Errors
    /// It cannot be read, or nobody here is called that.
    pub fn take(&self, machine: &str, part: &[u8], of: usize) -> Result<(), StateError> {
        let machines = self.0.machines.borrow();
        let found = machines.iter().find(|(name, _)| name == machine);
        let (_, found) = found.ok_or_else(|| StateError::Unknown { machine: machine.to_owned() })?;
        let taken = found.take(part, of, self.0.here);
        taken.map_err(|source| StateError::Entry { machine: machine.to_owned(), source })
    }

    /// Everything has been taken up.
    ///
    /// # Panics
    /// When nothing was to be restored.
    pub fn go_on(&self) {
        let tick = self.0.restores.expect("machines are made to be restored");
        self.0.machines.borrow().iter().for_each(|(_, machine)| machine.go_on(tick));
    }
}

impl<M: Machine> Running<M> {
    /// Hands out what `write` writes and fills a part, or ends the last one; whether that was all.
    fn portion(&mut self, write: fn(&mut M, &mut Parts) -> bool, part: &mut dyn FnMut(Vec<u8>)) -> bool {
        let all = write(&mut self.machine, &mut self.parts);
        if all {
            self.parts.end();
        }
        self.parts.hand(part);
        all
    }
}

impl<M: Machine> Kept for RefCell<Running<M>> {
    fn freeze(&self, part: &mut dyn FnMut(Vec<u8>)) -> bool {
        self.borrow_mut().portion(M::freeze, part)
    }

    fn write_on(&self, part: &mut dyn FnMut(Vec<u8>)) -> bool {
        self.borrow_mut().portion(M::write_on, part)
    }

    fn take(&self, mut part: &[u8], of: usize, here: Here) -> Result<(), postcard::Error> {
        let (mut entries, mut tables) = (Vec::new(), Tables::default());
        while !part.is_empty() {
            let (entry, rest) = sharing(&mut tables, || postcard::take_from_bytes::<M::Entry>(part))?;
            part = rest;
            if here.has(M::home(&entry), of) {
                entries.push(entry);
            }
        }
        let running = &mut *self.borrow_mut();
        running.wake.extend(running.machine.restore(entries));
        Ok(())
    }

    fn go_on(&self, tick: u64) {
        let running = &mut *self.borrow_mut();
        running.resumes = Some(tick);
        // What was due by the cut is done.
        running.wake = running.wake.split_off(&(tick + 1));
    }
}
