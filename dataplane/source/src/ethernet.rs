//! Frames of other link layers, presented to a classifier that knows Ethernet only.
//!
//! The classifier sits on Ethernet drivers, so a capture of a loopback or of the Linux "any" device has no frame that
//! it could ever have met. [`as_ethernet`] puts an Ethernet header with zero or captured addresses in front of the
//! packet where the link layer names its protocol, and says so in a note that belongs beside the result.

use crate::capture::{Frame, LinkType};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Numbers below this are lengths or Linux-internal protocols, not ethertypes (IEEE 802.3 3.2.6).
const ETHERTYPE_MIN: u16 = 0x0600;
/// `ARPHRD_NETLINK`: cooked captures of netlink sockets carry no network packets.
const HARDWARE_NETLINK: u16 = 824;

/// A frame that begins with an Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented<'a> {
    /// The frame, from the destination address on.
    pub bytes: &'a [u8],
    /// What was made up, or `None` when these are the captured bytes.
    pub note: Option<&'static str>,
}

/// Presents `frame` as Ethernet, building it in `buffer` where a header has to be made up; `None` when the link layer
/// does not say which protocol it carries, or is unknown.
pub fn as_ethernet<'a>(frame: &Frame<'a>, buffer: &'a mut Vec<u8>) -> Option<Presented<'a>> {
    let bytes = frame.bytes;
    let (header, source, ethertype, note) = match frame.link {
        LinkType::Ethernet => return Some(Presented { bytes, note: None }),
        LinkType::Raw => (0, None, version(bytes)?, "Ethernet header made up: captured without a link layer"),
        LinkType::Ipv4 => (0, None, ETHERTYPE_IPV4, "Ethernet header made up: captured without a link layer"),
        LinkType::Ipv6 => (0, None, ETHERTYPE_IPV6, "Ethernet header made up: captured without a link layer"),
        LinkType::LinuxSll => {
            let length = number(bytes, 4)?;
            (16, address(bytes, 6, length), cooked(bytes, 2, 14)?, "Ethernet header made up from Linux cooked v1")
        }
        LinkType::LinuxSll2 => {
            let length = u16::from(*bytes.get(11)?);
            (20, address(bytes, 12, length), cooked(bytes, 8, 0)?, "Ethernet header made up from Linux cooked v2")
        }
        LinkType::Null | LinkType::Loop => {
            (4, None, family(bytes)?, "Ethernet header made up from a loopback's address family")
        }
        LinkType::Ppp => {
            let (header, ethertype) = point_to_point(bytes)?;
            (header, None, ethertype, "Ethernet header made up from PPP")
        }
        LinkType::Other(_) => return None,
    };
    let packet = bytes.get(header..)?;
    buffer.clear();
    buffer.extend([0; 6]);
    buffer.extend(source.unwrap_or([0; 6]));
    buffer.extend(ethertype.to_be_bytes());
    buffer.extend(packet);
    Some(Presented { bytes: buffer, note: Some(note) })
}

/// The big-endian number at `at`.
fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Ethertype of a packet by its version nibble.
fn version(bytes: &[u8]) -> Option<u16> {
    match bytes.first()? >> 4 {
        4 => Some(ETHERTYPE_IPV4),
        6 => Some(ETHERTYPE_IPV6),
        _ => None,
    }
}

/// The link-layer address at `at` if it is six bytes long.
fn address(bytes: &[u8], at: usize, length: u16) -> Option<[u8; 6]> {
    if length == 6 { bytes.get(at..at + 6)?.try_into().ok() } else { None }
}

/// Ethertype of a cooked header with the hardware type and the protocol at these offsets.
fn cooked(bytes: &[u8], hardware: usize, protocol: usize) -> Option<u16> {
    let ethertype = number(bytes, protocol)?;
    (number(bytes, hardware)? != HARDWARE_NETLINK && ethertype >= ETHERTYPE_MIN).then_some(ethertype)
}

/// Ethertype by the address family of a BSD loopback, whose byte order is the capturing host's.
fn family(bytes: &[u8]) -> Option<u16> {
    let raw: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let family = u32::from_be_bytes(raw).min(u32::from_le_bytes(raw));
    match family {
        2 => Some(ETHERTYPE_IPV4),
        10 | 24 | 28 | 30 => Some(ETHERTYPE_IPV6), // Linux, NetBSD and OpenBSD, FreeBSD, macOS
        _ => None,
    }
}

/// Header length and ethertype of a PPP frame, with or without address and control bytes (RFC 1662) and with the
/// protocol in two bytes or compressed to one, which is then odd (RFC 1661 6.5).
fn point_to_point(bytes: &[u8]) -> Option<(usize, u16)> {
    let start = if bytes.starts_with(&[0xff, 0x03]) { 2 } else { 0 };
    let (end, protocol) = match *bytes.get(start)? {
        short if short & 1 == 1 => (start + 1, u16::from(short)),
        _ => (start + 2, number(bytes, start)?),
    };
    match protocol {
        0x0021 => Some((end, ETHERTYPE_IPV4)),
        0x0057 => Some((end, ETHERTYPE_IPV6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(link: LinkType, bytes: &[u8]) -> Option<(Vec<u8>, bool)> {
        let frame = Frame { bytes, original_length: bytes.len() as u32, time_ns: 0, link };
        let mut buffer = Vec::new();
        as_ethernet(&frame, &mut buffer).map(|presented| (presented.bytes.to_vec(), presented.note.is_some()))
    }

    #[test]
    fn ethernet_is_left_alone() {
        assert_eq!(present(LinkType::Ethernet, &[1, 2, 3]), Some((vec![1, 2, 3], false)));
    }

    #[test]
    fn raw_packets_get_their_version() {
        let (frame, made_up) = present(LinkType::Raw, &[0x60, 1]).unwrap();
        assert_eq!(frame[12..], [0x86, 0xdd, 0x60, 1]);
        assert!(made_up);
        assert_eq!(present(LinkType::Raw, &[0x10]), None);
        assert_eq!(present(LinkType::Raw, &[]), None);
    }

    #[test]
    fn cooked_headers_keep_address_and_protocol() {
        let v1 = [0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 0x08, 0x00, 0x45];
        assert_eq!(present(LinkType::LinuxSll, &v1).unwrap().0, [0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 8, 0, 0x45]);
        let v2 = [0x86, 0xdd, 0, 0, 0, 0, 0, 2, 0, 1, 4, 6, 6, 5, 4, 3, 2, 1, 0, 0, 0x60];
        assert_eq!(
            present(LinkType::LinuxSll2, &v2).unwrap().0,
            [0, 0, 0, 0, 0, 0, 6, 5, 4, 3, 2, 1, 0x86, 0xdd, 0x60]
        );
        assert_eq!(present(LinkType::LinuxSll, &v1[..15]), None);
    }

    #[test]
    fn loopback_and_ppp_name_their_protocol() {
        assert_eq!(present(LinkType::Null, &[2, 0, 0, 0, 0x45]).unwrap().0[12..], [8, 0, 0x45]);
        assert_eq!(present(LinkType::Loop, &[0, 0, 0, 24, 0x60]).unwrap().0[12..], [0x86, 0xdd, 0x60]);
        assert_eq!(present(LinkType::Ppp, &[0xff, 3, 0, 0x21, 0x45]).unwrap().0[12..], [8, 0, 0x45]);
        assert_eq!(present(LinkType::Ppp, &[0x21, 0x45]).unwrap().0[12..], [8, 0, 0x45]);
        assert_eq!(present(LinkType::Ppp, &[0xc0, 0x21]), None);
    }
}
