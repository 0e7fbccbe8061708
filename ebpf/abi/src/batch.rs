//! Event batches: many small events behind one standard header (docs/wire.md).

use crate::message::{STANDARD_HEADER, StandardHeader};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes before the first event: the standard header and 20 more.
pub const BATCH_HEADER: usize = 48;
/// Bytes of an event's header.
pub const EVENT_HEADER: usize = 32;
/// An event's payload is padded with zeros to a multiple of this.
pub const EVENT_ALIGN: usize = 8;

/// The header of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BatchHeader {
    /// As in every message.
    pub standard: StandardHeader,
    /// Events behind this header.
    pub event_count: U16,
    /// 0; other values are refused.
    pub flags: U16,
    /// Counts up by one per source agent.
    pub batch_id: U32,
    /// `event_id` of the first event.
    pub first_event_id: U64,
    /// 0.
    pub reserved: U32,
}

/// The header of one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EventHeader {
    /// Unique per source.
    pub event_id: U64,
    /// Nanoseconds, of the same clock as the message's.
    pub timestamp_ns: U64,
    /// Number of an [`EventType`].
    pub event_type: U32,
    /// Who saw the event.
    pub source_id: U32,
    /// Bytes behind this header, without padding.
    pub payload_length: U32,
    /// 0.
    pub reserved: U32,
}

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum EventType {
    /// Something a user did.
    User = 1,
    /// Something the system did.
    System = 2,
    /// Something that failed.
    Error = 3,
    /// A performance reading.
    Performance = 4,
    /// Something for security people.
    Security = 5,
}

impl EventType {
    /// Every type, in the order of its number.
    pub const ALL: [EventType; 5] =
        [EventType::User, EventType::System, EventType::Error, EventType::Performance, EventType::Security];

    /// The type with this number.
    pub const fn from_number(number: u32) -> Option<EventType> {
        match number {
            1 => Some(EventType::User),
            2 => Some(EventType::System),
            3 => Some(EventType::Error),
            4 => Some(EventType::Performance),
            5 => Some(EventType::Security),
            _ => None,
        }
    }

    /// The word used in records and queries.
    pub const fn name(self) -> &'static str {
        match self {
            EventType::User => "user",
            EventType::System => "system",
            EventType::Error => "error",
            EventType::Performance => "performance",
            EventType::Security => "security",
        }
    }

    /// The type of the `n`-th event of generated traffic: shares 40, 30, 5, 20 and 5 per cent, exact in every 20.
    pub const fn of_rotation(n: u64) -> EventType {
        match (n % 20) as u8 {
            0 | 2 | 5 | 7 | 10 | 12 | 15 | 17 => EventType::User,
            1 | 4 | 6 | 9 | 11 | 16 => EventType::System,
            3 | 8 | 13 | 18 => EventType::Performance,
            14 => EventType::Error,
            _ => EventType::Security,
        }
    }
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<BatchHeader>() == BATCH_HEADER);
    assert!(offset_of!(BatchHeader, event_count) == STANDARD_HEADER);
    assert!(offset_of!(BatchHeader, batch_id) == 32);
    assert!(offset_of!(BatchHeader, first_event_id) == 36);
    assert!(offset_of!(BatchHeader, reserved) == 44);
    assert!(size_of::<EventHeader>() == EVENT_HEADER);
    assert!(offset_of!(EventHeader, event_type) == 16);
    assert!(offset_of!(EventHeader, payload_length) == 24);
};

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer than 48 bytes.
    Truncated,
    /// `flags` has bits we do not know.
    Flags(u16),
    /// More events than the bytes can hold.
    Count(u16),
}

impl core::fmt::Display for BatchError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            BatchError::Truncated => f.write_str("the batch is shorter than its header of 48 bytes"),
            BatchError::Flags(flags) => write!(f, "batch flags {flags:#06x} are not known: only 0 is"),
            BatchError::Count(count) => write!(f, "the batch names {count} events, more than its bytes can hold"),
        }
    }
}

impl core::error::Error for BatchError {}

/// A batch whose header has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The header.
    pub header: &'a BatchHeader,
    body: &'a [u8],
}

/// One event of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'a> {
    /// The header.
    pub header: &'a EventHeader,
    /// The payload, without padding.
    pub payload: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Checks the header; events are checked as [`Batch::events`] walks them.
    ///
    /// # Errors
    /// [`BatchError`] names the field.
    pub fn parse(datagram: &'a [u8]) -> Result<Batch<'a>, BatchError> {
        let (header, body) = BatchHeader::ref_from_prefix(datagram).map_err(|_| BatchError::Truncated)?;
        if header.flags.get() != 0 {
            return Err(BatchError::Flags(header.flags.get()));
        }
        let count = header.event_count.get();
        if usize::from(count) * EVENT_HEADER > body.len() {
            return Err(BatchError::Count(count));
        }
        Ok(Batch { header, body })
    }

    /// The events in order. Ends early, with [`Events::is_broken`], at an event that runs over the datagram's end.
    pub fn events(&self) -> Events<'a> {
        Events { body: self.body, left: self.header.event_count.get(), broken: false }
    }
}

