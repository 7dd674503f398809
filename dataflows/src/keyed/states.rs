//! The states of all machines of a worker: written down at one time, and taken up again by any number of workers.
//!
//! Contract: [`States::write`] is called when every worker has passed a time and none has been fed anything after it: then what
//! every machine holds is its state as of that time. [`States::take`] takes such parts up, of all workers that wrote, before
//! the dataflow is first stepped; [`States::go_on`] follows the last one. From then on every machine emits at each later time what
//! the one that was written would have: that is tested for every machine, and for the whole.
//!
//! A part is a sequence of entries of one machine, each in the encoding of `postcard`. Where an entry belongs depends on how many
//! workers there are now ([`Home`]).
//!
//! # Invariants
//! What is on its way between machines at the cut is not written. Of one tick nothing is; what is sent ahead in time, and what others
//! derive their own state from, is told again at the cut ([`Machine::resume`]).
//!
//! # Cost
//! Nothing until it is asked; then a worker stands still while its state is encoded, in parts of [`PART_BYTES`].

use super::{Machine, Running};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Raised when an entry of any machine has another shape or meaning.
pub const FORMAT: u32 = 1;

/// How long a part becomes, about.
const PART_BYTES: usize = 1 << 20;

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

/// Of one machine, whatever its type.
pub(super) trait Kept {
    /// Hands out its state, in parts.
    fn write(&self, part: &mut dyn FnMut(Vec<u8>));

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
    passed: Cell<u64>,
}

impl States {
    /// None yet, of worker `index` of `peers`; nothing at or past `until` is run. `restores`: the time that machines are restored to
    /// before they run.
    #[must_use]
    pub fn new((index, peers): (usize, usize), until: u64, restores: Option<u64>) -> States {
        let here = Here { index: index as u64, peers: peers as u64 };
        States(Rc::new(Inner { here, until, restores, machines: RefCell::default(), passed: Cell::new(0) }))
    }

    /// Nothing at or past this time is run.
    pub(super) fn until(&self) -> u64 {
        self.0.until
    }

    /// The time that machines are restored to, if they are.
    #[must_use]
    pub fn restores(&self) -> Option<u64> {
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

    /// Hands out the state of every machine: its name, and part by part.
    pub fn write(&self, mut part: impl FnMut(&str, Vec<u8>)) {
        for (name, machine) in self.0.machines.borrow().iter() {
            machine.write(&mut |bytes| part(name, bytes));
        }
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

impl<M: Machine> Kept for RefCell<Running<M>> {
    fn write(&self, part: &mut dyn FnMut(Vec<u8>)) {
        let mut bytes = Vec::new();
        self.borrow().machine.write(&mut |entry| {
            append(entry, &mut bytes);
            if bytes.len() >= PART_BYTES {
                part(std::mem::take(&mut bytes));
            }
        });
        if !bytes.is_empty() {
            part(bytes);
        }
    }

    fn take(&self, mut part: &[u8], of: usize, here: Here) -> Result<(), postcard::Error> {
        let mut entries = Vec::new();
        while !part.is_empty() {
            let entry: M::Entry = read(&mut part)?;
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

/// Appends an entry to a part.
pub(super) fn append<E: Serialize>(entry: &E, part: &mut Vec<u8>) {
    let bytes = postcard::to_extend(entry, std::mem::take(part));
    *part = bytes.expect("a state has nothing that cannot be encoded");
}

/// Reads the next entry of a part.
pub(super) fn read<E: DeserializeOwned>(part: &mut &[u8]) -> Result<E, postcard::Error> {
    let (entry, rest) = postcard::take_from_bytes(part)?;
    *part = rest;
    Ok(entry)
}
