//! Blocks written to files durably, from memory that is registered once: io_uring, or pwrite where the kernel refuses.
//!
//! ```text
//! free ── buffer() ──► filled ── write() ──► the kernel reads it ── complete() ──► free, with what the disk said
//! ```
//! A write counts as done when its bytes are on the disk: each carries RWF_DSYNC, so that one operation does what a write
//! and an fdatasync do.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use io_uring::{IoUring, opcode, types};
use weir_dataplane_ring::Memory;

use crate::error::{IoError, Result};
use crate::mapping::Mapping;

/// What starts and length of a write must be multiples of, in bytes.
pub const BLOCK: usize = 4096;

/// How writes are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// io_uring: a write returns at once.
    Ring,
    /// pwrite and fdatasync: a write returns when the disk has it.
    Plain {
        /// Why not io_uring.
        why: String,
    },
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring => write!(f, "io_uring writes from registered memory"),
            Self::Plain { why } => write!(f, "pwrite and fdatasync, one after the other, because {why}"),
        }
    }
}

/// A write that has ended.
#[derive(Debug)]
pub struct Written {
    /// The buffer it was made from; free again.
    pub buffer: usize,
    /// Whether all of it is on the disk.
    pub result: io::Result<()>,
}

/// Buffers, and their writes in flight.
pub struct DiskRing {
    way: Way,
    ring: Option<IoUring>, // before `memory`: the kernel lets go of the buffers first
    memory: Mapping,
    length: usize,
    writing: Vec<Option<Writing>>,
    done: VecDeque<Written>,
}

/// The kernel reads the buffer of this; the file stays open meanwhile.
struct Writing {
    length: usize,
    _file: Arc<File>,
}

impl DiskRing {
    /// `count` zero buffers of `length` bytes, written by io_uring where the kernel lets us, else by pwrite.
    ///
    /// # Errors
    /// [`IoError`] when there is no memory or the numbers make no sense.
    pub fn new(count: usize, length: usize) -> Result<Self> {
        let mut disk = Self::plain(count, length, "io_uring was not asked for")?;
        match disk.ring_over_buffers() {
            Ok(ring) => (disk.ring, disk.way) = (Some(ring), Way::Ring),
            Err(why) => disk.way = Way::Plain { why },
        }
        Ok(disk)
    }

    /// As [`DiskRing::new`], but by pwrite whatever the kernel offers; `why` is what [`Way`] tells.
    ///
    /// # Errors
    /// As [`DiskRing::new`].
    pub fn plain(count: usize, length: usize, why: &str) -> Result<Self> {
        if count == 0 || count > 1024 || length == 0 || !length.is_multiple_of(BLOCK) || length > 1 << 30 {
            let what = format!("{count} write buffers of {length} bytes");
            return Err(IoError::invalid(
                what,
                "outside the limits",
                "give 1 to 1024 buffers of whole 4096-byte blocks",
            ));
        }
        let memory = Mapping::anonymous(count * length)?;
        let writing = (0..count).map(|_| None).collect();
        let way = Way::Plain { why: why.to_owned() };
        Ok(Self { way, ring: None, memory, length, writing, done: VecDeque::with_capacity(count) })
    }

    fn ring_over_buffers(&self) -> std::result::Result<IoUring, String> {
        let entries = (self.writing.len() as u32).next_power_of_two(); // at most 1024: no write finds the queue full
        let ring = IoUring::new(entries).map_err(|error| format!("io_uring_setup said: {error}"))?;
        let buffers: Vec<libc::iovec> = (0..self.writing.len())
            .map(|index| libc::iovec { iov_base: self.address(index).cast(), iov_len: self.length })
            .collect();
        // SAFETY: each range is inside `memory`, which lives at least as long as the ring (field order), and the kernel
        // pins the pages itself. Worst case of a breach: a write of wrong bytes, which the reader's checksums show.
        let registered = unsafe { ring.submitter().register_buffers(&buffers) };
        registered.map_err(|error| format!("io_uring_register of {} buffers said: {error}", buffers.len()))?;
        Ok(ring)
    }

