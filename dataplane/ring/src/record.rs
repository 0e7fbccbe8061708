//! The one-producer one-consumer ring that carries records, events and calls out of a worker.
//!
//! ```text
//! byte 0    128           256             384
//!      │ reserved │ tail, refused │ head │ records …  (size × size_of::<T>())
//!                   producer's      consumer's
//! ```
//! Zero bytes are an empty ring, so nobody has to initialise it, and either side can be replaced by a new process at
//! any moment: what was published stays, what was written but not published never happened. Records are plain bytes, read
//! once: a writer that breaks the rules yields wrong numbers and nothing worse.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::memory::{Memory, Plain, RingError, Shared, SharedRecords, SharedU32, SharedU64};
use crate::order::{Consumer, Corrupt, Full, Producer};

const TAIL: usize = 128;
const REFUSED: usize = 136;
const HEAD: usize = 256;
const RECORDS: usize = 384;

/// What a feature says to the outside: 128 bytes, two cache lines.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Record {
    /// Who speaks (the worker's feature number).
    pub feature: u16,
    /// What `body` is, by the feature's own numbering.
    pub kind: u16,
    /// Bytes of `body` in use.
    pub length: u32,
    /// Stream time in nanoseconds.
    pub time_ns: u64,
    /// The record, by `kind`.
    pub body: [u8; 112],
}

const _: () = assert!(size_of::<Record>() == 128);

impl Record {
    /// Most bytes a record carries.
    pub const BODY: usize = 112;

    /// A record about stream time `time_ns`; `None` when `body` is longer than [`Record::BODY`].
    #[must_use]
    pub fn new(feature: u16, kind: u16, time_ns: u64, body: &[u8]) -> Option<Self> {
        let mut record = Self { feature, kind, length: body.len() as u32, time_ns, body: [0; Self::BODY] };
        record.body.get_mut(..body.len())?.copy_from_slice(body);
        Some(record)
    }

    /// The bytes in use. A length beyond the body, which only a broken writer gives, is cut to it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.body.get(..self.length as usize).unwrap_or(&self.body)
    }
}

/// Bytes of memory for a ring of `size` records of type `T`.
pub const fn record_ring_length<T>(size: u32) -> usize {
    RECORDS + size as usize * size_of::<T>()
}

/// The writing side. There is one at a time per ring.
pub struct RecordProducer<T> {
    indexes: Producer<SharedU32>,
    refused: SharedU64,
    slots: SharedRecords<T>,
}

impl<T: Plain> RecordProducer<T> {
    /// Joins the ring of `size` records over `memory`, which must be writable, and zero when the ring is new.
    ///
    /// # Errors
    /// [`RingError`] when the size is no power of two or the memory is shorter than [`record_ring_length`].
    pub fn attach(memory: Arc<dyn Memory>, size: u32) -> Result<Self, RingError> {
        let slots = SharedRecords::at(&memory, RECORDS, size, "record ring")?;
        let tail = Shared::at(&memory, TAIL, "the tail index")?;
        let head = Shared::at(&memory, HEAD, "the head index")?;
        let refused = Shared::at(&memory, REFUSED, "the count of refused records")?;
        Ok(Self { indexes: Producer::attach(tail, head, size), refused, slots })
    }

    /// Records the ring can hold.
    #[inline]
    pub fn size(&self) -> u32 {
        self.indexes.size()
    }

    /// Count of the next record to write, modulo 2^32: where a predecessor's publications ended.
    #[inline]
    pub fn position(&self) -> u32 {
        self.indexes.next()
    }

    /// Free entries, freshly loaded.
    #[inline]
    pub fn free(&mut self) -> u32 {
        let all = self.indexes.size();
        self.indexes.free(all)
    }

    /// Writes one record and publishes it.
    ///
    /// # Errors
    /// [`Full`], counted in [`RecordConsumer::refused`], when there is no free entry.
    #[inline]
    pub fn push(&mut self, record: &T) -> Result<(), Full> {
        self.stage(record)?;
        self.publish();
        Ok(())
    }

    /// Writes one record; the consumer sees it after [`RecordProducer::publish`].
    ///
    /// # Errors
    /// [`Full`], counted in [`RecordConsumer::refused`], when there is no free entry.
    #[inline]
    pub fn stage(&mut self, record: &T) -> Result<(), Full> {
        if self.indexes.free(1) == 0 {
            self.refuse(1);
            return Err(Full);
        }
        self.slots.write(self.indexes.next(), record);
        self.indexes.advance(1);
        Ok(())
    }

    /// Shows the consumer everything that was staged (release).
    #[inline]
    pub fn publish(&mut self) {
        self.indexes.publish();
    }

    /// Writes as many of `records` as fit and publishes them together; gives how many. The rest counts as refused.
    #[inline]
    pub fn push_batch(&mut self, records: &[T]) -> usize {
        let wanted = records.len().min(self.indexes.size() as usize) as u32; // at most the size, so nothing is cut
        let count = self.indexes.free(wanted).min(wanted);
        let first = self.indexes.next();
        for (step, record) in (0..count).zip(records) {
            self.slots.write(first.wrapping_add(step), record);
        }
        self.indexes.advance(count);
        self.indexes.publish();
        let written = count as usize;
        if written < records.len() {
            self.refuse((records.len() - written) as u64);
        }
        written
    }

