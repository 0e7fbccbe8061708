//! Rules as the classifier matches them: a bit vector of rules for every value a field can have.
//!
//! Each field maps its value to the number of a [`Vector`], in which bit *n* says that rule *n* does not mind the
//! value. A frame matches the rules whose bit is set in all its vectors; the lowest bit is the first rule. A
//! vector's `summary` has one bit per word that is not 0, so only words alive in every field are looked at.
//! A share below 100 % is one more field, the flow's bucket. The loader's `compile` fills a set from rules.

use crate::decode::{Address, Decoded, PORTS};
use crate::layout::{BUCKETS, FLAG_TABLES, MAX_RULES};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words of a bit vector.
pub const VECTOR_WORDS: usize = MAX_RULES / 64;
/// Vectors a set can hold: more than 1,024 rules can ever make (six fields of ranges with two ends per rule, 256
/// protocols, 16 modality masks, and one shared by all unused fields).
pub const MAX_VECTORS: usize = 16_384;
/// Boundaries a range table can hold; 1,024 ranges have at most 2,048, and IPv6 ranges as many upper halves again.
pub const MAX_BOUNDS: usize = 4096;
/// No class in [`RuleSet::flags`].
pub const NO_CLASS: u8 = 0xff;
/// Instead of an action in [`RuleEntry::action`]: the table of [`RuleSet::flags`] that `class` names decides by the
/// flow's bucket, and where it has no class nothing applies. Such entries stand behind all rules.
pub const ASK_FLAGS: u8 = 0x80;

/// The fields of a frame that a rule can ask about; the number is the bit in [`RuleSet::used`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// Source address.
    Source = 0,
    /// Destination address.
    Destination = 1,
    /// Source port.
    SourcePort = 2,
    /// Destination port.
    DestinationPort = 3,
    /// IP protocol.
    Protocol = 4,
    /// Outermost VLAN id.
    Vlan = 5,
    /// Message type.
    MessageType = 6,
    /// Modality mask.
    Modality = 7,
    /// Bucket of the flow.
    Share = 8,
}

/// Number of [`Field`]s.
pub const FIELDS: usize = 9;

/// One bit per rule, and one bit per word that is not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Vector {
    /// Bit *w* is set where `words[w]` is not 0.
    pub summary: u64,
    /// Bit *n % 64* of word *n / 64* is rule *n*.
    pub words: [u64; VECTOR_WORDS],
}

impl Vector {
    /// Sets the bit of a rule.
    pub fn set(&mut self, rule: usize) {
        self.words[rule / 64] |= 1 << (rule % 64);
        self.summary |= 1 << (rule / 64);
    }
}

/// Ranges of 32-bit numbers: vector `vectors[i]` from `bounds[i - 1]` on; `vectors[0]` before the first.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ranges32 {
    /// Half of the least power of two above the number of boundaries, 0 where there are none: the search's first
    /// stride.
    pub half: u32,
    /// 0.
    pub reserved: u32,
    /// Boundaries, rising; the last one is repeated to the end.
    pub bounds: [u32; MAX_BOUNDS],
    /// Numbers of vectors; the last one is repeated to the end.
    pub vectors: [u16; MAX_BOUNDS],
}

/// Ranges of IPv6 addresses: first by the upper half, then, where ranges split inside one upper half, by the lower.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ranges128 {
    /// First stride of the search over `highs`, as in [`Ranges32`].
    pub half: u32,
    /// First stride of the longest search over `lows`.
    pub low_half: u32,
    /// Upper halves of boundaries, rising, each once; the last one is repeated to the end.
    pub highs: [u64; MAX_BOUNDS],
    /// Lower halves of boundaries, rising within one upper half, the first of each 0.
    pub lows: [u64; MAX_BOUNDS],
    /// Per upper half, the first of its `lows`.
    pub starts: [u16; MAX_BOUNDS],
    /// Per upper half, the end of its `lows`.
    pub ends: [u16; MAX_BOUNDS],
    /// Vector from each lower half on.
    pub low_vectors: [u16; MAX_BOUNDS],
    /// Vector behind all of an upper half; `vectors[0]` before the first. Repeated to the end, as `highs`, `starts` and `ends`.
    pub vectors: [u16; MAX_BOUNDS],
}

