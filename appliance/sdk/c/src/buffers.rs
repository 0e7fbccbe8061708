//! Which shared buffers there are: a table from a buffer's address to what belongs to it.
//!
//! A `shared_buffer_t` has no room for a handle, and a lock around every message would cost more than the message. The
//! table is read with two loads, which nobody else writes while buffers are used, and changed under a lock.

use std::ffi::CString;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use weir_appliance_sdk_rust::{SdkError, SharedBuffer};

use crate::answer::invalid;
use crate::layout::SharedBufferT;

/// Buffers at a time in one process.
const SLOTS: usize = 256;
/// A slot whose buffer was destroyed: a search goes on behind it.
const LEFT: usize = 1;

/// A buffer and what C may ask about it.
pub(crate) struct Held {
    pub(crate) buffer: SharedBuffer,
    pub(crate) pages: CString,
}

struct Slot {
    /// Address of the buffer's bytes, 0 for a slot never used, [`LEFT`].
    base: AtomicUsize,
    held: AtomicPtr<Held>,
}

static TABLE: [Slot; SLOTS] =
    [const { Slot { base: AtomicUsize::new(0), held: AtomicPtr::new(ptr::null_mut()) } }; SLOTS];
static CHANGES: Mutex<()> = Mutex::new(());

/// The slots in which a buffer at `base` may be, likeliest first.
fn places(base: usize) -> impl Iterator<Item = &'static Slot> {
    // Pages lie one behind the other, so the page's number spreads buffers well enough.
    let first = base >> 12;
    (0..SLOTS).map(move |step| &TABLE[first.wrapping_add(step) % SLOTS])
}

fn slot(base: usize) -> Option<&'static Slot> {
    let found = places(base).map(|slot| (slot, slot.base.load(Ordering::Acquire)));
    let mut found = found.take_while(|(_, there)| *there != 0);
    found.find(|(_, there)| *there == base && base > LEFT).map(|(slot, _)| slot)
}

/// Enters a buffer.
pub(crate) fn enter(buffer: SharedBuffer) -> Result<(), SdkError> {
    let base = buffer.base().addr().get();
    let pages = CString::new(buffer.backing().to_string()).unwrap_or_default();
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let free = places(base).find(|slot| slot.base.load(Ordering::Relaxed) <= LEFT);
    let slot = free.ok_or_else(|| {
        invalid(format!("{SLOTS} shared buffers are in use by this process"), "destroy those that are done with")
    })?;
    slot.held.store(Box::into_raw(Box::new(Held { buffer, pages })), Ordering::Release);
    slot.base.store(base, Ordering::Release);
    Ok(())
}

/// What belongs to this struct.
pub(crate) fn find(view: &SharedBufferT) -> Result<&'static Held, SdkError> {
    const CURE: &str = "pass what create_shared_buffer or weir_buffer_open filled, before it is destroyed";
    let held = slot(view.base_address.addr()).map_or(ptr::null_mut(), |slot| slot.held.load(Ordering::Acquire));
    // SAFETY: what the table holds came from a Box in `enter` and is freed by `leave` alone, during which the header
    // forbids every other call on the buffer. Worst case of a program that does not keep to that: it reads freed memory.
    let held = unsafe { held.as_ref() };
    let held = held.filter(|held| held.buffer.ring().size() == view.buffer_size as u64);
    held.ok_or_else(|| invalid(format!("{:p} is the base of no shared buffer of this size", view.base_address), CURE))
}

/// Takes a buffer out and gives its memory back.
pub(crate) fn leave(view: &SharedBufferT) -> Result<(), SdkError> {
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    find(view)?;
    let Some(slot) = slot(view.base_address.addr()) else { return Ok(()) };
    slot.base.store(LEFT, Ordering::Release);
    let held = slot.held.swap(ptr::null_mut(), Ordering::AcqRel);
    if !held.is_null() {
        // SAFETY: it came from a Box in `enter`, the swap gave it to this call alone, and the header forbids other calls
        // on this buffer. Worst case of a program that makes one: it reads freed memory.
        drop(unsafe { Box::from_raw(held) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_found_until_they_leave_and_no_longer() {
        let mut views: Vec<SharedBufferT> = Vec::new();
        let full = loop {
            let buffer = SharedBuffer::create(1, 64, -1).map(|buffer| (buffer.base(), buffer));
            let Ok((base, buffer)) = buffer else { break "memory" };
            let view = SharedBufferT {
                feature_id: 1,
                buffer_size: 64,
                numa_node: -1,
                base_address: base.as_ptr().cast(),
                positions: Default::default(),
            };
            if enter(buffer).is_err() {
                break "table";
            }
            views.push(view);
        };
        assert_eq!((full, views.len()), ("table", SLOTS));
        for number in (0..SLOTS).step_by(2).chain((1..SLOTS).step_by(2)) {
            assert!(find(&views[number]).is_ok());
            assert!(leave(&views[number]).is_ok());
            assert!(find(&views[number]).is_err() && leave(&views[number]).is_err());
        }
        let nowhere = SharedBufferT { base_address: ptr::without_provenance_mut(LEFT), ..views.remove(0) };
        assert!(find(&nowhere).is_err());
    }
}
