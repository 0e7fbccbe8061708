//! A class's RX ring: what its takers see, and what its owner sees.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::descriptor::{Descriptor, Parts, RingOffsets};
use crate::memory::{Memory, RingError, Shared, SharedSlots, SharedU32};
use crate::order::{self, Hostile};
use crate::page::Allegation;

/// A taker's view of an RX ring: it only loads, so the memory may be mapped read-only.
///
/// A taker keeps its own 64-bit cursor, reads the entries from there up to [`RxReader::available`], then publishes the
/// new cursor ([`crate::TakerCursors::publish`]). Entries at or behind its cursor stay as they are until it publishes.
pub struct RxReader {
    producer: SharedU32,
    slots: SharedSlots<{ Descriptor::WORDS }>,
}

impl RxReader {
    /// Views a ring of `size` descriptors. The memory needs to be readable only.
    ///
    /// # Errors
    /// [`RingError`] when the size is no power of two or the offsets do not fit the memory.
    pub fn new(memory: Arc<dyn Memory>, offsets: RingOffsets, size: u32) -> Result<Self, RingError> {
        Ok(Self {
            producer: Shared::at(&memory, offsets.producer, "the producer index")?,
            slots: SharedSlots::at(&memory, offsets.descriptors, size, "RX ring")?,
        })
    }

    /// Descriptors the ring can hold.
    #[inline]
    pub fn size(&self) -> u32 {
        self.slots.size()
    }

    /// The producer index (acquire): entries below it are written.
    #[inline]
    pub fn producer(&self) -> u32 {
        self.producer.load(Ordering::Acquire)
    }

    /// Entries between `cursor` and the producer index (acquire). More than [`RxReader::size`] means that the cursor
    /// was overtaken: a reliable taker never sees that, a lossy one starts again at the floor its owner published.
    #[inline]
    pub fn available(&self, cursor: u64) -> u32 {
        self.producer().wrapping_sub(cursor as u32) // low half on purpose: ring indexes wrap at 2^32
    }

    /// The entry that the free-running `index` falls on.
    #[inline]
    pub fn descriptor(&self, index: u32) -> Descriptor {
        Descriptor::load(self.slots.slot(index))
    }

    /// `count` entries from `cursor` on; the caller has checked them by [`RxReader::available`].
    #[inline]
    pub fn batch(&self, cursor: u64, count: u32) -> impl ExactSizeIterator<Item = Descriptor> + '_ {
        let first = cursor as u32; // low half on purpose
        (0..count).map(move |step| self.descriptor(first.wrapping_add(step)))
    }
}

/// The owner's view of an RX ring: it alone moves the consumer index, and keeps it as a 64-bit count of its own, so
/// nothing that others store can move it.
pub struct RxOwner {
    producer: SharedU32,
    shared_consumer: SharedU32,
    slots: SharedSlots<{ Descriptor::WORDS }>,
    consumer: u64,
}

impl RxOwner {
    /// Takes over a ring of `size` descriptors, from its present consumer index on. The memory must be writable.
    ///
    /// # Errors
    /// [`RingError`] when the size is no power of two or the offsets do not fit the memory.
    pub fn new(memory: Arc<dyn Memory>, offsets: RingOffsets, size: u32) -> Result<Self, RingError> {
        let parts = Parts::at(&memory, offsets, size, "RX ring")?;
        let consumer = u64::from(parts.consumer.load(Ordering::Relaxed));
        Ok(Self { producer: parts.producer, shared_consumer: parts.consumer, slots: parts.slots, consumer })
    }

    /// Descriptors the ring can hold.
    #[inline]
    pub fn size(&self) -> u32 {
        self.slots.size()
    }

    /// Frames up to here (64-bit count) were taken back.
    #[inline]
    pub fn consumer(&self) -> u64 {
        self.consumer
    }

    /// The producer index (acquire) as a 64-bit count: frames up to here were delivered.
    #[inline]
    pub fn producer(&self) -> u64 {
        let filled = self.producer.load(Ordering::Acquire).wrapping_sub(self.consumer as u32); // low half on purpose
        self.consumer.wrapping_add(u64::from(filled))
    }

    /// Descriptors in the ring that were not taken back.
    #[inline]
    pub fn fill_level(&self) -> u32 {
        self.producer.load(Ordering::Acquire).wrapping_sub(self.consumer as u32) // low half on purpose
    }

    /// Judges what a taker claims to have finished. Loads the producer index after the claim was loaded, which is the
    /// only order that never accuses an honest taker; see [`order::judge`].
    ///
    /// # Errors
    /// [`Hostile`] when the cursor is outside `[consumer, producer]`.
    #[inline]
    pub fn judge(&self, claim: Allegation) -> Result<u64, Hostile> {
        order::judge(claim.raw(), self.consumer, &self.producer)
    }

    /// The entry that the free-running 64-bit `index` falls on.
    #[inline]
    pub fn descriptor(&self, index: u64) -> Descriptor {
        Descriptor::load(self.slots.slot(index as u32)) // low half on purpose
    }

    /// Entries `[consumer, end)`, oldest first: what is to be given back when `end` was judged.
    #[inline]
    pub fn until(&self, end: u64) -> impl ExactSizeIterator<Item = Descriptor> + '_ {
        let (first, count) = (self.consumer as u32, end.wrapping_sub(self.consumer) as u32); // at most `size`
        (0..count.min(self.size())).map(move |step| Descriptor::load(self.slots.slot(first.wrapping_add(step))))
    }

    /// Gives the kernel back the entries below `consumer` (release). To be called **after** the fill ring was published,
    /// so that the kernel never finds room in this ring without a frame to put there.
    #[inline]
    pub fn release(&mut self, consumer: u64) {
        self.consumer = consumer;
        self.shared_consumer.store(consumer as u32, Ordering::Release); // low half on purpose
    }
}
