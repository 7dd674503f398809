//! Which operator holds how much memory: an allocator that keeps a ledger.
//!
//! Contract: a binary that has [`Ledger`] as its global allocator can ask [`held`] how many bytes are in use, by the operator during
//! whose scheduling they were asked for, whoever gives them back. What no operator asked for, such as input, stands under
//! `None`. What an operator made and passed on stands under it as long as anybody keeps it.
//!
//! # Cost
//! 16 bytes more an allocation, which are not counted, and two atomic additions.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

/// Operators that are told apart; what is beyond stands under the last one.
const OPERATORS: usize = 1 << 10;
/// What stands before each allocation, at least: its owner, in the last 8 bytes.
const HEAD: usize = 16;

static HELD: [AtomicI64; OPERATORS] = [const { AtomicI64::new(0) }; OPERATORS];

/// See the module.
pub(crate) struct Ledger;

/// The bytes in use by operator.
pub(crate) fn held() -> BTreeMap<Option<usize>, i64> {
    let all = HELD.iter().enumerate().map(|(owner, bytes)| (owner.checked_sub(1), bytes.load(Ordering::Relaxed)));
    all.filter(|(_, bytes)| *bytes != 0).collect()
}

fn owner() -> usize {
    timely::scheduling::current::operator_id().map_or(0, |id| (id + 1).min(OPERATORS - 1))
}

fn note(owner: usize, bytes: usize, sign: i64) {
    HELD[owner].fetch_add(sign * bytes as i64, Ordering::Relaxed);
}

/// The layout with room for the head, and how long the head is.
fn with_head(layout: Layout) -> (Layout, usize) {
    let head = HEAD.max(layout.align());
    let size = layout.size().saturating_add(head).min(isize::MAX as usize - head);
    (Layout::from_size_align(size, head).unwrap_or(layout), head)
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
// SAFETY: every allocation is one of mimalloc's with `head` bytes more, `head` being a multiple of the alignment that is asked for
// and at least 16; what is given out begins behind the head, so it is aligned, has the size asked for, and the 8 bytes before
// it are this allocator's own.
unsafe impl GlobalAlloc for Ledger {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (whole, head) = with_head(layout);
        unsafe { give(mimalloc::MiMalloc.alloc(whole), head, layout.size()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (whole, head) = with_head(layout);
        unsafe { give(mimalloc::MiMalloc.alloc_zeroed(whole), head, layout.size()) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let (whole, head) = with_head(layout);
        unsafe {
            note(pointer.cast::<usize>().sub(1).read(), layout.size(), -1);
            mimalloc::MiMalloc.dealloc(pointer.sub(head), whole);
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (whole, head) = with_head(layout);
        unsafe {
            let before = pointer.cast::<usize>().sub(1).read();
            let moved = mimalloc::MiMalloc.realloc(pointer.sub(head), whole, size + head);
            if moved.is_null() {
                return moved;
            }
            note(before, layout.size(), -1);
            give(moved, head, size)
        }
    }
}

/// Writes the owner down and gives what is behind the head.
#[expect(unsafe_code, reason = "part of the allocator")]
unsafe fn give(whole: *mut u8, head: usize, size: usize) -> *mut u8 {
    if whole.is_null() {
        return whole;
    }
    let owner = owner();
    note(owner, size, 1);
    unsafe {
        let pointer = whole.add(head);
        pointer.cast::<usize>().sub(1).write(owner);
        pointer
    }
}
