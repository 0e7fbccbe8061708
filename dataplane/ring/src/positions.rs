//! The arithmetic of positions that count up in 64 bits and never wrap, and the order of their loads and stores.
//!
//! As in [`order`](crate::order), a side stores its own position with release after its work, and loads its peer's with
//! acquire before. What it saw of its peer is kept in its view, and the shared position is loaded only when that does not
//! suffice. Two sides may share a view: what either stores there was in the ring before.
//!
//! The words are behind [`Count`], so that a permutation checker runs exactly this code on its own atomics.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

/// A 64-bit position.
pub trait Count {
    /// Loads with acquire: what the peer did before its store is visible after.
    fn load(&self) -> u64;
    /// Stores with release: what this side did before is visible to who loads the value.
    fn store(&self, value: u64);
}

impl<T: Deref<Target = AtomicU64>> Count for T {
    #[inline]
    fn load(&self) -> u64 {
        (**self).load(Ordering::Acquire)
    }

    #[inline]
    fn store(&self, value: u64) {
        (**self).store(value, Ordering::Release);
    }
}

/// One side of a ring of `size` bytes: its own position and its peer's, in the ring and in its view.
pub struct Side<W> {
    /// This side's position in the ring.
    pub own: W,
    /// The peer's position in the ring.
    pub peer: W,
    /// This side's position in its view.
    pub shown: W,
    /// The peer's position in its view: when it was last looked at.
    pub seen: W,
    /// Bytes of the ring.
    pub size: u64,
}

impl<W: Count> Side<W> {
    /// For the writer: where it may write `wanted` bytes; otherwise how many are free.
    #[inline]
    pub fn room(&self, wanted: u64) -> Result<u64, u64> {
        let at = self.own.load();
        if free(at, self.seen.load(), self.size) >= wanted {
            return Ok(at);
        }
        let seen = self.peer.load();
        self.seen.store(seen);
        let free = free(at, seen, self.size);
        if free >= wanted { Ok(at) } else { Err(free) }
    }

    /// For the reader: where it reads and up to where it may, freshly loaded if nothing was known to be there. The end is
    /// what the writer, or a hostile one, stored.
    #[inline]
    pub fn ready(&self) -> (u64, u64) {
        let at = self.own.load();
        let mut end = self.seen.load();
        if end <= at {
            end = self.peer.load();
            self.seen.store(end);
        }
        (at, end)
    }

    /// Shows the peer that this side has done its work up to `next`.
    #[inline]
    pub fn publish(&self, next: u64) {
        self.own.store(next);
        self.shown.store(next);
    }
}

/// Bytes free at the writer's position `at` when the reader is at `read`. An impossible position reads as a full ring.
#[inline]
fn free(at: u64, read: u64, size: u64) -> u64 {
    at.checked_sub(read).map_or(0, |used| size.saturating_sub(used))
}
