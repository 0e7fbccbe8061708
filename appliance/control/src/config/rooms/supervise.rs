//! Supervision: when a process counts as stalled, how soon it is started again, and when a feature is given up.

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
    /// Seconds that a worker may take from its start to its first heartbeat in its sandbox, while the dataplane turns, in
    /// [`START_SECONDS`](super::super::START_SECONDS) (default 10); then it is killed and started again.
    pub start_seconds: u32,
    /// Deaths, stalls and hung starts of a feature's worker that park the feature, in [`PARK_DEATHS`](super::super::PARK_DEATHS)
    /// (default 5).
    pub park_deaths: u32,
    /// Seconds in which they count together, in [`PARK_WITHIN_SECONDS`](super::super::PARK_WITHIN_SECONDS) (default 60).
    pub park_within_seconds: u32,
    /// Milliseconds before a process that died is started again the first time; twice as many each time after that. In
    /// [`RESTART_MS`](super::super::RESTART_MS) (default 50), and no more than the longest pause.
    pub restart_first_ms: u32,
    /// The longest such pause, in [`RESTART_MS`](super::super::RESTART_MS) (default 5000).
    pub restart_most_ms: u32,
}

impl Default for SuperviseSpec {
    fn default() -> Self {
        Self {
            stall_seconds: 10,
            start_seconds: 10,
            park_deaths: 5,
            park_within_seconds: 60,
            restart_first_ms: 50,
            restart_most_ms: 5000,
        }
    }
}
