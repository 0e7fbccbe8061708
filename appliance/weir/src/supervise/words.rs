//! What the supervisor and the dataplane say to each other: one line of JSON each, over the dataplane's standard input and
//! output. Nobody else holds the other end, so nobody else can say these things.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_appliance_control::config::Run;
use weir_appliance_control::message::{ProcessState, UpgradeStatus};
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
    /// A worker runs and is not attached, for longer than it may.
    Hung {
        /// Its process.
        pid: u32,
        /// Its feature.
        feature: FeatureName,
        /// How far it came and for how long it stands there, as the end of a sentence that begins with its name.
        how: String,
    },
    /// Somebody wants another program to take over.
    Upgrade {
        /// The absolute path of its file.
        program: PathBuf,
        /// Seconds in which it has to come to work.
        within_s: u64,
    },
    /// Workers of a feature that are started from now on are to hang, for somebody wants to see what happens.
    Hang {
        /// The feature.
        feature: FeatureName,
        /// Where they hang.
        hang: Hang,
        /// For so long; 0 ends it.
        seconds: u64,
    },
}

/// Where a worker hangs on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Hang {
    /// It does not say a word to the dataplane.
    BeforeHello,
    /// It says who it is, and never takes what it is lent.
    AfterHello,
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeHello => "before they say a word",
            Self::AfterHello => "when they have said who they are",
        })
    }
}

/// What the supervisor says, behind the [`Seed`](crate::seed::Seed) that is its first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Told {
    /// What became of its children: all of them, at every change.
    Children(Vec<Shown>),
    /// What became of the last program that was to take over.
    Upgrade(UpgradeStatus),
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
