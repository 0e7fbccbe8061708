//! Ethernet with VLAN tags.

use super::{Layers, Reader, blame};
use crate::reason::Reason;

const ETHERNET: usize = 14;
const TAG: usize = 4;

/// True for the tag protocol ids of 802.1Q, 802.1ad and the older Q-in-Q.
#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    ethertype == 0x8100 || ethertype == 0x88a8 || ethertype == 0x9100
}

/// Reads the Ethernet header and up to two tags: the cursor at what follows, and its offset in the frame.
#[inline(always)]
pub(super) fn ethernet<R: Reader>(
    frame: R,
    offset: usize,
    layers: &mut Layers,
    malformed: &mut u8,
) -> Option<(R, usize)> {
    if !frame.has(ETHERNET) {
        blame(malformed, Reason::TruncatedEthernet);
        return None;
    }
    let ethertype = frame.be16(12);
    if !is_tag(ethertype) {
        layers.ethertype = ethertype;
        return Some((frame.skip(ETHERNET), offset + ETHERNET));
    }
    let mut size = ETHERNET + TAG;
    if !frame.has(ETHERNET + TAG) {
        layers.ethertype = ethertype;
        blame(malformed, Reason::TruncatedVlan);
        return None;
    }
    layers.vlans[0] = frame.be16(14) & 0x0fff;
    layers.vlan_count = 1;
    layers.ethertype = frame.be16(16);
    if is_tag(layers.ethertype) {
        size += TAG;
        if !frame.has(ETHERNET + 2 * TAG) {
            blame(malformed, Reason::TruncatedVlan);
            return None;
        }
        layers.vlans[1] = frame.be16(18) & 0x0fff;
        layers.vlan_count = 2;
        layers.ethertype = frame.be16(20);
    }
    let size = (frame.forget(size as u16) & 31) as usize;
    Some((frame.skip(size), offset + size))
}
