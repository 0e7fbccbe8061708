//! Frames lent to the kernel (fill ring) and frames it has sent (completion ring).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::descriptor::{NEED_WAKEUP, Parts, RingOffsets};
use crate::memory::{Memory, RingError, SharedSlots, SharedU32};
use crate::order::{Consumer, Full, Producer};

/// The fill ring: addresses of frames the kernel may receive into. One producer: the pool.
pub struct FillRing {
    indexes: Producer<SharedU32>,
    flags: SharedU32,
    slots: SharedSlots<1>,
}

impl FillRing {
    /// Lays the ring of `size` addresses over `memory`, which must be writable.
    ///
    /// # Errors
    /// [`RingError`] when the size is no power of two or the offsets do not fit the memory.
    pub fn new(memory: Arc<dyn Memory>, offsets: RingOffsets, size: u32) -> Result<Self, RingError> {
        let parts = Parts::at(&memory, offsets, size, "fill ring")?;
        let indexes = Producer::attach(parts.producer, parts.consumer, size);
        Ok(Self { indexes, flags: parts.flags, slots: parts.slots })
    }

    /// Addresses the ring can hold.
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

    /// Writes a frame's address; the kernel sees it after [`FillRing::publish`].
    ///
    /// # Errors
    /// [`Full`] when no entry is free.
    #[inline]
    pub fn push(&mut self, address: u64) -> Result<(), Full> {
        if self.indexes.free(1) == 0 {
            return Err(Full);
        }
        let [word] = self.slots.slot(self.indexes.next());
        word.store(address, Ordering::Relaxed);
        self.indexes.advance(1);
        Ok(())
    }

    /// Shows the kernel what was pushed (release).
    #[inline]
    pub fn publish(&mut self) {
        self.indexes.publish();
    }

    /// True when the kernel waits for a system call before it takes frames (zero-copy drivers that ran dry).
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }
}

/// The completion ring: addresses of frames the kernel has finished sending.
pub struct CompletionRing {
    indexes: Consumer<SharedU32>,
    slots: SharedSlots<1>,
}

impl CompletionRing {
    /// Lays the ring of `size` addresses over `memory`, which must be writable.
    ///
    /// # Errors
    /// [`RingError`] when the size is no power of two or the offsets do not fit the memory.
    pub fn new(memory: Arc<dyn Memory>, offsets: RingOffsets, size: u32) -> Result<Self, RingError> {
        let parts = Parts::at(&memory, offsets, size, "completion ring")?;
        Ok(Self { indexes: Consumer::attach(parts.consumer, parts.producer, size), slots: parts.slots })
    }

    /// Addresses the ring can hold.
    #[inline]
    pub fn size(&self) -> u32 {
        self.indexes.size()
    }

    /// Addresses that can be popped, freshly loaded. The kernel is trusted: an impossible index reads as none.
    #[inline]
    pub fn available(&mut self) -> u32 {
        let all = self.indexes.size();
        self.indexes.ready(all).unwrap_or(0)
    }

    /// The next finished frame's address, if there is one.
    #[inline]
    pub fn pop(&mut self) -> Option<u64> {
        if self.indexes.ready(1).unwrap_or(0) == 0 {
            return None;
        }
        let [word] = self.slots.slot(self.indexes.next());
        let address = word.load(Ordering::Relaxed);
        self.indexes.advance(1);
        Some(address)
    }

    /// Gives the kernel back the entries that were popped (release).
    #[inline]
    pub fn release(&mut self) {
        self.indexes.release();
    }
}
