//! One balance over the classifier's counters, the kernel's ring statistics and the pool's figures.
//!
//! The classifier counts a frame as delivered when it redirects it. The kernel may then find the class's ring full, and a
//! worker or the dataplane may die with frames on a ring: all that is taken out of `delivered` here and named among the
//! drops, so that received = passed + dropped + forwarded + delivered holds for what really happened. The classifier
//! outlives this process, so what the lives before it have lost comes from the ledger.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use anyhow::Result;
use weir_appliance_control::message::{Counters, Loss};
use weir_dataplane_pool::ledger::Lost;
use weir_ebpf_abi::reason::Reason;
use weir_ebpf_loader::Classifier;

use super::{Dataplane, Ring, lock};

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
        dataplane_died: 0,
    })
}

/// The balance.
///
/// # Errors
/// When the kernel does not give a counter.
pub(super) fn balance(dataplane: &Dataplane) -> Result<Counters> {
    balance_of(dataplane, &lock(&dataplane.classifier))
}

/// The balance in a sentence.
pub(super) fn sentence(counters: &Counters) -> String {
    let Counters { received, passed, forwarded, delivered, .. } = counters;
    let reasons = counters.dropped.iter().map(|(reason, count)| format!("{reason} {count}"));
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    let taken = counters.per_taker.iter().map(|(name, count)| format!("{name} {count}"));
    let taken = taken.collect::<Vec<_>>().join(", ");
    let dropped = counters.dropped_total();
    format!(
        "{received} received = {passed} passed + {dropped} dropped ({reasons}) + {forwarded} forwarded + {delivered} delivered (taken: {taken})"
    )
}

/// The balance, for who has the classifier already.
///
/// # Errors
/// When the kernel does not give a counter.
pub(super) fn balance_of(dataplane: &Dataplane, classifier: &Classifier) -> Result<Counters> {
    let totals = classifier.counters()?;
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
    add(&mut counters.dropped, Loss::Other, unnamed);
    if let Some(ledger) = &dataplane.ledger {
        take_out(&mut counters, &ledger.past().delivered, false);
        take_out(&mut counters, &ledger.past().mirrored, true);
    }
    for (index, ring) in dataplane.rings.iter().enumerate() {
        let mirrors = dataplane.mirrors(ring.class);
        let lost = lost(ring, mirrors)?;
        // What was once shown with its reason keeps it, also when this process dies now.
        dataplane.ledger.iter().for_each(|ledger| ledger.note(index, lost.ring_full, lost.no_frame));
        take_out(&mut counters, &lost, mirrors);
    }
    for (name, taken) in lock(&dataplane.taken).iter() {
        counters.per_taker.insert(name.clone(), taken.frames.load(Ordering::Relaxed));
    }
    Ok(counters)
}

/// Notes in the ledger what the kernel has dropped at each ring: it forgets that when this process dies.
pub(super) fn note(dataplane: &Dataplane) {
    let Some(ledger) = &dataplane.ledger else { return };
    for (index, ring) in dataplane.rings.iter().enumerate() {
        // Where the kernel does not say, what was noted stands, and who asks for the status hears why.
        if let Ok(kernel) = ring.socket.statistics() {
            ledger.note(index, kernel.rx_ring_full, kernel.rx_dropped);
        }
    }
}

/// Names what was lost of frames that are counted as delivered, or with `mirrors` as forwarded.
fn take_out(counters: &mut Counters, lost: &Lost, mirrors: bool) {
    let from = if mirrors { &mut counters.forwarded } else { &mut counters.delivered };
    for (loss, count) in [
        (Loss::RingFull, lost.ring_full),
        (Loss::NoFrame, lost.no_frame),
        (Loss::TakerDied, lost.taker_died),
        (Loss::MirrorFull, lost.mirror_full),
        (Loss::DataplaneDied, lost.dataplane_died),
    ] {
        // The classifier's counters were read first, so a ring may know of a frame that they do not.
        let count = count.min(*from);
        *from -= count;
        add(&mut counters.dropped, loss, count);
    }
    if mirrors {
        let unsent = lost.by_kernel() + lost.mirror_full + lost.dataplane_died;
        counters.mirrored = counters.mirrored.saturating_sub(unsent);
    }
}

fn add(reasons: &mut BTreeMap<String, u64>, loss: Loss, count: u64) {
    if count > 0 {
        *reasons.entry(loss.name().to_owned()).or_default() += count;
    }
}
