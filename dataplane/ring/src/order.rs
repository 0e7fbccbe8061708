//! The index arithmetic of every ring, and the order of its loads and stores.
//!
//! Both sides count up freely in 32 bits and wrap; `producer - consumer` (wrapping) is the number of entries in the ring.
//! A side stores its own index with release after it has written (or read) the entries, and loads its peer's with
//! acquire before it touches them. It keeps a copy of the peer's index and loads the shared one only when the copy says
//! that there is not enough, so a running ring moves each index between two cores once per batch.
//!
//! The words are behind [`Word`], so that a permutation checker runs exactly this code on its own atomics.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

/// The ring has no free entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full; its reader must catch up before more is pushed")]
pub struct Full;

/// An index that no honest peer can have stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("peer index {peer} is {distance} ahead of {own} in a ring of {size}; the peer is broken or hostile, stop it")]
pub struct Corrupt {
    /// The peer's index as loaded.
    pub peer: u32,
    /// The index of the side that noticed.
    pub own: u32,
    /// `peer - own`, wrapping.
    pub distance: u32,
    /// Entries the ring has.
    pub size: u32,
}

/// A taker's cursor outside of what it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cursor {cursor} is outside [{consumer}, {producer}]; the taker is broken or hostile, stop it and restart it")]
pub struct Hostile {
    /// The cursor as loaded.
    pub cursor: u64,
    /// Up to here frames were taken back already.
    pub consumer: u64,
    /// Up to here the kernel has filled the ring.
    pub producer: u64,
}

/// A shared 32-bit index.
pub trait Word {
    /// Loads with acquire: what the peer did before its store is visible after.
    fn load(&self) -> u32;
    /// Stores with release: what this side did before is visible to who loads the value.
    fn store(&self, value: u32);
}

impl<T: Deref<Target = AtomicU32>> Word for T {
    #[inline]
    fn load(&self) -> u32 {
        (**self).load(Ordering::Acquire)
    }

    #[inline]
    fn store(&self, value: u32) {
        (**self).store(value, Ordering::Release);
    }
}

/// The writing half's indexes.
pub struct Producer<W> {
    own: W,
    peer: W,
    size: u32,
    /// Next entry to write; ahead of the shared index by what is not published yet.
    next: u32,
    /// The consumer's index when it was last loaded. The consumer only moves on, so this errs towards "full".
    seen: u32,
}

impl<W: Word> Producer<W> {
    /// Goes on from the published index, so entries that a dead predecessor wrote but did not publish are overwritten.
    pub fn attach(own: W, peer: W, size: u32) -> Self {
        let (next, seen) = (own.load(), peer.load());
        Self { own, peer, size, next, seen }
    }

    /// Entries in the ring.
    #[inline]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Next entry to write.
    #[inline]
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Free entries: at least `wanted` if there are that many, otherwise all there are.
    #[inline]
    pub fn free(&mut self, wanted: u32) -> u32 {
        // Saturating: an impossible consumer index reads as a full ring and so does no harm.
        let known = self.size.saturating_sub(self.next.wrapping_sub(self.seen));
        if known >= wanted {
            return known;
        }
        self.seen = self.peer.load();
        self.size.saturating_sub(self.next.wrapping_sub(self.seen))
    }

    /// Counts `count` entries as written. They must have been written and be at most `free`.
    #[inline]
    pub fn advance(&mut self, count: u32) {
        self.next = self.next.wrapping_add(count);
    }

    /// Shows the consumer everything that was counted so far.
    #[inline]
    pub fn publish(&mut self) {
        self.own.store(self.next);
    }
}

/// The reading half's indexes.
pub struct Consumer<W> {
    own: W,
    peer: W,
    size: u32,
    /// Next entry to read; ahead of the shared index by what is not released yet.
    next: u32,
    /// The producer's index when it was last loaded.
    seen: u32,
}

impl<W: Word> Consumer<W> {
    /// Goes on from the released index, so entries that a dead predecessor read but did not release are read again.
    pub fn attach(own: W, peer: W, size: u32) -> Self {
        let next = own.load();
        Self { own, peer, size, next, seen: next }
    }

    /// Entries in the ring.
    #[inline]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Next entry to read.
    #[inline]
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Entries that can be read: at least `wanted` if there are that many, otherwise all there are.
    ///
    /// # Errors
    /// [`Corrupt`] when the producer claims more entries than the ring has. Nothing has been read then.
    #[inline]
    pub fn ready(&mut self, wanted: u32) -> Result<u32, Corrupt> {
        let known = self.seen.wrapping_sub(self.next);
        if known >= wanted {
            return Ok(known);
        }
        let peer = self.peer.load();
        let distance = peer.wrapping_sub(self.next);
        if distance > self.size {
            return Err(Corrupt { peer, own: self.next, distance, size: self.size });
        }
        self.seen = peer;
        Ok(distance)
    }

    /// Counts `count` entries as read. They must be at most `ready`.
    #[inline]
    pub fn advance(&mut self, count: u32) {
        self.next = self.next.wrapping_add(count);
    }

    /// Gives the producer back every entry that was counted so far.
    #[inline]
    pub fn release(&mut self) {
        self.own.store(self.next);
    }
}

/// Judges a taker's cursor, which was loaded with acquire **before** this call.
///
/// The producer index is loaded here, after the cursor: the other order would accuse an honest taker of having passed
/// frames that arrived between the two loads. `consumer` is the owner's own 64-bit count, whose low 32 bits are the
/// shared index; the producer index is extended from it.
///
/// # Errors
/// [`Hostile`] when the cursor is not in `[consumer, producer]`.
#[inline]
pub fn judge<W: Word>(cursor: u64, consumer: u64, producer: &W) -> Result<u64, Hostile> {
    let filled = producer.load().wrapping_sub(consumer as u32); // low half on purpose: ring indexes wrap at 2^32
    if cursor.wrapping_sub(consumer) <= u64::from(filled) {
        Ok(cursor)
    } else {
        Err(Hostile { cursor, consumer, producer: consumer.wrapping_add(u64::from(filled)) })
    }
}
