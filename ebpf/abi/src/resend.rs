//! What sending a received frame again changes in it: back to where it came from, or on to an agent.
//!
//! Both work on the frame's first bytes on the host; no byte of the payload behind the message's header is read or written.
//! Either takes one hop off the frame's life, so that two boxes that answer each other come to an end.

use crate::agents::Agent;
use crate::decode::{Decoded, PROTOCOL_UDP, Reader, decode_slice};
use crate::message::{MessageKind, StandardHeader};
use crate::rewrite::{SliceWriter, rewrite, spend_hop, take_in};
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

/// Turns a frame around: exchanges source and destination of Ethernet, IP, UDP and of the message. Sums over the same words
/// in another order are the same, so only the shorter life changes a checksum. `head` is the frame's beginning, `length`
/// all of its bytes; gives how many bytes from the start may have changed.
///
/// # Errors
/// [`Unsendable`]; `head` is as it was then.
pub fn answer(head: &mut [u8], length: usize) -> Result<usize, Unsendable> {
    let decoded = datagram(head, length)?;
    let (network, transport) = (usize::from(decoded.network_offset), usize::from(decoded.transport_offset));
    let (addresses, size) = if decoded.outer.version == 4 { (network + 12, 4) } else { (network + 8, 16) };
    let end = end_of_headers(&decoded);
    if head.len() < end {
        return Err(Unsendable::NotADatagram);
    }
    let is_group = |at: usize| {
        let first = head[at];
        if size == 4 { first >= 224 } else { first == 0xff } // class D and above (RFC 1112), ff00::/8 (RFC 4291)
    };
    if (head[0] | head[6]) & 1 != 0 || is_group(addresses) || is_group(addresses + size) {
        return Err(Unsendable::Group);
    }
    exchange::<6>(head, 0);
    if size == 4 {
        exchange::<4>(head, addresses);
    } else {
        exchange::<16>(head, addresses);
    }
    exchange::<2>(head, transport);
    if decoded.kind() != MessageKind::None {
        let agents = usize::from(decoded.payload_offset) + offset_of!(StandardHeader, source_agent_id);
        exchange::<4>(head, agents);
    }
    spend_hop(SliceWriter::new(head).skip(network), decoded.outer.version == 4);
    Ok(end)
}

/// Addresses a frame to `agent` as forwarding would, and names the agent in the message's header, so that the next box
/// knows whom it is for. `head` and `length` as for [`answer`].
///
/// # Errors
/// [`Unsendable`]; `head` is as it was then.
pub fn send_on(head: &mut [u8], length: usize, agent: &Agent) -> Result<usize, Unsendable> {
    let decoded = datagram(head, length)?;
    if agent.version != decoded.outer.version {
        return Err(Unsendable::OtherVersion);
    }
    let end = end_of_headers(&decoded);
    if head.len() < end {
        return Err(Unsendable::NotADatagram);
    }
    rewrite(SliceWriter::new(head), &decoded, agent);
    if decoded.kind() != MessageKind::None {
        let at = usize::from(decoded.payload_offset) + offset_of!(StandardHeader, dest_agent_id);
        take_in(SliceWriter::new(head), &decoded, at, agent.id);
    }
    Ok(end)
}

fn datagram(head: &[u8], length: usize) -> Result<Decoded, Unsendable> {
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
    if decoded.hop_limit < 2 { Err(Unsendable::HopLimit) } else { Ok(decoded) }
}

/// One past the last byte that is changed.
fn end_of_headers(decoded: &Decoded) -> usize {
    let message = if decoded.kind() == MessageKind::None { 0 } else { size_of::<StandardHeader>() };
    usize::from(decoded.payload_offset) + message
}

/// Exchanges the `SIZE` bytes at `at` with those behind them; a size that the compiler knows is a load and a store.
fn exchange<const SIZE: usize>(head: &mut [u8], at: usize) {
    let (front, back) = head[at..at + 2 * SIZE].split_at_mut(SIZE);
    front.swap_with_slice(back);
}