/// What a rule does, without what it asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RuleEntry {
    /// Number of the [`Action`](crate::action::Action).
    pub action: u8,
    /// Class for deliver and mirror.
    pub class: u8,
    /// Basis points, for people; the match itself is a field.
    pub share: u16,
}

/// A rule set, one bank of the rule map. All zeros is a valid set without rules, except for [`RuleSet::flags`].
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RuleSet {
    /// One bit per [`Field`] that some rule asks about; the others are skipped.
    pub used: u32,
    /// Rules in the set.
    pub count: u32,
    /// Another one for every set that was ever in force, never 0 there: what is [known](crate::known) of flows under
    /// other rules does not count under these. It lies in the set, so that no frame reads one without the other.
    pub generation: u32,
    /// 0.
    pub reserved: u32,
    /// [`known::asked`](crate::known::asked) of `used`.
    pub asked: u64,
    /// [`POSITIONS`]: the kernel's machine has no instruction that finds a bit, and the verifier would follow every
    /// branch of a search.
    pub positions: [u8; 64],
    /// Per field, the vector for frames that have no such field.
    pub absent: [u16; 12],
    /// By protocol.
    pub protocols: [u16; 256],
    /// By the lower four bits of the modality mask.
    pub modalities: [u16; 16],
    /// By VLAN id.
    pub vlans: [u16; 4096],
    /// By bucket: rules whose share covers it.
    pub shares: [u16; BUCKETS],
    /// By table and bucket: the flags' class, or [`NO_CLASS`]. Table 0 is for flows that no entry with [`ASK_FLAGS`]
    /// matches.
    pub flags: [[u8; BUCKETS]; FLAG_TABLES],
    /// By port.
    pub source_ports: [u16; 65_536],
    /// By port.
    pub destination_ports: [u16; 65_536],
    /// By IPv4 address.
    pub source4: Ranges32,
    /// By IPv4 address.
    pub destination4: Ranges32,
    /// By message type.
    pub message_types: Ranges32,
    /// What rules do.
    pub rules: [RuleEntry; MAX_RULES],
    /// By IPv6 address.
    pub source6: Ranges128,
    /// By IPv6 address.
    pub destination6: Ranges128,
    /// The vectors; number 0 has every rule of the set.
    pub vectors: [Vector; MAX_VECTORS],
}

/// A de Bruijn sequence: multiplied by a power of two, its upper six bits name the power.
const DE_BRUIJN: u64 = 0x03f7_9d71_b4cb_0a89;

/// [`RuleSet::positions`] as it must be filled.
pub const POSITIONS: [u8; 64] = {
    let mut table = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        table[(DE_BRUIJN.wrapping_shl(bit) >> 58) as usize] = bit as u8;
        bit += 1;
    }
    table
};

/// Halvings of a search: `2^12` is [`MAX_BOUNDS`].
const HALVINGS: u32 = 12;

impl Ranges32 {
    #[inline(always)]
    fn find(&self, value: u32, zero: u16) -> u16 {
        let mut position = 0usize;
        let mut half = self.half as usize;
        let mut turn = 0;
        while turn < HALVINGS && half != 0 {
            let bound = self.bounds[(position + half - 1) & (MAX_BOUNDS - 1)];
            // All ones where the bound is not above the value; arithmetic, since a branch would be a guess.
            let mask = ((bound as i64 - value as i64 - 1) >> 63) as usize;
            position += half & mask;
            half >>= 1;
            turn += 1;
        }
        self.vectors[(position ^ zero as usize) & (MAX_BOUNDS - 1)]
    }
}

