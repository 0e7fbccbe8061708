//! The frames that are measured.

use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::batch::{BatchHeader, BatchWriter, EventHeader};
use weir_ebpf_abi::message::{MultimodalHeader, Part, StandardHeader};
use weir_ebpf_abi::rules::Match;
use zerocopy::IntoBytes;

use super::{Rules, Subject};
use crate::classifier::Classifier;
use crate::error::LoadError;
use crate::flags::FlagTable;

/// The loopback, from which a test-run's frames come and which stands for any other interface here.
const LOOPBACK: u32 = 1;
/// Agent of the forwarded messages.
const AGENT4: u32 = 7;
const AGENT6: u32 = 8;

/// A kind of frame to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Address resolution: no IP.
    Arp,
    /// IPv4, UDP to no known port.
    Udp4,
    /// IPv4 with options and two tags, UDP.
    TaggedOptions4,
    /// IPv4, TCP.
    Tcp4,
    /// IPv6, UDP.
    Udp6,
    /// IPv6 with four extension headers, TCP.
    Extensions6,
    /// A later fragment.
    Fragment4,
    /// VXLAN.
    Vxlan,
    /// GRE.
    Gre,
    /// A standard message to no known agent.
    Standard,
    /// A multi-modal message with four parts.
    Multimodal,
    /// A batch of events.
    Batch,
    /// A standard message to a known agent: rewritten and redirected. Over a bare device redirect.
    Forward,
    /// The same on IPv6.
    Forward6,
    /// A datagram that flags deliver to a ring: hashed, described and redirected. Over a bare device redirect.
    Deliver,
}

impl Case {
    /// Every case.
    pub const ALL: [Case; 15] = [
        Case::Arp,
        Case::Udp4,
        Case::TaggedOptions4,
        Case::Tcp4,
        Case::Udp6,
        Case::Extensions6,
        Case::Fragment4,
        Case::Vxlan,
        Case::Gre,
        Case::Standard,
        Case::Multimodal,
        Case::Batch,
        Case::Forward,
        Case::Forward6,
        Case::Deliver,
    ];

    /// The word used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Case::Arp => "arp",
            Case::Udp4 => "ipv4 udp",
            Case::TaggedOptions4 => "2 vlans, options",
            Case::Tcp4 => "ipv4 tcp",
            Case::Udp6 => "ipv6 udp",
            Case::Extensions6 => "ipv6, 4 ext, tcp",
            Case::Fragment4 => "ipv4 fragment",
            Case::Vxlan => "vxlan",
            Case::Gre => "gre",
            Case::Standard => "standard message",
            Case::Multimodal => "multi-modal",
            Case::Batch => "event batch",
            Case::Forward => "forward",
            Case::Forward6 => "forward ipv6",
            Case::Deliver => "deliver",
        }
    }

    /// What the classifier is measured against.
    pub const fn floor(self) -> Subject {
        match self {
            Case::Forward | Case::Forward6 | Case::Deliver => Subject::EmptyRedirect,
            _ => Subject::EmptyPass,
        }
    }

    /// Puts rules, agents and flags in force as the case wants them.
    pub fn prepare(self, classifier: &mut Classifier, rules: Rules) -> Result<(), LoadError> {
        let everything = FlagTable::of_widths(Match::default(), &[(0, 10_000)]);
        let flags = if self == Case::Deliver { [everything].to_vec() } else { Vec::new() };
        classifier.install_rules(&rules.make(), &flags)?;
        let agent = |id, version| Agent { id, version, egress: 1, mac: [2; 6], source_mac: [4; 6], ..Agent::default() };
        // The agents' slot names an interface that the frames do not come from, so that they are redirected.
        classifier.install_agents(&[agent(AGENT4, 4), agent(AGENT6, 6)], &[(0, LOOPBACK), (1, LOOPBACK)], &[])?;
        if matches!(self, Case::Forward | Case::Forward6) {
            classifier.pretend_elsewhere(&[agent(AGENT4, 4), agent(AGENT6, 6)])?;
        }
        if self == Case::Deliver {
            classifier.bind_unbound_socket()?;
        }
        Ok(())
    }

    /// The frame.
    pub fn frame(self) -> Vec<u8> {
        let datagram = |port, payload: &[u8]| ipv4(0x45, 17, 0, &udp(port, payload));
        match self {
            Case::Arp => ethernet(&[], 0x0806, &[0; 46]),
            Case::Udp4 => ethernet(&[], 0x0800, &datagram(5004, &[0; 36])),
            Case::TaggedOptions4 => {
                let packet = ipv4(0x48, 17, 0, &udp(5004, &[0; 36]));
                ethernet(&[0x88a8, 0x8100], 0x0800, &packet)
            }
            Case::Tcp4 => ethernet(&[], 0x0800, &ipv4(0x45, 6, 0, &tcp())),
            Case::Udp6 => ethernet(&[], 0x86dd, &ipv6(17, &udp(5004, &[0; 36]))),
            Case::Extensions6 => ethernet(&[], 0x86dd, &ipv6(0, &chain(&[0, 60, 43, 51], 6, &tcp()))),
            Case::Fragment4 => ethernet(&[], 0x0800, &ipv4(0x45, 17, 100, &[0; 64])),
            Case::Vxlan => {
                let inside = ethernet(&[], 0x0800, &datagram(5004, &[0; 36]));
                ethernet(&[], 0x0800, &datagram(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0][..], &inside].concat()))
            }
            Case::Gre => {
                let inside = datagram(5004, &[0; 36]);
                ethernet(&[], 0x0800, &ipv4(0x45, 47, 0, &[&[0x20, 0, 8, 0, 0, 0, 0, 1][..], &inside].concat()))
            }
            Case::Standard => ethernet(&[], 0x0800, &datagram(48_100, &standard(9_999))),
            Case::Multimodal => ethernet(&[], 0x0800, &datagram(48_101, &multimodal())),
            Case::Batch => ethernet(&[], 0x0800, &datagram(48_102, &batch())),
            Case::Forward => ethernet(&[], 0x0800, &datagram(48_100, &standard(AGENT4))),
            Case::Forward6 => ethernet(&[], 0x86dd, &ipv6(17, &udp(48_100, &standard(AGENT6)))),
            Case::Deliver => ethernet(&[], 0x0800, &datagram(5004, &[0; 36])),
        }
    }
}

