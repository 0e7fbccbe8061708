//! The one-producer one-consumer ring of messages of any length: what lies under a C program's `shared_buffer_t`.
//!
//! ```text
//! byte 0    8      16        24     128              256    4096
//!      magic│ size │ feature │ node │ write, refused │ read │ bytes …  (size of them)
//!                                     producer's       consumer's
//! ```
//! Positions count bytes freely in 64 bits and never wrap; position `p` falls on byte `p % size`. A message is its length
//! in four bytes, little-endian, and then itself; it is published as a whole. Each side's position has cache lines of its
//! own, though the C view has both side by side: a view ([`Positions`]) is what one end has seen, and lies with that end.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::{Memory, RingError, Shared, SharedBytes, SharedU64};
use crate::positions::Side;

/// "WEIRBUF1", so that memory of something else is not taken for a ring.
const MAGIC: u64 = u64::from_le_bytes(*b"WEIRBUF1");
const SIZE: usize = 8;
const FEATURE: usize = 16;
const NODE: usize = 24;
const WRITE: usize = 128;
const REFUSED: usize = 136;
const READ: usize = 256;
/// Where the bytes begin: a page, so that the ring's words never share one with them.
pub const BYTES: usize = 4096;
/// Bytes in front of each message: its length.
pub const MESSAGE_HEADER: u64 = 4;
/// Fewest bytes a ring has.
pub const SMALLEST: u64 = 64;

/// Bytes of memory for a ring of `size` bytes; `None` beyond what memory can have.
#[must_use]
pub const fn byte_ring_length(size: u64) -> Option<usize> {
    match size.checked_add(BYTES as u64) {
        Some(length) if length <= isize::MAX as u64 => Some(length as usize),
        _ => None,
    }
}

/// What one end of a ring has seen: the last 16 bytes of a C program's `shared_buffer_t`.
///
/// At the end that writes, `write` is exact and `read` is what was seen last; at the end that reads it is the other way
/// round. Threads may share one view: what they store there is never ahead of the ring. Then the two positions share a
/// cache line, which is slower than a view for each and otherwise the same.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Positions {
    /// Bytes ever read.
    pub read: AtomicU64,
    /// Bytes ever written.
    pub write: AtomicU64,
}

const _: () = assert!(size_of::<Positions>() == 16);

/// Why a message was not written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ByteRingError {
    /// There is no room now.
    #[error("{wanted} bytes are wanted and {free} are free; the reader must catch up first")]
    Full {
        /// Bytes the message needs, its length included.
        wanted: u64,
        /// Bytes free.
        free: u64,
    },
    /// There will never be room.
    #[error("a message of {length} bytes can never fit into a ring of {size}; split it or make a larger ring")]
    TooLong {
        /// Bytes of the message.
        length: u64,
        /// Bytes of the ring.
        size: u64,
    },
    /// The message stays in the ring.
    #[error("the next message has {length} bytes and there is room for {room}; read it with a larger buffer")]
    Small {
        /// Bytes of the message.
        length: usize,
        /// Bytes of the caller's buffer.
        room: usize,
    },
    /// What no honest peer stores.
    #[error(
        "positions {read} and {write} of a ring of {size} bytes hold no whole message; its writer is broken, stop it"
    )]
    Corrupt {
        /// Where reading goes on.
        read: u64,
        /// Where the writer claims to be.
        write: u64,
        /// Bytes of the ring.
        size: u64,
    },
}

/// A ring of bytes. One thread at a time may write and one may read, in this process or another.
pub struct ByteRing {
    write: SharedU64,
    refused: SharedU64,
    read: SharedU64,
    bytes: SharedBytes,
    feature: u32,
    node: i32,
}

impl ByteRing {
    /// Lays a new ring of `size` bytes over writable `memory` whose bytes are zero. `feature` and `node` are kept for who
    /// opens it later.
    ///
    /// # Errors
    /// [`RingError`] when `size` is below [`SMALLEST`] or the memory is shorter than [`byte_ring_length`].
    pub fn create(memory: &Arc<dyn Memory>, size: u64, feature: u32, node: i32) -> Result<Self, RingError> {
        let ring = Self::over(memory, size, feature, node)?;
        for (offset, value) in [(SIZE, size), (FEATURE, u64::from(feature)), (NODE, i64::from(node) as u64)] {
            Shared::at(memory, offset, "the ring's head")
                .map(|word: SharedU64| word.store(value, Ordering::Relaxed))?;
        }
        let magic: SharedU64 = Shared::at(memory, 0, "the ring's magic word")?;
        magic.store(MAGIC, Ordering::Release);
        Ok(ring)
    }

    /// Joins the ring that somebody else created over the same memory.
    ///
    /// # Errors
    /// [`RingError`] when there is none, or its size does not fit the memory.
    pub fn open(memory: &Arc<dyn Memory>) -> Result<Self, RingError> {
        let word =
            |offset| Shared::at(memory, offset, "the ring's head").map(|word: SharedU64| word.load(Ordering::Acquire));
        if word(0)? != MAGIC {
            return Err(RingError::NoRing { found: word(0)? });
        }
        // The casts undo those of `create`; of another's making, they give a number that only labels.
        Self::over(memory, word(SIZE)?, word(FEATURE)? as u32, word(NODE)? as i32)
    }

