//! UDP and TCP.

use super::{Inside, Layers, OPENS, PORTS, PROTOCOL_TCP, PROTOCOL_UDP, Reader, blame};
use crate::reason::Reason;

const UDP: usize = 8;
const TCP: usize = 20;
/// TCP's flags SYN and ACK (RFC 9293, section 3.1).
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Ports are shown as soon as they are there, even where the rest of the header is not.
#[inline(always)]
fn read_ports<R: Reader>(inside: Inside<R>, layers: &mut Layers) -> bool {
    if !inside.has(4) {
        return false;
    }
    layers.source_port = inside.at.be16(0);
    layers.destination_port = inside.at.be16(2);
    layers.flags |= PORTS;
    true
}

/// Reads the ports of UDP or TCP, without a look at the rest.
#[inline(always)]
pub(super) fn ports<R: Reader>(inside: Inside<R>, layers: &mut Layers) {
    if layers.protocol == PROTOCOL_UDP || layers.protocol == PROTOCOL_TCP {
        read_ports(inside, layers);
    }
}

/// Reads the UDP header; gives the payload.
#[inline(always)]
pub(super) fn udp<R: Reader>(inside: Inside<R>, layers: &mut Layers, malformed: &mut u8) -> Option<Inside<R>> {
    if !read_ports(inside, layers) || !inside.has(UDP) {
        blame(malformed, Reason::TruncatedTransport);
        return None;
    }
    let mut length = inside.at.be16(4) as usize;
    if length > inside.length {
        // The first fragment holds only a part of the datagram.
        if !layers.is_partial() {
            blame(malformed, Reason::BadUdpLength);
        }
        length = inside.length;
    } else if length < UDP {
        blame(malformed, Reason::BadUdpLength);
        return None;
    }
    Some(Inside { at: inside.at.skip(UDP), offset: inside.offset + UDP, length: length - UDP, ..inside })
}

/// Reads the TCP header; gives the payload.
#[inline(always)]
pub(super) fn tcp<R: Reader>(inside: Inside<R>, layers: &mut Layers, malformed: &mut u8) -> Option<Inside<R>> {
    if !read_ports(inside, layers) || !inside.has(TCP) {
        blame(malformed, Reason::TruncatedTransport);
        return None;
    }
    let header = (inside.at.u8(12) >> 4) as usize * 4;
    if header < TCP || header > inside.length {
        blame(malformed, Reason::BadTcpHeader);
        return None;
    }
    // By arithmetic: a branch would double the ways behind it.
    layers.flags |= ((inside.at.u8(13) & (SYN | ACK) == SYN) as u8) * OPENS;
    Some(Inside { at: inside.at, offset: inside.offset + header, length: inside.length - header, ..inside })
}
