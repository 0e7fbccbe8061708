//! One balance over the classifier's counters, the kernel's ring statistics and the pool's figures.
//!
//! The classifier counts a frame as delivered when it redirects it. The kernel may then find the class's ring full, and a
//! worker may die with frames on its ring: both are taken out of `delivered` here and named among the drops, so that
//! received = passed + dropped + forwarded + delivered holds for what really happened.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use anyhow::Result;
use weir_appliance_control::message::Counters;
use weir_ebpf_abi::reason::Reason;

use super::{Dataplane, Ring, lock};

/// Reason: the class's ring was full, its takers are slower than its traffic.
pub(super) const RING_FULL: &str = "ring-full";
/// Reason: the kernel had no frame to fill, or could not copy.
pub(super) const NO_FRAME: &str = "no-frame";
/// Reason: the last taker of the class died with the frame on its ring.
pub(super) const TAKER_DIED: &str = "taker-died";
/// Reason: the transmit ring was full, so a mirrored frame was delivered but not sent on.
pub(super) const MIRROR_FULL: &str = "mirror-full";
/// Reason: dropped by the classifier for a reason that is not in its table of reasons.
pub(super) const OTHER: &str = "other";

/// Frames of one ring that were redirected to it and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// The ring was full.
    pub ring_full: u64,
    /// No frame was lent, or the copy failed.
    pub no_frame: u64,
    /// The last taker died.
    pub taker_died: u64,
    /// Delivered, but not sent on.
    pub mirror_full: u64,
}

impl Lost {
    /// All that the kernel dropped at this ring.
    #[must_use]
    pub(super) fn by_kernel(&self) -> u64 {
        self.ring_full + self.no_frame
    }
}

/// What ring `ring` has lost since it was bound.
pub(super) fn lost(ring: &Ring, mirrors: bool) -> Result<Lost> {
    let kernel = ring.socket.statistics()?;
    let figures = ring.gauges.read();
    Ok(Lost {
        ring_full: kernel.rx_ring_full,
        no_frame: kernel.rx_dropped,
        // A mirrored frame went on its way even when nobody was left to look at it.
        taker_died: if mirrors { 0 } else { figures.abandoned },
        mirror_full: figures.mirror_full,
    })
}

/// The balance.
///
/// # Errors
/// When the kernel does not give a counter.
pub(super) fn balance(dataplane: &Dataplane) -> Result<Counters> {
    let totals = lock(&dataplane.classifier).counters()?;
    let mut counters = Counters {
        received: totals.received.frames,
        passed: totals.passed.frames,
        forwarded: totals.forwarded.frames,
        delivered: totals.delivered.frames,
        mirrored: totals.mirrored.frames,
        ..Counters::default()
    };
    let mut unnamed = totals.dropped.frames;
    for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::None && totals.reason(*reason) > 0) {
        let count = totals.reason(reason);
        if reason.is_drop() {
            unnamed = unnamed.saturating_sub(count);
            counters.dropped.insert(reason.name().to_owned(), count);
        } else {
            counters.noted.insert(reason.name().to_owned(), count);
        }
    }
    add(&mut counters.dropped, OTHER, unnamed);
    for ring in &dataplane.rings {
        let mirrors = dataplane.mirrors(ring.class);
        let lost = lost(ring, mirrors)?;
        let from = if mirrors { &mut counters.forwarded } else { &mut counters.delivered };
        for (reason, count) in [
            (RING_FULL, lost.ring_full),
            (NO_FRAME, lost.no_frame),
            (TAKER_DIED, lost.taker_died),
            (MIRROR_FULL, lost.mirror_full),
        ] {
            // The classifier's counters were read first, so a ring may know of a frame that they do not.
            let count = count.min(*from);
            *from -= count;
            add(&mut counters.dropped, reason, count);
        }
        if mirrors {
            counters.mirrored = counters.mirrored.saturating_sub(lost.by_kernel() + lost.mirror_full);
        }
    }
    for (name, taken) in lock(&dataplane.taken).iter() {
        counters.per_taker.insert(name.clone(), taken.load(Ordering::Relaxed));
    }
    Ok(counters)
}

fn add(reasons: &mut BTreeMap<String, u64>, reason: &str, count: u64) {
    if count > 0 {
        *reasons.entry(reason.to_owned()).or_default() += count;
    }
}
