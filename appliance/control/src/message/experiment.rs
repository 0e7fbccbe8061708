//! Experiments with how far they have come.

use serde::{Deserialize, Serialize};
use weir_appliance_experiment::{Decision, Spec, Stage};

use crate::experiments::Outcome;
use crate::resources::Revision;
use crate::share::Share;

/// One experiment: an item of `weir experiment list --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentStatus {
    /// What was asked for.
    pub spec: Spec,
    /// What is measured now.
    pub stage: Stage,
    /// The flag's share as the experiment wants it.
    pub share: Share,
    /// Windows that are closed.
    pub windows: u32,
    /// Slices of the window that is being measured.
    #[serde(default)]
    pub slices: u32,
    /// Why nothing is measured now although it is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// What can be said now, with the window that is being measured; of one that is over, what was said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Decision>,
    /// How it ended, if it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Who asked for it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub created_ms: u64,
    /// Bytes of its windows in the store.
    pub bytes: u64,
}

/// One closed window, without its raw figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentWindow {
    /// Its number, from 1.
    pub number: u32,
    /// What was measured.
    pub stage: Stage,
    /// The flag's share.
    pub share: Share,
    /// Its begin, in milliseconds since 1970.
    pub began_ms: u64,
    /// What was decided.
    pub decision: Decision,
    /// The revision that stored it.
    pub revision: Revision,
}

/// The answer to `experiment.show`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentShown {
    /// The experiment.
    pub experiment: ExperimentStatus,
    /// Its closed windows.
    pub windows: Vec<ExperimentWindow>,
}

/// The answer to `experiment.replay`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentReplay {
    /// The experiment.
    pub name: String,
    /// Windows that were decided again.
    pub windows: u32,
    /// Whether every decision came out as it is stored, to the byte.
    pub same: bool,
    /// Number of the first window whose decision did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs_at: Option<u32>,
    /// The decisions as they come out now.
    pub decisions: Vec<Decision>,
}
