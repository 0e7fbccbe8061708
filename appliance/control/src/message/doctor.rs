//! What this host can do, and why not: `weir doctor --json`. Fields are only added.

use serde::{Deserialize, Serialize};

use super::Host;

/// The checks, in the order in which a start needs them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DoctorReport {
    /// The host.
    pub host: Host,
    /// The checks.
    pub checks: Vec<Check>,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// As it should be.
    Good,
    /// Weir runs, with less than it could have.
    Less,
    /// Weir cannot start.
    Bad,
}

impl CheckState {
    /// The word in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Less => "less",
            Self::Bad => "bad",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at: `kernel`, `huge pages`, `eth0 native mode`.
    pub name: String,
    /// How it came out.
    pub state: CheckState,
    /// What was found: `6.12.4`, `0 free of 0`.
    pub found: String,
    /// What that means, if it is not good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What to do, if it is not good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl DoctorReport {
    /// The worst state of all; good if nothing was checked.
    pub fn worst(&self) -> CheckState {
        self.checks.iter().map(|check| check.state).max().unwrap_or(CheckState::Good)
    }
}
