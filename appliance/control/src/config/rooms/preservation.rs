//! Preservation: whether the box watches what changes and features do to its base path, and what it does about it.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::problem::Problem;
use crate::share::Share;

words! {
    /// What is done after a change of what is in force.
    #[derive(Default)]
    Watch, "what to do after a change" {
        /// Nothing is measured.
        #[default]
        Off = "off",
        /// The base path after it is compared with before it; who made it worse is told.
        Report = "report",
        /// And a change that made it worse is taken back.
        RollBack = "roll-back",
    }
}

words! {
    /// What is done to see what features cost the base path.
    #[derive(Default)]
    Gate, "what the preservation gate does" {
        /// Nothing.
        #[default]
        Off = "off",
        /// Each feature in turn is parked for moments, and the result is told.
        Report = "report",
        /// And a feature that makes the base path worse than it may be is parked for good.
        Park = "park",
    }
}

/// What is watched, how often, and what may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreservationSpec {
    /// After a change (default off).
    pub watch: Watch,
    /// Beside it (default off).
    pub gate: Gate,
    /// Seconds in which the base path is measured after a change; the gate's moments together take twice as long. In
    /// [`PRESERVATION_SECONDS`](super::super::PRESERVATION_SECONDS) (default 10).
    pub window_seconds: u32,
    /// Minutes between two runs of the gate, in [`GATE_MINUTES`](super::super::GATE_MINUTES) (default 15).
    pub every_minutes: u32,
    /// Frames a second above which the gate does not run, in [`GATE_FRAMES`](super::super::GATE_FRAMES) (default 100,000).
    pub most_frames_per_second: u32,
    /// What may be lost of the throughput (default 1%), beside the noise floor.
    pub throughput_loss: Share,
    /// What the 99th percentile of messages' lateness may have more (default 5%), beside the noise floor.
    pub late_more: Share,
}

impl Default for PreservationSpec {
    fn default() -> Self {
        let share = |points| Share::from_basis_points(points).unwrap_or_default();
        Self {
            watch: Watch::Off,
            gate: Gate::Off,
            window_seconds: 10,
            every_minutes: 15,
            most_frames_per_second: 100_000,
            throughput_loss: share(100),
            late_more: share(500),
        }
    }
}
