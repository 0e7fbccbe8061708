//! Messages between agents: the standard header and the multi-modal one (docs/wire.md).
//!
//! Integers are little-endian, as the C structs `packed` are on x86-64 and aarch64.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// UDP destination port of a standard message.
pub const PORT_STANDARD: u16 = 48_100;
/// UDP destination port of a multi-modal message.
pub const PORT_MULTIMODAL: u16 = 48_101;
/// UDP destination port of an event batch.
pub const PORT_BATCH: u16 = 48_102;

/// Bytes of the standard header.
pub const STANDARD_HEADER: usize = 28;
/// Bytes of the multi-modal header; the payload starts here and part offsets count from here.
pub const MULTIMODAL_HEADER: usize = 76;

/// What a datagram carries, by its destination port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum MessageKind {
    /// No message of ours.
    #[default]
    None = 0,
    /// [`StandardHeader`] and payload.
    Standard = 1,
    /// [`MultimodalHeader`] and payload.
    Multimodal = 2,
    /// [`BatchHeader`](crate::batch::BatchHeader) and events.
    Batch = 3,
}

impl MessageKind {
    /// The kind with this number.
    pub const fn from_number(number: u8) -> Option<MessageKind> {
        match number {
            0 => Some(MessageKind::None),
            1 => Some(MessageKind::Standard),
            2 => Some(MessageKind::Multimodal),
            3 => Some(MessageKind::Batch),
            _ => None,
        }
    }

    /// The kind a UDP destination port promises.
    #[inline(always)]
    pub const fn of_port(port: u16) -> MessageKind {
        match port {
            PORT_STANDARD => MessageKind::Standard,
            PORT_MULTIMODAL => MessageKind::Multimodal,
            PORT_BATCH => MessageKind::Batch,
            _ => MessageKind::None,
        }
    }

    /// The word used in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            MessageKind::None => "none",
            MessageKind::Standard => "standard",
            MessageKind::Multimodal => "multimodal",
            MessageKind::Batch => "batch",
        }
    }
}

/// A kind of content; its number is its bit in `modality_mask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Modality {
    /// Text.
    Text = 1,
    /// Audio.
    Audio = 2,
    /// An image.
    Image = 4,
    /// Sensor readings.
    Sensor = 8,
}

impl Modality {
    /// Every modality, in the order of the layout.
    pub const ALL: [Modality; 4] = [Modality::Text, Modality::Audio, Modality::Image, Modality::Sensor];
    /// The bits of all modalities.
    pub const MASK: u32 = 15;

    /// Position in the layout, 0 to 3.
    #[inline(always)]
    pub const fn index(self) -> usize {
        (self as u32).trailing_zeros() as usize
    }

    /// The word used in rules.
    pub const fn name(self) -> &'static str {
        match self {
            Modality::Text => "text",
            Modality::Audio => "audio",
            Modality::Image => "image",
            Modality::Sensor => "sensor",
        }
    }
}

/// The header that every message starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StandardHeader {
    /// Application's type of message; rules can match it.
    pub message_type: U32,
    /// Who sent it.
    pub source_agent_id: U32,
    /// Whom it is for; looked up in the agent table.
    pub dest_agent_id: U32,
    /// Nanoseconds: CLOCK_MONOTONIC within one kernel, else CLOCK_REALTIME.
    pub timestamp_ns: U64,
    /// Application's priority, higher first.
    pub priority: U32,
    /// Counts up by one per source agent.
    pub sequence_number: U32,
}

/// Offset and length of one part, from the start of the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Part {
    /// Bytes from the start of the payload (byte 76 of the message).
    pub offset: U32,
    /// Bytes of the part; 0 where the message has no such part.
    pub length: U32,
}

/// The multi-modal header: the standard one and where the parts lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MultimodalHeader {
    /// As in every message.
    pub standard: StandardHeader,
    /// Bits of [`Modality`]: set where the part's length is not 0.
    pub modality_mask: U32,
    /// 1 when the sender asks for fusion, else 0.
    pub fusion_required: U32,
    /// Ties messages of one situation together.
    pub context_id: U32,
    /// 0.
    pub reserved: U32,
    /// Text, audio, image, sensor.
    pub layout: [Part; 4],
}

