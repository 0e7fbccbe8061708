//! Rules as people mean them.

use crate::action::Action;

/// An address prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// IPv4 in the first four bytes, or IPv6; bits behind `length` do not count.
    pub address: [u8; 16],
    /// Bits that count, up to 32 or 128.
    pub length: u8,
    /// 4 or 6.
    pub version: u8,
}

/// What a rule asks of a frame; a field that is `None` matches every frame, a field that is set matches only frames
/// that have it. All fields speak of the outer headers of a tunnelled frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Source address.
    pub source: Option<Prefix>,
    /// Destination address.
    pub destination: Option<Prefix>,
    /// Source port of UDP or TCP, first and last.
    pub source_port: Option<(u16, u16)>,
    /// Destination port of UDP or TCP, first and last.
    pub destination_port: Option<(u16, u16)>,
    /// IP protocol, after IPv6 extension headers.
    pub protocol: Option<u8>,
    /// Outermost VLAN id, first and last.
    pub vlan: Option<(u16, u16)>,
    /// `message_type`, first and last.
    pub message_type: Option<(u32, u32)>,
    /// Any of these bits in `modality_mask`.
    pub modality: Option<u8>,
}

/// A match, what to do, and for which share of the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which frames.
    pub matches: Match,
    /// What to do.
    pub action: Action,
    /// Class for [`Action::Deliver`] and [`Action::Mirror`].
    pub class: u8,
    /// Basis points of the flows, 10 000 for all.
    pub share: u16,
}
