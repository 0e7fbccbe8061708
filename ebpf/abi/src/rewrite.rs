//! What forwarding changes in a frame: MAC addresses, destination address, TTL or hop limit, and both checksums by
//! difference (RFC 1624), so that no byte of the payload is read.

use crate::agents::Agent;
use crate::decode::{Decoded, Reader, SliceReader, decode_slice};
use core::cell::Cell;

/// A [`Reader`] that can also write, under the same rule: only where `has` said so.
pub trait Writer: Reader {
    /// Writes one byte.
    fn set_u8(self, at: usize, value: u8);
    /// Writes two bytes, big-endian.
    fn set_be16(self, at: usize, value: u16);
    /// Writes four bytes, big-endian.
    fn set_be32(self, at: usize, value: u32);
    /// Writes eight bytes, big-endian.
    fn set_be64(self, at: usize, value: u64);
    /// Writes two bytes, little-endian.
    #[inline(always)]
    fn set_le16(self, at: usize, value: u16) {
        self.set_be16(at, value.swap_bytes());
    }
    /// Writes four bytes, little-endian.
    #[inline(always)]
    fn set_le32(self, at: usize, value: u32) {
        self.set_be32(at, value.swap_bytes());
    }
}

// One's complement sums do not mind the byte order (RFC 1071, section 2 B), as long as all words have the same: here it is
// that of the processors we run on, so that no word is turned around.

/// Folds a sum of 16-bit or 32-bit words into 16 bits, as one's complement arithmetic allows.
#[inline(always)]
pub(crate) const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// Rewrites a sound message frame for `agent`, whose IP version is the frame's.
#[inline(always)]
pub fn rewrite<W: Writer>(frame: W, decoded: &Decoded, agent: &Agent) {
    let (network, transport) = (decoded.network_offset, decoded.transport_offset);
    // Far above any chain of headers; the bound is for the verifier.
    if network > 0xff || transport > 0x7fff || !frame.has(14) {
        return;
    }
    let (network, transport) = (frame.skip(network as usize), frame.skip(transport as usize));
    if !transport.has(8) {
        return;
    }
    set_mac(frame, 0, agent.mac);
    set_mac(frame, 6, agent.source_mac);
    let change = if decoded.outer.version == 4 { ipv4(network, agent) } else { ipv6(network, agent) };
    let checksum = transport.le16(6);
    if checksum != 0 {
        let changed = !fold((!checksum) as u64 + change);
        // 0 means "no checksum" in UDP, so a sum of 0 is sent as its other form.
        transport.set_le16(6, if changed == 0 { 0xffff } else { changed });
    }
}

#[inline(always)]
pub(crate) fn set_mac<W: Writer>(frame: W, at: usize, mac: [u8; 6]) {
    frame.set_be32(at, u32::from_be_bytes([mac[0], mac[1], mac[2], mac[3]]));
    frame.set_be16(at + 4, u16::from_be_bytes([mac[4], mac[5]]));
}

/// Gives the difference that the UDP checksum must take in: new words, and the complements of the old.
#[inline(always)]
fn ipv4<W: Writer>(network: W, agent: &Agent) -> u64 {
    if !network.has(20) {
        return 0;
    }
    let old = network.le32(16);
    let [a, b, c, d, ..] = agent.address;
    let new = u32::from_le_bytes([a, b, c, d]);
    let change = (!old) as u64 + new as u64;
    // TTL and protocol; the decision lets no TTL below 2 come here, so nothing is borrowed.
    let life = network.le16(8);
    let shorter = life.wrapping_sub(1);
    let checksum = network.le16(10);
    let sum = (!checksum) as u64 + change + (!life) as u64 + shorter as u64;
    network.set_le32(16, new);
    network.set_le16(8, shorter);
    network.set_le16(10, !fold(sum));
    change
}

#[inline(always)]
fn ipv6<W: Writer>(network: W, agent: &Agent) -> u64 {
    if !network.has(40) {
        return 0;
    }
    let mut change = 0;
    let mut at = 0;
    while at < 16 {
        let old = network.le32(24 + at);
        let bytes = &agent.address;
        let new = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        change += (!old) as u64 + new as u64;
        network.set_le32(24 + at, new);
        at += 4;
    }
    network.set_u8(7, network.u8(7).wrapping_sub(1));
    change
}

/// Sends a sound frame on to `agent` as it is: new link addresses and one hop less.
#[inline(always)]
pub fn route<W: Writer>(frame: W, decoded: &Decoded, agent: &Agent) {
    let network = decoded.network_offset;
    if network > 0xff || !frame.has(14) {
        return;
    }
    set_mac(frame, 0, agent.mac);
    set_mac(frame, 6, agent.source_mac);
    spend_hop(frame.skip(network as usize), decoded.outer.version == 4);
}

