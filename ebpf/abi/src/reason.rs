//! Why a frame was dropped, or what was odd about one that passed.

/// One number for every drop and every counted oddity; the index into
/// [`Counters::reasons`](crate::counters::Counters::reasons).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Reason {
    /// Nothing to report.
    #[default]
    None = 0,
    /// A rule says drop.
    RuleDrop,
    /// A feature's verdict on this flow says drop.
    FlowVerdictDrop,
    /// The message names an agent that is not in the agent table.
    UnknownAgent,
    /// The agent's address is of another IP version than the message.
    AgentFamily,
    /// The rule says forward, but the frame is no message with a destination agent.
    NotForwardable,
    /// The TTL or hop limit is used up, so the message was not forwarded.
    HopLimit,
    /// No interface stands in the agent's egress slot.
    NoEgress,
    /// No socket is bound for the class on this queue.
    NoTaker,
    /// The driver left no room in front of the frame for its description.
    NoMetadataRoom,
    /// The frame is shorter than an Ethernet header.
    TruncatedEthernet,
    /// The frame ends inside a VLAN tag.
    TruncatedVlan,
    /// The frame ends inside the IPv4 header.
    TruncatedIpv4,
    /// The IPv4 version is not 4 or the header length is under 20.
    BadIpv4Header,
    /// The IPv4 total length is under the header's or over the frame's.
    BadIpv4Length,
    /// The frame ends inside the IPv6 header or an extension header.
    TruncatedIpv6,
    /// The IPv6 version is not 6.
    BadIpv6Header,
    /// The IPv6 payload length is over the frame's or under its extension headers'.
    BadIpv6Length,
    /// More than eight IPv6 extension headers.
    TooManyIpv6Extensions,
    /// The packet ends inside the UDP or TCP header.
    TruncatedTransport,
    /// The UDP length is under 8 or over the packet's.
    BadUdpLength,
    /// The TCP header length is under 20 or over the packet's.
    BadTcpHeader,
    /// The fragment would end beyond 65535 bytes.
    FragmentOverflow,
    /// The packet ends inside the tunnel header.
    TruncatedTunnel,
    /// The tunnel header's version or flags are not valid.
    BadTunnel,
    /// The datagram is shorter than the message header its port promises.
    TruncatedMessage,
    /// A part of the message lies outside its payload, overlaps another or contradicts the modality mask.
    BadMessageLayout,
    /// The batch names more events than it has bytes for, or unknown flags.
    BadBatch,
    /// The frame is to a service of which no agent is up.
    NoAgentUp,
    /// The frame is the first fragment of a packet to a service's port; the others do not name the port.
    ServiceFragment,
    /// With the headers in front the packet is longer than the agent's link takes.
    TooLongForAgent,
    /// The driver left no room in front of the frame for the outer headers.
    NoHeaderRoom,
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: usize = Reason::ALL.len();

    /// Every reason, in the order of its number.
    pub const ALL: [Reason; 32] = [
        Reason::None,
        Reason::RuleDrop,
        Reason::FlowVerdictDrop,
        Reason::UnknownAgent,
        Reason::AgentFamily,
        Reason::NotForwardable,
        Reason::HopLimit,
        Reason::NoEgress,
        Reason::NoTaker,
        Reason::NoMetadataRoom,
        Reason::TruncatedEthernet,
        Reason::TruncatedVlan,
        Reason::TruncatedIpv4,
        Reason::BadIpv4Header,
        Reason::BadIpv4Length,
        Reason::TruncatedIpv6,
        Reason::BadIpv6Header,
        Reason::BadIpv6Length,
        Reason::TooManyIpv6Extensions,
        Reason::TruncatedTransport,
        Reason::BadUdpLength,
        Reason::BadTcpHeader,
        Reason::FragmentOverflow,
        Reason::TruncatedTunnel,
        Reason::BadTunnel,
        Reason::TruncatedMessage,
        Reason::BadMessageLayout,
        Reason::BadBatch,
        Reason::NoAgentUp,
        Reason::ServiceFragment,
        Reason::TooLongForAgent,
        Reason::NoHeaderRoom,
    ];

    /// The reason with this number.
    pub fn from_number(number: u8) -> Option<Reason> {
        Reason::ALL.get(usize::from(number)).copied()
    }

    /// The reason with this name, as [`Reason::name`] spells it.
    pub fn from_name(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The word used in JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::None => "none",
            Reason::RuleDrop => "rule-drop",
            Reason::FlowVerdictDrop => "flow-verdict-drop",
            Reason::UnknownAgent => "unknown-agent",
            Reason::AgentFamily => "agent-family",
            Reason::NotForwardable => "not-forwardable",
            Reason::HopLimit => "hop-limit",
            Reason::NoEgress => "no-egress",
            Reason::NoTaker => "no-taker",
            Reason::NoMetadataRoom => "no-metadata-room",
            Reason::TruncatedEthernet => "truncated-ethernet",
            Reason::TruncatedVlan => "truncated-vlan",
            Reason::TruncatedIpv4 => "truncated-ipv4",
            Reason::BadIpv4Header => "bad-ipv4-header",
            Reason::BadIpv4Length => "bad-ipv4-length",
            Reason::TruncatedIpv6 => "truncated-ipv6",
            Reason::BadIpv6Header => "bad-ipv6-header",
            Reason::BadIpv6Length => "bad-ipv6-length",
            Reason::TooManyIpv6Extensions => "too-many-ipv6-extensions",
            Reason::TruncatedTransport => "truncated-transport",
            Reason::BadUdpLength => "bad-udp-length",
            Reason::BadTcpHeader => "bad-tcp-header",
            Reason::FragmentOverflow => "fragment-overflow",
            Reason::TruncatedTunnel => "truncated-tunnel",
            Reason::BadTunnel => "bad-tunnel",
            Reason::TruncatedMessage => "truncated-message",
            Reason::BadMessageLayout => "bad-message-layout",
            Reason::BadBatch => "bad-batch",
            Reason::NoAgentUp => "no-agent-up",
            Reason::ServiceFragment => "service-fragment",
            Reason::TooLongForAgent => "too-long-for-agent",
            Reason::NoHeaderRoom => "no-header-room",
        }
    }

    /// One clause for people: what happened.
    pub const fn sentence(self) -> &'static str {
        match self {
            Reason::None => "nothing to report",
            Reason::RuleDrop => "a rule says drop",
            Reason::FlowVerdictDrop => "a feature's verdict on this flow says drop",
            Reason::UnknownAgent => "the message names an agent that is not in the agent table",
            Reason::AgentFamily => "the agent's address is of another IP version than the message",
            Reason::NotForwardable => "the rule says forward, but the frame is no message with a destination agent",
            Reason::HopLimit => "the TTL or hop limit is used up, so the message was not forwarded",
            Reason::NoEgress => "no interface stands in the agent's egress slot",
            Reason::NoTaker => "no socket is bound for the class on this queue",
            Reason::NoMetadataRoom => "the driver left no room in front of the frame for its description",
            Reason::TruncatedEthernet => "the frame is shorter than an Ethernet header",
            Reason::TruncatedVlan => "the frame ends inside a VLAN tag",
            Reason::TruncatedIpv4 => "the frame ends inside the IPv4 header",
            Reason::BadIpv4Header => "the IPv4 version is not 4 or the header length is under 20",
            Reason::BadIpv4Length => "the IPv4 total length is under the header's or over the frame's",
            Reason::TruncatedIpv6 => "the frame ends inside the IPv6 header or an extension header",
            Reason::BadIpv6Header => "the IPv6 version is not 6",
            Reason::BadIpv6Length => "the IPv6 payload length is over the frame's or under its extension headers'",
            Reason::TooManyIpv6Extensions => "more than eight IPv6 extension headers",
            Reason::TruncatedTransport => "the packet ends inside the UDP or TCP header",
            Reason::BadUdpLength => "the UDP length is under 8 or over the packet's",
            Reason::BadTcpHeader => "the TCP header length is under 20 or over the packet's",
            Reason::FragmentOverflow => "the fragment would end beyond 65535 bytes",
            Reason::TruncatedTunnel => "the packet ends inside the tunnel header",
            Reason::BadTunnel => "the tunnel header's version or flags are not valid",
            Reason::TruncatedMessage => "the datagram is shorter than the message header its port promises",
            Reason::BadMessageLayout => {
                "a part of the message lies outside its payload, overlaps another or contradicts the modality mask"
            }
            Reason::BadBatch => "the batch names more events than it has bytes for, or unknown flags",
            Reason::NoAgentUp => "no agent of the service is up",
            Reason::ServiceFragment => "a fragment to a service's port, and only the first of them names the port",
            Reason::TooLongForAgent => "with the headers in front the packet is longer than the agent's link takes",
            Reason::NoHeaderRoom => "the driver left no room in front of the frame for the outer headers",
        }
    }

    /// True when a frame with this reason was dropped; all others passed or were forwarded.
    pub const fn is_drop(self) -> bool {
        matches!(self, Reason::RuleDrop | Reason::FlowVerdictDrop | Reason::HopLimit)
    }

    /// True when the frame breaks its own format; such a frame is counted and passed to the stack.
    #[inline(always)]
    pub const fn is_malformed(self) -> bool {
        self as u8 >= Reason::TruncatedEthernet as u8 && self as u8 <= Reason::BadBatch as u8
    }
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_sentences_agree() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            assert_eq!(Reason::from_number(number as u8), Some(reason));
            assert_eq!(Reason::from_name(reason.name()), Some(reason));
            assert!(!reason.sentence().ends_with('.'), "{reason}: sentences are clauses");
        }
        assert_eq!(Reason::from_number(Reason::COUNT as u8), None);
        assert!(!Reason::NoMetadataRoom.is_malformed());
        assert!(Reason::BadBatch.is_malformed());
        assert!(!Reason::NoAgentUp.is_malformed());
    }
}
