//! The decoder: one source for the kernel and for the host, where it is the oracle.
//!
//! It walks with a [`Reader`], a cursor that only ever moves forward: on the host a bounds-checked slice, in the
//! classifier a packet pointer whose every read the kernel's verifier has seen guarded by [`Reader::has`].
//!
//! What is malformed is said once, by the first [`Reason`] met; decoding goes on as far as the bytes make sense,
//! so that tools can still show the rest.

use crate::message::MessageKind;
use crate::reason::Reason;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod link;
mod message;
mod network;
mod reader;
mod transport;
mod tunnel;

pub use reader::{Reader, SliceReader};

/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Ethertype of a bridged Ethernet frame inside GRE or Geneve.
pub const ETHERTYPE_BRIDGED: u16 = 0x6558;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// IP protocol number of GRE.
pub const PROTOCOL_GRE: u8 = 47;
/// UDP destination port of VXLAN (RFC 7348).
pub const PORT_VXLAN: u16 = 4789;
/// UDP destination port of Geneve (RFC 8926).
pub const PORT_GENEVE: u16 = 6081;

/// [`Layers::flags`]: the packet is a fragment (IPv6: has a fragment header).
pub const FRAGMENT: u8 = 1;
/// [`Layers::flags`]: more fragments follow.
pub const MORE_FRAGMENTS: u8 = 2;
/// [`Layers::flags`]: the ports are known.
pub const PORTS: u8 = 4;
/// [`Layers::flags`]: the whole IP packet lies in the frame's first buffer.
pub const WHOLE: u8 = 8;
/// [`Layers::flags`]: a TCP segment that opens a connection: SYN without ACK.
pub const OPENS: u8 = 16;

/// An address as two numbers; IPv4 is in the lower 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Address {
    /// Upper 64 bits of an IPv6 address, 0 for IPv4.
    pub high: u64,
    /// Lower 64 bits of an IPv6 address, or the IPv4 address.
    pub low: u64,
}

/// Link, network and transport of one level, outer or inner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Layers {
    /// Source address; 0 where `version` is 0.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// VLAN ids, outermost first.
    pub vlans: [u16; 2],
    /// Ethertype after the tags; under 0x600 it is an 802.3 length.
    pub ethertype: u16,
    /// How many of `vlans` are there.
    pub vlan_count: u8,
    /// IP version: 4, 6 or 0 for no IP packet.
    pub version: u8,
    /// IP protocol, after IPv6 extension headers.
    pub protocol: u8,
    /// [`FRAGMENT`], [`MORE_FRAGMENTS`], [`PORTS`], [`WHOLE`], [`OPENS`].
    pub flags: u8,
    /// Offset of the fragment in its packet, in units of eight bytes as both headers give it.
    pub fragment_offset: u16,
    /// Source port of UDP or TCP.
    pub source_port: u16,
    /// Destination port of UDP or TCP.
    pub destination_port: u16,
}

impl Layers {
    /// True when the packet is one of several fragments; false for IPv6's "atomic" fragments (RFC 6946).
    #[inline(always)]
    pub const fn is_partial(&self) -> bool {
        self.fragment_offset != 0 || self.flags & MORE_FRAGMENTS != 0
    }

    /// Source and destination port, where known.
    #[inline(always)]
    pub const fn ports(&self) -> Option<(u16, u16)> {
        if self.flags & PORTS != 0 { Some((self.source_port, self.destination_port)) } else { None }
    }

    /// The VLAN ids, outermost first.
    pub fn vlan_ids(&self) -> &[u16] {
        self.vlans.get(..usize::from(self.vlan_count)).unwrap_or(&[])
    }

    /// Source and destination address, where the packet is IP.
    #[cfg(not(target_arch = "bpf"))]
    pub fn addresses(&self) -> Option<(core::net::IpAddr, core::net::IpAddr)> {
        let make = |address: Address| match self.version {
            4 => Some(core::net::IpAddr::V4((address.low as u32).into())),
            6 => Some(core::net::IpAddr::V6((u128::from(address.high) << 64 | u128::from(address.low)).into())),
            _ => None,
        };
        Some((make(self.source)?, make(self.destination)?))
    }