/// Counts TTL or hop limit down, which the decision lets be 2 at least.
#[inline(always)]
pub(crate) fn spend_hop<W: Writer>(network: W, is_v4: bool) {
    if !network.has(20) {
        return;
    }
    if is_v4 {
        let life = network.le16(8);
        let shorter = life.wrapping_sub(1);
        let checksum = network.le16(10);
        network.set_le16(8, shorter);
        network.set_le16(10, !fold((!checksum) as u64 + (!life) as u64 + shorter as u64));
    } else {
        network.set_u8(7, network.u8(7).wrapping_sub(1));
    }
}

/// Writes four little-endian bytes at `at`, an even distance behind the UDP header, and takes the change into the UDP
/// checksum, unless the datagram has none.
pub fn take_in<W: Writer>(frame: W, decoded: &Decoded, at: usize, new: u32) {
    let transport = frame.skip(decoded.transport_offset as usize);
    let old = frame.le32(at);
    frame.set_le32(at, new);
    let checksum = transport.le16(6);
    if checksum != 0 {
        let changed = !fold((!checksum) as u64 + (!old) as u64 + new as u64);
        transport.set_le16(6, if changed == 0 { 0xffff } else { changed });
    }
}

/// The host's writing cursor.
#[derive(Clone, Copy, Debug)]
pub struct SliceWriter<'a> {
    bytes: &'a [Cell<u8>],
    length: usize,
}

impl<'a> SliceWriter<'a> {
    /// At the start of `frame`.
    pub fn new(frame: &'a mut [u8]) -> SliceWriter<'a> {
        SliceWriter::of(Cell::from_mut(frame).as_slice_of_cells())
    }

    /// At the start of a frame that is changed where it is.
    pub const fn of(frame: &'a [Cell<u8>]) -> SliceWriter<'a> {
        SliceWriter { bytes: frame, length: frame.len() }
    }

    #[inline(always)]
    fn chunk<const N: usize>(self, at: usize) -> Option<&'a [Cell<u8>; N]> {
        let found = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
        debug_assert!(found.is_some(), "{N} bytes at {at} that has() did not allow");
        found
    }

    #[inline(always)]
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.chunk::<N>(at).map_or([0; N], |found| core::array::from_fn(|index| found[index].get()))
    }

    #[inline(always)]
    fn set_array<const N: usize>(self, at: usize, value: [u8; N]) {
        for (cell, byte) in self.chunk::<N>(at).into_iter().flatten().zip(value) {
            cell.set(byte);
        }
    }

    /// Exchanges the `SIZE` bytes at `at` with those behind them; a size that the compiler knows is a load and a store.
    #[inline(always)]
    pub(crate) fn exchange<const SIZE: usize>(self, at: usize) {
        let (front, back) = (self.array::<SIZE>(at), self.array::<SIZE>(at + SIZE));
        self.set_array(at, back);
        self.set_array(at + SIZE, front);
    }
}

impl Reader for SliceWriter<'_> {
    fn has(self, bytes: usize) -> bool {
        self.bytes.len() >= bytes
    }
    fn u8(self, at: usize) -> u8 {
        u8::from_be_bytes(self.array(at))
    }
    fn be16(self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }
    fn be32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }
    fn be64(self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }
    fn skip(self, bytes: usize) -> Self {
        SliceWriter { bytes: self.bytes.get(bytes..).unwrap_or(&[]), length: self.length }
    }
    fn frame_length(self) -> usize {
        self.length
    }
    fn forget(self, number: u16) -> u16 {
        number
    }
}

impl Writer for SliceWriter<'_> {
    fn set_u8(self, at: usize, value: u8) {
        self.set_array(at, value.to_be_bytes());
    }
    fn set_be16(self, at: usize, value: u16) {
        self.set_array(at, value.to_be_bytes());
    }
    fn set_be32(self, at: usize, value: u32) {
        self.set_array(at, value.to_be_bytes());
    }
    fn set_be64(self, at: usize, value: u64) {
        self.set_array(at, value.to_be_bytes());
    }
}

/// Rewrites a frame on the host, as the classifier would.
pub fn rewrite_slice(frame: &mut [u8], agent: &Agent) {
    let decoded = decode_slice(frame, frame.len());
    rewrite(SliceWriter::new(frame), &decoded, agent);
}

/// One's complement sum over `bytes`, for tests and generators: 0xffff over a header whose checksum is right.
pub fn ones_sum(bytes: &[u8], start: u64) -> u16 {
    let reader = SliceReader::new(bytes, bytes.len());
    let words = (0..bytes.len() / 2).fold(start, |sum, word| sum + u64::from(reader.be16(word * 2)));
    let odd = if bytes.len() % 2 == 1 { u64::from(reader.u8(bytes.len() - 1)) << 8 } else { 0 };
    fold(words + odd)
}
