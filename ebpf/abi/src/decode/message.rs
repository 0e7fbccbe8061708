//! Our own messages, by destination port.

use super::{Decoded, Inside, MessageFields, Reader};
use crate::batch::{BATCH_HEADER, EVENT_HEADER};
use crate::message::{MULTIMODAL_HEADER, MessageKind, STANDARD_HEADER, layout_is_sound};
use crate::reason::Reason;

/// Reads the message in a datagram to `port`.
#[inline(always)]
pub(super) fn message<R: Reader>(port: u16, payload: Inside<R>, decoded: &mut Decoded) {
    let kind = MessageKind::of_port(port);
    if let MessageKind::None = kind {
        return;
    }
    let at = payload.at;
    if !payload.has(STANDARD_HEADER) {
        decoded.blame(Reason::TruncatedMessage);
        return;
    }
    decoded.kind = kind as u8;
    decoded.message = MessageFields {
        timestamp_ns: at.le64(12),
        message_type: at.le32(0),
        source_agent: at.le32(4),
        dest_agent: at.le32(8),
        priority: at.le32(20),
        sequence: at.le32(24),
        modality: 0,
    };
    match kind {
        MessageKind::Multimodal => multimodal(payload, decoded),
        MessageKind::Batch => batch(payload, decoded),
        _ => {}
    }
}

#[inline(always)]
fn multimodal<R: Reader>(payload: Inside<R>, decoded: &mut Decoded) {
    if !payload.has(MULTIMODAL_HEADER) {
        decoded.blame(Reason::TruncatedMessage);
        return;
    }
    let at = payload.at;
    let mask = at.le32(28);
    decoded.message.modality = mask;
    let parts = [
        (at.le32(44), at.le32(48)),
        (at.le32(52), at.le32(56)),
        (at.le32(60), at.le32(64)),
        (at.le32(68), at.le32(72)),
    ];
    if !layout_is_sound(parts, mask, (payload.length - MULTIMODAL_HEADER) as u64) {
        decoded.blame(Reason::BadMessageLayout);
    }
}

/// The events themselves are walked by who takes them: a loop over them has no place in front of every frame.
#[inline(always)]
fn batch<R: Reader>(payload: Inside<R>, decoded: &mut Decoded) {
    if !payload.has(BATCH_HEADER) {
        decoded.blame(Reason::TruncatedMessage);
        return;
    }
    let count = payload.at.le16(28) as usize;
    let flags = payload.at.le16(30);
    if flags != 0 || BATCH_HEADER + count * EVENT_HEADER > payload.length {
        decoded.blame(Reason::BadBatch);
    }
}
