//! A frame built once and stamped for each sending: a few bytes change, and the checksum with them.

use weir_ebpf_abi::batch::{BATCH_HEADER, BatchHeader, EVENT_ALIGN, EVENT_HEADER, EventHeader};
use weir_ebpf_abi::decode::{Decoded, decode_slice};
use weir_ebpf_abi::message::{MessageKind, PORT_BATCH};
use zerocopy::FromBytes;

use super::checksum::update;
use super::{Offsets, Path};

/// Bytes of the stamp within a message: `timestamp_ns` at 12.
const STAMP: usize = 12;
/// `sequence_number` at 24.
const SEQUENCE: usize = 24;
/// `first_event_id` of a batch at 36.
const FIRST_EVENT: usize = 36;
/// `timestamp_ns` of an event at 8.
const EVENT_STAMP: usize = 8;

/// A frame with a message in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    frame: Vec<u8>,
    offsets: Offsets,
    kind: MessageKind,
    events: Vec<usize>,
    decoded: Decoded,
}

impl Template {
    /// Builds the frame of `message` on `path`; the destination port says what kind of message it is.
    #[must_use]
    pub fn new(path: &Path, message: &[u8]) -> Self {
        let (frame, offsets) = path.udp(message);
        let kind = MessageKind::of_port(path.destination_port);
        let events = if path.destination_port == PORT_BATCH { event_places(message) } else { Vec::new() };
        let decoded = decode_slice(&frame, frame.len());
        Self { frame, offsets, kind, events, decoded }
    }

    /// The frame as it stands, from its Ethernet header on.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// The UDP payload as it stands.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.frame[self.offsets.payload..]
    }

    /// Where the parts begin.
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        self.offsets
    }

    /// What kind of message it carries.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// What the decoder finds in it, as built: number and time are those of no sending.
    #[must_use]
    pub fn decoded(&self) -> &Decoded {
        &self.decoded
    }

    /// Events in it: 0 unless it is a batch.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Writes the sequence number and the time into the message, and the time into every event of a batch, whose ids
    /// then begin at `first_event`. A message too short for its header is left alone.
    pub fn stamp(&mut self, sequence: u32, stamp_ns: u64, first_event: u64) {
        if self.payload().len() < SEQUENCE + 4 {
            return;
        }
        let stamp = stamp_ns.to_le_bytes();
        self.put(STAMP, &stamp);
        self.put(SEQUENCE, &sequence.to_le_bytes());
        if self.events.is_empty() {
            return;
        }
        self.put(FIRST_EVENT, &first_event.to_le_bytes());
        for index in 0..self.events.len() {
            let place = self.events[index];
            self.put(place, &(first_event + index as u64).to_le_bytes());
            self.put(place + EVENT_STAMP, &stamp);
        }
    }

    /// Changes bytes at an even place of the payload, and the checksum with them.
    fn put(&mut self, place: usize, new: &[u8]) {
        let start = self.offsets.payload + place;
        let sum_at = self.offsets.transport + 6;
        let old_sum = u16::from_be_bytes([self.frame[sum_at], self.frame[sum_at + 1]]);
        let target = &mut self.frame[start..start + new.len()];
        let sum = update(old_sum, target, new);
        target.copy_from_slice(new);
        let sum = if sum == 0 { 0xffff } else { sum };
        self.frame[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Where the events of a batch begin, counted from the start of the message.
fn event_places(message: &[u8]) -> Vec<usize> {
    let Ok((header, _)) = BatchHeader::ref_from_prefix(message) else { return Vec::new() };
    let mut place = BATCH_HEADER;
    let mut places = Vec::new();
    for _ in 0..header.event_count.get() {
        let Some(Ok((event, _))) = message.get(place..).map(EventHeader::ref_from_prefix) else { break };
        places.push(place);
        place += EVENT_HEADER + (event.payload_length.get() as usize).next_multiple_of(EVENT_ALIGN);
    }
    places
}
