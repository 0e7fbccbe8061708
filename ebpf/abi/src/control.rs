//! The word the classifier reads first.

use crate::layout::MAX_EGRESS;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which bank of rules is in force.
pub const RULE_BANK: u8 = 1 << 0;
/// Which bank of agents is in force.
pub const AGENT_BANK: u8 = 1 << 1;
/// There are rules.
pub const HAS_RULES: u8 = 1 << 2;
/// There are flag buckets.
pub const HAS_BUCKETS: u8 = 1 << 3;
/// A rule has a share under 100 %, so that the flow must be hashed before the rules are matched.
pub const NEEDS_FLOW: u8 = 1 << 4;
/// There are agents.
pub const HAS_AGENTS: u8 = 1 << 5;
/// Delivered frames carry the time of their arrival.
pub const STAMPS: u8 = 1 << 6;
/// What rules said of a flow is [remembered](crate::known) for its next frame. Off only to measure what the first costs.
pub const REMEMBERS: u8 = 1 << 7;

/// [`Control::services`]: which bank of services is in force.
pub const SERVICE_BANK: u8 = 1 << 0;
/// [`Control::services`]: there are services.
pub const HAS_SERVICES: u8 = 1 << 1;

/// The one value of the control map.
///
/// Everything that must change together is in the one byte `state`, so that a change is atomic however the kernel
/// copies the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    /// Key of the flow fingerprint; random, chosen once when the maps are made.
    pub flow_key: [u64; 2],
    /// The bits above.
    pub state: u8,
    /// The bits that speak of services; a byte of their own, since they change by themselves.
    pub services: u8,
    /// Whether forwarded frames are [watched](crate::watched), and the era of their fastest delays: 0 for "not", which is what
    /// every earlier version wrote here.
    pub watch: u8,
    /// 0.
    pub reserved: u8,
    /// The generation that was given out last; see [`RuleSet::generation`](crate::ruleset::RuleSet::generation). For the
    /// loader only, which finds it here again after a restart.
    pub generation: u32,
    /// Added to a mirror rule's class, by the agent's egress slot: the class whose sender has that interface.
    pub mirror_class: MirrorClasses,
    /// Added to the receive queue before the XSKMAP is indexed, by the lower byte of the interface's index: so that
    /// several interfaces share one map.
    pub queue_base: QueueBases,
}

/// One queue number per lower byte of an interface index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QueueBases(pub [u8; 256]);

impl Default for QueueBases {
    fn default() -> Self {
        QueueBases([0; 256])
    }
}

/// One class offset per egress slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MirrorClasses(pub [u8; MAX_EGRESS]);

impl Default for MirrorClasses {
    fn default() -> Self {
        MirrorClasses([0; MAX_EGRESS])
    }
}

impl Control {
    /// True when every bit of `bits` is set.
    #[inline(always)]
    pub const fn has(&self, bits: u8) -> bool {
        self.state & bits == bits
    }

    /// Bank of rules in force, 0 or 1.
    #[inline(always)]
    pub const fn rule_bank(&self) -> u32 {
        (self.state & RULE_BANK) as u32
    }

    /// Bank of agents in force, 0 or 1.
    #[inline(always)]
    pub const fn agent_bank(&self) -> u32 {
        ((self.state & AGENT_BANK) >> 1) as u32
    }

    /// Bank of services in force, 0 or 1.
    #[inline(always)]
    pub const fn service_bank(&self) -> u32 {
        (self.services & SERVICE_BANK) as u32
    }
}
