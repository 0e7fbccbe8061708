//! Services with what is known of them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Encapsulation, ServiceProtocol};
use crate::name::{AgentId, ServiceName};

/// One service: an item of `services` in `weir status --json`, and of `weir service list --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// The virtual address.
    pub address: IpAddr,
    /// Its protocol.
    pub protocol: ServiceProtocol,
    /// Its port, `null` for any.
    pub port: Option<u16>,
    /// How frames travel to the agents.
    pub encapsulation: Encapsulation,
    /// Frames that an agent was picked for by the table: the first of a connection, and any that was forgotten.
    pub picks: u64,
    /// Frames whose connection was known, so that they went to the agent that has it.
    pub known: u64,
    /// Frames that found no agent up.
    pub unserved: u64,
    /// Its agents, by number.
    pub agents: Vec<ServiceAgentStatus>,
}

/// One agent of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceAgentStatus {
    /// The agent's number.
    pub id: AgentId,
    /// Whether it gets frames.
    pub state: ServiceAgentState,
    /// Its weight.
    pub weight: u32,
    /// Percent of new connections that it is due: its weight among the agents that are up.
    pub share: f64,
    /// Frames to it.
    pub frames: u64,
    /// Bytes of them, as they came.
    pub bytes: u64,
    /// Frames among them whose connection was known.
    pub known: u64,
    /// What its last health check said, if its health is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
}

/// Whether an agent of a service gets frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceAgentState {
    /// New connections and its own.
    Up,
    /// Only the connections that it has.
    Draining,
    /// None: its health check fails.
    Down,
}

impl ServiceAgentState {
    /// The word, as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}
