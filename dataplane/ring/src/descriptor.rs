//! The kernel's frame descriptor, and where the words of a ring lie in its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::memory::{Memory, RingError, Shared, SharedSlots, SharedU32};

/// `struct xdp_desc` (include/uapi/linux/if_xdp.h): a piece of a frame in the UMEM.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Descriptor {
    /// Offset of the first byte from the start of the UMEM.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    /// Bit 0: [`Descriptor::CONTINUED`]; bit 1, TX only: metadata in front.
    pub options: u32,
}

impl Descriptor {
    /// `XDP_PKT_CONTD`: the frame goes on in the next descriptor.
    pub const CONTINUED: u32 = 1;
    /// Most descriptors of one frame: the kernel's MAX_SKB_FRAGS (17) and the head.
    pub const PIECES_MAX: usize = 18;
    /// 64-bit words of a descriptor.
    pub(crate) const WORDS: usize = 2;

    /// True when the next descriptor belongs to the same frame.
    #[inline]
    pub fn is_continued(&self) -> bool {
        self.options & Self::CONTINUED != 0
    }

    /// Reads a descriptor slot, each half once.
    #[inline]
    pub(crate) fn load([address, rest]: &[AtomicU64; Self::WORDS]) -> Self {
        let rest = rest.load(Ordering::Relaxed);
        // Two 32-bit halves of one little-endian word: the casts cut on purpose.
        Self { address: address.load(Ordering::Relaxed), length: rest as u32, options: (rest >> 32) as u32 }
    }

    /// Writes a descriptor slot.
    #[inline]
    pub(crate) fn store(self, [address, rest]: &[AtomicU64; Self::WORDS]) {
        address.store(self.address, Ordering::Relaxed);
        rest.store(u64::from(self.length) | u64::from(self.options) << 32, Ordering::Relaxed);
    }
}

const _: () = assert!(size_of::<Descriptor>() == Descriptor::WORDS * 8);

/// Byte offsets of a ring's words in its mapping (`struct xdp_ring_offset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOffsets {
    /// The producer index, a 32-bit word.
    pub producer: usize,
    /// The consumer index, a 32-bit word.
    pub consumer: usize,
    /// Flags, a 32-bit word: bit 0 is `XDP_RING_NEED_WAKEUP`.
    pub flags: usize,
    /// The first descriptor: 16 bytes each in RX and TX rings, 8 in fill and completion rings.
    pub descriptors: usize,
}

impl RingOffsets {
    /// Bytes to map for an RX or TX ring of `size` descriptors.
    pub fn length(&self, size: u32) -> usize {
        self.descriptors + size as usize * size_of::<Descriptor>()
    }

    /// Bytes to map for a fill or completion ring of `size` addresses.
    pub fn address_ring_length(&self, size: u32) -> usize {
        self.descriptors + size as usize * size_of::<u64>()
    }
}

/// The four parts of a ring, checked against its memory.
pub(crate) struct Parts<const WORDS: usize> {
    pub(crate) producer: SharedU32,
    pub(crate) consumer: SharedU32,
    pub(crate) flags: SharedU32,
    pub(crate) slots: SharedSlots<WORDS>,
}

impl<const WORDS: usize> Parts<WORDS> {
    /// Lays out a ring of `size` slots over `memory`.
    pub(crate) fn at(
        memory: &Arc<dyn Memory>,
        offsets: RingOffsets,
        size: u32,
        what: &'static str,
    ) -> Result<Self, RingError> {
        Ok(Self {
            producer: Shared::at(memory, offsets.producer, "the producer index")?,
            consumer: Shared::at(memory, offsets.consumer, "the consumer index")?,
            flags: Shared::at(memory, offsets.flags, "the flags word")?,
            slots: SharedSlots::at(memory, offsets.descriptors, size, what)?,
        })
    }
}

/// `XDP_RING_NEED_WAKEUP`: the kernel sleeps and wants a system call before it looks at the ring.
pub(crate) const NEED_WAKEUP: u32 = 1;
