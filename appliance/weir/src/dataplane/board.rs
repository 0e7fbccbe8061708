//! The last records of every feature, for the console. Bounded: an old record makes room for a new one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use weir_dataplane_ring::record::Record;

/// Records kept for each feature: the last windows of a few hundred rows.
const KEPT: usize = 1024;

/// What is kept of one feature.
#[derive(Default)]
struct Kept {
    records: VecDeque<Record>,
    posted: u64,
    events: u64,
}

/// The board.
#[derive(Default)]
pub(super) struct Board {
    features: Mutex<BTreeMap<String, Kept>>,
}

impl Board {
    /// Takes the next record of `feature`.
    pub(super) fn post(&self, feature: &str, record: Record) {
        let mut features = super::lock(&self.features);
        let kept = features.entry(feature.to_owned()).or_default();
        kept.posted += 1;
        kept.events += crate::records::events_in(&record);
        if kept.records.len() == KEPT {
            kept.records.pop_front();
        }
        kept.records.push_back(record);
    }

    /// A copy of what is kept of `feature`, oldest first.
    pub(super) fn read(&self, feature: &str) -> Vec<Record> {
        super::lock(&self.features).get(feature).map(|kept| kept.records.iter().copied().collect()).unwrap_or_default()
    }

    /// Records that `feature` has written since the dataplane started.
    pub(super) fn posted(&self, feature: &str) -> u64 {
        super::lock(&self.features).get(feature).map_or(0, |kept| kept.posted)
    }

    /// Messages and events that `feature` has counted in closed windows since the dataplane started.
    pub(super) fn events(&self, feature: &str) -> u64 {
        super::lock(&self.features).get(feature).map_or(0, |kept| kept.events)
    }
}
