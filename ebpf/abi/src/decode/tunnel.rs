//! Tunnels that carry another level: VXLAN, Geneve and GRE.

use super::{Decoded, ETHERTYPE_BRIDGED, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Inside, Reader, Tunnel};
use crate::reason::Reason;

/// VXLAN (RFC 7348): eight bytes, then an Ethernet frame.
#[inline(always)]
pub(super) fn vxlan<R: Reader>(payload: Inside<R>, decoded: &mut Decoded) {
    decoded.tunnel = Tunnel::Vxlan as u8;
    if !payload.has(8) {
        decoded.blame(Reason::TruncatedTunnel);
        return;
    }
    if payload.at.u8(0) & 0x08 == 0 {
        decoded.blame(Reason::BadTunnel);
    }
    carries(payload.offset + 8, ETHERTYPE_BRIDGED, decoded);
}

/// Geneve (RFC 8926): eight bytes and options, then what its protocol type says.
#[inline(always)]
pub(super) fn geneve<R: Reader>(payload: Inside<R>, decoded: &mut Decoded) {
    decoded.tunnel = Tunnel::Geneve as u8;
    if !payload.has(8) {
        decoded.blame(Reason::TruncatedTunnel);
        return;
    }
    let first = payload.at.u8(0);
    if first >> 6 != 0 {
        decoded.blame(Reason::BadTunnel);
        return;
    }
    let size = 8 + (first & 0x3f) as usize * 4;
    if !payload.has(size) {
        decoded.blame(Reason::TruncatedTunnel);
        return;
    }
    carries(payload.offset + size, payload.at.be16(2), decoded);
}

/// GRE (RFC 2784, 2890; version 1 is RFC 2637): four bytes and what the flags say, then what its protocol says.
#[inline(always)]
pub(super) fn gre<R: Reader>(inside: Inside<R>, decoded: &mut Decoded) {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    decoded.tunnel = Tunnel::Gre as u8;
    if !inside.has(4) {
        decoded.blame(Reason::TruncatedTunnel);
        return;
    }
    let flags = inside.at.be16(0);
    let version = flags & 7;
    if version > 1 {
        decoded.blame(Reason::BadTunnel);
        return;
    }
    let mut size = 4u16;
    size += ((flags & (CHECKSUM | ROUTING) != 0) as u16) * 4;
    size += ((flags & KEY != 0) as u16) * 4;
    size += ((flags & SEQUENCE != 0) as u16) * 4;
    let size = (inside.at.forget(size) & 31) as usize;
    if !inside.has(size) {
        decoded.blame(Reason::TruncatedTunnel);
        return;
    }
    // Version 1 carries PPP, and a routing field has a length of its own: both stay unknown inside.
    if version == 0 && flags & ROUTING == 0 {
        carries(inside.offset + size, inside.at.be16(2), decoded);
    }
}

/// Notes where the inner headers start, if they are of a kind we know.
#[inline(always)]
fn carries(offset: usize, ethertype: u16, decoded: &mut Decoded) {
    if matches!(ethertype, ETHERTYPE_BRIDGED | ETHERTYPE_IPV4 | ETHERTYPE_IPV6) {
        decoded.inner_offset = offset as u16;
        decoded.inner_ethertype = ethertype;
    }
}