/// How a multi-modal message lies in memory: a packed 76-byte header in a 64-aligned slot of 128 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct MultimodalSlot {
    /// The header.
    pub header: MultimodalHeader,
    /// The first bytes of the payload; a longer payload goes on behind the slot.
    pub payload: [u8; 52],
}

const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<StandardHeader>() == STANDARD_HEADER);
    assert!(offset_of!(StandardHeader, source_agent_id) == 4);
    assert!(offset_of!(StandardHeader, dest_agent_id) == 8);
    assert!(offset_of!(StandardHeader, timestamp_ns) == 12);
    assert!(offset_of!(StandardHeader, priority) == 20);
    assert!(offset_of!(StandardHeader, sequence_number) == 24);
    assert!(size_of::<MultimodalHeader>() == MULTIMODAL_HEADER);
    assert!(offset_of!(MultimodalHeader, modality_mask) == 28);
    assert!(offset_of!(MultimodalHeader, fusion_required) == 32);
    assert!(offset_of!(MultimodalHeader, context_id) == 36);
    assert!(offset_of!(MultimodalHeader, reserved) == 40);
    assert!(offset_of!(MultimodalHeader, layout) == 44);
    assert!(offset_of!(MultimodalSlot, payload) == 76);
    assert!(align_of::<MultimodalSlot>() == 64);
    assert!(size_of::<MultimodalSlot>() == 128);
};

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Fewer bytes than the header takes.
    Truncated,
    /// A part lies outside the payload, overlaps another or contradicts the modality mask.
    Layout,
}

impl core::fmt::Display for MessageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            MessageError::Truncated => "the message is shorter than its header",
            MessageError::Layout => {
                "a part of the message lies outside its payload, overlaps another or contradicts the modality mask"
            }
        })
    }
}

impl core::error::Error for MessageError {}

impl StandardHeader {
    /// The header and the payload behind it.
    ///
    /// # Errors
    /// [`MessageError::Truncated`] under 28 bytes.
    pub fn parse(datagram: &[u8]) -> Result<(&StandardHeader, &[u8]), MessageError> {
        StandardHeader::ref_from_prefix(datagram).map_err(|_| MessageError::Truncated)
    }
}

impl MultimodalHeader {
    /// The header and the payload behind it, with every part checked.
    ///
    /// # Errors
    /// [`MessageError::Truncated`] under 76 bytes, [`MessageError::Layout`] as [`MultimodalHeader::is_sound`] says.
    pub fn parse(datagram: &[u8]) -> Result<(&MultimodalHeader, &[u8]), MessageError> {
        let (header, payload) = MultimodalHeader::ref_from_prefix(datagram).map_err(|_| MessageError::Truncated)?;
        if header.is_sound(payload.len()) { Ok((header, payload)) } else { Err(MessageError::Layout) }
    }

    /// True when every part lies inside a payload of `length` bytes, none overlaps another, and the mask's bits say
    /// exactly which parts are there.
    pub fn is_sound(&self, length: usize) -> bool {
        let parts = self.layout.map(|part| (part.offset.get(), part.length.get()));
        layout_is_sound(parts, self.modality_mask.get(), length as u64)
    }

    /// The bytes of one part; empty where the message has none. `payload` is what [`MultimodalHeader::parse`] gave.
    pub fn part<'a>(&self, payload: &'a [u8], modality: Modality) -> &'a [u8] {
        let part = self.layout[modality.index()];
        let start = part.offset.get() as usize;
        let end = start.saturating_add(part.length.get() as usize);
        payload.get(start..end).unwrap_or(&[])
    }
}

