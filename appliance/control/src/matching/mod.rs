//! What a rule matches: the text that people write and the typed form of it.
//!
//! ```text
//! udp dport 5004                          UDP to port 5004, also written udp:5004
//! tcp sport 1000-2000 src 10.0.0.0/8      ranges and prefixes
//! dst 2001:db8::/32 vlan 10-20            IPv6; the outermost VLAN tag
//! udp dport 48101 type 7 modality audio|image
//! proto 47                                any IP protocol by number
//! any                                     every frame
//! ```
//! Every condition must hold; a condition stands at most once. [`MatchExpression`]'s `Display` writes the one canonical
//! form, and parsing that form gives the same expression.

mod parse;
mod terms;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use terms::{IpPrefix, Modality, ModalitySet, Protocol, Range};

/// What a rule matches. A field that is `None` matches everything; all fields must match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MatchExpression {
    /// IP protocol after extension headers.
    pub protocol: Option<Protocol>,
    /// IP source.
    pub source: Option<IpPrefix>,
    /// IP destination, of the same version as the source.
    pub destination: Option<IpPrefix>,
    /// UDP or TCP source port.
    pub source_port: Option<Range<u16>>,
    /// UDP or TCP destination port.
    pub destination_port: Option<Range<u16>>,
    /// Outermost VLAN number, 0 to 4094.
    pub vlan: Option<Range<u16>>,
    /// `message_type` of the message header.
    pub message_type: Option<Range<u32>>,
    /// Any of these modalities is in a multi-modal message.
    pub modality: Option<ModalitySet>,
}

impl MatchExpression {
    /// Every frame.
    pub const ANY: Self = Self {
        protocol: None,
        source: None,
        destination: None,
        source_port: None,
        destination_port: None,
        vlan: None,
        message_type: None,
        modality: None,
    };

    /// Whether every frame matches.
    pub fn is_any(&self) -> bool {
        *self == Self::ANY
    }
}

impl fmt::Display for MatchExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        let mut word = |keyword: &str, value: Option<String>| {
            if let Some(value) = value {
                words.push(if keyword.is_empty() { value } else { format!("{keyword} {value}") });
            }
        };
        word("", self.protocol.map(|protocol| protocol.to_string()));
        word("src", self.source.map(|prefix| prefix.to_string()));
        word("dst", self.destination.map(|prefix| prefix.to_string()));
        word("sport", self.source_port.map(|range| range.to_string()));
        word("dport", self.destination_port.map(|range| range.to_string()));
        word("vlan", self.vlan.map(|range| range.to_string()));
        word("type", self.message_type.map(|range| range.to_string()));
        word("modality", self.modality.map(|set| set.to_string()));
        if words.is_empty() { f.pad("any") } else { f.pad(&words.join(" ")) }
    }
}

crate::name::as_text!(MatchExpression);
