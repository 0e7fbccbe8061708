//! Why a frame or a flow goes where it goes. [`WhyFrame`] is one line of `weir why --pcap FILE --json`: fields are only
//! added.

use serde::{Deserialize, Serialize};

use super::FlowTuple;
use crate::config::RuleAction;

/// One frame, decoded and judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyFrame {
    /// Its number in the capture, from 1.
    pub frame: u64,
    /// Bytes on the wire, as the capture says.
    pub length: u32,
    /// Bytes of them that the capture has.
    #[serde(default)]
    pub captured: u32,
    /// When it was captured, nanoseconds since 1970; 0 where the capture does not say.
    #[serde(default)]
    pub time_ns: u64,
    /// What was made up, or why nothing could be decoded, where the capture is not of Ethernet.
    #[serde(default)]
    pub note: Option<String>,
    /// After VLAN tags, four hexadecimal digits: `0x0800`. Empty text if the frame is too short to have one.
    pub ethertype: String,
    /// VLAN numbers, outermost first.
    pub vlans: Vec<u16>,
    /// IP, if it is there and whole.
    pub ip: Option<Ip>,
    /// UDP or TCP ports; not in later fragments.
    pub ports: Option<Ports>,
    /// The tunnel around the inner frame.
    pub tunnel: Option<Tunnel>,
    /// What the tunnel carries.
    pub inner: Option<Inner>,
    /// The message's header.
    pub message: Option<MessageFields>,
    /// What is wrong with it.
    pub malformed: Option<String>,
    /// What became of it.
    pub verdict: Verdict,
}

/// An IP header, after extension headers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ip {
    /// 4 or 6.
    pub version: u8,
    /// Source address.
    pub source: std::net::IpAddr,
    /// Destination address.
    pub destination: std::net::IpAddr,
    /// Protocol after IPv6 extension headers.
    pub protocol: u8,
    /// Set in fragments.
    pub fragment: Option<Fragment>,
}

/// Which part of a datagram a fragment is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fragment {
    /// What stands before it, in units of 8 bytes, as the header's field has it.
    pub offset: u32,
    /// Whether others follow.
    pub more: bool,
}

/// UDP or TCP ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

/// A tunnel that the decoder looks into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tunnel {
    /// VXLAN, UDP port 4789.
    Vxlan,
    /// Geneve, UDP port 6081.
    Geneve,
    /// GRE, IP protocol 47.
    Gre,
}

/// What a tunnel carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inner {
    /// As in the outer frame.
    pub ethertype: String,
    /// As in the outer frame.
    pub vlans: Vec<u16>,
    /// As in the outer frame.
    pub ip: Option<Ip>,
    /// As in the outer frame.
    pub ports: Option<Ports>,
}

/// The kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// Port 48100.
    Standard,
    /// Port 48101.
    Multimodal,
    /// Port 48102.
    Batch,
}

/// A message's header fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageFields {
    /// Which of the three headers it is.
    pub kind: MessageKind,
    /// What the message is about.
    pub message_type: u32,
    /// Who sent it.
    pub source_agent_id: u32,
    /// Whom it is for.
    pub dest_agent_id: u32,
    /// When it was sent, nanoseconds of the sender's clock.
    pub timestamp_ns: u64,
    /// Its priority.
    pub priority: u32,
    /// Its number among the sender's.
    pub sequence_number: u32,
    /// Multi-modal: 1 text, 2 audio, 4 image, 8 sensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modality_mask: Option<u32>,
    /// Multi-modal: whether the parts belong together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion_required: Option<u32>,
    /// Multi-modal: what the parts belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<u32>,
    /// Batch: events in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_count: Option<u16>,
    /// Batch: its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<u32>,
    /// Batch: the number of its first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_event_id: Option<u64>,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What was done.
    pub action: RuleAction,
    /// Who took it.
    pub takers: Vec<String>,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// The flow's bucket, 0 to 9999, if it was looked at.
    pub bucket: Option<u16>,
    /// Why, by its short name, if there is more to say.
    pub reason: Option<String>,
    /// The service that it is to, if it is to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The agent that gets it, if it was forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<u32>,
}

/// Why a live flow goes where it goes: the answer to `weir why FLOW`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowExplanation {
    /// The flow.
    pub flow: FlowTuple,
    /// Its keyed fingerprint, 16 hexadecimal digits.
    pub fingerprint: String,
    /// Its sticky bucket, 0 to 9999.
    pub bucket: u16,
    /// What is done with its next frame.
    pub verdict: Verdict,
    /// The stations of its way, in order: rule, bucket, ring, feature, map write.
    pub steps: Vec<WhyStep>,
}

/// One station.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyStep {
    /// `flow verdict`, `rule`, `bucket`, `service`, `default`, `class`, `ring`, `feature`, `map write`.
    pub stage: String,
    /// What was found there: `telemetry`, `4711 of 10000`, `none`.
    pub found: String,
    /// One sentence with the live counters.
    pub because: String,
    /// Whether this station decided.
    pub decided: bool,
}
