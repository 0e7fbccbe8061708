//! Changes of what is in force, and what is told of them.

use serde::{Deserialize, Serialize};

use crate::config::Layer;
use crate::keeper::Manner;
use crate::resources::Revision;

/// What concerns the configuration as a whole: `{"op":"config","do":"rollback","revision":7,"reason":"too many drops"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do")]
pub enum ConfigRequest {
    /// Every value in force and where it comes from.
    #[serde(rename = "show")]
    Show,
    /// What these files would change.
    #[serde(rename = "diff")]
    Diff {
        /// The files, the base first; none for those that weir was started with.
        layers: Vec<Layer>,
    },
    /// Put these files in force.
    #[serde(rename = "apply")]
    Apply {
        /// The files, the base first.
        layers: Vec<Layer>,
        /// Leave what cannot change live as it is, instead of refusing all.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        live_only: bool,
        /// Why, for how long unconfirmed, whether forced.
        #[serde(flatten)]
        manner: Manner,
    },
    /// Put in force what was in force at a revision.
    #[serde(rename = "rollback")]
    Rollback {
        /// The revision; the one before the newest if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<Revision>,
        /// Leave what cannot change live as it is, instead of refusing all.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        live_only: bool,
        /// Why, for how long unconfirmed, whether forced.
        #[serde(flatten)]
        manner: Manner,
    },
    /// The newest changes.
    #[serde(rename = "history")]
    History {
        /// How many at most.
        limit: u32,
    },
    /// Keep the change that waits.
    #[serde(rename = "confirm")]
    Confirm {
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Take the change back that waits.
    #[serde(rename = "revert")]
    Revert {
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// One sentence for people: `rule telemetry added at place 1`.
    pub text: String,
    /// Whether it survives a restart: always, unless it waits for its confirmation.
    pub saved: bool,
    /// Its revision; absent if nothing had to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Seconds in which it has to be confirmed, or it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u64>,
}

/// A value in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigValue {
    /// Where it is: `rules[telemetry].share`.
    pub path: String,
    /// What it is.
    pub value: String,
    /// Where it comes from: `weir.yaml:3:12`, `default`, `revision 7 (root (uid 0))`.
    pub origin: String,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// Its revision.
    pub revision: Revision,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// Who.
    pub author: String,
    /// Why; empty if nobody said.
    pub reason: String,
    /// What was written: `rules/telemetry`, and `-rules/old` for what went.
    pub writes: Vec<String>,
}