    /// Offset in units of eight bytes and "more follow", where the packet is a fragment.
    pub const fn fragment(&self) -> Option<(u16, bool)> {
        if self.flags & FRAGMENT != 0 { Some((self.fragment_offset, self.flags & MORE_FRAGMENTS != 0)) } else { None }
    }
}

/// The fields of a message that steering and tools want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MessageFields {
    /// As in [`StandardHeader`](crate::message::StandardHeader).
    pub timestamp_ns: u64,
    /// As in the header.
    pub message_type: u32,
    /// As in the header.
    pub source_agent: u32,
    /// As in the header.
    pub dest_agent: u32,
    /// `modality_mask` of a multi-modal message, else 0.
    pub modality: u32,
    /// As in the header.
    pub priority: u32,
    /// As in the header.
    pub sequence: u32,
}

/// Which tunnel the frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Tunnel {
    /// None that we know.
    #[default]
    None = 0,
    /// VXLAN.
    Vxlan = 1,
    /// Geneve.
    Geneve = 2,
    /// GRE, version 0 or 1.
    Gre = 3,
}

impl Tunnel {
    /// The word used in JSON, `None` for no tunnel.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Tunnel::None => None,
            Tunnel::Vxlan => Some("vxlan"),
            Tunnel::Geneve => Some("geneve"),
            Tunnel::Gre => Some("gre"),
        }
    }
}

/// All that the decoder found about a frame's own headers; what lies inside a tunnel is [`decode_inner`]'s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Decoded {
    /// The frame's own headers; rules and flows speak of these.
    pub outer: Layers,
    /// Header of the message; all 0 when `kind` is 0.
    pub message: MessageFields,
    /// Bytes from the frame's start to the UDP or TCP payload, 0 where there is none.
    pub payload_offset: u16,
    /// Bytes of that payload, as the headers say.
    pub payload_length: u16,
    /// Bytes from the frame's start to the IP header, 0 where there is none.
    pub network_offset: u16,
    /// Bytes from the frame's start to the header behind IP, 0 where there is none.
    pub transport_offset: u16,
    /// Bytes from the frame's start to what the tunnel carries, 0 where there is no tunnel or it carries nothing known.
    pub inner_offset: u16,
    /// Ethertype of what the tunnel carries; [`ETHERTYPE_BRIDGED`] for an Ethernet frame.
    pub inner_ethertype: u16,
    /// Number of the first [`Reason`] met, 0 for a sound frame.
    pub malformed: u8,
    /// Number of the [`MessageKind`].
    pub kind: u8,
    /// Number of the [`Tunnel`].
    pub tunnel: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
}

const _: () = assert!(core::mem::size_of::<Decoded>() == 96);

impl Decoded {
    /// What is malformed, if anything.
    pub fn malformed(&self) -> Option<Reason> {
        Reason::from_number(self.malformed).filter(|reason| *reason != Reason::None)
    }

    /// The kind of message.
    pub fn kind(&self) -> MessageKind {
        MessageKind::from_number(self.kind).unwrap_or_default()
    }

    /// The tunnel.
    pub const fn tunnel(&self) -> Tunnel {
        match self.tunnel {
            1 => Tunnel::Vxlan,
            2 => Tunnel::Geneve,
            3 => Tunnel::Gre,
            _ => Tunnel::None,
        }
    }

    /// Keeps the first reason.
    #[inline(always)]
    fn blame(&mut self, reason: Reason) {
        blame(&mut self.malformed, reason);
    }
}

