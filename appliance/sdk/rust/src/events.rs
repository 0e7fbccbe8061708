//! Events gathered into batches: the form in which many small things travel.

use weir_ebpf_abi::batch::{BATCH_HEADER, BatchHeader, EVENT_ALIGN, EVENT_HEADER, EventHeader};
use weir_ebpf_abi::message::{PORT_BATCH, StandardHeader};
use weir_ebpf_abi::stream::STREAM_MESSAGE_MAX;
use zerocopy::IntoBytes;

/// One event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Unique per source.
    pub id: u64,
    /// Nanoseconds.
    pub timestamp_ns: u64,
    /// Its type.
    pub kind: u32,
    /// Who saw it.
    pub source: u32,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Makes batch messages of one agent.
#[derive(Clone, Debug)]
pub struct EventBatches {
    agent: u32,
    batches: u32,
}

impl EventBatches {
    /// Batches of `agent`.
    #[must_use]
    pub fn new(agent: u32) -> Self {
        Self { agent, batches: 0 }
    }

    /// The form of what is made here.
    pub const FORM: u16 = PORT_BATCH;
    /// Longest payload of one event.
    pub const PAYLOAD_MAX: usize = STREAM_MESSAGE_MAX - BATCH_HEADER - EVENT_HEADER - EVENT_ALIGN;

    /// The events as batch messages, as few as hold them, stamped `now_ns`. `None` when a payload is longer than
    /// [`EventBatches::PAYLOAD_MAX`].
    pub fn pack(&mut self, events: &[Event<'_>], now_ns: u64) -> Option<Vec<Vec<u8>>> {
        if events.iter().any(|event| event.payload.len() > Self::PAYLOAD_MAX) {
            return None;
        }
        let mut messages: Vec<Vec<u8>> = Vec::new();
        let (mut message, mut count, mut first) = (vec![0; BATCH_HEADER], 0_u16, 0);
        for event in events {
            let bytes = EVENT_HEADER + event.payload.len().next_multiple_of(EVENT_ALIGN);
            if message.len() + bytes > STREAM_MESSAGE_MAX || count == u16::MAX {
                let full = std::mem::replace(&mut message, vec![0; BATCH_HEADER]);
                messages.push(self.close(full, count, first, now_ns));
                count = 0;
            }
            if count == 0 {
                first = event.id;
            }
            count += 1;
            let header = EventHeader {
                event_id: event.id.into(),
                timestamp_ns: event.timestamp_ns.into(),
                event_type: event.kind.into(),
                source_id: event.source.into(),
                payload_length: (event.payload.len() as u32).into(), // below PAYLOAD_MAX
                reserved: 0.into(),
            };
            message.extend_from_slice(header.as_bytes());
            message.extend_from_slice(event.payload);
            message.resize(message.len().next_multiple_of(EVENT_ALIGN), 0);
        }
        if count > 0 {
            messages.push(self.close(message, count, first, now_ns));
        }
        Some(messages)
    }

    fn close(&mut self, mut message: Vec<u8>, count: u16, first: u64, now_ns: u64) -> Vec<u8> {
        let standard = StandardHeader {
            source_agent_id: self.agent.into(),
            timestamp_ns: now_ns.into(),
            sequence_number: self.batches.into(),
            ..StandardHeader::default()
        };
        let header = BatchHeader {
            standard,
            event_count: count.into(),
            batch_id: self.batches.into(),
            first_event_id: first.into(),
            ..BatchHeader::default()
        };
        self.batches = self.batches.wrapping_add(1);
        if let Some(front) = message.get_mut(..BATCH_HEADER) {
            front.copy_from_slice(header.as_bytes());
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ebpf_abi::batch::Batch;

    #[test]
    fn events_come_out_of_their_batches_as_they_went_in() {
        let payloads: Vec<Vec<u8>> = (0..4096_usize).map(|n| vec![n as u8; n % 100]).collect();
        let events: Vec<Event<'_>> = (100..)
            .zip(&payloads)
            .map(|(id, payload)| Event {
                id,
                timestamp_ns: id * 2,
                kind: 1 + id as u32 % 5,
                source: id as u32 % 7,
                payload,
            })
            .collect();
        let messages = EventBatches::new(9).pack(&events, 5).expect("short payloads");
        assert!(messages.len() > 1 && messages.iter().all(|message| message.len() <= STREAM_MESSAGE_MAX));
        let mut out = Vec::new();
        for message in &messages {
            let batch = Batch::parse(message).expect("a sound batch");
            for event in batch.events() {
                let (header, payload) = (event.header, event.payload);
                out.push((header.event_id.get(), header.source_id.get(), payload.to_vec()));
            }
        }
        let expected: Vec<_> = events.iter().map(|event| (event.id, event.source, event.payload.to_vec())).collect();
        assert_eq!(out, expected);
        let long = vec![0; EventBatches::PAYLOAD_MAX + 1];
        assert_eq!(EventBatches::new(9).pack(&[Event { payload: &long, ..Event::default() }], 5), None);
        assert_eq!(EventBatches::new(9).pack(&[], 5), Some(Vec::new()));
    }
}
