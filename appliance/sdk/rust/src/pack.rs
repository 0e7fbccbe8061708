//! Events into event-batch messages (docs/wire.md): as few as they fit, in order.

use weir_ebpf_abi::batch::{BATCH_HEADER, BatchHeader, BatchWriter, EVENT_ALIGN, EVENT_HEADER, EventHeader};
use weir_ebpf_abi::message::StandardHeader;
use weir_ebpf_abi::stream::STREAM_MESSAGE_MAX;

use crate::error::SdkError;

/// Most events of one call.
pub const EVENTS_MAX: usize = 4096;
/// Longest payload of an event: it and its headers fill one message.
pub const PAYLOAD_MAX: usize = (STREAM_MESSAGE_MAX - BATCH_HEADER - EVENT_HEADER) / EVENT_ALIGN * EVENT_ALIGN;
/// `message_type` of a batch, for rules to match.
pub const MESSAGE_TYPE: u32 = 100;

/// An event as the program has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventView<'a> {
    /// Unique per source.
    pub event_id: u64,
    /// When it happened, in nanoseconds.
    pub timestamp_ns: u64,
    /// Number of an [`EventType`](weir_ebpf_abi::batch::EventType).
    pub event_type: u32,
    /// Whose event it is.
    pub source_id: u32,
    /// Its bytes, at most [`PAYLOAD_MAX`].
    pub payload: &'a [u8],
}

/// What one message of a call carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Events in it.
    pub events: usize,
    /// Bytes of the message.
    pub length: usize,
}

/// Bytes of an event in a message.
fn size(event: &EventView<'_>) -> usize {
    EVENT_HEADER + event.payload.len().next_multiple_of(EVENT_ALIGN)
}

/// Divides events over messages, into `parts`, which is emptied first.
///
/// # Errors
/// [`SdkError::Count`], [`SdkError::EventTooLong`].
pub fn plan<'a>(events: impl ExactSizeIterator<Item = EventView<'a>>, parts: &mut Vec<Part>) -> Result<(), SdkError> {
    parts.clear();
    let count = events.len();
    if count == 0 || count > EVENTS_MAX {
        return Err(SdkError::Count { count, most: EVENTS_MAX });
    }
    let mut part = Part { events: 0, length: BATCH_HEADER };
    for (number, event) in events.enumerate() {
        let length = event.payload.len();
        if length > PAYLOAD_MAX {
            return Err(SdkError::EventTooLong { number, length, most: PAYLOAD_MAX });
        }
        let size = size(&event);
        if part.length + size > STREAM_MESSAGE_MAX {
            parts.push(part);
            part = Part { events: 0, length: BATCH_HEADER };
        }
        part.events += 1;
        part.length += size;
    }
    parts.push(part);
    Ok(())
}

/// Who says so, and when: the words of a batch's header that are not its events'.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The stream's source.
    pub source: u32,
    /// The message's sequence in that stream; its low half is the batch's number.
    pub sequence: u64,
    /// The message's stamp.
    pub now_ns: u64,
}

/// Writes the next `part` of `events` into `message`, whose length is the part's.
pub fn write<'a>(message: &mut [u8], part: Part, stamp: Stamp, events: &mut impl Iterator<Item = EventView<'a>>) {
    let mut events = events.take(part.events).peekable();
    let number = stamp.sequence as u32; // low half: these words of the header count modulo 2^32
    let standard = StandardHeader {
        message_type: MESSAGE_TYPE.into(),
        source_agent_id: stamp.source.into(),
        timestamp_ns: stamp.now_ns.into(),
        sequence_number: number.into(),
        ..StandardHeader::default()
    };
    let first = events.peek().map_or(0, |event| event.event_id);
    let header =
        BatchHeader { standard, batch_id: number.into(), first_event_id: first.into(), ..BatchHeader::default() };
    let Some(mut writer) = BatchWriter::start(message, &header) else { return };
    for event in events {
        let header = EventHeader {
            event_id: event.event_id.into(),
            timestamp_ns: event.timestamp_ns.into(),
            event_type: event.event_type.into(),
            source_id: event.source_id.into(),
            ..EventHeader::default()
        };
        // `plan` made room for exactly these events.
        writer.push(&header, event.payload);
    }
    writer.finish();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_ebpf_abi::batch::Batch;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn packed_events_are_the_events(lengths in prop::collection::vec(
            prop_oneof![6 => 0_usize..200, 2 => 200_usize..9000, 1 => 60_000..=PAYLOAD_MAX], 1..120,
        )) {
            let bytes: Vec<u8> = (0..PAYLOAD_MAX).map(|at| at as u8).collect();
            let event = |number: usize| EventView {
                event_id: 1000 + number as u64,
                timestamp_ns: number as u64,
                event_type: 1 + number as u32 % 5,
                source_id: 7,
                payload: &bytes[..lengths[number]],
            };
            let mut parts = Vec::new();
            plan((0..lengths.len()).map(event), &mut parts).unwrap();
            let mut events = (0..lengths.len()).map(event);
            let mut read = 0;
            for (place, part) in parts.iter().enumerate() {
                prop_assert!(part.events > 0 && part.length <= STREAM_MESSAGE_MAX);
                if place > 0 {
                    let over = parts[place - 1].length + size(&event(read));
                    prop_assert!(over > STREAM_MESSAGE_MAX, "a message is begun only when the last is full");
                }
                let mut message = vec![0xaa; part.length];
                write(&mut message, *part, Stamp { source: 3, sequence: (1 << 32) + 5, now_ns: 9 }, &mut events);
                let batch = Batch::parse(&message).unwrap();
                prop_assert_eq!(batch.header.standard.source_agent_id.get(), 3);
                prop_assert_eq!((batch.header.batch_id.get(), batch.header.first_event_id.get()), (5, 1000 + read as u64));
                let mut walk = batch.events();
                for got in walk.by_ref() {
                    let expected = event(read);
                    prop_assert_eq!(got.payload, expected.payload);
                    prop_assert_eq!(got.header.event_id.get(), expected.event_id);
                    prop_assert_eq!(got.header.event_type.get(), expected.event_type);
                    prop_assert_eq!(got.header.timestamp_ns.get(), expected.timestamp_ns);
                    read += 1;
                }
                prop_assert!(!walk.is_broken());
            }
            prop_assert_eq!(read, lengths.len());
        }
    }

    #[test]
    fn what_fits_no_message_is_refused() {
        let long = vec![0; PAYLOAD_MAX + 1];
        let event = |payload| EventView { event_id: 1, timestamp_ns: 2, event_type: 1, source_id: 3, payload };
        let mut parts = Vec::new();
        let mut refused = |count: usize, payload| plan((0..count).map(|_| event(payload)), &mut parts).unwrap_err();
        assert!(matches!(refused(0, &[][..]), SdkError::Count { count: 0, .. }));
        assert!(matches!(refused(4097, &[][..]), SdkError::Count { count: 4097, .. }));
        assert!(matches!(refused(1, &long[..]), SdkError::EventTooLong { number: 0, .. }));
        assert!(plan([event(&long[..PAYLOAD_MAX])].into_iter(), &mut parts).is_ok());
        assert!(parts[0].length <= STREAM_MESSAGE_MAX);
    }
}
