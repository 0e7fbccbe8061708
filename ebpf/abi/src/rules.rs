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
    /// The values of `modality_mask`, 0 to 15, as a set: bit *v* is set where value *v* matches.
    pub modality: Option<u16>,
    /// Only frames that are not IP, ARP most of all. The fields above but the VLAN are IP's, so beside one of them no frame
    /// matches.
    pub no_ip: bool,
}

impl Prefix {
    /// The network that both are, if there is one: the narrower of two of which one contains the other.
    fn both(self, other: Prefix) -> Option<Prefix> {
        let (wide, narrow) = if self.length <= other.length { (self, other) } else { (other, self) };
        let (bytes, bits) = (wide.length as usize / 8, wide.length % 8);
        let mask = !(0xffu16 >> bits) as u8;
        let same = wide.version == narrow.version
            && wide.address[..bytes] == narrow.address[..bytes]
            && (bits == 0 || (wide.address[bytes] ^ narrow.address[bytes]) & mask == 0);
        same.then_some(narrow)
    }
}

/// What both fields ask; `None` where no frame can have it.
fn both<T: Copy>(one: Option<T>, other: Option<T>, join: impl FnOnce(T, T) -> Option<T>) -> Option<Option<T>> {
    match (one, other) {
        (Some(one), Some(other)) => join(one, other).map(Some),
        (one, other) => Some(one.or(other)),
    }
}

fn overlap<T: Copy + Ord>(one: (T, T), other: (T, T)) -> Option<(T, T)> {
    let (first, last) = (one.0.max(other.0), one.1.min(other.1));
    (first <= last).then_some((first, last))
}

impl Match {
    /// The match of the frames that match both; `None` where there can be none.
    pub fn both(&self, other: &Match) -> Option<Match> {
        let both = Match {
            source: both(self.source, other.source, Prefix::both)?,
            destination: both(self.destination, other.destination, Prefix::both)?,
            source_port: both(self.source_port, other.source_port, overlap)?,
            destination_port: both(self.destination_port, other.destination_port, overlap)?,
            protocol: both(self.protocol, other.protocol, |one, other| (one == other).then_some(one))?,
            vlan: both(self.vlan, other.vlan, overlap)?,
            message_type: both(self.message_type, other.message_type, overlap)?,
            modality: both(self.modality, other.modality, |one, other| Some(one & other).filter(|both| *both != 0))?,
            no_ip: self.no_ip || other.no_ip,
        };
        (!both.no_ip || both.can_meet_no_ip()).then_some(both)
    }

    /// Whether frames that are not IP can match.
    pub const fn can_meet_no_ip(&self) -> bool {
        self.source.is_none()
            && self.destination.is_none()
            && self.source_port.is_none()
            && self.destination_port.is_none()
            && self.protocol.is_none()
            && self.message_type.is_none()
            && self.modality.is_none()
    }
}

/// The masks of a multi-modal message that any of these `bits` is in, as a set for [`Match::modality`].
pub const fn masks_with_any(bits: u8) -> u16 {
    let (mut masks, mut mask) = (0, 0);
    while mask < 16 {
        if mask & bits != 0 {
            masks |= 1 << mask;
        }
        mask += 1;
    }
    masks
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
