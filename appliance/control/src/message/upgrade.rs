//! Another program that takes over from the one that runs.

use serde::{Deserialize, Serialize};

/// How far a take-over is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpgradeState {
    /// It is checked, or on trial.
    UnderWay,
    /// The other program is in force.
    InForce,
    /// It is not, and the one of before is.
    Refused,
}

/// The last take-over of a running weir: `weir.upgrade` of the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// Which one, from 1, since the first program was started.
    pub number: u64,
    /// The file.
    pub program: String,
    /// How far it is.
    pub state: UpgradeState,
    /// Version of the program that was asked.
    pub from: String,
    /// Version of the other one, once it has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What is done, or why it was refused.
    pub text: String,
}
