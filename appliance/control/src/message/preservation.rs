//! What changes and features did to the base path.

use serde::{Deserialize, Serialize};
use weir_appliance_experiment::base::{Judged, Limits, Trial};

use crate::config::{Gate, Watch};
use crate::resources::Revision;
use crate::taker::FeatureName;

/// What was compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// The base path after a change with before it.
    Change {
        /// The change.
        revision: Revision,
        /// Who made it.
        author: String,
    },
    /// The base path with a feature at work with the same while it is parked.
    Feature {
        /// The feature.
        name: FeatureName,
    },
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Change { revision, author } => f.pad(&format!("revision {revision} by {author}")),
            Self::Feature { name } => f.pad(name.as_str()),
        }
    }
}

/// One comparison that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreservationRun {
    /// Its number, from 1.
    pub number: u64,
    /// What was compared.
    pub compared: Compared,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// When it was over.
    pub ended_ms: u64,
    /// What might be lost.
    pub limits: Limits,
    /// What came out, and what that rests on.
    pub judged: Judged,
    /// What was done about it; empty for nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub done: String,
    /// The raw slices, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// How the base path is watched: a part of `weir status --json`, and the answer to `preservation.show`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreservationStatus {
    /// What is done after a change.
    pub watch: Watch,
    /// What the gate does.
    pub gate: Gate,
    /// What is going on, in a sentence.
    pub now: String,
    /// Slices that the next change would be compared with.
    pub reference: u32,
    /// What is measured now: the comparison so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Judged>,
    /// The last comparisons, newest first.
    pub runs: Vec<PreservationRun>,
}
