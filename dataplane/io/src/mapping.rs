//! Memory mapped into this process for as long as the value lives.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use weir_dataplane_ring::Memory;

use crate::error::{IoError, Result};

/// A mapping. Dropping it unmaps it, unless it was sealed (mseal): a sealed one stays to the end of
/// the process.
///
/// The bytes may change under the reader at any time when another party maps them too, so they are handed out as
/// slices only by types that know who writes when ([`crate::umem`]) and otherwise through the ring room's atomics.
pub struct Mapping {
    base: NonNull<u8>,
    length: usize,
    writable: bool,
}

// SAFETY: a mapping is address space of the process, not of a thread; access goes through atomics (ring room) or
// through types that state who writes when.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.writable { "read-write" } else { "read-only" };
        write!(f, "Mapping({:p}, {} bytes, {access})", self.base, self.length)
    }
}

impl Mapping {
    /// Maps `length` bytes of `file` from `offset` on, shared with everybody else who maps them, and populates the page
    /// table so that no first access faults later.
    ///
    /// # Errors
    /// What mmap says: `EPERM` when a seal or the file's mode forbids writing, `ENOMEM`, `EINVAL` for a bad offset.
    pub fn map_shared(file: BorrowedFd<'_>, length: usize, offset: u64, writable: bool) -> Result<Self> {
        Self::map_file(file, length, offset, writable, MapFlags::SHARED | MapFlags::POPULATE)
    }

    /// As [`Mapping::map_shared`], but pages come with their first access.
    pub(crate) fn map_lazily(file: BorrowedFd<'_>, length: usize, writable: bool) -> Result<Self> {
        Self::map_file(file, length, 0, writable, MapFlags::SHARED)
    }

    fn map_file(file: BorrowedFd<'_>, length: usize, offset: u64, writable: bool, flags: MapFlags) -> Result<Self> {
        let access = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: the kernel chooses the address, so no existing mapping is touched.
        let mapped = unsafe { mmap(null_mut(), length, access, flags, file, offset) };
        Self::take(mapped, length, writable, || format!("mmap of {length} bytes at file offset {offset:#x}"))
    }

    /// Maps `length` zero bytes of this process alone.
    ///
    /// # Errors
    /// What mmap says, `ENOMEM` above all.
    pub fn anonymous(length: usize) -> Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no existing mapping is touched.
        let mapped = unsafe { mmap_anonymous(null_mut(), length, access, MapFlags::PRIVATE) };
        Self::take(mapped, length, true, || format!("mmap of {length} anonymous bytes"))
    }

    fn take(
        mapped: rustix::io::Result<*mut c_void>,
        length: usize,
        writable: bool,
        what: impl Fn() -> String,
    ) -> Result<Self> {
        const CURE: &str = "check the length, the file's seals and the free memory";
        let address = mapped.map_err(|cause| IoError::new(what(), cause, CURE))?;
        match NonNull::new(address.cast()) {
            Some(base) => Ok(Self { base, length, writable }),
            None => Err(IoError::invalid(what(), "the kernel gave address 0", "set vm.mmap_min_addr above 0")),
        }
    }

    /// True when this process may store into it.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// The bytes `[offset, offset + length)`, or `None` when they are not all inside.
    ///
    /// For memory whose writer is known to keep off these bytes while the slice lives; the caller states why.
    #[inline]
    pub(crate) fn slice(&self, offset: usize, length: usize) -> Option<&[u8]> {
        if offset.checked_add(length)? > self.length {
            return None;
        }
        // SAFETY: the range was just checked to be inside the mapping.
        let start = unsafe { self.base.add(offset) };
        // SAFETY: the range is mapped readable for as long as `self` is borrowed. That no writer touches it meanwhile is
        // the caller's part (the frame protocol); worst case of a breach: the bytes of another frame are read.
        Some(unsafe { NonNull::slice_from_raw_parts(start, length).as_ref() })
    }

    /// The bytes `[offset, offset + length)` to be changed where they are, or `None` when they are not all inside or the mapping
    /// is read-only.
    ///
    /// For memory that nobody else reads or writes while the slice lives; the caller states why.
    #[inline]
    pub(crate) fn cells(&self, offset: usize, length: usize) -> Option<&[Cell<u8>]> {
        if offset.checked_add(length)? > self.length || !self.writable {
            return None;
        }
        // SAFETY: the range was just checked to be inside the mapping.
        let start = unsafe { self.base.add(offset) }.cast::<Cell<u8>>();
        // SAFETY: a cell of a byte is laid out as the byte, and the range is mapped readable and writable for as long as `self` is
        // borrowed. That nobody else touches it meanwhile is the caller's part (the frame protocol); worst case: a torn frame.
        Some(unsafe { NonNull::slice_from_raw_parts(start, length).as_ref() })
    }

    /// Copies `bytes` to `offset`; false when they would not all be inside or the mapping is read-only.
    #[inline]
    pub(crate) fn store(&self, offset: usize, bytes: &[u8]) -> bool {
        let Some(end) = offset.checked_add(bytes.len()) else { return false };
        if end > self.length || !self.writable {
            return false;
        }
        // SAFETY: the range was just checked to be inside the mapping.
        let start = unsafe { self.base.add(offset) };
        // SAFETY: `start` is writable for `bytes.len()` bytes and `bytes` cannot overlap it, since slices of a mapping
        // are only given out for frames that the protocol says nobody writes. Worst case: a torn frame.
        unsafe { start.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        true
    }

    /// Address and length for calls that take memory (madvise, mbind, mseal).
    pub(crate) fn raw(&self) -> (*mut c_void, usize) {
        (self.base.as_ptr().cast(), self.length)
    }
}

// SAFETY: the mapping stays at its address until the value is dropped, readable, and writable where `is_writable` says
// so; a role that stores into a read-only one faults, which stops the process and corrupts nothing.
unsafe impl Memory for Mapping {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let (address, length) = self.raw();
        // A sealed mapping refuses with EPERM and stays: that is what sealing means, so the result is not looked at.
        // SAFETY: the range is ours and no reference into it can outlive `self`.
        let _ = unsafe { munmap(address, length) };
    }
}
