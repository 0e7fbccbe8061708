//! Known flows: what the rules and flag buckets said when the last frame with the same key came by.
//!
//! Rules and buckets ask about nothing but the words of a [`Key`], and the flow's fingerprint is a function of them too.
//! So a frame whose key is known under the rules in force gets its answer for the price of one cache line, however many
//! rules there are. Each CPU has slots of its own, which nobody else writes. An entry names the generation of the rules
//! that it was made under, and every set of rules has another one: a change of rules forgets all entries at once.

use crate::decode::{Decoded, PORTS};
use crate::ruleset::{Field, RuleSet};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Slots of one CPU: 256 KiB, of which only the flows that pass are ever in its cache.
pub const KNOWN_SLOTS: usize = 4096;

/// Bits of the last word of a [`Key`].
const MODALITY: u32 = 28;
const HAS_MESSAGE: u64 = 1 << 17;
const HAS_VLAN: u64 = 1 << 16;
const VLAN: u64 = 0x0fff;

/// All that rules, flag buckets and the fingerprint look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Key {
    /// Source and destination, upper halves before lower ones.
    pub addresses: [u64; 4],
    /// Ports, protocol, IP version, whether the ports are known, whether the packet is one of several fragments.
    pub transport: u64,
    /// Message type, modality and VLAN, as far as a rule asks about them.
    pub asked: u64,
}

impl Key {
    /// The key of a frame under rules that ask as [`asked`] says.
    #[inline(always)]
    pub fn of(decoded: &Decoded, asked: u64) -> Key {
        let outer = &decoded.outer;
        let transport = (outer.source_port as u64) << 48
            | (outer.destination_port as u64) << 32
            | (outer.protocol as u64) << 24
            | (outer.version as u64) << 16
            | ((outer.flags & PORTS) as u64) << 8
            | outer.is_partial() as u64;
        let mut more = (decoded.message.message_type as u64) << 32
            | ((decoded.message.modality & 15) as u64) << MODALITY
            | outer.vlans[0] as u64 & VLAN;
        if decoded.kind != 0 {
            more |= HAS_MESSAGE;
        }
        if outer.vlan_count != 0 {
            more |= HAS_VLAN;
        }
        let (source, destination) = (outer.source, outer.destination);
        let addresses = [source.high, destination.high, source.low, destination.low];
        Key { addresses, transport, asked: more & asked }
    }

    /// The slot of the key among [`KNOWN_SLOTS`]: multiply-shift hashing, since nothing hangs on a collision but time.
    #[inline(always)]
    pub const fn slot(&self) -> usize {
        let [source_high, destination_high, source, destination] = self.addresses;
        let mixed = (source ^ source_high.rotate_left(7)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ (destination ^ destination_high.rotate_left(11)).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
            ^ self.transport.wrapping_mul(0x1656_67b1_9e37_79f9)
            ^ self.asked.wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed >> 52) as usize & (KNOWN_SLOTS - 1)
    }
}

/// The bits of [`Key::asked`] that a rule set with these [`RuleSet::used`] fields depends on.
pub const fn asked(used: u32) -> u64 {
    let mut bits = 0;
    if used & (1 << Field::MessageType as u32) != 0 {
        bits |= 0xffff_ffff << 32 | HAS_MESSAGE;
    }
    if used & (1 << Field::Modality as u32) != 0 {
        bits |= 15 << MODALITY;
    }
    if used & (1 << Field::Vlan as u32) != 0 {
        bits |= HAS_VLAN | VLAN;
    }
    bits
}

/// One slot: a cache line. All zeros is an empty one, since no rules have generation 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Known {
    /// What the frames have in common.
    pub key: Key,
    /// The flow's fingerprint, 0 where nothing has asked for it yet.
    pub flow: u64,
    /// The [`Steered`](crate::decide::Steered) word.
    pub steered: u32,
    /// [`RuleSet::generation`] of the rules that said so.
    pub generation: u32,
}

impl Known {
    /// Whether this entry answers for `key` under the rules in force.
    #[inline(always)]
    pub fn answers(&self, key: &Key, set: &RuleSet) -> bool {
        // One branch instead of seven, of which none could be foreseen better than the last.
        let mut different = (self.generation ^ set.generation) as u64;
        different |= self.key.addresses[0] ^ key.addresses[0];
        different |= self.key.addresses[1] ^ key.addresses[1];
        different |= self.key.addresses[2] ^ key.addresses[2];
        different |= self.key.addresses[3] ^ key.addresses[3];
        different |= self.key.transport ^ key.transport;
        different |= self.key.asked ^ key.asked;
        different == 0
    }
}

const _: () = assert!(core::mem::size_of::<Known>() == 64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Address, Layers};
    use crate::message::MessageKind;

    fn frame() -> Decoded {
        let address = |low| Address { high: 0, low };
        let outer = Layers {
            source: address(1),
            destination: address(2),
            version: 4,
            protocol: 17,
            flags: PORTS,
            source_port: 3,
            destination_port: 4,
            ..Layers::default()
        };
        Decoded { outer, ..Decoded::default() }
    }

    #[test]
    fn what_no_rule_asks_about_is_not_in_the_key() {
        let mut other = frame();
        other.kind = MessageKind::Standard as u8;
        other.message.message_type = 7;
        other.message.modality = 3;
        other.outer.vlans[0] = 9;
        other.outer.vlan_count = 1;
        assert_eq!(Key::of(&frame(), 0), Key::of(&other, 0));
        for field in [Field::MessageType, Field::Modality, Field::Vlan] {
            let bits = asked(1 << field as u32);
            assert_ne!(Key::of(&frame(), bits), Key::of(&other, bits), "{field:?}");
        }
    }

    #[test]
    fn every_field_of_a_flow_is_in_the_key() {
        let changes: [fn(&mut Decoded); 9] = [
            |frame| frame.outer.source.low = 9,
            |frame| frame.outer.source.high = 9,
            |frame| frame.outer.destination.low = 9,
            |frame| frame.outer.destination.high = 9,
            |frame| frame.outer.source_port = 9,
            |frame| frame.outer.destination_port = 9,
            |frame| frame.outer.protocol = 6,
            |frame| frame.outer.flags = 0,
            |frame| frame.outer.fragment_offset = 1,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut other = frame();
            change(&mut other);
            assert_ne!(Key::of(&frame(), 0), Key::of(&other, 0), "change {number}");
        }
    }
}
