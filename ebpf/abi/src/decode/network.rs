//! IPv4 and IPv6.

use super::{Address, ETHERTYPE_IPV4, ETHERTYPE_IPV6, FRAGMENT, Inside, Layers, MORE_FRAGMENTS, Reader, WHOLE, blame};
use crate::reason::Reason;

const IPV4: usize = 20;
const IPV6: usize = 40;
/// Extension headers followed, as many as the classifier can afford.
const MAX_EXTENSIONS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT_HEADER: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// Reads the IP header that `layers.ethertype` promises.
#[inline(always)]
pub(super) fn packet<R: Reader>(at: R, offset: usize, layers: &mut Layers, malformed: &mut u8) -> Option<Inside<R>> {
    match layers.ethertype {
        ETHERTYPE_IPV4 => ipv4(at, offset, layers, malformed),
        ETHERTYPE_IPV6 => ipv6(at, offset, layers, malformed),
        _ => None,
    }
}

#[inline(always)]
fn ipv4<R: Reader>(at: R, offset: usize, layers: &mut Layers, malformed: &mut u8) -> Option<Inside<R>> {
    if !at.has(IPV4) {
        blame(malformed, Reason::TruncatedIpv4);
        return None;
    }
    let first = at.u8(0);
    let header = (first & 0x0f) as usize * 4;
    if first >> 4 != 4 || header < IPV4 {
        blame(malformed, Reason::BadIpv4Header);
        return None;
    }
    let mut total = at.be16(2) as usize;
    if total < header {
        blame(malformed, Reason::BadIpv4Length);
        // 0 is what a segmentation offload leaves in a capture: the rest of the frame is meant.
        if total != 0 {
            return None;
        }
        total = at.frame_length().wrapping_sub(offset) & 0xffff;
        if total < header {
            return None;
        }
    } else if at.has(total) {
        layers.flags = WHOLE;
    } else if offset + total > at.frame_length() {
        blame(malformed, Reason::BadIpv4Length);
    }
    let fragment = at.be16(6);
    let length = total - header;
    layers.version = 4;
    layers.source = Address { high: 0, low: at.be32(12) as u64 };
    layers.destination = Address { high: 0, low: at.be32(16) as u64 };
    layers.protocol = at.u8(9);
    let hop_limit = at.u8(8);
    if fragment & 0x3fff != 0 {
        layers.fragment_offset = fragment & 0x1fff;
        layers.flags |= FRAGMENT | if fragment & 0x2000 != 0 { MORE_FRAGMENTS } else { 0 };
        if layers.fragment_offset as usize * 8 + total > 0xffff + header {
            blame(malformed, Reason::FragmentOverflow);
        }
    }
    if !at.has(header) {
        blame(malformed, Reason::TruncatedIpv4);
        return None;
    }
    Some(Inside { at: at.skip(header), offset: offset + header, length, hop_limit })
}

#[inline(always)]
fn ipv6<R: Reader>(at: R, offset: usize, layers: &mut Layers, malformed: &mut u8) -> Option<Inside<R>> {
    if !at.has(IPV6) {
        blame(malformed, Reason::TruncatedIpv6);
        return None;
    }
    if at.u8(0) >> 4 != 6 {
        blame(malformed, Reason::BadIpv6Header);
        return None;
    }
    let mut length = at.be16(4) as usize;
    let next = at.u8(6);
    if length == 0 && next == HOP_BY_HOP {
        // A jumbogram (RFC 2675), or a segmentation offload in a capture: the rest of the frame is meant.
        length = at.frame_length().wrapping_sub(offset + IPV6) & 0xffff;
    } else if at.has(IPV6 + length) {
        layers.flags = WHOLE;
    } else if offset + IPV6 + length > at.frame_length() {
        blame(malformed, Reason::BadIpv6Length);
    }
    layers.version = 6;
    layers.source = Address { high: at.be64(8), low: at.be64(16) };
    layers.destination = Address { high: at.be64(24), low: at.be64(32) };
    let hop_limit = at.u8(7);
    let inside = Inside { at: at.skip(IPV6), offset: offset + IPV6, length, hop_limit };
    if is_extension(next) { extensions(inside, next, layers, malformed) } else { finish(next, inside, layers) }
}

#[inline(always)]
fn finish<R>(protocol: u8, inside: Inside<R>, layers: &mut Layers) -> Option<Inside<R>> {
    layers.protocol = protocol;
    Some(inside)
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT_HEADER | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// Follows the chain of extension headers (RFC 8200, 4302).
#[inline(always)]
fn extensions<R: Reader>(
    mut inside: Inside<R>,
    mut next: u8,
    layers: &mut Layers,
    malformed: &mut u8,
) -> Option<Inside<R>> {
    let mut seen = 0;
    while seen < MAX_EXTENSIONS {
        layers.protocol = next;
        if !inside.at.has(8) {
            blame(malformed, Reason::TruncatedIpv6);
            return None;
        }
        let mut size = (inside.at.u8(1) as u16 + 1) * 8;
        if next == FRAGMENT_HEADER {
            size = 8;
            let word = inside.at.be16(2);
            layers.fragment_offset = word >> 3;
            layers.flags |= FRAGMENT | if word & 1 != 0 { MORE_FRAGMENTS } else { 0 };
        } else if next == AUTHENTICATION {
            size = (inside.at.u8(1) as u16 + 2) * 4;
        }
        let size = (inside.at.forget(size) & 0xfff) as usize;
        if size > inside.length {
            blame(malformed, Reason::BadIpv6Length);
            return None;
        }
        if !inside.at.has(size) {
            blame(malformed, Reason::TruncatedIpv6);
            return None;
        }
        let was_fragment = next == FRAGMENT_HEADER;
        next = inside.at.u8(0);
        inside.at = inside.at.skip(size);
        inside.offset += size;
        inside.length -= size;
        if was_fragment && layers.fragment_offset != 0 {
            if layers.fragment_offset as usize * 8 + inside.length > 0xffff {
                blame(malformed, Reason::FragmentOverflow);
            }
            // The rest of the chain is in the first fragment.
            return finish(next, inside, layers);
        }
        if !is_extension(next) {
            return finish(next, inside, layers);
        }
        seen += 1;
    }
    layers.protocol = next;
    blame(malformed, Reason::TooManyIpv6Extensions);
    None
}