/// Walks the events of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    body: &'a [u8],
    left: u16,
    broken: bool,
}

impl Events<'_> {
    /// True after the walk has met an event that runs over the end.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Events still to come, as the header promises.
    pub fn left(&self) -> u16 {
        self.left
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    #[inline]
    fn next(&mut self) -> Option<Event<'a>> {
        if self.left == 0 || self.broken {
            return None;
        }
        let Ok((header, rest)) = EventHeader::ref_from_prefix(self.body) else {
            self.broken = true;
            return None;
        };
        let length = header.payload_length.get() as usize;
        let Some(payload) = rest.get(..length) else {
            self.broken = true;
            return None;
        };
        // The padding of the last event may be missing at the datagram's end.
        self.body = rest.get(length.next_multiple_of(EVENT_ALIGN)..).unwrap_or(&[]);
        self.left -= 1;
        Some(Event { header, payload })
    }
}

/// Writes a batch into a buffer.
#[derive(Debug)]
pub struct BatchWriter<'a> {
    buffer: &'a mut [u8],
    length: usize,
    count: u16,
}

impl<'a> BatchWriter<'a> {
    /// Starts a batch; `None` when the buffer cannot hold the header.
    pub fn start(buffer: &'a mut [u8], header: &BatchHeader) -> Option<BatchWriter<'a>> {
        buffer.get_mut(..BATCH_HEADER)?.copy_from_slice(header.as_bytes());
        Some(BatchWriter { buffer, length: BATCH_HEADER, count: 0 })
    }

    /// Appends an event; `payload_length` is set from `payload`. False when the buffer is full.
    pub fn push(&mut self, header: &EventHeader, payload: &[u8]) -> bool {
        let padded = payload.len().next_multiple_of(EVENT_ALIGN);
        let (Ok(length), Some(count)) = (u32::try_from(payload.len()), self.count.checked_add(1)) else {
            return false;
        };
        let Some(place) = self.buffer.get_mut(self.length..self.length + EVENT_HEADER + padded) else {
            return false;
        };
        let header = EventHeader { payload_length: length.into(), ..*header };
        let (head, body) = place.split_at_mut(EVENT_HEADER);
        head.copy_from_slice(header.as_bytes());
        let (bytes, padding) = body.split_at_mut(payload.len());
        bytes.copy_from_slice(payload);
        padding.fill(0);
        self.length += EVENT_HEADER + padded;
        self.count = count;
        true
    }

    /// Writes the event count and gives the batch's bytes.
    pub fn finish(self) -> &'a [u8] {
        let count_at = core::mem::offset_of!(BatchHeader, event_count);
        self.buffer[count_at..count_at + 2].copy_from_slice(&self.count.to_le_bytes());
        &self.buffer[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_batches_read_back() {
        let mut buffer = [0xaau8; 160];
        let header = BatchHeader { batch_id: 9.into(), first_event_id: 100.into(), ..BatchHeader::default() };
        let mut writer = BatchWriter::start(&mut buffer, &header).expect("room for the header");
        for id in 0..2u64 {
            let event = EventHeader { event_id: (100 + id).into(), event_type: 1.into(), ..EventHeader::default() };
            assert!(writer.push(&event, &b"abcdefghij"[..id as usize * 3]));
        }
        assert!(!writer.push(&EventHeader::default(), &[0; 64]), "a full buffer says so");
        let bytes = writer.finish();
        assert_eq!(bytes.len(), 48 + 32 + 32 + 8);
        assert_eq!(bytes[115..], [0; 5], "padding is zeros");
        let batch = Batch::parse(bytes).expect("what was written is valid");
        let mut events = batch.events();
        assert_eq!(events.next().map(|event| event.payload), Some(&b""[..]));
        assert_eq!(events.next().map(|event| (event.header.event_id.get(), event.payload)), Some((101, &b"abc"[..])));
        assert_eq!(events.next(), None);
        assert!(!events.is_broken());
    }

    #[test]
    fn lies_are_refused() {
        let mut bytes = [0u8; 80];
        bytes[28] = 1;
        assert!(Batch::parse(&bytes).is_ok());
        bytes[72] = 1; // one payload byte that is not there
        let mut events = Batch::parse(&bytes).expect("the header alone is fine").events();
        assert_eq!(events.next(), None);
        assert!(events.is_broken());
        bytes[28] = 2;
        assert_eq!(Batch::parse(&bytes).err(), Some(BatchError::Count(2)));
        bytes[30] = 1;
        assert_eq!(Batch::parse(&bytes).err(), Some(BatchError::Flags(1)));
        assert_eq!(Batch::parse(&bytes[..47]).err(), Some(BatchError::Truncated));
    }

    #[test]
    fn rotation_has_the_shares_of_the_specification() {
        let mut counts = [0; 6];
        for n in 0..100 {
            counts[EventType::of_rotation(n) as usize] += 1;
        }
        assert_eq!(counts, [0, 40, 30, 5, 20, 5]);
    }
}