/// The rule of [`MultimodalHeader::is_sound`] on plain numbers, shared with the classifier: 64-bit sums cannot
/// overflow from 32-bit words, and a sum over the payload's length covers a sum over `u32::MAX`.
#[inline(always)]
pub(crate) fn layout_is_sound(parts: [(u32, u32); 4], mask: u32, length: u64) -> bool {
    // Differences instead of branches: bit 63 of `bad` is set by the first comparison that fails.
    let mut bad = 0u64;
    let mut present = 0u32;
    let mut at = 0;
    while at < 4 {
        let (offset, size) = (parts[at].0 as u64, parts[at].1 as u64);
        // An absent part may have any offset that stays inside, so that senders may leave it 0.
        bad |= length.wrapping_sub(offset + size);
        present |= (((size.wrapping_neg()) >> 63) as u32) << at;
        let mut other = 0;
        while other < at {
            let (start, bytes) = (parts[other].0 as u64, parts[other].1 as u64);
            // Apart when one ends before the other begins; a part of no bytes overlaps nothing.
            let behind = (start + bytes).wrapping_sub(offset + 1);
            let before = (offset + size).wrapping_sub(start + 1);
            let empty = size.wrapping_sub(1) | bytes.wrapping_sub(1);
            bad |= !(behind | before | empty);
            other += 1;
        }
        at += 1;
    }
    (bad >> 63) == 0 && present == mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(parts: [(u32, u32); 4], mask: u32, length: u64) -> bool {
        for (index, (offset, size)) in parts.into_iter().enumerate() {
            if u64::from(offset) + u64::from(size) > length || (size > 0) != (mask & (1 << index) != 0) {
                return false;
            }
            for (start, bytes) in parts.into_iter().take(index) {
                let apart = u64::from(start) + u64::from(bytes) <= u64::from(offset)
                    || u64::from(offset) + u64::from(size) <= u64::from(start);
                if size > 0 && bytes > 0 && !apart {
                    return false;
                }
            }
        }
        mask & !Modality::MASK == 0
    }

    #[test]
    fn layout_rule_agrees_with_its_words_on_all_small_cases() {
        for code in 0..6u64.pow(4) * 16 {
            let mut rest = code / 16;
            let parts = core::array::from_fn(|_| {
                let choice = [(0, 0), (0, 2), (1, 2), (2, 2), (3, 0), (u32::MAX, 1)][(rest % 6) as usize];
                rest /= 6;
                choice
            });
            for length in [0, 3, 4, u64::from(u32::MAX)] {
                let mask = (code % 16) as u32;
                assert_eq!(layout_is_sound(parts, mask, length), naive(parts, mask, length), "{parts:?} {mask}");
            }
        }
        assert!(!layout_is_sound([(0, 0); 4], 16, 4), "an unknown modality bit is refused");
    }

    #[test]
    fn golden_standard_header() {
        let header = StandardHeader {
            message_type: 1.into(),
            source_agent_id: 2.into(),
            dest_agent_id: 3.into(),
            timestamp_ns: 0x0807_0605_0403_0201.into(),
            priority: 4.into(),
            sequence_number: 0xffff_fffe.into(),
        };
        let golden = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 4, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff];
        assert_eq!(header.as_bytes(), golden);
        let (parsed, payload) = StandardHeader::parse(&golden).expect("28 bytes are enough");
        assert_eq!((parsed, payload.len()), (&header, 0));
        assert_eq!(StandardHeader::parse(&golden[..27]), Err(MessageError::Truncated));
    }

    #[test]
    fn golden_multimodal_header() {
        let mut message = [0u8; 84];
        message[28] = 3; // text and audio
        message[32] = 1;
        message[36..40].copy_from_slice(&77u32.to_le_bytes());
        message[48] = 5; // text: 0..5
        message[52] = 5; // audio: 5..8
        message[56] = 3;
        message[76..].copy_from_slice(b"hello\x01\x02\x03");
        let (header, payload) = MultimodalHeader::parse(&message).expect("the parts are apart and inside");
        assert_eq!(header.context_id.get(), 77);
        assert_eq!(header.part(payload, Modality::Text), b"hello");
        assert_eq!(header.part(payload, Modality::Audio), [1, 2, 3]);
        assert_eq!(header.part(payload, Modality::Image), []);
        message[52] = 4; // audio now starts inside the text
        assert_eq!(MultimodalHeader::parse(&message), Err(MessageError::Layout));
        // An older reader sees the standard header in the same place.
        assert!(StandardHeader::parse(&message).is_ok());
    }
}
