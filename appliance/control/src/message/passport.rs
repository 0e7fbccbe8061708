//! What a box is and what it was measured to do: `weir doctor --passport --json`. Fields are only added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Check, Host};

/// The passport. Everything in it was read or measured on this machine when it was made; nothing is projected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Passport {
    /// The host.
    pub host: Host,
    /// The version of weir that made it, and how it was built.
    pub weir: String,
    /// The processor.
    pub processor: ProcessorFacts,
    /// The caches of the first CPU.
    pub caches: Vec<CacheFacts>,
    /// Memory nodes.
    pub nodes: Vec<NodeFacts>,
    /// Which CPUs would be critical and which batch, and why.
    pub cores: String,
    /// Network cards.
    pub cards: Vec<CardFacts>,
    /// Accelerators; empty where none was found.
    pub accelerators: Vec<String>,
    /// Power counters; empty where there are none.
    pub power: Vec<String>,
    /// Controllers of control groups.
    pub controllers: Vec<Check>,
    /// What was measured.
    pub rates: Vec<Rate>,
    /// What was not, and why not.
    pub not_measured: Vec<NotMeasured>,
}

/// A processor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessorFacts {
    /// What it is called.
    pub model: String,
    /// Who made it.
    pub vendor: String,
    /// `family 26, model 2, stepping 1`; empty where the kernel does not say.
    pub numbers: String,
    /// CPUs.
    pub cpus: u32,
    /// Whether it has what the product could use.
    pub features: BTreeMap<String, bool>,
}

/// A cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheFacts {
    /// Its level.
    pub level: u32,
    /// `Data`, `Instruction`, `Unified`.
    pub kind: String,
    /// Bytes.
    pub bytes: u64,
    /// CPUs that share it.
    pub cpus: Vec<u32>,
}

/// A memory node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeFacts {
    /// Its number.
    pub id: u32,
    /// Its CPUs.
    pub cpus: Vec<u32>,
    /// 2 MiB pages reserved.
    pub hugepages: u64,
    /// Of these, pages that nobody has.
    pub hugepages_free: u64,
}

/// A network card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CardFacts {
    /// Its interface.
    pub name: String,
    /// Its driver; empty where it has none.
    pub driver: String,
    /// Receive queues.
    pub queues: u32,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Its memory node, where the firmware says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// What its driver says that it can do with XDP, or why that is not known.
    pub xdp: String,
}

/// Something that was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rate {
    /// What: `memory copy`.
    pub name: String,
    /// How: over how much, on which CPUs.
    pub how: String,
    /// In what: `GiB/s`.
    pub unit: String,
    /// How often.
    pub n: u32,
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Seconds that measuring it took.
    pub seconds: f64,
}

/// Something that was not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotMeasured {
    /// What.
    pub name: String,
    /// Why not.
    pub because: String,
}