    /// How writes are done, and why so.
    #[must_use]
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Buffers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.writing.len()
    }

    /// Writes whose end was not seen yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.writing.iter().flatten().count()
    }

    /// Buffer `index` to be filled, or `None` while the kernel reads it or when there is none of that number.
    #[inline]
    pub fn buffer(&mut self, index: usize) -> Option<&mut [u8]> {
        if !self.writing.get(index)?.is_none() {
            return None;
        }
        let start = self.address(index);
        // SAFETY: the range is inside `memory` (the index was just checked), nobody else has a reference into it because
        // `self` is borrowed alone, and the kernel does not read it: no write of this buffer is in flight. Worst case of
        // a breach: torn bytes in the file, which the reader's checksums show.
        Some(unsafe { std::slice::from_raw_parts_mut(start, self.length) })
    }

    fn address(&self, index: usize) -> *mut u8 {
        self.memory.base().as_ptr().wrapping_add(index * self.length)
    }

    /// Starts the write of the first `length` bytes of buffer `index` to `file` at `offset`. Its end comes out of
    /// [`DiskRing::complete`].
    ///
    /// # Errors
    /// [`IoError`] when the buffer is being written, or the range is no whole blocks of it; nothing was started then.
    pub fn write(&mut self, index: usize, length: usize, file: &Arc<File>, offset: u64) -> Result<()> {
        let whole = length > 0 && length.is_multiple_of(BLOCK) && offset.is_multiple_of(BLOCK as u64);
        if !whole || length > self.length || self.buffer(index).is_none() {
            let what = format!("write of {length} bytes of buffer {index} at {offset}");
            return Err(IoError::invalid(
                what,
                "not whole blocks of a free buffer",
                "give a free buffer and whole blocks",
            ));
        }
        let Some(ring) = &mut self.ring else {
            let result = match self.buffer(index) {
                Some(bytes) => file.write_all_at(&bytes[..length], offset).and_then(|()| file.sync_data()),
                None => Err(io::ErrorKind::InvalidInput.into()),
            };
            self.done.push_back(Written { buffer: index, result });
            return Ok(());
        };
        let start = self.memory.base().as_ptr().wrapping_add(index * self.length);
        // At most 1 GiB long and 1024 buffers: the casts keep every value.
        let entry = opcode::WriteFixed::new(types::Fd(file.as_raw_fd()), start, length as u32, index as u16)
            .offset(offset)
            .rw_flags(libc::RWF_DSYNC)
            .build()
            .user_data(index as u64);
        // SAFETY: the bytes are mapped and registered as long as the ring, are not handed out until the end was seen
        // (`writing`), and the file is kept open until then. Worst case of a breach: wrong bytes in the file.
        let pushed = unsafe { ring.submission().push(&entry) };
        pushed
            .map_err(|_| IoError::invalid("io_uring submission", "the queue is full", "take completed writes first"))?;
        self.writing[index] = Some(Writing { length, _file: Arc::clone(file) });
        // A refusal for the moment leaves the entry on the queue; `complete` offers it again and tells what is final.
        let _ = ring.submit();
        Ok(())
    }

    /// The next write that has ended, in the order of their ends; with `wait` it sleeps until one does. `None` when none
    /// has ended, or nothing is in flight.
    ///
    /// # Errors
    /// What io_uring_enter says, other than "interrupted".
    pub fn complete(&mut self, wait: bool) -> Result<Option<Written>> {
        loop {
            self.collect();
            if let Some(written) = self.done.pop_front() {
                return Ok(Some(written));
            }
            let idle = self.in_flight() == 0;
            let Some(ring) = self.ring.as_mut().filter(|_| !idle) else { return Ok(None) };
            let offered = ring.submission().is_empty();
            let entered = match (wait, offered) {
                (true, _) => ring.submit_and_wait(1),
                (false, false) => ring.submit(),
                (false, true) => return Ok(None),
            };
            match entered {
                Ok(_) if wait => {}
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(IoError::new("io_uring_enter", error, "look at the kernel's log (dmesg)")),
            }
        }
    }

    fn collect(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        for entry in ring.completion() {
            let buffer = entry.user_data() as usize; // the index we gave
            let Some(Writing { length, .. }) = self.writing.get_mut(buffer).and_then(Option::take) else { continue };
            let result = match usize::try_from(entry.result()) {
                Ok(written) if written == length => Ok(()),
                Ok(written) => Err(io::Error::other(format!("only {written} of {length} bytes were written"))),
                Err(_) => Err(io::Error::from_raw_os_error(-entry.result())),
            };
            self.done.push_back(Written { buffer, result });
        }
    }
}

impl Drop for DiskRing {
    fn drop(&mut self) {
        // Nobody may find the file changing after its writer has gone.
        while self.in_flight() > 0 && self.complete(true).is_ok() {}
    }
}
