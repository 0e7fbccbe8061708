//! Frames built from nothing: Ethernet, VLAN tags, IPv4 or IPv6, UDP, and the messages inside, with right checksums.

mod checksum;
mod message;
mod template;

use std::net::IpAddr;

pub use message::{Event, batch, message, multimodal};
pub use template::Template;

use checksum::Sum;

/// Ethertype of an 802.1Q tag, and of the service tag of 802.1ad that goes in front of a second one.
const TAG_CUSTOMER: u16 = 0x8100;
const TAG_SERVICE: u16 = 0x88a8;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_UDP: u8 = 17;
const UDP_HEADER: usize = 8;
/// Hops of a fresh packet, as Linux sends it.
const HOPS: u8 = 64;

/// From where to where a datagram goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Hardware address of the sender.
    pub source_mac: [u8; 6],
    /// Hardware address of the receiver.
    pub destination_mac: [u8; 6],
    /// VLAN ids, outermost first, at most two.
    pub vlans: Vec<u16>,
    /// IP address of the sender.
    pub source: IpAddr,
    /// IP address of the receiver, of the same version.
    pub destination: IpAddr,
    /// UDP port of the sender.
    pub source_port: u16,
    /// UDP port of the receiver.
    pub destination_port: u16,
}

/// Where the parts of a built frame begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// IP header.
    pub network: usize,
    /// UDP header.
    pub transport: usize,
    /// UDP payload.
    pub payload: usize,
}

impl Path {
    /// Builds one UDP datagram as a frame. The addresses must be of one version, and `payload` fit 16 bits of length
    /// with its headers; a longer one gives a frame whose length fields are wrong, which is what a test may want.
    #[must_use]
    pub fn udp(&self, payload: &[u8]) -> (Vec<u8>, Offsets) {
        let mut frame = Vec::with_capacity(128 + payload.len());
        frame.extend(self.destination_mac);
        frame.extend(self.source_mac);
        for (place, vlan) in self.vlans.iter().enumerate() {
            let service = place == 0 && self.vlans.len() > 1;
            frame.extend(if service { TAG_SERVICE } else { TAG_CUSTOMER }.to_be_bytes());
            frame.extend((vlan & 0x0fff).to_be_bytes());
        }
        let datagram = (UDP_HEADER + payload.len()) as u16;
        let network = frame.len() + 2;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend(ETHERTYPE_IPV4.to_be_bytes());
                ipv4(&mut frame, source.octets(), destination.octets(), datagram);
            }
            _ => {
                frame.extend(ETHERTYPE_IPV6.to_be_bytes());
                ipv6(&mut frame, octets(self.source), octets(self.destination), datagram);
            }
        }
        let transport = frame.len();
        frame.extend(self.source_port.to_be_bytes());
        frame.extend(self.destination_port.to_be_bytes());
        frame.extend(datagram.to_be_bytes());
        frame.extend([0; 2]);
        let offsets = Offsets { network, transport, payload: frame.len() };
        frame.extend(payload);
        let sum = udp_checksum(&frame, offsets);
        frame[transport + 6..transport + 8].copy_from_slice(&sum.to_be_bytes());
        (frame, offsets)
    }
}

/// An address in 16 bytes; IPv4 mapped, as RFC 4291 2.5.5.2 has it.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn ipv4(frame: &mut Vec<u8>, source: [u8; 4], destination: [u8; 4], datagram: u16) {
    let start = frame.len();
    frame.extend([0x45, 0]);
    frame.extend((20 + datagram).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, HOPS, PROTOCOL_UDP, 0, 0]); // identification 0, don't fragment
    frame.extend(source);
    frame.extend(destination);
    let sum = Sum::default().bytes(&frame[start..]).finish();
    frame[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
}

fn ipv6(frame: &mut Vec<u8>, source: [u8; 16], destination: [u8; 16], datagram: u16) {
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(datagram.to_be_bytes());
    frame.extend([PROTOCOL_UDP, HOPS]);
    frame.extend(source);
    frame.extend(destination);
}

/// UDP checksum of a built frame, whose own checksum field is taken as zero.
fn udp_checksum(frame: &[u8], offsets: Offsets) -> u16 {
    let version = frame[offsets.network] >> 4;
    let addresses = if version == 4 { 12..20 } else { 8..40 };
    let datagram = &frame[offsets.transport..];
    let sum = Sum::default()
        .bytes(&frame[offsets.network..][addresses])
        .word(u16::from(PROTOCOL_UDP))
        .word(datagram.len() as u16)
        .bytes(&datagram[..6])
        .bytes(&datagram[UDP_HEADER..])
        .finish();
    // Zero means "no checksum" on the wire, so its other representation is sent (RFC 768).
    if sum == 0 { 0xffff } else { sum }
}

/// Whether the checksums of a frame built here are right; for tests of what rewrites it.
#[must_use]
pub fn checksums_hold(frame: &[u8], offsets: Offsets) -> bool {
    let version = frame[offsets.network] >> 4;
    let header = version != 4 || Sum::default().bytes(&frame[offsets.network..][..20]).finish() == 0;
    let stored = u16::from_be_bytes([frame[offsets.transport + 6], frame[offsets.transport + 7]]);
    header && stored == udp_checksum(frame, offsets)
}