/// Decodes the headers of a frame that starts with an Ethernet header into `decoded`, which is all zeros.
#[inline(always)]
pub fn decode<R: Reader>(frame: R, decoded: &mut Decoded) {
    let Some((network, offset)) = link::ethernet(frame, 0, &mut decoded.outer, &mut decoded.malformed) else {
        return;
    };
    let Some(inside) = network::packet(network, offset, &mut decoded.outer, &mut decoded.malformed) else {
        decoded.network_offset = if decoded.outer.version == 0 { 0 } else { offset as u16 };
        return;
    };
    decoded.network_offset = offset as u16;
    decoded.transport_offset = inside.offset as u16;
    decoded.hop_limit = inside.hop_limit;
    if decoded.outer.fragment_offset != 0 {
        return;
    }
    match decoded.outer.protocol {
        PROTOCOL_UDP => {
            let Some(payload) = transport::udp(inside, &mut decoded.outer, &mut decoded.malformed) else { return };
            decoded.payload_offset = payload.offset as u16;
            decoded.payload_length = payload.length as u16;
            if decoded.outer.is_partial() || decoded.malformed != 0 {
                return;
            }
            match decoded.outer.destination_port {
                PORT_VXLAN => tunnel::vxlan(payload, decoded),
                PORT_GENEVE => tunnel::geneve(payload, decoded),
                port => message::message(port, payload, decoded),
            }
        }
        PROTOCOL_TCP => {
            let Some(payload) = transport::tcp(inside, &mut decoded.outer, &mut decoded.malformed) else { return };
            decoded.payload_offset = payload.offset as u16;
            decoded.payload_length = payload.length as u16;
        }
        PROTOCOL_GRE if !decoded.outer.is_partial() => tunnel::gre(inside, decoded),
        _ => {}
    }
}

/// Decodes what a tunnel carries into `layers`, which is all zeros; false where the frame has no such thing.
///
/// One level only, and what is wrong in there does not make the frame malformed: no decision looks inside. `at` is
/// the cursor at [`Decoded::inner_offset`].
#[inline(always)]
pub fn decode_inner<R: Reader>(at: R, decoded: &Decoded, layers: &mut Layers) -> bool {
    let mut ignored = 0u8;
    let offset = decoded.inner_offset as usize;
    let (packet, offset) = match decoded.inner_ethertype {
        _ if offset == 0 => return false,
        ETHERTYPE_BRIDGED => match link::ethernet(at, offset, layers, &mut ignored) {
            Some(found) => found,
            None => return ignored != Reason::TruncatedEthernet as u8,
        },
        ethertype => {
            layers.ethertype = ethertype;
            (at, offset)
        }
    };
    let Some(inside) = network::packet(packet, offset, layers, &mut ignored) else { return true };
    if layers.fragment_offset == 0 {
        transport::ports(inside, layers);
    }
    true
}

/// Decodes a frame on the host. `length` is the frame's length on the wire, which a capture may have cut.
pub fn decode_slice(frame: &[u8], length: usize) -> Decoded {
    let mut decoded = Decoded::default();
    decode(SliceReader::new(frame, length), &mut decoded);
    decoded
}

/// Decodes what the tunnel in a frame carries, on the host.
pub fn decode_inner_slice(frame: &[u8], length: usize, decoded: &Decoded) -> Option<Layers> {
    let mut layers = Layers::default();
    let at = SliceReader::new(frame, length).skip(usize::from(decoded.inner_offset));
    decode_inner(at, decoded, &mut layers).then_some(layers)
}

/// What lies behind a header.
#[derive(Clone, Copy)]
struct Inside<R> {
    at: R,
    /// Bytes from the frame's start.
    offset: usize,
    /// Bytes that the headers before say are here.
    length: usize,
    hop_limit: u8,
}

impl<R: Reader> Inside<R> {
    /// True when `bytes` are here, both by the headers' word and in the buffer.
    #[inline(always)]
    fn has(&self, bytes: usize) -> bool {
        self.length >= bytes && self.at.has(bytes)
    }
}

/// Keeps the first reason, where only the field is at hand.
#[inline(always)]
fn blame(malformed: &mut u8, reason: Reason) {
    if *malformed == 0 {
        *malformed = reason as u8;
    }
}
