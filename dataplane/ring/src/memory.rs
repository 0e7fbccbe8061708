//! Memory that several parties map, and checked atomic words inside it.
//!
//! All `unsafe` of this room is here. The rest of the room sees `Shared` words and `SharedSlots`, which are always
//! inside their memory, aligned, and atomic: whatever another process stores, reading them is defined. Only records
//! (`SharedRecords`) are copied plainly, for speed.

use std::alloc::Layout;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes that stay mapped at one address as long as the value lives.
///
/// # Safety
/// `base()..base() + len()` must be readable for the life of the value, and writable if a role that writes is built on
/// it (a role's documentation says so). Other parties may change the bytes at any time; nobody in this process may hold
/// a plain reference into the parts that a ring occupies.
pub unsafe trait Memory: Send + Sync {
    /// The first byte; aligned to at least 128 bytes (in practice to a page).
    fn base(&self) -> NonNull<u8>;
    /// Length in bytes.
    fn len(&self) -> usize;
    /// True when there is no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a ring cannot be laid over a piece of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// Ring sizes are powers of two, because indexes wrap by a mask.
    #[error("{what} of {size} entries is not a power of two of at least 1; choose {}", size.max(&1).next_power_of_two())]
    Size {
        /// What has this size.
        what: &'static str,
        /// The size asked for, in entries.
        size: u32,
    },
    /// The layout does not fit.
    #[error("{what} needs bytes {offset}..{end} but the memory has {available}; map at least {end} bytes")]
    Short {
        /// What does not fit.
        what: &'static str,
        /// First byte needed.
        offset: usize,
        /// One past the last byte needed.
        end: usize,
        /// Bytes there are.
        available: usize,
    },
    /// Memory of something else.
    #[error("the first word is {found:#018x}, so this is no ring of bytes; pass the memory that its creator shared")]
    NoRing {
        /// The word found there.
        found: u64,
    },
    /// A word at an address its type does not allow.
    #[error("{what} at offset {offset} is not aligned to {align} bytes; take the offsets that the kernel reports")]
    Misaligned {
        /// What is misaligned.
        what: &'static str,
        /// Its offset in bytes.
        offset: usize,
        /// The alignment it needs, in bytes.
        align: usize,
    },
}

mod sealed {
    /// Types of which any bit pattern is valid and that are changed atomically only.
    pub(crate) trait Atom: Sync + 'static {}
    impl Atom for std::sync::atomic::AtomicU32 {}
    impl Atom for std::sync::atomic::AtomicU64 {}
}

/// One atomic word inside a [`Memory`], which it keeps alive.
pub(crate) struct Shared<T: sealed::Atom> {
    cell: NonNull<T>,
    _memory: Arc<dyn Memory>,
}

/// A 32-bit ring index or flag.
pub(crate) type SharedU32 = Shared<AtomicU32>;
/// A 64-bit cursor, counter or time.
pub(crate) type SharedU64 = Shared<AtomicU64>;

// SAFETY: the cell is an atomic inside memory that the Arc keeps mapped, and `Memory` is Send + Sync; `Shared` hands out
// nothing but `&T` of a Sync type. Worst case of a wrong `Memory` implementation: a fault.
unsafe impl<T: sealed::Atom> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: sealed::Atom> Sync for Shared<T> {}

impl<T: sealed::Atom> Shared<T> {
    /// The word at `offset`; `what` names it in an error.
    pub(crate) fn at(memory: &Arc<dyn Memory>, offset: usize, what: &'static str) -> Result<Self, RingError> {
        let cell = place(memory, offset, size_of::<T>(), align_of::<T>(), what)?;
        Ok(Self { cell: cell.cast(), _memory: Arc::clone(memory) })
    }
}

impl<T: sealed::Atom> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `at` checked that the word lies inside the memory and is aligned; `_memory` keeps it mapped; every bit
        // pattern is a valid atomic. Worst case when a mapping is taken away by force: a fault.
        unsafe { self.cell.as_ref() }
    }
}

/// A power-of-two number of slots of `WORDS` 64-bit words each; indexes wrap by themselves.
pub(crate) struct SharedSlots<const WORDS: usize> {
    base: NonNull<[AtomicU64; WORDS]>,
    mask: u32,
    _memory: Arc<dyn Memory>,
}

// SAFETY: the same argument as for `Shared`.
unsafe impl<const WORDS: usize> Send for SharedSlots<WORDS> {}
// SAFETY: the same argument as for `Shared`.
unsafe impl<const WORDS: usize> Sync for SharedSlots<WORDS> {}

impl<const WORDS: usize> SharedSlots<WORDS> {
    /// `size` slots from `offset` on.
    pub(crate) fn at(
        memory: &Arc<dyn Memory>,
        offset: usize,
        size: u32,
        what: &'static str,
    ) -> Result<Self, RingError> {
        check_size(what, size)?;
        let length = (size as usize).saturating_mul(size_of::<[AtomicU64; WORDS]>());
        let base = place(memory, offset, length, align_of::<AtomicU64>(), what)?;
        Ok(Self { base: base.cast(), mask: size - 1, _memory: Arc::clone(memory) })
    }

