//! The last comparisons with their slices, in a file beside the store: a store that keeps every value for its history would lose
//! what people changed to what nobody reads twice.

use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::{Context, Result};
use weir_appliance_control::message::PreservationRun;

use super::KEPT;
use crate::place::Place;

/// Most bytes of the file that are read: some times what all runs take.
const MOST_BYTES: u64 = 8 << 20;

fn path(place: &Place) -> PathBuf {
    place.state.with_extension("preservation.json")
}

/// What the file has; nothing if there is none or it does not read.
pub(super) fn load(place: &Place) -> VecDeque<PreservationRun> {
    let path = path(place);
    let read = || -> Result<VecDeque<PreservationRun>> {
        let length = std::fs::metadata(&path)?.len();
        anyhow::ensure!(length <= MOST_BYTES, "it has {length} bytes");
        Ok(serde_json::from_slice(&std::fs::read(&path)?)?)
    };
    if !path.exists() {
        return VecDeque::new();
    }
    let mut runs = read().unwrap_or_else(|error| {
        tracing::warn!(
            "{}: what was compared before is not known: {error:#}; the next comparison writes it anew",
            path.display()
        );
        VecDeque::new()
    });
    runs.truncate(KEPT);
    runs
}

/// Writes the file anew, in one step.
pub(super) fn save(place: &Place, runs: &VecDeque<PreservationRun>) -> Result<()> {
    let path = path(place);
    let next = path.with_extension("next");
    std::fs::write(&next, serde_json::to_vec(runs)?).with_context(|| format!("{}", next.display()))?;
    std::fs::rename(&next, &path).with_context(|| format!("{}", path.display()))
}
