//! Services: a virtual address whose connections are shared among agents.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::AgentSpec;
use crate::hex;
use crate::name::{AgentId, ServiceName};
use crate::problem::Problem;

words! {
    /// Which protocol a service speaks.
    ServiceProtocol, "a service's protocol" {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

impl ServiceProtocol {
    /// Its IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

words! {
    /// How frames travel to the agents.
    #[derive(Default)]
    Encapsulation, "an encapsulation" {
        /// As they are, to the agent's Ethernet address.
        #[default]
        None = "none",
        /// With an IP header in front.
        Ipip = "ipip",
        /// With IP, UDP and Geneve headers in front.
        Geneve = "geneve",
    }
}

words! {
    /// How an agent's health is found out.
    #[derive(Default)]
    Check, "a health check" {
        /// It is not: the agent counts as healthy.
        #[default]
        None = "none",
        /// By a TCP connection to the agent's own address.
        Tcp = "tcp",
        /// By a datagram to the agent's own address that it has to answer.
        Udp = "udp",
    }
}

/// Most bytes of a datagram that asks for an agent's health, and of what its answer has to begin with.
pub const MAX_PROBE: usize = 512;

/// What a health check sends, or what its answer has to begin with: 1 to [`MAX_PROBE`] bytes, written as text or as `0x` and
/// hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProbeBytes(Vec<u8>);

impl ProbeBytes {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for ProbeBytes {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse =
            |cause: String| Problem::new(text, cause, "write text, or `0x` and two hexadecimal digits for each byte");
        let bytes = match text.strip_prefix("0x") {
            None => text.as_bytes().to_vec(),
            Some(digits) => {
                hex::read(digits).ok_or_else(|| refuse("these are not pairs of hexadecimal digits".to_owned()))?
            }
        };
        if !(1..=MAX_PROBE).contains(&bytes.len()) {
            return Err(refuse(format!("these are {} bytes; a check has 1 to {MAX_PROBE}", bytes.len())));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ProbeBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.starts_with("0x") && !text.contains(char::is_control) => f.pad(text),
            _ => f.pad(&format!("0x{}", hex::write(&self.0))),
        }
    }
}

crate::name::as_text!(ProbeBytes);

/// How the health of a service's agents is found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSpec {
    /// How (default none).
    pub check: Check,
    /// The port that is asked; the service's own if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What a UDP check sends; there exactly if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<ProbeBytes>,
    /// What the answer to it has to begin with; any answer will do if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<ProbeBytes>,
    /// Milliseconds from one question to the next, 100 to 3,600,000 (default 1000).
    pub every_ms: u32,
    /// Milliseconds that an answer may take, 10 to `every_ms` (default 500).
    pub timeout_ms: u32,
    /// Answers in a row after which an agent that was down is up, 1 to 100 (default 2).
    pub rise: u32,
    /// Failures in a row after which an agent that was up is down, 1 to 100 (default 3).
    pub fall: u32,
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self {
            check: Check::None,
            port: None,
            ask: None,
            answer: None,
            every_ms: 1_000,
            timeout_ms: 500,
            rise: 2,
            fall: 3,
        }
    }
}

/// A service: frames to its address go to one of its agents, which answers the client itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Its name, unique.
    pub name: ServiceName,
    /// The virtual address.
    pub address: IpAddr,
    /// Its protocol.
    pub protocol: ServiceProtocol,
    /// Its port, or all that no other service has if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its agents by number: either these or `type`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentId>,
    /// All agents of this type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<u32>,
    /// How frames travel to them (default none).
    #[serde(default)]
    pub encapsulation: Encapsulation,
    /// Source address of the outer header; there exactly if there is an encapsulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// How the agents' health is found out.
    #[serde(default)]
    pub health: HealthSpec,
}

impl ServiceSpec {
    /// Whether this agent belongs to the service.
    pub fn has(&self, agent: &AgentSpec) -> bool {
        self.kind.map_or_else(|| self.agents.contains(&agent.id), |kind| agent.kind == kind)
    }

    /// Where an agent's health is asked about; `None` where it is not.
    pub fn asks(&self, agent: &AgentSpec) -> Option<std::net::SocketAddr> {
        match self.health.check {
            Check::None => None,
            Check::Tcp | Check::Udp => Some((agent.address, self.health.port.or(self.port)?).into()),
        }
    }
}
