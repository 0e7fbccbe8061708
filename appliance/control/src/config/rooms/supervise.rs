//! Supervision: when a process counts as stalled, and when a feature is given up.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::problem::Problem;

words! {
    /// Whether a feature's worker runs.
    #[derive(Default)]
    Run, "what becomes of a feature's worker" {
        /// It runs, and gets frames.
        #[default]
        Started = "started",
        /// Somebody stopped it: no worker, no frames.
        Stopped = "stopped",
        /// It died too often, or somebody parked it: no worker, no frames.
        Parked = "parked",
    }
}

/// When the supervisor ends a process, and when it starts one no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuperviseSpec {
    /// Seconds that a worker with frames on its rings may finish none, and the dataplane may not turn, in
    /// [`STALL_SECONDS`](super::super::STALL_SECONDS) (default 10); then it is killed and started again.
    pub stall_seconds: u32,
    /// Deaths and stalls of a feature's worker that park the feature, in [`PARK_DEATHS`](super::super::PARK_DEATHS)
    /// (default 5).
    pub park_deaths: u32,
    /// Seconds in which they count together, in [`PARK_WITHIN_SECONDS`](super::super::PARK_WITHIN_SECONDS) (default 60).
    pub park_within_seconds: u32,
}

impl Default for SuperviseSpec {
    fn default() -> Self {
        Self { stall_seconds: 10, park_deaths: 5, park_within_seconds: 60 }
    }
}
