//! What a batch carries: the shared entries of the frames that a connection's subscriptions have not had.
//!
//! Contract: frames are taken in order from the earliest position among the members until the batch is long enough. A member
//! takes the frames after its own position, and before its first one an entry that names that position.
//!
//! # Cost
//! O(frames × members), each a look at a shared entry.

use crate::hub::Hub;
use crate::hub::encoding::{BATCH_BYTES, encode_from};
use crate::hub::query::Query;
use bytes::Bytes;

/// Frames looked at in one go, so that other connections get their turn.
const FRAMES_MAX: usize = 256;
/// A resuming subscription may bring the group so many bytes or frames that the others have had; beyond, it gets a
/// snapshot.
const CATCH_UP_BYTES: usize = 8 << 20;
const CATCH_UP_FRAMES: usize = 4_096;

/// A subscription that takes part.
pub(crate) struct Member<'a> {
    pub(crate) query: &'a Query,
    /// It has everything up to here.
    pub(crate) position: u64,
    /// Whether a batch has named it; if not, this one does.
    pub(crate) named: bool,
}

/// What was found.
pub(crate) enum Gathered {
    /// The ring begins after a position.
    OffTheRing,
    /// Some position is too far behind the others'.
    TooFarBehind,
    /// This.
    Span(Span),
}

/// Entries up to a time.
pub(crate) struct Span {
    /// Everything up to here; not before the group's position.
    pub(crate) time: u64,
    pub(crate) entries: Vec<Bytes>,
    /// Whether there may be more after it.
    pub(crate) more: bool,
}

/// Collects what `members` have not had; the group's others are at `base`.
pub(crate) fn gather(hub: &Hub, epoch: &str, base: u64, members: &[Member<'_>]) -> Gathered {
    let start = members.iter().map(|member| member.position).min().unwrap_or(base);
    let (mut time, mut bytes, mut seen) = (start, 0, 0);
    let mut named: Vec<bool> = members.iter().map(|member| member.named).collect();
    let mut entries = Vec::new();
    name(members, &mut named, time, &mut entries);
    let mut more = true;
    while more && (time < base || (bytes < BATCH_BYTES && seen < FRAMES_MAX)) {
        let Some(frames) = hub.frames(epoch, time, FRAMES_MAX) else { return Gathered::OffTheRing };
        more = frames.len() == FRAMES_MAX;
        for frame in frames {
            if time >= base && bytes >= BATCH_BYTES {
                more = true;
                break;
            }
            name(members, &mut named, frame.upper(), &mut entries);
            for (index, member) in members.iter().enumerate() {
                let takes = |member: &Member<'_>| frame.upper() > member.position;
                let had = || members[..index].iter().any(|other| other.query.hash == member.query.hash && takes(other));
                if !takes(member) || had() {
                    continue;
                }
                if let Some(shared) = frame.entries(member.query) {
                    bytes += shared.iter().map(Bytes::len).sum::<usize>();
                    entries.extend(shared.iter().cloned());
                }
            }
            time = frame.upper();
            seen += 1;
        }
        if time < base && (bytes > CATCH_UP_BYTES || seen > CATCH_UP_FRAMES) {
            return Gathered::TooFarBehind;
        }
    }
    Gathered::Span(Span { time: time.max(base), entries, more })
}

/// Names the members whose position a batch up to `time` reaches.
fn name(members: &[Member<'_>], named: &mut [bool], time: u64, entries: &mut Vec<Bytes>) {
    for (member, named) in members.iter().zip(named) {
        if !*named && member.position <= time {
            entries.push(encode_from(member.query, member.position));
            *named = true;
        }
    }
}
