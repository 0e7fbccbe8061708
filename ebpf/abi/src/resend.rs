//! What sending a received frame again changes in it: back to where it came from, or on to an agent.
//!
//! Both work on the frame's first bytes on the host, where they are: a copy that is read at once, in other pieces than it was
//! written in, has to be waited for. No byte of the payload behind the message's header is read or written.
//! Either takes one hop off the frame's life, so that two boxes that answer each other come to an end.

use crate::agents::Agent;
use crate::decode::{Decoded, PROTOCOL_UDP, Reader, decode_slice};
use crate::message::{MessageKind, StandardHeader};
use crate::rewrite::{SliceWriter, rewrite, spend_hop, take_in};
use core::cell::Cell;
use core::mem::offset_of;

/// Bytes of a frame that hold every header of a frame that can be sent again: Ethernet with two tags, an IPv4 header with
/// all options or IPv6 with some extension headers, UDP, the message's header.
pub const HEAD: usize = 256;

/// Why a frame cannot be sent as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// It is not one whole, sound UDP datagram with all its headers in the first [`HEAD`] bytes.
    NotADatagram,
    /// It came to a group of hosts or from one, so there is nobody to answer as.
    Group,
    /// Its TTL or hop limit is used up.
    HopLimit,
    /// The agent's address is of the other IP version.
    OtherVersion,
}

/// A frame that can be sent again: what was found in its headers.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    decoded: Decoded,
    /// One past the last byte of its headers, the message's included: all that is changed lies before it.
    end: usize,
}

/// Looks whether a frame can be sent again. `head` is its beginning, [`HEAD`] bytes where it has as many, `length` all of its
/// bytes.
///
/// # Errors
/// [`Unsendable::NotADatagram`] or [`Unsendable::HopLimit`].
pub fn datagram(head: &[u8], length: usize) -> Result<Datagram, Unsendable> {
    let decoded = decode_slice(head, length);
    let layers = &decoded.outer;
    if decoded.malformed != 0
        || layers.protocol != PROTOCOL_UDP
        || layers.ports().is_none()
        || layers.is_partial()
        || decoded.payload_offset == 0
    {
        return Err(Unsendable::NotADatagram);
    }
    if decoded.hop_limit < 2 {
        return Err(Unsendable::HopLimit);
    }
    let message = if decoded.kind() == MessageKind::None { 0 } else { size_of::<StandardHeader>() };
    let end = usize::from(decoded.payload_offset) + message;
    if head.len() < end { Err(Unsendable::NotADatagram) } else { Ok(Datagram { decoded, end }) }
}

/// Turns a frame around: exchanges source and destination of Ethernet, IP, UDP and of the message. Sums over the same words
/// in another order are the same, so only the shorter life changes a checksum. `head` is the beginning that the datagram was
/// found in.
///
/// # Errors
/// [`Unsendable`]; `head` is as it was then.
pub fn answer(head: &[Cell<u8>], datagram: &Datagram) -> Result<(), Unsendable> {
    let Datagram { decoded, end } = datagram;
    let frame = SliceWriter::of(head.get(..*end).ok_or(Unsendable::NotADatagram)?);
    let (network, transport) = (usize::from(decoded.network_offset), usize::from(decoded.transport_offset));
    let is_v4 = decoded.outer.version == 4;
    let (addresses, size) = if is_v4 { (network + 12, 4) } else { (network + 8, 16) };
    let is_group = |at: usize| {
        let first = frame.u8(at);
        if is_v4 { first >= 224 } else { first == 0xff } // class D and above (RFC 1112), ff00::/8 (RFC 4291)
    };
    if (frame.u8(0) | frame.u8(6)) & 1 != 0 || is_group(addresses) || is_group(addresses + size) {
        return Err(Unsendable::Group);
    }
    frame.exchange::<6>(0);
    if is_v4 {
        frame.exchange::<4>(addresses);
    } else {
        frame.exchange::<16>(addresses);
    }
    frame.exchange::<2>(transport);
    if decoded.kind() != MessageKind::None {
        frame.exchange::<4>(usize::from(decoded.payload_offset) + offset_of!(StandardHeader, source_agent_id));
    }
    spend_hop(frame.skip(network), is_v4);
    Ok(())
}

/// Addresses a frame to `agent` as forwarding would, and names the agent in the message's header, so that the next box
/// knows whom it is for. `head` as for [`answer`].
///
/// # Errors
/// [`Unsendable`]; `head` is as it was then.
pub fn send_on(head: &[Cell<u8>], datagram: &Datagram, agent: &Agent) -> Result<(), Unsendable> {
    let Datagram { decoded, end } = datagram;
    let frame = SliceWriter::of(head.get(..*end).ok_or(Unsendable::NotADatagram)?);
    if agent.version != decoded.outer.version {
        return Err(Unsendable::OtherVersion);
    }
    rewrite(frame, decoded, agent);
    if decoded.kind() != MessageKind::None {
        let at = usize::from(decoded.payload_offset) + offset_of!(StandardHeader, dest_agent_id);
        take_in(frame, decoded, at, agent.id);
    }
    Ok(())
}