    /// Room for `count` records, to be filled one by one and published together by [`Reservation::commit`]; a
    /// reservation dropped without it did not happen.
    ///
    /// # Errors
    /// [`Full`], counted as `count` refused records, when fewer than `count` entries are free.
    #[inline]
    pub fn reserve(&mut self, count: u32) -> Result<Reservation<'_, T>, Full> {
        if count > self.indexes.size() || self.indexes.free(count) < count {
            self.refuse(u64::from(count));
            return Err(Full);
        }
        Ok(Reservation { producer: self, room: count, used: 0 })
    }

    /// Counts what found no room. One writer, so load and store need not be one step.
    #[cold]
    fn refuse(&self, count: u64) {
        self.refused.store(self.refused.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }
}

/// Room for some records, not visible to the consumer until [`Reservation::commit`].
pub struct Reservation<'a, T> {
    producer: &'a mut RecordProducer<T>,
    room: u32,
    used: u32,
}

impl<T: Plain> Reservation<'_, T> {
    /// Writes the next record.
    ///
    /// # Errors
    /// [`Full`] when the reservation is used up.
    #[inline]
    pub fn push(&mut self, record: &T) -> Result<(), Full> {
        if self.used == self.room {
            return Err(Full);
        }
        self.producer.slots.write(self.producer.indexes.next().wrapping_add(self.used), record);
        self.used += 1;
        Ok(())
    }

    /// Publishes what was written.
    #[inline]
    pub fn commit(self) {
        self.producer.indexes.advance(self.used);
        self.producer.indexes.publish();
    }
}

/// The reading side. There is one at a time per ring.
pub struct RecordConsumer<T> {
    indexes: Consumer<SharedU32>,
    refused: SharedU64,
    slots: SharedRecords<T>,
}

impl<T: Plain> RecordConsumer<T> {
    /// Joins the ring of `size` records over `memory`, which must be writable, and zero when the ring is new.
    ///
    /// # Errors
    /// [`RingError`] when the size is no power of two or the memory is shorter than [`record_ring_length`].
    pub fn attach(memory: Arc<dyn Memory>, size: u32) -> Result<Self, RingError> {
        let slots = SharedRecords::at(&memory, RECORDS, size, "record ring")?;
        let head = Shared::at(&memory, HEAD, "the head index")?;
        let tail = Shared::at(&memory, TAIL, "the tail index")?;
        let refused = Shared::at(&memory, REFUSED, "the count of refused records")?;
        Ok(Self { indexes: Consumer::attach(head, tail, size), refused, slots })
    }

    /// Records the ring can hold.
    #[inline]
    pub fn size(&self) -> u32 {
        self.indexes.size()
    }

    /// Records that can be read, freshly loaded.
    ///
    /// # Errors
    /// [`Corrupt`] when the producer claims more than the ring holds.
    #[inline]
    pub fn available(&mut self) -> Result<u32, Corrupt> {
        let all = self.indexes.size();
        self.indexes.ready(all)
    }

    /// Takes the next record, if there is one.
    ///
    /// # Errors
    /// [`Corrupt`] when the producer claims more than the ring holds.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<T>, Corrupt> {
        if self.indexes.ready(1)? == 0 {
            return Ok(None);
        }
        let record = self.slots.read(self.indexes.next());
        self.indexes.advance(1);
        self.indexes.release();
        Ok(Some(record))
    }

    /// Hands up to `most` records to `take`, oldest first, then gives their entries back together; gives how many. Each
    /// record is copied out once, so what `take` checks is what it uses.
    ///
    /// # Errors
    /// [`Corrupt`] when the producer claims more than the ring holds.
    #[inline]
    pub fn consume(&mut self, most: u32, mut take: impl FnMut(&T)) -> Result<u32, Corrupt> {
        let wanted = most.min(self.indexes.size());
        let count = self.indexes.ready(wanted)?.min(wanted);
        let first = self.indexes.next();
        for step in 0..count {
            let record = self.slots.read(first.wrapping_add(step));
            take(&record);
        }
        if count > 0 {
            self.indexes.advance(count);
            self.indexes.release();
        }
        Ok(count)
    }

    /// Copies as many records as fit into `into`; gives how many.
    ///
    /// # Errors
    /// [`Corrupt`] when the producer claims more than the ring holds.
    #[inline]
    pub fn pop_batch(&mut self, into: &mut [T]) -> Result<usize, Corrupt> {
        let most = into.len().min(self.indexes.size() as usize) as u32; // at most the size, so nothing is cut
        let mut room = into.iter_mut();
        let count = self.consume(most, |record| {
            if let Some(place) = room.next() {
                *place = *record;
            }
        })?;
        Ok(count as usize)
    }

    /// Records the producer says it had no room for.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
