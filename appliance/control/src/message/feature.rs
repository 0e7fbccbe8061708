//! Features as processes: whether their workers run, and why not.

use serde::{Deserialize, Serialize};

use super::ProcessState;
use super::status::notes;
use crate::config::Run;
use crate::resources::Revision;
use crate::taker::FeatureName;

/// One feature: an item of `weir feature list --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureStanding {
    /// Its name.
    pub name: FeatureName,
    /// What shall become of its worker: a part of the configuration.
    pub run: Run,
    /// What its worker is doing.
    pub state: ProcessState,
    /// Its process; 0 if none runs.
    pub pid: u32,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it is in this state, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it ended last, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// Milliseconds until it is started again, if it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_in_ms: Option<u64>,
    /// The program that its worker runs as; absent where that is the box's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Who made it so; absent if nobody ever did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The revision of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

impl FeatureStanding {
    /// Why it is in its state, when it is started again, and what else it runs as, a line each.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let program = self.program.as_ref().map(|program| format!("runs as {program}"));
        notes(self.again_in_ms, self.reason.as_deref()).chain(program)
    }
}