/// All ones where `bound <= value`, else 0.
#[inline(always)]
fn not_above(bound: u64, value: u64) -> usize {
    // The borrow of `value - bound`, inverted.
    let borrow = ((!value & bound) | ((!value | bound) & value.wrapping_sub(bound))) >> 63;
    (borrow as usize).wrapping_sub(1)
}

impl Ranges128 {
    #[inline(always)]
    fn find(&self, address: Address, zero: u16) -> u16 {
        let mut position = 0usize;
        let mut half = self.half as usize;
        let mut turn = 0;
        while turn < HALVINGS && half != 0 {
            let bound = self.highs[(position + half - 1) & (MAX_BOUNDS - 1)];
            position += half & not_above(bound, address.high);
            half >>= 1;
            turn += 1;
        }
        let position = (position ^ zero as usize) & (MAX_BOUNDS - 1);
        if position == 0 || self.highs[(position - 1) & (MAX_BOUNDS - 1)] != address.high {
            return self.vectors[position];
        }
        self.find_low(position - 1, address.low, zero)
    }

    /// The upper half is that of boundary group `group`: search its lower halves.
    #[inline(always)]
    fn find_low(&self, group: usize, low: u64, zero: u16) -> u16 {
        let start = self.starts[group & (MAX_BOUNDS - 1)] as usize;
        let end = self.ends[group & (MAX_BOUNDS - 1)] as usize;
        let mut position = start;
        let mut half = self.low_half as usize;
        let mut turn = 0;
        while turn < HALVINGS && half != 0 {
            let probe = position + half - 1;
            // Beyond the group's end every boundary counts as above.
            let inside = ((probe as i64 - end as i64) >> 63) as usize;
            let bound = self.lows[probe & (MAX_BOUNDS - 1)];
            position += half & not_above(bound, low) & inside;
            half >>= 1;
            turn += 1;
        }
        // Every group has a step at its lowest address, so the search has passed at least one.
        self.low_vectors[((position - 1) ^ zero as usize) & (MAX_BOUNDS - 1)]
    }
}

impl RuleSet {
    #[inline(always)]
    fn uses(&self, field: Field) -> bool {
        self.used & (1 << field as u8) != 0
    }

    #[inline(always)]
    fn vector(&self, number: u16) -> &Vector {
        &self.vectors[number as usize & (MAX_VECTORS - 1)]
    }

    /// Number of the vector for an address, or for having none.
    #[inline(always)]
    fn address(&self, field: Field, version: u8, address: Address, zero: u16) -> u16 {
        let (v4, v6) = match field {
            Field::Source => (&self.source4, &self.source6),
            _ => (&self.destination4, &self.destination6),
        };
        match version {
            4 => v4.find(address.low as u32, zero),
            6 => v6.find(address, zero),
            _ => self.absent[field as usize],
        }
    }

