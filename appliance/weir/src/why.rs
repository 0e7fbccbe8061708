//! `weir why`: from what the decoder and the classifier say to what people read.

use std::net::IpAddr;

use weir_appliance_control::config::Config;
use weir_appliance_control::matching::Protocol;
use weir_appliance_control::message::{
    FlowTuple, Fragment, Inner, Ip, MessageFields, MessageKind, Ports, Tunnel, Verdict, WhyFrame,
};
use weir_ebpf_abi::batch::BatchHeader;
use weir_ebpf_abi::decode::{self, Decoded, Layers};
use weir_ebpf_abi::explain::Explanation;
use weir_ebpf_abi::message::{self, MultimodalHeader};
use weir_ebpf_abi::reason::Reason;
use weir_ebpf_abi::services::ServiceKey;
use weir_ebpf_loader::Placement;
use zerocopy::FromBytes;

use crate::capture::Met;

/// Describes a frame of a capture.
#[must_use]
pub(crate) fn frame(met: &Met<'_>, explanation: &Explanation, verdict: Verdict) -> WhyFrame {
    let (decoded, bytes) = (&explanation.decoded, met.bytes);
    let has_ethertype = bytes.len() >= 14;
    WhyFrame {
        frame: met.number,
        length: met.captured_length,
        captured: met.captured,
        time_ns: met.time_ns,
        note: met.note.clone(),
        ethertype: if has_ethertype { ethertype(&decoded.outer) } else { String::new() },
        vlans: decoded.outer.vlan_ids().to_vec(),
        ip: ip(&decoded.outer),
        ports: ports(&decoded.outer),
        tunnel: tunnel(decoded.tunnel()),
        inner: explanation.inner().map(|layers| Inner {
            ethertype: ethertype(layers),
            vlans: layers.vlan_ids().to_vec(),
            ip: ip(layers),
            ports: ports(layers),
        }),
        message: message(bytes, decoded),
        // What was not decoded is not malformed for it.
        malformed: decoded.malformed().filter(|_| met.is_presented).map(|reason| reason.name().to_owned()),
        verdict,
    }
}

fn ethertype(layers: &Layers) -> String {
    format!("0x{:04x}", layers.ethertype)
}

fn ip(layers: &Layers) -> Option<Ip> {
    let (source, destination) = layers.addresses()?;
    let fragment = layers.fragment().map(|(offset, more)| Fragment { offset: u32::from(offset), more });
    Some(Ip { version: layers.version, source, destination, protocol: layers.protocol, fragment })
}

fn ports(layers: &Layers) -> Option<Ports> {
    layers.ports().map(|(source, destination)| Ports { source, destination })
}

fn tunnel(tunnel: decode::Tunnel) -> Option<Tunnel> {
    match tunnel {
        decode::Tunnel::None => None,
        decode::Tunnel::Vxlan => Some(Tunnel::Vxlan),
        decode::Tunnel::Geneve => Some(Tunnel::Geneve),
        decode::Tunnel::Gre => Some(Tunnel::Gre),
    }
}

/// The message's header, with the fields that only its kind has read from the payload itself.
fn message(bytes: &[u8], decoded: &Decoded) -> Option<MessageFields> {
    let kind = match decoded.kind() {
        message::MessageKind::None => return None,
        message::MessageKind::Standard => MessageKind::Standard,
        message::MessageKind::Multimodal => MessageKind::Multimodal,
        message::MessageKind::Batch => MessageKind::Batch,
    };
    let payload = bytes.get(usize::from(decoded.payload_offset)..).unwrap_or(&[]);
    let multimodal =
        (kind == MessageKind::Multimodal).then(|| MultimodalHeader::read_from_prefix(payload).ok()).flatten();
    let multimodal = multimodal.map(|(header, _)| header);
    let batch = (kind == MessageKind::Batch)
        .then(|| BatchHeader::read_from_prefix(payload).ok())
        .flatten()
        .map(|(header, _)| header);
    let fields = &decoded.message;
    Some(MessageFields {
        kind,
        message_type: fields.message_type,
        source_agent_id: fields.source_agent,
        dest_agent_id: fields.dest_agent,
        timestamp_ns: fields.timestamp_ns,
        priority: fields.priority,
        sequence_number: fields.sequence,
        modality_mask: multimodal.map(|header| header.modality_mask.get()),
        fusion_required: multimodal.map(|header| header.fusion_required.get()),
        context_id: multimodal.map(|header| header.context_id.get()),
        event_count: batch.map(|header| header.event_count.get()),
        batch_id: batch.map(|header| header.batch_id.get()),
        first_event_id: batch.map(|header| header.first_event_id.get()),
    })
}

/// What was decided about a frame. `rule` is the deciding rule's name, `service` that of the service that it is to; `takers`
/// names who takes a class's frames.
#[must_use]
pub(crate) fn verdict(
    explanation: &Explanation,
    rule: Option<String>,
    service: Option<String>,
    takers: impl Fn(u8) -> Vec<String>,
) -> Verdict {
    let taken = explanation.action();
    let reason = Some(explanation.reason()).filter(|reason| *reason != Reason::None);
    Verdict {
        action: taken.into(),
        takers: if taken.takes_a_ring() { takers(explanation.class) } else { Vec::new() },
        rule,
        bucket: Some(explanation.bucket),
        reason: reason.map(|reason| reason.name().to_owned()),
        service,
        agent: explanation.agent(),
    }
}

/// The name of the service that a frame is to. `placement` is of the tables that were asked.
#[must_use]
pub(crate) fn service(explanation: &Explanation, config: &Config, placement: &Placement) -> Option<String> {
    let key = placement.key(explanation.service()?)?;
    config.services().iter().find(|spec| ServiceKey::from(*spec) == key).map(|spec| spec.name.to_string())
}

/// Bytes of the transport header and payload of an example frame.
const EXAMPLE_BYTES: usize = 20;

/// The shortest frame of a flow, for asking the classifier about it. A message's content is not known, so a flow to a
/// message port is asked about with an empty payload, for which rules on message fields do not match.
#[must_use]
pub(crate) fn example(flow: &FlowTuple) -> Vec<u8> {
    let mut frame = vec![0_u8; 12];
    let protocol = flow.protocol.0;
    match (flow.source.ip(), flow.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 20 + EXAMPLE_BYTES as u8, 0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (source, destination) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, EXAMPLE_BYTES as u8, protocol, 64]);
            for address in [source, destination] {
                frame.extend(match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    IpAddr::V6(v6) => v6.octets(),
                });
            }
        }
    }
    let mut transport = [0_u8; EXAMPLE_BYTES];
    transport[..2].copy_from_slice(&flow.source.port().to_be_bytes());
    transport[2..4].copy_from_slice(&flow.destination.port().to_be_bytes());
    match flow.protocol {
        Protocol::UDP => transport[5] = EXAMPLE_BYTES as u8,
        _ => transport[12] = 0x50, // a TCP header of five words
    }
    frame.extend(transport);
    frame
}
