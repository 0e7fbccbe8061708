//! Flows: the keyed fingerprint, the sticky bucket, and the verdict a feature writes back.
//!
//! The verdicts live in one plain BPF array that a worker maps and writes with ordinary stores. Slot
//! [`FLOW_SLOTS`] is the header: its `flow` field is not 0 while any verdict is in force, so that a classifier
//! without verdicts pays one load.

use crate::action::Action;
use crate::decode::Layers;
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
/// Order of stores for a writer: `flow = 0`, then `verdict`, then `flow` (release). The classifier reads `flow`, `verdict`
/// and `flow` again, so it never applies one flow's verdict to another that took its slot meanwhile.
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

/// Keyed fingerprint of a frame's flow: SipHash-1-3 over addresses, protocol and ports, never 0.
///
/// A worker that does not know the key cannot make up the fingerprint of a flow it was not given. Fragments leave
/// out the ports, so that all fragments of a datagram are one flow; frames that are not IP are one flow per
/// ethertype.
#[inline(always)]
pub fn fingerprint(key: [u64; 2], layers: &Layers) -> u64 {
    let mut state = Sip::new(key);
    let ports =
        if layers.is_partial() { 0 } else { (layers.source_port as u64) << 16 | layers.destination_port as u64 };
    let last = ports << 16 | (layers.version as u64) << 8 | layers.protocol as u64;
    match layers.version {
        4 => state.absorb(layers.source.low << 32 | layers.destination.low),
        6 => {
            state.absorb(layers.source.high);
            state.absorb(layers.source.low);
            state.absorb(layers.destination.high);
            state.absorb(layers.destination.low);
        }
        _ => state.absorb(layers.ethertype as u64),
    }
    // The version is in the last word, so the number of words before it need not be.
    state.absorb(last);
    let flow = state.finish();
    if flow == 0 { 1 } else { flow }
}

/// SipHash-1-3 (Aumasson and Bernstein) over whole words.
struct Sip(u64, u64, u64, u64);

impl Sip {
    #[inline(always)]
    fn new(key: [u64; 2]) -> Sip {
        Sip(
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        )
    }

    #[inline(always)]
    fn round(&mut self) {
        self.0 = self.0.wrapping_add(self.1);
        self.2 = self.2.wrapping_add(self.3);
        self.1 = self.1.rotate_left(13) ^ self.0;
        self.3 = self.3.rotate_left(16) ^ self.2;
        self.0 = self.0.rotate_left(32);
        self.2 = self.2.wrapping_add(self.1);
        self.0 = self.0.wrapping_add(self.3);
        self.1 = self.1.rotate_left(17) ^ self.2;
        self.3 = self.3.rotate_left(21) ^ self.0;
        self.2 = self.2.rotate_left(32);
    }

    #[inline(always)]
    fn absorb(&mut self, word: u64) {
        self.3 ^= word;
        self.round();
        self.0 ^= word;
    }

    #[inline(always)]
    fn finish(mut self) -> u64 {
        self.2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.0 ^ self.1 ^ self.2 ^ self.3
    }
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
    fn siphash_agrees_with_its_reference() {
        // SipHash-1-3 of the bytes 0..8 under the key 0..16, as the reference implementation prints it: one word,
        // then the word that holds the length alone.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let mut state = Sip::new(key);
        state.absorb(0x0706_0504_0302_0100);
        state.absorb(8 << 56);
        assert_eq!(state.finish(), 0x3690_9511_8d29_9a8e);
    }

    #[test]
    fn fragments_of_a_datagram_share_a_flow() {
        let whole = Layers { version: 4, protocol: 17, source_port: 7, destination_port: 9, ..Layers::default() };
        let first = Layers { flags: crate::decode::MORE_FRAGMENTS, ..whole };
        let later = Layers { fragment_offset: 8, source_port: 0, destination_port: 0, ..whole };
        assert_eq!(fingerprint([1, 2], &first), fingerprint([1, 2], &later));
        assert_ne!(fingerprint([1, 2], &first), fingerprint([1, 2], &whole));
        assert_ne!(fingerprint([1, 2], &first), fingerprint([1, 3], &first));
    }

    #[test]
    fn buckets_stay_below_their_number() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), 9_999);
    }
}
