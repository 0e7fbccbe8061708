//! What a run has come to so far, for who watches it from another thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// Frames so far. The three are written one after the other, so a reader may see them a moment apart.
#[derive(Debug, Default)]
pub struct Tally {
    offered: AtomicU64,
    shed: AtomicU64,
    delivered: AtomicU64,
}

impl Tally {
    /// Frames offered, shed and delivered so far.
    pub fn read(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.offered), read(&self.shed), read(&self.delivered))
    }

    /// Enters all three.
    pub(super) fn write(&self, offered: u64, shed: u64, delivered: u64) {
        self.offered.store(offered, Ordering::Relaxed);
        self.shed.store(shed, Ordering::Relaxed);
        self.delivered.store(delivered, Ordering::Relaxed);
    }
}