    /// Index of the first rule that matches. `bucket` counts only where a rule has a share under 100 %. `zero` is 0,
    /// which the kernel's verifier must not know.
    #[inline(always)]
    pub fn first_match(&self, decoded: &Decoded, bucket: u16, zero: u16) -> Option<u16> {
        let outer = &decoded.outer;
        // Plain statements, no closures: each must melt into the classifier, or the decoded frame would have to lie
        // in memory for them. What no rule asks about is vector 0. The `zero` makes the verifier forget which way a
        // number came, so that it does not follow every combination of ways.
        let mut numbers = [0u16; FIELDS];
        if self.uses(Field::Source) {
            numbers[0] = self.address(Field::Source, outer.version, outer.source, zero);
        }
        numbers[0] ^= zero;
        if self.uses(Field::Destination) {
            numbers[1] = self.address(Field::Destination, outer.version, outer.destination, zero);
        }
        numbers[1] ^= zero;
        let has_ports = outer.flags & PORTS != 0;
        if self.uses(Field::SourcePort) {
            let absent = self.absent[Field::SourcePort as usize];
            numbers[2] = if has_ports { self.source_ports[outer.source_port as usize] } else { absent };
        }
        numbers[2] ^= zero;
        if self.uses(Field::DestinationPort) {
            let absent = self.absent[Field::DestinationPort as usize];
            numbers[3] = if has_ports { self.destination_ports[outer.destination_port as usize] } else { absent };
        }
        numbers[3] ^= zero;
        if self.uses(Field::Protocol) {
            let absent = self.absent[Field::Protocol as usize];
            numbers[4] = if outer.version != 0 { self.protocols[outer.protocol as usize] } else { absent };
        }
        numbers[4] ^= zero;
        if self.uses(Field::Vlan) {
            let absent = self.absent[Field::Vlan as usize];
            numbers[5] = if outer.vlan_count != 0 { self.vlans[outer.vlans[0] as usize & 4095] } else { absent };
        }
        numbers[5] ^= zero;
        if self.uses(Field::MessageType) {
            let absent = self.absent[Field::MessageType as usize];
            let message_type = decoded.message.message_type;
            numbers[6] = if decoded.kind != 0 { self.message_types.find(message_type, zero) } else { absent };
        }
        numbers[6] ^= zero;
        if self.uses(Field::Modality) {
            numbers[7] = self.modalities[decoded.message.modality as usize & 15];
        }
        numbers[7] ^= zero;
        if self.uses(Field::Share) && (bucket as usize) < BUCKETS {
            numbers[8] = self.shares[bucket as usize];
        }
        numbers[8] ^= zero;
        self.first_common(numbers)
    }

    /// Position of the lowest set bit of `word`, which is not 0.
    #[inline(always)]
    fn lowest_bit(&self, word: u64) -> usize {
        let bit = word & word.wrapping_neg();
        self.positions[(bit.wrapping_mul(DE_BRUIJN) >> 58) as usize & 63] as usize & 63
    }

    /// The lowest bit set in all vectors.
    #[inline(always)]
    fn first_common(&self, numbers: [u16; FIELDS]) -> Option<u16> {
        let vectors = [
            self.vector(numbers[0]),
            self.vector(numbers[1]),
            self.vector(numbers[2]),
            self.vector(numbers[3]),
            self.vector(numbers[4]),
            self.vector(numbers[5]),
            self.vector(numbers[6]),
            self.vector(numbers[7]),
            self.vector(numbers[8]),
        ];
        let mut live = 0xffff;
        let mut field = 0;
        while field < FIELDS {
            live &= vectors[field].summary;
            field += 1;
        }
        // Four words at a time, written out: a vector's address is fetched once for the four, and lies at a fixed
        // distance.
        if live & 0x000f != 0
            && let Some(rule) = self.first_of_four(&vectors, 0)
        {
            return Some(rule);
        }
        if live & 0x00f0 != 0
            && let Some(rule) = self.first_of_four(&vectors, 4)
        {
            return Some(rule);
        }
        if live & 0x0f00 != 0
            && let Some(rule) = self.first_of_four(&vectors, 8)
        {
            return Some(rule);
        }
        if live & 0xf000 != 0 { self.first_of_four(&vectors, 12) } else { None }
    }

    #[inline(always)]
    fn first_of_four(&self, vectors: &[&Vector; FIELDS], first: usize) -> Option<u16> {
        let mut common = [u64::MAX; 4];
        let mut field = 0;
        while field < FIELDS {
            common[0] &= vectors[field].words[first];
            common[1] &= vectors[field].words[first + 1];
            common[2] &= vectors[field].words[first + 2];
            common[3] &= vectors[field].words[first + 3];
            field += 1;
        }
        if common[0] | common[1] | common[2] | common[3] == 0 {
            return None;
        }
        let (word, bits) = if common[0] != 0 {
            (0, common[0])
        } else if common[1] != 0 {
            (1, common[1])
        } else if common[2] != 0 {
            (2, common[2])
        } else {
            (3, common[3])
        };
        Some(((first + word) * 64 + self.lowest_bit(bits)) as u16)
    }
}