    /// Number of slots.
    #[inline]
    pub(crate) fn size(&self) -> u32 {
        self.mask.wrapping_add(1)
    }

    /// The words of the slot that the free-running `index` falls on.
    #[inline]
    pub(crate) fn slot(&self, index: u32) -> &[AtomicU64; WORDS] {
        // SAFETY: `index & mask < size`, and `at` checked that `size` slots lie inside the memory.
        let slot = unsafe { self.base.add((index & self.mask) as usize) };
        // SAFETY: the slot is inside the memory by the same check, aligned, atomic, and kept mapped by `_memory` for as
        // long as `self` is borrowed. Worst case when a mapping is taken away by force: a fault.
        unsafe { slot.as_ref() }
    }
}

/// What travels in records: plain bytes, so whatever a peer stores is a value.
pub trait Plain: FromBytes + IntoBytes + Immutable + Copy + Send + 'static {}
impl<T: FromBytes + IntoBytes + Immutable + Copy + Send + 'static> Plain for T {}

/// A power-of-two number of records that move as a whole; indexes wrap by themselves.
///
/// Unlike all other memory of this room they are no atomics: a word-by-word copy costs twice as much as a plain one.
/// Between producer and consumer the ring's indexes order the copies.
pub(crate) struct SharedRecords<T> {
    base: NonNull<T>,
    mask: u32,
    _memory: Arc<dyn Memory>,
}

// SAFETY: the records are plain bytes inside memory that the Arc keeps mapped, reached by value only.
unsafe impl<T: Plain> Send for SharedRecords<T> {}

impl<T: Plain> SharedRecords<T> {
    /// Refuses at compile time a record that is no whole number of words.
    const WHOLE_WORDS: () =
        assert!(size_of::<T>() > 0 && size_of::<T>().is_multiple_of(8), "a record is a whole number of 8-byte words");

    /// `size` records from `offset` on.
    pub(crate) fn at(
        memory: &Arc<dyn Memory>,
        offset: usize,
        size: u32,
        what: &'static str,
    ) -> Result<Self, RingError> {
        let () = Self::WHOLE_WORDS;
        check_size(what, size)?;
        let length = (size as usize).saturating_mul(size_of::<T>());
        let base = place(memory, offset, length, align_of::<u64>(), what)?;
        Ok(Self { base: base.cast(), mask: size - 1, _memory: Arc::clone(memory) })
    }

    /// The place of the record that the free-running `index` falls on.
    #[inline]
    fn place(&self, index: u32) -> NonNull<T> {
        // SAFETY: `index & mask < size`, and `at` checked that `size` records lie inside the memory.
        unsafe { self.base.add((index & self.mask) as usize) }
    }

    /// Writes a record. The producer does so between learning that the place is free and publishing it.
    #[inline]
    pub(crate) fn write(&self, index: u32, record: &T) {
        // SAFETY: the place is inside memory that `_memory` keeps mapped; the indexes keep the consumer off it. A second
        // producer, which the ring's user must not attach, or a peer that lies about its index can at worst mix the
        // bytes of two records, and any bytes are a `T`.
        unsafe { self.place(index).write_unaligned(*record) };
    }

    /// Reads a record, each byte once, so that what is checked is what is used even where the producer is hostile.
    #[inline]
    pub(crate) fn read(&self, index: u32) -> T {
        let place = self.place(index).cast::<Bytes<T>>();
        // SAFETY: as for `write`; `Bytes` has no alignment to keep, and volatile because another process may change the
        // bytes meanwhile: then they are wrong, and still a `T`.
        unsafe { place.read_volatile() }.0
    }
}

/// Bytes at free-running positions: position `p` falls on byte `p % length`, so a copy may go around the end.
///
/// As [`SharedRecords`], these are plain copies; the positions of the ring's two sides order them.
pub(crate) struct SharedBytes {
    base: NonNull<u8>,
    length: usize,
    _memory: Arc<dyn Memory>,
}

// SAFETY: plain bytes inside memory that the Arc keeps mapped, reached by copy only; who copies when is the ring's part.
unsafe impl Send for SharedBytes {}
// SAFETY: as above.
unsafe impl Sync for SharedBytes {}

impl SharedBytes {
    /// `length` bytes, at least one, from `offset` on.
    pub(crate) fn at(
        memory: &Arc<dyn Memory>,
        offset: usize,
        length: usize,
        what: &'static str,
    ) -> Result<Self, RingError> {
        let base = place(memory, offset, length.max(1), 1, what)?;
        Ok(Self { base, length: length.max(1), _memory: Arc::clone(memory) })
    }

    /// Bytes there are.
    #[inline]
    pub(crate) fn length(&self) -> u64 {
        self.length as u64
    }

