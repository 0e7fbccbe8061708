//! Messages and event batches as bytes.

use weir_ebpf_abi::batch::{BATCH_HEADER, BatchHeader, EVENT_ALIGN, EventHeader};
use weir_ebpf_abi::message::{Modality, MultimodalHeader, Part, StandardHeader};
use zerocopy::IntoBytes;

/// One event of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Number of the [`EventType`](weir_ebpf_abi::batch::EventType).
    pub kind: u32,
    /// Who saw it.
    pub source: u32,
    /// When, in nanoseconds.
    pub stamp_ns: u64,
    /// What it says.
    pub payload: Vec<u8>,
}

/// A standard message.
#[must_use]
pub fn message(header: &StandardHeader, payload: &[u8]) -> Vec<u8> {
    [header.as_bytes(), payload].concat()
}

/// A multi-modal message of these parts, laid one behind the other; mask and layout are filled in.
#[must_use]
pub fn multimodal(header: &MultimodalHeader, parts: &[(Modality, &[u8])]) -> Vec<u8> {
    let mut header = *header;
    header.modality_mask = 0.into();
    header.layout = [Part::default(); 4];
    let mut payload = Vec::new();
    for (modality, bytes) in parts.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        header.modality_mask = (header.modality_mask.get() | *modality as u32).into();
        // Parts are as small as a datagram, so their places fit.
        header.layout[modality.index()] =
            Part { offset: (payload.len() as u32).into(), length: (bytes.len() as u32).into() };
        payload.extend_from_slice(bytes);
    }
    [header.as_bytes(), &payload].concat()
}

/// An event batch; the number of events and their ids, which count up from `header.first_event_id`, are filled in.
#[must_use]
pub fn batch(header: &BatchHeader, events: &[Event]) -> Vec<u8> {
    let mut header = *header;
    header.event_count = (events.len() as u16).into(); // a batch that fits a datagram has far fewer
    let mut bytes = header.as_bytes().to_vec();
    debug_assert_eq!(bytes.len(), BATCH_HEADER);
    for (event, id) in events.iter().zip(header.first_event_id.get()..) {
        let head = EventHeader {
            event_id: id.into(),
            timestamp_ns: event.stamp_ns.into(),
            event_type: event.kind.into(),
            source_id: event.source.into(),
            payload_length: (event.payload.len() as u32).into(),
            reserved: 0.into(),
        };
        bytes.extend(head.as_bytes());
        bytes.extend(&event.payload);
        let padded = (bytes.len() - BATCH_HEADER).next_multiple_of(EVENT_ALIGN) + BATCH_HEADER;
        bytes.resize(padded, 0);
    }
    bytes
}