    fn over(memory: &Arc<dyn Memory>, size: u64, feature: u32, node: i32) -> Result<Self, RingError> {
        let available = memory.len();
        let end = byte_ring_length(size).unwrap_or(usize::MAX);
        if size < SMALLEST || end > available {
            let end = end.max(BYTES + SMALLEST as usize);
            return Err(RingError::Short { what: "a ring of bytes", offset: BYTES, end, available });
        }
        Ok(Self {
            write: Shared::at(memory, WRITE, "the write position")?,
            refused: Shared::at(memory, REFUSED, "the count of refused messages")?,
            read: Shared::at(memory, READ, "the read position")?,
            bytes: SharedBytes::at(memory, BYTES, end - BYTES, "a ring of bytes")?,
            feature,
            node,
        })
    }

    /// Bytes the ring has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes.length()
    }

    /// The feature given at its creation.
    #[must_use]
    pub fn feature(&self) -> u32 {
        self.feature
    }

    /// The NUMA node asked for at its creation, -1 for any.
    #[must_use]
    pub fn node(&self) -> i32 {
        self.node
    }

    /// The first of the ring's bytes.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.bytes.base()
    }

    /// Messages that found no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Brings both positions of a view up to date.
    pub fn look(&self, view: &Positions) {
        // The reader's position first: loaded after the writer's, it could be ahead of it.
        view.read.store(self.read.load(Ordering::Acquire), Ordering::Release);
        view.write.store(self.write.load(Ordering::Acquire), Ordering::Release);
    }

    /// Writes one message and publishes it. `view` is the writing end's.
    ///
    /// # Errors
    /// [`ByteRingError::Full`], counted; [`ByteRingError::TooLong`]. Nothing was written then.
    #[inline]
    pub fn write(&self, view: &Positions, message: &[u8]) -> Result<(), ByteRingError> {
        let (size, length) = (self.bytes.length(), message.len() as u64);
        let wanted = length + MESSAGE_HEADER;
        let header = u32::try_from(length).ok().filter(|_| wanted <= size).map(u32::to_le_bytes);
        let Some(header) = header else { return Err(ByteRingError::TooLong { length, size }) };
        let side = self.writer(view);
        let at = side.room(wanted).map_err(|free| {
            self.refuse();
            ByteRingError::Full { wanted, free }
        })?;
        self.bytes.write(at, &header);
        self.bytes.write(at.wrapping_add(MESSAGE_HEADER), message);
        side.publish(at.wrapping_add(wanted)); // wrapping: a peer that scribbles over the word makes this no panic
        Ok(())
    }

    /// Copies the oldest message into `into` and gives its bytes back to the writer; `None` when there is none. `view` is
    /// the reading end's.
    ///
    /// # Errors
    /// [`ByteRingError::Small`]: the message stays. [`ByteRingError::Corrupt`]: the writer broke the rules.
    #[inline]
    pub fn read(&self, view: &Positions, into: &mut [u8]) -> Result<Option<usize>, ByteRingError> {
        let size = self.bytes.length();
        let side = self.reader(view);
        let (at, end) = side.ready();
        if end == at {
            return Ok(None);
        }
        let corrupt = ByteRingError::Corrupt { read: at, write: end, size };
        let ready = end.checked_sub(at).filter(|ready| (MESSAGE_HEADER..=size).contains(ready)).ok_or(corrupt)?;
        let mut header = [0; MESSAGE_HEADER as usize];
        self.bytes.read(at, &mut header);
        let length = u32::from_le_bytes(header);
        if u64::from(length) > ready - MESSAGE_HEADER {
            return Err(corrupt);
        }
        let (length, room) = (length as usize, into.len());
        let Some(into) = into.get_mut(..length) else { return Err(ByteRingError::Small { length, room }) };
        self.bytes.read(at.wrapping_add(MESSAGE_HEADER), into);
        side.publish(at.wrapping_add(MESSAGE_HEADER + length as u64));
        Ok(Some(length))
    }

    /// The writing end with this view.
    #[inline]
    fn writer<'a>(&'a self, view: &'a Positions) -> Side<&'a AtomicU64> {
        let (own, peer) = (&*self.write, &*self.read);
        Side { own, peer, shown: &view.write, seen: &view.read, size: self.bytes.length() }
    }

    /// The reading end with this view.
    #[inline]
    fn reader<'a>(&'a self, view: &'a Positions) -> Side<&'a AtomicU64> {
        let (own, peer) = (&*self.read, &*self.write);
        Side { own, peer, shown: &view.read, seen: &view.write, size: self.bytes.length() }
    }

    /// Counts what found no room. One writer, so load and store need not be one step.
    #[cold]
    fn refuse(&self) {
        self.refused.store(self.refused.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}