    /// The first byte, for who is to see the whole of it.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Copies `bytes` to `position`. More than there is room for is cut off, which no ring asks for.
    #[inline]
    pub(crate) fn write(&self, position: u64, bytes: &[u8]) {
        let (start, first, second) = self.parts(position, bytes.len());
        let (head, rest) = bytes.split_at(first);
        // SAFETY: `first` bytes from `start` on are inside memory that `_memory` keeps mapped, by `parts`; `bytes` is a
        // plain slice, so no part of shared memory. The positions keep the reader off these bytes. A second writer,
        // which the ring's user must not have, can at worst mix the bytes of two messages.
        unsafe { start.as_ptr().copy_from_nonoverlapping(head.as_ptr(), first) };
        // SAFETY: as above, for `second` bytes from the start on.
        unsafe { self.base.as_ptr().copy_from_nonoverlapping(rest.as_ptr(), second) };
    }

    /// Copies from `position` into all of `into`. Each byte is read once, so that what is checked is what is used.
    #[inline]
    pub(crate) fn read(&self, position: u64, into: &mut [u8]) {
        let (start, first, second) = self.parts(position, into.len());
        let (head, rest) = into.split_at_mut(first);
        // SAFETY: `first` bytes from `start` on are inside memory that `_memory` keeps mapped, by `parts`, and `into` is a
        // plain slice of that length. A hostile writer that changes the bytes meanwhile makes them wrong, and any byte is
        // a byte.
        unsafe { start.as_ptr().copy_to_nonoverlapping(head.as_mut_ptr(), first) };
        // SAFETY: as above, for `second` bytes from the start on.
        unsafe { self.base.as_ptr().copy_to_nonoverlapping(rest.as_mut_ptr(), second) };
    }

    /// Where `length` bytes at `position` begin, how many lie up to the end, and how many from the start on.
    #[inline]
    fn parts(&self, position: u64, length: usize) -> (NonNull<u8>, usize, usize) {
        let size = self.length as u64;
        // A mask where it does the same: a division costs as much as the copy of a short message.
        let at = if size.is_power_of_two() { position & (size - 1) } else { position % size };
        let at = at as usize; // below `length`, which is a usize
        let first = length.min(self.length - at);
        // SAFETY: `at < self.length`, and `at` of this type checked that so many bytes lie inside the memory.
        let start = unsafe { self.base.add(at) };
        (start, first, (length - first).min(at))
    }
}

/// A value at any address.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Bytes<T>(T);

/// Checks that `size` can be the size of a ring.
pub(crate) fn check_size(what: &'static str, size: u32) -> Result<(), RingError> {
    if size.is_power_of_two() && size <= 1 << 30 { Ok(()) } else { Err(RingError::Size { what, size }) }
}

/// The address of `length` bytes at `offset`, if they are inside the memory and aligned.
fn place(
    memory: &Arc<dyn Memory>,
    offset: usize,
    length: usize,
    align: usize,
    what: &'static str,
) -> Result<NonNull<u8>, RingError> {
    let end = offset.saturating_add(length);
    if end > memory.len() {
        return Err(RingError::Short { what, offset, end, available: memory.len() });
    }
    // SAFETY: `offset <= end <= len`, so the address is inside the memory or one past its end.
    let address = unsafe { memory.base().add(offset) };
    if address.addr().get() % align != 0 {
        return Err(RingError::Misaligned { what, offset, align });
    }
    Ok(address)
}

/// Zeroed memory of this process: for threads, tests and checkers that know no mmap.
pub struct HeapMemory {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the allocation is owned, never moved, and only reached through atomics.
unsafe impl Send for HeapMemory {}
// SAFETY: as above.
unsafe impl Sync for HeapMemory {}

impl HeapMemory {
    /// Alignment of the first byte: a page, as a mapping would give.
    const ALIGN: usize = 4096;

    /// `length` zero bytes (at least one is allocated).
    ///
    /// # Panics
    /// When `length` is beyond what an allocation can be, as for any allocation; an empty heap aborts the process.
    pub fn zeroed(length: usize) -> Arc<Self> {
        let layout = match Layout::from_size_align(length.max(1), Self::ALIGN) {
            Ok(layout) => layout,
            Err(error) => panic!("heap memory of {length} bytes: {error}"),
        };
        // SAFETY: the layout has at least one byte.
        let pointer = unsafe { std::alloc::alloc_zeroed(layout) };
        match NonNull::new(pointer) {
            Some(base) => Arc::new(Self { base, layout }),
            None => std::alloc::handle_alloc_error(layout),
        }
    }

    /// Stores an index where a peer would: lets a test begin anywhere, or play a hostile peer.
    ///
    /// # Errors
    /// [`RingError`] when `offset` is not inside or not aligned to 4 bytes.
    pub fn set_index(self: &Arc<Self>, offset: usize, value: u32) -> Result<(), RingError> {
        let memory: Arc<dyn Memory> = Arc::clone(self) as _;
        SharedU32::at(&memory, offset, "an index")?.store(value, Ordering::Release);
        Ok(())
    }
}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        // SAFETY: `base` came from `alloc_zeroed` with this layout and is freed once; rings keep an Arc, so none is left.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) };
    }
}

// SAFETY: the allocation lives, readable and writable, until the value is dropped.
unsafe impl Memory for HeapMemory {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.layout.size()
    }
}
