//! The events of a batch, walked where they lie: one 32-byte header after the other, no payload touched or copied.
//!
//! An event batch is the 28-byte message header, 20 bytes about the batch, and then the events, each a 32-byte header
//! and its payload padded to 8 bytes. A jumbo frame holds a batch in several pieces; a header that straddles two of
//! them is the only thing gathered, on the stack.

use weir_ebpf_abi::batch::{BatchHeader, EVENT_ALIGN, EVENT_HEADER, EventHeader};
use weir_ebpf_abi::message::StandardHeader;
use zerocopy::{FromBytes, IntoBytes};

/// The words of a message header that windows are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHead {
    /// Message type.
    pub kind: u32,
    /// Agent that sent it.
    pub source: u32,
    /// Sender's clock in nanoseconds.
    pub stamp_ns: u64,
}

impl MessageHead {
    /// Reads the header that `payload` begins with; `None` when it is cut off.
    #[inline]
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (header, _) = StandardHeader::ref_from_prefix(payload).ok()?;
        let (kind, source) = (header.message_type.get(), header.source_agent_id.get());
        Some(Self { kind, source, stamp_ns: header.timestamp_ns.get() })
    }
}

/// The words of an event header that windows are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHead {
    /// Event type.
    pub kind: u32,
    /// Where the event comes from.
    pub source: u32,
    /// Time of the event in nanoseconds.
    pub stamp_ns: u64,
    /// Bytes of its payload, padding not counted.
    pub payload_length: u32,
}

impl EventHead {
    #[inline]
    fn read(header: &EventHeader) -> Self {
        Self {
            kind: header.event_type.get(),
            source: header.source_id.get(),
            stamp_ns: header.timestamp_ns.get(),
            payload_length: header.payload_length.get(),
        }
    }

    /// Bytes from this event's header to the next one's.
    #[inline]
    fn stride(&self) -> u64 {
        EVENT_HEADER as u64 + u64::from(self.payload_length).next_multiple_of(EVENT_ALIGN as u64)
    }
}

/// Number of events that a batch announces; `None` when its header is cut off.
#[inline]
#[must_use]
pub fn announced(payload: &[u8]) -> Option<u16> {
    let (header, _) = BatchHeader::ref_from_prefix(payload).ok()?;
    Some(header.event_count.get())
}

/// Walks `count` events of a batch that lies in one piece, `events` beginning behind the batch header. Returns how many
/// were whole; the walk ends at the first that is not.
#[inline]
pub fn walk(mut events: &[u8], count: u16, mut on_event: impl FnMut(EventHead)) -> u16 {
    for done in 0..count {
        let Ok((header, _)) = EventHeader::ref_from_prefix(events) else { return done };
        let event = EventHead::read(header);
        // The padding of the last event may be cut: nothing follows that it would have to align.
        let whole = EVENT_HEADER as u64 + u64::from(event.payload_length);
        if (events.len() as u64) < whole {
            return done;
        }
        on_event(event);
        events = events.get(event.stride() as usize..).unwrap_or_default();
    }
    count
}

/// Walks `count` events of a batch that lies in `pieces`, the first of them `skip` bytes before the first event. The
/// result is as that of [`walk`].
pub fn walk_pieces<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    skip: u64,
    count: u16,
    mut on_event: impl FnMut(EventHead),
) -> u16 {
    let mut header = EventHeader::default();
    let (mut have, mut done) = (0, 0); // bytes of the header gathered, events seen
    let mut waiting: Option<EventHead> = None; // its payload is not passed over yet
    let mut skip = skip; // bytes to pass over before the next header
    for mut piece in pieces {
        while done < count {
            let step = skip.min(piece.len() as u64);
            piece = &piece[step as usize..];
            skip -= step;
            if skip == 0
                && let Some(event) = waiting.take()
            {
                on_event(event);
                done += 1;
                // Padding stays to be passed over, but its absence at the end is no loss.
                skip = event.stride() - EVENT_HEADER as u64 - u64::from(event.payload_length);
                continue;
            }
            if piece.is_empty() {
                break;
            }
            let take = piece.len().min(EVENT_HEADER - have);
            header.as_mut_bytes()[have..have + take].copy_from_slice(&piece[..take]);
            piece = &piece[take..];
            have += take;
            if have == EVENT_HEADER {
                have = 0;
                let event = EventHead::read(&header);
                skip = u64::from(event.payload_length);
                waiting = Some(event);
            }
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(events: &[(u32, u32, u64, u8)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, source, stamp, length) in events {
            bytes.extend(7u64.to_le_bytes());
            bytes.extend(stamp.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(source.to_le_bytes());
            bytes.extend(u32::from(*length).to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(vec![0xee; usize::from(*length)]);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes
    }

    proptest! {
        #[test]
        fn pieces_and_one_piece_agree(
            events in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u64>(), any::<u8>()), 0..20),
            more in 0..3u16,
            keep in 0..=1000usize,
            cuts in prop::collection::vec(any::<u16>(), 0..5),
            front in 0..40usize,
        ) {
            let whole = build(&events);
            let kept = &whole[..whole.len() * keep / 1000];
            let count = events.len() as u16 + more;
            let mut in_one = Vec::new();
            let done = walk(kept, count, |event| in_one.push(event));
            prop_assert_eq!(usize::from(done), in_one.len());
            for (event, (kind, source, stamp, length)) in in_one.iter().zip(&events) {
                let wanted = EventHead { kind: *kind, source: *source, stamp_ns: *stamp, payload_length: u32::from(*length) };
                prop_assert_eq!(*event, wanted);
            }
            if keep == 1000 {
                prop_assert_eq!(in_one.len(), events.len());
            }
            let frame = [&vec![0; front], kept].concat();
            let mut places: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) % (frame.len() + 1)).collect();
            places.extend([0, frame.len()]);
            places.sort_unstable();
            let pieces = places.windows(2).map(|pair| &frame[pair[0]..pair[1]]);
            let mut in_pieces = Vec::new();
            let counted = walk_pieces(pieces, front as u64, count, |event| in_pieces.push(event));
            prop_assert_eq!(usize::from(counted), in_pieces.len());
            prop_assert_eq!(in_pieces, in_one);
        }

        #[test]
        fn noise_neither_panics_nor_invents(bytes in prop::collection::vec(any::<u8>(), 0..400), count in any::<u16>()) {
            let mut total = 0u64;
            let done = walk(&bytes, count, |event| total += 32 + u64::from(event.payload_length));
            prop_assert!(done <= count);
            prop_assert!(total <= bytes.len() as u64);
        }
    }
}
