//! What the supervisor and the dataplane say to each other: one line of JSON each, over the dataplane's standard input and
//! output. Nobody else holds the other end, so nobody else can say these things.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_appliance_control::config::Run;
use weir_appliance_control::message::ProcessState;
use weir_appliance_control::taker::FeatureName;

/// What the dataplane says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Heard {
    /// Traffic flows through it.
    Ready,
    /// What shall become of each feature's worker, before it is ready and at every change.
    Wishes(BTreeMap<FeatureName, Run>),
    /// A feature's worker was asked to end, and another is to begin.
    Restart(FeatureName),
    /// A worker has frames on its rings and finishes none.
    Stalled {
        /// Its process.
        pid: u32,
        /// Its feature.
        feature: FeatureName,
        /// Descriptors that wait for it.
        waiting: u64,
        /// For how long it has finished none.
        seconds: u64,
    },
}

/// What the supervisor says, behind the [`Seed`](crate::seed::Seed) that is its first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Told {
    /// What became of its children: all of them, at every change.
    Children(Vec<Shown>),
    /// End, and leave the classifier and all that is forwarded in it to a successor.
    HandOver,
    /// A feature's worker has died too often.
    Parked {
        /// The feature.
        feature: FeatureName,
        /// What it did, as the end of a sentence that begins with its name.
        reason: String,
    },
}

/// One child, as the supervisor sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// `dataplane`, or a feature's name.
    pub name: String,
    /// Its process; 0 if none runs.
    pub pid: u32,
    /// What it is doing.
    pub state: ProcessState,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last.
    pub last_exit: Option<String>,
    /// Milliseconds until it is started again, counted from this line on.
    pub again_in_ms: Option<u64>,
}
