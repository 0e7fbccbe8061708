//! Flows: the keyed fingerprint, the sticky bucket, and the verdict a feature writes back.
//!
//! The verdicts live in one plain BPF array that a worker maps and writes with ordinary stores. Slot
//! [`FLOW_SLOTS`] is the header: its `flow` field is not 0 while any verdict is in force, so that a classifier
//! without verdicts pays one load.

use crate::action::Action;
use crate::layout::BUCKETS;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Slots for verdicts; the slot of a flow is `flow & (FLOW_SLOTS - 1)`.
pub const FLOW_SLOTS: usize = 65_536;
/// Entries of the map: the verdicts and, last, the header slot.
pub const FLOW_ENTRIES: usize = FLOW_SLOTS + 1;
/// Index of the header slot.
pub const FLOW_HEADER_SLOT: usize = FLOW_SLOTS;
/// Bytes to map: the entries, in whole pages of 4096 bytes.
pub const FLOW_MAP_BYTES: usize = (FLOW_ENTRIES * core::mem::size_of::<FlowVerdict>()).next_multiple_of(4096);

/// One slot of the flow map.
///
/// Order of stores for a writer: `verdict = 0`, then `flow`, then `verdict` (release). The classifier reads `flow`
/// and then `verdict`, so it sees a whole verdict or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowVerdict {
    /// Fingerprint of the flow; 0 means empty.
    pub flow: u64,
    /// Bits 0..8: the action's number + 1 (0: none). Bits 8..16: the class. Bits 32..64: expiry in seconds of
    /// CLOCK_MONOTONIC, 0 for never.
    pub verdict: u64,
}

impl FlowVerdict {
    /// A verdict on `flow`; `expires_s` counts seconds of CLOCK_MONOTONIC, 0 for never.
    pub const fn new(flow: u64, action: Action, class: u8, expires_s: u32) -> FlowVerdict {
        let verdict = (action as u64 + 1) | (class as u64) << 8 | (expires_s as u64) << 32;
        FlowVerdict { flow, verdict }
    }

    /// The verdict's action, if one is set.
    #[inline(always)]
    pub const fn action(self) -> Option<Action> {
        Action::from_number((self.verdict as u8).wrapping_sub(1))
    }

    /// The class for [`Action::Deliver`] and [`Action::Mirror`].
    #[inline(always)]
    pub const fn class(self) -> u8 {
        (self.verdict >> 8) as u8
    }

    /// Expiry in seconds of CLOCK_MONOTONIC, 0 for never.
    #[inline(always)]
    pub const fn expires_s(self) -> u32 {
        (self.verdict >> 32) as u32
    }
}

/// Slot of a flow in the flow map.
#[inline(always)]
pub const fn slot(flow: u64) -> usize {
    (flow as usize) & (FLOW_SLOTS - 1)
}

/// Bucket of a flow, below [`BUCKETS`]; sticky, since it depends on nothing but the fingerprint.
#[inline(always)]
pub const fn bucket(flow: u64) -> u16 {
    // The upper half, so that bucket and slot do not share bits.
    (((flow >> 32) * BUCKETS as u64) >> 32) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_packs_and_unpacks() {
        let verdict = FlowVerdict::new(7, Action::Mirror, 63, 90);
        assert_eq!((verdict.action(), verdict.class(), verdict.expires_s()), (Some(Action::Mirror), 63, 90));
        assert_eq!(FlowVerdict::default().action(), None);
        assert_eq!(FLOW_MAP_BYTES % 4096, 0);
    }

    #[test]
    fn buckets_stay_below_their_number() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), 9_999);
    }
}
