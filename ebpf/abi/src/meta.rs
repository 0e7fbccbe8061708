//! What the classifier writes in front of every frame it delivers to a ring (XDP metadata).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Last two bytes of every [`FrameMeta`]; a frame without it did not come through our classifier.
pub const META_MAGIC: u16 = 0x5745;
/// [`FrameMeta::rule`] of a frame no rule matched.
pub const NO_RULE: u16 = 0xffff;

/// The 32 bytes directly in front of a delivered frame; the kernel copies them in copy mode too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrameMeta {
    /// Keyed fingerprint of the flow: a taker can only name flows it was given.
    pub flow: u64,
    /// CLOCK_MONOTONIC nanoseconds at classification, 0 unless stamping is on.
    pub received_ns: u64,
    /// Index of the rule that decided, [`NO_RULE`] for none.
    pub rule: u16,
    /// Class whose ring this is.
    pub class: u8,
    /// Number of the [`MessageKind`](crate::message::MessageKind).
    pub kind: u8,
    /// Bytes from the frame's start to the UDP or TCP payload, 0 where there is none.
    pub payload_offset: u16,
    /// Bytes of that payload.
    pub payload_length: u16,
    /// `source_agent_id` of the message, 0 where the frame is none.
    pub agent_source: u32,
    /// Sticky bucket of the flow, below 10 000.
    pub bucket: u16,
    /// [`META_MAGIC`].
    pub magic: u16,
}

impl FrameMeta {
    /// Bytes of the description.
    pub const SIZE: usize = core::mem::size_of::<FrameMeta>();

    /// The description in front of the frame that starts at `frame_start` in `chunk`, if there is one.
    pub fn read_before(chunk: &[u8], frame_start: usize) -> Option<FrameMeta> {
        let start = frame_start.checked_sub(Self::SIZE)?;
        let meta = FrameMeta::read_from_bytes(chunk.get(start..frame_start)?).ok()?;
        (meta.magic == META_MAGIC).then_some(meta)
    }
}

const _: () = assert!(FrameMeta::SIZE == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_from_in_front_of_a_frame() {
        let meta = FrameMeta { flow: 9, rule: NO_RULE, magic: META_MAGIC, ..FrameMeta::default() };
        let mut chunk = [0u8; 64];
        chunk[8..40].copy_from_slice(meta.as_bytes());
        assert_eq!(FrameMeta::read_before(&chunk, 40), Some(meta));
        assert_eq!(FrameMeta::read_before(&chunk, 41), None);
        assert_eq!(FrameMeta::read_before(&chunk, 8), None);
        assert_eq!(FrameMeta::read_before(&chunk, 90), None);
    }
}
