//! Figures of the pool that other threads read: plain atomics, written once for each wake-up. What the [ledger](crate::ledger)
//! needs of them is written into its memory as well.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ledger::Entry;

/// Figures of one class's ring on one queue.
#[derive(Default)]
pub struct RingGauges {
    /// Descriptors the kernel has put on the ring since it was bound.
    pub produced: AtomicU64,
    /// Descriptors given back to the kernel.
    pub recycled: AtomicU64,
    /// Descriptors of these that no taker had finished, because the last one died.
    pub abandoned: AtomicU64,
    /// Descriptors put on a transmit ring for mirroring.
    pub mirrored: AtomicU64,
    /// Descriptors that could not be mirrored because the transmit ring was full.
    pub mirror_full: AtomicU64,
    /// Live takers.
    pub takers: AtomicU64,
    /// Cursors found outside the ring's bounds.
    pub hostile: AtomicU64,
    /// Frames given back: as `recycled`, but a frame in several descriptors counts once.
    pub finished: AtomicU64,
    entry: OnceLock<Entry>,
}

/// Where the frames of one queue are, beside its class rings. At rest both and the rings' levels add up to the queue's budget.
#[derive(Debug, Default)]
pub struct QueueGauges {
    lent: AtomicU64,
    held_back: AtomicU64,
    on_the_way: AtomicU64,
}

impl QueueGauges {
    /// Frames lent to the kernel and not filled, frames held back from it, and frames on transmit rings.
    #[must_use]
    pub fn read(&self) -> (u64, u64, u64) {
        let load = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        (load(&self.lent), load(&self.held_back), load(&self.on_the_way))
    }

    pub(crate) fn write(&self, lent: u32, held_back: u32, on_the_way: u32) {
        self.held_back.store(u64::from(held_back), Ordering::Relaxed);
        self.lent.store(u64::from(lent), Ordering::Relaxed);
        self.on_the_way.store(u64::from(on_the_way), Ordering::Relaxed);
    }
}

/// A plain copy of [`RingGauges`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFigures {
    /// See [`RingGauges::produced`].
    pub produced: u64,
    /// See [`RingGauges::recycled`].
    pub recycled: u64,
    /// See [`RingGauges::abandoned`].
    pub abandoned: u64,
    /// See [`RingGauges::mirrored`].
    pub mirrored: u64,
    /// See [`RingGauges::mirror_full`].
    pub mirror_full: u64,
    /// See [`RingGauges::takers`].
    pub takers: u64,
    /// See [`RingGauges::hostile`].
    pub hostile: u64,
    /// See [`RingGauges::finished`].
    pub finished: u64,
}

impl RingFigures {
    /// Descriptors that are on the ring.
    #[must_use]
    pub fn on_it(&self) -> u64 {
        self.produced.saturating_sub(self.recycled)
    }
}

impl RingGauges {
    /// Copies the figures. They are read one after another, so a sum over them may be a few frames off under load.
    #[must_use]
    pub fn read(&self) -> RingFigures {
        let load = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        RingFigures {
            produced: load(&self.produced),
            recycled: load(&self.recycled),
            abandoned: load(&self.abandoned),
            mirrored: load(&self.mirrored),
            mirror_full: load(&self.mirror_full),
            takers: load(&self.takers),
            hostile: load(&self.hostile),
            finished: load(&self.finished),
        }
    }

    /// From now on what becomes of the ring stands in the ledger, too. Only the first call counts.
    pub fn enter(&self, entry: Entry) {
        let _ = self.entry.set(entry); // one ledger in the life of a process
    }

    /// `taken` has, for each living taker, its number and the frames it has finished.
    pub(crate) fn write(&self, figures: &RingFigures, taken: impl Iterator<Item = (usize, u64)>) {
        let store = |gauge: &AtomicU64, value| gauge.store(value, Ordering::Relaxed);
        store(&self.produced, figures.produced);
        store(&self.recycled, figures.recycled);
        store(&self.abandoned, figures.abandoned);
        store(&self.mirrored, figures.mirrored);
        store(&self.mirror_full, figures.mirror_full);
        store(&self.takers, figures.takers);
        store(&self.hostile, figures.hostile);
        store(&self.finished, figures.finished);
        if let Some(entry) = self.entry.get() {
            entry.write(figures, taken);
        }
    }
}
