//! Reading what happened to the frames of an arm, from counters that are kept anyway.

use std::collections::BTreeMap;

use anyhow::Result;
use weir_appliance_experiment::{Figures, Histogram, Moment};
use weir_dataplane_io::clock;
use weir_dataplane_pool::class::TakerId;

use super::super::takers::{Taker, TakerState};
use super::super::{Dataplane, counters, lock};
use super::arms::{Arm, Arms};
use super::waits::Halves;

/// The counters of one arm at one moment.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    offered: u64,
    lost: u64,
    /// Descriptors that each measured taker has finished of a class, and which life of the taker said so.
    taken: BTreeMap<(&'static str, u8), (TakerId, u64)>,
    waits: Halves,
}

/// Now, on both clocks.
pub(super) fn now() -> Moment {
    Moment { monotonic_ms: clock::monotonic_ns() / 1_000_000, wall_ms: clock::realtime_ns() / 1_000_000 }
}

/// The counters of both arms.
///
/// # Errors
/// The kernel does not give one.
pub(super) fn read(dataplane: &Dataplane, arms: &Arms) -> Result<[Reading; 2]> {
    let totals = lock(&dataplane.classifier).counters()?;
    let takers = dataplane.takers.list();
    let arm = |arm: &Arm| -> Result<Reading> {
        if arm.classes.is_empty() {
            // Flows that go to no feature: the stack's, and those that are sent on.
            let offered = totals.passed.frames + totals.forwarded.frames.saturating_sub(totals.mirrored.frames);
            return Ok(Reading { offered, lost: 0, taken: BTreeMap::new(), waits: super::waits::none() });
        }
        let offered = arm.classes.iter().filter_map(|class| totals.classes.get(usize::from(*class))).sum();
        let mut lost = 0;
        for ring in dataplane.rings.iter().filter(|ring| arm.classes.contains(&ring.class)) {
            let found = counters::lost(ring, dataplane.mirrors(ring.class))?;
            lost += found.by_kernel() + found.taker_died;
        }
        let measured = arm
            .measured
            .iter()
            .filter_map(|(name, class)| Some(((*name, *class), finished(dataplane, &takers, name, *class)?)));
        let waits = dataplane.experiments.waits.of(arm.measured.iter().copied());
        Ok(Reading { offered, lost, taken: measured.collect(), waits })
    };
    Ok([arm(&arms.control)?, arm(&arms.candidate)?])
}

/// Descriptors of a class that the taker `name` has finished, by its own cursors; the pool judges these before it uses them.
fn finished(dataplane: &Dataplane, takers: &[Taker], name: &str, class: u8) -> Option<(TakerId, u64)> {
    let taker = takers.iter().find(|taker| taker.name == name && taker.state == TakerState::Ready)?;
    let rings = dataplane.rings_of(name).ok()?;
    let slots = rings.iter().enumerate().filter(|(_, ring)| ring.class == class).map(|(slot, _)| slot);
    Some((taker.id, slots.fold(0, |sum, slot| sum.wrapping_add(taker.cursors.load(slot).raw()))))
}

impl Reading {
    /// What happened since `before`.
    pub(super) fn since(&self, before: &Self, arm: &Arm) -> Figures {
        let offered = self.offered.saturating_sub(before.offered);
        let half = |at: usize| -> Histogram {
            let now = self.waits[at].iter().zip(&before.waits[at]);
            Histogram::of(&now.map(|(now, before)| now.saturating_sub(*before)).collect::<Vec<u64>>())
        };
        Figures {
            offered,
            lost: self.lost.saturating_sub(before.lost),
            taken: if arm.classes.is_empty() { Some(offered) } else { self.taken_since(before, arm) },
            waits: [half(0), half(1)],
        }
    }

    /// Frames finished; of a class with several measured takers, what they finished on the average. `None` where a taker was
    /// not there, or not the same, at both moments.
    fn taken_since(&self, before: &Self, arm: &Arm) -> Option<u64> {
        let mut sum = 0;
        for class in &arm.classes {
            let takers = || arm.measured.iter().filter(|(_, of)| of == class);
            let mut all = 0;
            for key in takers() {
                let ((life, now), (former, then)) = (self.taken.get(key)?, before.taken.get(key)?);
                if life != former {
                    return None;
                }
                all += now.saturating_sub(*then);
            }
            sum += all / takers().count().max(1) as u64;
        }
        Some(sum)
    }
}
