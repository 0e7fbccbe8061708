//! Headers in front of a frame on its way to an agent of a service: IP in IP, or Geneve over UDP.
//!
//! What was inside is untouched but for its hop: the agent sees the client's address and the virtual one, and answers the
//! client itself. Tags in front stay in front.

use crate::agents::Agent;
use crate::decode::{Decoded, ETHERTYPE_IPV4, ETHERTYPE_IPV6, PORT_GENEVE, PROTOCOL_UDP, Reader};
use crate::rewrite::{Writer, fold, set_mac, spend_hop};
use crate::services::{Encapsulation, Wrap};

/// IP protocol number of IPv4 in IP (RFC 2003).
pub const PROTOCOL_IPV4: u8 = 4;
/// IP protocol number of IPv6 in IP (RFC 2473, RFC 4213).
pub const PROTOCOL_IPV6: u8 = 41;
/// TTL or hop limit of an outer header.
const HOPS: u32 = 64;
/// Ethernet header with two tags: the longest that the decoder follows.
const LONGEST_LINK: u16 = 22;

impl Wrap {
    /// Bytes in front of the packet.
    #[inline(always)]
    pub const fn overhead(&self) -> usize {
        let network = if self.version == 4 { 20 } else { 40 };
        match self.encapsulation {
            1 => network,
            2 => network + 16,
            _ => 0,
        }
    }

    /// The encapsulation.
    pub const fn encapsulation(&self) -> Encapsulation {
        match self.encapsulation {
            1 => Encapsulation::IpInIp,
            2 => Encapsulation::Geneve,
            _ => Encapsulation::None,
        }
    }
}

/// Bytes of a sound frame's IP packet as its header says: what trails it in the frame is not carried on.
#[inline(always)]
pub fn packet_length<R: Reader>(frame: R, decoded: &Decoded) -> usize {
    let network = decoded.network_offset;
    if network > LONGEST_LINK {
        return 0;
    }
    let network = frame.skip(network as usize);
    match decoded.outer.version {
        4 if network.has(20) => network.be16(2) as usize,
        6 if network.has(40) => network.be16(4) as usize + 40,
        _ => 0,
    }
}

/// Writes the headers into the room in front. `frame` starts [`Wrap::overhead`] bytes before the frame as it came.
#[inline(always)]
pub fn encapsulate<W: Writer>(frame: W, decoded: &Decoded, wrap: &Wrap, agent: &Agent, flow: u64) {
    let link = decoded.network_offset;
    // The bounds are for the verifier: a sound frame has a link header and all of its IP header.
    if link > LONGEST_LINK || !frame.has(LONGEST_LINK as usize) {
        return;
    }
    let old = frame.skip(wrap.overhead());
    let inside = old.skip(link as usize);
    if !old.has(LONGEST_LINK as usize) || !inside.has(20) {
        return;
    }
    let is_v4 = decoded.outer.version == 4;
    if !is_v4 && !inside.has(40) {
        return;
    }
    let length = if is_v4 { inside.be16(2) as u32 } else { inside.be16(4) as u32 + 40 };
    // Differentiated services and congestion marks are copied (RFC 6040, normal mode).
    let class = if is_v4 { inside.u8(1) as u32 } else { inside.be16(0) as u32 >> 4 & 0xff };
    spend_hop(inside, is_v4);
    let ethertype = if wrap.version == 4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    // Old and new link header do not overlap, the shortest outer header being longer than what is copied.
    if link == LONGEST_LINK {
        frame.set_be32(12, old.be32(12));
        frame.set_be32(16, old.be32(16));
        frame.set_be16(20, ethertype);
    } else if link == 18 {
        frame.set_be32(12, old.be32(12));
        frame.set_be16(16, ethertype);
    } else {
        frame.set_be16(12, ethertype);
    }
    set_mac(frame, 0, agent.mac);
    set_mac(frame, 6, agent.source_mac);
    let outer = frame.skip(link as usize);
    let geneve = wrap.encapsulation == Encapsulation::Geneve as u8;
    let carried = if is_v4 { PROTOCOL_IPV4 } else { PROTOCOL_IPV6 };
    let protocol = if geneve { PROTOCOL_UDP } else { carried } as u32;
    let length = if geneve { length + 16 } else { length };
    let network = if wrap.version == 4 {
        ipv4(outer, wrap, agent, class << 16 | (length + 20), protocol);
        20
    } else {
        ipv6(outer, wrap, agent, class << 20 | (flow & 0xf_ffff) as u32, length << 16 | protocol << 8 | HOPS);
        40
    };
    if geneve {
        geneve_header(outer.skip(network), length, flow, if is_v4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 });
    }
}

/// `class_length`: the lower bytes of the first word.
#[inline(always)]
fn ipv4<W: Writer>(outer: W, wrap: &Wrap, agent: &Agent, class_length: u32, protocol: u32) {
    if !outer.has(20) {
        return;
    }
    // No fragments (and so no identification, RFC 6864): a packet that is too long was not let through.
    let words = [
        0x4500_0000 | class_length,
        0x0000_4000,
        HOPS << 24 | protocol << 16,
        word(&wrap.source, 0),
        word(&agent.address, 0),
    ];
    let sum = words[0] as u64 + words[1] as u64 + words[2] as u64 + words[3] as u64 + words[4] as u64;
    outer.set_be32(0, words[0]);
    outer.set_be32(4, words[1]);
    outer.set_be32(8, words[2] | !fold(sum) as u32);
    outer.set_be32(12, words[3]);
    outer.set_be32(16, words[4]);
}

/// `class_label`: traffic class and flow label, the latter from the flow so that routers can spread (RFC 6438).
#[inline(always)]
fn ipv6<W: Writer>(outer: W, wrap: &Wrap, agent: &Agent, class_label: u32, rest: u32) {
    if !outer.has(40) {
        return;
    }
    outer.set_be32(0, 0x6000_0000 | class_label);
    outer.set_be32(4, rest);
    let mut at = 0;
    while at < 16 {
        outer.set_be32(8 + at, word(&wrap.source, at));
        outer.set_be32(24 + at, word(&agent.address, at));
        at += 4;
    }
}

/// UDP without a checksum, which tunnels may leave out over IPv6 too (RFC 6935, RFC 6936), and Geneve without options for
/// virtual network 0. The source port is of the flow, so that receivers and routers can spread.
#[inline(always)]
fn geneve_header<W: Writer>(at: W, length: u32, flow: u64, ethertype: u16) {
    if !at.has(16) {
        return;
    }
    at.set_be16(0, 0xc000 | (flow >> 20) as u16 & 0x3fff);
    at.set_be16(2, PORT_GENEVE);
    at.set_be16(4, length as u16);
    at.set_be16(6, 0);
    at.set_be32(8, ethertype as u32);
    at.set_be32(12, 0);
}

#[inline(always)]
const fn word(address: &[u8; 16], at: usize) -> u32 {
    u32::from_be_bytes([address[at], address[at + 1], address[at + 2], address[at + 3]])
}
