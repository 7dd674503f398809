//! The memory there is for request bodies, shared by all clients.
//!
//! Contract: whoever holds bytes of a body holds a [`Share`] of the [`Room`] for them; dropping it gives the room back. A
//! share that cannot grow is refused at once: nobody waits for room while holding some.
//!
//! # Invariants
//! All shares together never exceed the room, whatever the number of clients (A2).

use super::refusal::Refusal;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room is given out in pieces of this size.
const PIECE: usize = 1 << 10;

/// The memory for bodies.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pieces: Arc<Semaphore>,
}

/// Part of the room.
#[derive(Debug)]
pub(super) struct Share {
    room: Room,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// A room of so many bytes.
    pub(super) fn new(bytes: usize) -> Room {
        Room { pieces: Arc::new(Semaphore::new((bytes / PIECE).clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// A share of nothing yet.
    pub(super) fn share(&self) -> Share {
        Share { room: self.clone(), permit: None }
    }

    /// Bytes not given out.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.pieces.available_permits() * PIECE
    }
}

impl Share {
    /// Makes the share hold at least `bytes` in all.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Some(more) = bytes.div_ceil(PIECE).checked_sub(held).filter(|more| *more > 0) else { return Ok(()) };
        let more = u32::try_from(more).map_err(|_| Refusal::NoRoom)?;
        let permit = Arc::clone(&self.room.pieces).try_acquire_many_owned(more).map_err(|_| Refusal::NoRoom)?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_room_and_come_back() {
        let room = Room::new(8 << 10);
        let (mut one, mut two) = (room.share(), room.share());
        one.grow_to(1).expect("there is room");
        assert_eq!(room.free(), 7 << 10);
        one.grow_to(5 << 10).expect("there is room");
        one.grow_to(2 << 10).expect("holds more already");
        assert_eq!(room.free(), 3 << 10);
        assert!(matches!(two.grow_to((3 << 10) + 1), Err(Refusal::NoRoom)));
        assert_eq!(room.free(), 3 << 10, "a refused share takes nothing");
        two.grow_to(3 << 10).expect("there is room");
        drop(one);
        assert_eq!(room.free(), 5 << 10);
    }
}
