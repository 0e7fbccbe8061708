//! What came of a capture: `weir replay FILE --json`. Fields are only added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A capture through the real classifier and features. Two runs of one capture give equal reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// Frames read.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Frames by action: pass, drop, forward, deliver, mirror.
    pub actions: BTreeMap<String, u64>,
    /// Frames by taker.
    pub takers: BTreeMap<String, u64>,
    /// Frames by reason, where there was one.
    pub reasons: BTreeMap<String, u64>,
    /// Records by feature, as the feature writes them.
    pub records: BTreeMap<String, Vec<serde_json::Value>>,
}
