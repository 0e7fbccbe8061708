//! Rings this process fills with descriptors: the kernel's TX ring, and the lane ring that a source fills instead of
//! the kernel.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::descriptor::{Descriptor, NEED_WAKEUP, Parts, RingOffsets};
use crate::memory::{Memory, RingError, SharedSlots, SharedU32};
use crate::order::{Full, Producer};

/// The kernel's TX ring: descriptors of frames to send.
pub struct TxRing {
    indexes: Producer<SharedU32>,
    flags: SharedU32,
    slots: SharedSlots<{ Descriptor::WORDS }>,
}

impl TxRing {
    /// Lays the ring of `size` descriptors over `memory`, which must be writable.
    ///
    /// # Errors
    /// [`RingError`] when the size is no power of two or the offsets do not fit the memory.
    pub fn new(memory: Arc<dyn Memory>, offsets: RingOffsets, size: u32) -> Result<Self, RingError> {
        let parts = Parts::at(&memory, offsets, size, "TX ring")?;
        let indexes = Producer::attach(parts.producer, parts.consumer, size);
        Ok(Self { indexes, flags: parts.flags, slots: parts.slots })
    }

    /// Descriptors the ring can hold.
    #[inline]
    pub fn size(&self) -> u32 {
        self.indexes.size()
    }

    /// Free entries, freshly loaded.
    #[inline]
    pub fn free(&mut self) -> u32 {
        let all = self.indexes.size();
        self.indexes.free(all)
    }

    /// Writes a descriptor; the reader sees it after [`TxRing::publish`].
    ///
    /// # Errors
    /// [`Full`] when no entry is free.
    #[inline]
    pub fn push(&mut self, descriptor: Descriptor) -> Result<(), Full> {
        if self.indexes.free(1) == 0 {
            return Err(Full);
        }
        descriptor.store(self.slots.slot(self.indexes.next()));
        self.indexes.advance(1);
        Ok(())
    }

    /// Writes as many of `descriptors` as find a free entry, with one look at the reader's index for all of them; gives how
    /// many. The reader sees them after [`TxRing::publish`].
    #[inline]
    pub fn push_batch(&mut self, descriptors: impl ExactSizeIterator<Item = Descriptor>) -> u32 {
        let wanted = descriptors.len().min(self.size() as usize) as u32; // at most the size, so nothing is cut
        let count = self.indexes.free(wanted).min(wanted);
        let first = self.indexes.next();
        for (step, descriptor) in (0..count).zip(descriptors) {
            descriptor.store(self.slots.slot(first.wrapping_add(step)));
        }
        self.indexes.advance(count);
        count
    }

    /// Shows the reader what was pushed (release).
    #[inline]
    pub fn publish(&mut self) {
        self.indexes.publish();
    }

    /// True when the kernel sends only after a system call (always so in copy mode).
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }
}

/// A ring of the RX layout that a user-space source fills (a capture, a TCP stream): takers read it with
/// [`crate::RxReader`] and the pool recycles it with [`crate::RxOwner`], exactly as if the kernel had filled it.
pub struct LaneRing {
    ring: TxRing,
}

impl LaneRing {
    /// Where the words of a lane ring lie: each index on a 128-byte line of its own, descriptors after them.
    pub const OFFSETS: RingOffsets = RingOffsets { producer: 0, consumer: 128, flags: 256, descriptors: 384 };

    /// Bytes of memory for a lane of `size` descriptors.
    pub fn length(size: u32) -> usize {
        Self::OFFSETS.length(size)
    }

    /// Lays the lane over `memory`, which must be writable and zero when it is new.
    ///
    /// # Errors
    /// [`RingError`] when the size is no power of two or the memory is shorter than [`LaneRing::length`].
    pub fn new(memory: Arc<dyn Memory>, size: u32) -> Result<Self, RingError> {
        Ok(Self { ring: TxRing::new(memory, Self::OFFSETS, size)? })
    }

    /// Descriptors the lane can hold.
    #[inline]
    pub fn size(&self) -> u32 {
        self.ring.size()
    }

    /// Free entries, freshly loaded.
    #[inline]
    pub fn free(&mut self) -> u32 {
        self.ring.free()
    }

    /// Writes a descriptor; takers see it after [`LaneRing::publish`].
    ///
    /// # Errors
    /// [`Full`] when no entry is free.
    #[inline]
    pub fn push(&mut self, descriptor: Descriptor) -> Result<(), Full> {
        self.ring.push(descriptor)
    }

    /// Writes as many of `descriptors` as find a free entry, with one look at the owner's index for all of them; gives how
    /// many. Takers see them after [`LaneRing::publish`].
    #[inline]
    pub fn push_batch(&mut self, descriptors: impl ExactSizeIterator<Item = Descriptor>) -> u32 {
        self.ring.push_batch(descriptors)
    }

    /// Shows the takers what was pushed (release). The descriptors of one frame are to be published together.
    #[inline]
    pub fn publish(&mut self) {
        self.ring.publish();
    }
}