fn ethernet(tags: &[u16], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend(100u16.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

fn ipv4(first: u8, protocol: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
    let header = usize::from(first & 15) * 4;
    let mut packet = vec![first, 0];
    packet.extend(((header + body.len()) as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2]);
    packet.resize(header, 0);
    packet.extend(body);
    packet
}

fn ipv6(next: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((body.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    for last in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(body);
    packet
}

/// Extension headers of eight bytes each (an authentication header of sixteen), then `body`.
fn chain(kinds: &[u8], last: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        let next = kinds.get(index + 1).copied().unwrap_or(last);
        let (words, bytes) = if *kind == 51 { (2, 16) } else { (0, 8) };
        let start = packet.len();
        packet.extend([next, words]);
        packet.resize(start + bytes, 0);
    }
    packet.extend(body);
    packet
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = 40_000u16.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend(((payload.len() + 8) as u16).to_be_bytes());
    datagram.extend([0x12, 0x34]);
    datagram.extend(payload);
    datagram
}

fn tcp() -> Vec<u8> {
    let mut segment = vec![0; 60];
    segment[..4].copy_from_slice(&[0x9c, 0x40, 0x01, 0xbb]);
    segment[12] = 0x80;
    segment
}

fn header(agent: u32) -> StandardHeader {
    StandardHeader { message_type: 90_000.into(), dest_agent_id: agent.into(), ..StandardHeader::default() }
}

fn standard(agent: u32) -> Vec<u8> {
    [header(agent).as_bytes(), &[0; 36]].concat()
}

fn multimodal() -> Vec<u8> {
    let part = |number: u32| Part { offset: (number * 16).into(), length: 16.into() };
    let header = MultimodalHeader {
        standard: header(9_999),
        modality_mask: 15.into(),
        layout: [part(0), part(1), part(2), part(3)],
        ..MultimodalHeader::default()
    };
    [header.as_bytes(), &[0; 64]].concat()
}

fn batch() -> Vec<u8> {
    let mut buffer = vec![0; 1_400];
    let Some(mut writer) =
        BatchWriter::start(&mut buffer, &BatchHeader { standard: header(9_999), ..BatchHeader::default() })
    else {
        return buffer;
    };
    while writer.push(&EventHeader::default(), &[0; 64]) {}
    writer.finish().to_vec()
}
